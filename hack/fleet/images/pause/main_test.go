package main

import (
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"testing"
	"time"
)

// TestMain makes the test binary be the command when it is asked to.
func TestMain(m *testing.M) {
	if os.Getenv("STELLARFLOW_TEST_PAUSE") != "" {
		main()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func TestEndsWhenTold(t *testing.T) {
	for name, sig := range map[string]syscall.Signal{"kubelet": syscall.SIGTERM, "a terminal": syscall.SIGINT} {
		t.Run(name, func(t *testing.T) {
			cmd := exec.Command(os.Args[0])
			cmd.Env = append(os.Environ(), "STELLARFLOW_TEST_PAUSE=1")
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			ended := make(chan error, 1)
			go func() { ended <- cmd.Wait() }()
			select {
			case err := <-ended:
				t.Fatalf("it ended by itself: %v", err)
			case <-time.After(300 * time.Millisecond): // long enough that it listens
			}
			if err := cmd.Process.Signal(sig); err != nil {
				t.Fatal(err)
			}
			select {
			case err := <-ended:
				if err != nil {
					t.Errorf("it ended with %v, want success", err)
				}
			case <-time.After(30 * time.Second):
				_ = cmd.Process.Kill()
				t.Error("it does not end")
			}
		})
	}
}

func TestReap(t *testing.T) {
	children := make(chan os.Signal, 1)
	signal.Notify(children, syscall.SIGCHLD)
	defer signal.Stop(children)
	process, err := os.StartProcess("/bin/true", []string{"true"}, &os.ProcAttr{})
	if err != nil {
		t.Fatal(err)
	}
	select {
	case <-children:
	case <-time.After(30 * time.Second):
		t.Fatal("the child did not end")
	}
	reap()
	if _, err := process.Wait(); err == nil {
		t.Error("the child is still to be collected, want it reaped")
	}
}

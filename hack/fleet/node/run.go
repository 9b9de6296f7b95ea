package node

import (
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// restartDelay is between a component's end and its next start.
	restartDelay = time.Second
	// stopGrace is what processes get between TERM and KILL.
	stopGrace = 6 * time.Second
	waitPoll  = 20 * time.Millisecond
)

// Run is the whole life of a cluster's first process. It returns when the
// cluster was told to stop and has stopped, or could not be set up.
func Run(specFile string) error {
	spec, err := readSpec(specFile)
	if err != nil {
		return err
	}
	if os.Getpid() != 1 {
		return errors.New("node: not process 1; this command is started by fleet up")
	}
	if err := setUp(spec); err != nil {
		return fmt.Errorf("node of %s: %w", spec.Cluster, err)
	}
	s := &supervisor{spec: spec, running: map[int]int{}, status: Status{Components: make([]ComponentStatus, len(spec.Components))}}
	for i, c := range spec.Components {
		s.status.Components[i].Name = c.Name
	}
	signals := make(chan os.Signal, 64)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGCHLD)
	for _, p := range spec.Publish {
		go publish(p)
	}
	for i := range spec.Components {
		go s.launch(i)
	}
	for sig := range signals {
		if sig == syscall.SIGCHLD {
			s.reap()
			continue
		}
		log.Printf("%s: stopping", sig)
		s.stop(signals)
		return nil
	}
	return nil
}

func readSpec(path string) (Spec, error) {
	var spec Spec
	data, err := os.ReadFile(path)
	if err != nil {
		return spec, err
	}
	if err := json.Unmarshal(data, &spec); err != nil {
		return spec, fmt.Errorf("%s: %w", path, err)
	}
	return spec, nil
}

func setUp(spec Spec) error {
	if err := joinCgroups(spec.Cgroups); err != nil {
		return err
	}
	if err := view(spec); err != nil {
		return err
	}
	if err := unix.Sethostname([]byte(spec.Hostname)); err != nil {
		return fmt.Errorf("set host name: %w", err)
	}
	for _, p := range spec.Publish {
		if err := os.MkdirAll(filepath.Dir(p.To), 0o755); err != nil {
			return err
		}
	}
	return setSysctls()
}

// publish copies a file once what it waits for answers.
func publish(p Publish) {
	awaitAll(p.Waits)
	data, err := os.ReadFile(p.From)
	if err == nil {
		tmp := filepath.Join(filepath.Dir(p.To), ".new")
		if err = os.WriteFile(tmp, data, 0o644); err == nil {
			err = os.Rename(tmp, p.To)
		}
	}
	if err != nil {
		log.Printf("publish %s: %v", p.To, err)
	}
}

// supervisor keeps the components running.
type supervisor struct {
	spec Spec

	mu       sync.Mutex
	running  map[int]int // process id -> index of the component
	status   Status
	stopping bool
}

// launch waits for what the component waits for, then starts it.
func (s *supervisor) launch(i int) {
	c := s.spec.Components[i]
	awaitAll(c.Waits)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopping {
		return
	}
	pid, err := s.start(i)
	st := &s.status.Components[i]
	st.Since = time.Now()
	if err != nil {
		log.Printf("start %s: %v", c.Name, err)
		st.Exits++
		st.LastExit = err.Error()
		time.AfterFunc(restartDelay, func() { s.launch(i) })
	} else {
		s.running[pid] = i
		st.Running = true
	}
	s.writeStatus()
}

func (s *supervisor) start(i int) (int, error) {
	c := s.spec.Components[i]
	out, err := os.OpenFile(filepath.Join(s.spec.LogDir, c.Name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return 0, err
	}
	defer func() { _ = out.Close() }()
	null, err := os.Open(os.DevNull)
	if err != nil {
		return 0, err
	}
	defer func() { _ = null.Close() }()
	// os.StartProcess, not os/exec: every child is reaped in one place.
	p, err := os.StartProcess(c.Args[0], c.Args, &os.ProcAttr{
		Dir:   "/",
		Env:   append(append([]string{}, s.spec.Env...), c.Env...),
		Files: []*os.File{null, out, out},
		Sys:   &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		return 0, err
	}
	pid := p.Pid
	_ = p.Release() // reap waits for it by its number
	return pid, nil
}

// reap collects every child that has ended and starts components again.
func (s *supervisor) reap() {
	for {
		var ws unix.WaitStatus
		pid, err := unix.Wait4(-1, &ws, unix.WNOHANG, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || pid <= 0 {
			return
		}
		s.ended(pid, ws)
	}
}

func (s *supervisor) ended(pid int, ws unix.WaitStatus) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i, ours := s.running[pid]
	if !ours {
		return
	}
	delete(s.running, pid)
	st := &s.status.Components[i]
	st.Running = false
	st.Since = time.Now()
	st.LastExit = describe(ws)
	if !s.stopping {
		st.Exits++
		log.Printf("%s ended: %s", st.Name, st.LastExit)
		time.AfterFunc(restartDelay, func() { s.launch(i) })
	}
	s.writeStatus()
}

func (s *supervisor) writeStatus() {
	if err := WriteJSON(s.spec.StatusFile, s.status, 0o644); err != nil {
		log.Print(err)
	}
}

// stop ends every process of the cluster: the kubelet first, so that it starts
// no pod again, etcd last, so that the API server can finish.
func (s *supervisor) stop(signals <-chan os.Signal) {
	s.mu.Lock()
	s.stopping = true
	s.mu.Unlock()
	deadline := time.Now().Add(stopGrace)
	s.signal("kubelet", unix.SIGTERM)
	time.Sleep(200 * time.Millisecond)
	etcd := s.pid("etcd")
	for _, pid := range processes() {
		if pid != etcd {
			_ = unix.Kill(pid, unix.SIGTERM)
		}
	}
	s.await(signals, deadline, func(pids []int) bool { return len(pids) == 0 || (len(pids) == 1 && pids[0] == etcd) })
	s.signal("etcd", unix.SIGTERM)
	s.await(signals, time.Now().Add(2*time.Second), func(pids []int) bool { return len(pids) == 0 })
	_ = unix.Kill(-1, unix.SIGKILL) // whoever is left in this process namespace
	s.reap()
}

func (s *supervisor) await(signals <-chan os.Signal, deadline time.Time, done func([]int) bool) {
	for time.Now().Before(deadline) && !done(processes()) {
		select {
		case <-signals:
		case <-time.After(waitPoll):
		}
		s.reap()
	}
}

func (s *supervisor) pid(name string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	for pid, i := range s.running {
		if s.spec.Components[i].Name == name {
			return pid
		}
	}
	return 0
}

func (s *supervisor) signal(name string, sig unix.Signal) {
	if pid := s.pid(name); pid > 0 {
		_ = unix.Kill(pid, sig)
	}
}

// processes are all processes of this namespace but this one.
func processes() []int {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var pids []int
	for _, e := range entries {
		var pid int
		if _, err := fmt.Sscanf(e.Name(), "%d", &pid); err == nil && pid > 1 {
			pids = append(pids, pid)
		}
	}
	return pids
}

func describe(ws unix.WaitStatus) string {
	if ws.Signaled() {
		return fmt.Sprintf("killed by %s", ws.Signal())
	}
	return fmt.Sprintf("exit code %d", ws.ExitStatus())
}

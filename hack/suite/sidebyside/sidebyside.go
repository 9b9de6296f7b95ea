package sidebyside

import (
	"bytes"
	"cmp"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// Run runs the tests in so many processes at once, this one included, and returns the exit code. end is called after the tests of each
// process, with what they came to.
// What the others write is printed when this one has ended: lines of several do not mix.
//
// A process that is told what to skip, as the further ones are, runs everything else itself; so does one that measures coverage.
func Run(m *testing.M, processes int, end func(code int)) int {
	flag.Parse()
	others, err := start(processes)
	code := 0
	if err != nil {
		fmt.Println("FAIL: run the tests in several processes:", err)
		code = 1
	} else {
		code = m.Run()
		end(code)
	}
	for _, other := range others {
		code = max(code, other.end())
	}
	return code
}

// start starts the further processes, and leaves to this one its share.
func start(processes int) ([]*process, error) {
	for _, name := range []string{"test.skip", "test.list", "test.coverprofile"} {
		if flag.Lookup(name).Value.String() != "" {
			return nil, nil
		}
	}
	run, _, _ := strings.Cut(flag.Lookup("test.run").Value.String(), "/")
	listed, err := exec.Command(os.Args[0], "-test.list="+cmp.Or(run, ".")).Output() //nolint:gosec // ourselves
	if err != nil {
		return nil, fmt.Errorf("list them: %w", err)
	}
	var others []*process
	for i, skip := range deal(strings.Fields(string(listed)), processes) {
		if i == 0 {
			err = flag.Set("test.skip", skip)
		} else {
			other := &process{command: exec.Command(os.Args[0], slices.Concat([]string{"-test.skip=" + skip}, os.Args[1:])...)} //nolint:gosec // ourselves
			others, err = append(others, other), other.start()
		}
		if err != nil {
			return others, err
		}
	}
	return others, nil
}

// deal gives each process every nth test. It returns what each has to skip, as a pattern for -test.skip; none if there are no tests.
func deal(tests []string, processes int) []string {
	skips := make([]string, min(processes, len(tests)))
	for i := range skips {
		var others []string
		for j, test := range tests {
			if j%len(skips) != i {
				others = append(others, test)
			}
		}
		skips[i] = "^(" + strings.Join(others, "|") + ")$"
	}
	return skips
}

// process is a further process.
type process struct {
	command *exec.Cmd
	output  bytes.Buffer
}

func (p *process) start() error {
	runtime.LockOSThread() // for good: the signal comes when the thread that started the process ends, and this keeps it for TestMain
	p.command.Stdout, p.command.Stderr = &p.output, &p.output
	p.command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	return p.command.Start()
}

// end waits for the process, prints all that it wrote, and returns its exit code.
func (p *process) end() int {
	err := p.command.Wait()
	_, _ = os.Stdout.Write(p.output.Bytes())
	if err == nil {
		return 0
	}
	if failed := (*exec.ExitError)(nil); !errors.As(err, &failed) || failed.ExitCode() != 1 { // 1 is said by the tests themselves
		fmt.Printf("FAIL: a further process of these tests: %v\n", err)
	}
	return 1
}

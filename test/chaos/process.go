package chaos

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
)

// process is a child process that can be started again.
type process struct {
	name string
	args []string
	env  []string
	log  string

	mu      sync.Mutex
	command *exec.Cmd
	done    chan struct{} // closed when the command has ended
}

// start starts the process unless it runs. It dies with the test, however that ends.
func (p *process) start() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.runs() {
		return nil
	}
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, privateFile)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	command := exec.Command(p.args[0], p.args[1:]...)
	command.Stdout, command.Stderr, command.Env = log, log, append(os.Environ(), p.env...)
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := startLocked(command); err != nil {
		return fmt.Errorf("start %s: %w", p.name, err)
	}
	done := make(chan struct{})
	p.command, p.done = command, done
	go func() {
		defer close(done)
		_ = command.Wait() // killed, as a rule
	}()
	return nil
}

func (p *process) running() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.runs()
}

func (p *process) runs() bool {
	if p.done == nil {
		return false
	}
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// kill is kill -9, and waits for the end.
func (p *process) kill() {
	p.signal(syscall.SIGKILL)
	p.mu.Lock()
	done := p.done
	p.mu.Unlock()
	if done != nil {
		<-done
	}
}

func (p *process) signal(signal syscall.Signal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.runs() {
		_ = p.command.Process.Signal(signal) // it may have ended just now
	}
}

// Pdeathsig is sent when the thread that started the child ends, not the process. So one thread that never ends starts them all.
var (
	spawnOnce sync.Once
	spawn     = make(chan func())
)

// startLocked starts a command from the thread that lives as long as this process.
func startLocked(command *exec.Cmd) error {
	spawnOnce.Do(func() {
		go func() {
			runtime.LockOSThread()
			for f := range spawn {
				f()
			}
		}()
	})
	result := make(chan error)
	spawn <- func() { result <- command.Start() }
	return <-result
}

package process

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Marker is the variable that names the fleet in each process's environment.
const Marker = "STELLARFLOW_FLEET"

// Record is one process: enough to know it again.
type Record struct {
	Name string `json:"name"`
	PID  int    `json:"pid"`
	// Start is the time of its start in clock ticks since boot.
	Start uint64 `json:"start"`
	// Boot is the boot the ticks count from.
	Boot string `json:"boot"`
	// Since is the time of its start on the clock, to the second.
	Since time.Time `json:"since"`
}

// Options say how to start a process.
type Options struct {
	Name string
	// Fleet is the fleet's ID.
	Fleet string
	Args  []string
	Env   []string
	// Log takes standard output and error; it is appended to.
	Log string
	// Netns is the path of a network namespace to start in; empty for the
	// machine's own.
	Netns string
	// Isolate gives it process, mount, host name and IPC namespaces.
	Isolate bool
}

// Start starts a process of its own session, that outlives this one.
func Start(o Options) (Record, error) {
	out, err := openLog(o.Log)
	if err != nil {
		return Record{}, err
	}
	defer func() { _ = out.Close() }()
	cmd := exec.Command(o.Args[0], o.Args[1:]...) //nolint:gosec // the fleet's own programs
	cmd.Env = append(append(os.Environ(), o.Env...), Marker+"="+o.Fleet)
	cmd.Dir = "/"
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if o.Isolate {
		cmd.SysProcAttr.Cloneflags = unix.CLONE_NEWPID | unix.CLONE_NEWNS | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC
	}
	since := time.Now().Truncate(time.Second)
	if err := startIn(o.Netns, cmd); err != nil {
		return Record{}, fmt.Errorf("start %s: %w", o.Name, err)
	}
	pid := cmd.Process.Pid
	go func() { _ = cmd.Wait() }() // reap it if it ends before we do
	start, err := startTime(pid)
	if err != nil {
		return Record{}, fmt.Errorf("start %s: it ended at once, see %s", o.Name, o.Log)
	}
	return Record{Name: o.Name, PID: pid, Start: start, Boot: bootID(), Since: since}, nil
}

func openLog(path string) (*os.File, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	return os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
}

// startIn starts a command in a network namespace. A thread enters it and is
// thrown away after the start.
func startIn(netns string, cmd *exec.Cmd) error {
	if netns == "" {
		return cmd.Start()
	}
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with this goroutine
		fd, err := unix.Open(netns, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			done <- fmt.Errorf("open network namespace %s: %w", netns, err)
			return
		}
		defer func() { _ = unix.Close(fd) }()
		if err := unix.Setns(fd, unix.CLONE_NEWNET); err != nil {
			done <- fmt.Errorf("enter network namespace %s: %w", netns, err)
			return
		}
		done <- cmd.Start()
	}()
	return <-done
}

// Alive tells whether the recorded process is still there.
func (r Record) Alive() bool {
	if r.PID <= 0 || r.Boot != bootID() {
		return false
	}
	start, err := startTime(r.PID)
	return err == nil && start == r.Start
}

// Find lists the processes that carry the fleet's ID, but this one.
func Find(fleet string) []int {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	want := Marker + "=" + fleet
	var pids []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		env, err := os.ReadFile(filepath.Join("/proc", e.Name(), "environ"))
		if err == nil && slices.Contains(strings.Split(string(env), "\x00"), want) {
			if _, err := startTime(pid); err == nil {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}

// Strays are processes that carry the fleet's ID, run in this process
// namespace (so not inside a cluster) and are none of the known ones.
func Strays(fleet string, known []Record) []int {
	own, err := os.Readlink("/proc/self/ns/pid")
	if err != nil {
		return nil
	}
	var strays []int
	for _, pid := range Find(fleet) {
		ns, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", pid))
		isKnown := slices.ContainsFunc(known, func(r Record) bool { return r.PID == pid && r.Alive() })
		if err == nil && ns == own && !isKnown {
			strays = append(strays, pid)
		}
	}
	return strays
}

// Stop sends TERM to a recorded process, waits, and sends KILL to one that is
// left after the grace.
func (r Record) Stop(grace time.Duration) error {
	if !r.Alive() {
		return nil
	}
	_ = unix.Kill(r.PID, unix.SIGTERM)
	if r.gone(grace) {
		return nil
	}
	_ = unix.Kill(r.PID, unix.SIGKILL)
	if r.gone(10 * time.Second) {
		return nil
	}
	return fmt.Errorf("%s (process %d) does not end; look at /proc/%d/stack", r.Name, r.PID, r.PID)
}

func (r Record) gone(within time.Duration) bool {
	deadline := time.Now().Add(within)
	for r.Alive() {
		if time.Now().After(deadline) {
			return false
		}
		time.Sleep(10 * time.Millisecond)
	}
	return true
}

// KillAll sends KILL to the processes list() returns until it returns none.
func KillAll(list func() ([]int, error), within time.Duration) error {
	deadline := time.Now().Add(within)
	for {
		pids, err := list()
		if err != nil {
			return err
		}
		if len(pids) == 0 {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("processes %v do not end; look at /proc/%d/stack", pids, pids[0])
		}
		for _, pid := range pids {
			if err := unix.Kill(pid, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
				return fmt.Errorf("kill process %d: %w", pid, err)
			}
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// startTime is field 22 of /proc/PID/stat. A zombie counts as ended.
func startTime(pid int) (uint64, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	return parseStat(string(data))
}

func parseStat(stat string) (uint64, error) {
	_, rest, ok := cutLast(stat, ") ") // the name may hold anything
	fields := strings.Fields(rest)
	if !ok || len(fields) < 20 {
		return 0, fmt.Errorf("cannot read %q", stat)
	}
	if fields[0] == "Z" || fields[0] == "X" {
		return 0, errors.New("has ended")
	}
	return strconv.ParseUint(fields[19], 10, 64)
}

func cutLast(s, sep string) (string, string, bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

func bootID() string {
	data, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(data))
}

package cgroup

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Hierarchy is one mounted cgroup hierarchy.
type Hierarchy struct {
	// Mount is where it is mounted.
	Mount string
	// V2 tells the unified hierarchy from those of version 1.
	V2 bool
	// Controllers are those of version 1, from the mount's options.
	Controllers []string
}

// Tree is all the hierarchies of a machine.
type Tree []Hierarchy

// ParseMounts reads a mountinfo file (proc(5)).
func ParseMounts(r io.Reader) (Tree, error) {
	var tree Tree
	scan := bufio.NewScanner(r)
	for scan.Scan() {
		before, after, ok := strings.Cut(scan.Text(), " - ")
		fields, rest := strings.Fields(before), strings.Fields(after)
		if !ok || len(fields) < 5 || len(rest) < 3 {
			continue
		}
		h := Hierarchy{Mount: fields[4]}
		switch rest[0] {
		case "cgroup":
			h.Controllers = strings.Split(rest[2], ",")
		case "cgroup2":
			h.V2 = true
		default:
			continue
		}
		if !slices.ContainsFunc(tree, func(o Hierarchy) bool { return o.Mount == h.Mount }) {
			tree = append(tree, h)
		}
	}
	return tree, scan.Err()
}

// Current reads the hierarchies of this process.
func Current() (Tree, error) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	tree, err := ParseMounts(f)
	if err != nil {
		return nil, fmt.Errorf("read /proc/self/mountinfo: %w", err)
	}
	if len(tree) == 0 {
		return nil, errors.New("no cgroup hierarchy is mounted; mount one: mount -t cgroup2 none /sys/fs/cgroup")
	}
	return tree, nil
}

// Ensure makes the directory path (relative, "fleet/cluster") and a leaf below
// it for processes, in every hierarchy, ready for a kubelet's pods beside the
// leaf. It returns the files that a process joins the leaf by: writing 0 to
// each.
func (t Tree) Ensure(path, leaf string) ([]string, error) {
	var join []string
	for _, h := range t {
		if err := h.ensure(path); err != nil {
			return nil, err
		}
		dir := filepath.Join(h.Mount, path, leaf)
		if err := mkdir(dir); err != nil {
			return nil, err
		}
		if err := h.fillCpuset(filepath.Join(path, leaf)); err != nil {
			return nil, err
		}
		join = append(join, filepath.Join(dir, "cgroup.procs"))
	}
	return join, nil
}

// ensure makes path level by level and readies each level for children.
func (h Hierarchy) ensure(path string) error {
	if h.V2 {
		if err := h.delegate("."); err != nil {
			return err
		}
	}
	done := ""
	for _, part := range strings.Split(path, "/") {
		done = filepath.Join(done, part)
		if err := mkdir(filepath.Join(h.Mount, done)); err != nil {
			return err
		}
		if err := h.fillCpuset(done); err != nil {
			return err
		}
		if h.V2 {
			if err := h.delegate(done); err != nil {
				return err
			}
		}
	}
	return nil
}

// fillCpuset copies cpus and memory nodes from the parent: a cpuset of version
// 1 that has none takes no process.
func (h Hierarchy) fillCpuset(path string) error {
	if h.V2 || !slices.Contains(h.Controllers, "cpuset") {
		return nil
	}
	dir := filepath.Join(h.Mount, path)
	for _, name := range []string{"cpuset.cpus", "cpuset.mems"} {
		have, err := os.ReadFile(filepath.Join(dir, name))
		if err == nil && strings.TrimSpace(string(have)) != "" {
			continue
		}
		from, err := os.ReadFile(filepath.Join(filepath.Dir(dir), name))
		if err != nil {
			return fmt.Errorf("read %s of the parent of %s: %w", name, dir, err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), from, 0o644); err != nil {
			return fmt.Errorf("fill %s: %w", filepath.Join(dir, name), err)
		}
	}
	return nil
}

// delegate enables for the children of path every controller path has. One
// that cannot be enabled is left: the kubelet says which it misses.
func (h Hierarchy) delegate(path string) error {
	dir := filepath.Join(h.Mount, path)
	have, err := os.ReadFile(filepath.Join(dir, "cgroup.controllers"))
	if err != nil {
		return fmt.Errorf("read the controllers of %s: %w", dir, err)
	}
	control := filepath.Join(dir, "cgroup.subtree_control")
	enabled, err := os.ReadFile(control)
	if err != nil {
		return fmt.Errorf("read %s: %w", control, err)
	}
	on := strings.Fields(string(enabled))
	for _, c := range strings.Fields(string(have)) {
		if slices.Contains(on, c) {
			continue
		}
		f, err := os.OpenFile(control, os.O_WRONLY|os.O_APPEND, 0)
		if err != nil {
			return fmt.Errorf("open %s: %w", control, err)
		}
		_, _ = f.WriteString("+" + c + " ") // see above: not every controller can be had
		_ = f.Close()
	}
	return nil
}

// Pids are the processes in path and below, in any hierarchy, sorted. A path
// that does not exist has none.
func (t Tree) Pids(path string) ([]int, error) {
	seen := map[int]bool{}
	for _, h := range t {
		dirs, err := h.dirs(path)
		if err != nil {
			return nil, err
		}
		for _, dir := range dirs {
			data, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
			if err != nil {
				continue // the directory went away meanwhile
			}
			for _, f := range strings.Fields(string(data)) {
				if pid, err := strconv.Atoi(f); err == nil && pid > 0 {
					seen[pid] = true
				}
			}
		}
	}
	pids := make([]int, 0, len(seen))
	for pid := range seen {
		pids = append(pids, pid)
	}
	slices.Sort(pids)
	return pids, nil
}

// Remove removes path and everything below it from every hierarchy. It fails
// while processes are left there.
func (t Tree) Remove(path string) error {
	var errs []error
	for _, h := range t {
		dirs, err := h.dirs(path)
		if err != nil {
			errs = append(errs, err)
		}
		for _, dir := range slices.Backward(dirs) { // children before parents
			if err := removeDir(dir); err != nil {
				errs = append(errs, fmt.Errorf("remove cgroup %s: %w", dir, err))
			}
		}
	}
	return errors.Join(errs...)
}

// Exists tells in which hierarchies path is.
func (t Tree) Exists(path string) []string {
	var found []string
	for _, h := range t {
		dir := filepath.Join(h.Mount, path)
		if _, err := os.Stat(dir); err == nil {
			found = append(found, dir)
		}
	}
	return found
}

// dirs lists path and the directories below it, parents first.
func (h Hierarchy) dirs(path string) ([]string, error) {
	var dirs []string
	err := filepath.WalkDir(filepath.Join(h.Mount, path), func(p string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		if d.IsDir() {
			dirs = append(dirs, p)
		}
		return nil
	})
	return dirs, err
}

// removeDir uses rmdir only: the files of a cgroup directory are the kernel's.
func removeDir(dir string) error {
	err := os.Remove(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func mkdir(dir string) error {
	if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("make cgroup %s: %w", dir, err)
	}
	return nil
}

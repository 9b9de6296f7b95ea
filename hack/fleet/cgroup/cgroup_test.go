package cgroup

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const hybrid = `27 1 254:0 / / rw,relatime - ext4 /dev/vda rw
30 24 0:26 / /sys/fs/cgroup ro,nosuid - tmpfs tmpfs ro,mode=755
31 30 0:27 / /sys/fs/cgroup/unified rw,nosuid - cgroup2 cgroup2 rw
32 30 0:28 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:11 - cgroup cgroup rw,cpu,cpuacct
33 30 0:29 / /sys/fs/cgroup/cpuset rw,nosuid shared:12 - cgroup cgroup rw,cpuset
34 30 0:30 / /sys/fs/cgroup/systemd rw,nosuid - cgroup cgroup rw,name=systemd
35 30 0:29 / /sys/fs/cgroup/cpuset rw,nosuid shared:12 - cgroup cgroup rw,cpuset
`

func TestParseMounts(t *testing.T) {
	cases := map[string]struct {
		mountinfo string
		want      Tree
	}{
		"hybrid, one mounted twice": {hybrid, Tree{
			{Mount: "/sys/fs/cgroup/unified", V2: true},
			{Mount: "/sys/fs/cgroup/cpu,cpuacct", Controllers: []string{"rw", "cpu", "cpuacct"}},
			{Mount: "/sys/fs/cgroup/cpuset", Controllers: []string{"rw", "cpuset"}},
			{Mount: "/sys/fs/cgroup/systemd", Controllers: []string{"rw", "name=systemd"}},
		}},
		"version 2 only": {"25 1 0:22 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n", Tree{{Mount: "/sys/fs/cgroup", V2: true}}},
		"none":           {"27 1 254:0 / / rw,relatime - ext4 /dev/vda rw\nnonsense\n", nil},
	}
	for reason, tc := range cases {
		t.Run(reason, func(t *testing.T) {
			got, err := ParseMounts(strings.NewReader(tc.mountinfo))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestEnsureV1(t *testing.T) {
	root := t.TempDir()
	tree := Tree{
		{Mount: filepath.Join(root, "cpuset"), Controllers: []string{"cpuset"}},
		{Mount: filepath.Join(root, "memory"), Controllers: []string{"memory"}},
	}
	write(t, filepath.Join(root, "cpuset/cpuset.cpus"), "0-1\n")
	write(t, filepath.Join(root, "cpuset/cpuset.mems"), "0\n")
	write(t, filepath.Join(root, "memory/x"), "")
	join, err := tree.Ensure("sf-1/hub", "node")
	if err != nil {
		t.Fatal(err)
	}
	want := []string{filepath.Join(root, "cpuset/sf-1/hub/node/cgroup.procs"), filepath.Join(root, "memory/sf-1/hub/node/cgroup.procs")}
	if diff := cmp.Diff(want, join); diff != "" {
		t.Errorf("files to join by: -want +got:\n%s", diff)
	}
	for _, dir := range []string{"sf-1", "sf-1/hub", "sf-1/hub/node"} {
		if got := read(t, filepath.Join(root, "cpuset", dir, "cpuset.cpus")); got != "0-1\n" {
			t.Errorf("%s: cpuset.cpus is %q: it takes no process", dir, got)
		}
	}
	// A second time changes nothing that someone narrowed.
	write(t, filepath.Join(root, "cpuset/sf-1/cpuset.cpus"), "0\n")
	if _, err := tree.Ensure("sf-1/hub", "node"); err != nil {
		t.Fatal(err)
	}
	if got := read(t, filepath.Join(root, "cpuset/sf-1/cpuset.cpus")); got != "0\n" {
		t.Errorf("cpuset.cpus was %q, became %q", "0\n", got)
	}
}

// fakeV2 makes the files the kernel would make in directories that exist.
func fakeV2(t *testing.T, root string, dirs ...string) Tree {
	t.Helper()
	for _, d := range dirs {
		write(t, filepath.Join(root, d, "cgroup.controllers"), "cpuset cpu io memory pids\n")
		write(t, filepath.Join(root, d, "cgroup.subtree_control"), "")
	}
	return Tree{{Mount: root, V2: true}}
}

func TestEnsureV2(t *testing.T) {
	root := t.TempDir()
	tree := fakeV2(t, root, "", "sf-1", "sf-1/hub", "sf-1/hub/node")
	write(t, filepath.Join(root, "cgroup.subtree_control"), "cpu memory ")
	join, err := tree.Ensure("sf-1/hub", "node")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{filepath.Join(root, "sf-1/hub/node/cgroup.procs")}, join); diff != "" {
		t.Errorf("files to join by: -want +got:\n%s", diff)
	}
	cases := map[string]struct{ dir, want string }{
		"only what is not on yet":           {"", "cpu memory +cpuset +io +pids "},
		"the fleet's directory":             {"sf-1", "+cpuset +cpu +io +memory +pids "},
		"the cluster's, for pods":           {"sf-1/hub", "+cpuset +cpu +io +memory +pids "},
		"a leaf with processes may have no": {"sf-1/hub/node", ""},
	}
	for reason, tc := range cases {
		t.Run(reason, func(t *testing.T) {
			if got := read(t, filepath.Join(root, tc.dir, "cgroup.subtree_control")); got != tc.want {
				t.Errorf("%s: cgroup.subtree_control is %q, want %q", tc.dir, got, tc.want)
			}
		})
	}
}

func TestEnsureMissingController(t *testing.T) {
	root := t.TempDir()
	tree := Tree{{Mount: root, V2: true}}
	if _, err := tree.Ensure("sf-1", "node"); err == nil || !strings.Contains(err.Error(), root) {
		t.Errorf("a hierarchy without controllers: got %v, want an error that names it", err)
	}
}

func TestPids(t *testing.T) {
	root := t.TempDir()
	tree := Tree{{Mount: filepath.Join(root, "a")}, {Mount: filepath.Join(root, "b")}}
	write(t, filepath.Join(root, "a/sf-1/cgroup.procs"), "")
	write(t, filepath.Join(root, "a/sf-1/hub/cgroup.procs"), "30\n4\n")
	write(t, filepath.Join(root, "b/sf-1/hub/kubepods/pod1/cgroup.procs"), "4\n5\n0\n")
	write(t, filepath.Join(root, "a/sf-10/cgroup.procs"), "99\n")
	cases := map[string]struct {
		path string
		want []int
	}{
		"all of a fleet, once each": {"sf-1", []int{4, 5, 30}},
		"of a cluster":              {"sf-1/hub", []int{4, 5, 30}},
		"of nothing":                {"sf-2", []int{}},
	}
	for reason, tc := range cases {
		t.Run(reason, func(t *testing.T) {
			got, err := tree.Pids(tc.path)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestRemove(t *testing.T) {
	root := t.TempDir()
	tree := Tree{{Mount: root}}
	for _, dir := range []string{"sf-1/hub/kubepods/pod1", "sf-1/hub/node", "sf-10/hub"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff([]string{filepath.Join(root, "sf-1")}, tree.Exists("sf-1")); diff != "" {
		t.Errorf("Exists: -want +got:\n%s", diff)
	}
	if err := tree.Remove("sf-1"); err != nil {
		t.Fatal(err)
	}
	if found := tree.Exists("sf-1"); found != nil {
		t.Errorf("left: %v", found)
	}
	if tree.Exists("sf-10") == nil {
		t.Error("another fleet's directory is gone")
	}
	if err := tree.Remove("sf-1"); err != nil {
		t.Errorf("a second time: %v", err)
	}
	// A directory that is busy stays, and is said.
	write(t, filepath.Join(root, "sf-2/busy"), "")
	if err := tree.Remove("sf-2"); err == nil || !strings.Contains(err.Error(), "sf-2") {
		t.Errorf("a busy cgroup: got %v, want an error that names it", err)
	}
}

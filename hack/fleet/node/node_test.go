package node

import (
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func TestAnswers(t *testing.T) {
	status := http.StatusOK
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }))
	defer server.Close()
	sock := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", sock)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	cases := map[string]struct {
		addr string
		code int
		want bool
	}{
		"TCP that listens":     {addr: server.Listener.Addr().String(), want: true},
		"TCP that does not":    {addr: "127.0.0.1:1"},
		"socket that listens":  {addr: "unix:" + sock, want: true},
		"socket that does not": {addr: "unix:" + sock + "x"},
		"ready":                {addr: server.URL + "/readyz", code: http.StatusOK, want: true},
		"not ready":            {addr: server.URL + "/readyz", code: http.StatusInternalServerError},
		"nobody":               {addr: "https://127.0.0.1:1/readyz"},
	}
	for reason, tc := range cases {
		t.Run(reason, func(t *testing.T) {
			if tc.code != 0 {
				status = tc.code
			}
			if got := answers(tc.addr); got != tc.want {
				t.Errorf("answers(%q) = %t", tc.addr, got)
			}
		})
	}
}

func TestPublish(t *testing.T) {
	dir := t.TempDir()
	from, to := filepath.Join(dir, "from"), filepath.Join(dir, "to")
	if err := os.WriteFile(from, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	publish(Publish{From: from, To: to, Waits: []string{l.Addr().String()}})
	if data, err := os.ReadFile(to); err != nil || string(data) != "x" {
		t.Errorf("published %q, %v", data, err)
	}
}

func TestDescribe(t *testing.T) {
	cases := map[string]struct {
		ws   unix.WaitStatus
		want string
	}{
		"exit code": {3 << 8, "exit code 3"},
		"killed":    {9, "killed by killed"},
		"TERM":      {15, "killed by terminated"},
	}
	for reason, tc := range cases {
		t.Run(reason, func(t *testing.T) {
			if got := describe(tc.ws); got != tc.want {
				t.Errorf("describe(%d) = %q, want %q", tc.ws, got, tc.want)
			}
		})
	}
}

func TestStatusFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state", "status.json")
	want := Status{Components: []ComponentStatus{{Name: "etcd", Running: true}, {Name: "kubelet", Exits: 2, LastExit: "exit code 1"}}}
	if err := WriteJSON(path, want, 0o644); err != nil {
		t.Fatal(err)
	}
	got, err := ReadStatus(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadStatus(path); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("half a file: got %v, want an error that names it", err)
	}
}

func TestRunRefusesToBeAnyProcess(t *testing.T) {
	path := filepath.Join(t.TempDir(), "node.json")
	if err := WriteJSON(path, Spec{Cluster: "hub"}, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := Run(path); err == nil || !strings.Contains(err.Error(), "fleet up") {
		t.Errorf("got %v, want an error that says who starts it", err)
	}
	if err := Run(path + "x"); err == nil {
		t.Error("a missing file is no error")
	}
}

func TestJoinCgroups(t *testing.T) {
	file := filepath.Join(t.TempDir(), "cgroup.procs")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := joinCgroups([]string{file}); err != nil {
		t.Fatal(err)
	}
	if data, _ := os.ReadFile(file); string(data) != "0\n" {
		t.Errorf("wrote %q, want 0: the writer itself", data)
	}
	if err := joinCgroups([]string{t.TempDir()}); err == nil {
		t.Error("a directory took the process")
	}
}

func TestKeep(t *testing.T) {
	kept, err := open([]string{"/usr", "/opt/x", "/variable", "/var/lib"})
	if err != nil {
		t.Fatal(err)
	}
	if len(kept) != 1 {
		t.Errorf("kept %v, want /var/lib only", kept)
	}
	if _, err := open([]string{"/var/no/such/directory"}); err == nil || !strings.Contains(err.Error(), "/var/no/such/directory") {
		t.Errorf("a missing directory: got %v, want an error that names it", err)
	}
}

package main

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"stellarflow.io/stellarflow/hack/fleet/node"
	"stellarflow.io/stellarflow/hack/fleet/plan"
)

func testFleet(t *testing.T, name string) *fleet {
	t.Helper()
	p, err := plan.New(t.TempDir(), name, 2)
	if err != nil {
		t.Fatal(err)
	}
	return &fleet{Fleet: p, say: newProgress(&bytes.Buffer{})}
}

func up(t *testing.T, name string) *fleet {
	t.Helper()
	f := testFleet(t, name)
	f.rec = record{
		Subnet: netip.MustParsePrefix("172.30.7.0/24"), WECs: 2, ArgoPort: 2746, MinioPort: 9000, AccessKey: "stellarflow", SecretKey: "secret",
	}
	if err := node.WriteJSON(f.RecordFile(), f.rec, 0o600); err != nil {
		t.Fatal(err)
	}
	return f
}

func TestCommands(t *testing.T) {
	var names []string
	for _, c := range command().Commands() {
		if !c.Hidden {
			names = append(names, c.Name())
		}
	}
	want := []string{"assets", "build", "cut", "down", "heal", "kill", "load-image", "start", "status", "stop", "up"}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Errorf("commands: -want +got:\n%s", diff)
	}
}

func TestBadEnvironment(t *testing.T) {
	cases := map[string]struct{ name, value, want string }{
		"flavour":  {"FLEET", "docker", `FLEET="docker"`},
		"clusters": {"CLUSTERS", "many", `CLUSTERS="many"`},
		"name":     {"FLEET_NAME", "A B", `FLEET_NAME="A B"`},
		"reserved": {"FLEET_NAME", "logs", "choose another"},
	}
	for reason, tc := range cases {
		t.Run(reason, func(t *testing.T) {
			t.Setenv(tc.name, tc.value)
			if _, err := openBackend("up"); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%s=%s: got %v, want an error with %q", tc.name, tc.value, err, tc.want)
			}
		})
	}
}

func TestRecord(t *testing.T) {
	f := up(t, "")
	got, err := readRecord(f.Fleet)
	if err != nil {
		t.Fatal(err)
	}
	if got.Subnet != f.rec.Subnet || got.SecretKey != "secret" {
		t.Errorf("read back %+v", got)
	}
	info, err := os.Stat(f.RecordFile())
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the record holds a credential, its mode is %v, %v", info.Mode(), err)
	}
	if err := os.WriteFile(f.RecordFile(), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := readRecord(f.Fleet); err == nil || !strings.Contains(err.Error(), f.RecordFile()) {
		t.Errorf("a damaged record: got %v, want an error that names the file", err)
	}
	if rec, err := readRecord(testFleet(t, "other").Fleet); err != nil || rec.Subnet.IsValid() {
		t.Errorf("a fleet that is not up: %+v, %v", rec, err)
	}
}

func TestWriteEnv(t *testing.T) {
	f := up(t, "ci")
	f.rec.ArgoPort, f.rec.MinioPort = 40001, 40002
	if err := f.writeEnv(); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		f.EnvFile(): "ARGO_URL=http://127.0.0.1:40001\nMINIO_URL=http://127.0.0.1:40002\nARGO_SERVER=127.0.0.1:40001\n" +
			"REGISTRY=172.30.7.1:5000\nSUBNET=172.30.7.0/24\nCLUSTERS=hub,cluster1,cluster2\n",
		f.MinioEnvFile(): "MINIO_ENDPOINT=172.30.7.2:9000\nMINIO_ACCESS_KEY=stellarflow\nMINIO_SECRET_KEY=secret\nMINIO_BUCKET=workflows\nMINIO_INSECURE=true\n",
	}
	for path, content := range want {
		got, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(content, string(got)); diff != "" {
			t.Errorf("%s: -want +got:\n%s", path, diff)
		}
	}
}

func TestAddressesOfKind(t *testing.T) {
	f := up(t, "")
	f.rec.Addresses = map[string]netip.Addr{
		"hub": netip.MustParseAddr("172.18.0.5"), "gateway": netip.MustParseAddr("172.18.0.1"), "store": netip.MustParseAddr("172.18.0.1"),
	}
	got := []string{f.clusters()[0].Server(), f.clusters()[1].Server(), f.registry(), f.store().Endpoint}
	want := []string{"https://172.18.0.5:6443", "https://172.30.7.11:6443", "172.18.0.1:5000", "172.18.0.1:9000"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestUnknownCluster(t *testing.T) {
	if _, err := up(t, "").cluster("cluster9"); err == nil || !strings.Contains(err.Error(), "cluster1, cluster2") {
		t.Errorf("got %v, want an error with the clusters there are", err)
	}
	if _, err := testFleet(t, "").cluster("hub"); err == nil || !strings.Contains(err.Error(), "fleet up") {
		t.Errorf("a fleet that is not up: got %v, want an error that says what to do", err)
	}
}

func TestImageTarget(t *testing.T) {
	f := up(t, "")
	cases := map[string]string{
		"busybox":                           "172.30.7.1:5000/library/busybox:latest",
		"docker/whalesay:latest":            "172.30.7.1:5000/docker/whalesay:latest",
		"quay.io/argoproj/argoexec:v3.7.18": "172.30.7.1:5000/argoproj/argoexec:v3.7.18",
		"registry.k8s.io/pause:3.10":        "172.30.7.1:5000/pause:3.10",
	}
	for ref, want := range cases {
		got, err := f.target(ref)
		if err != nil || got.Name() != want {
			t.Errorf("target(%q) = %v, %v; want %s", ref, got, err, want)
		}
	}
	if _, err := f.target("A B"); err == nil || !strings.Contains(err.Error(), "A B") {
		t.Errorf("a bad reference: got %v", err)
	}
}

func TestPorts(t *testing.T) {
	named := testFleet(t, "ci")
	var rec record
	if err := named.choosePorts(&rec); err != nil {
		t.Fatal(err)
	}
	if rec.ArgoPort == 0 || rec.MinioPort == 0 || rec.ArgoPort == rec.MinioPort {
		t.Errorf("ports %d and %d", rec.ArgoPort, rec.MinioPort)
	}
	again := rec
	if err := named.choosePorts(&again); err != nil || again.ArgoPort != rec.ArgoPort || again.MinioPort != rec.MinioPort {
		t.Errorf("free ports were not kept: %+v, then %+v, %v", rec, again, err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	again.ArgoPort = l.Addr().(*net.TCPAddr).Port
	if err := named.choosePorts(&again); err != nil || again.ArgoPort == l.Addr().(*net.TCPAddr).Port {
		t.Errorf("a port in use was kept: %d, %v", again.ArgoPort, err)
	}
}

func TestPoll(t *testing.T) {
	missing, broken := errors.New("not yet"), errors.New("broken")
	cases := map[string]struct {
		check func(n int) (bool, error)
		want  error
		calls int
	}{
		"at once":        {func(int) (bool, error) { return false, nil }, nil, 1},
		"a little later": {func(n int) (bool, error) { return false, map[bool]error{true: missing}[n < 3] }, nil, 3},
		"hopeless":       {func(int) (bool, error) { return true, broken }, broken, 1},
		"never":          {func(int) (bool, error) { return false, missing }, missing, 0},
	}
	for reason, tc := range cases {
		t.Run(reason, func(t *testing.T) {
			n := 0
			err := poll(t.Context(), 900*time.Millisecond, func() (bool, error) { n++; return tc.check(n) })
			if !errors.Is(err, tc.want) || (tc.want == nil && err != nil) || (tc.calls > 0 && n != tc.calls) {
				t.Errorf("got %v after %d calls, want %v after %d", err, n, tc.want, tc.calls)
			}
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := poll(ctx, time.Minute, func() (bool, error) { return false, missing }); !errors.Is(err, missing) {
		t.Errorf("told to end: got %v, want what was missing", err)
	}
}

func TestTail(t *testing.T) {
	path := filepath.Join(t.TempDir(), "etcd.log")
	if got := tail(path); !strings.Contains(got, path) || !strings.Contains(got, "empty") {
		t.Errorf("no log: %q", got)
	}
	long := strings.Repeat("padding\n", 10000)
	if err := os.WriteFile(path, []byte(long+"first of the last\n"+strings.Repeat("x\n", 13)+"the reason\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	lines := lastLines(path, 15)
	if err := os.WriteFile(path+".long", []byte(strings.Repeat("y", 5000)), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := lastLines(path+".long", 1); len(got) != 1 || len(got[0]) > 400 {
		t.Errorf("a long line was not cut: %d bytes", len(got[0]))
	}
	if len(lines) != 15 || lines[0] != "first of the last" || lines[14] != "the reason" {
		t.Errorf("last lines: %q", lines)
	}
}

func TestFailingComponent(t *testing.T) {
	f := up(t, "")
	c := f.clusters()[1]
	if got := failingComponent(c, 1); got != "" {
		t.Errorf("without a status: %q", got)
	}
	status := node.Status{Components: []node.ComponentStatus{{Name: "etcd"}, {Name: "kubelet", Exits: 3, LastExit: "exit code 1"}}}
	if err := node.WriteJSON(c.StatusFile(), status, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := writeFile(filepath.Join(c.LogDir, "kubelet.log"), "no cgroup\n", 0o644); err != nil {
		t.Fatal(err)
	}
	if got := failingComponent(c, 4); got != "" {
		t.Errorf("three exits are not four: %q", got)
	}
	got := failingComponent(c, 3)
	for _, want := range []string{"kubelet of cluster cluster1", "3 times", "exit code 1", "no cgroup"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q does not say %q", got, want)
		}
	}
}

func TestFreshLogs(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "hub")
	for _, content := range []string{"first", "second", "third"} {
		if err := freshLogs(dir); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "etcd.log"), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for path, want := range map[string]string{dir: "third", dir + ".old": "second"} {
		if got, err := os.ReadFile(filepath.Join(path, "etcd.log")); err != nil || string(got) != want {
			t.Errorf("%s: %q, %v; want %q", path, got, err, want)
		}
	}
}

func TestRemoveFiles(t *testing.T) {
	def, err := plan.New(t.TempDir(), "", 2)
	if err != nil {
		t.Fatal(err)
	}
	named, err := plan.New(def.Checkout, "ci", 2)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range []plan.Fleet{def, named} {
		for _, path := range []string{p.EnvFile(), p.MinioEnvFile(), p.KubeletCAFile(), p.RecordFile(), filepath.Join(p.Dir(), "hub.kubeconfig"), filepath.Join(p.LogDir(), "hub", "x")} {
			if err := writeFile(path, "x", 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := (&fleet{Fleet: def}).removeFiles(); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(def.Dir())
	if err != nil || len(entries) != 1 || entries[0].Name() != "ci" {
		t.Fatalf("after down of the default fleet: %v, %v; want the other fleet only", entries, err)
	}
	if _, err := os.Stat(named.RecordFile()); err != nil {
		t.Errorf("the other fleet's files: %v", err)
	}
	if err := (&fleet{Fleet: named}).removeFiles(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(def.Dir()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf(".fleet is left: %v", err)
	}
}

func TestRunsSince(t *testing.T) {
	since := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	pod := func(ready bool, started time.Time) corev1.Pod {
		return corev1.Pod{Status: corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{{
			Ready: ready, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(started)}},
		}}}}
	}
	deleted := pod(true, since)
	deleted.DeletionTimestamp = &metav1.Time{Time: since}
	cases := map[string]struct {
		pod  corev1.Pod
		want bool
	}{
		"ready":                            {pod(true, since), true},
		"not ready":                        {pod(false, since), false},
		"remembered from before the start": {pod(true, since.Add(-time.Second)), false},
		"being deleted":                    {deleted, false},
		"no container yet":                 {corev1.Pod{}, false},
		"container is waiting":             {corev1.Pod{Status: corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{{}}}}, false},
	}
	for reason, tc := range cases {
		t.Run(reason, func(t *testing.T) {
			if got := runsSince(tc.pod, since); got != tc.want {
				t.Errorf("got %t", got)
			}
		})
	}
}

func TestGet(t *testing.T) {
	code := http.StatusForbidden
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }))
	defer server.Close()
	if err := get(t.Context(), server.URL); err != nil {
		t.Errorf("an answer is an answer: %v", err)
	}
	code = http.StatusBadGateway
	if err := get(t.Context(), server.URL); err == nil || !strings.Contains(err.Error(), "502") {
		t.Errorf("got %v, want 502", err)
	}
}

func TestTable(t *testing.T) {
	got := table([][]string{{"CLUSTER", "API"}, {"hub", "ok"}, {"cluster1", "stopped"}})
	want := "CLUSTER    API\nhub        ok\ncluster1   stopped\n"
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestRelink(t *testing.T) {
	link := filepath.Join(t.TempDir(), "kubectl")
	for _, target := range []string{"/a", "/b", "/b"} {
		if err := relink(target, link); err != nil {
			t.Fatal(err)
		}
		if got, err := os.Readlink(link); err != nil || got != target {
			t.Errorf("link to %q, %v; want %s", got, err, target)
		}
	}
}

package e2e

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"stellarflow.io/stellarflow/hack/fleet/network"
	"stellarflow.io/stellarflow/hack/fleet/plan"
	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
	"stellarflow.io/stellarflow/test/chaos/history"
	"stellarflow.io/stellarflow/test/chaos/recorder"
)

// testChaos breaks the fleet while Workflows with real pods run on it, records every state of every copy, and lets the checker of
// test/chaos judge. SEED draws who is hurt and when.
func testChaos(t *testing.T, f *fleet) {
	const workflows, every = 24, 2500 * time.Millisecond
	lots := rand.New(rand.NewPCG(chaosSeed(t), 6))
	namespace := f.newNamespace(t, "chaos")
	log := &recorder.Log{}
	books := make([]*recorder.Recorder, 0, 1+len(wecNames))
	for _, c := range f.all() {
		books = append(books, f.follow(t, c, namespace, log))
	}
	f.awaitManagers(t)
	t.Cleanup(func() { f.mend(t) })

	var storm sync.WaitGroup
	t.Cleanup(storm.Wait)
	for _, lane := range [][]func(*testing.T, *recorder.Log, time.Duration){
		{f.cutCluster(lots), f.stopCluster(lots), f.cutCluster(lots)},
		{f.killLeader, f.pauseLeader, f.killLeader},
	} {
		gaps := []time.Duration{some(lots, 8*time.Second), some(lots, 8*time.Second), some(lots, 8*time.Second)}
		storm.Go(func() {
			for i, strike := range lane {
				wait(t, gaps[i])
				strike(t, log, 5*time.Second+gaps[i])
			}
		})
	}
	for i := range workflows {
		name, target := fmt.Sprintf("wf-%02d", i), wecNames[lots.IntN(len(wecNames))]
		script := fmt.Sprintf("sleep %d; echo %s", 1+lots.IntN(8), name)
		template := shell(script)
		if lots.IntN(2) == 0 {
			template = retried(script)
		}
		f.create(t, namespace, suspended(name, target, template))
		deed, after := lots.IntN(8), 2*time.Second+some(lots, 10*time.Second)
		storm.Go(func() {
			wait(t, after)
			f.interfere(t, log, deed, f.wecs[target], namespace, name)
		})
		wait(t, every)
	}
	storm.Wait()
	if t.Failed() {
		return
	}
	f.settle(t, log, namespace)
	for _, book := range books {
		if err := book.Drain(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	judge(t, log.All(), workflows)
}

// settle waits until everything has ended, deletes it, and waits until it is gone.
func (f *fleet) settle(t *testing.T, log *recorder.Log, namespace string) {
	t.Helper()
	log.Fault("all is mended")
	f.awaitReady(t)
	eventually(t, patience, "every Workflow ends", func(ctx context.Context) error { return f.unfinished(ctx, namespace) })
	log.Add(history.Record{Kind: history.Quiet})
	f.checkPods(t, namespace)
	if err := f.hub.workflows.Namespace(namespace).DeleteCollection(t.Context(), metav1.DeleteOptions{}, metav1.ListOptions{}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	f.awaitNone(ctx, t, namespace, "")
	log.Add(history.Record{Kind: history.Ended})
}

// judge checks what was recorded.
func judge(t *testing.T, records []history.Record, workflows int) {
	t.Helper()
	report := history.Check(records)
	t.Logf("%d Workflows, %d runs: %s", report.Workflows, report.Starts, report.Line())
	// some are deleted before they are placed
	if report.Placed < workflows*3/4 || report.Starts < workflows/2 {
		t.Errorf("%d of %d Workflows were placed and %d runs started: this shows little", report.Placed, workflows, report.Starts)
	}
	for _, finding := range report.Findings {
		t.Errorf("%s %s %s", finding.Count, finding.Time.Format(time.StampMilli), finding.Text)
	}
	for _, record := range records {
		if record.Kind == history.Faulted && strings.Contains(record.Text, "incomplete") {
			t.Error(record.Text)
		}
		if t.Failed() && (record.Kind == history.Faulted || record.Kind == history.Acted || record.Kind == history.Began) {
			t.Logf("%s %s %s", record.Time.Format(time.StampMilli), record.Workflow.UID, record.Text)
		}
	}
}

// chaosSeed is SEED, or that of the day.
func chaosSeed(t *testing.T) uint64 {
	t.Helper()
	text := os.Getenv("SEED")
	if text == "" {
		text = time.Now().Format("20060102")
	}
	seed, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatalf("SEED=%q is no number: %v", text, err)
	}
	t.Logf("SEED=%d", seed)
	return seed
}

func some(lots *rand.Rand, most time.Duration) time.Duration {
	return time.Duration(lots.Int64N(int64(most)))
}

// wait lets time pass in which things happen: how long is part of the schedule.
func wait(t *testing.T, long time.Duration) {
	select {
	case <-t.Context().Done():
	case <-time.After(long):
	}
}

// hurt runs a command of hack/fleet from a goroutine of the storm.
func (f *fleet) hurt(t *testing.T, log *recorder.Log, args ...string) {
	log.Fault("begin %v", args)
	if _, err := f.try(t.Context(), nil, f.program, args...); err != nil {
		t.Errorf("fleet %v: %v", args, err)
	}
	log.Fault("end %v", args)
}

func (f *fleet) cutCluster(lots *rand.Rand) func(*testing.T, *recorder.Log, time.Duration) {
	target := wecNames[lots.IntN(len(wecNames))]
	return func(t *testing.T, log *recorder.Log, long time.Duration) {
		f.hurt(t, log, "cut", target)
		wait(t, long)
		f.hurt(t, log, "heal", target)
	}
}

func (f *fleet) stopCluster(lots *rand.Rand) func(*testing.T, *recorder.Log, time.Duration) {
	target := wecNames[lots.IntN(len(wecNames))]
	return func(t *testing.T, log *recorder.Log, long time.Duration) {
		f.hurt(t, log, "stop", target)
		wait(t, long)
		f.hurt(t, log, "start", target)
	}
}

// leader is the pod that leads, as soon as one does.
func (f *fleet) leader(t *testing.T) (corev1.Pod, bool) {
	ctx, cancel := context.WithTimeout(t.Context(), moment)
	defer cancel()
	for {
		pods, err := f.managers(ctx)
		if err == nil {
			return pods[0], true
		}
		select {
		case <-ctx.Done():
			t.Errorf("no manager leads: %v", err)
			return corev1.Pod{}, false
		case <-time.After(500 * time.Millisecond):
		}
	}
}

// killLeader kills the leader's process at once; its container is started again.
func (f *fleet) killLeader(t *testing.T, log *recorder.Log, _ time.Duration) {
	if pod, ok := f.leader(t); ok {
		f.signal(t, log, pod.Name, syscall.SIGKILL)
	}
}

// pauseLeader stops the leader's process for longer than its leases, and lets it go on.
func (f *fleet) pauseLeader(t *testing.T, log *recorder.Log, long time.Duration) {
	const leases = 20 * time.Second
	pod, ok := f.leader(t)
	if !ok {
		return
	}
	f.signal(t, log, pod.Name, syscall.SIGSTOP)
	wait(t, leases+long)
	f.signal(t, log, pod.Name, syscall.SIGCONT)
}

// signal sends a signal to the manager in a pod. What it knew and had not stored may be lost with it.
func (f *fleet) signal(t *testing.T, log *recorder.Log, pod string, signal syscall.Signal) {
	pid, err := managerOf(pod)
	if err == nil {
		err = syscall.Kill(pid, signal)
	}
	if err != nil {
		t.Errorf("send signal %v to the manager in %s: %v", signal, pod, err)
		return
	}
	log.Add(history.Record{Kind: history.Began, Text: fmt.Sprintf("%v of %s", signal, pod)})
}

// managerOf finds the manager's process: the one with the pod's host name whose program is the hub.
func managerOf(pod string) (int, error) {
	found, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		return 0, err
	}
	for _, path := range found {
		raw, err := os.ReadFile(path)
		if err != nil || !slices.Contains(strings.Split(string(raw), "\x00"), "HOSTNAME="+pod) {
			continue // ended, or another one
		}
		dir := filepath.Dir(path)
		command, err := os.ReadFile(filepath.Join(dir, "cmdline"))
		if err == nil && strings.Contains(string(command), "hub") {
			return strconv.Atoi(filepath.Base(dir))
		}
	}
	return 0, errors.New("there is no such process")
}

// interfere is what a person does to one Workflow, if anything.
func (f *fleet) interfere(t *testing.T, log *recorder.Log, deed int, wec *cluster, namespace, name string) {
	const onHub, onWEC, byForce = 0, 1, 2
	workflows := wec.workflows.Namespace(namespace)
	switch deed {
	case onHub:
		workflows = f.hub.workflows.Namespace(namespace)
	case onWEC, byForce:
	default:
		return
	}
	found, err := workflows.Get(t.Context(), name, metav1.GetOptions{})
	if err != nil {
		return // not there yet, or not reachable: nobody does anything
	}
	if deed == byForce {
		log.Acted(wec.name, string(found.GetUID()), history.ActForced)
	}
	err = workflows.Delete(t.Context(), name, metav1.DeleteOptions{})
	if err == nil && deed == byForce {
		_, err = workflows.Patch(t.Context(), name, types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`), metav1.PatchOptions{})
	}
	log.Fault("a person deletes %s, deed %d: %v", name, deed, err)
}

// unfinished says which Workflows have not ended, on any cluster.
func (f *fleet) unfinished(ctx context.Context, namespace string) error {
	var left []string
	for _, c := range f.all() {
		list, err := c.workflows.Namespace(namespace).List(ctx, metav1.ListOptions{})
		if err != nil {
			return err
		}
		for i := range list.Items {
			if w := history.Of(&list.Items[i]); !w.Terminal() {
				left = append(left, fmt.Sprintf("%s on %s is %s %q", w.Name, c.name, w.Phase, w.Message))
			}
		}
	}
	if len(left) > 0 {
		return errors.New(strings.Join(left, "; "))
	}
	return nil
}

// checkPods checks that no Workflow has pods on two clusters, and none on the hub.
func (f *fleet) checkPods(t *testing.T, namespace string) {
	t.Helper()
	where := map[string]string{}
	for _, c := range f.all() {
		pods, err := c.pods(t.Context(), namespace, "")
		if err != nil {
			t.Fatal(err)
		}
		for i := range pods {
			name := pods[i].Labels[stellarflow.ArgoLabelWorkflow]
			if before := where[name]; c == f.hub || before != "" && before != c.name {
				t.Errorf("Workflow %s has pods on %s, and on %q", name, c.name, before)
			}
			where[name] = c.name
		}
	}
}

// follow records every state of the Workflows of a namespace for the checker of test/chaos.
func (f *fleet) follow(t *testing.T, c *cluster, namespace string, log *recorder.Log) *recorder.Recorder {
	t.Helper()
	book := f.recorder(t, c, namespace, log)
	book.Shown = shownOnly
	if err := book.Start(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	return book
}

// recorder reads every state of the Workflows of a namespace from a cluster's etcd, which only the cluster itself can reach.
func (f *fleet) recorder(t *testing.T, c *cluster, namespace string, log *recorder.Log) *recorder.Recorder {
	t.Helper()
	return &recorder.Recorder{
		Cluster: c.name, Prefix: recorder.Prefix + namespace + "/", URL: "http://127.0.0.1:2379", Log: log,
		Client: &http.Client{Transport: &http.Transport{DialContext: dialIn(f.netns(t, c))}},
	}
}

// netns is the path of a cluster's network namespace.
func (f *fleet) netns(t *testing.T, c *cluster) string {
	t.Helper()
	layout, err := plan.New(f.root, f.name, len(wecNames))
	if err != nil {
		t.Fatal(err)
	}
	host, err := layout.Cluster(c.name, netip.MustParsePrefix("10.0.0.0/24")) // the network namespace does not depend on the subnet
	if err != nil {
		t.Fatal(err)
	}
	return network.NetnsPath(host.Host)
}

// dialIn dials from inside a network namespace, which is made anew when its cluster is.
func dialIn(netns string) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, kind, address string) (net.Conn, error) {
		type result struct {
			connection net.Conn
			err        error
		}
		dialled := make(chan result, 1)
		go func() {
			var r result
			err := inside(netns, func() { r.connection, r.err = (&net.Dialer{}).DialContext(ctx, kind, address) })
			dialled <- result{r.connection, errors.Join(r.err, err)}
		}()
		r := <-dialled
		return r.connection, r.err
	}
}

// inside does something in a network namespace. The thread comes back and lives on, for commands that were started from it get a signal when it ends
// (Pdeathsig); if it cannot, it ends with its goroutine.
func inside(netns string, do func()) error {
	runtime.LockOSThread()
	here, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		runtime.UnlockOSThread()
		return err
	}
	defer func() { _ = here.Close() }()
	there, err := os.Open(netns)
	if err == nil {
		defer func() { _ = there.Close() }()
		err = unix.Setns(int(there.Fd()), unix.CLONE_NEWNET)
	}
	if err != nil {
		runtime.UnlockOSThread()
		return err
	}
	do()
	if err := unix.Setns(int(here.Fd()), unix.CLONE_NEWNET); err != nil {
		return err
	}
	runtime.UnlockOSThread()
	return nil
}

// shownOnly leaves of a status what people see: phases, messages and times. What law 6 changes on the way is tested elsewhere.
func shownOnly(object *unstructured.Unstructured) {
	status, _, _ := unstructured.NestedMap(object.Object, "status")
	shown := map[string]any{}
	for _, key := range []string{"phase", "message", "progress", "startedAt", "finishedAt"} {
		if value, found := status[key]; found {
			shown[key] = value
		}
	}
	nodes, _ := status["nodes"].(map[string]any)
	for id, node := range nodes {
		if node, ok := node.(map[string]any); ok {
			shown["node "+id] = fmt.Sprint(node["phase"], node["message"], node["startedAt"], node["finishedAt"])
		}
	}
	if len(shown) > 0 {
		object.Object["status"] = shown
	}
}

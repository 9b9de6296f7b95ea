package integration

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	clusterv1 "open-cluster-management.io/api/cluster/v1"

	"stellarflow.io/stellarflow/pkg/apis/control/v1alpha1"
	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
	"stellarflow.io/stellarflow/pkg/hub/podmirror"
)

const (
	followLog = "/containerLogs/main?follow=true"
	execThere = "/exec/main?command=ls&output=1"
	unknown   = "is not known to run on another cluster"
	away      = "cluster cluster1 cannot be reached for pod "
)

// forge makes a Pod on the hub that says of itself what a mirror of a pod says, and stays when the manager takes it away.
func (m mirroring) forge(t *testing.T, name string, of types.UID, change ...func(*corev1.Pod)) {
	t.Helper()
	hubCopy := m.hub.get(t.Context(), m.ns, m.workflow)
	owner := m.owner
	owner.UID = hubCopy.GetUID()
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name: name, OwnerReferences: []metav1.OwnerReference{owner}, Finalizers: []string{"example.com/held"},
			Labels: map[string]string{stellarflow.ArgoLabelWorkflow: m.workflow, stellarflow.LabelCluster: "cluster1", stellarflow.LabelMirrorOf: string(of)},
		},
		Spec: corev1.PodSpec{NodeName: podmirror.NodeName("cluster1"), Containers: []corev1.Container{{Name: "main", Image: "busybox"}}},
	}
	for _, f := range change {
		f(pod)
	}
	pods := m.hub.core.CoreV1().Pods(m.ns)
	if _, err := pods.Create(t.Context(), pod, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.release(t, name) })
}

// hold lets a Pod of the hub stay when the manager takes it away, until release.
func (m mirroring) hold(t *testing.T, name, finalizers string) {
	t.Helper()
	patch := fmt.Appendf(nil, `{"metadata":{"finalizers":%s}}`, finalizers)
	if _, err := m.hub.core.CoreV1().Pods(m.ns).Patch(context.WithoutCancel(t.Context()), name, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
		t.Error(err)
	}
}

func (m mirroring) release(t *testing.T, name string) {
	t.Helper()
	m.hold(t, name, "null")
}

func goes(p *corev1.Pod) bool { return p != nil && p.DeletionTimestamp != nil }

// mirrorsOf annotates the policy that has placed the Workflows.
func (m mirroring) mirrorsOf(t *testing.T, value string) {
	t.Helper()
	patch := fmt.Appendf(nil, `{"metadata":{"annotations":{%q:%s}}}`, stellarflow.AnnotationMirrorPods, value)
	if err := m.hub.client.Patch(context.WithoutCancel(t.Context()), &v1alpha1.BindingPolicy{ObjectMeta: metav1.ObjectMeta{Name: "workflows-cluster1"}}, clientPatch(patch)); err != nil {
		t.Fatal(err)
	}
}

// TestMirroredPodsThatAreNotReached asks for pods of a cluster that are there, and of which a Pod on the hub says that it mirrors them: only that
// of a Workflow which is placed there, with its UID, and of a policy that lets it be seen, is reached.
func TestMirroredPodsThatAreNotReached(t *testing.T) {
	address := freeAddress(t)
	c, _, ns := setUp(t, managerOptions{kubelet: address})
	m := mirroring{clusters: c, ns: ns}.run(t, "hello")
	there := onNode(m.wec.node(t, ""))
	e, who := m.endpoint(t, address, "")
	asks := func(t *testing.T, pod string, reached bool) {
		t.Helper()
		e.pod = pod
		if reached {
			e.wantAnswer(t, who, "/containerLogs/main", http.StatusOK, "/containerLogs/")
			e.wantAnswer(t, who, execThere, http.StatusSwitchingProtocols, "/exec/")
			return
		}
		e.wantAnswer(t, who, "/containerLogs/main", http.StatusNotFound, unknown)
		e.wantAnswer(t, who, execThere, http.StatusNotFound, unknown)
	}
	m.begin(t, "hello-a-1234567890", there)
	m.waitMirror(t, "hello-a-1234567890", "the mirror", shows(corev1.PodRunning))
	asks(t, "hello-a-1234567890", true)

	for name, tc := range map[string]struct {
		reason string
		change func(*corev1.Pod)
	}{
		"hello-of-another-1234567890": {"the Workflow that controls it is another one of that name", func(p *corev1.Pod) { p.OwnerReferences[0].UID = "another" }},
		"hello-of-nobody-1234567890":  {"no Workflow controls it", func(p *corev1.Pod) { p.OwnerReferences = nil }},
		"db-0":                        {"no pod of the Workflow has this name", func(*corev1.Pod) {}},
	} {
		t.Run(name, func(t *testing.T) {
			pod := m.begin(t, name, there, tc.change)
			seen := m.begin(t, "hello-after-"+name+"-1234567890", there)
			m.waitMirror(t, seen.Name, "the mirror of one that came later", shows(corev1.PodRunning))
			m.forge(t, name, pod.UID)
			m.waitMirror(t, name, "its end, which waits", goes)
			asks(t, name, false)
		})
	}
	t.Run("another UID", func(t *testing.T) {
		m.forge(t, "hello-other-1234567890", "another", func(p *corev1.Pod) { p.Spec.RestartPolicy = corev1.RestartPolicyNever })
		m.begin(t, "hello-other-1234567890", there)
		m.waitMirror(t, "hello-other-1234567890", "its end, which waits", goes)
		seen := m.begin(t, "hello-after-other-1234567890", there)
		m.waitMirror(t, seen.Name, "the mirror of one that came later", shows(corev1.PodRunning))
		asks(t, "hello-other-1234567890", false)
	})
	t.Run("no mirror at all", func(t *testing.T) {
		m.begin(t, "hello-unowned-1234567890", there, func(p *corev1.Pod) { p.OwnerReferences = nil })
		asks(t, "hello-unowned-1234567890", false)
	})
	t.Run("a policy that forbids it", func(t *testing.T) {
		m.hold(t, "hello-a-1234567890", `["example.com/held"]`)
		defer m.release(t, "hello-a-1234567890")
		m.mirrorsOf(t, `"false"`)
		defer m.mirrorsOf(t, "null")
		m.waitMirror(t, "hello-a-1234567890", "its end, which waits", goes)
		asks(t, "hello-a-1234567890", false)
	})
	m.waitMirror(t, "hello-a-1234567890", "the mirror again", shows(corev1.PodRunning))
	asks(t, "hello-a-1234567890", true)
}

// TestMirroredPodsOfADeletedPolicy: what a policy hides stays hidden when that is gone, also after a record was lost.
func TestMirroredPodsOfADeletedPolicy(t *testing.T) {
	options := managerOptions{kubelet: freeAddress(t)}
	c, manager, ns := setUp(t, options)
	hides := policy("hides", map[string]string{"name": "cluster1"})
	hides.Annotations = map[string]string{stellarflow.AnnotationMirrorPods: "false"}
	c.create(t, hides)
	c.submit(t, ns, "hello", "hides")
	m := mirroring{clusters: c, ns: ns}.runs(t, "cluster1", "hello")
	again := func(change func()) {
		manager.stop()
		change()
		options.kubelet = freeAddress(t)
		manager = startManager(t, c, options)
	}
	hidden := func(policy string) {
		c.hub.waitFor(t, ns, "hello", "a record that hides its pods", func(w *unstructured.Unstructured) bool {
			placement, found := stellarflow.PlacementOf(w)
			return found && placement.Hidden && placement.Policy == policy
		})
	}
	hidden(hides.Name)
	again(func() { c.loseRecord(t, ns, "hello") })
	hidden("")
	again(func() {
		if err := c.hub.client.Delete(t.Context(), hides); err != nil {
			t.Fatal(err)
		}
	})
	e, who := m.endpoint(t, options.kubelet, "hello-a-1234567890")
	pod := m.begin(t, e.pod, onNode(m.wec.node(t, "")))
	m.forge(t, pod.Name, pod.UID)
	m.waitMirror(t, pod.Name, "its end, which waits", goes)
	e.wantAnswer(t, who, "/containerLogs/main", http.StatusNotFound, unknown)
	e.wantAnswer(t, who, execThere, http.StatusNotFound, unknown)
}

// TestMirroredPodsOfAClusterThatIsAway: whoever asks for a pod that is shown is told that its cluster is away, also by a manager that has never
// reached it, and if there is no credential; of what is not placed there nothing is said.
func TestMirroredPodsOfAClusterThatIsAway(t *testing.T) {
	var net network
	options := managerOptions{kubelet: freeAddress(t), wecTransport: net.wrap}
	c, manager, ns := setUp(t, options)
	m := mirroring{clusters: c, ns: ns}.run(t, "hello")
	pod := m.begin(t, "hello-a-1234567890", onNode(m.wec.node(t, "")))
	m.waitMirror(t, "hello-a-1234567890", "the mirror", shows(corev1.PodRunning))
	e, who := m.endpoint(t, options.kubelet, "hello-a-1234567890")
	says := func(t *testing.T, pod string, code int, says string) {
		t.Helper()
		e.pod = pod
		eventually(t, says, func(ctx context.Context) (bool, string) {
			got, said := e.ask(ctx, who, http.MethodGet, "/containerLogs/main")
			return got == code && strings.Contains(said, says), fmt.Sprint(got, " ", said)
		})
		e.wantAnswer(t, who, execThere, code, says)
	}
	net.cut(t, c, "cluster1")
	says(t, "hello-a-1234567890", http.StatusBadGateway, away)
	manager.stop()
	options.kubelet = freeAddress(t)
	startManager(t, c, options)
	e.address = options.kubelet
	e.trust()
	says(t, "hello-a-1234567890", http.StatusBadGateway, away)
	e.wantAnswer(t, who, "/containerLogs/main", http.StatusBadGateway, "its logs are shown when it is back")

	m.forge(t, "hello-elsewhere-1234567890", pod.UID, func(p *corev1.Pod) {
		p.Labels[stellarflow.LabelCluster], p.Spec.NodeName = "cluster3", podmirror.NodeName("cluster3") // nothing else is known of it
	})
	m.forge(t, "hello-stray-1234567890", pod.UID, func(p *corev1.Pod) { p.OwnerReferences[0].UID = "another" })
	for _, name := range []string{"hello-elsewhere-1234567890", "hello-stray-1234567890"} {
		m.waitMirror(t, name, "its end, which waits", goes)
		says(t, name, http.StatusNotFound, unknown)
	}
	if err := m.hub.core.CoreV1().Secrets(stellarflow.SystemNamespace).Delete(t.Context(), stellarflow.CredentialName("cluster1"), metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the manager to say so", func(ctx context.Context) (bool, string) {
		var managed clusterv1.ManagedCluster
		err := m.hub.client.Get(ctx, types.NamespacedName{Name: "cluster1"}, &managed)
		return err == nil && strings.Contains(fmt.Sprint(managed.Status.Conditions), "there is no credential for it"), fmt.Sprint(managed.Status.Conditions, err)
	})
	says(t, "hello-a-1234567890", http.StatusBadGateway, away+ns+"/hello-a-1234567890: there is no connection")

	m.hold(t, "hello-a-1234567890", `["example.com/held"]`)
	defer m.release(t, "hello-a-1234567890")
	m.mirrorsOf(t, `"false"`)
	defer m.mirrorsOf(t, "null")
	says(t, "hello-a-1234567890", http.StatusNotFound, unknown)
}

// speech is what all streams of a kubelet say, from its begin.
type speech struct {
	mu   sync.Mutex
	text string
	over bool
	more chan struct{} // closed when there is more
}

// say adds a line, the last one or not.
func (s *speech) say(line string, last bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.text, s.over = s.text+line+"\n", last
	if s.more != nil {
		close(s.more)
		s.more = nil
	}
}

// from returns what was said from a place on, and what is closed when there is more, nil if there is none to come.
func (s *speech) from(place int) (string, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over {
		return s.text[place:], nil
	}
	if s.more == nil {
		s.more = make(chan struct{})
	}
	return s.text[place:], s.more
}

// kubelet says it in logs and in what is executed.
func (s *speech) kubelet(w http.ResponseWriter, r *http.Request) {
	ctx, flush := r.Context(), func() { _ = http.NewResponseController(w).Flush() }
	var to io.Writer = w
	if r.Header.Get("Upgrade") != "" {
		connection := switched(w, r)
		if connection == nil {
			return
		}
		defer func() { _ = connection.Close() }()
		left, cancel := context.WithCancel(context.WithoutCancel(ctx))
		go func() {
			_, _ = io.Copy(io.Discard, connection)
			cancel()
		}()
		ctx, to, flush = left, connection, func() {}
	}
	for place := 0; ; {
		text, more := s.from(place)
		_, _ = io.WriteString(to, text)
		flush()
		place += len(text)
		if more == nil {
			return
		}
		select {
		case <-more:
		case <-ctx.Done():
			return
		}
	}
}

// podStream is one to a pod.
type podStream struct {
	what string
	net.Conn
	read *bufio.Reader
}

// streams begins a log that is followed and an exec.
func (e *endpoint) streams(t *testing.T, who *tls.Certificate, pod string) []podStream {
	t.Helper()
	e.pod = pod
	var all []podStream
	for what, method := range map[string]string{followLog: http.MethodGet, execThere: http.MethodPost} {
		connection, read, response := e.request(t.Context(), who, method, what)
		t.Cleanup(func() { _, _ = connection.Close(), response.Body.Close() })
		_ = connection.SetDeadline(time.Now().Add(5 * time.Minute))
		switch response.StatusCode {
		case http.StatusOK:
			read = bufio.NewReader(response.Body)
		case http.StatusSwitchingProtocols:
		default:
			raw, _ := io.ReadAll(response.Body)
			t.Fatalf("%s of %s: %d %s", what, pod, response.StatusCode, raw)
		}
		all = append(all, podStream{what, connection, read})
	}
	return all
}

// wantLine reads one.
func (s podStream) wantLine(t *testing.T, want string) {
	t.Helper()
	_ = s.SetReadDeadline(time.Now().Add(time.Minute))
	if line, err := s.read.ReadString('\n'); err != nil || line != want+"\n" {
		t.Errorf("%s: it says %q, %v, want %s", s.what, line, err, want)
	}
}

// wantEnd waits for the end, of a log a clean one or not.
func (s podStream) wantEnd(t *testing.T, clean bool) {
	t.Helper()
	_ = s.SetReadDeadline(time.Now().Add(time.Minute))
	rest, err := io.ReadAll(s.read)
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		t.Errorf("%s: it goes on", s.what)
	case len(rest) > 0:
		t.Errorf("%s: it says %q", s.what, rest)
	case s.what == followLog && clean != (err == nil):
		t.Errorf("%s: it ends with %v", s.what, err)
	}
}

// TestMirroredPodsStreams: streams end when their pod is not to be seen any more, and not because its mirror goes: that is made again, or the log
// is archived and its last line not read yet.
func TestMirroredPodsStreams(t *testing.T) {
	var net network
	options := managerOptions{kubelet: freeAddress(t), wecTransport: net.wrap}
	c, _, ns := setUp(t, options)
	stays, first := mirroring{clusters: c, ns: ns}.run(t, "stays"), &speech{}
	e, who := stays.endpoint(t, options.kubelet, "")
	first.say("begin", false)
	node := onNode(stays.wec.nodeOf(t, first.kubelet))
	begin := func(t *testing.T, m mirroring, name string, there func(*corev1.Pod)) []podStream {
		t.Helper()
		m.begin(t, name, there)
		m.waitMirror(t, name, "the mirror", shows(corev1.PodRunning))
		streams := e.streams(t, who, name)
		for _, s := range streams {
			s.wantLine(t, "begin")
		}
		return streams
	}
	wantEnd := func(t *testing.T, streams []podStream) {
		t.Helper()
		for _, s := range streams {
			s.wantEnd(t, false)
		}
	}
	goOn := begin(t, stays, "stays-a-1234567890", node)
	said := 0
	wantOn := func(t *testing.T) {
		t.Helper()
		said++
		line := fmt.Sprint("line ", said)
		first.say(line, false)
		for _, s := range goOn {
			s.wantLine(t, line)
		}
	}
	wantOn(t)
	t.Run("of a mirror that is made again", func(t *testing.T) {
		before := stays.waitMirror(t, "stays-a-1234567890", "the mirror", shows(corev1.PodRunning))
		eviction := &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "stays-a-1234567890"}}
		if err := stays.hub.core.CoreV1().Pods(ns).EvictV1(t.Context(), eviction); err != nil {
			t.Fatal(err)
		}
		stays.waitMirror(t, "stays-a-1234567890", "the mirror made again", another(before))
		wantOn(t)
	})
	t.Run("of a log that is archived", func(t *testing.T) {
		last := &speech{}
		last.say("begin", false)
		streams := begin(t, stays, "stays-ends-1234567890", onNode(stays.wec.nodeOf(t, last.kubelet)))
		stays.report(t, "stays-ends-1234567890", corev1.PodSucceeded, corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{FinishedAt: metav1.NewTime(metav1.Now().Add(-podmirror.Lingers))}})
		stays.waitMirror(t, "stays-ends-1234567890", "its end", noPod)
		last.say("last", true)
		for _, s := range streams {
			s.wantLine(t, "last")
			s.wantEnd(t, true)
		}
	})
	t.Run("of a Workflow that is deleted", func(t *testing.T) {
		deleted := mirroring{clusters: c, ns: ns}.run(t, "deleted")
		streams := begin(t, deleted, "deleted-a-1234567890", begins(t, stays))
		if err := c.hub.client.Delete(t.Context(), c.hub.get(t.Context(), ns, "deleted")); err != nil {
			t.Fatal(err)
		}
		wantEnd(t, streams)
		wantOn(t)
	})
	t.Run("of a Workflow that is given up", func(t *testing.T) {
		lost := mirroring{clusters: c, ns: ns}.run(t, "lost")
		streams := begin(t, lost, "lost-a-1234567890", begins(t, stays))
		net.cut(t, c, "cluster1")
		defer net.heal(t, c, "cluster1")
		wantOn(t)
		c.ask(t, ns, "lost", stellarflow.RequestAbandon)
		wantEnd(t, streams)
		wantOn(t)
	})
	t.Run("of a policy that forbids it", func(t *testing.T) {
		stays.mirrorsOf(t, `"false"`)
		defer stays.mirrorsOf(t, "null")
		wantEnd(t, goOn)
	})
	t.Run("of a cluster that leaves", func(t *testing.T) {
		streams := begin(t, stays, "stays-b-1234567890", begins(t, stays))
		if err := c.hub.client.Delete(t.Context(), &clusterv1.ManagedCluster{ObjectMeta: metav1.ObjectMeta{Name: "cluster1"}}); err != nil {
			t.Fatal(err)
		}
		wantEnd(t, streams)
	})
}

// begins is a Node whose streams say that they begin, and no more.
func begins(t *testing.T, m mirroring) func(*corev1.Pod) {
	t.Helper()
	only := &speech{}
	only.say("begin", false)
	return onNode(m.wec.nodeOf(t, only.kubelet))
}

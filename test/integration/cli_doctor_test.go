package integration

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
	"stellarflow.io/stellarflow/pkg/cli"
)

// examination is the answer of doctor.
type examination struct {
	Findings []struct {
		ID, Severity, Group, Which, What, Remedy string
	}
	Unchecked []string
}

func (e examination) ids() []string {
	ids := []string{}
	for _, finding := range e.Findings {
		ids = append(ids, finding.ID)
	}
	return slices.Compact(ids)
}

// doctor runs doctor and returns what it found.
func (c *commandLine) doctor(code int) examination {
	c.t.Helper()
	var found examination
	if got := c.json(&found, "doctor", "--kubeconfig=DIR/hub.kubeconfig", "--timeout=3s"); got != code {
		c.t.Errorf("doctor: want exit code %d, got %d", code, got)
	}
	return found
}

// acted makes it look as if a hub manager led and held the Lease on a WEC.
func acted(t *testing.T, s *server, name string) {
	t.Helper()
	holder, seconds, now := "somebody", int32(3600), metav1.NowMicro()
	_, err := s.core.CoordinationV1().Leases(stellarflow.SystemNamespace).Create(t.Context(), &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       coordinationv1.LeaseSpec{HolderIdentity: &holder, LeaseDurationSeconds: &seconds, RenewTime: &now},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
}

// rolledOutByHand writes the status that a hub's controller manager would.
func rolledOutByHand(t *testing.T, s *server) {
	t.Helper()
	deployments := s.core.AppsV1().Deployments(stellarflow.SystemNamespace)
	deployment, err := deployments.Get(t.Context(), "stellarflow-hub", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	n := *deployment.Spec.Replicas
	deployment.Status.ObservedGeneration, deployment.Status.Replicas, deployment.Status.UpdatedReplicas = deployment.Generation, n, n
	deployment.Status.ReadyReplicas, deployment.Status.AvailableReplicas = n, n
	if _, err := deployments.UpdateStatus(t.Context(), deployment, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// ready writes the condition that a hub manager would.
func ready(t *testing.T, s *server, cluster string) {
	t.Helper()
	patch := fmt.Sprintf(`{"status":{"conditions":[{"type":%q,"status":"True","reason":"Ready","message":"m","lastTransitionTime":"2026-01-01T00:00:00Z"}]}}`, stellarflow.ConditionConnected)
	if _, err := s.dynamic.Resource(managedClusters).Patch(t.Context(), cluster, types.MergePatchType, []byte(patch), metav1.PatchOptions{}, "status"); err != nil {
		t.Fatal(err)
	}
}

// Each thing is broken on real API servers, found by doctor, and mended with the command that it prints.
func TestDoctor(t *testing.T) {
	hub, wec1 := startAPIServer(t), startAPIServer(t)
	controllerManager(t, hub)
	controllerManager(t, wec1)
	c := newCommandLine(t, hub)
	c.file("wec1.kubeconfig", wec1.kubeconfig)
	if got := c.doctor(cli.ExitFindings).ids(); !slices.Equal(got, []string{"hub-not-installed"}) {
		t.Fatalf("before an installation: %v", got)
	}
	argoDeployment(t, hub, "argo", "argo")
	argoDeployment(t, wec1, "argo", "argo")
	c.must(nil, "install", "--kubeconfig=DIR/hub.kubeconfig", "--artifact-store=DIR/store.env", "--skip-store-check", "--wait=false")
	c.must(nil, "join", "cluster1", "--kubeconfig=DIR/wec1.kubeconfig", "--hub-kubeconfig=DIR/hub.kubeconfig", "--namespaces=argo", "--wait=false")
	if _, err := wec1.core.CoreV1().ServiceAccounts("argo").Create(t.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "default"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	rolledOutByHand(t, hub)
	ready(t, hub, "cluster1")
	acted(t, hub, "stellarflow-hub")
	system, err := hub.core.CoreV1().Namespaces().Get(t.Context(), metav1.NamespaceSystem, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	acted(t, wec1, "stellarflow-hub-"+string(system.UID))
	for _, tc := range slices.Concat(breakages(hub, wec1), clusterBreakages(c, wec1), workflowBreakages(c, wec1), hubBreakages(c)) {
		t.Run(tc.id, func(t *testing.T) { c.t = t; tc.check(t, c) })
	}
	c.t = t
	// The store of this test does not answer. That is a warning: the clusters may reach it.
	if got := c.doctor(cli.ExitOK).ids(); !slices.Equal(got, []string{"store-unreachable"}) {
		t.Errorf("in the end nothing else is wrong: %v", got)
	}
}

// breakage is a thing that goes wrong.
type breakage struct {
	id    string
	spoil func(t *testing.T) error
	// mend does what the remedy cannot do here; nil means that the remedy is run.
	mend func(t *testing.T) error
}

func breakages(hub, wec1 *server) []breakage {
	patch := func(s *server, resource, name, patch string) func(*testing.T) error {
		return func(t *testing.T) error {
			_, err := s.dynamic.Resource(breakable[resource]).Patch(t.Context(), name, types.JSONPatchType, []byte(patch), metav1.PatchOptions{})
			return err
		}
	}
	remove := func(s *server, resource, namespace, name string) func(*testing.T) error {
		return func(t *testing.T) error {
			return s.dynamic.Resource(breakable[resource]).Namespace(namespace).Delete(t.Context(), name, metav1.DeleteOptions{})
		}
	}
	return []breakage{
		{id: "guard-missing", spoil: remove(hub, "guardBindings", "", "stellarflow-guard-suspend")},
		{id: "guard-differs", spoil: patch(hub, "guards", "stellarflow-guard-keys", `[{"op":"replace","path":"/spec/failurePolicy","value":"Ignore"}]`)},
		{id: "argo-controller-not-guarded", spoil: func(t *testing.T) error { argoDeployment(t, hub, "team", "runner"); return nil }},
		{id: "argo-controller-not-found", spoil: remove(hub, "deployments", "team", "workflow-controller")},
		{id: "hub-object-missing", spoil: remove(hub, "roles", stellarflow.SystemNamespace, "stellarflow-hub")},
		{id: "hub-right-missing", spoil: patch(hub, "clusterroles", "stellarflow-hub", `[{"op":"remove","path":"/rules/0"}]`)},
		{id: "cluster-right-missing", spoil: patch(wec1, "clusterroles", "stellarflow-wec", `[{"op":"remove","path":"/rules/0/verbs/0"}]`)},
		{id: "cluster-no-credential", spoil: remove(hub, "secrets", stellarflow.SystemNamespace, "cluster-cluster1")},
		{id: "cluster-credential-invalid", spoil: func(t *testing.T) error {
			_, err := hub.core.CoreV1().Secrets(stellarflow.SystemNamespace).Patch(t.Context(), "cluster-cluster1", types.MergePatchType, []byte(`{"data":{"kubeconfig":"aGVsbG8="}}`), metav1.PatchOptions{})
			return err
		}},
		{id: "store-secret-differs", spoil: func(t *testing.T) error {
			hub.storeSecret(t, "argo", systemUID(t, hub), "integration-secret-of-before")
			return nil
		}},
		{id: "cluster-old-store-keys", spoil: func(t *testing.T) error { // the next case brings the first key back
			_, err := hub.core.CoreV1().Secrets(stellarflow.SystemNamespace).Patch(t.Context(), "artifact-store", types.MergePatchType, []byte(`{"stringData":{"secretkey":"integration-secret-2"}}`), metav1.PatchOptions{})
			return err
		}},
		{id: "store-invalid", spoil: func(t *testing.T) error {
			_, err := hub.core.CoreV1().Secrets(stellarflow.SystemNamespace).Patch(t.Context(), "artifact-store", types.MergePatchType, []byte(`{"data":{"bucket":null}}`), metav1.PatchOptions{})
			return err
		}},
		{id: "store-missing", spoil: remove(hub, "secrets", stellarflow.SystemNamespace, "artifact-store")},
		{id: "executor-binding-missing", spoil: remove(wec1, "rolebindings", "argo", "stellarflow-executor-default")},
		{id: "repository-missing", spoil: remove(wec1, "configmaps", "argo", "artifact-repositories")},
		{id: "artifact-secret-missing", spoil: remove(wec1, "secrets", "argo", "stellarflow-artifacts")},
	}
}

// check spoils something, sees that doctor finds it, runs the command that doctor prints, and sees that it is gone.
func (b breakage) check(t *testing.T, c *commandLine) {
	if err := b.spoil(t); err != nil {
		t.Fatal(err)
	}
	var remedy string
	eventually30(t, b.id+" to be found", func() (bool, string) { // rights take a moment to be known
		found := examination{}
		c.json(&found, "doctor", "--kubeconfig=DIR/hub.kubeconfig", "--timeout=3s")
		for _, finding := range found.Findings {
			if finding.ID == b.id {
				remedy = finding.Remedy
			}
		}
		return remedy != "", fmt.Sprint(found.ids())
	})
	if b.mend != nil {
		if err := b.mend(t); err != nil {
			t.Fatal(err)
		}
	} else {
		c.mend(remedy)
		rolledOutByHand(t, c.hub)
	}
	eventually30(t, b.id+" to be mended", func() (bool, string) {
		found := examination{}
		c.json(&found, "doctor", "--kubeconfig=DIR/hub.kubeconfig", "--timeout=3s")
		return !slices.Contains(found.ids(), b.id), fmt.Sprint(found.Findings)
	})
}

// mend runs a remedy as it was printed, with what only the person knows filled in.
func (c *commandLine) mend(remedy string) {
	c.t.Helper()
	for _, command := range strings.Split(remedy, " && ") {
		words := strings.Fields(command)
		for i, word := range words {
			switch {
			case word == "FILE" && words[i-1] == "--artifact-store":
				words[i] = c.dir + "/store.env"
			case word == "FILE":
				words[i] = c.dir + "/wec1.kubeconfig"
			}
		}
		switch {
		case words[0] == "kubectl":
			kubectl := exec.CommandContext(c.t.Context(), filepath.Join(os.Getenv("KUBEBUILDER_ASSETS"), "kubectl"), words[1:]...)
			if out, err := kubectl.CombinedOutput(); err != nil {
				c.t.Fatalf("%s: %v: %s", command, err, out)
			}
		case words[1] == "install":
			c.must(nil, append(words[1:], "--wait=false", "--skip-store-check")...) // the store of this test does not answer
		case words[1] == "join":
			c.must(nil, append(words[1:], "--wait=false")...)
		default:
			c.must(nil, words[1:]...)
		}
	}
}

// eventually30 is eventually for what has no use for a context.
func eventually30(t *testing.T, what string, done func() (bool, string)) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for {
		ok, said := done()
		if ok {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s did not happen in 30 s: %s", what, said)
		}
		time.Sleep(200 * time.Millisecond)
	}
}

// A cluster that hangs is a finding after the time that it is given, and the others are looked at.
func TestDoctorOfAHangingCluster(t *testing.T) {
	hub, wec1 := startAPIServer(t), startAPIServer(t)
	controllerManager(t, hub)
	controllerManager(t, wec1)
	c := newCommandLine(t, hub)
	c.file("wec1.kubeconfig", wec1.kubeconfig)
	c.must(nil, "install", "--kubeconfig=DIR/hub.kubeconfig", "--artifact-store=DIR/store.env", "--skip-store-check", "--wait=false", "--argo-controller=none")
	c.must(nil, "join", "works", "--kubeconfig=DIR/wec1.kubeconfig", "--hub-kubeconfig=DIR/hub.kubeconfig", "--wait=false")
	silent, err := net.Listen("tcp", "127.0.0.1:0") // it takes connections and never answers
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = silent.Close() })
	good, err := hub.core.CoreV1().Secrets(stellarflow.SystemNamespace).Get(t.Context(), "cluster-works", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	hangs := strings.ReplaceAll(string(good.Data["kubeconfig"]), wec1.address(), silent.Addr().String())
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: "cluster-hangs", Labels: map[string]string{stellarflow.LabelManagedCluster: "hangs"}},
		Data:       map[string][]byte{"kubeconfig": []byte(hangs)},
	}
	if _, err := hub.core.CoreV1().Secrets(stellarflow.SystemNamespace).Create(t.Context(), secret, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	cluster, err := hub.dynamic.Resource(managedClusters).Get(t.Context(), "works", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	cluster.SetName("hangs")
	cluster.SetResourceVersion("")
	if _, err := hub.dynamic.Resource(managedClusters).Create(t.Context(), cluster, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	var found examination
	c.json(&found, "doctor", "--kubeconfig=DIR/hub.kubeconfig", "--timeout=2s")
	if took := time.Since(begun); took > 15*time.Second {
		t.Errorf("it took %s", took)
	}
	groups := map[string][]string{}
	for _, finding := range found.Findings {
		groups[finding.Group] = append(groups[finding.Group], finding.ID)
	}
	if !slices.Equal(groups["cluster hangs"], []string{"cluster-unreachable"}) || slices.Contains(groups["cluster works"], "cluster-unreachable") {
		t.Errorf("one hangs and the other does not: %v", groups)
	}
}

package travel

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
	"stellarflow.io/stellarflow/pkg/artifact"
	"stellarflow.io/stellarflow/pkg/hub/dependencies"
	"stellarflow.io/stellarflow/pkg/hub/downsync"
	"stellarflow.io/stellarflow/pkg/hub/hubcopy"
)

const (
	wft, cm = stellarflow.KindWorkflowTemplate, stellarflow.KindConfigMap
	chain   = `{templates: [{name: main, steps: [[{name: a, templateRef: {name: lib, template: x}}]]}]}`
	library = `{spec: {templates: [{name: x, synchronization: {semaphore: {configMapKeyRef: {name: locks, key: k}}}}]}}`
)

// journey is a hub, a WEC and a Workflow of namespace argo between them.
type journey struct {
	hub, wec server
	carrier  *Carrier
	target   downsync.Target
	hubCopy  *unstructured.Unstructured
	said     *sayings
	now      time.Time
}

func begin(t *testing.T, spec string) *journey {
	t.Helper()
	j := &journey{said: &sayings{}, now: start}
	objects, meta := j.hub.hub(t)
	now := func() time.Time { return j.now }
	j.carrier = &Carrier{
		Objects: objects, Hub: hubcopy.NewStore(nil, objects, meta, now), HubID: "hub-1", Recorder: j.said, Now: now,
		Store:  func(context.Context) (*artifact.Store, error) { return nil, nil }, //nolint:nilnil // none is configured
		Timing: Timing{Learns: time.Nanosecond},
	}
	j.target = downsync.Target{Name: "cluster1", ID: "id-1", Clients: j.wec.clients(t)}
	j.hubCopy = &unstructured.Unstructured{Object: map[string]any{}}
	j.hubCopy.SetAPIVersion("argoproj.io/v1alpha1")
	j.hubCopy.SetKind("Workflow")
	j.hubCopy.SetNamespace("argo")
	j.hubCopy.SetName("w")
	j.hubCopy.SetAnnotations(map[string]string{"a": "b"})
	var content map[string]any
	if err := yaml.Unmarshal([]byte(spec), &content); err != nil {
		t.Fatal(err)
	}
	j.hubCopy.Object["spec"] = content
	j.hub.store(workflowPath, j.hubCopy)
	return j
}

// sent puts a copy of the hub's object on the WEC, as another Workflow's create would.
func (j *journey) sent(t *testing.T, kind stellarflow.Kind, name string) {
	t.Helper()
	sent, err := dependencies.Copy(kind, j.hub.get(pathOf(kind, name)), "hub-1")
	if err != nil {
		t.Fatal(err)
	}
	if known := j.wec.get(pathOf(kind, name)); known != nil {
		sent.SetUID(known.GetUID())
	}
	j.wec.store(pathOf(kind, name), sent)
}

func (j *journey) value(name string) string {
	value, _, _ := unstructured.NestedString(j.wec.get(pathOf(cm, name)).Object, "data", "k")
	return value
}

// forbid has the WEC turn away whoever reads ConfigMaps.
func (j *journey) forbid() {
	j.wec.answer = func(asked string) (int, metav1.StatusReason, metav1.StatusDetails) {
		if strings.HasPrefix(asked, http.MethodGet+" ") && strings.Contains(asked, "configmaps") {
			return http.StatusForbidden, metav1.StatusReasonForbidden, metav1.StatusDetails{}
		}
		return 0, "", metav1.StatusDetails{}
	}
}

func refusalOf(err error) *downsync.Refusal {
	var refusal *downsync.Refusal
	errors.As(err, &refusal)
	return refusal
}

func (j *journey) travel(t *testing.T) (version string, err error) {
	t.Helper()
	b, err := j.carrier.Look(t.Context(), j.target, j.hubCopy)
	if err != nil {
		return "", err
	}
	return b.Bring(t.Context())
}

// TestTravel: of what the WEC has only metadata is read, whatever its size.
func TestTravel(t *testing.T) {
	j := begin(t, chain)
	j.hub.put(t, wft, "lib", library)
	j.hub.put(t, cm, "locks", `{data: {k: "1"}}`)
	version, err := j.travel(t)
	if err != nil {
		t.Fatal(err)
	}
	recorded := j.hub.get(workflowPath)
	if got, want := recorded.GetAnnotations()[stellarflow.AnnotationDependencies], `{"copied":["ConfigMap/locks","WorkflowTemplate/lib"]}`; got != want || version != recorded.GetResourceVersion() {
		t.Errorf("recorded is %s at %s, %s was returned", got, recorded.GetResourceVersion(), version)
	}
	if got := j.value("locks"); got != "1" || j.wec.get(pathOf(wft, "lib")) == nil {
		t.Errorf("locks are %q", got)
	}
	for _, asked := range j.wec.requests(http.MethodGet) {
		if !strings.HasSuffix(asked, "?meta") {
			t.Errorf("%s reads a whole object", asked)
		}
	}
	if got, want := j.wec.requests(http.MethodPost), []string{"POST /api/v1/namespaces/argo/configmaps", "POST /apis/argoproj.io/v1alpha1/namespaces/argo/workflowtemplates"}; !slices.Equal(got, want) {
		t.Errorf("created are %v, want %v", got, want)
	}
}

// TestArgoLearns: a Workflow is not created before Argo's controller there can know what was just copied, for it or for another.
func TestArgoLearns(t *testing.T) {
	j := begin(t, chain)
	j.hub.put(t, wft, "lib", library)
	j.hub.put(t, cm, "locks", `{data: {k: "1"}}`)
	j.carrier.Timing.Learns = time.Hour
	for _, first := range []bool{true, false} {
		b, err := j.carrier.Look(t.Context(), j.target, j.hubCopy)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		if _, err := b.Bring(ctx); !errors.Is(err, context.DeadlineExceeded) || j.wec.get(pathOf(wft, "lib")) == nil {
			t.Errorf("first %t: nobody waits: %v", first, err)
		}
		cancel()
		j.hubCopy = j.hub.get(workflowPath)
	}
	j.now = j.now.Add(time.Hour)
	if _, err := j.travel(t); err != nil {
		t.Errorf("after that time: %v", err)
	}
}

// TestTravelNothing: a Workflow that needs nothing costs no request, and no second read of it, where a shared store is configured. Where none
// is, its namespace's default artifact repository is looked for.
func TestTravelNothing(t *testing.T) {
	j := begin(t, `{templates: [{name: main}]}`)
	if version, err := j.travel(t); err != nil || version != "" || len(j.wec.asked) > 0 || !slices.Equal(j.hub.asked, []string{"GET /api/v1/namespaces/argo/configmaps/artifact-repositories"}) {
		t.Errorf("without a store: %q, %v, asked %v %v", version, err, j.hub.asked, j.wec.asked)
	}
	j = begin(t, `{templates: [{name: main}]}`)
	j.share()
	version, err := j.travel(t)
	if err != nil || version != "" || len(j.hub.asked)+len(j.wec.asked) > 0 {
		t.Errorf("%q, %v, asked %v %v", version, err, j.hub.asked, j.wec.asked)
	}
}

// TestForbidden: a cluster that joined before the hub had the right takes what it took then.
func TestForbidden(t *testing.T) {
	lock := `{synchronization: {semaphore: {configMapKeyRef: {name: x, key: k}}}}`
	cases := map[string]struct {
		reason, spec string
		onHub        bool
		refuse       string
	}{
		"Pod":      {"a pod's variable was the cluster's business", `{templates: [{container: {envFrom: [{configMapRef: {name: x}}]}}]}`, true, ""},
		"HubNone":  {"a lock that only the cluster has too", lock, false, ""},
		"HubHasIt": {"but what would have to be copied cannot be", lock, true, "run `stellarflow join cluster1` again"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			j := begin(t, tc.spec)
			j.forbid()
			if tc.onHub {
				j.hub.put(t, cm, "x", `{}`)
			}
			_, err := j.travel(t)
			if refusal := refusalOf(err); tc.refuse != "" {
				if refusal == nil || refusal.Reason != downsync.ReasonNotAllowed || !strings.Contains(refusal.Message, tc.refuse) {
					t.Errorf("%s: %v", tc.reason, err)
				}
				return
			}
			if err != nil {
				t.Errorf("%s: %v", tc.reason, err)
			}
			if got := j.hub.get(workflowPath).GetAnnotations()[stellarflow.AnnotationDependencies]; got != "" {
				t.Errorf("recorded is %s, and nobody knows", got)
			}
			if len(j.said.said) != 1 || !strings.Contains(j.said.said[0], corev1.EventTypeWarning+" DependencyNotCopied: the hub may not look for ConfigMap \"x\"") {
				t.Errorf("said is %v", j.said.said)
			}
		})
	}
}

// TestOtherHub: what another hub has brought may go at any time.
func TestOtherHub(t *testing.T) {
	j := begin(t, `{templates: [{container: {envFrom: [{configMapRef: {name: x}}]}}]}`)
	j.hub.put(t, cm, "x", `{data: {k: ours}}`)
	j.sent(t, cm, "x")
	theirs := j.wec.get(pathOf(cm, "x")).DeepCopy()
	theirs.SetLabels(map[string]string{stellarflow.LabelOrigin: "hub-2", stellarflow.LabelDependency: "true"})
	j.wec.store(pathOf(cm, "x"), theirs)
	_, err := j.travel(t)
	if refusal := refusalOf(err); refusal == nil || refusal.Reason != downsync.ReasonNameTaken || !strings.Contains(refusal.Message, `another hub has copied there, and may change or remove at any time: ConfigMap "x"`) {
		t.Errorf("%v", err)
	}
}

// TestNewest: no version of the hub's is written over a newer one, whoever is slow.
func TestNewest(t *testing.T) {
	const spec = `{synchronization: {semaphore: {configMapKeyRef: {name: x, key: k}}}}`
	cases := map[string]struct {
		reason    string
		meanwhile func(*testing.T, *journey)
	}{
		"Hub": {"it has changed since it was looked at", func(t *testing.T, j *journey) { j.hub.put(t, cm, "x", `{data: {k: "3"}}`) }},
		"Both": {"somebody else was faster, with a newer one", func(t *testing.T, j *journey) {
			j.hub.put(t, cm, "x", `{data: {k: "3"}}`)
			j.sent(t, cm, "x")
		}},
		"Conflict": {"somebody else has brought an older one", func(t *testing.T, j *journey) {
			j.sent(t, cm, "x")
			j.hub.put(t, cm, "x", `{data: {k: "3"}}`)
		}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			j := begin(t, spec)
			j.hub.put(t, cm, "x", `{data: {k: "1"}}`)
			j.sent(t, cm, "x")
			j.hub.put(t, cm, "x", `{data: {k: "2"}}`)
			b, err := j.carrier.Look(t.Context(), j.target, j.hubCopy)
			if err != nil {
				t.Fatal(err)
			}
			tc.meanwhile(t, j)
			if _, err := b.Bring(t.Context()); err != nil || j.value("x") != "3" {
				t.Errorf("%s: %v, the WEC has %s", tc.reason, err, j.value("x"))
			}
		})
	}
}

// TestChangedTemplate: a template that has changed since may refer to others: all is looked at anew.
func TestChangedTemplate(t *testing.T) {
	j := begin(t, chain)
	j.hub.put(t, wft, "lib", `{spec: {templates: [{name: x}]}}`)
	b, err := j.carrier.Look(t.Context(), j.target, j.hubCopy)
	if err != nil {
		t.Fatal(err)
	}
	j.hub.put(t, wft, "lib", library)
	if _, err := b.Bring(t.Context()); err == nil || refusalOf(err) != nil || j.wec.get(pathOf(wft, "lib")) != nil {
		t.Errorf("%v", err)
	}
}

// TestAppears: what the cluster's people create meanwhile is theirs, with what it refers to.
func TestAppears(t *testing.T) {
	j := begin(t, chain)
	j.hub.put(t, wft, "lib", `{spec: {templates: [{name: x}]}}`)
	b, err := j.carrier.Look(t.Context(), j.target, j.hubCopy)
	if err != nil {
		t.Fatal(err)
	}
	j.wec.put(t, wft, "lib", `{spec: {templates: [{name: theirs}]}}`)
	if _, err := b.Bring(t.Context()); err == nil || refusalOf(err) != nil {
		t.Errorf("%v", err)
	}
	if _, err := j.travel(t); err == nil {
		t.Error("the hub copy has a record since: this is a lost race")
	}
	j.hubCopy = j.hub.get(workflowPath).DeepCopy()
	if _, err := j.travel(t); err != nil || !strings.Contains(j.hub.get(workflowPath).GetAnnotations()[stellarflow.AnnotationDependencies], "there") {
		t.Errorf("%v", err)
	}
}

// TestNamespaceGone: a namespace that was found ready and is gone is made again, and no CRD is missing.
func TestNamespaceGone(t *testing.T) {
	for kind, refused := range map[string]bool{"namespaces": false, "": true} {
		j := begin(t, `{synchronization: {semaphore: {configMapKeyRef: {name: x, key: k}}}}`)
		j.hub.put(t, cm, "x", `{}`)
		j.wec.answer = func(asked string) (int, metav1.StatusReason, metav1.StatusDetails) {
			if strings.HasPrefix(asked, http.MethodPost) {
				return http.StatusNotFound, metav1.StatusReasonNotFound, metav1.StatusDetails{Kind: kind, Name: "argo"}
			}
			return 0, "", metav1.StatusDetails{}
		}
		if _, err := j.travel(t); err == nil || (refusalOf(err) != nil) != refused {
			t.Errorf("of kind %q: %v", kind, err)
		}
	}
}

// TestLeftOut: with a shared store each namespace is given the cluster's own repository; the Argo controller's words never travel.
func TestLeftOut(t *testing.T) {
	j := begin(t, `{artifactRepositoryRef: {configMap: artifact-repositories}, templates: [{container: {envFrom: [{configMapRef: {name: workflow-controller-configmap}}]}}]}`)
	j.carrier.Store = func(context.Context) (*artifact.Store, error) { return &artifact.Store{}, nil }
	for _, name := range []string{artifact.ConfigMapName, "workflow-controller-configmap"} {
		j.hub.put(t, cm, name, `{}`)
	}
	if _, err := j.travel(t); err != nil {
		t.Fatal(err)
	}
	if got := len(j.wec.requests(http.MethodPost)); got != 0 {
		t.Errorf("%d are copied", got)
	}
	if len(j.said.said) != 1 || !strings.Contains(j.said.said[0], "workflow-controller-configmap") {
		t.Errorf("said is %v", j.said.said)
	}
}

// TestTooMuch: what would be cut off when the record is read is refused: it would be removed under the Workflow.
func TestTooMuch(t *testing.T) {
	b := bag(one("a", true, dependencies.Keep))
	var before []stellarflow.Reference
	for i := range 2*stellarflow.MaxDependencies - 1 {
		before = append(before, configMap(fmt.Sprintf("b%d", i)))
	}
	b.keep(stellarflow.Dependencies{Copied: before})
	b.hubCopy.SetAnnotations(map[string]string{stellarflow.AnnotationDependencies: b.Record()})
	if _, err := b.record(t.Context()); err != nil {
		t.Errorf("200 objects: %v", err)
	}
	b.keep(stellarflow.Dependencies{Copied: []stellarflow.Reference{configMap("z")}})
	if _, err := b.record(t.Context()); refusalOf(err) == nil {
		t.Errorf("201 objects: %v", err)
	}
}

// TestRenewPinned: nobody's look changes a template that somebody's run has begun from as a whole.
func TestRenewPinned(t *testing.T) {
	for pinned, want := range map[bool]string{true: "old", false: "new"} {
		j := begin(t, chain)
		j.hub.put(t, wft, "lib", `{spec: {templates: [{name: x, note: old}]}}`)
		j.sent(t, wft, "lib")
		j.hub.put(t, wft, "lib", `{spec: {templates: [{name: x, note: new}]}}`)
		pins := map[place]bool{{stellarflow.Reference{Kind: wft, Name: "lib"}, "argo"}: pinned}
		if err := j.carrier.renew(t.Context(), j.target, j.hubCopy, stellarflow.Dependencies{}, pins); err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(j.wec.get(pathOf(wft, "lib")).Object["spec"]); !strings.Contains(got, want) {
			t.Errorf("pinned: %v, the WEC has %s", pinned, got)
		}
	}
}

// TestNeededAgain: a look that took long counts from when its record is written.
func TestNeededAgain(t *testing.T) {
	j := begin(t, `{synchronization: {semaphore: {configMapKeyRef: {name: x, key: k}}}}`)
	j.hub.put(t, cm, "x", `{}`)
	j.sent(t, cm, "x")
	b, err := j.carrier.Look(t.Context(), j.target, j.hubCopy)
	if err != nil {
		t.Fatal(err)
	}
	j.now = start.Add(time.Minute)
	if _, err := b.Bring(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !j.carrier.lately.any("id-1", time.Minute, start.Add(90*time.Second)) {
		t.Error("it counts from the look")
	}
	if diff := cmp.Diff([]string(nil), j.said.said); diff != "" {
		t.Errorf("said is %s", diff)
	}
}

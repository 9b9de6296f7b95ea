package travel

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/record"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
	"stellarflow.io/stellarflow/pkg/hub/dependencies"
	"stellarflow.io/stellarflow/pkg/hub/downsync"
)

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func configMap(name string) stellarflow.Reference {
	return stellarflow.Reference{Kind: stellarflow.KindConfigMap, Name: name}
}

func TestLately(t *testing.T) {
	var l lately
	p := placeOf(configMap("a"), "argo")
	removed := 0
	try := func(cluster string, p place, now time.Time) {
		t.Helper()
		idle := func(last time.Time) bool { return now.Sub(last) >= time.Minute }
		if err := l.unless(types.UID(cluster), p, idle, func() error { removed++; return nil }); err != nil {
			t.Fatal(err)
		}
	}
	l.needed("c1", p, start)
	try("c1", p, start.Add(59*time.Second))
	if removed != 0 {
		t.Error("what was needed 59 s ago is removed")
	}
	try("c2", p, start)
	try("c1", placeOf(configMap("a"), "other"), start)
	if removed != 2 {
		t.Error("what is needed on one cluster, in one namespace, is kept elsewhere")
	}
	if !l.any("c1", time.Minute, start.Add(59*time.Second)) || l.any("c2", time.Minute, start) {
		t.Error("any is wrong about what is needed")
	}
	l.needed("c1", p, start.Add(time.Minute))
	try("c1", p, start.Add(90*time.Second))
	if removed != 2 {
		t.Error("the first time it was needed counts, not the last")
	}
	if l.any("c1", time.Minute, start.Add(2*time.Minute)) {
		t.Error("it is never forgotten")
	}
	try("c1", p, start.Add(2*time.Minute))
	if removed != 3 {
		t.Error("what nobody needs any more is kept")
	}
	failed := errors.New("failed")
	if err := l.unless("c1", p, nil, func() error { return failed }); !errors.Is(err, failed) {
		t.Errorf("the error of a removal is %v", err)
	}
}

// TestLatelyWaits: nothing becomes needed while it is being removed, and another cluster does not wait for that.
func TestLatelyWaits(t *testing.T) {
	var l lately
	p := placeOf(configMap("a"), "argo")
	needed := make(chan struct{})
	err := l.unless("c1", p, nil, func() error {
		l.needed("c2", p, start)
		go func() { l.needed("c1", p, start); close(needed) }()
		select {
		case <-needed:
			return errors.New("it became needed while it was removed")
		case <-time.After(50 * time.Millisecond):
			return nil
		}
	})
	if err != nil {
		t.Error(err)
	}
	<-needed
}

func workflow(namespace string, labels map[string]string, needs string) metav1.PartialObjectMetadata {
	return metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{
		Namespace: namespace, Name: "w", Labels: labels, Annotations: map[string]string{stellarflow.AnnotationDependencies: needs},
	}}
}

func TestNeededBy(t *testing.T) {
	onWEC := workflow("b", nil, `{"copied":["ConfigMap/y","Pod/s"]}`)
	needed := neededBy([]metav1.PartialObjectMetadata{workflow("a", nil, `{"copied":["ConfigMap/x","ClusterWorkflowTemplate/c"],"there":["ConfigMap/z"]}`), workflow("a", nil, "")},
		[]*metav1.PartialObjectMetadata{&onWEC})
	want := map[place]bool{
		{configMap("x"), "a"}: true, {configMap("z"), "a"}: true, {configMap("y"), "b"}: true,
		{stellarflow.Reference{Kind: stellarflow.KindClusterWorkflowTemplate, Name: "c"}, ""}: true,
	}
	if len(needed) != len(want) {
		t.Errorf("needed are %v, want %v", needed, want)
	}
	for p := range want {
		if !needed[p] {
			t.Errorf("%v is not needed", p)
		}
	}
}

func TestPinned(t *testing.T) {
	cases := map[string]struct {
		reason string
		labels map[string]string
		kind   stellarflow.Kind
		want   bool
	}{
		"Root":        {"Argo has stored it", map[string]string{stellarflow.ArgoLabelWorkflowTemplate: "t"}, stellarflow.KindWorkflowTemplate, true},
		"ClusterRoot": {"of either kind", map[string]string{stellarflow.ArgoLabelClusterWorkflowTemplate: "t"}, stellarflow.KindClusterWorkflowTemplate, true},
		"OtherKind":   {"the name alone says nothing", map[string]string{stellarflow.ArgoLabelWorkflowTemplate: "t"}, stellarflow.KindClusterWorkflowTemplate, false},
		"OtherName":   {"what it calls is taken when it is called", map[string]string{stellarflow.ArgoLabelWorkflowTemplate: "x"}, stellarflow.KindWorkflowTemplate, false},
		"NotBegun":    {"Argo has not looked at it yet", nil, stellarflow.KindWorkflowTemplate, false},
		"ConfigMap":   {"a number of locks is looked at all the time", map[string]string{stellarflow.ArgoLabelWorkflowTemplate: "t"}, stellarflow.KindConfigMap, false},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			w := workflow("a", tc.labels, "")
			if got := pinned(&w, stellarflow.Reference{Kind: tc.kind, Name: "t"}); got != tc.want {
				t.Errorf("%s: %v", tc.reason, got)
			}
		})
	}
}

func bag(items ...item) *baggage {
	hubCopy := &unstructured.Unstructured{Object: map[string]any{}}
	hubCopy.SetNamespace("argo")
	return &baggage{carrier: &Carrier{}, target: downsync.Target{Name: "cluster1"}, hubCopy: hubCopy, items: items}
}

func one(name string, required bool, action dependencies.Action) item {
	return item{Need: dependencies.Need{Reference: configMap(name), Required: required, Where: "spec.x"}, action: action}
}

func TestRefusal(t *testing.T) {
	var many []item
	for i := range 7 {
		many = append(many, one(fmt.Sprintf("m%d", i), true, dependencies.Missing))
	}
	const todo = `: create it on the hub, in namespace "argo" if it has one, or correct the name`
	cases := map[string]struct {
		reason string
		items  []item
		want   string
	}{
		"Nothing":  {"most Workflows need nothing", nil, ""},
		"There":    {"whoever has it", []item{one("a", true, dependencies.Create), one("b", true, dependencies.UseThere), one("c", true, dependencies.Keep)}, ""},
		"Optional": {"a step may make it", []item{one("a", false, dependencies.Missing)}, ""},
		"One":      {"with where it stands", []item{one("a", true, dependencies.Missing)}, `the Workflow needs what is neither on the hub nor there: ConfigMap "a" (spec.x)` + todo},
		"Many": {
			"five are enough", many,
			`the Workflow needs what is neither on the hub nor there: ConfigMap "m0" (spec.x), ConfigMap "m1" (spec.x), ConfigMap "m2" (spec.x), ConfigMap "m3" (spec.x), ConfigMap "m4" (spec.x), 2 more` + todo,
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			got := ""
			if err := bag(tc.items...).refusal(); err != nil {
				got = err.Error()
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("%s: -want +got:\n%s", tc.reason, diff)
			}
		})
	}
}

func TestRecord(t *testing.T) {
	b := bag(one("a", true, dependencies.Create), one("b", true, dependencies.UseThere), one("c", false, dependencies.Missing), one("d", true, dependencies.Keep))
	b.keep(stellarflow.Dependencies{Copied: []stellarflow.Reference{configMap("a"), configMap("before"), configMap("c")}})
	if got, want := b.Record(), `{"copied":["ConfigMap/a","ConfigMap/before","ConfigMap/c","ConfigMap/d"],"there":["ConfigMap/b"]}`; got != want {
		t.Errorf("recorded is %s, want %s", got, want)
	}
	if got := bag().Record(); got != "" {
		t.Errorf("nothing is recorded as %q", got)
	}
}

func TestRefused(t *testing.T) {
	resource := schema.GroupResource{Resource: "configmaps"}
	cases := map[string]struct {
		reason string
		err    error
		refuse string // a part of the Refusal, empty if it is none
	}{
		"None":      {"it went well", nil, ""},
		"Exists":    {"another Workflow was faster", apierrors.NewAlreadyExists(resource, "a"), ""},
		"Conflict":  {"or wrote meanwhile", apierrors.NewConflict(resource, "a", errors.New("x")), ""},
		"Forbidden": {"joined before: with the way out", apierrors.NewForbidden(resource, "a", errors.New("no")), "it may not get ConfigMap/a, which the Workflow needs: configmaps \"a\" is forbidden: no: change the quota, the admission policy or the hub's rights there (run `stellarflow join cluster1` again)"},
		"Invalid":   {"the object will not pass there", apierrors.NewBadRequest("bad"), "it rejects the request to get ConfigMap/a"},
		"Timeout":   {"nothing is known", apierrors.NewTimeoutError("late", 1), ""},
		"Lost":      {"nothing is known", errors.New("EOF"), ""},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			err := bag().refused(tc.err, "get", configMap("a"))
			var refusal *downsync.Refusal
			is := errors.As(err, &refusal)
			if is != (tc.refuse != "") || is && !strings.Contains(refusal.Message, tc.refuse) || (err == nil) != (tc.err == nil) {
				t.Errorf("%s: %v (refusal: %v)", tc.reason, err, is)
			}
		})
	}
}

// sayings keep what was said.
type sayings struct {
	record.EventRecorder
	said []string
}

// Eventf is that of an EventRecorder.
func (e *sayings) Eventf(_ runtime.Object, kind, reason, note string, args ...any) {
	e.said = append(e.said, kind+" "+reason+": "+fmt.Sprintf(note, args...))
}

func TestWarn(t *testing.T) {
	said := &sayings{}
	optional := one("optional", false, dependencies.Missing)
	optional.Optional = true
	b := bag(one("a", false, dependencies.Missing), one("b", true, dependencies.Create), optional)
	b.carrier.Recorder = said
	b.warn()
	want := []string{corev1.EventTypeWarning + ` DependencyMissing: neither the hub nor cluster cluster1 has ConfigMap "a" (spec.x): a pod that needs it waits until it is created there`}
	if diff := cmp.Diff(want, said.said); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

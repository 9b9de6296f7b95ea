package downsync

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"stellarflow.io/stellarflow/pkg/apis/control/v1alpha1"
	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
	"stellarflow.io/stellarflow/pkg/hub/hubcopy"
	"stellarflow.io/stellarflow/pkg/hub/hubcopy/hubcopytest"
	"stellarflow.io/stellarflow/transforms"
)

// keyed is a Workflow with labels and annotations of people, Argo and ours; annotations stand after a bar.
func keyed(t *testing.T, text string) *unstructured.Unstructured {
	t.Helper()
	labels, annotations, _ := strings.Cut(text, "|")
	workflow := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow", "metadata": map[string]any{"name": "w", "uid": "hub-1"}}}
	workflow.SetLabels(pairs(labels))
	workflow.SetAnnotations(pairs(annotations))
	return workflow
}

func pairs(text string) map[string]string {
	values := map[string]string{}
	for _, pair := range strings.Fields(text) {
		key, value, _ := strings.Cut(pair, "=")
		values[key] = value
	}
	if len(values) == 0 {
		return nil
	}
	return values
}

// shown is what keyed reads, less what is ours.
func shown(workflow *unstructured.Unstructured) string {
	text := func(values map[string]string) string {
		maps.DeleteFunc(values, func(key, _ string) bool { return stellarflow.IsOurs(key) })
		var all []string
		for _, key := range slices.Sorted(maps.Keys(values)) {
			all = append(all, key+"="+values[key])
		}
		return strings.Join(all, " ")
	}
	return strings.TrimSuffix(text(workflow.GetLabels())+"|"+text(workflow.GetAnnotations()), "|")
}

// transform takes paths out.
func transform(paths ...string) []v1alpha1.CustomTransform {
	return []v1alpha1.CustomTransform{{Spec: v1alpha1.CustomTransformSpec{APIGroup: transforms.Group, Resource: transforms.Resource, Remove: paths}}}
}

// created is the WEC copy of a hub copy as a WEC's API server has it.
func created(t *testing.T, text string, custom []v1alpha1.CustomTransform) *unstructured.Unstructured {
	t.Helper()
	wecCopy, _ := Object(keyed(t, text), stellarflow.Placement{UID: "hub-1", Attempt: 1}, "hub-id", custom)
	wecCopy.SetUID("wec-1")
	wecCopy.SetResourceVersion("7")
	return wecCopy
}

// patched is a WEC copy after the operations; the API server would refuse them if it had changed.
func patched(t *testing.T, wecCopy *unstructured.Unstructured, operations []hubcopy.Operation) *unstructured.Unstructured {
	t.Helper()
	before, err := json.Marshal(wecCopy.Object)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := hubcopytest.Apply(t, before, operations)
	if err != nil {
		t.Fatalf("%v on %s: %v", operations, before, err)
	}
	after := &unstructured.Unstructured{}
	if err := json.Unmarshal(raw, &after.Object); err != nil {
		t.Fatal(err)
	}
	return after
}

func TestPassOn(t *testing.T) {
	const label = `$.metadata.labels["held"]`
	cases := map[string]struct {
		reason string
		// created is the hub copy that the WEC copy was created from, there what somebody makes of it then, with "-" for nothing.
		created, there, now string
		// before and after are the transforms at the creation and now.
		before, after []v1alpha1.CustomTransform
		old           bool // an earlier version created it
		want          string
		idle          bool // nothing is written
	}{
		"Same":       {reason: "nothing changed", created: "a=1|b=2", now: "a=1|b=2", want: "a=1|b=2", idle: true},
		"Nothing":    {reason: "nothing to pass on at all", created: "", now: "", want: "", idle: true},
		"Added":      {reason: "a label and an annotation", created: "a=1", now: "a=1 c=3|b=2", want: "a=1 c=3|b=2"},
		"First":      {reason: "the first of both", created: "", now: "c=3|b=2", want: "c=3|b=2"},
		"Changed":    {reason: "both have another value", created: "a=1|b=2", now: "a=9|b=8", want: "a=9|b=8"},
		"Emptied":    {reason: "an empty value is one", created: "a=1|b=2", now: "a=|b=", want: "a=|b="},
		"Removed":    {reason: "both are taken away", created: "a=1 c=3|b=2", now: "c=3", want: "c=3"},
		"LastOne":    {reason: "nothing is left", created: "a=1", now: "", want: ""},
		"SameKey":    {reason: "a label is no annotation", created: "a=1|a=2", now: "a=1|a=3", want: "a=1|a=3"},
		"Moved":      {reason: "a label becomes an annotation", created: "a=1", now: "|a=1", want: "|a=1"},
		"Theirs":     {reason: "what somebody put there stays", created: "a=1", there: "a=1 x=1|y=2", now: "a=2", want: "a=2 x=1|y=2"},
		"TheirsSame": {reason: "what somebody put there and here is theirs, not given", created: "", there: "x=1", now: "", want: "x=1", idle: true},
		"Once":       {reason: "what somebody changed there afterwards stays", created: "a=1", there: "a=7", now: "a=1", want: "a=7", idle: true},
		"OnceGone":   {reason: "or removed", created: "a=1", there: "-", now: "a=1", want: "", idle: true},
		"OnceBeside": {reason: "also when something else is passed on", created: "a=1", there: "a=7", now: "a=1 c=3", want: "a=7 c=3"},
		"LastWord":   {reason: "a change here is the last word", created: "a=1", there: "a=7", now: "a=2", want: "a=2"},
		"NotTheirs":  {reason: "what is taken away here, and has another value there, is theirs by now", created: "a=1", there: "a=7", now: "", want: "a=7"},
		"GoneBoth":   {reason: "taken away on both sides", created: "a=1", there: "-", now: "", want: ""},
		"SameThere":  {reason: "both sides were given the same value", created: "a=1", there: "a=2", now: "a=2", want: "a=2"},
		"Argo": {
			reason:  "what Argo, the WEC or the hub itself writes is never passed on, nor taken away",
			created: "workflows.argoproj.io/workflow-template=t",
			there: "workflows.argoproj.io/workflow-template=t workflows.argoproj.io/phase=Running workflows.argoproj.io/completed=false " +
				"workflows.argoproj.io/cluster-workflow-template=u|workflows.argoproj.io/pod-name-format=v2",
			now: "a=1 workflows.argoproj.io/phase=Failed workflows.argoproj.io/completed=true workflows.argoproj.io/workflow-archiving-status=Pending " +
				"workflows.argoproj.io/controller-instanceid=i workflows.argoproj.io/actor=me workflows.argoproj.io/action=Stop stellarflow.io/cluster=c " +
				"workflows.argoproj.io/cluster-workflow-template=other|workflows.argoproj.io/pod-name-format=v1 stellarflow.io/placement=p " +
				"kubectl.kubernetes.io/last-applied-configuration={}",
			want: "a=1 workflows.argoproj.io/cluster-workflow-template=u workflows.argoproj.io/completed=false workflows.argoproj.io/phase=Running " +
				"workflows.argoproj.io/workflow-template=t|workflows.argoproj.io/pod-name-format=v2",
		},
		"ArgoOnly": {reason: "and is no change", created: "a=1", now: "a=1 workflows.argoproj.io/actor=me|workflows.argoproj.io/pod-name-format=v2", want: "a=1", idle: true},
		"Title":    {reason: "Argo's keys that people write are theirs", created: "", now: "|workflows.argoproj.io/title=t", want: "|workflows.argoproj.io/title=t"},

		"Held":        {reason: "a transform takes it out", created: "a=1 held=1", now: "a=2 held=2", before: transform(label), after: transform(label), want: "a=2"},
		"HeldNow":     {reason: "a new transform changes no copy that is there", created: "a=1 held=1", now: "a=1 held=1", after: transform(label), want: "a=1 held=1", idle: true},
		"HeldNowSet":  {reason: "and nothing that it takes out is passed on any more", created: "held=1", now: "held=2", after: transform(label), want: "held=1"},
		"HeldNowGone": {reason: "what was given before it came is taken away", created: "held=1", now: "", after: transform(label), want: ""},
		"HeldBefore":  {reason: "a transform that goes changes no copy that is there", created: "a=1 held=1", now: "a=2 held=1", before: transform(label), want: "a=2"},
		"NoLonger":    {reason: "a change after it went is one", created: "a=1 held=1", now: "a=1 held=2", before: transform(label), want: "a=1 held=2"},
		"AllHeld":     {reason: "whole maps", created: "a=1|b=2", now: "a=2|b=3", before: transform("$.metadata.labels", "$.metadata.annotations"), after: transform("$.metadata.labels", "$.metadata.annotations"), want: ""},
		"BadPath":     {reason: "a path that cannot be read is skipped", created: "a=1", now: "a=2", after: transform("$.["), want: "a=2"},

		"Old":        {reason: "what an earlier version created gets what differs, and keeps what the hub has not", created: "a=1 gone=1", there: "a=1 gone=1 x=1", now: "a=2 c=3|b=2", old: true, want: "a=2 c=3 gone=1 x=1|b=2"},
		"OldSame":    {reason: "where nothing differs that is noted, so that what is taken away later can be", created: "a=1", now: "a=1", old: true, want: "a=1"},
		"OldNothing": {reason: "where there is nothing, nothing is noted", created: "", now: "", old: true, want: "", idle: true},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			wecCopy := created(t, tc.created, tc.before)
			if tc.there != "" {
				theirs := keyed(t, strings.TrimPrefix(tc.there, "-"))
				labels, annotations := ours(wecCopy.GetLabels()), ours(wecCopy.GetAnnotations())
				maps.Copy(labels, theirs.GetLabels())
				maps.Copy(annotations, theirs.GetAnnotations())
				wecCopy.SetLabels(labels)
				wecCopy.SetAnnotations(annotations)
			}
			if tc.old {
				unstructured.RemoveNestedField(wecCopy.Object, "metadata", "annotations", stellarflow.AnnotationPassedOn)
			}
			hubCopy, before := keyed(t, tc.now), wecCopy.DeepCopy()
			operations := PassOn(hubCopy, wecCopy, tc.after)
			if (operations == nil) != tc.idle {
				t.Errorf("%s: the operations are %v", tc.reason, operations)
			}
			if diff := cmp.Diff(before, wecCopy); diff != "" {
				t.Errorf("the WEC copy was changed:\n%s", diff)
			}
			after := patched(t, wecCopy, operations)
			if again := PassOn(hubCopy, after, tc.after); again != nil {
				t.Errorf("a second time would write again: %v", again)
			}
			identity := func(w *unstructured.Unstructured) []string {
				return []string{w.GetLabels()[stellarflow.LabelOrigin], w.GetAnnotations()[stellarflow.AnnotationHubUID], w.GetAnnotations()[stellarflow.AnnotationAttempt]}
			}
			if diff := cmp.Diff(identity(before), identity(after)); diff != "" {
				t.Errorf("it is not ours any more:\n%s", diff)
			}
			if diff := cmp.Diff(shown(keyed(t, tc.want)), shown(after)); diff != "" {
				t.Errorf("%s: -want +got:\n%s", tc.reason, diff)
			}
		})
	}
}

func ours(values map[string]string) map[string]string {
	maps.DeleteFunc(values, func(key, _ string) bool { return !stellarflow.IsOurs(key) })
	return values
}

// TestPassOnIsAsCreated: what a change leads to is what a copy would be created with, whatever Strip and transforms leave of it.
func TestPassOnIsAsCreated(t *testing.T) {
	keys := []string{
		"a", "b.io/c", "workflows.argoproj.io/title", "workflows.argoproj.io/creator", "workflows.argoproj.io/phase", "workflows.argoproj.io/actor-email",
		"workflows.argoproj.io/scheduled-time", "workflows.argoproj.io/trace-id", "kubectl.kubernetes.io/last-applied-configuration", "stellarflow.io/x",
	}
	for _, custom := range [][]v1alpha1.CustomTransform{nil, transform(`$.metadata.labels["a"]`, `$.metadata.annotations["b.io/c"]`)} {
		for _, key := range keys {
			for _, changed := range []string{"x=1 " + key + "=2|y=1", "x=1|y=1 " + key + "=2"} {
				before := created(t, "x=1|y=1", custom)
				got := patched(t, before, PassOn(keyed(t, changed), before, custom))
				if diff := cmp.Diff(created(t, changed, custom).Object, got.Object); diff != "" {
					t.Errorf("%s: -created +passed on:\n%s", changed, diff)
				}
			}
		}
	}
}

// TestPassOnBelievesNoRecord: a WEC that forges the record gains nothing: what is ours there is not taken away.
func TestPassOnBelievesNoRecord(t *testing.T) {
	wecCopy := created(t, "a=1", nil)
	forged := []string{"nonsense", hashOf("labels", stellarflow.LabelOrigin, "hub-id"), hashOf("annotations", stellarflow.AnnotationHubUID, "hub-1")}
	setAnnotation(wecCopy, stellarflow.AnnotationPassedOn, strings.Join(forged, ","))
	after := patched(t, wecCopy, PassOn(keyed(t, "a=2"), wecCopy, nil))
	if after.GetLabels()[stellarflow.LabelOrigin] != "hub-id" || after.GetAnnotations()[stellarflow.AnnotationHubUID] != "hub-1" || after.GetLabels()["a"] != "2" {
		t.Errorf("it is %v", after.Object)
	}
}

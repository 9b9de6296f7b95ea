package upsync

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
	"stellarflow.io/stellarflow/pkg/hub/hubcopy"
	"stellarflow.io/stellarflow/pkg/hub/hubcopy/hubcopytest"
)

// record is the placement of the hub copies in these tests, without and with the WEC copy's UID.
var (
	record      = stellarflow.Placement{UID: "hub-1", Policy: "p", Cluster: "cluster1", ClusterID: "id-1", Attempt: 1}
	recordKnown = stellarflow.Placement{UID: "hub-1", Policy: "p", Cluster: "cluster1", ClusterID: "id-1", Attempt: 1, WECUID: "wec-1"}
)

// hubCopy is a placed hub copy of generation 7 with an observed annotation.
func hubCopy(placement stellarflow.Placement, observed string) *metav1.PartialObjectMetadata {
	w := stellarflow.NewWorkflowMetadata()
	w.Namespace, w.Name, w.UID, w.Generation, w.ResourceVersion = "argo", "w", "hub-1", 7, "55"
	w.Labels = map[string]string{"mine": "yes", stellarflow.LabelCluster: "cluster1", phaseLabel: "Running"}
	w.Annotations = map[string]string{stellarflow.AnnotationPlacement: placement.String(), stellarflow.AnnotationObserved: observed}
	return w
}

// after is the hub copy as the API server makes it from the operations; nil if a test does not hold.
func after(t *testing.T, before *metav1.PartialObjectMetadata, operations []hubcopy.Operation) map[string]any {
	t.Helper()
	raw, err := json.Marshal(before)
	if err != nil {
		t.Fatal(err)
	}
	patched, err := hubcopytest.Apply(t, raw, operations)
	if err != nil {
		return nil
	}
	return decoded(t, string(patched))
}

// part is metadata.labels or metadata.annotations.
func part(object map[string]any, field string) map[string]any {
	metadata, _ := object["metadata"].(map[string]any)
	values, _ := metadata[field].(map[string]any)
	return values
}

func running(hash string) Rendered {
	return Rendered{
		Status: json.RawMessage(`{"phase":"Running"}`), Hash: hash,
		Labels: map[string]string{phaseLabel: "Running"}, Annotations: map[string]string{stellarflow.ArgoAnnotationPodNameFormat: "v2"},
	}
}

func newPass(hub *metav1.PartialObjectMetadata, placement stellarflow.Placement) Pass {
	return Pass{
		HubCopy: hub, Placement: placement,
		WECCopy: WECCopy{Metadata: metav1.ObjectMeta{UID: "wec-1", ResourceVersion: "101"}},
	}
}

func TestOperations(t *testing.T) {
	withFormat := func(w *metav1.PartialObjectMetadata) *metav1.PartialObjectMetadata {
		w.Annotations[stellarflow.ArgoAnnotationPodNameFormat] = "v2"
		return w
	}
	away := func(w *metav1.PartialObjectMetadata) *metav1.PartialObjectMetadata {
		w.Annotations[stellarflow.AnnotationSync] = "away"
		return w
	}
	templated := func(w *metav1.PartialObjectMetadata) *metav1.PartialObjectMetadata {
		w.Labels[stellarflow.ArgoLabelWorkflowTemplate], w.Labels[completedLabel] = "t", "true"
		return w
	}
	const observed = "wec-1/100/7/h1"
	writes, writesToSubresource := change{status: true, countsGenerations: true}, change{status: true}
	allLabels := map[string]any{"mine": "yes", stellarflow.LabelCluster: "cluster1", phaseLabel: "Running"}
	cases := map[string]struct {
		reason      string
		pass        Pass
		rendered    Rendered
		change      change
		status      any
		labels      map[string]any
		annotations map[string]any
	}{
		"First": {
			"status, labels, UID and what was observed in one write",
			newPass(hubCopy(record, ""), record), running("h1"), writes,
			map[string]any{"phase": "Running"},
			allLabels,
			map[string]any{
				stellarflow.AnnotationPlacement: recordKnown.String(), stellarflow.AnnotationObserved: "wec-1/101/8/h1", stellarflow.ArgoAnnotationPodNameFormat: "v2",
			},
		},
		"FirstToSubresource": {
			"a status subresource leaves the generation as it is",
			newPass(hubCopy(record, ""), record), running("h1"), writesToSubresource,
			map[string]any{"phase": "Running"},
			allLabels,
			map[string]any{
				stellarflow.AnnotationPlacement: recordKnown.String(), stellarflow.AnnotationObserved: "wec-1/101/7/h1", stellarflow.ArgoAnnotationPodNameFormat: "v2",
			},
		},
		"UIDOnly": {
			"no status yet: only the UID",
			newPass(hubCopy(record, ""), record),
			Rendered{Hash: "h0"},
			change{countsGenerations: true},
			nil, allLabels,
			map[string]any{stellarflow.AnnotationPlacement: recordKnown.String(), stellarflow.AnnotationObserved: ""},
		},
		"BackAgain": {
			"the complaint goes although nothing else changed, and the status is not written again",
			newPass(away(withFormat(hubCopy(recordKnown, observed))), recordKnown), running("h1"),
			change{countsGenerations: true},
			nil, allLabels,
			map[string]any{
				stellarflow.AnnotationPlacement: recordKnown.String(), stellarflow.AnnotationObserved: "wec-1/101/7/h1", stellarflow.ArgoAnnotationPodNameFormat: "v2",
			},
		},
		"BackWithoutStatus": {
			"the complaint goes also before there is a status",
			newPass(away(hubCopy(recordKnown, "")), recordKnown),
			Rendered{},
			change{},
			nil, allLabels,
			map[string]any{stellarflow.AnnotationPlacement: recordKnown.String(), stellarflow.AnnotationObserved: ""},
		},
		"RemovedLabels": {
			"a retry there takes completed away here too",
			newPass(templated(withFormat(hubCopy(recordKnown, observed))), recordKnown), running("h2"), writes,
			map[string]any{"phase": "Running"},
			allLabels,
			map[string]any{
				stellarflow.AnnotationPlacement: recordKnown.String(), stellarflow.AnnotationObserved: "wec-1/101/8/h2", stellarflow.ArgoAnnotationPodNameFormat: "v2",
			},
		},
		"SpecChangedHere": {
			"the generation moved, the status is ours still: only what was observed is noted",
			newPass(withFormat(hubCopy(recordKnown, "wec-1/100/6/h1")), recordKnown), running("h1"),
			change{countsGenerations: true},
			nil, allLabels,
			map[string]any{
				stellarflow.AnnotationPlacement: recordKnown.String(), stellarflow.AnnotationObserved: "wec-1/101/7/h1", stellarflow.ArgoAnnotationPodNameFormat: "v2",
			},
		},
		"ObservedRemoved": {
			"somebody took the annotation off: the pass must not lose against its own test for ever",
			newPass(func() *metav1.PartialObjectMetadata {
				w := hubCopy(recordKnown, "")
				delete(w.Annotations, stellarflow.AnnotationObserved)
				return w
			}(), recordKnown), running("h1"), writes,
			map[string]any{"phase": "Running"},
			allLabels,
			map[string]any{
				stellarflow.AnnotationPlacement: recordKnown.String(), stellarflow.AnnotationObserved: "wec-1/101/8/h1", stellarflow.ArgoAnnotationPodNameFormat: "v2",
			},
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			before := tc.pass.HubCopy.DeepCopy()
			known, _ := stellarflow.ParseObserved(before.Annotations[stellarflow.AnnotationObserved])
			got := after(t, before, tc.pass.operations(tc.rendered, known, tc.change))
			if got == nil {
				t.Fatalf("%s: the tests of the patch do not hold for the object that it was made from", tc.reason)
			}
			if diff := cmp.Diff(tc.status, got["status"]); diff != "" {
				t.Errorf("%s: status -want +got:\n%s", tc.reason, diff)
			}
			if diff := cmp.Diff(tc.labels, part(got, "labels")); diff != "" {
				t.Errorf("%s: labels -want +got:\n%s", tc.reason, diff)
			}
			if diff := cmp.Diff(tc.annotations, part(got, "annotations")); diff != "" {
				t.Errorf("%s: annotations -want +got:\n%s", tc.reason, diff)
			}
			if diff := cmp.Diff(before, tc.pass.HubCopy); diff != "" {
				t.Errorf("the cached hub copy was changed:\n%s", diff)
			}
		})
	}
}

func TestNoOperationsWhenNothingChanged(t *testing.T) {
	same := hubCopy(recordKnown, "wec-1/100/7/h1")
	same.Annotations[stellarflow.ArgoAnnotationPodNameFormat] = "v2"
	if got := newPass(same, recordKnown).operations(running("h1"), stellarflow.Observed{WECUID: "wec-1", ResourceVersion: "100", Generation: 7, Hash: "h1"}, change{countsGenerations: true}); got != nil {
		t.Errorf("a newer resourceVersion alone is worth no write: %v", got)
	}
	if got := newPass(hubCopy(recordKnown, ""), recordKnown).operations(Rendered{}, stellarflow.Observed{}, change{}); got != nil {
		t.Errorf("the UID is known and there is no status: %v", got)
	}
}

// TestOperationsOfAShutdown: what a pass writes while the WEC copy does not follow the hub copy's spec, and when it was retried there.
func TestOperationsOfAShutdown(t *testing.T) {
	const same, behind = "wec-1/100/7/h1", "wec-1/100/0/h1"
	for name, test := range map[string]struct {
		reason   string
		observed string
		change   func(*Pass)
		written  change
		want     map[string]any // path -> value; nil for no patch
	}{
		"Behind": {
			"no generation is followed", same, func(p *Pass) { p.Behind = true },
			change{countsGenerations: true},
			map[string]any{"/metadata/annotations/stellarflow.io~1observed": "wec-1/101/0/h1"},
		},
		"StillBehind": {"which is written once", behind, func(p *Pass) { p.Behind = true }, change{countsGenerations: true}, nil},
		"Refused": {
			"and said, in the same write as the status", behind, func(p *Pass) { p.Behind, p.Sync = true, "it may not" },
			change{status: true, countsGenerations: true},
			map[string]any{
				"/metadata/annotations/stellarflow.io~1observed": "wec-1/101/0/h1", "/metadata/annotations/stellarflow.io~1sync": "it may not",
				"/status": json.RawMessage(`{"phase":"Running"}`),
			},
		},
		"Retried": {
			"the value is done with; one write is one generation", same, func(p *Pass) { p.Retried = true },
			change{status: true, countsGenerations: true},
			map[string]any{
				"/metadata/annotations/stellarflow.io~1observed": "wec-1/101/8/h1", "/spec/shutdown": "", "/status": json.RawMessage(`{"phase":"Running"}`),
			},
		},
		"RetriedSubresource": {
			"where only the spec counts", same, func(p *Pass) { p.Retried = true },
			change{status: true},
			map[string]any{
				"/metadata/annotations/stellarflow.io~1observed": "wec-1/101/8/h1", "/spec/shutdown": "", "/status": json.RawMessage(`{"phase":"Running"}`),
			},
		},
	} {
		hub := hubCopy(recordKnown, test.observed)
		hub.Annotations[stellarflow.ArgoAnnotationPodNameFormat] = "v2"
		pass := newPass(hub, recordKnown)
		test.change(&pass)
		observed, _ := stellarflow.ParseObserved(test.observed)
		var got map[string]any
		for _, operation := range pass.operations(running("h1"), observed, test.written) {
			if operation.Op == "add" {
				if got == nil {
					got = map[string]any{}
				}
				got[operation.Path] = operation.Value
			}
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%s: %s (-want +got):\n%s", name, test.reason, diff)
		}
	}
}

// TestOperationsLoseRaces: everything that the decision was made from is tested by the patch itself.
func TestOperationsLoseRaces(t *testing.T) {
	pass := newPass(hubCopy(recordKnown, "wec-1/100/7/h0"), recordKnown)
	operations := pass.operations(running("h1"), stellarflow.Observed{WECUID: "wec-1", ResourceVersion: "100", Generation: 7, Hash: "h0"}, change{status: true, countsGenerations: true})
	other := record
	other.Attempt = 2
	cases := map[string]struct {
		reason string
		change func(*metav1.PartialObjectMetadata)
		holds  bool
	}{
		"Same":       {"nobody wrote", func(*metav1.PartialObjectMetadata) {}, true},
		"UserLabel":  {"a user's label races with nothing", func(w *metav1.PartialObjectMetadata) { w.Labels["mine"], w.ResourceVersion = "no", "56" }, true},
		"Replaced":   {"another Workflow has the name", func(w *metav1.PartialObjectMetadata) { w.UID = "hub-2" }, false},
		"Generation": {"spec or status changed", func(w *metav1.PartialObjectMetadata) { w.Generation = 8 }, false},
		"Placement":  {"placed again", func(w *metav1.PartialObjectMetadata) { w.Annotations[stellarflow.AnnotationPlacement] = other.String() }, false},
		"Observed": {"another pass was faster", func(w *metav1.PartialObjectMetadata) {
			w.Annotations[stellarflow.AnnotationObserved] = "wec-1/101/8/h1"
		}, false},
		"NoObserved": {"the annotation went", func(w *metav1.PartialObjectMetadata) { delete(w.Annotations, stellarflow.AnnotationObserved) }, false},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			now := pass.HubCopy.DeepCopy()
			tc.change(now)
			if got := after(t, now, operations); (got != nil) != tc.holds {
				t.Errorf("%s: the patch holds is %v, want %v", tc.reason, got != nil, tc.holds)
			}
		})
	}
}

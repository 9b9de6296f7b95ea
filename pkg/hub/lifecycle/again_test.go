package lifecycle

import (
	"errors"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
	"stellarflow.io/stellarflow/pkg/hub/intent"
)

func TestRetriedWhereItIsGone(t *testing.T) {
	placement := stellarflow.Placement{UID: "hub-1", Policy: "p", Cluster: "cluster1", ClusterID: "id-1", Attempt: 2, WECUID: "wec-1"}
	copyOf := func(attempt string) *metav1.PartialObjectMetadata {
		wecCopy := stellarflow.NewWorkflowMetadata()
		wecCopy.UID, wecCopy.Annotations = "wec-2", map[string]string{stellarflow.AnnotationHubUID: "hub-1", stellarflow.AnnotationAttempt: attempt}
		return wecCopy
	}
	asked := func(kind stellarflow.IntentKind, base string) stellarflow.Intent {
		return stellarflow.Intent{ID: "i", Kind: kind, Time: now, Base: base, Retry: &stellarflow.RetryChange{}}
	}
	cases := map[string]struct {
		reason     string
		asked      stellarflow.Intent
		wecCopy    *metav1.PartialObjectMetadata
		restoredAt time.Time
		refused    string
	}{
		"Again":         {"of the end that is shown", asked(stellarflow.IntentRetry, "base"), nil, time.Time{}, ""},
		"NoRetry":       {"anything else is of a run", asked(stellarflow.IntentResume, ""), nil, time.Time{}, "it has ended"},
		"Base":          {"of another end", asked(stellarflow.IntentRetry, "other"), nil, time.Time{}, "it has changed since; look at it and retry again"},
		"RestoredSince": {"the run that it asked for may be over", asked(stellarflow.IntentRetry, "base"), nil, now.Add(time.Second), sayOutlived},
		"RestoredFirst": {"it was asked of the restored hub", asked(stellarflow.IntentRetry, "base"), nil, now.Add(-time.Second), ""},
		"RestoredThere": {"the run that it asked for is there: it is recorded again", asked(stellarflow.IntentRetry, "base"), copyOf("3"), now.Add(time.Second), ""},
		"RestoredOther": {"what is there is another attempt", asked(stellarflow.IntentRetry, "base"), copyOf("1"), now.Add(time.Second), sayOutlived},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			live := &unstructured.Unstructured{Object: map[string]any{"status": map[string]any{"phase": "Failed", "nodes": map[string]any{"w": map[string]any{"id": "w", "phase": "Succeeded"}}}}}
			live.SetName("w")
			live.SetAnnotations(map[string]string{stellarflow.AnnotationObserved: "wec-1/100/7/base"})
			s := &Syncer{Now: func() time.Time { return now }, RestoredAt: func() time.Time { return tc.restoredAt }}
			operations, err := s.retried(View{WEC: tc.wecCopy}, live, tc.asked, placement)
			var no *intent.Refusal
			errors.As(err, &no)
			switch {
			case tc.refused == "" && (err != nil || len(operations) == 0):
				t.Errorf("%s: %v, %v", tc.reason, operations, err)
			case tc.refused != "" && (no == nil || no.Message != tc.refused):
				t.Errorf("%s: %v, want %q", tc.reason, err, tc.refused)
			}
		})
	}
}

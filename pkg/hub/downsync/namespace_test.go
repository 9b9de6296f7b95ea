package downsync

import (
	"errors"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

// TestNeverUsed: our own namespace holds credentials, and those of Kubernetes are nobody's; neither is looked into.
func TestNeverUsed(t *testing.T) {
	for name, want := range map[string]bool{"kube-system": true, stellarflow.SystemNamespace: true, "argo": false, "kubernetes": false} {
		if got := neverUsed(name) != nil; got != want {
			t.Errorf("%s is refused: %v", name, got)
		}
	}
	var n namespaces
	if err := n.accepts(t.Context(), "hub-1", Target{}, stellarflow.SystemNamespace, start); err == nil || len(n.ready) > 0 {
		t.Errorf("%v; known: %v", err, n.ready)
	}
	n.markReady("accepts/id-1/argo", start)
	if err := n.accepts(t.Context(), "hub-1", Target{ID: "id-1"}, "argo", start); err != nil {
		t.Errorf("one that was asked for lately: %v", err)
	}
}

func TestAccepted(t *testing.T) {
	deleted := metav1.NewTime(start)
	cases := map[string]struct {
		reason    string
		namespace metav1.ObjectMeta
		ours      bool
		want      string // a part of the refusal
	}{
		"Ours":     {"the hub made it", metav1.ObjectMeta{Labels: map[string]string{stellarflow.LabelOrigin: "hub-1"}}, true, ""},
		"OtherHub": {"another hub made it", metav1.ObjectMeta{Labels: map[string]string{stellarflow.LabelOrigin: "hub-2"}}, false, "does not accept Workflows"},
		"Label":    {"somebody there accepts", metav1.ObjectMeta{Labels: map[string]string{stellarflow.LabelAccept: "true"}}, false, ""},
		"Joined":   {"the join accepted", metav1.ObjectMeta{Name: "joined"}, false, ""},
		"Theirs":   {"nobody did", metav1.ObjectMeta{}, false, "does not accept Workflows"},
		"Ending":   {"it is nearly gone", metav1.ObjectMeta{Name: "joined", DeletionTimestamp: &deleted}, false, "is being deleted there"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			ours, err := accepted(&corev1.Namespace{ObjectMeta: tc.namespace}, "hub-1", Target{Name: "c1", Namespaces: []string{"joined"}})
			var refusal *Refusal
			if is := errors.As(err, &refusal); is != (tc.want != "") || is && !strings.Contains(refusal.Message, tc.want) || ours != tc.ours {
				t.Errorf("%s: ours: %v, %v", tc.reason, ours, err)
			}
		})
	}
}

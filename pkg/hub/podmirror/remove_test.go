package podmirror

import (
	"errors"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/tools/cache"
)

// TestRemoving: that a mirror went at the Mirrorer's own word is remembered until it has gone, and not if it was not removed: then it goes at
// somebody else's.
func TestRemoving(t *testing.T) {
	pods := schema.GroupResource{Resource: "pods"}
	gone := mirror(t)
	gone.UID = "mirror"
	again := gone.DeepCopy()
	again.UID = "again"
	for name, tc := range map[string]struct {
		reason string
		answer error
		event  func(cache.ResourceEventHandler)
		want   bool
	}{
		"Removed":   {"its event comes", nil, nil, true},
		"Seen":      {"its event has come", nil, func(h cache.ResourceEventHandler) { h.OnDelete(gone) }, false},
		"Unseen":    {"its event was lost", nil, func(h cache.ResourceEventHandler) { h.OnDelete(cache.DeletedFinalStateUnknown{Obj: gone}) }, false},
		"MadeAgain": {"its event was lost, and there is another one", nil, func(h cache.ResourceEventHandler) { h.OnUpdate(gone, again) }, false},
		"Changed":   {"it is there still", nil, func(h cache.ResourceEventHandler) { h.OnUpdate(gone, gone) }, true},
		"Refused":   {"it stays", apierrors.NewForbidden(pods, "x", nil), nil, false},
		"NoAnswer":  {"it may be gone, or stay", errors.New("connection reset"), nil, false},
		"GoneThen":  {"somebody was faster", apierrors.NewNotFound(pods, "x"), nil, false},
		"OtherThen": {"somebody was faster, and it was made again", apierrors.NewConflict(pods, "x", nil), nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			m := &Mirrorer{}
			m.removing.Store(gone.UID, true)
			_ = m.answered(gone, tc.answer)
			if tc.event != nil {
				tc.event(m.handler(t.Context()))
			}
			if _, got := m.removing.Load(gone.UID); got != tc.want {
				t.Errorf("%s: remembered: %v", tc.reason, got)
			}
		})
	}
}

package podmirror

import (
	"encoding/json"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

// Ask says that somebody whose deletions reach the real pod has asked to delete a mirrored one. Admission writes it, in AnnotationDeletion.
type Ask struct {
	// By is the user.
	By string `json:"by"`
	// Time is when admission saw it, by the clock of the hub's API server.
	Time time.Time `json:"time"`
	// Grace is the grace period that was asked for, in seconds; nil if it is not known, and then any agrees.
	Grace *int64 `json:"grace,omitempty"`
	// Shortens is the grace period of a deletion, asked for before, that this one is to shorten; nil if there was none.
	Shortens *int64 `json:"shortens,omitempty"`
}

// String returns the ask as it is stored.
func (a Ask) String() string {
	raw, err := json.Marshal(a)
	if err != nil { // a struct of a string, numbers and one UTC time always marshals
		return ""
	}
	return string(raw)
}

// AskOf returns the ask that a mirrored pod carries, false if there is none.
func AskOf(mirror metav1.Object) (Ask, bool) {
	var ask Ask
	raw, found := mirror.GetAnnotations()[stellarflow.AnnotationDeletion]
	return ask, found && json.Unmarshal([]byte(raw), &ask) == nil && !ask.Time.IsZero()
}

const (
	// within is the time between an ask and the deletion that it belongs to: the API server deletes as soon as all admission has agreed. What is
	// deleted later was deleted by somebody else, and the request that admission saw was refused after we had noted it.
	within = 5 * time.Second
	// early is how much sooner than the ask the deletion may seem to have begun: times of deletions are cut to the second, and that of the ask
	// is known to a second.
	early = 2 * time.Second
	// kept is how long a note stays that no deletion has followed, by the manager's clock alone.
	kept = 2 * within
)

// Asked reports whether the deletion of a mirrored pod is the one that admission saw a person ask for: it began then, has the grace period
// that was asked for, and nothing of the hub's has said that it is what deletes the pod. Evictions are not seen by the admission of deletions, and
// the controllers of Kubernetes are not asked.
func Asked(mirror *corev1.Pod) bool {
	ask, ok := AskOf(mirror)
	if !ok || mirror.DeletionTimestamp == nil || len(disrupted(mirror)) > 0 {
		return false
	}
	grace := ptr.Deref(mirror.DeletionGracePeriodSeconds, 0)
	if ask.Shortens != nil { // when it began was looked at before; it is shortened by now or not
		return grace == *ask.Shortens || ask.gives(grace, mirror)
	}
	began := mirror.DeletionTimestamp.Add(-time.Duration(grace) * time.Second)
	return ask.gives(grace, mirror) && !began.Before(ask.Time.Add(-early)) && began.Before(ask.Time.Add(within))
}

// gives reports whether a deletion that was asked for like this has a grace period (k8s.io/apiserver pkg/registry/rest/delete.go, BeforeDelete).
func (a Ask) gives(grace int64, mirror *corev1.Pod) bool {
	switch {
	case a.Grace == nil, *a.Grace == grace:
		return true
	case grace == 0: // of what is finished, whatever is asked for
		return !Finished(mirror).IsZero()
	}
	return grace == 1 && a.Shortens != nil && *a.Grace > 1 // it had run off
}

// disrupted returns the condition by which an eviction, a preemption or the like says on a mirrored pod, before it deletes that, that it does
// (k8s.io/kubernetes pkg/registry/core/pod/storage/eviction.go); none if nothing has. It is the hub's own: what the WEC says of that is not shown.
// What has deleted nothing Kubernetes takes back, after two minutes (pkg/controller/disruption).
func disrupted(mirror *corev1.Pod) []corev1.PodCondition {
	at := slices.IndexFunc(mirror.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.DisruptionTarget && c.Status == corev1.ConditionTrue
	})
	if at < 0 {
		return nil
	}
	return mirror.Status.Conditions[at : at+1]
}

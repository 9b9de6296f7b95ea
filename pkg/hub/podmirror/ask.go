package podmirror

import (
	"encoding/json"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

// Ask says that somebody whose deletions reach the real pod has asked to delete a mirrored one. Admission writes it, in AnnotationDeletion.
type Ask struct {
	// By is the user.
	By string `json:"by"`
	// Time is when admission saw it.
	Time time.Time `json:"time"`
}

// String returns the ask as it is stored.
func (a Ask) String() string {
	raw, err := json.Marshal(a)
	if err != nil { // a struct of a string and one UTC time always marshals
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

// within is the time between an ask and the deletion that it belongs to: the API server asks admission first, and waits for 30 s at most.
// What is deleted later was deleted by somebody else, and the request that admission saw was refused by another.
const within = 30 * time.Second

// Asked reports whether the deletion of a mirrored pod is the one that admission saw a person ask for. An eviction is not seen by the
// admission of deletions (k8s.io/kubernetes pkg/registry/core/pod/storage/eviction.go), and the controllers of Kubernetes are not asked.
func Asked(mirror *corev1.Pod) bool {
	ask, ok := AskOf(mirror)
	if !ok || mirror.DeletionTimestamp == nil {
		return false
	}
	grace := time.Duration(0)
	if mirror.DeletionGracePeriodSeconds != nil {
		grace = time.Duration(*mirror.DeletionGracePeriodSeconds) * time.Second
	}
	deleted := mirror.DeletionTimestamp.Add(-grace)
	return !deleted.Before(ask.Time.Add(-2*time.Second)) && deleted.Before(ask.Time.Add(within))
}

package stellarflow

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation"
)

// ClusterName is the name of a ManagedCluster; where Workflows are placed it is a DNS label of at most 63 characters.
type ClusterName string

// Validate returns an error that says why the name cannot be a label value, or nil.
func (n ClusterName) Validate() error {
	if errs := validation.IsDNS1123Label(string(n)); len(errs) > 0 {
		return fmt.Errorf("cluster name %q is not a DNS label (%s): rename the ManagedCluster", n, strings.Join(errs, "; "))
	}
	return nil
}

// Placement is the recorded decision where a hub copy runs, kept in AnnotationPlacement.
type Placement struct {
	// UID is the hub copy's own UID. A record with another one was copied with the object and does not count.
	UID types.UID `json:"uid"`
	// Policy is the BindingPolicy that offered the cluster.
	Policy string `json:"policy"`
	// Cluster is the WEC.
	Cluster ClusterName `json:"cluster"`
	// ClusterID is the UID of the WEC's kube-system Namespace when the decision was made.
	ClusterID types.UID `json:"clusterID"`
	// Attempt counts from 1.
	Attempt int `json:"attempt"`
	// Time is when the decision was made.
	Time time.Time `json:"time"`
	// WECUID is the UID of the WEC copy, empty until it is known.
	WECUID types.UID `json:"wecUID,omitempty"`
	// Refused lists the clusters that definitely refused an earlier attempt.
	Refused []ClusterName `json:"refused,omitempty"`
	// Hidden says that the policy let nobody see the pods of what it places when the decision was made. It counts when the policy is gone.
	Hidden bool `json:"hidden,omitempty"`
}

// String returns the record as it is stored.
func (p Placement) String() string {
	raw, err := json.Marshal(p)
	if err != nil { // a struct of strings, numbers and one UTC time always marshals
		return ""
	}
	return string(raw)
}

// RecordedOn reports whether a hub copy holds exactly this record: nobody has decided again since, nor given it up.
func (p Placement) RecordedOn(hubCopy metav1.Object) bool {
	recorded, ok := PlacementOf(hubCopy)
	return ok && recorded.String() == p.String() && !Abandoned(hubCopy)
}

// Abandoned reports whether a hub copy is given up: its record stays for people, and nothing is done by it any more.
func Abandoned(hubCopy metav1.Object) bool {
	_, found := hubCopy.GetAnnotations()[AnnotationAbandoned]
	return found
}

// HidesPods reports whether a BindingPolicy lets nobody see the pods of what it places.
func HidesPods(policy metav1.Object) bool {
	return policy.GetAnnotations()[AnnotationMirrorPods] == "false"
}

// Owns reports whether a WEC copy is the one that this record means. The WEC's own words count only where the record agrees.
func (p Placement) Owns(wecCopy metav1.Object) bool {
	annotations := wecCopy.GetAnnotations()
	return annotations[AnnotationHubUID] == string(p.UID) && annotations[AnnotationAttempt] == strconv.Itoa(p.Attempt) &&
		(p.WECUID == "" || p.WECUID == wecCopy.GetUID())
}

// PlacementOf returns the record of a hub copy. It is false if there is none that counts: the annotation is missing or
// unreadable, names another UID than the object's, or another cluster than LabelCluster.
func PlacementOf(hubCopy metav1.Object) (Placement, bool) {
	raw, found := hubCopy.GetAnnotations()[AnnotationPlacement]
	if !found {
		return Placement{}, false
	}
	var p Placement
	if err := json.Unmarshal([]byte(raw), &p); err != nil {
		return Placement{}, false
	}
	if p.UID != hubCopy.GetUID() || p.Attempt < 1 || hubCopy.GetLabels()[LabelCluster] != string(p.Cluster) || p.Cluster.Validate() != nil {
		return Placement{}, false
	}
	return p, true
}

// Observed is what a mirror write was made from, kept in AnnotationObserved. If all of it still holds there is nothing to do.
type Observed struct {
	// WECUID and ResourceVersion are those of the WEC copy.
	WECUID          types.UID
	ResourceVersion string
	// Generation is the hub copy's generation after the write.
	Generation int64
	// Hash is that of the status, labels and annotations that were mirrored. It begins with HashUnseen if the status says of pods that they are not
	// shown.
	Hash string
}

// HashUnseen is how the hash begins of a status with a condition that the hub has added: that pods are not shown.
const HashUnseen = "unseen-"

// SaysUnseen reports whether the hub copy said of pods that they are not shown.
func (o Observed) SaysUnseen() bool { return strings.HasPrefix(o.Hash, HashUnseen) }

// String returns the value as it is stored: UID/resourceVersion/generation/hash.
func (o Observed) String() string {
	return strings.Join([]string{string(o.WECUID), o.ResourceVersion, strconv.FormatInt(o.Generation, 10), o.Hash}, "/")
}

// ParseObserved reads what String wrote; it is false for anything else.
func ParseObserved(value string) (Observed, bool) {
	parts := strings.Split(value, "/")
	if len(parts) != 4 {
		return Observed{}, false
	}
	generation, err := strconv.ParseInt(parts[2], 10, 64)
	if err != nil || parts[0] == "" || parts[1] == "" {
		return Observed{}, false
	}
	return Observed{WECUID: types.UID(parts[0]), ResourceVersion: parts[1], Generation: generation, Hash: parts[3]}, true
}

package stellarflow

import (
	"fmt"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Profile is how the hub's own Argo and this hub get along (docs/adr/0010).
type Profile string

const (
	// ProfileShared is a hub with an Argo controller that runs local Workflows. It is held off those that are placed, and their
	// spec.suspend stays true.
	ProfileShared Profile = "shared"
	// ProfileDedicated is a hub on whose Workflows no Argo controller acts. A policy's Workflows need not be suspended, and their
	// spec.suspend is as that of their WEC copies.
	ProfileDedicated Profile = "dedicated"
)

// Profiles are all of them.
var Profiles = []Profile{ProfileShared, ProfileDedicated}

// FollowsWECCopy reports whether spec.suspend of a hub copy is as its WEC copy's, and not always true.
func FollowsWECCopy(hubCopy metav1.Object) bool {
	return hubCopy.GetAnnotations()[AnnotationFollows] != ""
}

// ParseProfile reads a profile's name.
func ParseProfile(name string) (Profile, error) {
	if profile := Profile(name); slices.Contains(Profiles, profile) {
		return profile, nil
	}
	return "", fmt.Errorf("it is %s (an Argo controller of the hub runs local Workflows) or %s (none acts on the hub's Workflows)", ProfileShared, ProfileDedicated)
}

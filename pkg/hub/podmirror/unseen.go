package podmirror

import (
	"maps"
	"slices"
	"sync"

	"k8s.io/apimachinery/pkg/types"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

// maxUnseen bounds the pods of one WEC of which it is remembered that they are not shown. Of those above nothing is said.
const maxUnseen = 10_000

// unseen remembers which pods are not shown, and of each hub copy what is said of that: of one of them, as long as that is not shown, so that
// one of many pods does not change it.
type unseen struct {
	mu   sync.Mutex
	pods map[stellarflow.ClusterName]map[types.NamespacedName]whose
	said map[types.UID]*sentence
}

// there is a pod of a WEC.
type there struct {
	cluster stellarflow.ClusterName
	pod     types.NamespacedName
}

// whose is a hub copy.
type whose struct {
	uid types.UID
	key types.NamespacedName
}

// sentence is what is said of the pods of a hub copy.
type sentence struct {
	why  string
	of   there // zero if that one is shown now: the next that is not is spoken of
	pods map[there]struct{}
}

// set notes a pod of a hub copy. It reports whether something else is said of that hub copy than before.
func (u *unseen) set(hubCopy whose, pod there, why string) (news bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.pods == nil {
		u.pods, u.said = map[stellarflow.ClusterName]map[types.NamespacedName]whose{}, map[types.UID]*sentence{}
	}
	if before, known := u.pods[pod.cluster][pod.pod]; known && before.uid != hubCopy.uid {
		u.remove(pod)
	}
	if u.pods[pod.cluster] == nil {
		u.pods[pod.cluster] = map[types.NamespacedName]whose{}
	}
	pods := u.pods[pod.cluster]
	if _, known := pods[pod.pod]; !known && len(pods) >= maxUnseen {
		return false
	}
	pods[pod.pod] = hubCopy
	said := u.said[hubCopy.uid]
	if said == nil {
		said = &sentence{pods: map[there]struct{}{}}
		u.said[hubCopy.uid] = said
	}
	said.pods[pod] = struct{}{}
	if said.of != (there{}) {
		return false
	}
	said.why, said.of = why, pod
	return true
}

// clear forgets a pod. It returns its hub copy and whether all of that one's are shown now that were not; and one that is not if the sentence was
// about the pod: another look at it finds the new one.
func (u *unseen) clear(pod there) (hubCopy types.NamespacedName, last bool, next there) {
	u.mu.Lock()
	defer u.mu.Unlock()
	of, found := u.pods[pod.cluster][pod.pod]
	if !found {
		return hubCopy, false, next
	}
	said := u.remove(pod)
	if len(said.pods) > 0 && said.of == (there{}) {
		for next = range said.pods {
			break
		}
	}
	return of.key, len(said.pods) == 0, next
}

// remove drops a pod that is there, and returns what is left of what is said of its hub copy. Its caller holds mu.
func (u *unseen) remove(pod there) *sentence {
	of := u.pods[pod.cluster][pod.pod]
	delete(u.pods[pod.cluster], pod.pod)
	if len(u.pods[pod.cluster]) == 0 {
		delete(u.pods, pod.cluster)
	}
	said := u.said[of.uid]
	delete(said.pods, pod)
	if said.of == pod {
		said.of = there{}
	}
	if len(said.pods) == 0 {
		delete(u.said, of.uid)
	}
	return said
}

// of returns the pods of a WEC.
func (u *unseen) of(cluster stellarflow.ClusterName) []types.NamespacedName {
	u.mu.Lock()
	defer u.mu.Unlock()
	return slices.Collect(maps.Keys(u.pods[cluster]))
}

func (u *unseen) why(hubCopy types.UID) string {
	u.mu.Lock()
	defer u.mu.Unlock()
	if said := u.said[hubCopy]; said != nil {
		return said.why
	}
	return ""
}

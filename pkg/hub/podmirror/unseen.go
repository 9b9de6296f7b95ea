package podmirror

import (
	"sync"

	"k8s.io/apimachinery/pkg/types"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

// maxUnseen bounds the pods of which it is remembered that they are not shown. Of those above nothing is said.
const maxUnseen = 10_000

// unseen remembers which pods are not shown, and of each hub copy what is said of that: of the first of them, so that one of many pods does not
// change it.
type unseen struct {
	mu   sync.Mutex
	pods map[there]whose
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

// sentence is what is said of a number of pods.
type sentence struct {
	why  string
	pods int
}

// set notes a pod of a hub copy. It reports whether nothing was said of that hub copy before.
func (u *unseen) set(hubCopy whose, pod there, why string) (first bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.pods == nil {
		u.pods, u.said = map[there]whose{}, map[types.UID]*sentence{}
	}
	if _, known := u.pods[pod]; known || len(u.pods) >= maxUnseen {
		return false
	}
	u.pods[pod] = hubCopy
	said := u.said[hubCopy.uid]
	if said == nil {
		said = &sentence{why: why}
		u.said[hubCopy.uid], first = said, true
	}
	said.pods++
	return first
}

// clear forgets a pod. It returns its hub copy and whether all of that one's are shown now that were not.
func (u *unseen) clear(pod there) (hubCopy types.NamespacedName, last bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	of, found := u.pods[pod]
	if !found {
		return hubCopy, false
	}
	delete(u.pods, pod)
	if u.said[of.uid].pods--; u.said[of.uid].pods > 0 {
		return of.key, false
	}
	delete(u.said, of.uid)
	return of.key, true
}

// of returns the pods of a WEC.
func (u *unseen) of(cluster stellarflow.ClusterName) (pods []types.NamespacedName) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for pod := range u.pods {
		if pod.cluster == cluster {
			pods = append(pods, pod.pod)
		}
	}
	return pods
}

func (u *unseen) why(hubCopy types.UID) string {
	u.mu.Lock()
	defer u.mu.Unlock()
	if said := u.said[hubCopy]; said != nil {
		return said.why
	}
	return ""
}

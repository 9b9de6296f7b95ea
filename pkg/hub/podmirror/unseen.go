package podmirror

import (
	"sync"

	"k8s.io/apimachinery/pkg/types"
)

// unseen remembers which pods are not shown, and of each hub copy what is said of that: of the first of them, so that one of many pods does not
// change it.
type unseen struct {
	mu   sync.Mutex
	pods map[types.NamespacedName]whose
	said map[types.UID]string
}

// whose is a hub copy.
type whose struct {
	uid types.UID
	key types.NamespacedName
}

// set notes a pod of a hub copy. It reports whether nothing was said of that hub copy before.
func (u *unseen) set(hubCopy whose, pod types.NamespacedName, why string) (first bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.pods == nil {
		u.pods, u.said = map[types.NamespacedName]whose{}, map[types.UID]string{}
	}
	u.pods[pod] = hubCopy
	if u.said[hubCopy.uid] != "" {
		return false
	}
	u.said[hubCopy.uid] = why
	return true
}

// clear forgets a pod. It returns its hub copy and whether all of that one's are shown now that were not.
func (u *unseen) clear(pod types.NamespacedName) (hubCopy types.NamespacedName, last bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	of, found := u.pods[pod]
	if !found {
		return hubCopy, false
	}
	delete(u.pods, pod)
	for _, other := range u.pods {
		if other == of {
			return of.key, false
		}
	}
	delete(u.said, of.uid)
	return of.key, true
}

func (u *unseen) why(hubCopy types.UID) string {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.said[hubCopy]
}

package podmirror

import (
	"fmt"
	"testing"

	"k8s.io/apimachinery/pkg/types"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

func unseenPod(cluster stellarflow.ClusterName, name string) there {
	return there{cluster, types.NamespacedName{Namespace: "argo", Name: name}}
}

// TestUnseenSaysWhatIs: the sentence stays while its pod is not shown, and is another one's when it is.
func TestUnseenSaysWhatIs(t *testing.T) {
	var u unseen
	w := whose{"hub-1", types.NamespacedName{Namespace: "argo", Name: "w"}}
	a, b := unseenPod("cluster1", "w-a"), unseenPod("cluster1", "w-b")
	set := func(pod there, why string, news bool) {
		t.Helper()
		if got := u.set(w, pod, why); got != news {
			t.Errorf("%s is news: %v", why, got)
		}
	}
	says := func(want string) {
		t.Helper()
		if got := u.why(w.uid); got != want {
			t.Errorf("it says %q, want %q", got, want)
		}
	}
	set(a, "of a", true)
	set(b, "of b", false)
	set(a, "of a again", false)
	says("of a")
	if key, last, next := u.clear(a); key != w.key || last || next != b {
		t.Errorf("a is shown: %v, %v, %v", key, last, next)
	}
	set(b, "of b", true)
	says("of b")
	set(a, "of a", false)
	if _, last, next := u.clear(a); last || next != (there{}) {
		t.Errorf("another than the one that is spoken of is shown: %v, %v", last, next)
	}
	says("of b")
	if key, last, next := u.clear(b); key != w.key || !last || next != (there{}) {
		t.Errorf("all are shown: %v, %v, %v", key, last, next)
	}
	says("")
	if _, last, _ := u.clear(b); last {
		t.Error("what was not remembered is the last")
	}
	set(a, "of a", true)
	other := whose{"hub-2", w.key} // the Workflow was made anew
	if !u.set(other, a, "of the other's") || u.why(w.uid) != "" || u.why(other.uid) != "of the other's" {
		t.Errorf("the pod is another Workflow's: it says %q, of the one before %q", u.why(other.uid), u.why(w.uid))
	}
}

// TestUnseenIsBounded: a WEC with any number of pods that cannot be shown silences no other one.
func TestUnseenIsBounded(t *testing.T) {
	var u unseen
	for i := range maxUnseen + 1 {
		u.set(whose{uid: "hostile"}, unseenPod("hostile", fmt.Sprint(i)), "refused")
	}
	if got := len(u.of("hostile")); got != maxUnseen {
		t.Errorf("%d are remembered", got)
	}
	if !u.set(whose{uid: "hub-1"}, unseenPod("cluster1", "w-a"), "refused") || u.why("hub-1") == "" || len(u.of("cluster1")) != 1 {
		t.Error("nothing is said of another cluster's pod")
	}
	for _, pod := range u.of("hostile") {
		u.clear(there{"hostile", pod})
	}
	if len(u.pods) != 1 || len(u.said) != 1 {
		t.Errorf("%d clusters and %d sentences are left", len(u.pods), len(u.said))
	}
}

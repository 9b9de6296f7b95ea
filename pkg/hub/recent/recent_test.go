package recent

import (
	"strconv"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

var (
	start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	key   = types.NamespacedName{Namespace: "argo", Name: "w"}
)

func version(resourceVersion string) *metav1.PartialObjectMetadata {
	return &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name, ResourceVersion: resourceVersion}}
}

func deleting(resourceVersion string) *metav1.PartialObjectMetadata {
	w := version(resourceVersion)
	w.DeletionTimestamp = &metav1.Time{Time: start}
	return w
}

func TestNewest(t *testing.T) {
	cases := map[string]struct {
		reason      string
		put, cached *metav1.PartialObjectMetadata
		age         time.Duration
		want        string // the resourceVersion, empty for none
		kept        bool   // it is remembered afterwards
	}{
		"Unknown":        {"nothing was written", nil, version("5"), 0, "5", false},
		"UnknownNothing": {"nothing at all", nil, nil, 0, "", false},
		"CacheBehind":    {"the cache has not seen our write", version("6"), version("5"), 0, "6", true},
		"CacheFarBehind": {"however long that takes: deciding on the old state would be wrong", version("6"), version("5"), time.Hour, "6", true},
		"CacheCaughtUp":  {"the same", version("6"), version("6"), 0, "6", false},
		"CacheAhead":     {"somebody wrote after us", version("6"), version("10"), 0, "10", false},
		"Longer":         {"versions are numbers, not text", version("10"), version("9"), 0, "10", true},
		"Odd":            {"versions that cannot be compared: the cache is right", version("x"), version("5"), 0, "5", false},
		"Created":        {"just created, not in the cache yet", version("6"), nil, 29 * time.Second, "6", true},
		"CreatedLongAgo": {"a cache that is so far behind has lost its watch, or it is gone", version("6"), nil, 30 * time.Second, "", false},
		"Deleted":        {"we wrote to what was being deleted, and now it is gone", deleting("6"), nil, 0, "", false},
		"Deleting":       {"not gone yet", deleting("6"), version("5"), 0, "6", true},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			var o Objects
			if tc.put != nil {
				o.Put(tc.put, start)
			}
			got := o.Newest(key, tc.cached, start.Add(tc.age))
			switch {
			case got == nil && tc.want != "", got != nil && got.ResourceVersion != tc.want:
				t.Errorf("%s: Newest() = %v, want version %q", tc.reason, got, tc.want)
			}
			if _, kept := o.byKey[key]; kept != tc.kept {
				t.Errorf("%s: it is remembered afterwards: %v, want %v", tc.reason, kept, tc.kept)
			}
		})
	}
}

func TestForget(t *testing.T) {
	var o Objects
	o.Forget(key) // of nothing
	o.Put(version("6"), start)
	o.Forget(key)
	if got := o.Newest(key, nil, start); got != nil {
		t.Errorf("it is still known: %v", got)
	}
}

func TestPutReplaces(t *testing.T) {
	var o Objects
	o.Put(version("6"), start)
	o.Put(version("7"), start)
	if got := o.Newest(key, version("6"), start); got.ResourceVersion != "7" {
		t.Errorf("Newest() = %v", got)
	}
}

// TestSeveralGoroutines gives the race detector something to look at.
func TestSeveralGoroutines(_ *testing.T) {
	var o Objects
	var group sync.WaitGroup
	for i := range 4 {
		group.Go(func() {
			for n := range 100 {
				o.Put(version(strconv.Itoa(n)), start)
				o.Newest(key, version(strconv.Itoa(i*n)), start)
				if n%10 == 0 {
					o.Forget(key)
				}
			}
		})
	}
	group.Wait()
}

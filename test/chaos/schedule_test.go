package chaos

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"stellarflow.io/stellarflow/test/chaos/fault"
)

// TestSchedule: a seed draws the same episodes again, another one others, and every kind comes.
func TestSchedule(t *testing.T) {
	const enough = 400
	draw := func(seed uint64) []string {
		var all []string
		for _, l := range lanes(seed, clusterNames) {
			for range enough {
				all = append(all, l.next().String())
			}
		}
		return all
	}
	first := draw(7)
	if diff := cmp.Diff(first, draw(7)); diff != "" {
		t.Errorf("the same seed draws something else: %s", diff)
	}
	if slices.Equal(first, draw(8)) {
		t.Error("another seed draws the same")
	}
	drawn := map[kind]bool{}
	for _, l := range lanes(7, clusterNames) {
		for range enough {
			e := l.next()
			drawn[e.kind] = true
			if e.lasts <= 0 || e.gap <= 0 || e.target == "" {
				t.Errorf("%s is no episode", e)
			}
			if e.setting.Delay > 0 && fault.Late >= fault.Timing().Settle {
				t.Error("a request may arrive later than the hub waits for it")
			}
		}
	}
	for _, l := range lanes(7, clusterNames) {
		for _, k := range l.kinds {
			if !drawn[k] {
				t.Errorf("%s never comes", k)
			}
		}
	}
}

func TestPlans(t *testing.T) {
	draw := func(seed uint64) []plan { return plans(seed, 300, []string{"a", "b"}) }
	first := draw(7)
	if diff := cmp.Diff(first, draw(7), cmp.AllowUnexported(plan{})); diff != "" {
		t.Errorf("the same seed draws something else: %s", diff)
	}
	seen := map[string]bool{}
	for _, p := range first {
		for _, what := range []string{p.namespace, "to " + p.to, p.hub, p.wec} {
			seen[what] = true
		}
		seen["deleted"] = seen["deleted"] || p.deleteAfter > 0
		seen["again"] = seen["again"] || p.again
		seen["left"] = seen["left"] || p.deleteAfter == 0 && p.keep == 0
	}
	for _, what := range []string{"a", "b", "to ", "to any", "to cluster1", "to cluster2", doResume, doRelabel, doTouch, doCopy, doStop, doDelete, doForce, doRetry, "deleted", "again", "left"} {
		if !seen[what] {
			t.Errorf("nobody does %q", what)
		}
	}
	names := wanted(first, "a", 3)
	if len(names) != 3 || slices.Compact(slices.Clone(names)) == nil {
		t.Errorf("decoys are named %v", names)
	}
	for _, name := range names {
		if i := slices.IndexFunc(first, func(p plan) bool { return p.name == name }); first[i].namespace != "a" || first[i].to == "" {
			t.Errorf("nobody will want the name %s", name)
		}
	}
}

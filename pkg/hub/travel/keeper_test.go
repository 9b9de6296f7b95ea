package travel

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
	"stellarflow.io/stellarflow/pkg/hub/cluster"
	"stellarflow.io/stellarflow/pkg/hub/downsync"
	"stellarflow.io/stellarflow/pkg/hub/heartbeat"
)

// keeper returns one over a journey, with the connection to its WEC; it knows no state.
func (j *journey) keeper() (*Keeper, *cluster.Connection) {
	return &Keeper{Carrier: j.carrier, Log: logr.Discard()}, &cluster.Connection{Name: "cluster1", Clients: j.target.Clients}
}

// TestCopies: however many there are, they are listed by the page, and only what is a copy counts.
func TestCopies(t *testing.T) {
	j := begin(t, `{}`)
	const many = 2*page + 1
	for i := range many {
		name := fmt.Sprintf("c%03d", i)
		j.hub.put(t, cm, name, `{}`)
		j.sent(t, cm, name)
	}
	forged := j.wec.get(pathOf(cm, "c000")).DeepCopy()
	forged.SetName("forged")
	j.wec.store(pathOf(cm, "forged"), forged)
	k, c := j.keeper()
	found, crowded, err := k.copies(t.Context(), c)
	if err != nil || len(found) != many || crowded != "" {
		t.Errorf("%d are found, %v, more of %q", len(found), err, crowded)
	}
	if got := len(j.wec.requests(http.MethodGet)); got != 6 {
		t.Errorf("%d requests for four kinds and three pages of one: %v", got, j.wec.requests(http.MethodGet))
	}
	j.wec.endless = true
	found, crowded, err = k.copies(t.Context(), c)
	if err != nil || len(found) != page || crowded != "clusterworkflowtemplates.argoproj.io and configmaps and workflowtemplates.argoproj.io" {
		t.Errorf("of a list without end %d are found, %v, more of %q", len(found), err, crowded)
	}
}

// TestUnlisted: what is beyond the list is looked at by itself, and not taken for lost.
func TestUnlisted(t *testing.T) {
	j := begin(t, `{}`)
	p := placeOf(configMap("x"), "argo")
	k, c := j.keeper()
	behind := func(cut bool) bool {
		t.Helper()
		verdict := k.compare(t.Context(), c, p, "argo", refreshing{cut: cut})
		if verdict.err != nil {
			t.Fatal(verdict.err)
		}
		return verdict.behind
	}
	j.hub.put(t, cm, "x", `{}`)
	if !behind(true) {
		t.Error("it is nowhere there, and not brought")
	}
	j.sent(t, cm, "x")
	if behind(true) || !behind(false) {
		t.Error("it is there, beyond the list")
	}
	j.hub.put(t, cm, "x", `{data: {k: new}}`)
	if !behind(true) {
		t.Error("it is old there")
	}
}

// TestTiming: what a create counts on is remembered for longer than the create may take, and neither is taken for a hanging process.
func TestTiming(t *testing.T) {
	if idle := (Timing{}).orDefault().Idle; idle <= downsync.Settle || 2*downsync.Settle >= heartbeat.Limit {
		t.Errorf("idle after %s, a create may take %s, the process hangs after %s", idle, downsync.Settle, heartbeat.Limit)
	}
}

// TestRemove: what was seen of the Workflows is believed for half of what is remembered of creates, and no longer.
func TestRemove(t *testing.T) {
	j := begin(t, `{}`)
	for _, name := range []string{"a", "b", "c", "needed", "lately", "changed"} {
		j.hub.put(t, cm, name, `{}`)
		j.sent(t, cm, name)
	}
	k, c := j.keeper()
	k.Timing.Idle = 2 * time.Minute
	copies, _, err := k.copies(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	j.sent(t, cm, "changed") // somebody has brought it anew
	j.carrier.lately.needed("id-1", placeOf(configMap("lately"), "argo"), start)
	seen := sight{at: start, needed: map[place]bool{placeOf(configMap("needed"), "argo"): true}, complete: true}

	j.now = start.Add(time.Minute)
	if err := k.remove(t.Context(), c, "id-1", seen, copies); err != nil || len(j.wec.requests(http.MethodDelete)) != 0 {
		t.Errorf("%v; by what was seen a minute ago: %v", err, j.wec.requests(http.MethodDelete))
	}
	j.now = start.Add(time.Minute - 1)
	if err := k.remove(t.Context(), c, "id-1", seen, copies); err != nil {
		t.Error(err)
	}
	for name, want := range map[string]bool{"a": false, "b": false, "c": false, "needed": true, "lately": true, "changed": true} {
		if got := j.wec.get(pathOf(cm, name)) != nil; got != want {
			t.Errorf("%s is there: %v, want %v", name, got, want)
		}
	}
}

// TestRemoveEnds: a slow WEC is left for the next look.
func TestRemoveEnds(t *testing.T) {
	j := begin(t, `{}`)
	for _, name := range []string{"a", "b", "c"} {
		j.hub.put(t, cm, name, `{}`)
		j.sent(t, cm, name)
	}
	k, c := j.keeper()
	k.Timing.Idle = 2 * time.Minute
	copies, _, err := k.copies(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	j.wec.answer = func(asked string) (int, metav1.StatusReason, metav1.StatusDetails) {
		if strings.HasPrefix(asked, http.MethodDelete) {
			j.now = j.now.Add(30 * time.Second)
		}
		return 0, "", metav1.StatusDetails{}
	}
	if err := k.remove(t.Context(), c, "id-1", sight{at: start}, copies); err != nil || len(j.wec.requests(http.MethodDelete)) != 2 {
		t.Errorf("%v; deleted in a minute of 30 s each: %v", err, j.wec.requests(http.MethodDelete))
	}
}

// TestBehind: what fails is asked for once in a look, and what is pinned not at all.
func TestBehind(t *testing.T) {
	j := begin(t, `{}`)
	j.hub.put(t, cm, "old", `{data: {k: "1"}}`)
	j.sent(t, cm, "old")
	j.hub.put(t, cm, "old", `{data: {k: "2"}}`)
	j.hub.put(t, cm, "same", `{}`)
	j.sent(t, cm, "same")
	k, c := j.keeper()
	copies, _, err := k.copies(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	root := placeOf(stellarflow.Reference{Kind: wft, Name: "root"}, "argo")
	r := refreshing{copies: copies, pinned: map[place]bool{root: true}, known: map[place]verdict{}}
	w := workflow("argo", nil, `{"copied":["ConfigMap/old","ConfigMap/same","ConfigMap/gone","WorkflowTemplate/root"]}`)
	behind, err := k.behind(t.Context(), c, &w, r)
	if err != nil || len(behind) != 1 || behind[0].Name != "old" {
		t.Errorf("behind are %v, %v", behind, err)
	}
	asked := len(j.hub.requests(http.MethodGet))
	r.known[placeOf(configMap("same"), "argo")] = verdict{err: errors.New("failed before")}
	if _, err := k.behind(t.Context(), c, &w, r); err == nil || len(j.hub.requests(http.MethodGet)) != asked {
		t.Errorf("%v; asked again: %v", err, j.hub.requests(http.MethodGet)[asked:])
	}
}

func TestPinnedBy(t *testing.T) {
	const needs = `{"copied":["WorkflowTemplate/t","WorkflowTemplate/called"]}`
	begun := workflow("a", map[string]string{stellarflow.ArgoLabelWorkflowTemplate: "t"}, needs)
	places := pinnedBy([]metav1.PartialObjectMetadata{workflow("a", nil, needs), begun, workflow("b", nil, needs)})
	if len(places) != 1 || !places[placeOf(stellarflow.Reference{Kind: wft, Name: "t"}, "a")] {
		t.Errorf("pinned are %v", places)
	}
}

// TestToPassOn: a WEC copy is given the record that it outlives the hub copy with, if it is ours and says another.
func TestToPassOn(t *testing.T) {
	const x, y, both = `{"copied":["ConfigMap/x"]}`, `{"copied":["ConfigMap/y"]}`, `{"copied":["ConfigMap/x","ConfigMap/y"]}`
	ours, deleted := map[string]string{stellarflow.LabelOrigin: "hub-1"}, metav1.NewTime(start)
	cases := map[string]struct {
		reason       string
		record       string
		onWEC        string
		labels       map[string]string
		beingDeleted bool
		want         int
	}{
		"New":     {"a template refers to more now", x, y, ours, false, 2},
		"None":    {"it has none yet", x, "", ours, false, 2},
		"Same":    {"nothing is written", x, x, ours, false, 0},
		"Known":   {"what is not found any more stays for it", x, both, ours, false, 0},
		"Lost":    {"the hub copy's was lost: the WEC's keeps the objects", "", y, ours, false, 0},
		"Foreign": {"it is not ours any more", x, y, nil, false, 0},
		"Ending":  {"it goes", x, y, ours, true, 0},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			hubCopy, wecCopy := workflow("argo", nil, tc.record), workflow("argo", tc.labels, tc.onWEC)
			if tc.beingDeleted {
				wecCopy.DeletionTimestamp = &deleted
			}
			if got := toPassOn(&hubCopy, &wecCopy, "hub-1"); len(got) != tc.want {
				t.Errorf("%s: %v", tc.reason, got)
			}
		})
	}
}

// TestTell: whoever looks at the Workflow reads it there, once for each reason.
func TestTell(t *testing.T) {
	j := begin(t, `{}`)
	k, c := j.keeper()
	running := []metav1.PartialObjectMetadata{workflow("argo", nil, `{"copied":["ConfigMap/a"]}`), workflow("argo", nil, `{"there":["ConfigMap/a"]}`), workflow("argo", nil, "")}
	for i := range running {
		running[i].UID = types.UID(fmt.Sprint(i))
	}
	why, other := errors.New("why"), errors.New("other")
	want := 0
	for i, step := range []struct {
		failed []late
		says   bool
	}{{allLate(running, why), true}, {allLate(running, why), false}, {allLate(running, other), true}, {nil, false}, {allLate(running, other), true}} {
		k.tell(c, step.failed)
		if step.says {
			want++
		}
		if len(j.said.said) != want {
			t.Errorf("step %d: said is %v", i, j.said.said)
		}
	}
	if want := "Warning DependencyBehind: what it needs is not brought up to date on cluster cluster1, and tried again: why"; j.said.said[0] != want {
		t.Errorf("said is %v", j.said.said)
	}
}

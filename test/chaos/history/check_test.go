package history

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

var zero = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// story builds a history; each step is a second after the one before.
type story []Record

func (s story) add(r Record) story {
	r.Time = zero.Add(time.Duration(len(s)) * time.Second)
	return append(append(story{}, s...), r)
}

// hub stores a state of hub copy h, placed on cluster1 with the WEC copy w.
func (s story) hub(phase, status, message string, change ...func(*Workflow)) story {
	w := Workflow{Namespace: "ns", Name: "n", UID: "h", HubUID: "h", Attempt: 1, Placed: "cluster1", WECUID: "w", Cleanup: true, Suspended: true, Phase: phase, Status: status, Message: message}
	w.Completed = phase != "Pending" && phase != "Running"
	for _, f := range change {
		f(&w)
	}
	return s.add(Record{Kind: Stored, Cluster: Hub, Workflow: w})
}

func wecCopy(phase, status string, change ...func(*Workflow)) Workflow {
	w := Workflow{Namespace: "ns", Name: "n", UID: "w", HubUID: "h", Attempt: 1, Harvest: true, Phase: phase, Status: status, Message: "of the run"}
	w.Completed = phase != "" && phase != "Running"
	for _, f := range change {
		f(&w)
	}
	return w
}

func (s story) wec(phase, status string, change ...func(*Workflow)) story {
	return s.add(Record{Kind: Stored, Cluster: "cluster1", Workflow: wecCopy(phase, status, change...)})
}

func (s story) wecGone(phase, status string, change ...func(*Workflow)) story {
	return s.add(Record{Kind: Deleted, Cluster: "cluster1", Workflow: wecCopy(phase, status, change...)})
}

func (s story) hubGone(phase, status string) story {
	all := s.hub(phase, status, "", deleting)
	all[len(all)-1].Kind = Deleted
	return all
}

func (s story) acted(uid, act string) story {
	return s.add(Record{Kind: Acted, Workflow: Workflow{UID: uid}, Text: act})
}

func (s story) mark(kind Kind, cluster string) story {
	return s.add(Record{Kind: kind, Cluster: cluster})
}

func deleting(w *Workflow)       { w.Deleting = true }
func free(w *Workflow)           { w.Harvest = false }
func unrecorded(w *Workflow)     { w.WECUID = "" }
func another(w *Workflow)        { w.UID = "w2" }
func secondAttempt(w *Workflow)  { w.UID, w.Attempt = "w2", 2 }
func local(w *Workflow)          { w.Placed, w.HubUID, w.Suspended, w.Attempt, w.WECUID = "", "", false, 0, "" }
func decoy(w *Workflow)          { w.UID, w.Decoy, w.HubUID, w.Content = "d", true, "", "as made" }
func touched(w *Workflow)        { decoy(w); w.Content = "changed" }
func givenUp(w *Workflow)        { w.GivenUp = true }
func carried(s story) story      { s[len(s)-1].Text = Carried; return s }
func told(s story) story         { return carried(s.hub("Pending", "p", placedText, unrecorded)) } // so the backup of the hub has it
func at(s story, c string) story { s[len(s)-1].Cluster = c; return s }

const (
	stoppedText  = "Stopped with strategy 'Stop'"
	placedText   = "placed on cluster cluster1 by policy p"
	vanishedText = "its copy on cluster cluster1 was removed there before its end was seen; pods of it may have run to their end. Resubmit it to run it again"
)

// placed, running and ended are how a good life begins.
func placed() story {
	return story{}.hub("", "", "", local, func(w *Workflow) { w.Suspended = true }).hub("Pending", "p", placedText, unrecorded)
}

func running() story {
	return placed().wec("", "").wec("Running", "r1").hub("Running", "r1", "of the run")
}

func ended() story {
	return running().wec("Succeeded", "s").hub("Succeeded", "s", "of the run").wec("Succeeded", "s", free)
}

func TestCheck(t *testing.T) {
	cases := map[string]struct {
		reason string
		story  story
		want   []Count
	}{
		"Good":        {"a whole life", ended().wecGone("Succeeded", "s", free).mark(Quiet, "").hub("Succeeded", "s", "of the run", deleting).hubGone("Succeeded", "s").mark(Ended, ""), nil},
		"Local":       {"the hub's own is none of ours", story{}.hub("Running", "x", RanOnHub, local).hub("Succeeded", "y", RanOnHub, local).mark(Quiet, ""), nil},
		"Twice":       {"made again in the same attempt", running().wec("Running", "q1", another), []Count{StartedTwice}},
		"TwoTries":    {"the next attempt, although the first ran", running().wec("Running", "q1", secondAttempt), []Count{StartedTwice}},
		"Asked":       {"a person gave the first up", running().acted("h", ActGivenUp).wec("Running", "q1", secondAttempt), nil},
		"Elsewhere":   {"on another cluster", at(running().wec("Running", "q1", another), "cluster2"), []Count{StartedTwice}},
		"AndOnHub":    {"on the hub too", running().hub("Running", "x", RanOnHub, local), []Count{StartedTwice}},
		"NeverRan":    {"a second copy, but the first never began", placed().wec("", "").wecGone("", "").wec("Running", "q1", another), nil},
		"Unknowable":  {"forced away before it was recorded, and the manager that made it died", placed().wec("Running", "r1").acted("w", ActForced).wecGone("Running", "r1").mark(Began, "").wec("Running", "q1", another), nil},
		"Knowable":    {"forced away before it was recorded, and the manager that made it lives", placed().wec("Running", "r1").acted("w", ActForced).wecGone("Running", "r1").wec("Running", "q1", another), []Count{StartedTwice}},
		"Told":        {"forced away after it was recorded", running().acted("w", ActForced).wecGone("Running", "r1").mark(Began, "").wec("Running", "q1", another), []Count{StartedTwice}},
		"SetBack":     {"the WEC was restored to before it", placed().wec("Running", "r1").mark(Restored, "cluster1").wec("Running", "q1", another), nil},
		"BothSetBack": {"the hub had been told, and was restored to before that as well", told(running().mark(Restored, "cluster1").mark(Restored, Hub)).wec("Running", "q1", another), nil},
		"ToldBefore":  {"the hub was told, the cluster was restored, and the next was recorded before it ran", running().mark(Restored, "cluster1").wec("", "", another).hub("Running", "r1", "of the run", func(w *Workflow) { w.WECUID = "w2" }).wec("Running", "q1", another), []Count{StartedTwice}},
		"HubSetBack":  {"the hub was restored to before it was told; the cluster knows", told(running().mark(Restored, Hub)).wec("Running", "q1", another), []Count{StartedTwice}},
		"ToldAgain":   {"both were restored, and the backup of the hub knew", carried(running().mark(Restored, "cluster1").mark(Restored, Hub).hub("Running", "r1", "of the run")).wec("Running", "q1", another), []Count{StartedTwice}},

		"Lost":        {"ended, and the hub never showed it", running().wec("Failed", "f").wecGone("Failed", "f"), []Count{TerminalLost}},
		"OtherEnd":    {"the hub shows another end", ended().wec("Failed", "f"), []Count{TerminalLost}},
		"LostDeleted": {"the user deleted it meanwhile", running().hub("Running", "r1", "of the run", deleting).wec("Failed", "f"), nil},
		"LostForced":  {"forced away as it ended: the hub says that it vanished", running().acted("w", ActForced).wec("Failed", "f").wecGone("Failed", "f").hub("Error", "v", vanishedText), nil},
		"LostRetried": {"retried by a person after harvest was released", ended().acted("w", ActRetried).wec("Running", "r2", free, func(w *Workflow) { w.Message = retriedText }).wec("Failed", "f", free).wecGone("Failed", "f", free), nil},
		"LostGivenUp": {"given up by a person", running().acted("h", ActGivenUp).hub("Error", "g", "given up on request: it may", givenUp).wec("Failed", "f"), nil},
		"LetGo":       {"the hub copy goes while the WEC copy is there", running().hub("Running", "r1", "of the run", deleting).hubGone("Running", "r1").wec("Running", "r2").wec("Running", "r3"), []Count{TerminalLost}},
		"MadeLate":    {"made after the hub copy was gone", placed().hubGone("Pending", "p").mark(Faulted, "").mark(Faulted, "").mark(Faulted, "").wec("", ""), []Count{TerminalLost}},

		"NotReported": {"nobody said that", running().hub("Running", "x", "pod deleted"), []Count{FalseShown}},
		"Another's":   {"what another attempt said", running().wec("", "o", func(w *Workflow) { w.UID, w.Attempt = "w0", 7 }).hub("", "", "").hub("Running", "o", "of the run"), []Count{FalseShown}},
		"Back":        {"an older state again", running().wec("Running", "r2").hub("Running", "r2", "of the run").hub("Running", "r1", "of the run"), []Count{FalseShown}},
		"BackPending": {"pending again", running().hub("Pending", "p", placedText), []Count{FalseShown}},
		"BackRestore": {"older because the hub was restored", carried(running().wec("Running", "r2").hub("Running", "r2", "of the run").mark(Restored, Hub).hub("Running", "r1", "of the run")).hub("Running", "r1", "of the run"), nil},
		"Untouched":   {"what the hub's own controller said, in the backup, until it is mirrored", carried(running().mark(Restored, Hub).hub("Running", "argo", "", local)).hub("Running", "argo", "").hub("Running", "argo", "").hub("Running", "r1", "of the run"), nil},
		"Written":     {"the same, written anew", carried(running().mark(Restored, Hub).hub("", "", "", local)).hub("Running", "argo", ""), []Count{FalseShown}},
		"NotGone":     {"it says that its copy is gone, and it is there", running().mark(Faulted, "").mark(Faulted, "").mark(Faulted, "").hub("Error", "v", vanishedText).mark(Faulted, "").mark(Faulted, "").wec("Running", "r2"), []Count{FalseShown}},
		"GoneOther":   {"it is, and a second copy of it is there", running().acted("w", ActForced).wecGone("Running", "r1").wec("", "", another).mark(Faulted, "").mark(Faulted, "").mark(Faulted, "").hub("Error", "v", vanishedText).mark(Faulted, "").mark(Faulted, "").wec("Pending", "q", another), nil},
		"GoneForced":  {"it is, by force", running().acted("w", ActForced).wecGone("Running", "r1").hub("Error", "v", vanishedText), nil},
		"GoneAndBack": {"it was, until its cluster was restored, and something else is written", at(carried(running().acted("w", ActForced).wecGone("Running", "r1").hub("Error", "v", vanishedText).mark(Faulted, "").mark(Faulted, "").mark(Faulted, "").mark(Restored, "cluster1").wec("Running", "r1")), "cluster1").mark(Faulted, "").mark(Faulted, "").mark(Faulted, "").hub("Error", "v", vanishedText).mark(Faulted, "").mark(Faulted, "").mark(Faulted, "").wec("Running", "r2"), nil},
		"GoneUnasked": {"it is, and nobody there did it by force", running().wecGone("Running", "r1").hub("Error", "v", vanishedText), []Count{TerminalLost}},
		"GoneRestore": {"it is, with a restore", running().mark(Restored, "cluster1").hub("Error", "v", vanishedText), nil},
		"Stopped":     {"it was stopped before it was anywhere", placed().hub("Failed", "x", stoppedText), nil},
		"StoppedRan":  {"it was stopped, and was said to be nowhere", placed().wec("", "").mark(Faulted, "").hub("Failed", "x", stoppedText).wec("Running", "r1"), []Count{FalseShown}},
		"StoppedRuns": {"it was stopped before it was placed, and runs", story{}.hub("Failed", "x", stoppedText, local, func(w *Workflow) { w.Suspended = true }).wec("Running", "r1"), []Count{FalseShown}},
		"StoppedWait": {"it was stopped before it was placed", story{}.hub("Failed", "x", stoppedText, local, func(w *Workflow) { w.Suspended = true }), nil},
		"StoppedSeen": {"it was stopped after the hub had shown it running", running().hub("Failed", "x", stoppedText), []Count{FalseShown}},

		"Touched": {"a decoy changes", story{}.wec("Running", "x", decoy).wec("Running", "x", touched), []Count{ForeignTouched}},
		"Removed": {"a decoy is removed", story{}.wec("Running", "x", decoy).wecGone("Running", "x", decoy), []Count{ForeignTouched}},
		"Kept":    {"a decoy is as it was, unfinished or not", story{}.wec("Running", "x", decoy).mark(Quiet, "").mark(Ended, ""), nil},

		"Unfinished": {"not finished when all is mended", running().mark(Quiet, ""), []Count{Stuck, Stuck}},
		"Stays":      {"finished and deleted, and still there", ended().wecGone("Succeeded", "s", free).mark(Quiet, "").hub("Succeeded", "s", "of the run", deleting).mark(Ended, ""), []Count{Stuck}},
		"HeldOnWEC":  {"left on the WEC", ended().mark(Quiet, "").hubGone("Succeeded", "s").mark(Ended, ""), []Count{Stuck, TerminalLost}},
		"Harmed":     {"a pod went", running().mark(Harmed, ""), []Count{PodsBroken}},
		"WipedOut":   {"a restore took it", running().mark(Restored, Hub).mark(Restored, "cluster1").mark(Quiet, "").mark(Ended, ""), nil},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			report := Check(tc.story)
			var got []Count
			for _, finding := range report.Findings {
				got = append(got, finding.Count)
			}
			if diff := cmp.Diff(tc.want, got, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("%s: -want +got:\n%s%v", tc.reason, diff, report.Findings)
			}
			if again := Check(tc.story); !cmp.Equal(report, again) {
				t.Errorf("a second check finds something else: %v", again)
			}
		})
	}
}

func TestLine(t *testing.T) {
	report := Report{Findings: []Finding{{Count: Stuck}, {Count: FalseShown}, {Count: Stuck}}}
	if got, want := report.Line(), "started twice 0, terminal lost 0, false shown 1, foreign touched 0, finalizers stuck 2, asks broken 0, pods broken 0"; got != want {
		t.Errorf("Line() = %q, want %q", got, want)
	}
}

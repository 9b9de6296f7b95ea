package history

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// waits has a hub copy wait for asks, of kinds that their IDs begin with, of WEC copy w.
func waits(ids ...string) func(*Workflow) {
	return func(w *Workflow) {
		for _, id := range ids {
			w.Asks = append(w.Asks, Ask{id, id[:len(id)-1], "w"})
		}
	}
}

func applied(id string) func(*Workflow) { return func(w *Workflow) { w.Applied = id } }
func refused(w *Workflow)               { w.Refused = "it was not done on cluster cluster1: it has ended meanwhile" }
func suspended(w *Workflow)             { w.Suspended = true }
func switched(w *Workflow)              { w.Switched = "now" }
func nextAttempt(w *Workflow)           { w.Attempt, w.WECUID = 2, "" }
func held(w *Workflow)                  { w.Held = true }
func noted(note string) func(*Workflow) { return func(w *Workflow) { w.Note = note } }

const (
	againText   = "runs again on cluster cluster1, where its copy was removed"
	retriedText = RetriedThere + ", copy w"
)

// suspending is a run that somebody asks to be suspended; failed one that has failed, retrying one that somebody retries then.
func suspending() story { return running().hub("Running", "r1", "of the run", waits("suspend1")) }

func failed() story { return running().wec("Failed", "f").hub("Failed", "f", "of the run") }

func retrying() story { return failed().hub("Failed", "f", "of the run", waits("retry1")) }

// over is when everything that was asked had its time.
func over(s story) story { return s.mark(Quiet, "") }

func TestAsks(t *testing.T) {
	gone := func() story {
		return failed().wecGone("Failed", "f", free).hub("Failed", "f", "of the run", waits("retry1"))
	}
	retried := func() story { return gone().hub("Pending", "p2", againText, nextAttempt) }
	cases := map[string]struct {
		reason string
		story  story
		want   []Count
	}{
		"Done":         {"suspended as asked, and resumed", suspending().wec("Running", "r1", suspended, applied("suspend1")).hub("Running", "r1", "of the run").hub("Running", "r1", "of the run", waits("resume1")).wec("Running", "r1", applied("resume1")).hub("Running", "r1", "of the run"), nil},
		"Refused":      {"said", suspending().hub("Running", "r1", "of the run", refused), nil},
		"Replaced":     {"another word took its place", suspending().hub("Running", "r1", "of the run", waits("resume1")).wec("Running", "r1", applied("resume1")).hub("Running", "r1", "of the run"), nil},
		"Deleted":      {"its Workflow was deleted", suspending().hub("Running", "r1", "of the run", deleting), nil},
		"Forgotten":    {"the hub was set back to before it", carried(suspending().mark(Restored, Hub).hub("Running", "r1", "of the run")), nil},
		"Dropped":      {"taken away, and neither done nor refused", suspending().hub("Running", "r1", "of the run"), []Count{AsksBroken}},
		"OldRefusal":   {"taken away, and what was refused was another", running().hub("Running", "r1", "of the run", waits("suspend1"), refused).hub("Running", "r1", "of the run", refused), []Count{AsksBroken}},
		"Copied":       {"it came with a copy of another Workflow", story{}.hub("", "", "", local, waits("suspend1")).hub("Pending", "p", placedText, unrecorded), nil},
		"Waits":        {"it waits when all had its time", over(suspending().wec("Succeeded", "s").hub("Succeeded", "s", "of the run", waits("suspend1"))), []Count{AsksBroken}},
		"WaitsDeleted": {"it waits, and is being deleted", over(suspending().wec("Succeeded", "s").hub("Succeeded", "s", "of the run", waits("suspend1"), deleting)), nil},
		"DoneRefused":  {"done, and said to be refused", suspending().wec("Running", "r1", suspended, applied("suspend1")).hub("Running", "r1", "of the run", refused), []Count{AsksBroken}},
		"Twice":        {"done, something else was done, and it was done again", suspending().wec("Running", "r1", suspended, applied("suspend1")).hub("Running", "r1", "of the run", waits("resume1")).wec("Running", "r1", applied("resume1")).wec("Running", "r1", suspended, applied("suspend1")), []Count{AsksBroken}},
		"TwiceRestore": {"done, the cluster was set back to before it, and it was done again", at(carried(suspending().wec("Running", "r1", suspended, applied("suspend1")).mark(Restored, "cluster1").wec("Running", "r1")), "cluster1").wec("Running", "r1", suspended, applied("suspend1")), nil},
		"Unasked":      {"done, and nobody asked it", running().wec("Running", "r1", suspended, applied("suspend1")), []Count{AsksBroken}},
		"Suspended":    {"suspended, and nobody asked for that", running().wec("Running", "r1", suspended), []Count{AsksBroken}},
		"SuspendedBy":  {"suspended by a person there", running().wec("Running", "r1", suspended, switched), nil},
		"SuspendedNot": {"resumed to be terminated, since a person there deletes it", running().wec("Running", "r1", suspended, switched).wec("Running", "r1", switched, deleting), nil},
		"AfterEnd":     {"suspended after the end", suspending().wec("Succeeded", "s").wec("Succeeded", "s", suspended, applied("suspend1")), []Count{AsksBroken, TerminalLost}},
		"AnotherCopy":  {"done to another copy than was meant", suspending().wec("", "", another).wec("", "", another, suspended, applied("suspend1")), []Count{AsksBroken}},

		"Retry":         {"it runs again, once", retrying().wec("Running", "r2", applied("retry1")).hub("Running", "r2", "of the run").wec("Failed", "f2", applied("retry1")).hub("Failed", "f2", "of the run"), nil},
		"RetryTwice":    {"it runs again, and after that once more", retrying().wec("Running", "r2", applied("retry1")).wec("Failed", "f2", applied("retry1")).wec("Running", "r3", applied("retry1")), []Count{StartedTwice}},
		"RetryUnasked":  {"it runs again, and nobody asked for that", failed().wec("Running", "r2"), []Count{StartedTwice}},
		"RetryThere":    {"a person there retries it", failed().acted("w", ActRetried).wec("Running", "r2", func(w *Workflow) { w.Message = retriedText }), nil},
		"RetryBase":     {"it is retried, and has ended otherwise meanwhile", retrying().wec("Running", "r2", func(w *Workflow) { w.Message = retriedText }).wec("Failed", "f2").wec("Running", "r3", applied("retry1")), []Count{AsksBroken}},
		"RetrySuspend":  {"it runs again where it was to be suspended", suspending().wec("Failed", "f").hub("Failed", "f", "of the run").wec("Running", "r2", applied("suspend1")), []Count{StartedTwice, AsksBroken}},
		"Again":         {"its copy is gone: another attempt", retried().wec("Running", "q1", secondAttempt).hub("Running", "q1", "of the run", func(w *Workflow) { w.Attempt, w.WECUID = 2, "w2" }), nil},
		"AgainThere":    {"another attempt, and the copy of the first is there", retrying().hub("Pending", "p2", againText, nextAttempt).mark(Faulted, "").mark(Faulted, "").wec("Running", "q1", secondAttempt).mark(Faulted, "").mark(Faulted, "").wec("Failed", "f"), []Count{StartedTwice}},
		"AgainTwice":    {"two runs in that attempt", retried().wec("Running", "q1", secondAttempt).wec("Running", "q2", secondAttempt, func(w *Workflow) { w.UID = "w3" }), []Count{StartedTwice}},
		"AgainUnasked":  {"another attempt that nobody asked for", failed().wecGone("Failed", "f", free).hub("Pending", "p2", againText, nextAttempt).wec("Running", "q1", secondAttempt), []Count{StartedTwice, FalseShown}},
		"AgainAndThere": {"done where its copy was, and by another attempt", retrying().wec("Running", "r2", applied("retry1")).wec("Failed", "f", applied("retry1")).wecGone("Failed", "f", applied("retry1")).hub("Pending", "p2", againText, nextAttempt), []Count{AsksBroken}},

		"Noted":       {"a note came along", over(ended().hub("Succeeded", "s", "of the run", noted("n")).wec("Succeeded", "s", free, noted("n"))), nil},
		"NotNoted":    {"a note did not", over(ended().hub("Succeeded", "s", "of the run", noted("n"))), []Count{AsksBroken}},
		"NotedLate":   {"a note did not, to a copy that is going", over(ended().hub("Succeeded", "s", "of the run", noted("n")).wec("Succeeded", "s", free, deleting)), nil},
		"HeldRuns":    {"it runs where it was to be held", story{}.hub("Running", "x", RanOnHub, local, held), []Count{StartedTwice}},
		"HeldUnread":  {"the same, and the API server had just begun", story{}.mark(Served, Hub).hub("Running", "x", RanOnHub, local, held), nil},
		"HeldPlaced":  {"held, placed and run", placed().wec("Running", "r1").hub("Running", "r1", "of the run", held), nil},
		"HeldNothing": {"what no policy selects runs on the hub", story{}.hub("Running", "x", RanOnHub, local), nil},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			var got []Count
			report := Check(tc.story)
			for _, finding := range report.Findings {
				got = append(got, finding.Count)
			}
			sorted := cmpopts.SortSlices(func(a, b Count) bool { return a < b })
			if diff := cmp.Diff(tc.want, got, cmpopts.EquateEmpty(), sorted); diff != "" {
				t.Errorf("%s: -want +got:\n%s%v", tc.reason, diff, report.Findings)
			}
		})
	}
}

func TestAsksAreCounted(t *testing.T) {
	report := Check(suspending().wec("Running", "r1", suspended, applied("suspend1")).hub("Running", "r1", "of the run", waits("resume1")).hub("Running", "r1", "of the run", refused))
	if report.Asked != 2 || report.Done != 1 {
		t.Errorf("asked %d, done %d, want 2 and 1", report.Asked, report.Done)
	}
}

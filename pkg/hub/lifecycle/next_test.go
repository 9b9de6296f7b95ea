package lifecycle

import (
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
	"stellarflow.io/stellarflow/pkg/hub/downsync"
)

// now is the time in all views.
var now = time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)

// copies are the two sides of a view under construction.
type copies struct {
	hub, wec  *metav1.PartialObjectMetadata
	placement stellarflow.Placement
	view      View
}

type option func(*copies)

// newView is a view of a connected WEC whose unfinished copy is mirrored. The record is written after all options.
func newView(options ...option) View {
	c := &copies{
		hub:       stellarflow.NewWorkflowMetadata(),
		wec:       stellarflow.NewWorkflowMetadata(),
		placement: stellarflow.Placement{UID: "hub-1", Policy: "p", Cluster: "cluster1", ClusterID: "id-1", Attempt: 2, WECUID: "wec-1"},
		view:      View{Cluster: "cluster1", ClusterID: "id-1", Connected: true, Silence: time.Minute, Now: now, AwaySince: now},
	}
	c.hub.Namespace, c.hub.Name, c.hub.UID, c.hub.Generation = "argo", "w", "hub-1", 7
	c.hub.Labels = map[string]string{stellarflow.LabelCluster: "cluster1", stellarflow.ArgoLabelPhase: "Running"}
	c.hub.Annotations = map[string]string{stellarflow.AnnotationObserved: "wec-1/100/7/hash"}
	c.hub.Finalizers = []string{stellarflow.FinalizerCleanup}
	c.wec.Namespace, c.wec.Name, c.wec.UID, c.wec.ResourceVersion = "argo", "w", "wec-1", "100"
	c.wec.Labels = map[string]string{stellarflow.LabelOrigin: "origin", stellarflow.ArgoLabelPhase: "Running"}
	c.wec.Annotations = map[string]string{stellarflow.AnnotationHubUID: "hub-1", stellarflow.AnnotationAttempt: "2"}
	c.wec.Finalizers = []string{stellarflow.FinalizerHarvest}
	for _, option := range options {
		option(c)
	}
	if c.hub != nil && c.hub.Annotations[stellarflow.AnnotationPlacement] == "" {
		c.hub.Annotations[stellarflow.AnnotationPlacement] = c.placement.String()
	}
	c.view.Hub, c.view.WEC = c.hub, c.wec
	if c.hub != nil {
		c.view.Observed, _ = stellarflow.ParseObserved(c.hub.Annotations[stellarflow.AnnotationObserved])
	}
	return c.view
}

func noHub(c *copies) { c.hub = nil }
func noWEC(c *copies) { c.wec = nil }

// notPlaced is a hub copy without a record that counts.
func notPlaced(c *copies) { c.hub.Labels[stellarflow.LabelCluster] = "cluster2" }

func hubDeleting(c *copies) { c.hub.DeletionTimestamp = &metav1.Time{Time: now} }
func hubDeletingLong(c *copies) {
	c.hub.DeletionTimestamp = &metav1.Time{Time: now.Add(-time.Hour)}
}
func wecDeleting(c *copies) { c.wec.DeletionTimestamp = &metav1.Time{Time: now} }
func hubEnded(c *copies)    { c.hub.Labels[stellarflow.ArgoLabelCompleted] = "true" }
func hubAsked(c *copies)    { c.hub.Annotations[stellarflow.AnnotationIntents] = "[...]" }
func dedicated(c *copies)   { c.view.Dedicated = true }
func wecEnded(c *copies)    { c.wec.Labels[stellarflow.ArgoLabelCompleted] = "true" }
func otherCluster(c *copies) {
	c.view.ClusterID = "id-2"
}
func notHeld(c *copies) { c.wec.Finalizers = []string{"workflows.argoproj.io/artifact-gc"} }

// fresh is a copy whose UID the record does not have and that Argo has not written to.
func fresh(c *copies) {
	c.placement.WECUID, c.hub.Annotations[stellarflow.AnnotationObserved] = "", ""
	delete(c.wec.Labels, stellarflow.ArgoLabelPhase)
}

// unknown is a record without the WEC copy's UID.
func unknown(c *copies) {
	c.placement.WECUID, c.hub.Annotations[stellarflow.AnnotationObserved] = "", ""
}
func replaced(c *copies)   { c.wec.UID = "wec-2" }
func foreignUID(c *copies) { c.wec.Annotations[stellarflow.AnnotationHubUID] = "hub-0" }
func foreignTry(c *copies) { c.wec.Annotations[stellarflow.AnnotationAttempt] = "1" }
func laterTry(c *copies)   { c.wec.Annotations[stellarflow.AnnotationAttempt] = "4" }
func nextTry(c *copies)    { c.wec.Annotations[stellarflow.AnnotationAttempt] = "3" }
func changed(c *copies)    { c.wec.ResourceVersion = "101" }
func saysAway(c *copies) {
	c.hub.Annotations[stellarflow.AnnotationSync] = unreachable("cluster1") + " since yesterday"
}

func saysStuck(c *copies) {
	c.hub.Annotations[stellarflow.AnnotationSync] = "the next step for it fails"
}

func otherRecord(c *copies) { c.hub.Annotations[stellarflow.AnnotationObserved] = "wec-0/100/7/hash" }
func noRecord(c *copies)    { c.hub.Annotations[stellarflow.AnnotationObserved] = "" }
func hubChanged(c *copies)  { c.hub.Generation = 8 }

// labelled is a hub copy with a label that people have put on it, of which the WEC copy says whether it was given it.
func labelled(given bool) option {
	return func(c *copies) {
		c.wec.Annotations[stellarflow.AnnotationPassedOn] = ""
		c.hub.Labels["team"] = "green"
		if given {
			c.wec.Annotations[stellarflow.AnnotationPassedOn] = downsync.Keys(c.hub)
		}
	}
}

// triedUntil is one of which that was tried, and is not again before a while.
func triedUntil(wait time.Duration) option {
	return func(c *copies) {
		labelled(false)(c)
		c.view.Tried = TriedKeys{Note: downsync.Keys(c.hub), Until: now.Add(wait)}
	}
}

// triedEnded is one of which that was tried when it had ended.
func triedEnded(c *copies) {
	triedUntil(0)(c)
	c.view.Tried.Ended = true
}

// unlabelled is one that had lost its last label, which was never tried.
func unlabelled(c *copies) {
	c.wec.Annotations[stellarflow.AnnotationPassedOn] = "something"
	c.hub.Labels = map[string]string{stellarflow.LabelCluster: "cluster1"}
}

// relabelled is one whose labels were changed after that.
func relabelled(c *copies) { c.hub.Labels["team"] = "blue" }

// labelledOld is one whose WEC copy an earlier version created.
func labelledOld(c *copies) { c.hub.Labels["team"] = "green" }

func away(since time.Duration) option {
	return func(c *copies) { c.view.Connected, c.view.AwaySince = false, now.Add(-since) }
}

func createdAgo(age time.Duration) option {
	return func(c *copies) { c.view.CreatedAt = now.Add(-age) }
}

func settled(version string) option { return func(c *copies) { c.view.Settled = version } }

type nextCase struct {
	reason string
	view   View
	step   Step
	after  time.Duration
}

// nextCases are all branches of Next, by what is special about each.
func nextCases() map[string]nextCase {
	return map[string]nextCase{
		"NeitherCopy":         {"a key that nothing is left of", newView(noHub, noWEC), Nothing, 0},
		"NeitherCopyAway":     {"also while the WEC is away", newView(noHub, noWEC, away(time.Hour)), Nothing, 0},
		"NotPlacedNoCopy":     {"a Workflow of another cluster or of nobody", newView(notPlaced, noWEC), Nothing, 0},
		"NotPlacedNoCopyAway": {"nothing is said about somebody else's Workflow", newView(notPlaced, noWEC, away(time.Hour)), Nothing, 0},

		"AwayBriefly":        {"a short outage is not worth a write: look again when the silence is over", newView(away(20 * time.Second)), Nothing, 40 * time.Second},
		"AwayJustLongEnough": {"the silence is over now", newView(away(time.Minute)), SayUnreachable, 0},
		"AwayLong":           {"people must be told that the state is old", newView(away(time.Hour)), SayUnreachable, 0},
		"AwaySaid":           {"said once is enough", newView(away(time.Hour), saysAway), Nothing, 0},
		"AwayOtherSaid":      {"what was said before the outage does not say that it is one", newView(away(time.Hour), saysStuck), SayUnreachable, 0},
		"AwayEnded":          {"a terminal status does not grow old", newView(away(time.Hour), hubEnded), Nothing, 0},
		"AwayEndedDeleting":  {"why it stays has to be said", newView(away(time.Hour), hubEnded, hubDeleting), SayUnreachable, 0},
		"AwayNotPlaced":      {"a copy that nobody claims can wait", newView(away(time.Hour), notPlaced), Nothing, 0},
		"AwayNoHub":          {"and so can one without a hub copy", newView(away(time.Hour), noHub), Nothing, 0},
		"AwayNeverCreated":   {"a Workflow that waits for its create is told as well", newView(away(time.Hour), noWEC, unknown), SayUnreachable, 0},
		"AwayDeleting":       {"so is one that waits for its end", newView(away(time.Hour), hubDeleting), SayUnreachable, 0},

		"OrphanNoHub":     {"no hub copy at all", newView(noHub), Orphaned, 0},
		"OrphanNotPlaced": {"the hub copy does not claim it", newView(notPlaced), Orphaned, 0},
		"OrphanCopied": {"a record that was copied with the object does not count", newView(func(c *copies) {
			c.hub.UID = "hub-2"
		}), Orphaned, 0},
		"OrphanElsewhere": {"the next attempt went to another cluster", newView(func(c *copies) {
			c.placement.Cluster, c.hub.Labels[stellarflow.LabelCluster] = "cluster2", "cluster2"
		}), Orphaned, 0},

		"ClusterChanged":         {"a rebuilt cluster knows nothing of the run", newView(otherCluster), SayClusterChanged, 0},
		"ClusterChangedNoCopy":   {"and must not get it a second time", newView(otherCluster, noWEC, unknown), SayClusterChanged, 0},
		"ClusterChangedEnded":    {"what has ended needs no cluster", newView(otherCluster, hubEnded), Nothing, 0},
		"ClusterChangedDeleting": {"its copy cannot be deleted, which is said", newView(otherCluster, hubEnded, hubDeleting), SayClusterChanged, 0},

		"Create":              {"placed, never seen there", newView(noWEC, unknown), Create, 0},
		"CreatedBefore":       {"created by this process, not recorded, removed by force: it is recorded, never created again", newView(noWEC, unknown, seenHere), RecordSeen, 0},
		"CreatedBeforeOther":  {"the same, and somebody else took the name", newView(unknown, foreignUID, seenHere), RecordSeen, 0},
		"CreatedBeforeEnded":  {"it was ended on the hub meanwhile", newView(noWEC, unknown, seenHere, hubEnded), Nothing, 0},
		"CreatedBeforeGoes":   {"it is being deleted anyway", newView(noWEC, unknown, seenHere, hubDeleting), FinishCleanup, 0},
		"NoCopyEnded":         {"ended before it was created: nothing runs", newView(noWEC, unknown, hubEnded), Nothing, 0},
		"NoCopySeenEnded":     {"the WEC's own cleaning took it", newView(noWEC, hubEnded), Nothing, 0},
		"NoCopyDeleting":      {"the wait can end", newView(noWEC, hubDeleting), FinishCleanup, 0},
		"NoCopyDeletingNew":   {"deleted before it was created", newView(noWEC, unknown, hubDeleting), FinishCleanup, 0},
		"NoCopyAskedAgain":    {"a retry of what is not there any more is a new attempt", newView(noWEC, hubEnded, hubAsked), RunAgain, 0},
		"NoCopyAskedDeleted":  {"it is to go, whatever was asked before", newView(noWEC, hubEnded, hubAsked, hubDeleting), FinishCleanup, 0},
		"NoCopyAsked":         {"what vanished while it ran cannot be acted on", newView(noWEC, hubAsked), Vanished, 0},
		"NameTakenAsked":      {"its copy is gone, and another has the name", newView(foreignUID, hubEnded, hubAsked), RunAgain, 0},
		"Asked":               {"what is asked is done although nothing else has changed", newView(hubAsked, settled("wec-1/100/7")), Mirror, 0},
		"PlacedWhenShared":    {"the hub is a dedicated one now, and spec.suspend is to be mirrored", newView(dedicated, settled("wec-1/100/7")), Mirror, 0},
		"EndedWhenShared":     {"it shows its end, and that is enough", newView(dedicated, hubEnded, wecEnded, notHeld), Nothing, 0},
		"AskedOfEndedAway":    {"a retry that waits has to say why", newView(away(time.Hour), hubEnded, hubAsked), SayUnreachable, 0},
		"AskedOfEndedChanged": {"a retry that nobody will do has to say why", newView(otherCluster, hubEnded, hubAsked), SayClusterChanged, 0},
		"AskedAway":           {"it waits for the cluster", newView(away(time.Hour), hubAsked, saysAway), Nothing, 0},
		"NoCopyDeletingDone":  {"ended, then deleted", newView(noWEC, hubEnded, hubDeleting), FinishCleanup, 0},
		"Vanished":            {"seen once and gone: never created again", newView(noWEC), Vanished, 0},

		"NameTaken":             {"another of our Workflows is there", newView(unknown, foreignUID), SayNameTaken, 0},
		"NameTakenAttempt":      {"a copy of another attempt is not this one's", newView(unknown, foreignTry), SayNameTaken, 0},
		"NameTakenDeleting":     {"the taken name is nothing to wait for", newView(unknown, foreignUID, hubDeleting), FinishCleanup, 0},
		"NameTakenEnded":        {"a terminal status is never replaced by a complaint", newView(unknown, foreignUID, hubEnded), Nothing, 0},
		"ReplacedForeign":       {"ours is gone and another Workflow took the name", newView(replaced, foreignUID), Vanished, 0},
		"ReplacedRestored":      {"restored from a backup there: another object, though it says the same", newView(replaced), Vanished, 0},
		"ReplacedEnded":         {"a second copy of it that nobody shows: a person has to know", newView(replaced, hubEnded), Orphaned, 0},
		"ReplacedDeleting":      {"a second copy of it goes with it", newView(replaced, hubDeleting), DeleteWECCopy, 0},
		"ReplacedForeignEnded":  {"its end is known: it is never Pending again", newView(replaced, foreignUID, hubEnded), Nothing, 0},
		"ReplacedForeignGoes":   {"only ours is waited for", newView(replaced, foreignUID, hubDeleting), FinishCleanup, 0},
		"DisownedUID":           {"the annotation was removed there: not ours to touch, not ours to forget", newView(foreignUID), SayDisowned, 0},
		"DisownedAttempt":       {"another attempt in the annotation", newView(foreignTry), SayDisowned, 0},
		"DisownedEnded":         {"its end is known", newView(foreignUID, hubEnded), Nothing, 0},
		"DisownedDeleting":      {"the wait has to be explained", newView(foreignUID, hubDeleting), SayDisowned, 0},
		"DisownedEndedDeleting": {"also after its end", newView(foreignUID, hubEnded, hubDeleting), SayDisowned, 0},

		"LaterEnded":     {"a later attempt on a hub that forgot nothing: the WEC is not believed, and a person has to know", newView(replaced, laterTry, hubEnded), Orphaned, 0},
		"LaterRunning":   {"ours is gone, which is looked into first", newView(replaced, laterTry), Vanished, 0},
		"LaterUnknown":   {"before there was a copy", newView(unknown, laterTry), SayNameTaken, 0},
		"LaterDeleting":  {"it is an orphan when the hub copy is gone", newView(replaced, laterTry, hubDeleting), FinishCleanup, 0},
		"LaterAsked":     {"what is asked is answered first", newView(replaced, laterTry, hubEnded, hubAsked), RunAgain, 0},
		"EarlierEnded":   {"an earlier attempt came back, with a backup of the WEC", newView(replaced, foreignTry, hubEnded), Orphaned, 0},
		"NoAttemptEnded": {"which attempt is not said", newView(replaced, hubEnded, func(c *copies) { delete(c.wec.Annotations, stellarflow.AnnotationAttempt) }), Orphaned, 0},

		"Delete":         {"the user deleted the Workflow", newView(hubDeleting), DeleteWECCopy, 0},
		"DeleteFresh":    {"also if its UID is not recorded yet", newView(fresh, hubDeleting), DeleteWECCopy, 0},
		"DeleteDeleting": {"until it is gone", newView(hubDeleting, wecDeleting), DeleteWECCopy, 0},
		"DeleteHeld":     {"Argo removes the artifacts there first, which takes a while", newView(hubDeleting, wecDeleting, notHeld), Nothing, time.Minute},
		"DeleteHeldLong": {"why it stays has to be said", newView(hubDeletingLong, wecDeleting, notHeld), SayHeld, 0},
		"DeleteHeldLive": {"not deleted there yet", newView(hubDeletingLong, notHeld), DeleteWECCopy, 0},

		"UIDWaits":       {"a first status may bring the UID along", newView(fresh, createdAgo(40*time.Millisecond)), Nothing, 60 * time.Millisecond},
		"UIDWaitsNoMore": {"no status came in time", newView(fresh, createdAgo(100*time.Millisecond)), RecordUID, 0},
		"UIDAfterStart":  {"a copy from before this process waits for nothing", newView(fresh), RecordUID, 0},
		"FirstStatus":    {"status and UID travel together", newView(unknown, createdAgo(time.Millisecond)), Mirror, 0},

		"Mirrored":          {"both say the same", newView(), Nothing, 0},
		"Changed":           {"the WEC copy changed", newView(changed), Mirror, 0},
		"ChangedSettled":    {"it changed, but a pass found nothing to write", newView(changed, settled("wec-1/101/7")), Nothing, 0},
		"ChangedAgain":      {"it changed after that pass", newView(changed, settled("wec-1/100/7")), Mirror, 0},
		"HubChanged":        {"somebody wrote to the hub copy", newView(hubChanged), Mirror, 0},
		"HubChangedSettled": {"and it is still what the WEC says", newView(hubChanged, settled("wec-1/100/8")), Nothing, 0},
		"ObservedMissing":   {"nothing was mirrored yet", newView(noRecord), Mirror, 0},
		"ObservedOther":     {"what was mirrored came from another object", newView(otherRecord), Mirror, 0},
		"SaysAway":          {"the complaint is outdated: a mirror write removes it", newView(saysAway, settled("wec-1/100/7")), Mirror, 0},

		"Labelled":         {"labels were changed on the hub", newView(labelled(false), settled("wec-1/100/7")), Mirror, 0},
		"LabelledGiven":    {"and have been passed on", newView(labelled(true)), Nothing, 0},
		"LabelledOld":      {"an earlier version did not note what it gave", newView(labelledOld), Mirror, 0},
		"LabelledOldEnded": {"which is not made up for after the end", newView(labelledOld, wecEnded, hubEnded, notHeld), Nothing, 0},
		"LabelledEnded":    {"as long as the copy is there", newView(labelled(false), wecEnded, hubEnded, notHeld), Mirror, 0},
		"LabelledRelease":  {"which a WEC that refuses it must not keep from being released", newView(labelled(false), wecEnded, hubEnded), ReleaseHarvest, 0},
		"LabelledTried":    {"which was tried, and rests", newView(triedUntil(20*time.Second), settled("wec-1/100/7")), Nothing, 20 * time.Second},
		"LabelledRested":   {"until then", newView(triedUntil(0), settled("wec-1/100/7")), Mirror, 0},
		"LabelledChanges":  {"meanwhile the WEC copy is mirrored as ever", newView(triedUntil(20*time.Second), changed), Mirror, 0},
		"LabelledAnew":     {"another change does not rest", newView(triedUntil(20*time.Second), relabelled, settled("wec-1/100/7")), Mirror, 0},
		"LabelledTriedRun": {"before the end, which is tried again", newView(triedUntil(0), wecEnded, hubEnded, notHeld), Mirror, 0},
		"LabelledTriedNow": {"after a while", newView(triedUntil(time.Second), wecEnded, hubEnded, notHeld), Nothing, time.Second},
		"LabelledTriedEnd": {"after the end it is tried once", newView(triedEnded, wecEnded, hubEnded, notHeld), Nothing, 0},
		"LabelledTriedFor": {"and the copy is released, also if it has changed since the end without another content", newView(triedUntil(0), wecEnded, hubEnded, changed, settled("wec-1/101/7")), ReleaseHarvest, 0},
		"LabelledAgain":    {"one that runs again is not one that has ended", newView(triedEnded), Mirror, 0},
		"LabelledNever":    {"the last label was taken away after the end", newView(unlabelled, wecEnded, hubEnded, notHeld), Mirror, 0},
		"LabelledDying":    {"what goes anyway is left alone", newView(labelled(false), wecDeleting, settled("wec-1/100/7")), Nothing, 0},
		"LabelledDeleting": {"also what is deleted on the hub", newView(labelled(false), hubDeleting), DeleteWECCopy, 0},
		"LabelledAway":     {"it waits for the cluster", newView(labelled(false), away(time.Hour), saysAway), Nothing, 0},
		"LabelledTaken":    {"what is not its copy is never given anything", newView(labelled(false), foreignUID), SayDisowned, 0},
		"LabelledOrphan":   {"nor what it does not claim", newView(labelled(false), notPlaced), Orphaned, 0},
		"LabelledChanged":  {"nor what is on another cluster", newView(labelled(false), otherCluster), SayClusterChanged, 0},

		"EndedUnmirrored": {"the end is mirrored before the copy may go", newView(changed, wecEnded), Mirror, 0},
		"Release":         {"the hub holds the end", newView(wecEnded, hubEnded), ReleaseHarvest, 0},
		"ReleaseDeleting": {"also while it is deleted there", newView(wecEnded, hubEnded, wecDeleting), ReleaseHarvest, 0},
		"ReleaseNotYet":   {"the hub does not hold the end", newView(wecEnded), Nothing, 0},
		"Released":        {"nothing is left to do", newView(wecEnded, hubEnded, notHeld), Nothing, 0},
		"Restore":         {"a retry there: it must not vanish unseen", newView(notHeld), RestoreHarvest, 0},
		"RestoreRefused":  {"the API server takes no new finalizer on what is being deleted", newView(notHeld, wecDeleting, settled("wec-1/100/7")), Nothing, 0},
		"Terminate":       {"deleted there while it runs: mirrored or not, a pass sees that it is terminated", newView(wecDeleting), Mirror, 0},
		"Terminated":      {"that pass has been", newView(wecDeleting, settled("wec-1/100/7")), Nothing, 0},
	}
}

func TestNext(t *testing.T) {
	for name, tc := range allCases() {
		t.Run(name, func(t *testing.T) {
			before := tc.view
			before.Hub, before.WEC = tc.view.Hub.DeepCopy(), tc.view.WEC.DeepCopy()
			step, after := Next(tc.view)
			if step != tc.step || after != tc.after {
				t.Errorf("%s: Next() = %s after %s, want %s after %s", tc.reason, step, after, tc.step, tc.after)
			}
			if diff := cmp.Diff(before, tc.view); diff != "" {
				t.Errorf("the view was changed, -before +after:\n%s", diff)
			}
			for range 3 {
				if again, againAfter := Next(tc.view); again != step || againAfter != after {
					t.Fatalf("the same view gives %s after %s, then %s after %s", step, after, again, againAfter)
				}
			}
		})
	}
}

// TestNextReachesEveryStep keeps the table whole when a step is added.
func TestNextReachesEveryStep(t *testing.T) {
	reached := map[Step]bool{}
	for _, tc := range allCases() {
		reached[tc.step] = true
	}
	for _, step := range []Step{
		Nothing, SayUnreachable, SayClusterChanged, SayNameTaken, SayDisowned, Create, RecordUID, Mirror, ReleaseHarvest, RestoreHarvest,
		DeleteWECCopy, FinishCleanup, Vanished, Orphaned, Move, Bury, FinishBurial, LiftTombstone, RecordSeen, SayRestored, SayHeld, Adopt,
	} {
		if !reached[step] {
			t.Errorf("no case leads to %s", step)
		}
	}
}

// TestNextNeverRunsTwice is law 1 for every view of the table: once the WEC copy's UID is recorded nothing leads to a create.
func TestNextNeverRunsTwice(t *testing.T) {
	for name, tc := range allCases() {
		for _, missing := range []bool{false, true} {
			view := tc.view
			if missing {
				view.WEC = nil
			}
			placement, placed := hubPlacement(view)
			step, _ := Next(view)
			if step == Create && (!placed || !view.RestoredAt.IsZero() && !placement.Time.After(view.RestoredAt) || placement.WECUID != "" || view.Seen != "" || view.WEC != nil || view.Hub.DeletionTimestamp != nil || !view.Connected) {
				t.Errorf("%s (copy missing: %v) leads to a create", name, missing)
			}
		}
	}
}

func TestVersion(t *testing.T) {
	cases := map[string]struct {
		reason string
		view   View
		want   string
	}{
		"Both":  {"UID and resourceVersion there, generation here", newView(), "wec-1/100/7"},
		"NoHub": {"nothing was compared", newView(noHub), ""},
		"NoWEC": {"nothing was compared", newView(noWEC), ""},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			if got := tc.view.Version(); got != tc.want {
				t.Errorf("%s: Version() = %q, want %q", tc.reason, got, tc.want)
			}
		})
	}
	seen := map[string]bool{}
	for i, v := range []View{newView(), newView(changed), newView(hubChanged), newView(replaced)} {
		if seen[v.Version()] {
			t.Errorf("view %s has the version of another one, %s", strconv.Itoa(i), v.Version())
		}
		seen[v.Version()] = true
	}
}

// TestNextOfUnseenPods: what is said of pods that are not shown is brought up to date, and not taken back before they have been looked at.
func TestNextOfUnseenPods(t *testing.T) {
	for name, tc := range map[string]struct {
		reason string
		change func(*View)
		want   Step
		after  time.Duration
	}{
		"Said":     {"it is said", func(v *View) { v.Unseen, v.Said = "a", "a" }, Nothing, 0},
		"New":      {"it is not", func(v *View) { v.Unseen = "a" }, Mirror, 0},
		"Other":    {"something else is", func(v *View) { v.Unseen, v.Said = "b", "a" }, Mirror, 0},
		"Outlived": {"all are shown", func(v *View) { v.Outlived = true }, Mirror, 0},
		"Waits":    {"that is not known yet", func(v *View) { v.Outlived, v.Waits = true, true }, Nothing, retryRefused},
	} {
		t.Run(name, func(t *testing.T) {
			view := newView()
			tc.change(&view)
			if step, after := Next(view); step != tc.want || after != tc.after {
				t.Errorf("%s: got %s after %s, want %s after %s", tc.reason, step, after, tc.want, tc.after)
			}
		})
	}
}

package lifecycle

import (
	"maps"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
	"stellarflow.io/stellarflow/pkg/hub/tombstone"
)

func givenUp(c *copies) { c.hub.Annotations[stellarflow.AnnotationAbandoned] = "2026-03-04T05:06:07Z" }

func asksMove(c *copies) { c.hub.Annotations[stellarflow.AnnotationRequest] = stellarflow.RequestMove }

func asksAbandon(c *copies) {
	c.hub.Annotations[stellarflow.AnnotationRequest] = stellarflow.RequestAbandon
}

// buried is a tombstone for the attempt that the copies of a view belong to.
func buried(wecUID types.UID) option {
	return func(c *copies) {
		c.view.Tombstones = append(c.view.Tombstones, tombstone.Tombstone{
			Cluster: "cluster1", ClusterID: "id-1", Workflow: types.NamespacedName{Namespace: "argo", Name: "w"}, HubUID: "hub-1", Attempt: 2, WECUID: wecUID,
		})
	}
}

// restored is a hub that was restored from a backup a second ago; the record of a view is older.
func restored(c *copies) { c.view.RestoredAt = now.Add(-time.Second) }

// seenHere is a copy whose UID the hub could not be told before it went.
func seenHere(c *copies) { c.view.Seen = "wec-1" }

// newHub is a hub copy that was created under the name of the one that was given up, and is placed on the same cluster.
func newHub(c *copies) {
	c.hub.UID, c.placement.UID, c.placement.WECUID = "hub-2", "hub-2", ""
	c.hub.Annotations[stellarflow.AnnotationObserved] = ""
}

// requestCases are the branches of Next for what people ask, and for what was given up.
func requestCases() map[string]nextCase {
	return map[string]nextCase{
		"GivenUpAway":      {"nothing is said of a cluster that nobody waits for", newView(givenUp, hubEnded, away(time.Hour)), Nothing, 0},
		"GivenUpNoCopy":    {"nor is it run again", newView(givenUp, noWEC, unknown), Nothing, 0},
		"GivenUpCopy":      {"a copy that no tombstone names is for a person to look at", newView(givenUp, hubEnded), Orphaned, 0},
		"GivenUpUnmarked":  {"nothing is mirrored, even if the label was lost", newView(givenUp, changed), Orphaned, 0},
		"GivenUpElsewhere": {"behind another cluster of that name", newView(givenUp, hubEnded, otherCluster, noWEC), Nothing, 0},

		"BuryRunning":       {"the cluster is back, and the copy runs", newView(givenUp, hubEnded, buried("wec-1")), Bury, 0},
		"BuryNeverSeen":     {"its UID was never known here", newView(givenUp, hubEnded, unknown, buried("")), Bury, 0},
		"BuryNoHub":         {"the hub copy is gone", newView(noHub, buried("wec-1")), Bury, 0},
		"BuryEnded":         {"it ended there meanwhile", newView(noHub, wecEnded, buried("wec-1")), Bury, 0},
		"BuryHeld":          {"deleted, and harvest holds it", newView(givenUp, hubEnded, wecDeleting, buried("wec-1")), Bury, 0},
		"BuryDeleted":       {"somebody else's finalizer holds it", newView(givenUp, hubEnded, wecDeleting, notHeld, buried("wec-1")), Nothing, 0},
		"BuryAway":          {"not while the cluster is away", newView(givenUp, hubEnded, away(time.Hour), buried("wec-1")), Nothing, 0},
		"BuryOther":         {"the object of that name is another Workflow's copy: that is looked at, not removed", newView(noHub, foreignUID, buried("wec-1")), Orphaned, 0},
		"BuryOtherAttempt":  {"or of another attempt", newView(givenUp, hubEnded, foreignTry, buried("wec-1")), Orphaned, 0},
		"BuryBeforeNewHub":  {"a new Workflow of that name waits until the old copy is gone", newView(newHub, buried("wec-1")), Bury, 0},
		"BuryNewHubWaits":   {"and says so if that takes long", newView(newHub, wecDeleting, notHeld, buried("wec-1")), SayNameTaken, 0},
		"BurialEnds":        {"nothing is there any more", newView(givenUp, hubEnded, noWEC, buried("wec-1")), FinishBurial, 0},
		"BurialEndsNoHub":   {"on neither side", newView(noHub, noWEC, buried("")), FinishBurial, 0},
		"BurialFirst":       {"the new Workflow of that name is created after the burial", newView(newHub, noWEC, buried("wec-1")), FinishBurial, 0},
		"BurialBesideOther": {"the name is another copy's, and that one has nothing to do", newView(buried("wec-0"), func(c *copies) { c.view.Tombstones[0].HubUID = "hub-0" }), FinishBurial, 0},
		"BurialBesideBusy":  {"or has something to do, which comes first", newView(changed, buried("wec-0"), func(c *copies) { c.view.Tombstones[0].HubUID = "hub-0" }), Mirror, 0},

		"VoidAsked":   {"between the tombstone and the hub copy: the manager is about to write it", newView(asksAbandon, buried("wec-1")), Nothing, 0},
		"VoidAway":    {"the same, while the cluster is away", newView(asksAbandon, away(time.Hour), buried("wec-1")), SayUnreachable, 0},
		"VoidBack":    {"the request was taken back: the copy runs and is wanted", newView(buried("wec-1")), LiftTombstone, 0},
		"VoidNoCopy":  {"the same before there was a copy", newView(noWEC, unknown, buried("")), LiftTombstone, 0},
		"VoidMove":    {"another request was made of it", newView(asksMove, noWEC, unknown, buried("")), LiftTombstone, 0},
		"VoidEnded":   {"it has ended since", newView(wecEnded, hubEnded, notHeld, buried("wec-1")), LiftTombstone, 0},
		"VoidLater":   {"another attempt's tombstone is not void", newView(buried("wec-1"), func(c *copies) { c.view.Tombstones[0].Attempt = 1 }), FinishBurial, 0},
		"VoidAndReal": {"of two only one is", newView(buried("wec-1"), buried("wec-0"), func(c *copies) { c.view.Tombstones[1].HubUID = "hub-0" }), LiftTombstone, 0},

		"Move":            {"never seen: it may go elsewhere once that is a fact", newView(asksMove, noWEC, unknown), Move, 0},
		"MoveNameTaken":   {"another's copy has the name", newView(asksMove, unknown, foreignUID), Move, 0},
		"MoveOldAttempt":  {"its own copy of another attempt has the name: Move looks, and refuses", newView(asksMove, unknown, foreignTry), Move, 0},
		"MoveSeen":        {"it is there: it is recorded, and then refused", newView(asksMove, fresh), RecordUID, 0},
		"MoveVanished":    {"seen once: it may have run", newView(asksMove, noWEC), Vanished, 0},
		"MoveAway":        {"nothing can be known while the cluster is away", newView(asksMove, noWEC, unknown, away(time.Hour)), SayUnreachable, 0},
		"MoveDeleting":    {"it is deleted, not moved", newView(asksMove, noWEC, unknown, hubDeleting), FinishCleanup, 0},
		"MoveEnded":       {"it has ended", newView(asksMove, noWEC, unknown, hubEnded), Nothing, 0},
		"MoveOtherID":     {"another cluster says nothing of this one", newView(asksMove, noWEC, unknown, otherCluster), SayClusterChanged, 0},
		"MoveSeenHere":    {"this process has seen a copy", newView(asksMove, noWEC, unknown, seenHere), RecordSeen, 0},
		"Restored":        {"the hub forgot whether this has run", newView(noWEC, unknown, restored), SayRestored, 0},
		"RestoredThere":   {"a copy is there: it is followed", newView(fresh, restored), RecordUID, 0},
		"RestoredSeen":    {"its copy was known before the backup", newView(noWEC, restored), Vanished, 0},
		"RestoredLater":   {"placed after that: nothing was forgotten", newView(noWEC, unknown, restored, func(c *copies) { c.placement.Time = now }), Create, 0},
		"RestoredMove":    {"it may have run: no other cluster gets it", newView(noWEC, unknown, restored, asksMove), SayRestored, 0},
		"RestoredEnding":  {"it is being deleted anyway", newView(noWEC, unknown, restored, hubDeleting), FinishCleanup, 0},
		"RestoredStone":   {"a tombstone is no reason to forget it", newView(newHub, noWEC, restored, buried("wec-1")), FinishBurial, 0},
		"AdoptEnded":      {"the end is that of the attempt before: this one is shown", newView(replaced, nextTry, restored, hubEnded), Adopt, 0},
		"AdoptRunning":    {"the same, from a backup of when it ran", newView(replaced, nextTry, restored), Adopt, 0},
		"AdoptUnknown":    {"from one of before it was created", newView(unknown, laterTry, restored), Adopt, 0},
		"AdoptDone":       {"it has ended meanwhile", newView(replaced, laterTry, restored, hubEnded, wecEnded), Adopt, 0},
		"AdoptDeleting":   {"what is deleted goes with all its attempts", newView(replaced, nextTry, restored, hubDeleting), Adopt, 0},
		"AdoptMove":       {"it has run: no other cluster gets it", newView(unknown, nextTry, restored, asksMove), Adopt, 0},
		"AdoptAsked":      {"the retry that made it is in the backup", newView(replaced, nextTry, restored, hubEnded, hubAsked), RunAgain, 0},
		"AdoptAskedLater": {"it was retried again since", newView(replaced, laterTry, restored, hubEnded, hubAsked), Adopt, 0},
		"AdoptAskedEnds":  {"it is to go, whatever was asked before", newView(replaced, nextTry, restored, hubEnded, hubAsked, hubDeleting), Adopt, 0},
		"AdoptSince":      {"placed after the restore: nothing of it was forgotten", newView(replaced, nextTry, restored, hubEnded, func(c *copies) { c.placement.Time = now }), Orphaned, 0},
		"AdoptEarlier":    {"an earlier attempt is none that was forgotten", newView(replaced, foreignTry, restored, hubEnded), Orphaned, 0},
		"AdoptAbsurd":     {"nobody retries that often between a backup and a restore", newView(replaced, restored, hubEnded, func(c *copies) { c.wec.Annotations[stellarflow.AnnotationAttempt] = "9223372036854775807" }), Orphaned, 0},
		"AdoptSameObject": {"the copy that is recorded never was another attempt's", newView(nextTry, restored), SayDisowned, 0},
		"AdoptForeign":    {"another Workflow's", newView(replaced, nextTry, foreignUID, restored, hubEnded), Nothing, 0},
		"AdoptOther":      {"another cluster says nothing of this one", newView(replaced, nextTry, restored, otherCluster), SayClusterChanged, 0},
		"AdoptAway":       {"nor one that is away", newView(replaced, nextTry, restored, away(time.Hour)), SayUnreachable, 0},
		"AdoptElsewhere":  {"nor one that the record does not name", newView(replaced, nextTry, restored, notPlaced), Orphaned, 0},
		"AdoptGivenUp":    {"what was given up is not taken back", newView(replaced, nextTry, restored, givenUp, hubEnded), Orphaned, 0},
		"AbandonIsNoMove": {"what needs no cluster is not decided here", newView(asksAbandon), Nothing, 0},
	}
}

func allCases() map[string]nextCase {
	all := nextCases()
	maps.Copy(all, requestCases())
	return all
}

package podmirror

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

// mirror is the Pod on the hub that shows running().
func mirror(t *testing.T, change ...func(*corev1.Pod)) *corev1.Pod {
	t.Helper()
	return mirrorOf(t, running(), change...)
}

func mirrorOf(t *testing.T, of *corev1.Pod, change ...func(*corev1.Pod)) *corev1.Pod {
	t.Helper()
	pod, err := Render(of, hubCopy(), "cluster1")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range change {
		f(pod)
	}
	return pod
}

// going lets a mirror be deleted at a time, with 30 s to end.
func going(at time.Time) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.DeletionTimestamp, p.DeletionGracePeriodSeconds = ptr.To(metav1.NewTime(at.Add(30*time.Second))), ptr.To[int64](30)
	}
}

// once lets a mirror be deleted at a time, with none to end.
func once(at time.Time) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.DeletionTimestamp, p.DeletionGracePeriodSeconds = ptr.To(metav1.NewTime(at)), ptr.To[int64](0)
	}
}

// asked notes on a mirror that somebody asks to delete it, with a grace period if one is known.
func asked(at time.Time, grace ...int64) func(*corev1.Pod) {
	ask := Ask{By: "jane", Time: at}
	for i := range grace {
		ask.Grace = &grace[i]
	}
	return func(p *corev1.Pod) { p.Annotations[stellarflow.AnnotationDeletion] = ask.String() }
}

// evicted says of a pod that something of its cluster is about to delete it, or was and did not.
func evicted(status corev1.ConditionStatus) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Status.Conditions = append(p.Status.Conditions, corev1.PodCondition{Type: corev1.DisruptionTarget, Status: status, Reason: "EvictionByEvictionAPI"})
	}
}

// of is running() with a change.
func of(change func(*corev1.Pod)) *corev1.Pod {
	pod := running()
	change(pod)
	return pod
}

// shortened notes on a mirror that somebody who has asked to delete it asks for less time to end.
func shortened(at time.Time, from, to int64) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Annotations[stellarflow.AnnotationDeletion] = Ask{By: "jane", Time: at, Grace: &to, Shortens: &from}.String()
	}
}

// elsewhere makes a mirror another cluster's.
func elsewhere(p *corev1.Pod) {
	p.Labels[stellarflow.LabelCluster], p.Spec.NodeName = "cluster2", NodeName("cluster2")
}

// ofVersion lets a mirror show another version of the pod.
func ofVersion(of string) func(*corev1.Pod) {
	return func(p *corev1.Pod) { p.Annotations[stellarflow.AnnotationMirrored] = of }
}

func TestNext(t *testing.T) {
	now := ended.Add(time.Hour)
	terminating := running()
	going(now)(terminating)
	later := now.Add(-2 * time.Minute)
	for name, tc := range map[string]struct {
		reason string
		view   View
		want   Step
		after  time.Duration
	}{
		"Nothing":       {"there is nothing", View{}, Nothing, 0},
		"New":           {"a pod began", View{Real: running(), Wanted: true}, Show, 0},
		"Shown":         {"the mirror shows it", View{Real: running(), Wanted: true, Mirror: mirror(t), Read: Version{"real", "7"}}, Nothing, 0},
		"Changed":       {"the pod changed", View{Real: running(), Wanted: true, Mirror: mirror(t, func(p *corev1.Pod) { p.Annotations[stellarflow.AnnotationMirrored] = "6" }), Read: Version{"real", "6"}}, Show, 0},
		"AfterRestart":  {"the manager before has shown it, and nothing has changed", View{Real: running(), Wanted: true, Mirror: mirror(t)}, Nothing, 0},
		"AfterItsEnd":   {"its log may be archived by now", View{Real: finished(0), Wanted: true, Mirror: mirrorOf(t, finished(0))}, Show, 0},
		"AfterFailure":  {"its log is not", View{Real: finished(1), Wanted: true, Mirror: mirrorOf(t, finished(1))}, Nothing, 0},
		"Other":         {"the name is another pod's now", View{Real: running(), Wanted: true, Mirror: mirror(t, func(p *corev1.Pod) { p.Labels[stellarflow.LabelMirrorOf] = "old" })}, Remove, 0},
		"Unwanted":      {"the policy says no", View{Real: running(), Mirror: mirror(t), Complete: true}, Remove, 0},
		"UnwantedNew":   {"nor is it made", View{Real: running(), Complete: true}, Nothing, 0},
		"Gone":          {"the pod is gone", View{Mirror: mirror(t), Complete: true}, Remove, 0},
		"Unknown":       {"whether it is gone is not known", View{Mirror: mirror(t)}, Nothing, 0},
		"Taken":         {"the hub's own pod has the name", View{Real: running(), Wanted: true, Mirror: mirror(t, func(p *corev1.Pod) { p.Labels = nil })}, Taken, 0},
		"TakenUnwanted": {"nobody wants it", View{Mirror: mirror(t, func(p *corev1.Pod) { p.Labels = nil }), Complete: true}, Nothing, 0},
		"Elsewhere":     {"another cluster's mirror has the name", View{Real: running(), Wanted: true, Mirror: mirror(t, elsewhere)}, Taken, 0},
		"ElsewhereGone": {"another cluster's mirror is none of ours", View{Mirror: mirror(t, elsewhere), Complete: true}, Nothing, 0},
		"Labelled":      {"a pod of the hub's own has our labels", View{Mirror: mirror(t, func(p *corev1.Pod) { p.Spec.NodeName = "worker" }), Complete: true, Stray: true}, Nothing, 0},
		"LabelledTaken": {"and the name", View{Real: running(), Wanted: true, Mirror: mirror(t, func(p *corev1.Pod) { p.Spec.NodeName = "worker" })}, Taken, 0},
		"Stray":         {"its Workflow is not placed here any more", View{Mirror: mirror(t), Stray: true}, Remove, 0},
		"JustArchived":  {"it lingers", View{Real: running(), Wanted: true, Mirror: mirror(t), Read: Version{"real", "7"}, Archived: now.Add(-5 * time.Second)}, Nothing, 10 * time.Second},
		"Archived":      {"the log is in S3", View{Real: running(), Wanted: true, Mirror: mirror(t), Read: Version{"real", "7"}, Archived: now.Add(-Lingers), Complete: true}, Remove, 0},
		"ArchivedGone":  {"and stays away", View{Real: running(), Wanted: true, Read: Version{"real", "7"}, Archived: now.Add(-Lingers)}, Nothing, 0},
		"ArchivedOther": {"what was archived is not this version", View{Real: running(), Wanted: true, Read: Version{"real", "6"}, Archived: now.Add(-Lingers)}, Show, 0},

		"Lagging":         {"the mirror shows what the watch has yet to tell of", View{Real: running(), Wanted: true, Mirror: mirror(t, ofVersion("8")), Read: Version{"real", "8"}, ReadAt: now}, Nothing, 0},
		"LaggingLong":     {"the cluster may count anew", View{Real: running(), Wanted: true, Mirror: mirror(t, ofVersion("8")), Read: Version{"real", "8"}, ReadAt: now.Add(-every)}, Show, 0},
		"LaggingOther":    {"another pod was read", View{Real: running(), Wanted: true, Mirror: mirror(t, ofVersion("8")), Read: Version{"old", "8"}, ReadAt: now}, Show, 0},
		"LaggingUnshown":  {"what was read is not shown yet", View{Real: running(), Wanted: true, Mirror: mirror(t, ofVersion("6")), Read: Version{"real", "8"}, ReadAt: now}, Show, 0},
		"LaggingOdd":      {"no number", View{Real: running(), Wanted: true, Mirror: mirror(t, ofVersion("x")), Read: Version{"real", "x"}, ReadAt: now}, Show, 0},
		"LaggingLingers":  {"it lingers all the same", View{Real: running(), Wanted: true, Mirror: mirror(t, ofVersion("8")), Read: Version{"real", "8"}, ReadAt: now, Archived: now.Add(-5 * time.Second)}, Nothing, 10 * time.Second},
		"LaggingArchived": {"the log is in S3", View{Real: running(), Wanted: true, Mirror: mirror(t, ofVersion("8")), Read: Version{"real", "8"}, ReadAt: now, Archived: now.Add(-Lingers)}, Remove, 0},
		"LaggingStays":    {"and it stays away", View{Real: running(), Wanted: true, Read: Version{"real", "8"}, ReadAt: now, Archived: now.Add(-Lingers)}, Nothing, 0},
		"LaggingRestored": {"the cluster may count anew", View{Real: running(), Wanted: true, Read: Version{"real", "8"}, ReadAt: now.Add(-every), Archived: now.Add(-Lingers)}, Show, 0},

		"Evicted":        {"nobody asked: it is made again", View{Real: running(), Wanted: true, Mirror: mirror(t, going(now))}, Remove, 0},
		"Deleted":        {"a person deleted it", View{Real: running(), Wanted: true, Mirror: mirror(t, asked(now), going(now))}, Delete, 0},
		"DeletedPassed":  {"the real one ends", View{Real: terminating, Wanted: true, Mirror: mirror(t, asked(now), going(now)), Read: Version{"real", "7"}}, Nothing, 0},
		"DeletedEnded":   {"the real one is gone", View{Wanted: true, Mirror: mirror(t, asked(now), going(now)), Complete: true}, Remove, 0},
		"RefusedBefore":  {"the ask was refused by another webhook, and something evicts it later", View{Real: running(), Wanted: true, Mirror: mirror(t, asked(now.Add(-5*time.Second), 30), going(now))}, Remove, 0},
		"RefusedForced":  {"a forced ask was refused, and something evicts it at the same time", View{Real: running(), Wanted: true, Mirror: mirror(t, asked(now, 0), going(now))}, Remove, 0},
		"RefusedEvicted": {"an ask was refused, and something evicts it at the same time", View{Real: running(), Wanted: true, Mirror: mirror(t, asked(now, 30), going(now), evicted(corev1.ConditionTrue))}, Remove, 0},
		"Refused":        {"nothing has deleted it since: for how long that is so is not known", View{Real: running(), Wanted: true, Mirror: mirror(t, asked(now)), Read: Version{"real", "7"}, Noted: now}, Nothing, 10 * time.Second},
		"RefusedLater":   {"it is not used later, whatever time the note says", View{Real: running(), Wanted: true, Mirror: mirror(t, asked(now.Add(time.Hour))), Read: Version{"real", "7"}, Noted: now.Add(-10 * time.Second)}, Clear, 0},
		"RefusedAway":    {"also while the cluster is away", View{Mirror: mirror(t, asked(now)), Noted: now.Add(-10 * time.Second)}, Clear, 0},
		"RefusedOther":   {"another cluster's is none of ours", View{Mirror: mirror(t, asked(now), elsewhere), Noted: now.Add(-10 * time.Second)}, Nothing, 0},
		"DeletedAWhile":  {"what was deleted keeps its note", View{Real: terminating, Wanted: true, Mirror: mirror(t, asked(later), going(later)), Read: Version{"real", "7"}, Noted: later}, Nothing, 0},
		"RemovedOurself": {"this manager removes it, though somebody was refused just now", View{Real: running(), Wanted: true, Removed: true, Mirror: mirror(t, asked(now), once(now))}, Nothing, 0},
		"ForcedThen":     {"a person deleted it, and does not wait", View{Real: terminating, Wanted: true, Mirror: mirror(t, shortened(now, 30, 0), once(now))}, Delete, 0},
		"ForcedThenPass": {"that is passed on", View{Real: terminating, Wanted: true, Mirror: mirror(t, shortened(now, 60, 30), going(now)), Read: Version{"real", "7"}}, Nothing, 0},
		"ForcedThenLate": {"the cluster was away", View{Real: terminating, Wanted: true, Mirror: mirror(t, shortened(later, 30, 0), once(later)), Read: Version{"real", "7"}}, Nothing, 0},
		"ForcedThenGone": {"and the mirror has gone", View{Real: terminating, Wanted: true, Deleted: Deletion{UID: "real", At: now, Grace: ptr.To[int64](0)}}, Delete, 0},
		"ForcedBefore":   {"it was made again before it was known how the last one went", View{Real: running(), Wanted: true, Mirror: mirror(t), Read: Version{"real", "7"}, Deleted: Deletion{UID: "real", At: now, Grace: ptr.To[int64](0)}}, Delete, 0},
		"BeforeAndDone":  {"and that is passed on", View{Real: terminating, Wanted: true, Mirror: mirror(t), Read: Version{"real", "7"}, Deleted: Deletion{UID: "real", At: now, Grace: ptr.To[int64](30)}}, Nothing, 0},
		"BeforeAnother":  {"of another real pod", View{Real: running(), Wanted: true, Mirror: mirror(t), Read: Version{"real", "7"}, Deleted: Deletion{UID: "another", At: now}}, Nothing, 0},
		"BeforeCordoned": {"it is being drained", View{Real: running(), Wanted: true, Cordoned: true, Mirror: mirror(t), Read: Version{"real", "7"}, Deleted: Deletion{UID: "real", At: now}}, Nothing, 0},
		"BeforeLongAgo":  {"a manager that was away", View{Real: running(), Wanted: true, Mirror: mirror(t), Read: Version{"real", "7"}, Deleted: Deletion{UID: "real", At: now.Add(-time.Minute)}}, Nothing, 0},
		"ForcedUnsure":   {"it is not known by whom", View{Real: running(), Wanted: true, Deleted: Deletion{UID: "real", At: now, Unsure: true}}, Show, 0},
		"DeletedBefore":  {"it was going before anybody asked", View{Real: running(), Wanted: true, Mirror: mirror(t, asked(now), going(now.Add(-10*time.Second)))}, Remove, 0},
		"AwayTenMinutes": {"the manager was away", View{Real: running(), Wanted: true, Mirror: mirror(t, asked(now.Add(-10*time.Minute)), going(now.Add(-10*time.Minute)))}, Remove, 0},
		"Drained":        {"the node is drained", View{Real: running(), Wanted: true, Cordoned: true, Mirror: mirror(t, asked(now), going(now))}, Remove, 0},
		"Forced":         {"deleted at once by a person", View{Real: running(), Wanted: true, Deleted: Deletion{UID: "real", At: now}}, Delete, 0},
		"ForcedDrain":    {"drained at once", View{Real: running(), Wanted: true, Deleted: Deletion{UID: "real", At: now}, Cordoned: true}, Show, 0},
		"ForcedLongAgo":  {"and the cluster was away", View{Real: running(), Wanted: true, Deleted: Deletion{UID: "real", At: now.Add(-time.Minute)}}, Show, 0},
		"ForcedPassed":   {"it goes", View{Real: terminating, Wanted: true, Deleted: Deletion{UID: "real", At: now}}, Nothing, 0},
		"ForcedOther":    {"it was another pod", View{Real: running(), Wanted: true, Deleted: Deletion{UID: "old", At: now}}, Show, 0},
	} {
		t.Run(name, func(t *testing.T) {
			tc.view.Cluster, tc.view.Now = "cluster1", now
			if step, after := Next(tc.view); step != tc.want || after != tc.after {
				t.Errorf("%s: got %s after %s, want %s after %s", tc.reason, step, after, tc.want, tc.after)
			}
		})
	}
}

func TestRank(t *testing.T) {
	now := ended.Add(time.Hour)
	aged := func(age time.Duration) *corev1.Pod {
		pod := running()
		pod.CreationTimestamp = metav1.NewTime(now.Add(-age))
		return pod
	}
	for name, tc := range map[string]struct {
		reason string
		view   View
		want   int
	}{
		"New":        {"it began", View{Real: aged(time.Second)}, 0},
		"Ahead":      {"the cluster's clock is ahead", View{Real: aged(-time.Hour)}, 0},
		"BeganAway":  {"it began while no manager ran", View{Real: aged(2 * time.Minute)}, -120},
		"Old":        {"it is finished, mostly, and comes later", View{Real: aged(time.Hour)}, -3600},
		"NoTime":     {"a cluster may say anything", View{Real: aged(1 << 62)}, -4611686018},
		"Read":       {"it has changed since this manager has read it", View{Real: aged(time.Hour), Read: Version{"real", "6"}}, 0},
		"Outdated":   {"what is shown is wrong", View{Real: aged(time.Hour), Mirror: mirror(t, func(p *corev1.Pod) { p.Annotations[stellarflow.AnnotationMirrored] = "6" })}, 0},
		"NoStatus":   {"as is one that was only just made", View{Real: aged(time.Hour), Mirror: mirror(t, func(p *corev1.Pod) { delete(p.Annotations, stellarflow.AnnotationMirrored) })}, 0},
		"AsIs":       {"what is shown is right, only too long perhaps", View{Real: aged(time.Hour), Mirror: mirror(t)}, -3600},
		"AsIsAndNew": {"that may go soon", View{Real: aged(30 * time.Second), Mirror: mirror(t)}, 0},
		"Refused":    {"what began comes first", View{Real: aged(time.Hour), Read: Version{"real", "7"}, Refused: Refusal{UID: "real", Until: now}}, -3600},
		"RefusedNew": {"also if that began at the same time", View{Real: aged(-time.Second), Read: Version{"real", "7"}, Refused: Refusal{UID: "real", Until: now}}, -1},
		"Overdue":    {"but not for ever", View{Real: aged(time.Hour), Refused: Refusal{UID: "real", Until: now.Add(-lastBackoff)}}, 0},
		"Unreadable": {"what is shown is wrong", View{Real: aged(time.Hour), Mirror: mirror(t, ofVersion("6")), Refused: Refusal{UID: "real", Until: now}}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			tc.view.Now = now
			if got := Rank(tc.view); got != tc.want {
				t.Errorf("%s: got %d, want %d", tc.reason, got, tc.want)
			}
		})
	}
}

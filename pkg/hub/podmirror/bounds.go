package podmirror

import (
	"time"

	corev1 "k8s.io/api/core/v1"
)

const (
	// pause is how often one mirror is written in the long run, whatever its WEC says of the pod, and atOnce how often without a pause: a pod that
	// lives for a moment is shown in each of its states.
	pause  = time.Second
	atOnce = 5
)

// pace returns when as many writes as there were have had their pauses, with one more at now, given that without it; and how long that one has to
// wait.
func pace(paced, now time.Time) (next time.Time, wait time.Duration) {
	if paced.Before(now) {
		paced = now
	}
	return paced.Add(pause), max(0, paced.Sub(now)-(atOnce-1)*pause)
}

// Since returns since when a pod is finished whose log is archived, as far as it lingers: since this manager sees it so, if it has seen it
// otherwise, or the mirror shows it otherwise. Else since when the WEC says, whose clock may be wrong, but not later than now.
func Since(v View, pod *corev1.Pod) time.Time {
	read := v.Read.UID == pod.UID
	switch ended := Finished(pod); {
	case read && !v.Archived.IsZero():
		return v.Archived
	case !read && (v.Mirror == nil || saved(v.Mirror)) && ended.Before(v.Now):
		return ended
	}
	return v.Now
}

// Strip leaves of a mirrored pod what is looked at: of all that a WEC says, its words above all, the cache needs little. What is left is enough
// for a write of its status too: that leaves the spec as it is. It is a cache.TransformFunc and changes the object it is given.
func Strip(object any) (any, error) {
	mirror, ok := object.(*corev1.Pod)
	if !ok {
		return object, nil
	}
	mirror.ManagedFields = nil
	mirror.Spec = corev1.PodSpec{NodeName: mirror.Spec.NodeName}
	var statuses []corev1.ContainerStatus
	for i := range mirror.Status.ContainerStatuses {
		if status := &mirror.Status.ContainerStatuses[i]; status.Name == waitContainer {
			kept := corev1.ContainerStatus{Name: status.Name}
			if ended := status.State.Terminated; ended != nil {
				kept.State.Terminated = &corev1.ContainerStateTerminated{ExitCode: ended.ExitCode, FinishedAt: ended.FinishedAt}
			}
			statuses = append(statuses, kept)
		}
	}
	mirror.Status = corev1.PodStatus{Phase: mirror.Status.Phase, QOSClass: mirror.Status.QOSClass, Conditions: disrupted(mirror), ContainerStatuses: statuses}
	return mirror, nil
}

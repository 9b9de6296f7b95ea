package podmirror

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/record"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
	"stellarflow.io/stellarflow/pkg/wec"
)

func TestNotPassedOn(t *testing.T) {
	now := ended.Add(time.Hour)
	old := now.Add(-2 * time.Minute)
	forced := Deletion{Mirror: "mirror", UID: "real", At: now}
	unsure, other := forced, forced
	unsure.Unsure, other.UID = true, "other"
	terminating := running()
	going(now)(terminating)
	for name, tc := range map[string]struct {
		view View
		want string
	}{
		"Nobody":      {View{Mirror: mirror(t, going(now))}, ""},
		"NotGoing":    {View{Mirror: mirror(t, asked(now))}, ""},
		"Cordoned":    {View{Mirror: mirror(t, asked(now), going(now)), Cordoned: true}, "node stellarflow-cluster1 is cordoned"},
		"Old":         {View{Mirror: mirror(t, asked(old), going(old))}, "more than a minute ago"},
		"Failed":      {View{Mirror: mirror(t, asked(old), going(old)), Failed: "pods is forbidden"}, "could not be passed on: pods is forbidden: mend that"},
		"TooEarly":    {View{Mirror: mirror(t, asked(now.Add(-5*time.Second)), going(now))}, "began 5s or more after"},
		"Evicted":     {View{Mirror: mirror(t, asked(now), going(now), evicted(corev1.ConditionTrue))}, "that was an eviction"},
		"Other":       {View{Mirror: mirror(t, asked(now), going(now), func(p *corev1.Pod) { p.Labels[stellarflow.LabelMirrorOf] = "old" })}, ""},
		"Gone":        {View{Deleted: forced}, "more than a minute ago"},
		"GoneNode":    {View{Deleted: forced, Cordoned: true}, "node stellarflow-cluster1 is cordoned"},
		"GoneFailed":  {View{Deleted: forced, Failed: "EOF"}, "could not be passed on: EOF"},
		"GoneUnsure":  {View{Deleted: unsure}, "began 5s or more after"},
		"GoneOther":   {View{Deleted: other}, ""},
		"MadeAgain":   {View{Mirror: mirror(t), Deleted: forced, Cordoned: true}, "node stellarflow-cluster1 is cordoned"},
		"GoneNobody":  {View{}, ""},
		"Passed":      {View{Real: terminating, Mirror: mirror(t, asked(now), going(now))}, ""},
		"PassedGone":  {View{Real: terminating, Deleted: forced}, ""},
		"AfterItsEnd": {View{Deleted: forced, Read: Version{"real", "7"}, Archived: now.Add(-Lingers)}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			if tc.view.Real == nil {
				tc.view.Real = running()
			}
			tc.view.Now, tc.view.Cluster, tc.view.Wanted = now, "cluster1", true
			if tc.view.Mirror != nil {
				tc.view.Mirror.UID = "mirror"
			}
			uid, why := NotPassedOn(tc.view)
			if !strings.Contains(why, tc.want) || (why == "") != (tc.want == "") || (uid == "mirror") != (why != "") {
				t.Errorf("%s: %q", uid, why)
			}
		})
	}
}

// TestNotPassedOnIsSaidOnce: of one mirror, while it goes and when it is gone; and what was said is not passed on later.
func TestNotPassedOnIsSaidOnce(t *testing.T) {
	now, key := ended.Add(time.Hour), types.NamespacedName{Namespace: "argo", Name: "hello-main-1"}
	recorder := record.NewFakeRecorder(10)
	p := &pods{Mirrorer: &Mirrorer{Recorder: recorder}, deleted: map[types.NamespacedName]Deletion{}, passed: map[types.NamespacedName]passing{}}
	going, gone := mirror(t, asked(now, 0), once(now)), View{Real: running(), Wanted: true, Cordoned: true, Cluster: "cluster1", Now: now}
	going.UID = "mirror"
	there := gone
	there.Mirror = going
	gone.Deleted = Deletion{Mirror: "mirror", UID: "real", At: now}
	p.deleted[key] = gone.Deleted
	owner := &metav1.PartialObjectMetadata{}
	for _, view := range []View{there, there, gone} {
		p.sayNotPassedOn(key, view, owner)
	}
	if len(recorder.Events) != 1 || len(p.deleted) != 0 {
		t.Errorf("%d events, %v remembered", len(recorder.Events), p.deleted)
	}
	gone.Deleted.Mirror = "another"
	p.sayNotPassedOn(key, gone, owner)
	if len(recorder.Events) != 2 {
		t.Errorf("%d events", len(recorder.Events))
	}
}

// TestUnwatched: what stands in the way for longer is said, with what to do; not what a cluster does that goes away.
func TestUnwatched(t *testing.T) {
	wrapped := func(err error) error { return fmt.Errorf("failed to list pods: %w", err) }
	forbidden := wrapped(apierrors.NewForbidden(corev1.Resource("pods"), "", nil))
	large := wrapped(&wec.TooLargeError{Cluster: "edge", Request: "GET /api/v1/pods", Limit: wec.MaxList})
	internal, refused := wrapped(apierrors.NewInternalError(errors.New("etcd is full"))), wrapped(errors.New("dial tcp 10.0.0.1:6443: connection refused"))
	for name, tc := range map[string]struct {
		reason string
		err    error
		ended  int
		want   string
	}{
		"Forbidden":  {"it is tried again only in a minute", forbidden, 1, "the hub may not watch them: run `stellarflow join edge` again"},
		"Large":      {"once may be chance", large, 1, ""},
		"LargeAgain": {"twice is not", large, 2, "the answer of cluster edge to GET /api/v1/pods is larger than the 64 MiB that are read of a cluster: delete finished Workflows there, whose"},
		"Answer":     {"an API server that starts refuses much", internal, 1, ""},
		"Answers":    {"and this one goes on", internal, 2, "etcd is full"},
		"Away":       {"the probe will tell", refused, 5, ""},
		"NotAway":    {"it has not", refused, 6, "connection refused: check the cluster and the network"},
		"Broken":     {"the probe will tell", nil, 5, ""},
		"Breaks":     {"it has not", nil, 6, "the watch breaks off each time: check the network"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := unwatched("edge", tc.err, tc.ended); !strings.Contains(got, tc.want) || (got == "") != (tc.want == "") {
				t.Errorf("%s: %q, want %q", tc.reason, got, tc.want)
			}
		})
	}
}

package tombstone

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

func sample() Tombstone {
	return Of(types.NamespacedName{Namespace: "argo", Name: "w"}, stellarflow.Placement{
		UID: "hub-1", Policy: "p", Cluster: "cluster1", ClusterID: "id-1", Attempt: 2, WECUID: "wec-1",
	}, time.Date(2026, 3, 4, 5, 6, 7, 89, time.FixedZone("", 3600)))
}

func TestRoundTrip(t *testing.T) {
	for name, change := range map[string]func(*Tombstone){
		"seen":       func(*Tombstone) {},
		"never seen": func(s *Tombstone) { s.WECUID = "" },
	} {
		t.Run(name, func(t *testing.T) {
			want := sample()
			change(&want)
			stored := want.ConfigMap()
			if stored.Labels[stellarflow.LabelTombstone] != "cluster1" || stored.Namespace != stellarflow.SystemNamespace || stored.Name != "tombstone-hub-1-2" {
				t.Errorf("it is stored as %s/%s with labels %v", stored.Namespace, stored.Name, stored.Labels)
			}
			stored.UID, want.Object = "object-1", "object-1"
			got, err := Parse(stored)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if diff := cmp.Diff([]string{"cluster1", "id-1/argo/w"}, IndexConfigMap(stored)); diff != "" {
				t.Errorf("index (-want +got):\n%s", diff)
			}
		})
	}
}

func TestParseRefuses(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*corev1.ConfigMap)
		says   string
	}{
		"no identity":       {func(c *corev1.ConfigMap) { delete(c.Data, keyClusterID) }, "key clusterID is missing"},
		"no namespace":      {func(c *corev1.ConfigMap) { c.Data[keyNamespace] = "" }, "key namespace is missing"},
		"no name":           {func(c *corev1.ConfigMap) { delete(c.Data, keyName) }, "key name is missing"},
		"no hub UID":        {func(c *corev1.ConfigMap) { delete(c.Data, keyHubUID) }, "key hubUID is missing"},
		"no cluster":        {func(c *corev1.ConfigMap) { delete(c.Data, keyCluster) }, "key cluster cluster name \"\" is not a DNS label"},
		"attempt zero":      {func(c *corev1.ConfigMap) { c.Data[keyAttempt] = "0" }, `key attempt is "0", no number from 1`},
		"attempt of words":  {func(c *corev1.ConfigMap) { c.Data[keyAttempt] = "two" }, `key attempt is "two"`},
		"no time":           {func(c *corev1.ConfigMap) { c.Data[keyTime] = "yesterday" }, `key time is "yesterday", no RFC 3339 time`},
		"another's name":    {func(c *corev1.ConfigMap) { c.Name = "tombstone-hub-2-2" }, "does not fit the object's name"},
		"nothing whatever":  {func(c *corev1.ConfigMap) { c.Data = nil }, "key clusterID is missing"},
		"what to do, named": {func(c *corev1.ConfigMap) { c.Data = nil }, "configmap stellarflow-system/tombstone-hub-1-2: key clusterID is missing: delete it"},
	} {
		t.Run(name, func(t *testing.T) {
			stored := sample().ConfigMap()
			test.change(stored)
			if _, err := Parse(stored); err == nil || !strings.Contains(err.Error(), test.says) {
				t.Errorf("it says %v, want %q", err, test.says)
			}
			if values := IndexConfigMap(stored); values != nil {
				t.Errorf("it is in the index as %v", values)
			}
		})
	}
}

func TestCovers(t *testing.T) {
	for name, test := range map[string]struct {
		change  func(*metav1.PartialObjectMetadata)
		neither func(*Tombstone)
		want    bool
	}{
		"the copy":                  {want: true},
		"its UID was never known":   {neither: func(s *Tombstone) { s.WECUID = "" }, want: true},
		"another object":            {change: func(w *metav1.PartialObjectMetadata) { w.UID = "wec-2" }},
		"another hub copy's":        {change: func(w *metav1.PartialObjectMetadata) { w.Annotations[stellarflow.AnnotationHubUID] = "hub-2" }},
		"another attempt":           {change: func(w *metav1.PartialObjectMetadata) { w.Annotations[stellarflow.AnnotationAttempt] = "1" }},
		"nobody's":                  {change: func(w *metav1.PartialObjectMetadata) { w.Annotations = nil }},
		"another name":              {change: func(w *metav1.PartialObjectMetadata) { w.Name = "other" }},
		"the name elsewhere":        {change: func(w *metav1.PartialObjectMetadata) { w.Namespace = "other" }},
		"unknown UID, another's":    {neither: func(s *Tombstone) { s.WECUID = "" }, change: func(w *metav1.PartialObjectMetadata) { w.Annotations[stellarflow.AnnotationHubUID] = "" }},
		"unknown UID, next attempt": {neither: func(s *Tombstone) { s.WECUID = "" }, change: func(w *metav1.PartialObjectMetadata) { w.Annotations[stellarflow.AnnotationAttempt] = "3" }},
	} {
		t.Run(name, func(t *testing.T) {
			stone, wecCopy := sample(), stellarflow.NewWorkflowMetadata()
			wecCopy.Namespace, wecCopy.Name, wecCopy.UID = "argo", "w", "wec-1"
			wecCopy.Annotations = map[string]string{stellarflow.AnnotationHubUID: "hub-1", stellarflow.AnnotationAttempt: "2"}
			if test.change != nil {
				test.change(wecCopy)
			}
			if test.neither != nil {
				test.neither(&stone)
			}
			if got := stone.Covers(wecCopy); got != test.want {
				t.Errorf("covers is %v", got)
			}
		})
	}
	if sample().Covers(nil) {
		t.Error("it covers nothing")
	}
}

func TestVoid(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*metav1.PartialObjectMetadata, *stellarflow.Placement)
		want   bool
	}{
		"it runs on, by the same record": {func(*metav1.PartialObjectMetadata, *stellarflow.Placement) {}, true},
		"it was given up": {func(w *metav1.PartialObjectMetadata, _ *stellarflow.Placement) {
			w.Annotations[stellarflow.AnnotationAbandoned] = "2026-01-01T00:00:00Z"
		}, false},
		"another attempt":             {func(_ *metav1.PartialObjectMetadata, p *stellarflow.Placement) { p.Attempt = 3 }, false},
		"another Workflow's name now": {func(w *metav1.PartialObjectMetadata, p *stellarflow.Placement) { w.UID, p.UID = "hub-2", "hub-2" }, false},
		"no record":                   {func(_ *metav1.PartialObjectMetadata, p *stellarflow.Placement) { p.UID = "hub-0" }, false},
	} {
		t.Run(name, func(t *testing.T) {
			hubCopy := stellarflow.NewWorkflowMetadata()
			hubCopy.UID, hubCopy.Annotations = "hub-1", map[string]string{}
			hubCopy.Labels = map[string]string{stellarflow.LabelCluster: "cluster1"}
			placement := sample().Placement()
			test.change(hubCopy, &placement)
			hubCopy.Annotations[stellarflow.AnnotationPlacement] = placement.String()
			if got := sample().Void(hubCopy); got != test.want {
				t.Errorf("void is %v", got)
			}
		})
	}
	if sample().Void(nil) {
		t.Error("void without a hub copy")
	}
}

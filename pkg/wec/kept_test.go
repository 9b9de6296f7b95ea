package wec

import (
	"fmt"
	"runtime"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

// podOf returns a pod as an API server has it, stripped.
func podOf(i, length int) *metav1.PartialObjectMetadata {
	yes := true
	name := fmt.Sprintf("%0*d", length, i)
	pod := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{
		Namespace: strings.Clone("argo"), Name: name, UID: types.UID(fmt.Sprintf("%036d", i)), ResourceVersion: fmt.Sprintf("%08d", i),
		Labels:          map[string]string{stellarflow.ArgoLabelWorkflow: name[:min(len(name), 63)]},
		OwnerReferences: []metav1.OwnerReference{{Kind: "Workflow", UID: types.UID(fmt.Sprintf("%036d", i)), Controller: &yes}},
	}}
	stripPod(pod)
	return pod
}

// workflowOfMany returns a WEC copy with many labels, annotations and finalizers of no length.
func workflowOfMany(i, elements int) *metav1.PartialObjectMetadata {
	w := stellarflow.NewWorkflowMetadata()
	w.Namespace, w.Name, w.Labels, w.Annotations = "argo", fmt.Sprintf("w-%d", i), map[string]string{}, map[string]string{stellarflow.AnnotationHubUID: fmt.Sprintf("%036d", i)}
	for e := range elements {
		w.Labels[fmt.Sprintf("stellarflow.io/%d", e)], w.Annotations[fmt.Sprintf("stellarflow.io/%d", e)] = "", ""
		w.Finalizers = append(w.Finalizers, "")
	}
	stripWorkflow(w)
	return w
}

func heap() int64 {
	runtime.GC()
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return int64(stats.HeapAlloc) //nolint:gosec // far below
}

// TestCostOf: what is counted for an object is not less than what it takes in the cache, with its indexes and what counts it.
func TestCostOf(t *testing.T) {
	for name, tc := range map[string]struct {
		n    int
		make func(i int) *metav1.PartialObjectMetadata
	}{
		"Pods":       {20000, func(i int) *metav1.PartialObjectMetadata { return podOf(i, 50) }},
		"ShortPods":  {40000, func(i int) *metav1.PartialObjectMetadata { return podOf(i, 1) }},
		"LongPods":   {10000, func(i int) *metav1.PartialObjectMetadata { return podOf(i, 253) }},
		"Workflows":  {20000, func(i int) *metav1.PartialObjectMetadata { return workflowOfMany(i, 1) }},
		"ManyLabels": {500, func(i int) *metav1.PartialObjectMetadata { return workflowOfMany(i, 300) }},
	} {
		t.Run(name, func(t *testing.T) {
			before := heap()
			known := newKept()
			indexer := cache.NewIndexer(cache.DeletionHandlingMetaNamespaceKeyFunc, cache.Indexers{indexHubUID: hubUIDs, indexWorkflow: workflowOf})
			for i := range tc.n {
				object := tc.make(i)
				known.put(object, false)
				if err := indexer.Add(object); err != nil {
					t.Fatal(err)
				}
			}
			taken := heap() - before
			t.Logf("%d objects take %d bytes each, %d are counted", tc.n, taken/int64(tc.n), known.total/int64(tc.n))
			if taken > known.total {
				t.Errorf("%d bytes are counted, %d taken", known.total, taken)
			}
			for _, object := range indexer.List() {
				known.remove(object.(*metav1.PartialObjectMetadata)) //nolint:forcetypeassert // what was put
			}
			if known.total != 0 || len(known.costs) != 0 {
				t.Errorf("of nothing %d bytes are counted", known.total)
			}
		})
	}
}

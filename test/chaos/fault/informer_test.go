package fault

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/metadata/metadatainformer"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

// TestInformerBelievesEmpty: an informer, of the kind that the hub has on a WEC, takes the empty list for the truth.
func TestInformerBelievesEmpty(t *testing.T) {
	b := newBroken(t, "", Setting{Empty: true}, nil)
	client, err := metadata.NewForConfig(&rest.Config{Host: b.url, Transport: b.client.Transport})
	if err != nil {
		t.Fatal(err)
	}
	informer := metadatainformer.NewFilteredMetadataInformer(client, stellarflow.Workflows, metav1.NamespaceAll, 0, cache.Indexers{}, func(*metav1.ListOptions) {}).Informer()
	var last atomic.Value
	last.Store("")
	if err := informer.SetWatchErrorHandlerWithContext(func(_ context.Context, _ *cache.Reflector, err error) { last.Store(err.Error()) }); err != nil {
		t.Fatal(err)
	}
	go informer.RunWithContext(t.Context())
	for deadline := time.Now().Add(20 * time.Second); !informer.HasSynced(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("it does not list, after %d requests: %v", b.served.Load(), last.Load())
		}
	}
}

package podmirror

import (
	"context"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"stellarflow.io/stellarflow/pkg/hub/cluster"
)

// none is a cache that shows nothing.
type none struct{ client.Reader }

func (none) Get(_ context.Context, key client.ObjectKey, _ client.Object, _ ...client.GetOption) error {
	return apierrors.NewNotFound(schema.GroupResource{}, key.Name)
}

// TestPassWhileAway: while it is not known which cluster it is nobody looks at its pods again and again. When it is, all are looked at.
func TestPassWhileAway(t *testing.T) {
	p := &pods{
		Mirrorer: &Mirrorer{Shown: none{}, Now: func() time.Time { return ended }}, connection: &cluster.Connection{Name: "cluster1"},
		read: map[types.NamespacedName]seen{}, passed: map[types.NamespacedName]passing{}, queue: newQueue(),
	}
	defer p.queue.ShutDown()
	if after, err := p.pass(t.Context(), types.NamespacedName{Namespace: "argo", Name: "hello"}, 0); after != 0 || err != nil {
		t.Errorf("it is looked at after %s, %v", after, err)
	}
}

// TestPanic: it is the failure of its pass.
func TestPanic(t *testing.T) {
	if _, err := (&pods{}).pass(t.Context(), types.NamespacedName{Namespace: "argo", Name: "hello"}, 0); err == nil || !strings.Contains(err.Error(), "panic: ") {
		t.Errorf("it fails with %v", err)
	}
}

// TestWorkEnds: it ends whatever is asked for meanwhile.
func TestWorkEnds(t *testing.T) {
	for n := range 300 {
		q := newQueue()
		ctx, end := context.WithCancel(t.Context())
		ended, done := make(chan struct{}), atomic.Int32{}
		go func() {
			work(ctx, q, func(_ context.Context, key types.NamespacedName, _ int) {
				q.AddAfter(key, time.Duration(n%100)*time.Microsecond)
				if done.Add(1) == int32(n%60)+1 {
					end()
				}
			})
			close(ended)
		}()
		for i := range 20 {
			q.Add(types.NamespacedName{Namespace: "argo", Name: strconv.Itoa(i)})
		}
		select {
		case <-ended:
		case <-time.After(20 * time.Second):
			t.Fatalf("the queue of try %d is stuck", n)
		}
	}
}

package podmirror

import (
	"context"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

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

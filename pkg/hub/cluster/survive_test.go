package cluster

import (
	"context"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
)

// panics is a handler that has a flaw, and says what it is told of it.
type panics struct {
	noWork

	told *error
}

func (panics) Sync(context.Context, *Connection, types.NamespacedName) (time.Duration, error) {
	panic("a flaw")
}

func (p panics) Stuck(_ context.Context, _ *Connection, _ types.NamespacedName, err error) error {
	*p.told = err
	return nil
}

// TestPanic: it is the failure of its pass, which is tried again and said.
func TestPanic(t *testing.T) {
	var told error
	key := types.NamespacedName{Namespace: "argo", Name: "hello"}
	c := &Connection{
		handler: panics{told: &told}, now: time.Now,
		queue: workqueue.NewTypedRateLimitingQueue(workqueue.NewTypedItemExponentialFailureRateLimiter[types.NamespacedName](time.Hour, time.Hour)),
	}
	defer c.queue.ShutDown()
	for range patience + 1 {
		c.pass(t.Context(), key)
	}
	if c.queue.NumRequeues(key) != patience+1 || told == nil || !strings.Contains(told.Error(), "panic: a flaw") {
		t.Errorf("tried again %d times, and said %v", c.queue.NumRequeues(key), told)
	}
}

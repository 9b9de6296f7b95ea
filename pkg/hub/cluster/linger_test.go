package cluster

import (
	"context"
	"testing"
	"time"
)

func TestLinger(t *testing.T) {
	type key struct{}
	const ever = time.Hour
	parent, stop := context.WithCancel(context.WithValue(t.Context(), key{}, "value"))
	ctx, cancel := linger(parent, ever)
	if ctx.Value(key{}) != "value" {
		t.Error("what the parent carries is lost")
	}
	stop()
	if ctx.Err() != nil {
		t.Error("the stop cuts off what has begun")
	}
	cancel()
	if ctx.Err() == nil {
		t.Error("a pass that has ended leaves its context open")
	}
	ctx, cancel = linger(parent, 0) // the parent has ended before
	defer cancel()
	select {
	case <-ctx.Done():
	case <-time.After(30 * time.Second):
		t.Error("it goes on for ever after the stop")
	}
}

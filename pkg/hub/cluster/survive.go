package cluster

import (
	"context"
	"fmt"

	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
)

// Survive is deferred by a pass and makes a panic its error, as controller-runtime does for its controllers: what one object, which its WEC or a user
// has written, makes the hub do wrong must not end what it does for all others. The log has the stack.
func Survive(ctx context.Context, err *error) {
	if panicked := recover(); panicked != nil {
		for _, handle := range utilruntime.PanicHandlers {
			handle(ctx, panicked)
		}
		*err = fmt.Errorf("panic: %v (a flaw of the hub manager; its log has more)", panicked)
	}
}

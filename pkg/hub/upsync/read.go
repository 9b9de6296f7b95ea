package upsync

import (
	"context"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

// Read gets a WEC copy from its API server.
func Read(ctx context.Context, wec dynamic.Interface, key types.NamespacedName) (WECCopy, error) {
	object, err := wec.Resource(stellarflow.Workflows).Namespace(key.Namespace).Get(ctx, key.Name, metav1.GetOptions{})
	if err != nil {
		return WECCopy{}, fmt.Errorf("read workflow %s: %w", key, err)
	}
	raw, err := object.MarshalJSON()
	if err != nil {
		return WECCopy{}, fmt.Errorf("read workflow %s: %w", key, err)
	}
	return Decode(raw)
}

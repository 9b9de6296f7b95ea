package upsync

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

// Read gets a WEC copy from its API server. The answer is bounded before it is decoded, which happens once.
func Read(ctx context.Context, wec kubernetes.Interface, key types.NamespacedName) (WECCopy, error) {
	raw, err := wec.Discovery().RESTClient().Get().
		AbsPath("/apis", stellarflow.Workflows.Group, stellarflow.Workflows.Version).Namespace(key.Namespace).
		Resource(stellarflow.Workflows.Resource).Name(key.Name).SetHeader("Accept", "application/json").Do(ctx).Raw()
	if err != nil {
		return WECCopy{}, fmt.Errorf("read workflow %s: %w", key, err)
	}
	return Decode(raw)
}

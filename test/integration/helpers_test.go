package integration

import (
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

func clientPatch(raw []byte) client.Patch { return client.RawPatch(types.MergePatchType, raw) }

func namespaceObject(name string) *corev1.Namespace {
	return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
}

// as is the server's administrator acting as another user.
func (s *server) as(t *testing.T, user string) dynamic.Interface {
	t.Helper()
	config := rest.CopyConfig(s.config)
	config.Impersonate = rest.ImpersonationConfig{UserName: user, Groups: []string{"system:masters", "system:authenticated"}}
	d, err := dynamic.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// touch changes something about a hub copy that nobody decides by, so that it is looked at at once.
func touch(t *testing.T, c *clusters, namespace, name string) {
	t.Helper()
	patch := fmt.Sprintf(`{"metadata":{"annotations":{"touched":"%d"}}}`, time.Now().UnixNano())
	if _, err := c.hub.workflows(namespace).Patch(t.Context(), name, types.MergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
}

func mustPlacement(t *testing.T, w *unstructured.Unstructured) stellarflow.Placement {
	t.Helper()
	record, ok := stellarflow.PlacementOf(w)
	if !ok {
		t.Fatalf("no placement: %s", describe(w))
	}
	return record
}

// address is the host and port of the server, as a request's URL has it.
func (s *server) address() string {
	return strings.Trim(strings.TrimPrefix(s.config.Host, "https://"), "/")
}

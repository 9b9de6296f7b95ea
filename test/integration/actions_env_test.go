package integration

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/dynamic"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
	"stellarflow.io/stellarflow/pkg/hub/guard"
)

// isWebhook reports whether objects of a kind let the API server ask the manager.
func isWebhook(kind string) bool { return strings.HasSuffix(kind, "WebhookConfiguration") }

// serveWebhook lets the hub's API server ask the manager that listens at the returned address, until the test ends.
func (c *clusters) serveWebhook(t *testing.T) (address string) {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address = listener.Addr().String()
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	c.askAt(t, address, 0)
	return address
}

// askAt lets the hub's API server ask at an address until the test ends, and wait for so many seconds; as long as is installed if 0.
func (c *clusters) askAt(t *testing.T, address string, seconds int32) {
	t.Helper()
	rendered, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), "../../config/webhook")
	if err != nil {
		t.Fatal(err)
	}
	for _, resource := range rendered.Resources() {
		if !isWebhook(resource.GetKind()) {
			continue
		}
		raw, err := resource.MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		configuration := &unstructured.Unstructured{}
		if err := configuration.UnmarshalJSON(raw); err != nil {
			t.Fatal(err)
		}
		webhooks, _ := configuration.Object["webhooks"].([]any)
		for i := range webhooks {
			webhook, _ := webhooks[i].(map[string]any)
			path, _, _ := unstructured.NestedString(webhook, "clientConfig", "service", "path")
			webhook["clientConfig"] = map[string]any{"url": "https://" + address + path}
			if seconds > 0 {
				webhook["timeoutSeconds"] = int64(seconds)
			}
		}
		if err := c.hub.client.Create(t.Context(), configuration); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := c.hub.client.Delete(context.Background(), configuration); err != nil {
				t.Error(err)
			}
		})
	}
}

// trust returns the CA that the API server trusts of each webhook.
func (s *server) trust(ctx context.Context) (bundles [][]byte, err error) {
	webhooks := s.core.AdmissionregistrationV1()
	mutating, err := webhooks.MutatingWebhookConfigurations().Get(ctx, guard.Configuration, metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	for i := range mutating.Webhooks {
		bundles = append(bundles, mutating.Webhooks[i].ClientConfig.CABundle)
	}
	validating, err := webhooks.ValidatingWebhookConfigurations().Get(ctx, guard.Configuration, metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	for i := range validating.Webhooks {
		bundles = append(bundles, validating.Webhooks[i].ClientConfig.CABundle)
	}
	return bundles, nil
}

// trusted waits until the API server asks the webhook with success.
func (c *clusters) trusted(t *testing.T, ns, name string) {
	t.Helper()
	eventually(t, "the webhook to be trusted", func(ctx context.Context) (bool, string) {
		_, err := c.hub.workflows(ns).Patch(ctx, name, "application/merge-patch+json", []byte(`{"status":{"progress":"7/7"}}`), metav1.PatchOptions{DryRun: []string{metav1.DryRunAll}})
		return err != nil && strings.Contains(err.Error(), "would be overwritten"), fmt.Sprint(err)
	})
}

// argoServer changes a Workflow as Argo's server and CLI do: read, changed as their types are, and written whole.
func argoServer(ctx context.Context, client dynamic.Interface, ns, name string, change func(*v1alpha1.Workflow)) (*unstructured.Unstructured, error) {
	workflows := client.Resource(stellarflow.Workflows).Namespace(ns)
	read, err := workflows.Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	var workflow v1alpha1.Workflow
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(read.Object, &workflow); err != nil {
		return nil, err
	}
	change(&workflow)
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&workflow)
	if err != nil {
		return nil, err
	}
	return workflows.Update(ctx, &unstructured.Unstructured{Object: content}, metav1.UpdateOptions{})
}

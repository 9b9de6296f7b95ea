package integration

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	clusterv1 "open-cluster-management.io/api/cluster/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

// network cuts WECs off, by their address.
type network struct{ down sync.Map }

func (n *network) wrap(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(r *http.Request) (*http.Response, error) {
		if _, cut := n.down.Load(r.URL.Host); cut {
			return nil, errInjected
		}
		return next.RoundTrip(r)
	})
}

// cut takes a WEC away from the manager and waits until the hub says so.
func (n *network) cut(t *testing.T, c *clusters, cluster string) {
	t.Helper()
	n.down.Store(c.wecs[cluster].address(), true)
	c.waitConnected(t, cluster, metav1.ConditionFalse)
}

func (n *network) heal(t *testing.T, c *clusters, cluster string) {
	t.Helper()
	n.down.Delete(c.wecs[cluster].address())
	c.waitConnected(t, cluster, metav1.ConditionTrue)
}

func (c *clusters) waitConnected(t *testing.T, cluster string, status metav1.ConditionStatus) {
	t.Helper()
	eventually(t, fmt.Sprintf("%s to be connected: %s", cluster, status), func(ctx context.Context) (bool, string) {
		var managed clusterv1.ManagedCluster
		if err := c.hub.client.Get(ctx, client.ObjectKey{Name: cluster}, &managed); err != nil {
			return false, err.Error()
		}
		for _, condition := range managed.Status.Conditions {
			if condition.Type == stellarflow.ConditionConnected {
				return condition.Status == status, condition.Message
			}
		}
		return false, "no condition"
	})
}

// annotate writes an annotation on the hub as a user who may patch Workflows and nothing else; empty removes it.
func (c *clusters) annotate(t *testing.T, user, namespace, name, key, value string) {
	t.Helper()
	quoted := "null"
	if value != "" {
		quoted = fmt.Sprintf("%q", value)
	}
	patch := fmt.Sprintf(`{"metadata":{"annotations":{%q:%s}}}`, key, quoted)
	if _, err := c.hub.as(t, user).Resource(stellarflow.Workflows).Namespace(namespace).Patch(t.Context(), name, types.MergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
		t.Fatalf("annotate %s: %v", name, err)
	}
}

// ask requests something of a Workflow, as a person does.
func (c *clusters) ask(t *testing.T, namespace, name, request string) {
	t.Helper()
	c.annotate(t, "alice", namespace, name, stellarflow.AnnotationRequest, request)
}

// tombstones returns what is left of the Workflows of a namespace that were given up.
func (c *clusters) tombstones(ctx context.Context, namespace string) []corev1.ConfigMap {
	var list corev1.ConfigMapList
	if err := c.hub.client.List(ctx, &list, client.InNamespace(stellarflow.SystemNamespace), client.HasLabels{stellarflow.LabelTombstone}); err != nil {
		return nil
	}
	var found []corev1.ConfigMap
	for i := range list.Items {
		if list.Items[i].Data["namespace"] == namespace {
			found = append(found, list.Items[i])
		}
	}
	return found
}

func (c *clusters) waitTombstones(t *testing.T, namespace string, wanted int) {
	t.Helper()
	eventually(t, fmt.Sprintf("%d tombstones", wanted), func(ctx context.Context) (bool, string) {
		n := len(c.tombstones(ctx, namespace))
		return n == wanted, fmt.Sprint(n)
	})
}

// waitEvent waits for an event on a hub copy whose reason and note are as wanted.
func (c *clusters) waitEvent(t *testing.T, namespace, name, reason, part string) {
	t.Helper()
	eventually(t, fmt.Sprintf("event %s %q", reason, part), func(ctx context.Context) (bool, string) {
		list, err := c.hub.core.EventsV1().Events(namespace).List(ctx, metav1.ListOptions{})
		if err != nil {
			return false, err.Error()
		}
		var seen []string
		for i := range list.Items {
			event := &list.Items[i]
			if event.Regarding.Name == name {
				seen = append(seen, event.Reason+": "+event.Note)
				if event.Reason == reason && strings.Contains(event.Note, part) {
					return true, ""
				}
			}
		}
		return false, strings.Join(seen, "\n")
	})
}

func isAbandoned(w *unstructured.Unstructured) bool {
	return phase(w) == "Error" && strings.HasPrefix(message(w), "given up on request: it may still run on cluster cluster1, and is removed there") &&
		w.GetAnnotations()[stellarflow.AnnotationAbandoned] != "" && w.GetAnnotations()[stellarflow.AnnotationRequest] == "" &&
		w.GetLabels()[stellarflow.ArgoLabelCompleted] == "true" && !hasFinalizer(w, stellarflow.FinalizerCleanup)
}

// leaves removes a cluster from the hub, as `stellarflow leave` does.
func (c *clusters) leaves(t *testing.T, cluster string) {
	t.Helper()
	for _, object := range []client.Object{
		&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: stellarflow.SystemNamespace, Name: stellarflow.CredentialName(stellarflow.ClusterName(cluster))}},
		&clusterv1.ManagedCluster{ObjectMeta: metav1.ObjectMeta{Name: cluster}},
	} {
		if err := c.hub.client.Delete(t.Context(), object); err != nil {
			t.Fatal(err)
		}
	}
}

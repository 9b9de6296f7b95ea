package chaos

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	clusterv1 "open-cluster-management.io/api/cluster/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"stellarflow.io/stellarflow/pkg/apis/control/v1alpha1"
	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
	"stellarflow.io/stellarflow/pkg/hub"
	"stellarflow.io/stellarflow/pkg/wec"
)

var workflows = stellarflow.Workflows

// join makes the WECs known to the hub under the addresses of this run's proxies, and the policies of DESIGN.md §2: one for each
// cluster, and one for any of them.
func (r *run) join(ctx context.Context, namespaces ...string) error {
	scheme, err := hub.NewScheme()
	if err != nil {
		return err
	}
	c, err := client.New(r.fleet.hub().config, client.Options{Scheme: scheme})
	if err != nil {
		return err
	}
	objects := []client.Object{policy("any", map[string]string{"location-group": "edge"})}
	for _, name := range clusterNames {
		s := r.fleet.servers[name]
		token, err := s.accountToken(ctx, stellarflow.SystemNamespace, "stellarflow")
		if err != nil {
			return err
		}
		kubeconfig, err := wec.MinimalKubeconfig("https://"+r.proxies[name].address(), s.config.CAData, token)
		if err != nil {
			return err
		}
		objects = append(objects, policy(name, map[string]string{"name": name}), &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{
				Namespace: stellarflow.SystemNamespace, Name: stellarflow.CredentialName(stellarflow.ClusterName(name)),
				Labels: map[string]string{stellarflow.LabelManagedCluster: name},
			},
			Data: map[string][]byte{stellarflow.SecretKeyKubeconfig: kubeconfig},
		}, &clusterv1.ManagedCluster{
			ObjectMeta: metav1.ObjectMeta{
				Name: name, Labels: map[string]string{"name": name, "location-group": "edge"},
				Annotations: map[string]string{stellarflow.AnnotationNamespaces: strings.Join(namespaces, ",")},
			},
			Spec: clusterv1.ManagedClusterSpec{HubAcceptsClient: true},
		})
	}
	for _, object := range objects {
		if err := replace(ctx, c, object); err != nil {
			return err
		}
	}
	return nil
}

// connected waits until the manager uses every WEC.
func (r *run) connected(ctx context.Context) error {
	const within = 90 * time.Second
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	clusters := r.fleet.hub().dynamic.Resource(schema.GroupVersionResource{Group: clusterv1.GroupName, Version: "v1", Resource: "managedclusters"})
	for _, name := range clusterNames {
		for {
			managed, err := clusters.Get(ctx, name, metav1.GetOptions{})
			if err == nil && isConnected(managed) {
				break
			}
			if pause(ctx, 100*time.Millisecond) != nil {
				return fmt.Errorf("the manager is not connected with %s after %v: %v (%w)", name, within, managed, err)
			}
		}
	}
	return nil
}

func isConnected(managed *unstructured.Unstructured) bool {
	conditions, _, _ := unstructured.NestedSlice(managed.Object, "status", "conditions")
	return slices.ContainsFunc(conditions, func(c any) bool {
		condition, ok := c.(map[string]any)
		return ok && condition["type"] == stellarflow.ConditionConnected && condition["status"] == "True"
	})
}

func policy(name string, clusterLabels map[string]string) *v1alpha1.BindingPolicy {
	return &v1alpha1.BindingPolicy{
		ObjectMeta: metav1.ObjectMeta{Name: "workflows-" + name},
		Spec: v1alpha1.BindingPolicySpec{
			WantSingletonReportedState: true,
			ClusterSelectors:           []metav1.LabelSelector{{MatchLabels: clusterLabels}},
			Downsync: []v1alpha1.DownsyncPolicyClause{{DownsyncObjectTest: v1alpha1.DownsyncObjectTest{
				ObjectSelectors: []metav1.LabelSelector{{MatchLabels: map[string]string{"kubestellar.io/cluster": name}}},
			}}},
		},
	}
}

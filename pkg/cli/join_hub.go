package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	clusterv1 "open-cluster-management.io/api/cluster/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

// ocmClusterID is the claim in which Open Cluster Management keeps a cluster's identity.
const ocmClusterID = "id.k8s.io"

// hubInstalled refuses a hub that was not installed.
func hubInstalled(ctx context.Context, hub client.Client) error {
	err := hub.Get(ctx, systemNamespace(), &corev1.Namespace{})
	if apierrors.IsNotFound(err) {
		return fmt.Errorf("the hub has no namespace %s: run `stellarflow install` there first, or name the right hub with --hub-kubeconfig", stellarflow.SystemNamespace)
	}
	if err != nil {
		return fmt.Errorf("look for the hub's installation: %w", err)
	}
	if err := hub.List(ctx, &clusterv1.ManagedClusterList{}, client.Limit(1)); err != nil {
		if isNoMatch(err) {
			return errors.New("the hub does not serve ManagedClusters: run `stellarflow install` there first")
		}
		return fmt.Errorf("list managed clusters: %w", err)
	}
	return nil
}

// checkIdentity refuses the hub itself, a cluster that was joined under another name, and a name that is another cluster's.
func checkIdentity(ctx context.Context, hub client.Client, name string, id types.UID) error {
	var system corev1.Namespace
	if err := hub.Get(ctx, client.ObjectKey{Name: metav1.NamespaceSystem}, &system); err != nil {
		return fmt.Errorf("read the hub's namespace kube-system: %w", err)
	}
	if system.UID == id {
		return fmt.Errorf("cluster %q is the hub itself (UID of kube-system %s): the hub runs Workflows that no policy selects; join another cluster", name, id)
	}
	var clusters clusterv1.ManagedClusterList
	if err := hub.List(ctx, &clusters); err != nil {
		return fmt.Errorf("list managed clusters: %w", err)
	}
	for i := range clusters.Items {
		known := &clusters.Items[i]
		switch knownID := clusterID(known); {
		case knownID == "":
		case known.Name != name && knownID == string(id):
			return fmt.Errorf("cluster %q is joined already, as %q: use that name, or run `stellarflow leave %s` first", name, known.Name, known.Name)
		case known.Name == name && knownID != string(id):
			return fmt.Errorf("the name %q is another cluster's (UID of kube-system %s, this one's is %s): use another name, or run `stellarflow leave %s` first", name, knownID, id, name)
		}
	}
	return nil
}

// clusterID is the identity of a ManagedCluster, empty if nobody recorded it.
func clusterID(cluster *clusterv1.ManagedCluster) string {
	if id := cluster.Annotations[stellarflow.AnnotationClusterID]; id != "" {
		return id
	}
	for _, claim := range cluster.Status.ClusterClaims {
		if claim.Name == ocmClusterID {
			return claim.Value
		}
	}
	return ""
}

// record stores the credential and the ManagedCluster on the hub. A ManagedCluster that somebody else created gets our
// labels and annotations, but not the mark by which leave deletes it.
func (j *joining) record(ctx context.Context, kubeconfig []byte) error {
	var existing clusterv1.ManagedCluster
	err := j.hub.Get(ctx, client.ObjectKey{Name: j.name}, &existing)
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("read managed cluster %s: %w", j.name, err)
	}
	if len(j.namespaces) == 0 { // a join that renews the token takes no namespace away
		j.namespaces = acceptedNamespaces(&existing)
	}
	if len(j.labels) == 0 { // and no label: policies select by them
		j.labels = ownLabels(&existing)
	}
	j.labels["name"] = j.name
	labels := map[string]any{}
	for key, value := range j.labels {
		labels[key] = value
	}
	if apierrors.IsNotFound(err) || isOurs(&existing) {
		labels[labelPartOf] = partOf
	}
	annotations := map[string]any{stellarflow.AnnotationClusterID: string(j.facts.ID), stellarflow.AnnotationNamespaces: strings.Join(j.namespaces, ",")}
	if j.facts.Argo != "" {
		annotations[stellarflow.AnnotationArgoVersion] = j.facts.Argo
	}
	key := credentialKey(j.name)
	return apply(ctx, j.hub, []*unstructured.Unstructured{
		{Object: map[string]any{
			"apiVersion": "cluster.open-cluster-management.io/v1", "kind": "ManagedCluster",
			"metadata": map[string]any{"name": j.name, "labels": labels, "annotations": annotations},
			"spec":     map[string]any{"hubAcceptsClient": true},
		}},
		{Object: map[string]any{
			"apiVersion": "v1", "kind": "Secret", "type": "Opaque",
			"metadata": map[string]any{
				"name": key.Name, "namespace": key.Namespace,
				"labels": map[string]any{stellarflow.LabelManagedCluster: j.name, labelPartOf: partOf},
			},
			"stringData": map[string]any{stellarflow.SecretKeyKubeconfig: string(kubeconfig)},
		}},
	})
}

// acceptedNamespaces are those that a join has written on a ManagedCluster.
func acceptedNamespaces(cluster *clusterv1.ManagedCluster) []string {
	return strings.FieldsFunc(cluster.Annotations[stellarflow.AnnotationNamespaces], func(r rune) bool { return r == ',' || r == ' ' })
}

// ownLabels are the labels of a ManagedCluster that --labels gives; the map is the caller's.
func ownLabels(cluster *clusterv1.ManagedCluster) map[string]string {
	labels := map[string]string{}
	for key, value := range cluster.Labels {
		if key != "name" && !reservedLabel(key) {
			labels[key] = value
		}
	}
	return labels
}

// reservedLabel reports whether a label's key is none that --labels may give.
func reservedLabel(key string) bool { return stellarflow.IsOurs(key) || key == labelPartOf }

// waitConnected waits until the hub manager says that it is connected.
func waitConnected(ctx context.Context, env Env, hub client.Client, name string, limit time.Duration) error {
	said, err := poll(ctx, limit, func(ctx context.Context) (bool, string, error) {
		var cluster clusterv1.ManagedCluster
		if err := hub.Get(ctx, client.ObjectKey{Name: name}, &cluster); err != nil {
			return false, "", fmt.Errorf("read managed cluster %s: %w", name, err)
		}
		status, message := connection(&cluster)
		return status == statusReady, message, nil
	})
	if err == nil {
		env.sayf("the hub is connected to %s", name)
		return nil
	}
	if !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return fmt.Errorf("%s is joined, but the hub is not connected to it after %s: %s", name, limit, said)
}

// Words for the state of a cluster beside the reasons of the hub manager.
const (
	statusReady   = "Ready"
	statusUnknown = "Unknown"
)

// connection is the state of a cluster as a word and a sentence.
func connection(cluster *clusterv1.ManagedCluster) (status, message string) {
	condition := meta.FindStatusCondition(cluster.Status.Conditions, stellarflow.ConditionConnected)
	switch {
	case condition == nil:
		return statusUnknown, "the hub manager has not looked at it yet: check that it runs (`kubectl -n " + stellarflow.SystemNamespace + " get pods`) and that the cluster was joined"
	case condition.Status == metav1.ConditionTrue:
		return statusReady, condition.Message
	}
	return condition.Reason, condition.Message
}

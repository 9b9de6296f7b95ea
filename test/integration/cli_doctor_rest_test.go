package integration

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	applycorev1 "k8s.io/client-go/applyconfigurations/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

// otherCRD is a CRD of somebody else.
const otherCRD = "others.control.kubestellar.io"

// merges returns what merges a patch into an object without a namespace or in one of ours.
func (s *server) merges(resource, namespace, name, patch string, subresources ...string) func(*testing.T) error {
	return func(t *testing.T) error {
		_, err := s.dynamic.Resource(breakable[resource]).Namespace(namespace).Patch(t.Context(), name, types.MergePatchType, []byte(patch), metav1.PatchOptions{}, subresources...)
		return err
	}
}

// argoConfigMap returns what gives the Argo controller of a cluster a database.
func (s *server) argoConfigMap(persistence string) func(*testing.T) error {
	return func(t *testing.T) error {
		configMap := applycorev1.ConfigMap("workflow-controller-configmap", "argo").WithData(map[string]string{"persistence": persistence})
		_, err := s.core.CoreV1().ConfigMaps("argo").Apply(t.Context(), configMap, metav1.ApplyOptions{FieldManager: "test"})
		return err
	}
}

// withoutArgo removes Argo's CRD, and back brings it.
func (s *server) withoutArgo(t *testing.T) error {
	name := stellarflow.Workflows.GroupResource().String()
	if err := s.dynamic.Resource(crdResource).Delete(t.Context(), name, metav1.DeleteOptions{}); err != nil {
		return err
	}
	eventually(t, "Argo's CRD to be gone", func(ctx context.Context) (bool, string) {
		_, err := s.dynamic.Resource(crdResource).Get(ctx, name, metav1.GetOptions{})
		return apierrors.IsNotFound(err), fmt.Sprint(err)
	})
	return nil
}

func (s *server) back(t *testing.T) error {
	_, err := envtest.InstallCRDs(s.config, envtest.CRDInstallOptions{Paths: []string{argoCRDs(t)}, ErrorIfPathMissing: true})
	return err
}

// clusterBreakages are about clusters. What would need a clock, a network or a manager to break is written where doctor reads it; test/e2e
// has all of them.
func clusterBreakages(c *commandLine, wec1 *server) []breakage {
	hub, system := c.hub, stellarflow.SystemNamespace
	annotate := func(key, value string) func(*testing.T) error {
		return hub.merges("managedclusters", "", "cluster1", fmt.Sprintf(`{"metadata":{"annotations":{%q:%q}}}`, key, value))
	}
	return []breakage{
		{id: "cluster-leftover", spoil: func(t *testing.T) error {
			_, err := hub.core.CoreV1().Secrets(system).Create(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{
				Name: "cluster-left", Labels: map[string]string{stellarflow.LabelManagedCluster: "left"},
			}}, metav1.CreateOptions{})
			return err
		}},
		{id: "cluster-credential-rejected", spoil: func(t *testing.T) error { // the token is of an account that is no more
			if err := wec1.core.CoreV1().Secrets(system).Delete(t.Context(), "stellarflow-token", metav1.DeleteOptions{}); err != nil {
				return err
			}
			return wec1.core.CoreV1().ServiceAccounts(system).Delete(t.Context(), "stellarflow", metav1.DeleteOptions{})
		}},
		{id: "cluster-argo-differs", spoil: annotate(stellarflow.AnnotationArgoVersion, "v3.6.0")},
		{
			id:    "cluster-changed",
			spoil: annotate(stellarflow.AnnotationClusterID, "of-another-cluster"),
			mend:  func(t *testing.T) error { return annotate(stellarflow.AnnotationClusterID, systemUID(t, wec1))(t) },
		},
		{
			id:    "cluster-clock",
			spoil: func(*testing.T) error { c.ahead = 5 * time.Minute; return nil },
			mend:  func(*testing.T) error { c.ahead = 0; return nil },
		},
		{
			id: "cluster-lease",
			spoil: func(t *testing.T) error {
				return wec1.merges("leases", system, "stellarflow-hub-"+systemUID(t, hub), `{"spec":{"holderIdentity":""}}`)(t)
			},
			mend: func(t *testing.T) error {
				return wec1.merges("leases", system, "stellarflow-hub-"+systemUID(t, hub), `{"spec":{"holderIdentity":"somebody"}}`)(t)
			},
		},
		{
			id: "cluster-not-connected",
			spoil: hub.merges("managedclusters", "", "cluster1", fmt.Sprintf(
				`{"status":{"conditions":[{"type":%q,"status":"False","reason":"Unreachable","message":"m","lastTransitionTime":"2026-01-01T00:00:00Z"}]}}`, stellarflow.ConditionConnected), "status"),
			mend: func(t *testing.T) error { ready(t, hub, "cluster1"); return nil },
		},
		{id: "service-account-missing", spoil: func(t *testing.T) error {
			return wec1.core.CoreV1().ServiceAccounts("argo").Delete(t.Context(), "default", metav1.DeleteOptions{})
		}},
		{id: "repository-other-bucket", spoil: wec1.merges("configmaps", "argo", "artifact-repositories", `{"data":{"stellarflow":"s3: {bucket: mine, endpoint: elsewhere}"}}`)},
		{id: "cluster-argo-missing", spoil: wec1.withoutArgo, mend: wec1.back}, // the remedy fetches Argo's CRDs from its repository
	}
}

// workflowBreakages are about what waits, without a manager that would attend to it.
func workflowBreakages(c *commandLine, wec1 *server) []breakage {
	hub := c.hub
	manager := func(name, patch string) func(*testing.T) error {
		return func(t *testing.T) error {
			_, err := patchWorkflow(t.Context(), hub.as(t, hubManager), name, patch)
			return err
		}
	}
	annotated := func(key, value string) func(*testing.T) error {
		return manager("waits", fmt.Sprintf(`{"metadata":{"annotations":{%q:%s}}}`, key, value))
	}
	return []breakage{
		{
			id: "workflows-not-synced",
			spoil: func(t *testing.T) error {
				placed(t, hub, "waits")
				return annotated(stellarflow.AnnotationSync, `"cluster1 cannot be reached"`)(t)
			},
			mend: annotated(stellarflow.AnnotationSync, "null"),
		},
		{id: "request-unanswered", spoil: annotated(stellarflow.AnnotationRequest, `"move"`), mend: annotated(stellarflow.AnnotationRequest, "null")},
		{
			id: "workflow-not-deleted",
			spoil: func(t *testing.T) error {
				c.ahead = 6 * time.Minute
				return workflows(hub.dynamic).Delete(t.Context(), "waits", metav1.DeleteOptions{})
			},
			mend: func(t *testing.T) error {
				c.ahead = 0
				return manager("waits", `{"metadata":{"finalizers":null}}`)(t)
			},
		},
		{id: "tombstone-waits", spoil: func(t *testing.T) error {
			_, err := hub.core.CoreV1().ConfigMaps(stellarflow.SystemNamespace).Create(t.Context(), &corev1.ConfigMap{
				ObjectMeta: metav1.ObjectMeta{Name: "tombstone-u-1", Labels: map[string]string{stellarflow.LabelTombstone: "cluster1"}},
				Data:       map[string]string{"namespace": "default", "name": "lost", "time": "2026-01-01T00:00:00Z"},
			}, metav1.CreateOptions{})
			return err
		}},
		{
			id: "orphan",
			spoil: func(t *testing.T) error {
				orphan := guardedWorkflow("stray")
				orphan.SetLabels(map[string]string{stellarflow.LabelOrigin: systemUID(t, hub)})
				orphan.SetAnnotations(map[string]string{stellarflow.AnnotationHubUID: "nobody-s", stellarflow.AnnotationAttempt: "1"})
				_, err := workflows(wec1.dynamic).Create(t.Context(), orphan, metav1.CreateOptions{})
				return err
			},
			mend: func(*testing.T) error { // e2e adopts one
				c.must([]string{"deleted"}, "orphans", "delete", "cluster1", "default/stray", "--kubeconfig=DIR/hub.kubeconfig")
				return nil
			},
		},
	}
}

// hubBreakages are about the hub itself.
func hubBreakages(c *commandLine) []breakage {
	hub, system := c.hub, stellarflow.SystemNamespace
	return []breakage{
		{id: "hub-object-differs", spoil: func(t *testing.T) error {
			_, err := hub.dynamic.Resource(breakable["clusterroles"]).Patch(t.Context(), "stellarflow-hub", types.JSONPatchType,
				[]byte(`[{"op":"add","path":"/rules/-","value":{"apiGroups":[""],"resources":["nodes"],"verbs":["list"]}}]`), metav1.PatchOptions{})
			return err
		}},
		{id: "argo-archive-differs", spoil: hub.argoConfigMap("archive: true\npostgresql: {host: db}")},
		{id: "argo-archive-differs", spoil: hub.argoConfigMap("archive: true\narchiveLabelSelector: {matchLabels: {team: a}}")},
		{id: "argo-archive-differs", spoil: hub.argoConfigMap("nodeStatusOffLoad: true")},
		{id: "hub-crd-not-served", spoil: hub.twoOfAName, mend: hub.oneOfAName}, // the remedy says whose name it is
		{id: "manager-scaled-to-zero", spoil: hub.merges("deployments", system, "stellarflow-hub", `{"spec":{"replicas":0}}`)},
		{
			id:    "manager-unavailable",
			spoil: hub.merges("deployments", system, "stellarflow-hub", `{"status":{"availableReplicas":0,"readyReplicas":0}}`, "status"),
			mend:  func(t *testing.T) error { rolledOutByHand(t, hub); return nil },
		},
		{
			id:    "manager-no-leader",
			spoil: hub.merges("leases", system, "stellarflow-hub", `{"spec":{"holderIdentity":""}}`),
			mend:  hub.merges("leases", system, "stellarflow-hub", `{"spec":{"holderIdentity":"somebody"}}`),
		},
		{id: "hub-argo-missing", spoil: hub.withoutArgo, mend: hub.back},
	}
}

// twoOfAName lets another CRD have the kind of CustomTransform before ours is created again; oneOfAName takes it away.
func (s *server) twoOfAName(t *testing.T) error {
	crds := s.dynamic.Resource(crdResource)
	ours, err := crds.Get(t.Context(), "customtransforms.control.kubestellar.io", metav1.GetOptions{})
	if err != nil {
		return err
	}
	if err := crds.Delete(t.Context(), ours.GetName(), metav1.DeleteOptions{}); err != nil {
		return err
	}
	ours.SetResourceVersion("")
	ours.SetUID("")
	ours.SetManagedFields(nil)
	delete(ours.Object, "status")
	theirs := ours.DeepCopy()
	theirs.SetName(otherCRD)
	_ = unstructured.SetNestedField(theirs.Object, "others", "spec", "names", "plural")
	for _, crd := range []*unstructured.Unstructured{theirs, ours} {
		eventually(t, "CRD "+crd.GetName()+" to be created and judged", func(ctx context.Context) (bool, string) {
			_, createErr := crds.Create(ctx, crd, metav1.CreateOptions{}) // ours is there until its deletion is done
			now, err := crds.Get(ctx, crd.GetName(), metav1.GetOptions{})
			if err != nil || now.GetDeletionTimestamp() != nil {
				return false, fmt.Sprint(createErr, err)
			}
			conditions, _, _ := unstructured.NestedSlice(now.Object, "status", "conditions")
			accepted := slices.ContainsFunc(conditions, func(entry any) bool {
				condition, _ := entry.(map[string]any)
				return condition["type"] == "NamesAccepted" && condition["status"] == "True"
			})
			// Theirs has to have the names before ours asks for them: while ours was still being deleted, it had not.
			return len(conditions) > 0 && (accepted || crd == ours), fmt.Sprint(conditions)
		})
	}
	return nil
}

func (s *server) oneOfAName(t *testing.T) error {
	return s.dynamic.Resource(crdResource).Delete(t.Context(), otherCRD, metav1.DeleteOptions{})
}

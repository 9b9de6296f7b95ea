package e2e

import "fmt"

// breakage is a command on a cluster, and what doctor finds after it.
type breakage struct {
	id    string
	on    *cluster
	spoil string
}

func hubAilments(hub *cluster) []breakage {
	return []breakage{
		{"hub-object-missing", hub, `kubectl -n stellarflow-system delete role stellarflow-hub`},
		{"hub-object-differs", hub, `kubectl patch clusterrole stellarflow-hub --type=json -p '[{"op":"add","path":"/rules/-","value":{"apiGroups":[""],"resources":["nodes"],"verbs":["list"]}}]'`},
		{"hub-right-missing", hub, `kubectl patch clusterrole stellarflow-hub --type=json -p '[{"op":"remove","path":"/rules/0/verbs/3"}]'`},
		{"manager-scaled-to-zero", hub, `kubectl -n stellarflow-system scale deployment stellarflow-hub --replicas=0`},
		{"guard-missing", hub, `kubectl delete validatingadmissionpolicybinding stellarflow-guard-suspend`},
		{"guard-differs", hub, `kubectl patch validatingadmissionpolicy stellarflow-guard-keys --type=json -p '[{"op":"replace","path":"/spec/failurePolicy","value":"Ignore"}]'`},
		{"argo-controller-not-guarded", hub, `kubectl create namespace second-argo && kubectl -n second-argo create deployment workflow-controller --image=workflow-controller:v3.7.18 --replicas=0`},
		{"argo-controller-not-found", hub, `kubectl delete namespace second-argo --wait=false && kubectl -n second-argo delete deployment workflow-controller --ignore-not-found`},
		{"store-missing", hub, `kubectl -n stellarflow-system delete secret artifact-store`},
		{"store-invalid", hub, `kubectl -n stellarflow-system patch secret artifact-store -p '{"data":{"bucket":null}}'`},
		{"store-refuses", hub, `kubectl -n stellarflow-system patch secret artifact-store -p '{"stringData":{"secretkey":"wrong-wrong"}}'`},
		{"store-unreachable", hub, `kubectl -n stellarflow-system patch secret artifact-store -p '{"stringData":{"endpoint":"127.0.0.1:1"}}'`},
		{"tombstone-waits", hub, `kubectl -n stellarflow-system create configmap tombstone-e2e-1 --from-literal=namespace=argo --from-literal=name=lost --from-literal=time=2026-01-01T00:00:00Z && kubectl -n stellarflow-system label configmap tombstone-e2e-1 stellarflow.io/tombstone=cluster1`},
	}
}

// secretAilments keep Argo's server from reading what Workflows of a namespace have stored.
func secretAilments(hub *cluster, namespace string) []breakage {
	return []breakage{
		{"store-secret-differs", hub, fmt.Sprintf(`kubectl -n %s patch secret stellarflow-artifacts -p '{"stringData":{"secretkey":"of-before"}}'`, namespace)},
		{"store-secret-missing", hub, fmt.Sprintf(`kubectl -n %s delete secret stellarflow-artifacts`, namespace)},
	}
}

// clusterAilments are about a cluster on which a Workflow of a namespace runs, as a ServiceAccount of its own. The last one gives it up.
func clusterAilments(hub, wec *cluster, namespace string) []breakage {
	return []breakage{
		{"cluster-right-missing", wec, `kubectl patch clusterrole stellarflow-wec --type=json -p '[{"op":"remove","path":"/rules/0/verbs/3"}]'`},
		{"cluster-no-credential", hub, `kubectl -n stellarflow-system delete secret cluster-cluster1`},
		{"cluster-credential-invalid", hub, `kubectl -n stellarflow-system patch secret cluster-cluster1 -p '{"data":{"kubeconfig":"aGVsbG8="}}'`},
		{"cluster-credential-rejected", wec, `kubectl -n stellarflow-system delete serviceaccount stellarflow`},
		{"cluster-leftover", hub, `kubectl -n stellarflow-system create secret generic cluster-left && kubectl -n stellarflow-system label secret cluster-left stellarflow.io/managed-cluster=left`},
		{"cluster-argo-differs", hub, `kubectl annotate managedcluster cluster1 --overwrite stellarflow.io/argo-version=v3.6.0`},
		{"cluster-old-store-keys", hub, `kubectl -n stellarflow-system patch secret cluster-cluster1 -p '{"stringData":{"store-credentials-sha256":"of-before"}}'`},
		{"namespace-missing", hub, `kubectl annotate managedcluster cluster1 --overwrite stellarflow.io/namespaces=argo,doctor-e2e`},
		{"repository-missing", wec, `kubectl -n argo delete configmap artifact-repositories`},
		{"repository-other-bucket", wec, `kubectl -n argo patch configmap artifact-repositories -p '{"data":{"stellarflow":"s3: {bucket: mine, endpoint: elsewhere}"}}'`},
		{"artifact-secret-missing", wec, `kubectl -n argo delete secret stellarflow-artifacts`},
		{"executor-binding-missing", wec, `kubectl -n argo delete rolebinding stellarflow-executor-default`},
		{"service-account-missing", wec, fmt.Sprintf(`kubectl -n %s delete serviceaccount runner`, namespace)},
		{"cluster-changed", hub, `other=$(kubectl -n stellarflow-system get secret cluster-cluster2 -o 'jsonpath={.data.kubeconfig}') && ` +
			`kubectl -n stellarflow-system patch secret cluster-cluster1 -p "{\"data\":{\"kubeconfig\":\"$other\"}}"`},
	}
}

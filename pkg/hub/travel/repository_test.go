package travel

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"stellarflow.io/stellarflow/pkg/apis/control/v1alpha1"
	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
	"stellarflow.io/stellarflow/pkg/artifact"
	"stellarflow.io/stellarflow/pkg/hub/downsync"
)

const (
	repositories = `{metadata: {annotations: {workflows.argoproj.io/default-artifact-repository: mine}}, data: {mine: "s3: {accessKeySecret: {name: access, key: k}}"}}`
	naming       = `{artifactRepositoryRef: {key: mine}}`
	unnamed      = `{templates: [{name: main}]}`
)

// onePolicy is a hub's cache with one policy, which has every name.
type onePolicy struct {
	client.Reader
	policy v1alpha1.BindingPolicy
}

func (p *onePolicy) Get(_ context.Context, _ client.ObjectKey, object client.Object, _ ...client.GetOption) error {
	if into, isPolicy := object.(*v1alpha1.BindingPolicy); isPolicy {
		p.policy.DeepCopyInto(into)
	}
	return nil
}

// place has a policy place the Workflow that lets objects of a kind travel, by name.
func (j *journey) place(t *testing.T, resource string, names ...string) {
	t.Helper()
	raw, err := json.Marshal(stellarflow.Placement{UID: j.hubCopy.GetUID(), Policy: "p", Cluster: "cluster1", ClusterID: "id-1", Attempt: 1})
	if err != nil {
		t.Fatal(err)
	}
	j.hubCopy.SetAnnotations(map[string]string{stellarflow.AnnotationPlacement: string(raw)})
	j.hubCopy.SetLabels(map[string]string{stellarflow.LabelCluster: "cluster1"})
	j.hub.store(workflowPath, j.hubCopy)
	j.carrier.Policies = &onePolicy{policy: v1alpha1.BindingPolicy{Spec: v1alpha1.BindingPolicySpec{Downsync: []v1alpha1.DownsyncPolicyClause{{
		DownsyncObjectTest: v1alpha1.DownsyncObjectTest{Resources: []string{resource}, ObjectNames: names},
	}}}}}
}

// share configures a shared artifact store.
func (j *journey) share() {
	j.carrier.Store = func(context.Context) (*artifact.Store, error) { return &artifact.Store{}, nil }
}

// hideSecrets is what an API server does that gives the hub no right to Secrets.
func hideSecrets(asked string) (int, metav1.StatusReason, metav1.StatusDetails) {
	if strings.Contains(asked, "/secrets/") {
		return http.StatusForbidden, metav1.StatusReasonForbidden, metav1.StatusDetails{}
	}
	return 0, "", metav1.StatusDetails{}
}

// TestRepository: without a shared store the hub's artifact repositories travel, and what their Secrets are is said, for no policy shares them.
func TestRepository(t *testing.T) {
	const unshared = `Warning DependencyNotCopied: policy  does not share Secret "access" (data[mine].s3.accessKeySecret of ConfigMap/artifact-repositories), ` +
		`and none is known on cluster cluster1: a pod that needs it waits until it is created there`
	cases := map[string]struct {
		reason, spec string
		there        func(*testing.T, *journey)
		record       string
		said         []string
	}{
		"Key": {"the key says which", naming, nil, `{"copied":["ConfigMap/artifact-repositories"]}`, []string{unshared}},
		"Mounted": {
			"it is the namespace's default, and a pod reads it", `{templates: [{container: {envFrom: [{configMapRef: {name: artifact-repositories}}]}}]}`, nil,
			`{"copied":["ConfigMap/artifact-repositories"]}`,
			[]string{unshared},
		},
		"Hidden": {
			"whether its Secret is there is not known, and the repository is the hub's", naming,
			func(_ *testing.T, j *journey) { j.wec.answer = hideSecrets }, `{"copied":["ConfigMap/artifact-repositories"]}`,
			[]string{unshared},
		},
		"Secret": {
			"the cluster has the Secret", naming,
			func(t *testing.T, j *journey) { j.wec.put(t, stellarflow.KindSecret, "access", `{}`) }, `{"copied":["ConfigMap/artifact-repositories"]}`, nil,
		},
		"Foreign": {
			"the cluster has repositories of its own, which see to themselves", naming,
			func(t *testing.T, j *journey) { j.wec.put(t, cm, artifact.ConfigMapName, `{data: {mine: theirs}}`) }, `{"there":["ConfigMap/artifact-repositories"]}`, nil,
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			j := begin(t, tc.spec)
			j.hub.put(t, cm, artifact.ConfigMapName, repositories)
			if tc.there != nil {
				tc.there(t, j)
			}
			before := j.wec.get(pathOf(cm, artifact.ConfigMapName))
			if _, err := j.travel(t); err != nil {
				t.Fatalf("%s: %v", tc.reason, err)
			}
			if got := j.hub.get(workflowPath).GetAnnotations()[stellarflow.AnnotationDependencies]; got != tc.record {
				t.Errorf("%s: recorded is %s", tc.reason, got)
			}
			if diff := cmp.Diff(tc.said, j.said.said); diff != "" {
				t.Errorf("%s: said, -want +got:\n%s", tc.reason, diff)
			}
			if before != nil && cmp.Diff(before, j.wec.get(pathOf(cm, artifact.ConfigMapName))) != "" {
				t.Errorf("%s: it was changed", tc.reason)
			}
		})
	}
}

// TestDefaultRepository: what nothing names never takes the place of what a cluster has: its controller's may work, and the hub's may not work there.
func TestDefaultRepository(t *testing.T) {
	const (
		copied   = `{"copied":["ConfigMap/artifact-repositories"]}`
		own      = `Normal DependencyNotCopied: ConfigMap "artifact-repositories" (the default artifact repository) of the hub is not used on cluster cluster1, whose own counts: name it in artifactRepositoryRef or in policy p if the hub's is meant`
		unshared = `Warning DependencyNotCopied: policy p does not share Secret "access" (data[mine].s3.accessKeySecret of ConfigMap/artifact-repositories), and none is known on cluster cluster1: a pod that needs it waits until it is created there`
	)
	selected := func(t *testing.T, j *journey) { j.place(t, "configmaps", artifact.ConfigMapName) }
	cases := map[string]struct {
		reason, onHub string
		there         func(*testing.T, *journey)
		record        string
		said          []string
		copied        bool
	}{
		"Unselected":  {"the cluster's may work", repositories, nil, "", []string{own}, false},
		"NoSecret":    {"it may be of an identity that only the hub's cluster has", strings.Replace(repositories, "accessKeySecret: {name: access, key: k}", "useSDKCreds: true", 1), nil, "", []string{own}, false},
		"SecretThere": {"a Secret of that name may be for another store", repositories, func(t *testing.T, j *journey) { j.wec.put(t, stellarflow.KindSecret, "access", `{}`) }, "", []string{own}, false},
		"Selected":    {"the policy names it", repositories, selected, copied, []string{unshared}, true},
		"NoDefault":   {"it is not the default on the hub either", `{data: {mine: ""}}`, selected, "", nil, false},
		"Used":        {"another Workflow has brought it, and this one uses it", repositories, func(t *testing.T, j *journey) { j.sent(t, cm, artifact.ConfigMapName) }, copied, []string{unshared}, true},
		"Theirs": {
			"the cluster has its own", repositories, func(t *testing.T, j *journey) { j.wec.put(t, cm, artifact.ConfigMapName, `{}`) },
			`{"there":["ConfigMap/artifact-repositories"]}`, nil, true,
		},
		"OtherHub": {
			"as if it were the cluster's own", repositories, func(t *testing.T, j *journey) {
				j.sent(t, cm, artifact.ConfigMapName)
				j.wec.get(pathOf(cm, artifact.ConfigMapName)).SetLabels(map[string]string{stellarflow.LabelOrigin: "hub-2", stellarflow.LabelDependency: "true"})
			}, "", []string{own}, true,
		},
		"Hidden":  {"joined before the hub could look", repositories, func(_ *testing.T, j *journey) { j.forbid() }, "", []string{own}, false},
		"Failing": {"nothing depends on it", repositories, func(_ *testing.T, j *journey) { j.wec.answer = failing }, "", []string{own}, false},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			j := begin(t, unnamed)
			j.place(t, "secrets", "other")
			j.hub.put(t, cm, artifact.ConfigMapName, tc.onHub)
			if tc.there != nil {
				tc.there(t, j)
			}
			if _, err := j.travel(t); err != nil {
				t.Fatalf("%s: %v", tc.reason, err)
			}
			if got := j.hub.get(workflowPath).GetAnnotations()[stellarflow.AnnotationDependencies]; got != tc.record {
				t.Errorf("%s: recorded is %s", tc.reason, got)
			}
			if diff := cmp.Diff(tc.said, j.said.said); diff != "" {
				t.Errorf("%s: said, -want +got:\n%s", tc.reason, diff)
			}
			if got := j.wec.get(pathOf(cm, artifact.ConfigMapName)) != nil; got != tc.copied {
				t.Errorf("%s: it is there: %v", tc.reason, got)
			}
		})
	}
}

// failing is what an API server does that has lost its store.
func failing(asked string) (int, metav1.StatusReason, metav1.StatusDetails) {
	if strings.HasPrefix(asked, http.MethodGet) {
		return http.StatusInternalServerError, metav1.StatusReasonInternalError, metav1.StatusDetails{}
	}
	return 0, "", metav1.StatusDetails{}
}

// TestUnshared: of what a pod needs and no policy shares it is said if the WEC has none; where the hub may not look its administrator knows.
func TestUnshared(t *testing.T) {
	j := begin(t, `{templates: [{container: {envFrom: [{secretRef: {name: x}}, {secretRef: {name: there}}, {secretRef: {name: y, optional: true}}]}}]}`)
	j.share()
	j.wec.put(t, stellarflow.KindSecret, "there", `{}`)
	if _, err := j.travel(t); err != nil || len(j.said.said) != 1 || !strings.Contains(j.said.said[0], ` does not share Secret "x" (spec.templates[0].container.envFrom[0].secretRef), and`) {
		t.Errorf("%v, said is %v", err, j.said.said)
	}
	for _, answer := range []func(string) (int, metav1.StatusReason, metav1.StatusDetails){hideSecrets, failing} { // nothing depends on it
		j.said.said, j.wec.answer = nil, answer
		if _, err := j.travel(t); err != nil || len(j.said.said) > 0 {
			t.Errorf("%v, said is %v", err, j.said.said)
		}
	}
}

// TestOwnRepository: where each cluster is given the shared store's, a key of the hub's own has no way there.
func TestOwnRepository(t *testing.T) {
	cases := map[string]struct {
		reason, spec, onHub, onWEC string
		refused                    bool
	}{
		"Nowhere": {"it may be in the controller's namespace there", naming, ``, ``, false},
		"Hub":     {"only the hub has it", naming, repositories, ``, true},
		"Theirs":  {"the cluster has its own, without it", naming, repositories, `{data: {stellarflow: ours}}`, true},
		"Both":    {"the cluster has it too", naming, repositories, `{data: {mine: theirs}}`, false},
		"Copy": {
			"it came before there was a store, which takes its place now", naming, repositories,
			`{metadata: {labels: {stellarflow.io/origin: hub-1, stellarflow.io/dependency: "true"}, annotations: {stellarflow.io/source: ConfigMap/argo/artifact-repositories}}, data: {mine: ours}}`, true,
		},
		"Store's":    {"each cluster has that", `{artifactRepositoryRef: {key: stellarflow}}`, repositories, ``, false},
		"NoKey":      {"the shared store is the default there", `{artifactRepositoryRef: {configMap: artifact-repositories}}`, repositories, ``, false},
		"Other":      {"another ConfigMap travels", `{artifactRepositoryRef: {configMap: repos, key: mine}}`, repositories, ``, false},
		"WithoutAny": {"most name none", `{}`, repositories, ``, false},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			j := begin(t, tc.spec)
			j.share()
			for side, body := range map[*server]string{&j.hub: tc.onHub, &j.wec: tc.onWEC} {
				if body != "" {
					side.put(t, cm, artifact.ConfigMapName, body)
				}
			}
			_, err := j.travel(t)
			refusal := refusalOf(err)
			if (refusal != nil) != tc.refused || !tc.refused && err != nil {
				t.Fatalf("%s: %v", tc.reason, err)
			}
			if tc.refused && (refusal.Reason != downsync.ReasonDependencyMissing || !strings.Contains(refusal.Message, `the artifact repository "mine" (spec.artifactRepositoryRef) of ConfigMap "artifact-repositories", of which each cluster has its own`)) {
				t.Errorf("%s: %v", tc.reason, refusal)
			}
		})
	}
}

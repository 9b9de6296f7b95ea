package bindingpolicy

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"stellarflow.io/stellarflow/pkg/apis/control/v1alpha1"
)

// FuzzResolve: whatever a policy says, its status and a Workflow's message are short, show no control character and are the same each
// time; a Workflow is placed on a cluster that a policy offers or on none.
func FuzzResolve(f *testing.F) {
	f.Add([]byte(`{"wantSingletonReportedState":true,"clusterSelectors":[{}],"downsync":[{"namespaces":["*"]}]}`), "argo", "app", "hello")
	f.Add([]byte(`{"clusterSelectors":[{"matchLabels":{"a b":"x"}},{"matchExpressions":[{"key":"zone","operator":"In","values":["west"]}]}],"downsync":[{},{"apiGroup":""},{"resources":["*","pods"],"objectNames":["a*"]}]}`), "a", "", "")
	f.Add([]byte(`{"clusterSelectors":[{"matchLabels":{"`+strings.Repeat("k", 300)+`":"\u001b[2J"}}],"downsync":[{"objectSelectors":[{"matchLabels":{"app":"hello"}}],"statusCollection":{"statusCollectors":["x"]}}]}`), "argo", "app", "hello")
	f.Fuzz(func(t *testing.T, raw []byte, namespace, key, value string) {
		policy := newPolicy("p")
		policy.Spec = v1alpha1.BindingPolicySpec{}
		if err := json.Unmarshal(raw, &policy.Spec); err != nil {
			return
		}
		workflow := hello()
		workflow.Namespace, workflow.Labels = namespace, map[string]string{key: value}
		policies := []v1alpha1.BindingPolicy{policy}
		decision := Resolve(policies, workflow, three())
		if diff := cmp.Diff(decision, Resolve(policies, workflow, three())); diff != "" {
			t.Errorf("decided twice:\n%s", diff)
		}
		if decision.Cluster != "" && (!decision.Selected || decision.Policy != "p") {
			t.Errorf("placed on %q without being selected", decision.Cluster)
		}
		if text := decision.Message(); len(text) > maxMessage {
			t.Errorf("a message of %d bytes", len(text))
		}
		status := StatusOf(&policy, three(), 1)
		for _, condition := range status.Conditions {
			if len(condition.Message) > maxCondition || condition.Reason == "" || condition.Message == "" {
				t.Errorf("condition %s has %d bytes", condition.Type, len(condition.Message))
			}
		}
		for _, text := range status.Errors {
			if len(text) > maxMessage {
				t.Errorf("status.errors has one of %d bytes", len(text))
			}
		}
	})
}

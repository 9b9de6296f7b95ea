package bindingpolicy

import (
	"fmt"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"stellarflow.io/stellarflow/pkg/apis/control/v1alpha1"
	"stellarflow.io/stellarflow/test/badinput"
)

// Each bad policy says in a condition what is wrong with it. The inventory has three clusters; kind tells which condition is looked at,
// or that a Workflow which waits because of it is.
func TestBadInput(t *testing.T) {
	badinput.Run(t, func(t *testing.T, c badinput.Case) badinput.Answer {
		policy := newPolicy("p")
		var spec v1alpha1.BindingPolicySpec
		c.Into(t, &spec)
		policy.Spec = spec
		status := StatusOf(&policy, three(), 0)
		var all strings.Builder
		for _, condition := range status.Conditions {
			fmt.Fprintln(&all, condition.Message)
			if len(condition.Message) > maxCondition {
				t.Errorf("condition %s has %d bytes", condition.Type, len(condition.Message))
			}
		}
		if strings.ContainsFunc(strings.TrimSpace(strings.Join(strings.Split(all.String(), "\n"), "")), func(r rune) bool { return r < ' ' || r == 0x7f || r == 0x9b }) {
			t.Errorf("a control character is in the conditions: %q", all.String())
		}
		if c.Kind == "Waiting" {
			decision := Resolve([]v1alpha1.BindingPolicy{policy}, hello(), three())
			if decision.Cluster != "" {
				return badinput.Answer{Where: "nowhere: it is placed"}
			}
			return badinput.Answer{Where: "message of the Workflow, event WaitingForCluster", Says: decision.Message()}
		}
		condition := meta.FindStatusCondition(status.Conditions, firstOf(c.Kind, v1alpha1.ConditionReady))
		if condition.Status == metav1.ConditionTrue && len(status.Errors) > 0 {
			return badinput.Answer{Where: "status.errors of the BindingPolicy", Says: strings.Join(status.Errors, "\n")}
		}
		if condition.Status == metav1.ConditionTrue {
			return badinput.Answer{Where: "nowhere: it is accepted"}
		}
		return badinput.Answer{Where: fmt.Sprintf("condition %s of the BindingPolicy, reason %s", condition.Type, condition.Reason), Says: condition.Message}
	})
}

func firstOf(text, otherwise string) string {
	if text == "" {
		return otherwise
	}
	return text
}

// Thousands of policies, each with thousands of clauses or names, make no message longer.
func TestMessageStaysShort(t *testing.T) {
	var policies []v1alpha1.BindingPolicy
	for i := range 3000 {
		policies = append(policies, newPolicy(fmt.Sprintf("policy-%04d", i), tests(objectTest{Namespaces: []string{strings.Repeat("n", 5000)}})))
	}
	policies = append(policies, newPolicy("last", clusters(label(strings.Repeat("k", 5000), "x")), noSingleton))
	decision := Resolve(policies, hello(), three())
	if text := decision.Message(); decision.Cluster != "" || len(text) > maxMessage {
		t.Errorf("placed on %q with a message of %d bytes", decision.Cluster, len(text))
	}
	many := newPolicy("many")
	for i := range 3000 {
		many.Spec.Downsync = append(many.Spec.Downsync, v1alpha1.DownsyncPolicyClause{DownsyncObjectTest: objectTest{Namespaces: []string{fmt.Sprintf("N%d-%s", i, strings.Repeat("n", 5000))}}})
	}
	status := StatusOf(&many, three(), 0)
	size := 0
	for _, text := range status.Errors {
		size += len(text)
	}
	if size > (maxProblems+1)*maxMessage {
		t.Errorf("status.errors has %d bytes", size)
	}
}

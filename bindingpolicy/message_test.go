package bindingpolicy

import (
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"stellarflow.io/stellarflow/pkg/apis/control/v1alpha1"
	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

func TestMessage(t *testing.T) {
	notHere := tests(objectTest{Namespaces: []string{"x"}})
	var others []v1alpha1.BindingPolicy
	for i := range 7 {
		others = append(others, newPolicy(fmt.Sprintf("x%d", i), notHere))
	}
	cases := map[string]struct {
		reason    string
		policies  []v1alpha1.BindingPolicy
		inventory []Cluster
		want      string
	}{
		"Placed": {"the placement", []v1alpha1.BindingPolicy{newPolicy("p")}, three(), `Placed on cluster "cluster1" by policy "p".`},
		"NoPolicies": {
			"there is none", nil, three(), "No BindingPolicy exists: create one that selects this Workflow and a cluster.",
		},
		"NotSelected": {
			"each policy says why, of many a few", others, three(),
			`No BindingPolicy selects this Workflow. Policies: "x0": spec.downsync[0].namespaces: ["x"] does not list "argo"; ` +
				`"x1": spec.downsync[0].namespaces: ["x"] does not list "argo"; "x2": spec.downsync[0].namespaces: ["x"] does not list "argo"; ` +
				`"x3": spec.downsync[0].namespaces: ["x"] does not list "argo"; "x4": spec.downsync[0].namespaces: ["x"] does not list "argo"; and 2 more.`,
		},
		"NoInventory": {
			"no cluster at all",
			[]v1alpha1.BindingPolicy{newPolicy("p")},
			nil,
			`Waiting for a cluster. Policies: "p": spec.clusterSelectors: no ManagedCluster has labels that match: label one or change the selectors. ` +
				`Clusters: none exists, join one.`,
		},
		"NoSelectors": {
			"the policy has no selectors; policies that do not select are counted",
			append([]v1alpha1.BindingPolicy{newPolicy("p", clusters())}, others...), three(),
			`Waiting for a cluster. Policies: "p": spec.clusterSelectors is empty, which selects no cluster: add a selector, {} for every cluster; ` +
				`7 more do not select it. Clusters: cluster1, cluster2, cluster3: no policy that selects the Workflow selects it by its labels.`,
		},
		"InvalidSelector": {
			"the selector cannot be read",
			[]v1alpha1.BindingPolicy{newPolicy("p", clusters(expr("zone", "In")))},
			three()[:1],
			`Waiting for a cluster. Policies: "p": spec.clusterSelectors[0].matchExpressions[0]: "zone In []": it cannot be read, so this selector ` +
				`matches nothing: values: for 'in', 'notin' operators, values set can't be empty: correct it. ` +
				`Clusters: cluster1: no policy that selects the Workflow selects it by its labels.`,
		},
		"Several": {
			"a run on each of several",
			[]v1alpha1.BindingPolicy{newPolicy("p", noSingleton)},
			three(),
			`Waiting for a cluster. Policies: "p": it selects 3 clusters (cluster1, cluster2, cluster3) without wantSingletonReportedState, ` +
				`which would mean a run on each: that is not supported; set wantSingletonReportedState: true for one run on one of them, or ` +
				`select one cluster. Clusters: cluster1, cluster2, cluster3: policy "p" selects it among several without wantSingletonReportedState.`,
		},
		"Sick": {
			"clusters with the same reason stand together",
			[]v1alpha1.BindingPolicy{newPolicy("p")},
			with(map[stellarflow.ClusterName]Cluster{
				"cluster1": {Unhealthy: "it does not answer."}, "cluster2": {Refused: true}, "cluster3": {Unhealthy: "it does not answer."},
			}),
			`Waiting for a cluster. Policies: "p": it offers cluster1, cluster2, cluster3. ` +
				`Clusters: cluster1, cluster3: it does not answer; cluster2: it refused the Workflow: it gave no reason.`,
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, Resolve(tc.policies, hello(), tc.inventory).Message()); diff != "" {
				t.Errorf("\n%s\nMessage(): -want, +got:\n%s", tc.reason, diff)
			}
		})
	}
}

// TestClusterMessages holds what is said of a cluster that is not chosen.
func TestClusterMessages(t *testing.T) {
	inventory := append(with(map[stellarflow.ClusterName]Cluster{"cluster2": {Unfinished: 4}, "cluster3": {Refused: true, RefusedWhy: "quota exceeded"}}),
		Cluster{Name: "cluster4"}, Cluster{Name: "a.b"})
	want := []ClusterVerdict{
		{"a.b", ClusterInvalidName, stellarflow.ClusterName("a.b").Validate().Error()},
		{"cluster2", ClusterBusier, "it has 4 unfinished Workflows, cluster1 has 0"},
		{"cluster3", ClusterRefused, "it refused the Workflow: quota exceeded"},
		{"cluster4", ClusterBusier, "it has as many unfinished Workflows as cluster1 (0), which comes first by name"},
	}
	if diff := cmp.Diff(want, Resolve([]v1alpha1.BindingPolicy{newPolicy("p")}, hello(), inventory).Clusters); diff != "" {
		t.Errorf("Resolve(...).Clusters: -want, +got:\n%s", diff)
	}
}

// TestMessageIsBounded holds that many and long things make a message that fits an event, in whole characters, and that neither
// policies nor clusters hide the other.
func TestMessageIsBounded(t *testing.T) {
	var inventory []Cluster
	var policies []v1alpha1.BindingPolicy
	for i := range 500 {
		inventory = append(inventory, Cluster{
			Name: stellarflow.ClusterName(fmt.Sprintf("c%03d", i)), Unhealthy: fmt.Sprintf("%s %d", strings.Repeat("ä", 1000), i%7),
		})
		policies = append(policies, newPolicy(fmt.Sprintf("p%03d-%s", i, strings.Repeat("ä", 240)), clusters(metav1.LabelSelector{})))
	}
	message := Resolve(policies, hello(), inventory).Message()
	if len(message) > maxMessage || !utf8.ValidString(message) || !strings.HasSuffix(message, "...") || !strings.Contains(message, "Clusters: c000") {
		t.Errorf("a message of %d bytes: want at most %d, cut, with clusters:\n%s", len(message), maxMessage, message)
	}
	for i := range policies {
		policies[i].Spec.Downsync[0].Namespaces = []string{strings.Repeat("x", 1000)}
	}
	if message := Resolve(policies, hello(), inventory).Message(); len(message) > maxMessage || !utf8.ValidString(message) {
		t.Errorf("a message of %d bytes: want at most %d", len(message), maxMessage)
	}
	for i := range inventory {
		inventory[i].Unhealthy = "it does not answer"
	}
	want := "Clusters: c000, c001, c002, c003, c004, and 495 more: it does not answer."
	if message := Resolve([]v1alpha1.BindingPolicy{newPolicy("p")}, hello(), inventory).Message(); !strings.HasSuffix(message, want) {
		t.Errorf("message %q: want it to end in %q", message, want)
	}
}

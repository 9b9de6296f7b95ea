package bindingpolicy

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"stellarflow.io/stellarflow/pkg/apis/control/v1alpha1"
	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

// with returns an inventory with one change to each of the clusters named.
func with(changes map[stellarflow.ClusterName]Cluster) []Cluster {
	inventory := three()
	for i := range inventory {
		if change, found := changes[inventory[i].Name]; found {
			change.Name, change.Labels = inventory[i].Name, inventory[i].Labels
			inventory[i] = change
		}
	}
	return inventory
}

func TestResolve(t *testing.T) {
	to := func(name string) option { return clusters(label("name", name)) }
	notHere := tests(objectTest{Namespaces: []string{"x"}})
	type whyNots map[stellarflow.ClusterName]ClusterReason
	type reasons map[string]PolicyReason
	cases := map[string]struct {
		reason    string
		policies  []v1alpha1.BindingPolicy
		inventory []Cluster
		cluster   stellarflow.ClusterName
		policy    string
		selected  bool
		verdicts  reasons
		clusters  whyNots
	}{
		"Sample": {
			reason:   "one policy for each cluster, chosen by label",
			policies: []v1alpha1.BindingPolicy{newPolicy("p1", to("cluster1")), newPolicy("p2", to("cluster2"), notHere)}, inventory: three(),
			cluster: "cluster1", policy: "p1", selected: true,
			verdicts: reasons{"p1": PolicyOffers, "p2": PolicyNotSelecting},
			clusters: whyNots{"cluster2": ClusterNotOffered, "cluster3": ClusterNotOffered},
		},
		"NoPolicies": {
			reason: "without policies a Workflow is not ours", inventory: three(),
			clusters: whyNots{"cluster1": ClusterNotOffered, "cluster2": ClusterNotOffered, "cluster3": ClusterNotOffered},
		},
		"NotSelected": {
			reason: "no policy selects it: not ours", policies: []v1alpha1.BindingPolicy{newPolicy("p", notHere)}, inventory: three()[:1],
			verdicts: reasons{"p": PolicyNotSelecting}, clusters: whyNots{"cluster1": ClusterNotOffered},
		},
		"NoInventory": {
			reason: "selected, nowhere to go", policies: []v1alpha1.BindingPolicy{newPolicy("p")}, selected: true,
			verdicts: reasons{"p": PolicyNoClusters},
		},
		"Fewest": {
			reason: "the cluster with the fewest unfinished Workflows", policies: []v1alpha1.BindingPolicy{newPolicy("p")},
			inventory: with(map[stellarflow.ClusterName]Cluster{"cluster1": {Unfinished: 5}, "cluster2": {Unfinished: 2}, "cluster3": {Unfinished: 3}}),
			cluster:   "cluster2", policy: "p", selected: true, verdicts: reasons{"p": PolicyOffers},
			clusters: whyNots{"cluster1": ClusterBusier, "cluster3": ClusterBusier},
		},
		"Tie": {
			reason: "ties go by name", policies: []v1alpha1.BindingPolicy{newPolicy("p")},
			inventory: with(map[stellarflow.ClusterName]Cluster{"cluster1": {Unfinished: 5}, "cluster2": {Unfinished: 2}, "cluster3": {Unfinished: 2}}),
			cluster:   "cluster2", policy: "p", selected: true, verdicts: reasons{"p": PolicyOffers},
			clusters: whyNots{"cluster1": ClusterBusier, "cluster3": ClusterBusier},
		},
		"Unhealthy": {
			reason: "an unhealthy cluster is not used, however idle", policies: []v1alpha1.BindingPolicy{newPolicy("p")},
			inventory: with(map[stellarflow.ClusterName]Cluster{"cluster1": {Unhealthy: "it does not answer"}, "cluster2": {Unfinished: 9}, "cluster3": {Unfinished: 10}}),
			cluster:   "cluster2", policy: "p", selected: true, verdicts: reasons{"p": PolicyOffers},
			clusters: whyNots{"cluster1": ClusterUnhealthy, "cluster3": ClusterBusier},
		},
		"Refused": {
			reason: "a cluster that refused it is not asked again, sick or not", policies: []v1alpha1.BindingPolicy{newPolicy("p")},
			inventory: with(map[stellarflow.ClusterName]Cluster{
				"cluster1": {Refused: true, RefusedWhy: "quota"}, "cluster2": {Refused: true, Unhealthy: "it does not answer"}, "cluster3": {Unhealthy: "no CRD"},
			}),
			selected: true, verdicts: reasons{"p": PolicyOffers},
			clusters: whyNots{"cluster1": ClusterRefused, "cluster2": ClusterRefused, "cluster3": ClusterUnhealthy},
		},
		"InvalidName": {
			reason: "a name that is no label value cannot be recorded", policies: []v1alpha1.BindingPolicy{newPolicy("p")},
			inventory: []Cluster{{Name: "a.b"}, {Name: stellarflow.ClusterName(strings.Repeat("a", 64))}, {Name: "c", Unfinished: 99}},
			cluster:   "c", policy: "p", selected: true, verdicts: reasons{"p": PolicyOffers},
			clusters: whyNots{"a.b": ClusterInvalidName, stellarflow.ClusterName(strings.Repeat("a", 64)): ClusterInvalidName},
		},
		"Union": {
			reason: "candidates are the union of several policies; the policy is the one that offers the chosen one",
			policies: []v1alpha1.BindingPolicy{
				newPolicy("b", to("cluster2")), newPolicy("a", to("cluster1")), newPolicy("c", to("cluster2")),
			},
			inventory: with(map[stellarflow.ClusterName]Cluster{"cluster1": {Unfinished: 1}}),
			cluster:   "cluster2", policy: "b", selected: true,
			verdicts: reasons{"a": PolicyOffers, "b": PolicyOffers, "c": PolicyOffers},
			clusters: whyNots{"cluster1": ClusterBusier, "cluster3": ClusterNotOffered},
		},
		"SeveralWithoutFlag": {
			reason:   "a run on each of several is not built",
			policies: []v1alpha1.BindingPolicy{newPolicy("p", noSingleton, clusters(label("zone", "west")))}, inventory: three(),
			selected: true, verdicts: reasons{"p": PolicySeveralClusters},
			clusters: whyNots{"cluster1": ClusterNotOffered, "cluster2": ClusterSeveralClusters, "cluster3": ClusterSeveralClusters},
		},
		"OneWithoutFlag": {
			reason:   "one cluster is one run, flag or not",
			policies: []v1alpha1.BindingPolicy{newPolicy("p", noSingleton, to("cluster3"))}, inventory: three(),
			cluster: "cluster3", policy: "p", selected: true, verdicts: reasons{"p": PolicyOffers},
			clusters: whyNots{"cluster1": ClusterNotOffered, "cluster2": ClusterNotOffered},
		},
		"SeveralBesideFlag": {
			reason:   "a policy that places nothing does not keep another from placing",
			policies: []v1alpha1.BindingPolicy{newPolicy("a", noSingleton), newPolicy("b", to("cluster3"))}, inventory: three(),
			cluster: "cluster3", policy: "b", selected: true, verdicts: reasons{"a": PolicySeveralClusters, "b": PolicyOffers},
			clusters: whyNots{"cluster1": ClusterSeveralClusters, "cluster2": ClusterSeveralClusters},
		},
		"FlagInClause": {
			reason: "the flag in a clause that matches counts",
			policies: []v1alpha1.BindingPolicy{newPolicy("p", noSingleton, clauses(
				v1alpha1.DownsyncPolicyClause{DownsyncObjectTest: objectTest{Namespaces: []string{"argo"}}},
				v1alpha1.DownsyncPolicyClause{DownsyncObjectTest: objectTest{ObjectNames: []string{"*"}}, WantSingletonReportedState: true},
			))}, inventory: three(),
			cluster: "cluster1", policy: "p", selected: true, verdicts: reasons{"p": PolicyOffers},
			clusters: whyNots{"cluster2": ClusterBusier, "cluster3": ClusterBusier},
		},
		"FlagInOtherClause": {
			reason: "the flag in a clause that does not match does not count",
			policies: []v1alpha1.BindingPolicy{newPolicy("p", noSingleton, clauses(
				v1alpha1.DownsyncPolicyClause{DownsyncObjectTest: objectTest{Namespaces: []string{"argo"}}},
				v1alpha1.DownsyncPolicyClause{DownsyncObjectTest: objectTest{Namespaces: []string{"x"}}, WantSingletonReportedState: true},
			))}, inventory: three(),
			selected: true, verdicts: reasons{"p": PolicySeveralClusters},
			clusters: whyNots{"cluster1": ClusterSeveralClusters, "cluster2": ClusterSeveralClusters, "cluster3": ClusterSeveralClusters},
		},
		"MultiFlag": {
			reason: "a combined status of several clusters is not built",
			policies: []v1alpha1.BindingPolicy{newPolicy("p", noSingleton, clauses(
				v1alpha1.DownsyncPolicyClause{DownsyncObjectTest: objectTest{Namespaces: []string{"argo"}}, WantMultiWECReportedState: true},
			))}, inventory: three()[:2],
			selected: true, verdicts: reasons{"p": PolicySeveralClusters},
			clusters: whyNots{"cluster1": ClusterSeveralClusters, "cluster2": ClusterSeveralClusters},
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			got := Resolve(tc.policies, hello(), tc.inventory)
			if got.Cluster != tc.cluster || got.Policy != tc.policy || got.Selected != tc.selected {
				t.Errorf("\n%s\nResolve(...) = cluster %q, policy %q, selected %t: want %q, %q, %t",
					tc.reason, got.Cluster, got.Policy, got.Selected, tc.cluster, tc.policy, tc.selected)
			}
			policies := reasons(nil)
			for _, verdict := range got.Policies {
				if policies == nil {
					policies = reasons{}
				}
				policies[verdict.Policy] = verdict.Reason
				if verdict.Message == "" {
					t.Errorf("\n%s\nno message for policy %q", tc.reason, verdict.Policy)
				}
			}
			clusters := whyNots(nil)
			for _, verdict := range got.Clusters {
				if clusters == nil {
					clusters = whyNots{}
				}
				clusters[verdict.Cluster] = verdict.Reason
				if verdict.Message == "" {
					t.Errorf("\n%s\nno message for cluster %q", tc.reason, verdict.Cluster)
				}
			}
			if diff := cmp.Diff(tc.verdicts, policies); diff != "" {
				t.Errorf("\n%s\nResolve(...).Policies: -want, +got:\n%s", tc.reason, diff)
			}
			if diff := cmp.Diff(tc.clusters, clusters); diff != "" {
				t.Errorf("\n%s\nResolve(...).Clusters: -want, +got:\n%s", tc.reason, diff)
			}
		})
	}
}

// TestResolveIsStable holds that the order of the input does not matter, the same input has the same answer, and stays as it is.
func TestResolveIsStable(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	var policies []v1alpha1.BindingPolicy
	var inventory []Cluster
	for i := range 12 {
		options := []option{clusters(label("zone", []string{"east", "west", "north"}[i%3]), label("name", fmt.Sprintf("c%02d", i)))}
		if i%4 == 0 {
			options = append(options, noSingleton)
		}
		if i%5 == 0 {
			options = append(options, tests(objectTest{Namespaces: []string{"x"}}))
		}
		policies = append(policies, newPolicy(fmt.Sprintf("p%02d", i), options...))
		cluster := Cluster{
			Name:   stellarflow.ClusterName(fmt.Sprintf("c%02d", i)),
			Labels: map[string]string{"name": fmt.Sprintf("c%02d", i), "zone": []string{"east", "west", "south"}[i%3]}, Unfinished: i % 2,
		}
		if i < 3 {
			cluster.Unhealthy = "it does not answer."
		}
		inventory = append(inventory, cluster)
	}
	want := Resolve(policies, hello(), inventory)
	if want.Cluster == "" {
		t.Fatal("the test's input places nothing")
	}
	for range 50 {
		random.Shuffle(len(policies), func(i, j int) { policies[i], policies[j] = policies[j], policies[i] })
		random.Shuffle(len(inventory), func(i, j int) { inventory[i], inventory[j] = inventory[j], inventory[i] })
		order := slices.Clone(inventory)
		for range 2 {
			got := Resolve(policies, hello(), inventory)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Fatalf("Resolve of the same in another order: -want, +got:\n%s", diff)
			}
		}
		if diff := cmp.Diff(order, inventory); diff != "" {
			t.Fatalf("Resolve changed the inventory: -want, +got:\n%s", diff)
		}
	}
}

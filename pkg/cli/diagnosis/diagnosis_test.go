package diagnosis

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
	"stellarflow.io/stellarflow/pkg/artifact"
	"stellarflow.io/stellarflow/pkg/wec"
)

var now = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// healthy are the facts of an installation in which nothing is wrong.
func healthy(change ...func(*Facts)) Facts {
	facts := Facts{
		Now: now, Installed: true, HubFlags: "--kubeconfig hub", WECFlags: "--hub-kubeconfig hub",
		Objects: []Object{{Name: "ClusterRole stellarflow-hub"}, {Name: "ValidatingAdmissionPolicy stellarflow-guard-keys", Guard: true}},
		Manager: Manager{Found: true, Replicas: 2, Image: "hub:1", Leader: "a"},
		Guarded: []string{"argo"}, Controllers: []string{"argo"}, Running: []string{"argo/workflow-controller"}, Profile: stellarflow.ProfileShared,
		Clusters: []Cluster{{
			Name: "cluster1", Joined: true, Credential: true, Argo: "v3.7.18", HubArgo: "v3.7.18", Namespaces: []Namespace{{Name: "argo"}},
		}},
		Workflows:  []Workflow{{Namespace: "argo", Name: "w", Cluster: "cluster1"}, {Namespace: "argo", Name: "going", Cluster: "cluster1", Deleted: now.Add(-time.Minute)}},
		Tombstones: []Tombstone{{Name: "tombstone-u-1", Workflow: "argo/x", Cluster: "cluster1", Since: now.Add(-time.Minute)}},
	}
	for _, f := range change {
		f(&facts)
	}
	return facts
}

// wec1 changes the facts of cluster1.
func wec1(change func(*Cluster)) func(*Facts) { return func(f *Facts) { change(&f.Clusters[0]) } }

// inside changes those of its namespace.
func inside(change func(*Namespace)) func(*Facts) {
	return func(f *Facts) { change(&f.Clusters[0].Namespaces[0]) }
}

func TestNothingIsWrong(t *testing.T) {
	cases := map[string]struct {
		reason string
		change func(*Facts)
	}{
		"Healthy": {"nothing is wrong", func(*Facts) {}},
		"Dedicated": {"no controller is there and none is held off", func(f *Facts) {
			f.Controllers, f.Guarded, f.Running, f.Profile = nil, nil, nil, stellarflow.ProfileDedicated
		}},
		"Stopped":    {"a dedicated hub's controller is scaled to 0, and held off if it is not", func(f *Facts) { f.Running, f.Profile = nil, stellarflow.ProfileDedicated }},
		"Archives":   {"the manager knows of the archive", func(f *Facts) { f.Archive, f.Archived = *archive("a in (b)"), archive("a in (b)") }},
		"Unknown":    {"what is archived cannot be known", func(f *Facts) { f.Archive = *archive("all") }},
		"OCM":        {"a cluster that never joined is somebody else's", wec1(func(c *Cluster) { c.Joined, c.Credential = false, false })},
		"NoVersions": {"an unknown version differs from none", wec1(func(c *Cluster) { c.Argo = "" })},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			if got := Diagnose(healthy(tc.change)); len(got) > 0 {
				t.Errorf("%s: %+v", tc.reason, got)
			}
		})
	}
}

// archive is what a text says.
func archive(text string) *stellarflow.Archive {
	parsed, _ := stellarflow.ParseArchive(text)
	return &parsed
}

// Every finding: what it takes, and the command that mends it.
func TestFindings(t *testing.T) {
	trouble := func(reason, message string) *wec.Trouble { return &wec.Trouble{Reason: reason, Message: message} }
	const (
		install = "stellarflow install --kubeconfig hub"
		rejoin  = "stellarflow join cluster1 --kubeconfig FILE --hub-kubeconfig hub"
		restart = "kubectl --kubeconfig hub -n stellarflow-system rollout restart deployment stellarflow-hub"
	)
	cases := map[ID][]struct {
		reason   string
		change   func(*Facts)
		severity Severity
		remedy   string
	}{
		HubNotInstalled:  {{"no namespace", func(f *Facts) { f.Installed = false }, Problem, "stellarflow install --artifact-store FILE --kubeconfig hub"}},
		HubObjectMissing: {{"deleted by hand", func(f *Facts) { f.Objects[0].Missing = true }, Problem, install}},
		HubObjectDiffers: {{"another version's", func(f *Facts) { f.Objects[0].Differs = ".rules" }, Warning, install}},
		HubCRDNotServed:  {{"its names are taken", func(f *Facts) { f.Unserved = []string{"x"} }, Problem, install}},
		HubArgoMissing:   {{"Argo was removed", func(f *Facts) { f.NoArgo = true }, Problem, "kubectl --kubeconfig hub apply -k 'https://github.com/argoproj/argo-workflows/manifests/base/crds/minimal?ref=v3.7.18'"}},
		HubRightMissing:  {{"a rule was removed", func(f *Facts) { f.HubRights = []string{"list pods"} }, Problem, install}},
		ManagerScaledToZero: {{
			"a person scaled it", func(f *Facts) { f.Manager.Replicas, f.Manager.Leader, f.Manager.Installs = 0, "", 2 }, Problem,
			"kubectl --kubeconfig hub -n stellarflow-system scale deployment stellarflow-hub --replicas=2",
		}},
		ManagerUnavailable: {{"it crashes", func(f *Facts) { f.Manager.Waits = "0 of 1 pods are available" }, Problem, restart}},
		ManagerNoLeader:    {{"nobody leads", func(f *Facts) { f.Manager.Leader = "" }, Problem, restart}},
		GuardMissing:       {{"a binding was deleted", func(f *Facts) { f.Objects[1].Missing = true }, Problem, install}},
		GuardDiffers:       {{"a condition was changed", func(f *Facts) { f.Objects[1].Differs = ".spec" }, Problem, install}},
		ControllerNotGuarded: {
			{"another Argo was installed", func(f *Facts) { f.Controllers = []string{"argo", "team"} }, Problem, install},
		},
		ControllerNotFound: {
			{"it was removed", func(f *Facts) { f.Guarded = []string{"argo", "old"} }, Warning, install},
			{"none is left", func(f *Facts) { f.Controllers, f.Running = nil, nil }, Warning, "stellarflow install --argo-controller none --kubeconfig hub"},
			{"none is left on a dedicated hub", func(f *Facts) {
				f.Controllers, f.Running, f.Profile = nil, nil, stellarflow.ProfileDedicated
			}, Warning, install},
		},
		ControllerRuns: {{
			"somebody started it", func(f *Facts) { f.Profile = stellarflow.ProfileDedicated }, Problem,
			"kubectl --kubeconfig hub -n argo scale deployment workflow-controller --replicas=0",
		}},
		ControllerNone: {
			{"somebody stopped it", func(f *Facts) { f.Running = nil }, Warning, "stellarflow install --profile dedicated --kubeconfig hub"},
			{"there never was one", func(f *Facts) { f.Running, f.Controllers, f.Guarded = nil, nil, nil }, Warning, "stellarflow install --profile dedicated --kubeconfig hub"},
		},
		ArchiveDiffers: {
			{"the ConfigMap has an archive now", func(f *Facts) { f.Archived = archive("all") }, Warning, "stellarflow install --kubeconfig hub"},
			{"of fewer than before", func(f *Facts) { f.Archive, f.Archived = *archive("all"), archive("a=b") }, Warning, "stellarflow install --kubeconfig hub"},
			{"of a dedicated hub, whose controller keeps house", func(f *Facts) {
				f.Profile, f.Running, f.Archived = stellarflow.ProfileDedicated, nil, archive("all")
			}, Warning, "stellarflow install --kubeconfig hub"},
			{"it has none any more", func(f *Facts) { f.Archive, f.Archived = *archive("all"), archive("none") }, Problem, "stellarflow install --kubeconfig hub"},
		},
		StoreMissing: {{"its Secret was deleted", func(f *Facts) { f.Store.Missing = true }, Problem, "stellarflow install --artifact-store FILE --kubeconfig hub"}},
		StoreInvalid: {{"no endpoint", func(f *Facts) { f.Store.Invalid = "endpoint is missing" }, Problem, "stellarflow install --artifact-store FILE --kubeconfig hub"}},
		StoreUnreachable: {
			{"it may be reached from the clusters", func(f *Facts) { f.Store.Check, f.Store.Trouble = artifact.CheckEndpoint, "no answer" }, Warning, "stellarflow install --artifact-store FILE --kubeconfig hub"},
		},
		StoreRefuses: {
			{"a wrong secret key", func(f *Facts) { f.Store.Check, f.Store.Trouble = artifact.CheckCredentials, "rejected" }, Problem, "stellarflow install --artifact-store FILE --kubeconfig hub"},
			{"the bucket is gone", func(f *Facts) { f.Store.Check, f.Store.Trouble = artifact.CheckBucket, "no bucket" }, Problem, "stellarflow install --artifact-store FILE --kubeconfig hub"},
			{"it is read-only", func(f *Facts) { f.Store.Check, f.Store.Trouble = artifact.CheckWrite, "denied" }, Problem, "stellarflow install --artifact-store FILE --kubeconfig hub"},
		},
		StoreSecretDiffers: {
			{"the key was changed", func(f *Facts) { f.StaleSecrets = []StaleSecret{{Namespace: "argo", Ours: true}} }, Problem, install},
			{
				"a person made it", func(f *Facts) { f.HubID, f.StaleSecrets = "u-1", []StaleSecret{{Namespace: "argo"}} }, Warning,
				"kubectl --kubeconfig hub -n argo label secret stellarflow-artifacts --overwrite stellarflow.io/origin=u-1 && " + install,
			},
		},
		StoreSecretMissing:   {{"somebody deleted it", func(f *Facts) { f.NoSecrets = []string{"argo"} }, Problem, install}},
		ClusterNoCredential:  {{"its Secret was deleted", wec1(func(c *Cluster) { c.Credential = false }), Problem, rejoin}},
		ClusterLeftover:      {{"its ManagedCluster was deleted", wec1(func(c *Cluster) { c.Joined = false }), Warning, "stellarflow leave cluster1 --hub-kubeconfig hub"}},
		ClusterBadCredential: {{"somebody edited it", wec1(func(c *Cluster) { c.BadCredential = "no context" }), Problem, rejoin}},
		ClusterUnreachable: {
			{"it is down", wec1(func(c *Cluster) {
				c.Trouble, c.NotConnected = trouble(wec.ReasonUnreachable, "no route"), "no route"
			}), Problem, "kubectl --kubeconfig FILE get --raw /readyz"},
			{"only this machine cannot reach it", wec1(func(c *Cluster) { c.Trouble = trouble(wec.ReasonUnreachable, "no route") }), Warning, "kubectl --kubeconfig FILE get --raw /readyz"},
		},
		ClusterRejects: {{"the token was revoked", wec1(func(c *Cluster) { c.Trouble = trouble(wec.ReasonUnauthorized, "401") }), Problem, rejoin}},
		ClusterRightMissing: {{"a rule was removed", wec1(func(c *Cluster) {
			c.Trouble, c.Rights = trouble(wec.ReasonForbidden, "403"), []string{"list workflows.argoproj.io"}
		}), Problem, rejoin}},
		ClusterArgoMissing: {{"its CRD is gone", wec1(func(c *Cluster) { c.Trouble = trouble(wec.ReasonArgoMissing, "404") }), Problem, "kubectl --kubeconfig FILE apply -k 'https://github.com/argoproj/argo-workflows/manifests/base/crds/minimal?ref=v3.7.18'"}},
		ClusterArgoDiffers: {{"one was upgraded", wec1(func(c *Cluster) { c.Argo = "v3.6.0" }), Warning, rejoin}},
		ClusterClock:       {{"NTP is off", wec1(func(c *Cluster) { c.Trouble = trouble(wec.ReasonClockSkew, "skew") }), Problem, "chronyc makestep"}},
		ClusterChanged: {
			{"it was rebuilt", wec1(func(c *Cluster) { c.Changed = true }), Problem, "stellarflow leave cluster1 --force --hub-kubeconfig hub && " + rejoin},
			{"what its join named is not lost", wec1(func(c *Cluster) {
				c.Changed, c.Accepted, c.Labels = true, "a,b", "gpu=true,region=eu"
			}), Problem, "stellarflow leave cluster1 --force --hub-kubeconfig hub && " + rejoin + " --namespaces a,b --labels gpu=true,region=eu"},
		},
		ClusterLease:        {{"another hub with this id", wec1(func(c *Cluster) { c.Lease = "x holds it" }), Problem, restart}},
		ClusterNotConnected: {{"only the hub cannot reach it", wec1(func(c *Cluster) { c.NotConnected = "i/o timeout" }), Problem, restart}},
		ClusterOldStoreKeys: {{"the key was changed", wec1(func(c *Cluster) { c.OldStoreKeys = true }), Problem, rejoin}},
		NamespaceMissing:    {{"it was deleted", inside(func(n *Namespace) { n.Missing = true }), Problem, "kubectl --kubeconfig FILE create namespace argo && " + rejoin}},
		AccountMissing:      {{"it was deleted", inside(func(n *Namespace) { n.Accounts = []string{"runner"} }), Problem, "kubectl --kubeconfig FILE -n argo create serviceaccount runner"}},
		BindingMissing: {{
			"it was deleted", inside(func(n *Namespace) { n.Bindings = []string{"default"} }), Warning,
			"kubectl --kubeconfig FILE -n argo create rolebinding stellarflow-executor-default --clusterrole=stellarflow-executor --serviceaccount=argo:default",
		}},
		RepositoryMissing: {{"it was deleted", inside(func(n *Namespace) { n.NoRepository = true }), Warning, rejoin}},
		RepositoryOtherBucket: {{
			"the cluster's own", inside(func(n *Namespace) { n.OtherStore = "s3/mine" }), Problem,
			"kubectl --kubeconfig FILE -n argo delete configmap artifact-repositories && " + rejoin,
		}},
		SecretMissing: {{"it was deleted", inside(func(n *Namespace) { n.NoSecret = true }), Warning, rejoin}},
		OrphanFound:   {{"its hub copy was removed by force", wec1(func(c *Cluster) { c.Orphans = []Orphan{{Key: "argo/w", Why: "why"}} }), Problem, "stellarflow orphans adopt cluster1 argo/w --kubeconfig hub"}},
		WorkflowsNotSynced: {
			{"its cluster is away", func(f *Facts) { f.Workflows[0].Sync = "cannot be reached" }, Warning, "stellarflow explain w -n argo --kubeconfig hub"},
		},
		WorkflowNotDeleted: {
			{"its cluster is lost", func(f *Facts) { f.Workflows[0].Deleted = now.Add(-time.Hour) }, Problem, "stellarflow abandon w --yes -n argo --kubeconfig hub"},
			{"it is finished", func(f *Facts) { f.Workflows[0].Deleted, f.Workflows[0].Finished = now.Add(-time.Hour), true }, Problem, "stellarflow leave cluster1 --hub-kubeconfig hub"},
		},
		RequestUnanswered: {{"no manager answers", func(f *Facts) { f.Workflows[0].Request = "abandon" }, Problem, restart}},
		TombstoneWaits: {{
			"its cluster is not back", func(f *Facts) { f.Tombstones[0].Since = now.Add(-time.Hour) }, Warning,
			"kubectl --kubeconfig hub -n stellarflow-system delete configmap tombstone-u-1",
		}},
	}
	for _, id := range IDs() {
		if len(cases[id]) == 0 {
			t.Errorf("%s has no case", id)
		}
		for _, tc := range cases[id] {
			t.Run(string(id), func(t *testing.T) {
				got := Diagnose(healthy(tc.change))
				if len(got) != 1 {
					t.Fatalf("%s: want one finding, got %+v", tc.reason, got)
				}
				want := Finding{ID: id, Severity: tc.severity, Group: got[0].Group, Which: got[0].Which, What: got[0].What, Remedy: tc.remedy}
				if diff := cmp.Diff(want, got[0]); diff != "" {
					t.Errorf("%s (-want +got):\n%s", tc.reason, diff)
				}
				if got[0].Which == "" || got[0].What == "" || got[0].Group == "" || strings.HasSuffix(got[0].What, ".") {
					t.Errorf("it does not say what is wrong with what: %+v", got[0])
				}
			})
		}
	}
	if len(cases) != len(IDs()) {
		t.Errorf("%d cases for %d findings", len(cases), len(IDs()))
	}
}

// What follows from something else is not said beside it.
func TestOneCauseOneFinding(t *testing.T) {
	cases := map[string]struct {
		reason string
		change func(*Facts)
		want   []ID
	}{
		"NotInstalled": {"nothing else was read", func(f *Facts) { f.Installed, f.Objects[0].Missing, f.Store.Missing = false, true, true }, []ID{HubNotInstalled}},
		"NoManager": {"nobody holds the clusters' Leases then", func(f *Facts) {
			f.Manager.Replicas, f.Manager.Leader, f.Clusters[0].Lease, f.Clusters[0].NotConnected = 0, "", "nobody holds it", "starting"
		}, []ID{ManagerScaledToZero}},
		"NoRights": {"what needs them cannot be known", wec1(func(c *Cluster) { c.Rights, c.Lease, c.NotConnected = []string{"x"}, "?", "may not" }), []ID{ClusterRightMissing}},
		"Away": {"nothing in it was read", wec1(func(c *Cluster) {
			c.Trouble, c.NotConnected, c.Lease = &wec.Trouble{Reason: wec.ReasonUnreachable}, "away", "?"
		}), []ID{ClusterUnreachable}},
		"Many": {"Workflows that wait for one cluster are one finding", func(f *Facts) {
			f.Workflows[0].Sync, f.Workflows[1].Sync = "s", "s"
		}, []ID{WorkflowsNotSynced}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			var got []ID
			for _, finding := range Diagnose(healthy(tc.change)) {
				got = append(got, finding.ID)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", tc.reason, diff)
			}
		})
	}
}

// A Lease runs out when only the hub manager does not reach a cluster: what it says is the cause.
func TestLostLeaseSaysWhy(t *testing.T) {
	found := Diagnose(healthy(wec1(func(c *Cluster) { c.Lease, c.NotConnected = "a has not renewed it", "i/o timeout" })))
	if len(found) != 1 || found[0].ID != ClusterLease || found[0].What != "a has not renewed it; the hub manager says: i/o timeout" {
		t.Errorf("%+v", found)
	}
}

func TestProblems(t *testing.T) {
	facts := healthy(func(f *Facts) { f.Objects[0].Differs, f.Store.Missing = ".x", true })
	before := slices.Clone(facts.Objects)
	first := Diagnose(facts)
	if Problems(first) != 1 || len(first) != 2 {
		t.Errorf("want one problem and one warning, got %+v", first)
	}
	if diff := cmp.Diff(first, Diagnose(facts)); diff != "" || !slices.Equal(before, facts.Objects) {
		t.Errorf("twice, the same answer: %s", diff)
	}
}

func TestDiffers(t *testing.T) {
	object := func(pairs ...any) map[string]any {
		m := map[string]any{}
		for i := 0; i < len(pairs); i += 2 {
			m[pairs[i].(string)] = pairs[i+1]
		}
		return m
	}
	cases := map[string]struct {
		reason        string
		wanted, there any
		want          string
	}{
		"Same":     {"equal", object("a", int64(1)), object("a", int64(1)), ""},
		"Default":  {"the API server's defaults do not count", object("a", "x"), object("a", "x", "b", "y"), ""},
		"Value":    {"changed", object("a", object("b", "x")), object("a", object("b", "y")), ".a.b"},
		"Missing":  {"removed", object("a", object("b", "x")), object(), ".a"},
		"Shorter":  {"an element was removed", object("a", []any{"x", "y"}), object("a", []any{"x"}), ".a"},
		"Longer":   {"an element was added: a rule may be too much", object("a", []any{"x"}), object("a", []any{"x", "y"}), ".a"},
		"Element":  {"an element was changed", object("a", []any{object("b", "x")}), object("a", []any{object("b", "y", "c", "z")}), ".a[0].b"},
		"Empty":    {"an empty list or map is as good as none", object("a", []any{}, "b", map[string]any{}), object(), ""},
		"Null":     {"a null is as good as nothing", object("creationTimestamp", nil), object("creationTimestamp", "T"), ""},
		"False":    {"what is false is not stored", object("preserveUnknownFields", false), object(), ""},
		"True":     {"what is true is", object("a", true), object(), ".a"},
		"NotAList": {"another type", object("a", []any{"x"}), object("a", "x"), ".a"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			if got := Differs(tc.wanted, tc.there); got != tc.want {
				t.Errorf("%s: want %q, got %q", tc.reason, tc.want, got)
			}
		})
	}
}

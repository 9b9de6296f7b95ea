package diagnosis

import (
	"fmt"
	"strings"

	"stellarflow.io/stellarflow/pkg/artifact"
	"stellarflow.io/stellarflow/pkg/wec"
)

// about is a cluster's findings while they are collected.
type about struct {
	*Facts
	*Cluster
	findings []Finding
}

func (a *about) add(id ID, severity Severity, which, what, remedy string) {
	a.findings = append(a.findings, Finding{id, severity, GroupCluster + string(a.Name), which, what, remedy})
}

// join is the command that joins a cluster again, which restores credential, rights and what the accepted namespaces need.
func (a *about) join() string {
	return join("stellarflow join", string(a.Name), "--kubeconfig FILE", a.WECFlags)
}

// leave is the command that takes a cluster out.
func (a *about) leave(flags string) string {
	return join("stellarflow leave", string(a.Name), flags, a.WECFlags)
}

// flag is a flag with its value; empty if there is none.
func flag(name, value string) string {
	if value == "" {
		return ""
	}
	return name + " " + value
}

func (f *Facts) cluster(c *Cluster) []Finding {
	a := &about{Facts: f, Cluster: c}
	secret, managed := "Secret stellarflow-system/cluster-"+string(c.Name), "ManagedCluster "+string(c.Name)
	switch {
	case c.Joined && !c.Credential:
		a.add(ClusterNoCredential, Problem, secret, "it is missing: the hub cannot reach the cluster", a.join())
		return a.findings
	case !c.Credential:
		return nil // it never joined: it is somebody else's
	case !c.Joined:
		a.add(ClusterLeftover, Warning, secret, "there is no ManagedCluster for it: a leave was interrupted, or somebody deleted it", a.leave(""))
		return a.findings
	case c.BadCredential != "":
		a.add(ClusterBadCredential, Problem, secret, c.BadCredential, a.join())
		return a.findings
	case c.Changed:
		a.add(ClusterChanged, Problem, managed, "behind its address is another cluster than the one that joined: bring that back, or give up what was placed there and join this one anew",
			a.leave("--force")+" && "+join(a.join(), flag("--namespaces", a.Accepted), flag("--labels", a.Labels)))
		return a.findings
	}
	if !a.reached(managed) {
		return a.findings
	}
	if len(c.Rights) > 0 {
		a.add(ClusterRightMissing, Problem, "ServiceAccount stellarflow-system/stellarflow there", "the hub may not: "+strings.Join(c.Rights, ", "), a.join())
	}
	if c.Argo != "" && c.HubArgo != "" && c.Argo != c.HubArgo {
		a.add(ClusterArgoDiffers, Warning, managed, fmt.Sprintf("Argo was %s there when it joined, and is %s on the hub: bring both to one version, and join it again to have it read anew", c.Argo, c.HubArgo), a.join())
	}
	a.held(managed)
	if a.OldStoreKeys {
		a.add(ClusterOldStoreKeys, Problem, managed, "its namespaces have earlier credentials than the store: their pods lose it once these are revoked", a.join())
	}
	for i := range c.Namespaces {
		a.namespace(&c.Namespaces[i])
	}
	for _, orphan := range c.Orphans {
		a.add(OrphanFound, Problem, "Workflow "+orphan.Key+" there", orphan.Why+": adopt it, or delete it with `stellarflow orphans delete`",
			join("stellarflow orphans adopt", string(c.Name), orphan.Key, f.HubFlags))
	}
	return a.findings
}

// reached says what the probe found, and whether the cluster can be asked more.
func (a *about) reached(managed string) bool {
	if a.Trouble == nil {
		return true
	}
	switch what := a.Trouble.Message; a.Trouble.Reason {
	case wec.ReasonForbidden: // the rights are said one by one
		return true
	case wec.ReasonClockSkew:
		a.add(ClusterClock, Problem, managed, what, "chronyc makestep")
		return true
	case wec.ReasonUnauthorized:
		a.add(ClusterRejects, Problem, managed, what, a.join())
	case wec.ReasonArgoMissing:
		a.add(ClusterArgoMissing, Problem, managed, what, "kubectl --kubeconfig FILE "+applyArgo(a.Argo))
	default:
		severity := Problem
		if a.NotConnected == "" {
			severity, what = Warning, "the hub reaches it, and from here: "+what
		}
		a.add(ClusterUnreachable, severity, managed, what+". Start it, or mend the way to it; if it is lost for good, `"+a.leave("--force")+"` gives up what was placed there",
			"kubectl --kubeconfig FILE get --raw /readyz")
	}
	return false
}

// held says whether the hub manager acts there.
func (a *about) held(managed string) {
	restart := a.kubectl("-n stellarflow-system rollout restart deployment stellarflow-hub")
	switch {
	case a.Lease != "" && len(a.Rights) == 0 && a.Manager.Leader != "":
		what := a.Lease
		if a.NotConnected != "" { // the Lease may only have run out because of that
			what += "; the hub manager says: " + a.NotConnected
		}
		a.add(ClusterLease, Problem, "Lease of this hub there", what, restart)
	case a.NotConnected != "" && a.Trouble == nil && len(a.Rights) == 0 && a.Manager.Leader != "":
		a.add(ClusterNotConnected, Problem, managed, "from here it can be used, and the hub manager says: "+a.NotConnected, restart)
	}
}

func (a *about) namespace(n *Namespace) {
	which := "Namespace " + n.Name + " there"
	there := func(words string) string { return "kubectl --kubeconfig FILE " + words }
	if n.Missing {
		a.add(NamespaceMissing, Problem, which, "it is accepted and does not exist", there("create namespace "+n.Name)+" && "+a.join())
		return
	}
	for _, account := range n.Accounts {
		a.add(AccountMissing, Problem, "ServiceAccount "+n.Name+"/"+account+" there", "it is missing: Workflows that run as it are refused", there("-n "+n.Name+" create serviceaccount "+account))
	}
	const later = "it is missing; the hub creates it with the next Workflow there"
	for _, account := range n.Bindings {
		name := "stellarflow-executor-" + account
		a.add(BindingMissing, Warning, "RoleBinding "+n.Name+"/"+name+" there", later+", and until then pods cannot report results",
			there(fmt.Sprintf("-n %s create rolebinding %s --clusterrole=stellarflow-executor --serviceaccount=%s:%s", n.Name, name, n.Name, account)))
	}
	repository := "ConfigMap " + n.Name + "/" + artifact.ConfigMapName + " there"
	switch {
	case n.NoRepository:
		a.add(RepositoryMissing, Warning, repository, later+", and until then logs and artifacts are not kept", a.join())
	case n.OtherStore != "":
		a.add(RepositoryOtherBucket, Problem, repository, "it names "+n.OtherStore+" and not the shared store: the hub cannot show logs and artifacts of Workflows there",
			there("-n "+n.Name+" delete configmap "+artifact.ConfigMapName)+" && "+a.join())
	}
	if n.NoSecret {
		a.add(SecretMissing, Warning, "Secret "+n.Name+"/"+artifact.CredentialsSecret+" there", later+", and until then pods cannot reach the store", a.join())
	}
}

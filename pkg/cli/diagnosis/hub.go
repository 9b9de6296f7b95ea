package diagnosis

import (
	"fmt"
	"slices"
	"strings"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
	"stellarflow.io/stellarflow/pkg/artifact"
)

// install is the command that brings the installation up to date. A hub without an Argo controller has to be told.
func (f *Facts) install(flags ...string) string {
	words := []string{"stellarflow install"}
	if len(f.Controllers) == 0 && f.Profile != stellarflow.ProfileDedicated {
		words = append(words, "--argo-controller none")
	}
	return join(append(append(words, flags...), f.HubFlags)...)
}

// kubectl is a command on the hub.
func (f *Facts) kubectl(words string) string { return join("kubectl", f.HubFlags, words) }

// tested is the version of Argo that this version of stellarflow was tested with.
const tested = "v3.7.18"

// applyArgo is the command that brings Argo's CRDs.
func applyArgo(version string) string {
	if version == "" {
		version = tested
	}
	return "apply -k 'https://github.com/argoproj/argo-workflows/manifests/base/crds/minimal?ref=" + version + "'"
}

// versions is the first version of Argo that a cluster has.
func versions(clusters []Cluster) string {
	for i := range clusters {
		if clusters[i].Argo != "" {
			return clusters[i].Argo
		}
	}
	return ""
}

// join puts words together and leaves out the empty ones.
func join(words ...string) string {
	return strings.Join(slices.DeleteFunc(slices.Clone(words), func(word string) bool { return word == "" }), " ")
}

func (f *Facts) hub() []Finding {
	if !f.Installed {
		return []Finding{{
			HubNotInstalled, Problem, GroupHub, "Namespace " + stellarflow.SystemNamespace, "it does not exist: the hub is not installed",
			f.install("--artifact-store FILE"),
		}}
	}
	var found []Finding
	for _, object := range f.Objects {
		switch {
		case object.Guard:
		case object.Missing:
			found = append(found, Finding{HubObjectMissing, Problem, GroupHub, object.Name, "it is missing", f.install()})
		case object.Differs != "":
			found = append(found, Finding{
				HubObjectDiffers, Warning, GroupHub, object.Name,
				fmt.Sprintf("it is not what this version of stellarflow installs (%s)", object.Differs), f.install(),
			})
		}
	}
	for _, crd := range f.Unserved {
		found = append(found, Finding{HubCRDNotServed, Problem, GroupHub, "CustomResourceDefinition " + crd, "the API server does not serve it", f.install()})
	}
	if f.NoArgo {
		found = append(found, Finding{
			HubArgoMissing, Problem, GroupHub, "workflows.argoproj.io/v1alpha1", "the hub does not serve it: install Argo Workflows, or at least its CRDs, of the version that the clusters have",
			f.kubectl(applyArgo(versions(f.Clusters))),
		})
	}
	if len(f.HubRights) > 0 {
		found = append(found, Finding{
			HubRightMissing, Problem, GroupHub, "ServiceAccount " + stellarflow.SystemNamespace + "/stellarflow-hub",
			"the hub manager may not: " + strings.Join(f.HubRights, ", "), f.install(),
		})
	}
	return found
}

func (f *Facts) manager() []Finding {
	m, which := f.Manager, "Deployment "+stellarflow.SystemNamespace+"/stellarflow-hub"
	switch {
	case !f.Installed || !m.Found:
		return nil
	case m.Replicas == 0:
		return []Finding{{
			ManagerScaledToZero, Problem, GroupManager, which, "it is scaled to 0: nothing is placed or mirrored",
			f.kubectl(fmt.Sprintf("-n %s scale deployment stellarflow-hub --replicas=%d", stellarflow.SystemNamespace, max(m.Installs, 1))),
		}}
	case m.Waits != "":
		return []Finding{{
			ManagerUnavailable, Problem, GroupManager, which, "it is not available: " + m.Waits,
			f.kubectl("-n " + stellarflow.SystemNamespace + " rollout restart deployment stellarflow-hub"),
		}}
	case m.Leader == "":
		return []Finding{{
			ManagerNoLeader, Problem, GroupManager, "Lease " + stellarflow.SystemNamespace + "/stellarflow-hub",
			"no hub manager holds it, so none acts: if that stays so for a minute, start them anew",
			f.kubectl("-n " + stellarflow.SystemNamespace + " rollout restart deployment stellarflow-hub"),
		}}
	}
	return nil
}

func (f *Facts) guard() []Finding {
	var found []Finding
	for _, object := range f.Objects {
		switch {
		case !f.Installed || !object.Guard:
		case object.Missing:
			found = append(found, Finding{GuardMissing, Problem, GroupGuard, object.Name, "it is missing: what it keeps from placed Workflows can happen to them now", f.install()})
		case object.Differs != "":
			found = append(found, Finding{
				GuardDiffers, Problem, GroupGuard, object.Name,
				fmt.Sprintf("it is not what this version of stellarflow installs (%s)", object.Differs), f.install(),
			})
		}
	}
	if !f.Installed {
		return nil
	}
	for _, user := range f.Controllers {
		if !slices.Contains(f.Guarded, user) {
			found = append(found, Finding{
				ControllerNotGuarded, Problem, GroupGuard, user,
				"an Argo controller of the hub runs as this user, and the guard does not hold it off: it will show placed Workflows as failed", f.install(),
			})
		}
	}
	for _, user := range f.Guarded {
		if !slices.Contains(f.Controllers, user) {
			found = append(found, Finding{
				ControllerNotFound, Warning, GroupGuard, user,
				"the guard holds this user off, and no Argo controller with it was found: if one runs outside of Deployments nothing needs to be done", f.install(),
			})
		}
	}
	return slices.Concat(found, f.archive(), f.profile())
}

// profile says where the Argo controllers that run are not those that the hub's profile is for.
func (f *Facts) profile() []Finding {
	var found []Finding
	if f.Profile == stellarflow.ProfileDedicated {
		for _, deployment := range f.Running {
			namespace, name, _ := strings.Cut(deployment, "/")
			found = append(found, Finding{
				ControllerRuns, Problem, GroupGuard, "Deployment " + deployment,
				"an Argo controller runs, and on a dedicated hub none may act on Workflows: it runs here what runs on the clusters too",
				f.kubectl(fmt.Sprintf("-n %s scale deployment %s --replicas=0", namespace, name)),
			})
		}
		return found
	}
	outside := slices.ContainsFunc(f.Guarded, func(user string) bool { return !slices.Contains(f.Controllers, user) })
	if len(f.Running) > 0 || outside {
		return nil
	}
	return []Finding{{
		ControllerNone, Warning, GroupGuard, "the hub",
		"it is a shared one, and no Argo controller runs there: a Workflow that is not suspended runs nowhere. Start the controller, or let this be a dedicated hub",
		join("stellarflow install --profile "+string(stellarflow.ProfileDedicated), f.HubFlags),
	}}
}

// archive says where the hub manager does not know what the Argo controllers archive. Labelled for an archive that there is not, a Workflow
// leaves the list of Argo's server.
func (f *Facts) archive() []Finding {
	if f.Archived == nil || f.Archived.String() == f.Archive.String() {
		return nil
	}
	severity, what := Warning, fmt.Sprintf("the Argo controller archives Workflows (%s), and the hub manager takes it for %s: placed ones are archived by that", f.Archived, f.Archive)
	if f.Archived.None() {
		severity, what = Problem, fmt.Sprintf("the hub manager has finished Workflows archived (%s), and the Argo controller has no archive: Argo's server does not list them any more", f.Archive)
	}
	return []Finding{{ArchiveDiffers, severity, GroupGuard, "the hub", what, f.install()}}
}

func (f *Facts) store() []Finding {
	return append(f.storeItself(), f.storeSecrets()...)
}

// secretIn names the Secret by which Argo's server reads what Workflows of a namespace have stored.
func secretIn(namespace string) string {
	return "Secret " + namespace + "/" + artifact.CredentialsSecret
}

// storeSecrets says which Secrets have not followed the store, or are missing.
func (f *Facts) storeSecrets() []Finding {
	var found []Finding
	for _, namespace := range f.NoSecrets {
		found = append(found, Finding{
			StoreSecretMissing, Problem, GroupStore, secretIn(namespace), "it is missing: logs and artifacts of Workflows there cannot be shown, and Argo's server says Internal Server Error", f.install(),
		})
	}
	for _, stale := range f.StaleSecrets {
		which := secretIn(stale.Namespace)
		if stale.Ours {
			found = append(found, Finding{
				StoreSecretDiffers, Problem, GroupStore, which,
				"it holds earlier or wrong credentials: once the store refuses them, logs and artifacts of Workflows there cannot be shown, and Argo's server says Internal Server Error", f.install(),
			})
			continue
		}
		found = append(found, Finding{
			StoreSecretDiffers, Warning, GroupStore, which, "somebody else made it, and it holds other credentials than the store has: if that is not on purpose, make it this hub's",
			f.kubectl(fmt.Sprintf("-n %s label secret %s --overwrite %s=%s", stale.Namespace, artifact.CredentialsSecret, stellarflow.LabelOrigin, f.HubID)) + " && " + f.install(),
		})
	}
	return found
}

func (f *Facts) storeItself() []Finding {
	which := "Secret " + stellarflow.SystemNamespace + "/artifact-store"
	install := f.install("--artifact-store FILE")
	switch s := f.Store; {
	case !f.Installed:
		return nil
	case s.Missing:
		return []Finding{{StoreMissing, Problem, GroupStore, which, "it is missing: Workflows have no place for logs and artifacts", install}}
	case s.Invalid != "":
		return []Finding{{StoreInvalid, Problem, GroupStore, which, s.Invalid, install}}
	case s.Check == artifact.CheckEndpoint:
		return []Finding{{StoreUnreachable, Warning, GroupStore, which, "from here, which need not be so from the clusters: " + s.Trouble, install}}
	case s.Check != "":
		return []Finding{{StoreRefuses, Problem, GroupStore, which, s.Trouble, install}}
	}
	return nil
}

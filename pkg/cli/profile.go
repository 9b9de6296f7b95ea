package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

// dedicatedFlag tells the manager that its hub is a dedicated one.
const dedicatedFlag = "--profile=" + string(stellarflow.ProfileDedicated)

// mayLift replaces the validation by which a placed Workflow stays suspended: on a dedicated hub spec.suspend is mirrored by the manager, and
// what a person lifts is asked of the cluster by an intent in the same write, or was not done there yet.
const mayLift = `!(has(oldObject.spec) && has(oldObject.spec.suspend) && oldObject.spec.suspend == true) ||
(has(object.spec) && has(object.spec.suspend) && object.spec.suspend == true) ||
request.userInfo.username == "system:serviceaccount:stellarflow-system:stellarflow-hub" ||
(has(object.metadata.annotations) && 'stellarflow.io/follows' in object.metadata.annotations &&
('stellarflow.io/intents' in object.metadata.annotations || !('stellarflow.io/suspended' in object.metadata.annotations)))`

const mayLiftMessage = "spec.suspend says whether this Workflow is suspended on its cluster (label stellarflow.io/cluster), and nobody would pass this change on: " +
	"run stellarflow install, which brings the webhook that does"

// dedicatedPatches are what a dedicated hub has otherwise than config/.
func dedicatedPatches() []patch {
	return []patch{
		jsonPatch("ValidatingAdmissionPolicy", "stellarflow-guard-suspend",
			map[string]any{"op": "test", "path": "/spec/validations/0/reason", "value": "Forbidden"},
			map[string]any{"op": "replace", "path": "/spec/validations/0/expression", "value": mayLift},
			map[string]any{"op": "replace", "path": "/spec/validations/0/message", "value": mayLiftMessage}),
		jsonPatch("Deployment", hubDeployment,
			map[string]any{"op": "test", "path": "/spec/template/spec/containers/0/args/0", "value": "--leader-elect"},
			map[string]any{"op": "add", "path": "/spec/template/spec/containers/0/args/-", "value": dedicatedFlag}),
	}
}

// givenProfile is the profile of --profile, empty for none.
func givenProfile(name string) (stellarflow.Profile, error) {
	if name == "" {
		return "", nil
	}
	profile, err := stellarflow.ParseProfile(name)
	if err != nil {
		return "", usagef("--profile %q: %w", name, err)
	}
	return profile, nil
}

// profileOf is the profile that pods are started with.
func profileOf(pod *corev1.PodSpec) stellarflow.Profile {
	if slices.ContainsFunc(pod.Containers, func(c corev1.Container) bool { return slices.Contains(c.Args, dedicatedFlag) }) {
		return stellarflow.ProfileDedicated
	}
	return stellarflow.ProfileShared
}

// presentProfile is the profile of the hub that is installed, shared if none is.
func presentProfile(ctx context.Context, hub client.Client) (stellarflow.Profile, error) {
	pod, err := presentPod(ctx, hub)
	return profileOf(pod), err
}

// chooseProfile decides the profile of an installation, and refuses one that would let an Argo controller of the hub run what runs on a
// cluster. It reports whether Workflows have to be suspended again, which a dedicated hub has placed.
func chooseProfile(ctx context.Context, hub client.Client, given stellarflow.Profile, trusted bool) (profile stellarflow.Profile, suspends bool, err error) {
	present, err := presentProfile(ctx, hub)
	if err != nil {
		return "", false, err
	}
	if profile = given; profile == "" {
		profile = present
	}
	following, err := listFollowing(ctx, hub)
	if err != nil {
		return "", false, err
	}
	suspends = profile == stellarflow.ProfileShared && (present == stellarflow.ProfileDedicated || len(following) > 0)
	if !suspends && (profile == stellarflow.ProfileShared || trusted) {
		return profile, suspends, nil
	}
	found, err := findControllers(ctx, hub)
	if err != nil {
		return "", false, err
	}
	running := runningOf(found)
	switch {
	case len(running) == 0:
		return profile, suspends, nil
	case suspends:
		return "", false, fmt.Errorf("an Argo controller runs on this hub, which is a dedicated one, and would start %d placed Workflows here that are not suspended: "+
			"scale it to 0 (%s), install again, and scale it up when that has ended", len(following), scaleToZero(running))
	}
	return "", false, fmt.Errorf("an Argo controller runs on the hub, and on a dedicated hub none may act on Workflows: scale it to 0 (%s), start it with --workflow-workers=0, install with --profile shared, "+
		"or, if it does not act on the Workflows of this hub, say so with --argo-controller none", scaleToZero(running))
}

// scaleToZero are the commands that stop Deployments, NAMESPACE/NAME.
func scaleToZero(running []string) string {
	commands := make([]string, 0, len(running))
	for _, deployment := range running {
		namespace, name, _ := strings.Cut(deployment, "/")
		commands = append(commands, fmt.Sprintf("kubectl -n %s scale deployment %s --replicas=0", namespace, name))
	}
	return strings.Join(commands, "; ")
}

// listFollowing are the placed Workflows whose spec.suspend is as their WEC copies' and not always true.
func listFollowing(ctx context.Context, hub client.Client) ([]metav1.PartialObjectMetadata, error) {
	placed, err := listWorkflows(ctx, hub, client.HasLabels{stellarflow.LabelCluster})
	return slices.DeleteFunc(placed, func(w metav1.PartialObjectMetadata) bool { return !stellarflow.FollowsWECCopy(&w) }), err
}

// awaitSuspended waits until no manager of a dedicated hub is left and all that it has placed is suspended.
func awaitSuspended(ctx context.Context, env Env, hub client.Client, limit time.Duration) error {
	said, err := poll(ctx, limit, func(ctx context.Context) (bool, string, error) {
		pods, err := managerPods(ctx, hub)
		if err != nil {
			return false, "", err
		}
		for i := range pods {
			if profileOf(&pods[i].Spec) == stellarflow.ProfileDedicated {
				return false, "pod " + pods[i].Name + " is one of a dedicated hub", nil
			}
		}
		following, err := listFollowing(ctx, hub)
		return err == nil && len(following) == 0, fmt.Sprintf("%d Workflows are left", len(following)), err
	})
	if err != nil {
		return fmt.Errorf("wait until placed Workflows are suspended on the hub again: %w (%s): start no Argo controller there, and run install again", err, said)
	}
	env.sayf("all placed Workflows are suspended on the hub again: an Argo controller may be started there")
	return nil
}

// errNotAwaited is what is said if nobody waits for a hub that was a dedicated one.
var errNotAwaited = errors.New("--wait=false cannot be used while a dedicated hub becomes a shared one: Workflows that are not suspended yet would be started by an Argo controller of the hub")

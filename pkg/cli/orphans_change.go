package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

// orphanCare is a change of one orphan on its way.
type orphanCare struct {
	env   Env
	hub   client.Client
	wec   storedWEC
	hubID types.UID
	key   client.ObjectKey
	wait  time.Duration // zero means not to wait
}

// changed is the answer of orphans adopt and delete.
type changed struct {
	Cluster   stellarflow.ClusterName `json:"cluster"`
	Namespace string                  `json:"namespace"`
	Name      string                  `json:"name"`
	// HubUID is that of the new hub copy; empty after a delete.
	HubUID types.UID `json:"hubUID,omitempty"`
	// Done is false if nobody waited for the end.
	Done    bool   `json:"done"`
	Message string `json:"message"`
}

func (c changed) print(out io.Writer) error {
	_, err := fmt.Fprintf(out, "%s/%s on %s: %s\n", c.Namespace, c.Name, c.Cluster, c.Message)
	return err
}

func orphansAdoptCommand(env Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "adopt CLUSTER NAMESPACE/NAME",
		Short: "Make a Workflow on the hub that an orphan belongs to",
		Long: `Make a Workflow on the hub that an orphan belongs to: with its name and spec, suspended, and never created anywhere. The hub shows its
status and its end from then on, also of one that has finished. It can be repeated if it was interrupted.`,
		Example: "  stellarflow orphans adopt cluster1 argo/hello-world-x7k2p",
		Args:    twoArgs,
	}
	return orphanCommand(env, cmd, func(ctx context.Context, c *orphanCare) (any, error) { return c.adopt(ctx) })
}

func orphansDeleteCommand(env Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "delete CLUSTER NAMESPACE/NAME",
		Short: "Delete an orphan and its pods",
		Long: `Delete an orphan and its pods. One that a Workflow of the hub claims is refused: delete that Workflow instead. Its end is not kept
anywhere but in the store.`,
		Example: "  stellarflow orphans delete cluster1 argo/hello-world-x7k2p",
		Args:    twoArgs,
	}
	return orphanCommand(env, cmd, func(ctx context.Context, c *orphanCare) (any, error) { return c.delete(ctx) })
}

// orphanCommand makes a command change the orphan that its arguments name.
func orphanCommand(env Env, cmd *cobra.Command, change func(context.Context, *orphanCare) (any, error)) *cobra.Command {
	hubFlags := addHubFlags(cmd, "")
	wait := cmd.Flags().Bool("wait", true, "wait until it is done")
	timeout := cmd.Flags().Duration("timeout", time.Minute, "how long to wait for that")
	return env.runs(cmd, func(ctx context.Context, env Env, args []string) (any, error) {
		cluster, key, err := parseOrphan(args)
		if err != nil {
			return nil, err
		}
		hub, err := hubFlags.connect()
		if err != nil {
			return nil, err
		}
		c := &orphanCare{env: env, hub: hub, key: key}
		if *wait {
			c.wait = *timeout
		}
		if err := c.find(ctx, cluster); err != nil {
			return nil, err
		}
		return change(ctx, c)
	})
}

// find finds the cluster and sees that it is the one that joined.
func (c *orphanCare) find(ctx context.Context, cluster stellarflow.ClusterName) error {
	var err error
	if c.hubID, err = readHubID(ctx, c.hub); err != nil {
		return err
	}
	wecs, err := storedWECs(ctx, c.env, c.hub)
	if err != nil {
		return err
	}
	at := slices.IndexFunc(wecs, func(w storedWEC) bool { return w.Name == cluster })
	if at < 0 {
		return fmt.Errorf("cluster %q is not joined: `stellarflow clusters` lists those that are", cluster)
	}
	c.wec = wecs[at]
	return c.wec.identify(ctx)
}

// orphan reads the WEC copy and refuses it if it is not ours, or if a Workflow of the hub other than except claims it.
func (c *orphanCare) orphan(ctx context.Context, except types.UID) (*unstructured.Unstructured, error) {
	wecCopy, err := c.wec.Clients.Objects.Resource(stellarflow.Workflows).Namespace(c.key.Namespace).Get(ctx, c.key.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, fmt.Errorf("there is no workflow %s on cluster %q: `stellarflow orphans list` shows what is there", c.key, c.wec.Name)
	}
	if err != nil {
		return nil, fmt.Errorf("read workflow %s on %q: %w", c.key, c.wec.Name, err)
	}
	if wecCopy.GetLabels()[stellarflow.LabelOrigin] != string(c.hubID) {
		return nil, fmt.Errorf("workflow %s on cluster %q is not from this hub: it is not touched", c.key, c.wec.Name)
	}
	workflows, err := listWorkflows(ctx, c.hub)
	if err != nil {
		return nil, err
	}
	workflows = slices.DeleteFunc(workflows, func(w metav1.PartialObjectMetadata) bool { return w.UID == except })
	if len(orphansAmong(c.wec, []metav1.PartialObjectMetadata{metadataOf(wecCopy)}, workflows, c.env.Now())) == 0 {
		return nil, fmt.Errorf("workflow %s on cluster %q is no orphan: it is the copy of the Workflow %s of the hub, delete that instead", c.key, c.wec.Name, c.key)
	}
	return wecCopy, nil
}

// metadataOf is what a list of metadata would show of a Workflow.
func metadataOf(workflow *unstructured.Unstructured) metav1.PartialObjectMetadata {
	return metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{
		Namespace: workflow.GetNamespace(), Name: workflow.GetName(), UID: workflow.GetUID(), Labels: workflow.GetLabels(),
		Annotations: workflow.GetAnnotations(), Finalizers: workflow.GetFinalizers(), CreationTimestamp: workflow.GetCreationTimestamp(),
	}}
}

func (c *orphanCare) answer() changed {
	return changed{Cluster: c.wec.Name, Namespace: c.key.Namespace, Name: c.key.Name}
}

// adopt creates the hub copy first: it is never created anywhere, and until the WEC copy names it nothing happens to either.
func (c *orphanCare) adopt(ctx context.Context) (any, error) {
	existing := stellarflow.NewWorkflowMetadata()
	err := c.hub.Get(ctx, c.key, existing)
	if client.IgnoreNotFound(err) != nil {
		return nil, fmt.Errorf("read workflow %s: %w", c.key, err)
	}
	if _, placed := stellarflow.PlacementOf(existing); placed {
		existing.UID = "" // whether it claims the copy is for its record to say
	}
	wecCopy, err := c.orphan(ctx, existing.UID)
	if err != nil {
		return nil, err
	}
	adopts := string(c.wec.Name) + "/" + string(wecCopy.GetUID())
	if existing.Name != "" && (existing.UID == "" || existing.Annotations[stellarflow.AnnotationAdopts] != adopts) {
		return nil, fmt.Errorf("a Workflow %s is on the hub already and is another: delete it first, or delete the orphan", c.key)
	}
	uid := existing.UID
	if existing.Name == "" {
		created := adopter(wecCopy, adopts)
		if err := c.hub.Create(ctx, created, client.FieldOwner(fieldManager)); err != nil {
			return nil, fmt.Errorf("create workflow %s on the hub: %w", c.key, err)
		}
		uid = created.GetUID()
	}
	if err := c.rename(ctx, wecCopy, uid); err != nil {
		return nil, err
	}
	return c.awaitAdopted(ctx, uid)
}

// adopter is the hub copy that takes an orphan over. Of the orphan's metadata it has what the user wrote; its spec runs nowhere.
func adopter(wecCopy *unstructured.Unstructured, adopts string) *unstructured.Unstructured {
	spec, _, _ := unstructured.NestedMap(wecCopy.Object, "spec")
	if spec == nil {
		spec = map[string]any{}
	}
	spec["suspend"] = true
	delete(spec, "shutdown")
	hubCopy := &unstructured.Unstructured{Object: map[string]any{"spec": spec}}
	hubCopy.SetGroupVersionKind(stellarflow.WorkflowKind)
	hubCopy.SetNamespace(wecCopy.GetNamespace())
	hubCopy.SetName(wecCopy.GetName())
	hubCopy.SetLabels(users(wecCopy.GetLabels()))
	annotations := users(wecCopy.GetAnnotations())
	annotations[stellarflow.AnnotationAdopts] = adopts
	hubCopy.SetAnnotations(annotations)
	return hubCopy
}

// users are the keys that neither we nor Argo's controller wrote.
func users(keys map[string]string) map[string]string {
	kept := map[string]string{}
	for key, value := range keys {
		argo := slices.Contains([]string{stellarflow.ArgoLabelCompleted, stellarflow.ArgoLabelPhase, stellarflow.ArgoLabelArchivingStatus, stellarflow.ArgoAnnotationPodNameFormat}, key)
		if !argo && !stellarflow.IsOurs(key) {
			kept[key] = value
		}
	}
	return kept
}

// rename makes the WEC copy name another hub copy, with a test on all that it was when it was found to be an orphan.
func (c *orphanCare) rename(ctx context.Context, wecCopy *unstructured.Unstructured, uid types.UID) error {
	const annotations = "/metadata/annotations/"
	hubUID, attempt := annotations+"stellarflow.io~1hub-uid", annotations+"stellarflow.io~1attempt"
	operations := []map[string]any{{"op": "test", "path": "/metadata/uid", "value": wecCopy.GetUID()}}
	if wecCopy.GetAnnotations() == nil {
		operations = append(operations, map[string]any{"op": "add", "path": "/metadata/annotations", "value": map[string]string{}})
	}
	if old, named := wecCopy.GetAnnotations()[stellarflow.AnnotationHubUID]; named {
		operations = append(operations, map[string]any{"op": "test", "path": hubUID, "value": old})
	}
	operations = append(operations, map[string]any{"op": "add", "path": hubUID, "value": uid}, map[string]any{"op": "add", "path": attempt, "value": strconv.Itoa(1)})
	raw, err := jsonOf(operations)
	if err != nil {
		return err
	}
	_, err = c.wec.Clients.Metadata.Resource(stellarflow.Workflows).Namespace(c.key.Namespace).Patch(ctx, c.key.Name, types.JSONPatchType, raw, metav1.PatchOptions{FieldManager: fieldManager})
	if err != nil {
		return fmt.Errorf("make workflow %s on %q the copy of the hub's: %w: run the command again; `kubectl -n %s delete workflow %s` on the hub takes it back", c.key, c.wec.Name, err, c.key.Namespace, c.key.Name)
	}
	return nil
}

// awaitAdopted waits until the hub manager has found the copy and recorded it.
func (c *orphanCare) awaitAdopted(ctx context.Context, uid types.UID) (any, error) {
	answer := c.answer()
	answer.HubUID = uid
	if c.wait == 0 {
		answer.Message = "a Workflow on the hub waits for the hub manager to follow it"
		return answer, nil
	}
	_, err := poll(ctx, c.wait, func(ctx context.Context) (bool, string, error) {
		hubCopy := stellarflow.NewWorkflowMetadata()
		if err := c.hub.Get(ctx, c.key, hubCopy); err != nil {
			return false, "", fmt.Errorf("read workflow %s: %w", c.key, err)
		}
		_, placed := stellarflow.PlacementOf(hubCopy)
		return placed && hubCopy.UID == uid, "", nil
	})
	if errors.Is(err, context.DeadlineExceeded) {
		return nil, fmt.Errorf("the hub manager does not follow workflow %s yet after %s: check that it runs (`kubectl -n %s get pods`) and is connected to %s (`stellarflow clusters`); it will when it is",
			c.key, c.wait, stellarflow.SystemNamespace, c.wec.Name)
	}
	answer.Done, answer.Message = err == nil, "adopted: `kubectl -n "+c.key.Namespace+" get workflow "+c.key.Name+"` on the hub shows it"
	return answer, err
}

// delete deletes the orphan, with its UID as precondition, takes our finalizer from it and waits until it is gone.
func (c *orphanCare) delete(ctx context.Context) (any, error) {
	wecCopy, err := c.orphan(ctx, "")
	if err != nil {
		return nil, err
	}
	uid, background := wecCopy.GetUID(), metav1.DeletePropagationBackground
	workflows := c.wec.Clients.Metadata.Resource(stellarflow.Workflows).Namespace(c.key.Namespace)
	err = workflows.Delete(ctx, c.key.Name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &uid}, PropagationPolicy: &background})
	if client.IgnoreNotFound(err) != nil {
		return nil, fmt.Errorf("delete workflow %s on %q: %w", c.key, c.wec.Name, err)
	}
	answer := c.answer()
	_, err = poll(ctx, max(c.wait, pollEvery), func(ctx context.Context) (bool, string, error) {
		now, err := workflows.Get(ctx, c.key.Name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) || err == nil && now.UID != uid {
			answer.Done = true
			return true, "", nil
		}
		if err != nil {
			return false, "", fmt.Errorf("read workflow %s on %q: %w", c.key, c.wec.Name, err)
		}
		_, err = c.wec.releaseCopy(ctx, now)
		if apierrors.IsInvalid(err) || apierrors.IsConflict(err) { // somebody changed its finalizers: look again
			err = nil
		}
		return c.wait == 0, "", err
	})
	if errors.Is(err, context.DeadlineExceeded) {
		return nil, fmt.Errorf("workflow %s on %q is deleted and not gone after %s: see which finalizers it has there", c.key, c.wec.Name, c.wait)
	}
	answer.Message = "deleted"
	return answer, err
}

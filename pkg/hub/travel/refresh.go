package travel

import (
	"context"
	"errors"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
	"stellarflow.io/stellarflow/pkg/hub/cluster"
	"stellarflow.io/stellarflow/pkg/hub/dependencies"
	"stellarflow.io/stellarflow/pkg/hub/downsync"
	"stellarflow.io/stellarflow/pkg/hub/hubcopy"
)

// refreshing is one look's work for what is behind.
type refreshing struct {
	copies map[place]*metav1.PartialObjectMetadata
	cut    bool // there are more copies
	pinned map[place]bool
	known  map[place]verdict
}

// verdict is what is known of one object in this look.
type verdict struct {
	behind bool
	refers bool  // the hub's version brings other objects along
	err    error // it was tried for another Workflow, and is not again
}

// late is a Workflow that runs without what the hub has now, and why.
type late struct {
	workflow *metav1.PartialObjectMetadata
	err      error
}

func join(all []late) error {
	var joined error
	for _, one := range all {
		joined = errors.Join(joined, one.err)
	}
	return joined
}

// refresh brings up to date what unfinished Workflows need, as their hub copies record it. A template that has changed may refer to
// others than before: each Workflow that uses it is looked at anew, as before its create.
func (k *Keeper) refresh(ctx context.Context, c *cluster.Connection, state cluster.State, running []metav1.PartialObjectMetadata, r refreshing) []late {
	r.pinned, r.known = pinnedBy(running), map[place]verdict{}
	var behind []late
	for i := range running {
		workflow := &running[i]
		if workflow.DeletionTimestamp != nil || workflow.Annotations[stellarflow.AnnotationObserved] == "" { // the create does it
			continue
		}
		if err := k.refreshOne(ctx, c, state, workflow, r); err != nil {
			behind = append(behind, late{workflow, err})
		}
	}
	return behind
}

// allLate are the Workflows that something was copied for.
func allLate(running []metav1.PartialObjectMetadata, err error) []late {
	var all []late
	for i := range running {
		if len(stellarflow.ParseDependencies(running[i].Annotations[stellarflow.AnnotationDependencies]).Copied) > 0 {
			all = append(all, late{&running[i], err})
		}
	}
	return all
}

// tell says on each hub copy why it is late, if it is for another reason than at the last look.
func (k *Keeper) tell(c *cluster.Connection, all []late) {
	before, _ := k.said.Load(c.Name)
	said, _ := before.(map[types.UID]string)
	saying := map[types.UID]string{}
	for _, one := range all {
		uid, why := one.workflow.UID, stellarflow.OneLine(one.err.Error(), maxError)
		if saying[uid] = why; said[uid] != why {
			k.say(c, one.workflow, why)
		}
	}
	k.said.Store(c.Name, saying)
}

// say tells whoever looks at a Workflow why it runs without what the hub has now.
func (k *Keeper) say(c *cluster.Connection, workflow *metav1.PartialObjectMetadata, why string) {
	if k.Carrier.Recorder == nil {
		return
	}
	about := workflow.DeepCopy()
	about.SetGroupVersionKind(stellarflow.WorkflowKind)
	k.Carrier.Recorder.Eventf(about, corev1.EventTypeWarning, eventBehind,
		"what it needs is not brought up to date on cluster %s, and tried again: %s", string(c.Name), why)
}

func (k *Keeper) refreshOne(ctx context.Context, c *cluster.Connection, state cluster.State, workflow *metav1.PartialObjectMetadata, r refreshing) error {
	behind, err := k.behind(ctx, c, workflow, r)
	if err != nil {
		return err
	}
	if len(behind) > 0 || unrecorded(c, workflow) {
		err = k.renew(ctx, c, state, workflow, r.pinned)
		var one *failure
		if errors.As(err, &one) {
			r.known[one.place] = verdict{err: one}
		}
	}
	if err != nil {
		return err
	}
	for _, p := range behind {
		refers := r.known[p].refers
		r.known[p] = verdict{behind: refers, refers: refers} // of those that do not the others need no look
	}
	return k.passOn(ctx, c, workflow)
}

// passOn puts the record of what a Workflow needs on its WEC copy too, where it outlives the hub copy.
func (k *Keeper) passOn(ctx context.Context, c *cluster.Connection, workflow *metav1.PartialObjectMetadata) error {
	key := types.NamespacedName{Namespace: workflow.Namespace, Name: workflow.Name}
	wecCopy := c.WECCopy(key)
	placement, placed := stellarflow.PlacementOf(workflow)
	if wecCopy == nil || !placed || !placement.Owns(wecCopy) {
		return nil
	}
	change := toPassOn(workflow, wecCopy, k.Carrier.HubID)
	if change == nil {
		return nil
	}
	raw, err := hubcopy.Marshal(change)
	if err != nil {
		return err
	}
	written, err := c.Clients.Metadata.Resource(stellarflow.Workflows).Namespace(key.Namespace).
		Patch(ctx, key.Name, hubcopy.PatchType, raw, metav1.PatchOptions{FieldManager: manager})
	if err = hubcopy.Classify(err); apierrors.IsNotFound(err) || errors.Is(err, hubcopy.ErrLostRace) {
		return nil // the watch will tell
	}
	if err != nil {
		return fmt.Errorf("record what workflow %s needs on %q: %w", key, c.Name, err)
	}
	written.SetGroupVersionKind(stellarflow.WorkflowKind)
	written.ManagedFields = nil
	c.Recent.Put(written, k.Carrier.Now())
	return nil
}

// toPassOn returns what gives a WEC copy the hub copy's record, nil for nothing. A record that the hub copy has lost is not.
func toPassOn(hubCopy, wecCopy *metav1.PartialObjectMetadata, hubID types.UID) []hubcopy.Operation {
	record, there := hubCopy.Annotations[stellarflow.AnnotationDependencies], wecCopy.Annotations[stellarflow.AnnotationDependencies]
	if record != "" { // what the WEC copy lists stays for it, whatever is found now
		union := stellarflow.ParseDependencies(record)
		for _, reference := range stellarflow.ParseDependencies(there).Copied {
			if !slices.Contains(union.Copied, reference) && !slices.Contains(union.There, reference) {
				union.Copied = append(union.Copied, reference)
			}
		}
		record = union.String()
	}
	if record == "" || there == record || len(record) > stellarflow.MaxDependenciesSize || wecCopy.DeletionTimestamp != nil ||
		wecCopy.Labels[stellarflow.LabelOrigin] != string(hubID) {
		return nil
	}
	return []hubcopy.Operation{hubcopy.SameObject(wecCopy), hubcopy.Add(record, "metadata", "annotations", stellarflow.AnnotationDependencies)}
}

// unrecorded reports whether a WEC copy says that it needs something and the hub copy does not: its record was lost and restored. The
// WEC's word is a reason to look, no more.
func unrecorded(c *cluster.Connection, workflow *metav1.PartialObjectMetadata) bool {
	wecCopy := c.WECCopy(types.NamespacedName{Namespace: workflow.Namespace, Name: workflow.Name})
	return workflow.Annotations[stellarflow.AnnotationDependencies] == "" && wecCopy != nil && wecCopy.Annotations[stellarflow.AnnotationDependencies] != ""
}

// behind returns the copies for a Workflow that are of another version than the hub's.
func (k *Keeper) behind(ctx context.Context, c *cluster.Connection, workflow *metav1.PartialObjectMetadata, r refreshing) ([]place, error) {
	var behind []place
	var failed error
	for _, reference := range stellarflow.ParseDependencies(workflow.Annotations[stellarflow.AnnotationDependencies]).Copied {
		p := placeOf(reference, workflow.Namespace)
		if r.pinned[p] || reference.Kind.HoldsData() {
			continue
		}
		if shared, err := k.Carrier.shared(ctx, workflow, reference); err != nil || !shared { // not any more: it stays as it is
			failed = errors.Join(failed, err)
			continue
		}
		known, found := r.known[p]
		if !found {
			known = k.compare(ctx, c, p, workflow.Namespace, r)
			r.known[p] = known
		}
		failed = errors.Join(failed, known.err)
		if known.behind {
			behind = append(behind, p)
		}
	}
	return behind, failed
}

// keptFor are the copies that stay for a Workflow whatever is found: those of its record or, if that was lost, those of its WEC copy that only a
// policy brings, which may not be known any more.
func (k *Keeper) keptFor(c *cluster.Connection, live metav1.Object) stellarflow.Dependencies {
	before := stellarflow.ParseDependencies(live.GetAnnotations()[stellarflow.AnnotationDependencies])
	wecCopy := c.WECCopy(types.NamespacedName{Namespace: live.GetNamespace(), Name: live.GetName()})
	if wecCopy == nil || len(before.Copied)+len(before.There) > 0 {
		return before
	}
	for _, reference := range stellarflow.ParseDependencies(wecCopy.Annotations[stellarflow.AnnotationDependencies]).Copied {
		if reference.Kind.ByPolicy() {
			before.Copied = append(before.Copied, reference)
		}
	}
	return before
}

// pinnedBy returns the templates that one of the Workflows has begun from as a whole. Nobody's look changes them: they are shared.
func pinnedBy(running []metav1.PartialObjectMetadata) map[place]bool {
	places := map[place]bool{}
	for i := range running {
		for _, reference := range stellarflow.ParseDependencies(running[i].Annotations[stellarflow.AnnotationDependencies]).Copied {
			if pinned(&running[i], reference) {
				places[placeOf(reference, running[i].Namespace)] = true
			}
		}
	}
	return places
}

// pinned reports whether a Workflow has begun from a template as a whole. Argo has stored it then and does not look at it again, but
// under workflowRestrictions Secure, where it ends a Workflow whose template has changed (argo-workflows v3.7.18
// workflow/controller/operator.go, setStoredWfSpec): nothing is won by a new version, and the run may be lost. Argo sets these labels
// when it stores the template, and they are mirrored.
func pinned(workflow *metav1.PartialObjectMetadata, reference stellarflow.Reference) bool {
	switch reference.Kind {
	case stellarflow.KindWorkflowTemplate:
		return workflow.Labels[stellarflow.ArgoLabelWorkflowTemplate] == reference.Name
	case stellarflow.KindClusterWorkflowTemplate:
		return workflow.Labels[stellarflow.ArgoLabelClusterWorkflowTemplate] == reference.Name
	default:
		return false
	}
}

// compare reports whether the hub has another version of an object than the WEC. What the hub has no more stays as it is.
func (k *Keeper) compare(ctx context.Context, c *cluster.Connection, p place, namespace string, r refreshing) verdict {
	sent, err := readSent(ctx, k.Carrier, p.Reference, namespace)
	if err != nil || sent == nil {
		return verdict{err: err}
	}
	onWEC := r.copies[p]
	if onWEC == nil && r.cut {
		onWEC, err = metadataResource(c.Clients.Metadata, p.Reference, namespace).Get(ctx, p.Name, metav1.GetOptions{})
	}
	if err != nil && !apierrors.IsNotFound(err) {
		return verdict{err: fmt.Errorf("read %s on %q: %w", p.Reference, c.Name, err)}
	}
	behind := err != nil || onWEC == nil || dependencies.Version(onWEC) != dependencies.Version(sent)
	return verdict{behind: behind, refers: dependencies.Content(p.Kind, sent) != nil}
}

// renew looks anew for what a Workflow needs, and copies it.
func (k *Keeper) renew(ctx context.Context, c *cluster.Connection, state cluster.State, workflow *metav1.PartialObjectMetadata, pinned map[place]bool) error {
	within, cancel := context.WithTimeout(ctx, downsync.Settle) // as in a create
	defer cancel()
	key := types.NamespacedName{Namespace: workflow.Namespace, Name: workflow.Name}
	live, err := k.Carrier.Hub.Live(within, key)
	if err != nil || live == nil || live.GetUID() != workflow.UID {
		return err
	}
	if placement, placed := stellarflow.PlacementOf(live); !placed || placement.Cluster != c.Name || placement.ClusterID != state.ID() || stellarflow.Completed(live) {
		return nil
	}
	target := downsync.Target{Name: c.Name, ID: state.ID(), Clients: c.Clients, Namespaces: c.Namespaces()}
	err = downsync.Accepts(within, k.Carrier.HubID, target, key.Namespace)
	if err == nil {
		err = k.Carrier.renew(within, target, live, k.keptFor(c, live), pinned)
	}
	if err != nil && !errors.Is(err, hubcopy.ErrLostRace) {
		return fmt.Errorf("workflow %s: %w", key, err)
	}
	return nil
}

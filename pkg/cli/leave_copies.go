package cli

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
	"stellarflow.io/stellarflow/pkg/hub/dependencies"
)

// stored returns the cluster by the credential that the hub manager has used, and the hub's id.
func (l *leaving) stored(ctx context.Context) (storedWEC, types.UID, error) {
	hubID, err := readHubID(ctx, l.hub)
	var secret corev1.Secret
	if err == nil {
		err = l.hub.Get(ctx, credentialKey(l.name), &secret)
	}
	w := storedWEC{Name: stellarflow.ClusterName(l.name), Cluster: l.cluster}
	if err == nil {
		w.Clients, err = dialStored(l.env, &secret)
	}
	return w, hubID, err
}

// removeCopies removes what the hub has copied to the cluster for Workflows that are gone from it: the hub manager does not look there
// any more.
func (l *leaving) removeCopies(ctx context.Context) {
	w, hubID, err := l.stored(ctx)
	if err != nil {
		copiesOn{w.Name, hubID, 0, 0, err}.say(l.env)
		return
	}
	w.removeCopies(ctx, hubID).say(l.env)
}

// copiesOn are what the hub had copied to a cluster: how many objects were removed there, and how many stay.
type copiesOn struct {
	cluster       stellarflow.ClusterName
	hubID         types.UID
	removed, left int
	err           error
}

// say tells what has become of them.
func (c copiesOn) say(env Env) {
	if c.removed > 0 {
		env.sayf("deleted %d objects on %s that the hub had copied there", c.removed, c.cluster)
	}
	if c.left > 0 {
		env.sayf("%d objects that the hub has copied stay on %s, for the Workflows that are still there (label %s)", c.left, c.cluster, stellarflow.LabelDependency)
	}
	if c.err != nil {
		env.sayf("warning: %v: what the hub has copied may be left there, with the labels %s", c.err, dependencies.Selector(c.hubID))
	}
}

// removeCopies deletes the copies that no WEC copy needs.
func (w storedWEC) removeCopies(ctx context.Context, hubID types.UID) copiesOn {
	removed, left, err := w.deleteCopies(ctx, hubID)
	return copiesOn{w.Name, hubID, removed, left, err}
}

func (w storedWEC) deleteCopies(ctx context.Context, hubID types.UID) (removed, left int, err error) {
	workflows, err := w.copies(ctx, hubID)
	if err != nil {
		return 0, 0, err
	}
	for _, kind := range stellarflow.Kinds() {
		if kind.HoldsData() {
			continue
		}
		client := w.Clients.Metadata.Resource(kind.Resource())
		list, err := client.List(ctx, metav1.ListOptions{LabelSelector: dependencies.Selector(hubID)})
		if apierrors.IsNotFound(err) || apierrors.IsForbidden(err) { // it does not know them, or does not give this right
			continue
		}
		if err != nil {
			return removed, left, fmt.Errorf("cluster %q: list %s: %w", w.Name, kind.Resource().GroupResource(), err)
		}
		unneeded := unneededCopies(kind, hubID, list.Items, workflows)
		left += len(list.Items) - len(unneeded)
		for i := range unneeded {
			one := &unneeded[i]
			err := client.Namespace(one.Namespace).Delete(ctx, one.Name, metav1.DeleteOptions{
				Preconditions: &metav1.Preconditions{UID: &one.UID, ResourceVersion: &one.ResourceVersion},
			})
			if err != nil && !apierrors.IsNotFound(err) {
				return removed, left, fmt.Errorf("cluster %q: delete %s %s/%s: %w", w.Name, kind, one.Namespace, one.Name, err)
			}
			removed++
		}
	}
	return removed, left, nil
}

// unneededCopies returns what is a copy of this hub's and on no Workflow's list.
func unneededCopies(kind stellarflow.Kind, hubID types.UID, found, workflows []metav1.PartialObjectMetadata) []metav1.PartialObjectMetadata {
	needed := map[types.NamespacedName]bool{}
	for i := range workflows {
		for _, reference := range stellarflow.ParseDependencies(workflows[i].Annotations[stellarflow.AnnotationDependencies]).Copied {
			key := types.NamespacedName{Namespace: workflows[i].Namespace, Name: reference.Name}
			if !kind.Namespaced() {
				key.Namespace = ""
			}
			needed[key] = needed[key] || reference.Kind == kind
		}
	}
	var unneeded []metav1.PartialObjectMetadata
	for i := range found {
		if one := &found[i]; dependencies.IsCopy(kind, one, hubID) && !needed[types.NamespacedName{Namespace: one.Namespace, Name: one.Name}] {
			unneeded = append(unneeded, *one)
		}
	}
	return unneeded
}

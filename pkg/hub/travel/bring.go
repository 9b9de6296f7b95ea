package travel

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
	"stellarflow.io/stellarflow/pkg/hub/dependencies"
	"stellarflow.io/stellarflow/pkg/hub/downsync"
	"stellarflow.io/stellarflow/pkg/hub/hubcopy"
)

// Record returns what the Workflow needs, as both copies say it.
func (b *baggage) Record() string { return b.recorded().String() }

func (b *baggage) recorded() stellarflow.Dependencies {
	d := stellarflow.Dependencies{Copied: slices.Clone(b.before)}
	for _, it := range b.items {
		switch {
		case it.travels():
			d.Copied = append(d.Copied, it.Reference)
		case it.action == dependencies.UseThere:
			d.There = append(d.There, it.Reference)
		}
	}
	return d
}

// keep adds to the record what was copied for the Workflow before and is not found now.
func (b *baggage) keep(before stellarflow.Dependencies) {
	now := b.recorded()
	for _, reference := range before.Copied {
		if !slices.Contains(now.Copied, reference) && !slices.Contains(now.There, reference) {
			b.before = append(b.before, reference)
		}
	}
}

// Bring records on the hub copy what the Workflow needs, and copies it. It is to be called when the namespace is ready.
func (b *baggage) Bring(ctx context.Context) (string, error) {
	version, err := b.record(ctx)
	if err != nil {
		return "", err
	}
	if len(b.items) == 0 {
		return "", nil
	}
	for _, it := range b.items { // it may be long since it was looked at
		b.needed(it.Reference)
	}
	b.warn()
	for i := len(b.items) - 1; i >= 0; i-- { // what something refers to comes first
		if err := b.bring(ctx, &b.items[i]); err != nil {
			return "", err
		}
	}
	return version, b.learned(ctx)
}

// learned waits until the WEC's Argo controller can be taken to know what was written there for this Workflow or another: it reads templates and
// ConfigMaps from a cache of its own (argo-workflows v3.7.18 workflow/controller/controller.go), and fails a Workflow at first sight whose
// template is not in it yet.
func (b *baggage) learned(ctx context.Context) error {
	learns, now, wait := b.carrier.Timing.orDefault().Learns, b.carrier.Now(), time.Duration(0)
	b.carrier.written.any(b.target.ID, learns, now)
	for _, it := range b.items {
		if written := b.carrier.written.last(b.target.ID, placeOf(it.Reference, b.hubCopy.GetNamespace())); it.travels() && !written.IsZero() {
			wait = max(wait, learns-now.Sub(written))
		}
	}
	if wait <= 0 {
		return nil
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// record writes it on the hub copy, and returns the hub copy's resourceVersion then.
func (b *baggage) record(ctx context.Context) (string, error) {
	record := b.Record()
	switch {
	case len(record) > stellarflow.MaxDependenciesSize:
		return "", &downsync.Refusal{Reason: downsync.ReasonDependencyMissing, Message: fmt.Sprintf(
			"the names of what the Workflow needs are longer than %d bytes together: let it refer to fewer objects", stellarflow.MaxDependenciesSize)}
	case stellarflow.ParseDependencies(record).String() != record: // what is cut off there would be removed under it
		return "", &downsync.Refusal{Reason: downsync.ReasonDependencyMissing, Message: fmt.Sprintf(
			"the Workflow needs or has needed more than %d objects: let its templates refer to fewer", 2*stellarflow.MaxDependencies)}
	case b.hubCopy.GetAnnotations()[stellarflow.AnnotationDependencies] == record: // both may be none
		return b.hubCopy.GetResourceVersion(), nil
	}
	change := hubcopy.Remove("metadata", "annotations", stellarflow.AnnotationDependencies)
	if record != "" {
		change = hubcopy.Add(record, "metadata", "annotations", stellarflow.AnnotationDependencies)
	}
	key := types.NamespacedName{Namespace: b.hubCopy.GetNamespace(), Name: b.hubCopy.GetName()}
	written, err := b.carrier.Hub.Patch(ctx, key, append(hubcopy.Unchanged(b.hubCopy), change)...)
	if err != nil {
		return "", err
	}
	return written.ResourceVersion, nil
}

// tries bounds how often an object is looked at anew that somebody else has written meanwhile: another Workflow's create may be faster.
const tries = 5

// failure is that of one object, which other Workflows may need too.
type failure struct {
	place
	err error
}

func (f *failure) Error() string { return f.err.Error() }
func (f *failure) Unwrap() error { return f.err }

func (b *baggage) bring(ctx context.Context, it *item) error {
	for range tries {
		if it.action != dependencies.Create && it.action != dependencies.Update {
			return nil
		}
		err := b.write(ctx, it)
		if err == nil {
			return nil
		}
		if !apierrors.IsAlreadyExists(err) && !apierrors.IsConflict(err) {
			return &failure{placeOf(it.Reference, b.hubCopy.GetNamespace()), err}
		}
		if err := b.compare(ctx, it); err != nil {
			return err
		}
		if !it.travels() { // it is refused or used as it is, as is what it refers to: all is looked at anew
			return fmt.Errorf("%s on %q was written by somebody else meanwhile", it.Reference, b.target.Name)
		}
	}
	return fmt.Errorf("%s on %q is written by somebody else all the time", it.Reference, b.target.Name)
}

// write sends the hub's object. It is read before each try, and after the WEC's: so no older version is written over a newer one,
// which somebody else has brought.
func (b *baggage) write(ctx context.Context, it *item) error {
	sent, err := b.read(ctx, it.Reference)
	if err != nil {
		return err
	}
	if sent == nil || dependencies.Version(sent) != it.version && (it.refers || dependencies.Content(it.Kind, sent) != nil) {
		return fmt.Errorf("%s of the hub has changed while it was copied", it.Reference)
	}
	it.version = dependencies.Version(sent)
	client := resource(b.target.Clients.Objects, it.Reference, b.hubCopy.GetNamespace())
	if it.action == dependencies.Update {
		sent.SetUID(it.onWEC.UID) // it must still be the one that was read
		sent.SetResourceVersion(it.onWEC.ResourceVersion)
		_, err := client.Update(ctx, sent, metav1.UpdateOptions{FieldManager: manager})
		b.wrote(it, err)
		return b.refused(err, "update", it.Reference)
	}
	_, err = client.Create(ctx, sent, metav1.CreateOptions{FieldManager: manager})
	b.wrote(it, err)
	if apierrors.IsNotFound(err) && !isNamespace(err) {
		return &downsync.Refusal{Reason: downsync.ReasonRejected, Message: fmt.Sprintf(
			"it does not know %s, which the Workflow needs: install Argo's CRDs there", it.Kind.Resource().GroupResource())}
	}
	return b.refused(err, "create", it.Reference)
}

// wrote notes that an object was written, if it was, of a kind that Argo's controller has in a cache.
func (b *baggage) wrote(it *item, err error) {
	switch it.Kind {
	case stellarflow.KindWorkflowTemplate, stellarflow.KindClusterWorkflowTemplate, stellarflow.KindConfigMap:
		if err == nil {
			b.carrier.written.needed(b.target.ID, placeOf(it.Reference, b.hubCopy.GetNamespace()), b.carrier.Now())
		}
	}
}

// isNamespace reports whether what is not found is the namespace: it was found ready a while ago, and is made again.
func isNamespace(err error) bool {
	var status apierrors.APIStatus
	return errors.As(err, &status) && status.Status().Details != nil && status.Status().Details.Kind == "namespaces"
}

// refused turns a definite answer of the WEC into a Refusal.
func (b *baggage) refused(err error, verb string, reference stellarflow.Reference) error {
	if err == nil || apierrors.IsAlreadyExists(err) || apierrors.IsConflict(err) {
		return err
	}
	err = downsync.RefusalOf(err, fmt.Sprintf("%s %s, which the Workflow needs", verb, reference))
	var refusal *downsync.Refusal
	if errors.As(err, &refusal) && refusal.Reason == downsync.ReasonNotAllowed {
		remedy := fmt.Sprintf("run `stellarflow join %s` again", b.target.Name)
		if reference.Kind == stellarflow.KindSecret {
			remedy = "apply samples/secrets-wec.yaml there"
		}
		refusal.Message += " (" + remedy + ")"
	}
	return err
}

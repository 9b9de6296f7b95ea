package cli

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// pollEvery is how often a wait looks again.
const pollEvery = 500 * time.Millisecond

// apply applies objects server-side in their order.
func apply(ctx context.Context, cluster client.Client, objects []*unstructured.Unstructured) error {
	for _, object := range objects {
		// The client fills in what the server answers; the caller keeps what it rendered.
		config := client.ApplyConfigurationFromUnstructured(object.DeepCopy())
		if err := cluster.Apply(ctx, config, client.FieldOwner(fieldManager), client.ForceOwnership); err != nil {
			return fmt.Errorf("apply %s: %w", describe(object), err)
		}
	}
	return nil
}

// dryRun is the answer of a command that changed nothing: what it would apply.
type dryRun struct {
	Objects []*unstructured.Unstructured `json:"objects"`

	note string
}

func (d dryRun) print(out io.Writer) error {
	raw, err := marshalAll(d.Objects)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "%s%s", raw, d.note)
	return err
}

// describeAll names objects.
func describeAll(objects []*unstructured.Unstructured) []string {
	names := make([]string, 0, len(objects))
	for _, object := range objects {
		names = append(names, describe(object))
	}
	return names
}

// describe names an object: Kind namespace/name.
func describe(object client.Object) string {
	name := object.GetName()
	if object.GetNamespace() != "" {
		name = object.GetNamespace() + "/" + name
	}
	return object.GetObjectKind().GroupVersionKind().Kind + " " + name
}

// poll calls done until it reports true, fails or the time is over; said is what it saw last.
func poll(ctx context.Context, limit time.Duration, done func(ctx context.Context) (finished bool, said string, err error)) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	said := ""
	for {
		finished, now, err := done(ctx)
		if now != "" && ctx.Err() == nil { // at the end of the time a look fails for that reason alone
			said = now
		}
		if finished || (err != nil && ctx.Err() == nil) {
			return said, err
		}
		select {
		case <-ctx.Done():
			return said, ctx.Err()
		case <-time.After(pollEvery):
		}
	}
}

// waitEstablished waits until the API server serves the CRDs.
func waitEstablished(ctx context.Context, cluster client.Client, names []string) error {
	for _, name := range names {
		said, err := poll(ctx, 30*time.Second, func(ctx context.Context) (bool, string, error) {
			var crd apiextensionsv1.CustomResourceDefinition
			if err := cluster.Get(ctx, client.ObjectKey{Name: name}, &crd); err != nil {
				return false, err.Error(), client.IgnoreNotFound(err)
			}
			served, said := servedBy(crd.Status.Conditions)
			return served, said, nil
		})
		if err != nil {
			return fmt.Errorf("wait until CRD %s is served: %w (%s): run `kubectl describe crd %s`", name, err, said, name)
		}
	}
	return nil
}

// servedBy reports whether a CRD with these conditions is served, and if not all that they say: NamesAccepted says whose its names are,
// Established after it only that they are not accepted.
func servedBy(conditions []apiextensionsv1.CustomResourceDefinitionCondition) (served bool, said string) {
	var wrong []string
	for _, condition := range conditions {
		switch {
		case condition.Type == apiextensionsv1.Established && condition.Status == apiextensionsv1.ConditionTrue:
			return true, ""
		case condition.Status == apiextensionsv1.ConditionFalse:
			wrong = append(wrong, fmt.Sprintf("%s is False: %s", condition.Type, condition.Message))
		}
	}
	return false, firstOf(strings.Join(wrong, "; "), "no condition yet")
}

// deleteAll deletes objects in their order; what is not there is fine. It reports what it deleted.
func deleteAll(ctx context.Context, cluster client.Client, objects []*unstructured.Unstructured, report func(string)) error {
	for _, object := range objects {
		err := cluster.Delete(ctx, object.DeepCopy(), client.PropagationPolicy("Background"))
		switch {
		case err == nil:
			report(describe(object))
		case !apierrors.IsNotFound(err) && !isNoMatch(err):
			return fmt.Errorf("delete %s: %w", describe(object), err)
		}
	}
	return nil
}

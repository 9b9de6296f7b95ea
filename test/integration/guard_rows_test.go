package integration

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

const (
	garbageCollector    = "system:serviceaccount:kube-system:generic-garbage-collector"
	namespaceController = "system:serviceaccount:kube-system:namespace-controller"
	builtInControllers  = "system:kube-controller-manager"
	refusedSpec         = "resubmit it with the change"
	refusedStatus       = "what is written here would be overwritten"
)

// operation is one request to the hub about a Workflow.
type operation func(ctx context.Context, workflows dynamic.ResourceInterface, name string) error

var dryRun = []string{metav1.DryRunAll}

func merges(patch string, dry ...string) operation {
	return func(ctx context.Context, workflows dynamic.ResourceInterface, name string) error {
		_, err := workflows.Patch(ctx, name, types.MergePatchType, []byte(patch), metav1.PatchOptions{DryRun: dry})
		return err
	}
}

// applies is kubectl apply --server-side --force-conflicts of a manifest with these fields.
func applies(fields map[string]any, dry ...string) operation {
	return func(ctx context.Context, workflows dynamic.ResourceInterface, name string) error {
		manifest := &unstructured.Unstructured{Object: maps.Clone(fields)}
		manifest.SetGroupVersionKind(stellarflow.WorkflowKind)
		_, err := workflows.Apply(ctx, name, manifest, metav1.ApplyOptions{FieldManager: "kubectl", Force: true, DryRun: dry})
		return err
	}
}

// replaces is kubectl replace of what is stored, changed; without its status, as people keep it.
func replaces(change func(*unstructured.Unstructured)) operation {
	return func(ctx context.Context, workflows dynamic.ResourceInterface, name string) error {
		stored, err := workflows.Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		unstructured.RemoveNestedField(stored.Object, "status")
		change(stored)
		_, err = workflows.Update(ctx, stored, metav1.UpdateOptions{})
		return err
	}
}

func deletes(options metav1.DeleteOptions) operation {
	return func(ctx context.Context, workflows dynamic.ResourceInterface, name string) error {
		return workflows.Delete(ctx, name, options)
	}
}

// deletesAll deletes the collection of one.
func deletesAll(options metav1.DeleteOptions) operation {
	return func(ctx context.Context, workflows dynamic.ResourceInterface, name string) error {
		return workflows.DeleteCollection(ctx, options, metav1.ListOptions{FieldSelector: "metadata.name=" + name})
	}
}

// collects is what the garbage collector does to an object whose dependents are gone or let go: it takes its own finalizer away.
func collects(finalizer string) operation {
	return func(ctx context.Context, workflows dynamic.ResourceInterface, name string) error {
		for {
			stored, err := workflows.Get(ctx, name, metav1.GetOptions{})
			if err != nil {
				return err
			}
			kept := slices.DeleteFunc(stored.GetFinalizers(), func(one string) bool { return one == finalizer })
			patch := metadata("finalizers", kept)
			patch["metadata"].(map[string]any)["uid"], patch["metadata"].(map[string]any)["resourceVersion"] = stored.GetUID(), stored.GetResourceVersion()
			raw, err := json.Marshal(patch)
			if err != nil {
				return err
			}
			err = merges(string(raw))(ctx, workflows, name)
			if !apierrors.IsConflict(err) {
				return err
			}
		}
	}
}

func metadata(field string, value any) map[string]any {
	return map[string]any{"metadata": map[string]any{field: value}}
}

// spec is the whole spec of what submit creates, with a field changed: in Argo's CRD it is atomic, so that who applies owns it all.
func spec(field string, value any) map[string]any {
	changed := map[string]any{
		"suspend": true, "entrypoint": "main", "ttlStrategy": map[string]any{"secondsAfterCompletion": int64(60)},
		"templates": []any{map[string]any{"name": "main", "container": map[string]any{"image": "busybox"}}},
	}
	changed[field] = value
	return map[string]any{"spec": changed}
}

func greens(w *unstructured.Unstructured) bool {
	return w.GetLabels()["team"] == "green" && nodePhase(w, w.GetName()+"-1") == "Running" && suspended(w)
}

// guardRow is one line of the decision table: who, how and what, and what comes of it. What is refused, or only tried, changes nothing.
type guardRow struct {
	user   string
	writes operation
	// refusal is what the caller is told; counted is the kind that it is counted as, if the webhook refuses.
	refusal, counted string
	// asked is the intent that it means.
	asked stellarflow.IntentKind
	// shows is what the hub copy is then; nil if nothing changes.
	shows func(*unstructured.Unstructured) bool
	// before is what somebody else did before.
	before operation
}

// guardRows are identity, operation and difference, for what TestGuard's merge patches do not show.
func guardRows() map[string]guardRow {
	foreground, orphan, now := metav1.DeletePropagationForeground, metav1.DeletePropagationOrphan, int64(0)
	owned := merges(`{"metadata":{"ownerReferences":[{"apiVersion":"argoproj.io/v1alpha1","kind":"CronWorkflow","name":"c","uid":"c"}]}}`)
	ownerless := func(w *unstructured.Unstructured) bool { return len(w.GetOwnerReferences()) == 0 }
	original := func(w *unstructured.Unstructured) {
		w.SetLabels(map[string]string{"kubestellar.io/cluster": "cluster1"})
		w.SetAnnotations(nil)
		w.SetFinalizers(nil)
	}
	lift := func(w *unstructured.Unstructured) { unstructured.RemoveNestedField(w.Object, "spec", "suspend") }
	label := func(w *unstructured.Unstructured) { w.SetLabels(merged(w.GetLabels(), "team", "green")) }
	return map[string]guardRow{
		"GarbageCollectorDeletes":        {user: garbageCollector, writes: deletes(metav1.DeleteOptions{}), shows: gone},
		"GarbageCollectorDeletesAnother": {user: garbageCollector, writes: deletes(metav1.DeleteOptions{Preconditions: metav1.NewUIDPreconditions("other")}), refusal: "the UID in the precondition"},
		"GarbageCollectorEndsForeground": {user: garbageCollector, before: deletes(metav1.DeleteOptions{PropagationPolicy: &foreground}), writes: collects(metav1.FinalizerDeleteDependents), shows: gone},
		"GarbageCollectorEndsOrphan":     {user: garbageCollector, before: deletes(metav1.DeleteOptions{PropagationPolicy: &orphan}), writes: collects(metav1.FinalizerOrphanDependents), shows: gone},
		"GarbageCollectorDisowns":        {user: garbageCollector, before: owned, writes: merges(`{"metadata":{"ownerReferences":null}}`), shows: ownerless},
		"GarbageCollectorReleases":       {user: garbageCollector, writes: collects(stellarflow.FinalizerCleanup), refusal: refusedCleanup},
		"GarbageCollectorResumes":        {user: garbageCollector, writes: merges(`{"spec":{"suspend":null}}`), refusal: refusedResume},
		"ControllerManagerDisowns":       {user: builtInControllers, before: owned, writes: merges(`{"metadata":{"ownerReferences":null}}`), shows: ownerless},
		"ControllerManagerDeletes":       {user: builtInControllers, writes: deletes(metav1.DeleteOptions{}), shows: gone},
		"NamespaceControllerDeletes":     {user: namespaceController, writes: deletesAll(metav1.DeleteOptions{}), shows: gone},
		"NamespaceControllerReleases":    {user: namespaceController, writes: merges(`{"metadata":{"finalizers":null}}`), refusal: refusedCleanup},

		"ArgoDeletes":            {user: argoController, writes: deletes(metav1.DeleteOptions{}), shows: gone}, // at the end of its time
		"ArgoAppliesStatus":      {user: argoController, writes: applies(map[string]any{"status": map[string]any{"phase": "Error"}}), refusal: refusedArgo},
		"ArgoAppliesLabel":       {user: argoController, writes: applies(metadata("labels", map[string]any{"team": "green"})), refusal: refusedArgo},
		"ArgoReplaces":           {user: argoController, writes: replaces(func(*unstructured.Unstructured) {}), refusal: refusedArgo},
		"ArgoReplacesAndEnds":    {user: argoController, writes: replaces(func(w *unstructured.Unstructured) { w.Object["spec"].(map[string]any)["shutdown"] = "Terminate" }), refusal: refusedArgo},
		"ArgoAppliesTermination": {user: argoController, writes: applies(spec("shutdown", "Terminate")), shows: stopping("Terminate")},
		"ArgoTries":              {user: argoController, writes: merges(`{"status":{"phase":"Error"}}`, dryRun...), refusal: refusedArgo},
		"ArgoTriesToTerminate":   {user: argoController, writes: merges(`{"spec":{"shutdown":"Terminate"}}`, dryRun...)},

		"PersonAppliesLabel":      {user: "alice", writes: applies(metadata("labels", map[string]any{"team": "green"})), shows: greens},
		"PersonAppliesTheSame":    {user: "alice", writes: applies(map[string]any{"metadata": map[string]any{"labels": map[string]any{"team": "green"}}, "spec": spec("suspend", true)["spec"]}), shows: greens},
		"PersonAppliesSpec":       {user: "alice", writes: applies(spec("entrypoint", "other")), refusal: refusedSpec, counted: "other"},
		"PersonAppliesPart":       {user: "alice", writes: applies(map[string]any{"spec": map[string]any{"suspend": true}}), refusal: refusedSpec, counted: "other"},
		"PersonAppliesStop":       {user: "alice", writes: applies(spec("shutdown", "Stop")), shows: stopping("Stop")},
		"PersonAppliesResume":     {user: "alice", writes: applies(spec("suspend", false)), asked: stellarflow.IntentResume, shows: suspended},
		"PersonAppliesSuspend":    {user: "alice", writes: applies(metadata("annotations", map[string]any{stellarflow.AnnotationRequest: "suspend"})), asked: stellarflow.IntentSuspend, shows: suspended},
		"PersonAppliesStatus":     {user: "alice", writes: applies(map[string]any{"status": map[string]any{"phase": "Succeeded"}}), refusal: refusedStatus, counted: "set"},
		"PersonAppliesRecord":     {user: "alice", writes: applies(metadata("annotations", map[string]any{stellarflow.AnnotationPlacement: "{}"})), refusal: refusedRecord},
		"PersonAppliesCluster":    {user: "alice", writes: applies(metadata("labels", map[string]any{stellarflow.LabelCluster: "cluster2"})), refusal: refusedLabel},
		"PersonReplacesLabel":     {user: "alice", writes: replaces(label), shows: greens},
		"PersonReplacesSpec":      {user: "alice", writes: replaces(func(w *unstructured.Unstructured) { w.Object["spec"].(map[string]any)["entrypoint"] = "other" }), refusal: refusedSpec, counted: "other"},
		"PersonReplacesAndLifts":  {user: "alice", writes: replaces(lift), refusal: refusedStatus, counted: "resume"},
		"PersonReplacesOriginal":  {user: "alice", writes: replaces(original), refusal: "is forbidden"},
		"PersonReplacesFinalizer": {user: "alice", writes: replaces(func(w *unstructured.Unstructured) { w.SetFinalizers(nil) }), refusal: refusedCleanup},
		"PersonDeletes":           {user: "alice", writes: deletes(metav1.DeleteOptions{}), shows: gone},
		"PersonDeletesByForce":    {user: "alice", writes: deletes(metav1.DeleteOptions{GracePeriodSeconds: &now}), shows: gone},
		"PersonDeletesAll":        {user: "alice", writes: deletesAll(metav1.DeleteOptions{}), shows: gone},
		"PersonReleases":          {user: "alice", writes: merges(`{"metadata":{"finalizers":null}}`), refusal: refusedCleanup}, // argo delete --force
		"PersonTriesToResume":     {user: "alice", writes: merges(`{"spec":{"suspend":null}}`, dryRun...)},
		"PersonTriesToSuspend":    {user: "alice", writes: applies(metadata("annotations", map[string]any{stellarflow.AnnotationRequest: "suspend"}), dryRun...)},
		"PersonTriesToStop":       {user: "alice", writes: merges(`{"spec":{"shutdown":"Stop"}}`, dryRun...)},
		"PersonTriesSpec":         {user: "alice", writes: applies(spec("entrypoint", "other"), dryRun...), refusal: refusedSpec},
		"PersonTriesToDelete":     {user: "alice", writes: deletes(metav1.DeleteOptions{DryRun: dryRun})},
		"PersonTriesToDeleteAll":  {user: "alice", writes: deletesAll(metav1.DeleteOptions{DryRun: dryRun})},

		"HubResumes":       {user: hubManager, writes: applies(spec("suspend", false)), refusal: refusedResume},
		"HubAppliesRecord": {user: hubManager, writes: applies(metadata("annotations", map[string]any{stellarflow.AnnotationSync: "x"})), shows: func(w *unstructured.Unstructured) bool { return w != nil }},
	}
}

func merged(of map[string]string, key, value string) map[string]string {
	of = maps.Clone(of)
	of[key] = value
	return of
}

// TestGuardRows writes as each identity in each way to what runs on a WEC, past the policies and the webhook of a manager: what is refused is
// said and, as what is only tried, changes nothing; what passes is as it would have been without us; and each refusal and intent is counted.
func TestGuardRows(t *testing.T) {
	a, address := setUpMeasured(t)
	a.asks(t, "still")
	settledAt := a.hub.waitFor(t, a.ns, "still", "that nothing is left to do", settled)
	counts := scraped{}
	for name, row := range guardRows() {
		t.Run(name, func(t *testing.T) {
			client, object := workflowsOf(a.hub.as(t, row.user), a.ns), strings.ToLower(name)
			if row.shows == nil {
				object = "still"
			} else {
				a.asks(t, object)
			}
			if row.before != nil {
				if err := row.before(t.Context(), workflowsOf(a.alice, a.ns), object); err != nil {
					t.Fatal(err)
				}
			}
			err := row.writes(t.Context(), client, object)
			switch {
			case row.refusal == "" && err != nil:
				t.Fatalf("it is refused: %v", err)
			case row.refusal != "" && !refusedWith(err, row.refusal):
				t.Fatalf("want a refusal with %q, got %v", row.refusal, err)
			case row.shows == nil:
				if diff := cmp.Diff(settledAt, a.hub.get(t.Context(), a.ns, object)); diff != "" {
					t.Errorf("it is changed: -before +after:\n%s", diff)
				}
				return
			}
			a.checkRow(t, object, row)
		})
		if row.counted != "" {
			counts[fmt.Sprintf(`stellarflow_requests_total{request=%q,result="refused"}`, row.counted)]++
		}
		if row.asked != "" {
			counts[fmt.Sprintf(`stellarflow_requests_total{request=%q,result="asked"}`, row.asked)]++
			counts[fmt.Sprintf(`stellarflow_requests_total{request=%q,result="done"}`, row.asked)]++
		}
	}
	wantSeries(t, address, "each refusal and intent, and none that was only tried", counts)
}

// checkRow waits until the hub copy is as wanted, and the WEC copy too.
func (a acting) checkRow(t *testing.T, name string, row guardRow) {
	t.Helper()
	wec := a.wecs["cluster1"]
	shown := a.hub.waitFor(t, a.ns, name, "what was written", row.shows)
	if shown == nil {
		wec.waitFor(t, a.ns, name, "its end there, too", gone)
		return
	}
	if row.asked != "" {
		a.waitEvent(t, a.ns, name, "IntentDone", fmt.Sprintf("%s asked by alice was done on cluster cluster1", row.asked))
	}
	wec.waitFor(t, a.ns, name, "what was asked there, and nothing else", func(w *unstructured.Unstructured) bool {
		return shutdown(w) == shutdown(shown) && suspended(w) == (row.asked == stellarflow.IntentSuspend)
	})
	if left := a.hub.get(t.Context(), a.ns, name); nodePhase(left, name+"-1") != "Running" || !hasFinalizer(left, stellarflow.FinalizerCleanup) {
		t.Errorf("the hub copy has become %s", describe(left))
	}
}

package integration

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

const (
	argoController  = "system:serviceaccount:argo:argo"
	hubManager      = "system:serviceaccount:stellarflow-system:stellarflow-hub"
	refusedArgo     = "this Workflow runs on another cluster (label stellarflow.io/cluster) and its status is mirrored from there"
	refusedResume   = "resumed here it would run twice"
	refusedStop     = "Argo knows Stop (exit handlers still run) and Terminate: write one of them"
	refusedLabel    = "label stellarflow.io/cluster says where this Workflow runs and cannot be changed"
	refusedRecord   = "the annotations of stellarflow.io/ are written by the hub manager only, but for stellarflow.io/request"
	refusedSentence = "annotation stellarflow.io/refused is written by the hub manager only"
	refusedEnd      = "labels workflows.argoproj.io/completed and phase say what the cluster has reported"
	refusedRequest  = "annotation stellarflow.io/request is abandon (give the Workflow up"
	refusedCleanup  = "finalizer stellarflow.io/cleanup keeps this Workflow until its copy on the other cluster is gone"
)

// workflow is a suspended Workflow as a user writes it.
func guardedWorkflow(name string) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow",
		"metadata": map[string]any{"name": name, "namespace": "default", "labels": map[string]any{"kubestellar.io/cluster": "cluster1"}},
		"spec":     map[string]any{"suspend": true, "entrypoint": "main"},
	}}
}

// placed creates a Workflow and lets the hub manager place it.
func placed(t *testing.T, s *server, name string) *unstructured.Unstructured {
	t.Helper()
	created, err := workflows(s.dynamic).Create(t.Context(), guardedWorkflow(name), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	record := stellarflow.Placement{UID: created.GetUID(), Policy: "p", Cluster: "cluster1", Attempt: 1, Time: time.Unix(0, 0).UTC()}
	placed, err := patchWorkflow(t.Context(), s.as(t, hubManager), name, fmt.Sprintf(
		`{"metadata":{"labels":{"stellarflow.io/cluster":"cluster1"},"annotations":{"stellarflow.io/placement":%q},"finalizers":["stellarflow.io/cleanup"]}}`, record))
	if err != nil {
		t.Fatalf("place %s: %v", name, err)
	}
	return placed
}

func workflows(client dynamic.Interface) dynamic.ResourceInterface {
	return workflowsOf(client, "default")
}

func workflowsOf(client dynamic.Interface, namespace string) dynamic.ResourceInterface {
	return client.Resource(stellarflow.Workflows).Namespace(namespace)
}

func patchWorkflow(ctx context.Context, client dynamic.Interface, name, patch string) (*unstructured.Unstructured, error) {
	return workflows(client).Patch(ctx, name, types.MergePatchType, []byte(patch), metav1.PatchOptions{})
}

// installGuard applies config/webhook and waits until it refuses.
func installGuard(t *testing.T, s *server) {
	t.Helper()
	rendered, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), "../../config/webhook")
	if err != nil {
		t.Fatal(err)
	}
	resources := map[string]string{
		"ValidatingAdmissionPolicy": "validatingadmissionpolicies", "ValidatingAdmissionPolicyBinding": "validatingadmissionpolicybindings",
	}
	for _, r := range rendered.Resources() {
		m, err := r.Map()
		if err != nil {
			t.Fatal(err)
		}
		object := &unstructured.Unstructured{Object: m}
		if isWebhook(object.GetKind()) {
			continue
		}
		gvr := schema.GroupVersionResource{Group: "admissionregistration.k8s.io", Version: "v1", Resource: resources[object.GetKind()]}
		if _, err := s.dynamic.Resource(gvr).Create(t.Context(), object, metav1.CreateOptions{}); err != nil {
			t.Fatalf("create %s %s: %v", object.GetKind(), object.GetName(), err)
		}
	}
	placed(t, s, "probe")
	user, controller := s.as(t, "alice"), s.as(t, argoController)
	for refusal, try := range map[string]func(context.Context) error{
		refusedArgo: func(ctx context.Context) error {
			_, err := patchWorkflow(ctx, controller, "probe", `{"status":{"a":"b"}}`)
			return err
		},
		refusedResume: func(ctx context.Context) error {
			_, err := patchWorkflow(ctx, user, "probe", `{"spec":{"suspend":false}}`)
			_, _ = patchWorkflow(ctx, user, "probe", `{"spec":{"suspend":true}}`)
			return err
		},
		refusedRecord: func(ctx context.Context) error {
			_, err := patchWorkflow(ctx, user, "probe", `{"metadata":{"annotations":{"stellarflow.io/sync":"x"}}}`)
			return err
		},
	} {
		eventually(t, "the refusal "+refusal, func(ctx context.Context) (bool, string) {
			err := try(ctx)
			return err != nil && strings.Contains(err.Error(), refusal), fmt.Sprint(err)
		})
	}
}

func TestGuard(t *testing.T) {
	s := startAPIServer(t)
	installGuard(t, s)
	// All of them may do everything: what is refused below is refused by the guard.
	users := map[string]dynamic.Interface{
		"argo": s.as(t, argoController), "hub": s.as(t, hubManager), "alice": s.as(t, "alice"),
	}
	finish := `{"metadata":{"labels":{"workflows.argoproj.io/completed":"true"}},"status":{"phase":"Succeeded"}}`
	type step struct {
		user, patch, refusal string
	}
	cases := map[string]struct {
		reason string
		local  bool // not placed
		steps  []step
	}{
		"ArgoMarksNodes": {"the controller would write 'pod deleted'", false, []step{{"argo", `{"status":{"phase":"Error"}}`, refusedArgo}}},
		"ArgoAfterTheEnd": {
			"a finished Workflow may be archived and labelled", false,
			[]step{{"hub", finish, ""}, {"argo", `{"metadata":{"labels":{"workflows.argoproj.io/workflow-archiving-status":"Archived"}}}`, ""}},
		},
		"ArgoArchivesLate": {
			"what runs again has not the end that was archived", false,
			[]step{{"argo", `{"metadata":{"labels":{"workflows.argoproj.io/workflow-archiving-status":"Archived"}}}`, refusedArgo}},
		},
		"ArgoAfterARetry": {
			"a retry takes the completed label away: the guard is back", false,
			[]step{{"hub", finish, ""}, {"hub", `{"metadata":{"labels":{"workflows.argoproj.io/completed":null}}}`, ""}, {"argo", `{"status":{"phase":"Running"}}`, refusedArgo}},
		},
		"ForgeCompleted": {"what says that it has ended would lift the guard", false, []step{{"alice", `{"metadata":{"labels":{"workflows.argoproj.io/completed":"true"}}}`, refusedEnd}}},
		"ForgeRunning": {
			"nor does it run again because somebody says so", false,
			[]step{{"hub", finish, ""}, {"alice", `{"metadata":{"labels":{"workflows.argoproj.io/completed":null}}}`, refusedEnd}, {"alice", `{"metadata":{"labels":{"workflows.argoproj.io/phase":"Running"}}}`, refusedEnd}},
		},
		"AbandonedAgain": {
			"what was given up is a Workflow of the hub's own", false,
			[]step{{"hub", finish, ""}, {"hub", `{"metadata":{"annotations":{"stellarflow.io/abandoned":"2026-01-01T00:00:00Z"}}}`, ""}, {"alice", `{"metadata":{"labels":{"workflows.argoproj.io/completed":null}}}`, ""}},
		},
		"Refused": {
			"what was refused may be taken away and not be written", false,
			[]step{
				{"alice", `{"metadata":{"annotations":{"stellarflow.io/refused":"no"}}}`, refusedSentence},
				{"hub", `{"metadata":{"annotations":{"stellarflow.io/refused":"no"}}}`, ""},
				{"alice", `{"metadata":{"annotations":{"stellarflow.io/refused":"yes"}}}`, refusedSentence},
				{"alice", `{"metadata":{"annotations":{"stellarflow.io/refused":null}}}`, ""},
			},
		},
		"CronReplaces": {
			"the controller ends the run before, and may do nothing else with that", false,
			[]step{
				{"hub", `{"status":{"phase":"Running","nodes":{"a":{"phase":"Running"}}}}`, ""},
				{"argo", `{"spec":{"shutdown":"Terminate"},"status":{"phase":"Error"}}`, refusedArgo},
				{"argo", `{"spec":{"shutdown":"Terminate"},"status":{"nodes":{"a":{"phase":"Error"}}}}`, refusedArgo},
				{"argo", `{"spec":{"shutdown":"Terminate"},"status":null}`, refusedArgo},
				{"argo", `{"spec":{"shutdown":"Terminate","entrypoint":"other"}}`, refusedArgo},
				{"argo", `{"spec":{"shutdown":"Terminate","parallelism":1}}`, refusedArgo},
				{"argo", `{"spec":{"shutdown":"Terminate","entrypoint":null}}`, refusedArgo},
				{"argo", `{"spec":{"shutdown":"Terminate"},"metadata":{"labels":{"workflows.argoproj.io/completed":"true"}}}`, "is forbidden"}, // by two policies, whichever is asked first
				{"argo", `{"spec":{"shutdown":"Terminate"},"metadata":{"annotations":{"a":"b"}}}`, refusedArgo},
				{"argo", `{"spec":{"shutdown":"Terminate"},"metadata":{"finalizers":["stellarflow.io/cleanup","workflows.argoproj.io/artifact-gc"]}}`, refusedArgo},
				{"argo", `{"spec":{"shutdown":"Terminate"}}`, ""},
				{"argo", `{"spec":{"shutdown":"Terminate"}}`, ""}, // with each tick until it has ended
				{"argo", `{"spec":{"shutdown":"Terminate"},"status":{"phase":"Error"}}`, refusedArgo},
				{"argo", `{"spec":{"shutdown":null}}`, refusedArgo},
			},
		},
		"CronReplacesBeforeAStatus": {"nothing was mirrored yet", false, []step{{"argo", `{"spec":{"shutdown":"Terminate"}}`, ""}}},
		"StopAndTerminate": {
			"argo stop, then argo terminate", false,
			[]step{{"alice", `{"spec":{"shutdown":"Stop"}}`, ""}, {"alice", `{"spec":{"shutdown":"Terminate"}}`, ""}, {"alice", `{"spec":{"shutdown":null}}`, ""}},
		},
		"StopUnknown": {"nobody would do it", false, []step{{"alice", `{"spec":{"shutdown":"stop"}}`, refusedStop}, {"hub", `{"spec":{"shutdown":"Kill"}}`, refusedStop}}},
		"StopNoText":  {"and Argo could not read it", false, []step{{"alice", `{"spec":{"shutdown":true}}`, refusedStop}, {"alice", `{"spec":{"shutdown":["Stop"]}}`, refusedStop}}},
		"HubMirrors":  {"the mirror write", false, []step{{"hub", `{"metadata":{"annotations":{"stellarflow.io/observed":"a/1/2/x"}},"status":{"phase":"Running"}}`, ""}}},
		"Resume":      {"a run here beside the run there", false, []step{{"alice", `{"spec":{"suspend":null}}`, refusedResume}}},
		"ResumeFalse": {
			"the same, written as false", false, []step{{"alice", `{"spec":{"suspend":false}}`, refusedResume}},
		},
		"ResumeByHub":     {"everyone means everyone", false, []step{{"hub", `{"spec":{"suspend":null}}`, refusedResume}}},
		"ResumeAtTheEnd":  {"nothing can start any more", false, []step{{"hub", finish, ""}, {"alice", `{"spec":{"suspend":null}}`, ""}}},
		"RemoveLabel":     {"a removed label would lift the guard", false, []step{{"alice", `{"metadata":{"labels":{"stellarflow.io/cluster":null}}}`, refusedLabel}}},
		"ArgoRemoveLabel": {"by the controller too", false, []step{{"argo", `{"metadata":{"labels":{"stellarflow.io/cluster":null}}}`, "is forbidden"}}},
		"ChangeLabel":     {"another cluster", false, []step{{"alice", `{"metadata":{"labels":{"stellarflow.io/cluster":"cluster2"}}}`, refusedLabel}}},
		"RemoveRecord":    {"the record is the placement", false, []step{{"alice", `{"metadata":{"annotations":{"stellarflow.io/placement":null}}}`, refusedRecord}}},
		"ForgeAbandoned":  {"given up is what the manager says", false, []step{{"alice", `{"metadata":{"annotations":{"stellarflow.io/abandoned":"2026-01-01T00:00:00Z"}}}`, refusedRecord}}},
		"TakeBackAbandoned": {
			"and it cannot be taken back", false,
			[]step{{"hub", `{"metadata":{"annotations":{"stellarflow.io/abandoned":"2026-01-01T00:00:00Z"}}}`, ""}, {"alice", `{"metadata":{"annotations":{"stellarflow.io/abandoned":null}}}`, refusedRecord}},
		},
		"ForgeAdopts":       {"nor adopted by hand", false, []step{{"alice", `{"metadata":{"annotations":{"stellarflow.io/adopts":"cluster1/x"}}}`, refusedRecord}}},
		"ForgeDependencies": {"nor what it needs", false, []step{{"alice", `{"metadata":{"annotations":{"stellarflow.io/dependencies":"{}"}}}`, refusedRecord}}},
		"Request": {
			"anybody may ask, change the question, and take it back", false,
			[]step{
				{"alice", `{"metadata":{"annotations":{"stellarflow.io/request":"abandon"}}}`, ""},
				{"alice", `{"metadata":{"annotations":{"stellarflow.io/request":"move"}}}`, ""},
				{"alice", `{"metadata":{"annotations":{"stellarflow.io/request":null}}}`, ""},
			},
		},
		"RequestUnknown": {"but not for what nobody understands", false, []step{{"alice", `{"metadata":{"annotations":{"stellarflow.io/request":"stop"}}}`, refusedRequest}}},
		"RequestKept": {
			"one from before the placement stands in nobody's way", false,
			[]step{{"hub", `{"metadata":{"annotations":{"stellarflow.io/request":"stop"}}}`, ""}, {"alice", `{"metadata":{"labels":{"team":"a"}}}`, ""}},
		},
		"RemoveAll":   {"labels and annotations gone as a whole", false, []step{{"alice", `{"metadata":{"labels":null,"annotations":null}}`, "is forbidden"}}},
		"ForceDelete": {"argo delete --force", false, []step{{"alice", `{"metadata":{"finalizers":null}}`, refusedCleanup}}},
		"HubReleases": {"the hub manager lets go", false, []step{{"hub", `{"metadata":{"finalizers":null}}`, ""}}},
		"OtherKeys": {
			"a user's own labels, annotations, finalizers and a shutdown are theirs", false,
			[]step{{"alice", `{"metadata":{"labels":{"team":"a"},"annotations":{"note":"b"},"finalizers":["stellarflow.io/cleanup","example.com/x"]},"spec":{"shutdown":"Stop"}}`, ""}},
		},
		"Local": {
			"a Workflow that is not placed is nobody's business", true,
			[]step{{"argo", `{"status":{"phase":"Running"}}`, ""}, {"alice", `{"spec":{"suspend":null}}`, ""}, {"alice", `{"metadata":{"labels":null,"finalizers":null},"spec":{"suspend":true}}`, ""}},
		},
		"CopiedRecord": {
			"a resubmitted copy carries label and record of another UID: it is a local one", true,
			[]step{
				{"alice", `{"metadata":{"labels":{"stellarflow.io/cluster":"cluster1"},"annotations":{"stellarflow.io/placement":"{\"uid\":\"other\",\"cluster\":\"cluster1\"}"}}}`, ""},
				{"argo", `{"status":{"phase":"Running"}}`, ""},
				{"alice", `{"spec":{"suspend":null}}`, ""},
				{"alice", `{"metadata":{"labels":{"stellarflow.io/cluster":null},"annotations":null}}`, ""},
			},
		},
		"LabelWithoutAnnotations": {
			"no annotations at all must not make a condition err", true,
			[]step{{"alice", `{"metadata":{"labels":{"stellarflow.io/cluster":"cluster1"}}}`, ""}, {"argo", `{"status":{"phase":"Running"}}`, ""}},
		},
		"Forged": {
			"a user cannot place: label and record with the right UID", true,
			[]step{{"alice", `{"metadata":{"labels":{"stellarflow.io/cluster":"cluster1"},"annotations":{"stellarflow.io/placement":"{\"uid\":\"$UID\"}"}}}`, refusedLabel}},
		},
		"ForgedInTwoSteps": {
			"nor in two steps", true,
			[]step{
				{"alice", `{"metadata":{"annotations":{"stellarflow.io/placement":"{\"uid\":\"$UID\"}"}}}`, ""},
				{"alice", `{"metadata":{"labels":{"stellarflow.io/cluster":"cluster1"}}}`, refusedLabel},
			},
		},
	}
	n := 0
	for name, tc := range cases {
		n++
		object := fmt.Sprintf("w%d", n)
		t.Run(name, func(t *testing.T) {
			var uid types.UID
			if tc.local {
				created, err := workflows(s.dynamic).Create(t.Context(), guardedWorkflow(object), metav1.CreateOptions{})
				if err != nil {
					t.Fatal(err)
				}
				uid = created.GetUID()
			} else {
				uid = placed(t, s, object).GetUID()
			}
			for i, step := range tc.steps {
				_, err := patchWorkflow(t.Context(), users[step.user], object, strings.ReplaceAll(step.patch, "$UID", string(uid)))
				switch {
				case step.refusal == "" && err != nil:
					t.Fatalf("%s: step %d: %s is refused %s: %v", tc.reason, i, step.user, step.patch, err)
				case step.refusal != "" && err == nil:
					t.Fatalf("%s: step %d: %s may %s", tc.reason, i, step.user, step.patch)
				case step.refusal != "" && !strings.Contains(err.Error(), step.refusal):
					t.Fatalf("%s: step %d: want a refusal with %q, got %v", tc.reason, i, step.refusal, err)
				}
			}
		})
	}
}

// A placed Workflow can be deleted by anyone who may; it then waits for the hub manager.
func TestGuardLetsDeletionThrough(t *testing.T) {
	s := startAPIServer(t)
	installGuard(t, s)
	placed(t, s, "gone")
	if err := workflows(s.as(t, "alice")).Delete(t.Context(), "gone", metav1.DeleteOptions{}); err != nil {
		t.Fatalf("delete: %v", err)
	}
	waiting, err := workflows(s.dynamic).Get(t.Context(), "gone", metav1.GetOptions{})
	if err != nil || waiting.GetDeletionTimestamp() == nil {
		t.Fatalf("want it to wait for its finalizer, got %v, %v", waiting, err)
	}
	if _, err := patchWorkflow(t.Context(), s.as(t, hubManager), "gone", `{"metadata":{"finalizers":null}}`); err != nil {
		t.Fatalf("release: %v", err)
	}
}

// Every shape that a placement can have must be seen by the guard's test for the UID.
func TestGuardFindsTheUIDAsItIsStored(t *testing.T) {
	raw := stellarflow.Placement{UID: "abc", Policy: `a"uid":"b`, Cluster: "c", Attempt: 1}.String()
	if !json.Valid([]byte(raw)) || !strings.Contains(raw, `"uid":"abc"`) || strings.Contains(raw, `"uid":"b"`) {
		t.Errorf("the record cannot be told by its text: %s", raw)
	}
}

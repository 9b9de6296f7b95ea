package transforms

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestStrip(t *testing.T) {
	cases := map[string]struct{ reason, object, want string }{
		"Everything": {
			reason: "what is the hub copy's alone goes, what the user wrote stays",
			object: `{"apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow",
				"metadata": {"name": "w-1", "namespace": "argo", "generateName": "w-", "uid": "u", "resourceVersion": "5", "generation": 2,
					"selfLink": "/x", "creationTimestamp": "2026-01-01T00:00:00Z", "deletionTimestamp": "2026-01-01T00:00:00Z",
					"deletionGracePeriodSeconds": 0, "managedFields": [{"manager": "kubectl"}], "finalizers": ["stellarflow.io/cleanup"],
					"ownerReferences": [{"kind": "CronWorkflow"}],
					"labels": {"kubestellar.io/cluster": "cluster1", "mine": "x", "stellarflow.io/cluster": "cluster1",
						"workflows.argoproj.io/completed": "false", "workflows.argoproj.io/phase": "Running",
						"workflows.argoproj.io/workflow-archiving-status": "Pending", "workflows.argoproj.io/controller-instanceid": "i",
						"workflows.argoproj.io/actor": "a", "workflows.argoproj.io/actor-email": "a", "workflows.argoproj.io/action": "Resume",
						"workflows.argoproj.io/cron-workflow": "c", "workflows.argoproj.io/creator": "me",
						"workflows.argoproj.io/workflow-template": "t", "workflows.argoproj.io/archive-strategy": "false",
						"workflows.argoproj.io/resubmitted-from-workflow": "r"},
					"annotations": {"stellarflow.io/placement": "{}", "stellarflow.io/observed": "", "mine": "y",
						"kubectl.kubernetes.io/last-applied-configuration": "{}", "workflows.argoproj.io/pod-name-format": "v2",
						"workflows.argoproj.io/trace-id": "t", "workflows.argoproj.io/scheduled-time": "2026-01-01T00:00:00Z",
						"workflows.argoproj.io/title": "T"}},
				"spec": {"suspend": true, "ttlStrategy": {"secondsAfterCompletion": 5}, "entrypoint": "main", "podGC": {"strategy": "OnPodCompletion"},
					"templates": [{"name": "main", "suspend": {}}],
					"workflowMetadata": {"labels": {"stellarflow.io/cluster": "cluster2", "team": "t", "workflows.argoproj.io/completed": "true"},
						"labelsFrom": {"stellarflow.io/cluster": {"expression": "'x'"}, "team2": {"expression": "'y'"}},
						"annotations": {"stellarflow.io/placement": "{}", "team": "t"}}},
				"status": {"phase": "Running", "nodes": {"w-1": {"phase": "Running"}}}}`,
			want: `{"apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow",
				"metadata": {"name": "w-1", "namespace": "argo",
					"labels": {"kubestellar.io/cluster": "cluster1", "mine": "x", "workflows.argoproj.io/creator": "me",
						"workflows.argoproj.io/workflow-template": "t", "workflows.argoproj.io/archive-strategy": "false",
						"workflows.argoproj.io/resubmitted-from-workflow": "r"},
					"annotations": {"mine": "y", "workflows.argoproj.io/scheduled-time": "2026-01-01T00:00:00Z", "workflows.argoproj.io/title": "T"}},
				"spec": {"entrypoint": "main", "podGC": {"strategy": "OnPodCompletion"}, "templates": [{"name": "main", "suspend": {}}],
					"workflowMetadata": {"labels": {"team": "t"}, "labelsFrom": {"team2": {"expression": "'y'"}}, "annotations": {"team": "t"}}}}`,
		},
		"EmptyMapsGo": {
			reason: "a map that becomes empty goes, in workflowMetadata too; spec and metadata stay",
			object: `{"metadata": {"labels": {"workflows.argoproj.io/phase": "x"}, "annotations": {"stellarflow.io/a": "x"}},
				"spec": {"suspend": true, "workflowMetadata": {"labels": {"stellarflow.io/a": "x"}, "annotations": {}, "labelsFrom": {}}}}`,
			want: `{"metadata": {}, "spec": {}}`,
		},
		"OtherTypes": {
			reason: "what is not a Workflow's shape is left for the API server to refuse",
			object: `{"metadata": {"labels": "x", "annotations": [1]}, "spec": {"workflowMetadata": 5}}`,
			want:   `{"metadata": {"labels": "x", "annotations": [1]}, "spec": {"workflowMetadata": 5}}`,
		},
		"NoObjects": {reason: "members of other types are left", object: `{"metadata": 1, "spec": "x"}`, want: `{"metadata": 1, "spec": "x"}`},
		"Empty":     {reason: "an empty object stays one", object: `{}`, want: `{}`},
		"StatusOnly": {
			reason: "the status goes whole, whatever it is", object: `{"status": "x", "kind": "Workflow"}`, want: `{"kind": "Workflow"}`,
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			in := object(t, tc.object)
			got := Strip(in)
			if diff := cmp.Diff(object(t, tc.want), got); diff != "" {
				t.Errorf("\n%s\nStrip(...): -want, +got:\n%s", tc.reason, diff)
			}
			if diff := cmp.Diff(got, Strip(got)); diff != "" {
				t.Errorf("\n%s\nStrip(Strip(...)): -want, +got:\n%s", tc.reason, diff)
			}
			if diff := cmp.Diff(object(t, tc.object), in); diff != "" {
				t.Errorf("\n%s\nStrip changed its input: -want, +got:\n%s", tc.reason, diff)
			}
		})
	}
	if got := Strip(nil); len(got) != 0 {
		t.Errorf("Strip(nil) = %v", got)
	}
}

package transforms

import (
	"strings"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

// strippedMetadata are members of metadata that belong to the hub copy alone. generateName goes because the name is settled.
var strippedMetadata = []string{
	"managedFields", "finalizers", "generation", "ownerReferences", "selfLink", "resourceVersion", "uid", "generateName",
	"creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds",
}

// strippedSpec are members of spec that are for the hub copy: the suspension that keeps it from running there, and the lifetime,
// since the WEC copy is deleted when the hub copy is.
var strippedSpec = []string{"suspend", "ttlStrategy"}

// argo begins the keys of Argo Workflows (workflow/common/common.go there).
const argo = "workflows.argoproj.io/"

// strippedLabels are labels of Argo's that say something of the hub copy, or would keep the WEC's controller from running the WEC
// copy (completed, controller-instanceid) or make it the child of a CronWorkflow that is on the hub. All labels that start with
// argo+"actor" go too.
var strippedLabels = map[string]bool{
	argo + "completed":                 true,
	argo + "phase":                     true,
	argo + "workflow-archiving-status": true,
	argo + "controller-instanceid":     true,
	argo + "action":                    true,
	argo + "cron-workflow":             true,
}

// strippedAnnotations are those that the WEC's controller sets itself, and one that kubectl keeps a copy of the object in. The
// scheduled time of a CronWorkflow stays: templates can ask for it.
var strippedAnnotations = map[string]bool{
	argo + "pod-name-format":                           true,
	argo + "trace-id":                                  true,
	"kubectl.kubernetes.io/last-applied-configuration": true,
}

// Strip returns a deep copy of a Workflow without what never travels to a WEC: the metadata of the hub copy, labels and
// annotations of ours and those of Argo's that describe the hub copy, the suspension, the lifetime and the whole status. A map of
// labels or annotations that becomes empty goes too. Members of other types than a Workflow has are left alone.
func Strip(object map[string]any) map[string]any {
	result, _ := deepCopy(object).(map[string]any)
	delete(result, "status")
	if metadata, isObject := result["metadata"].(map[string]any); isObject {
		drop(metadata, strippedMetadata)
		dropKeys(metadata, "labels", isStrippedLabel)
		dropKeys(metadata, "annotations", isStrippedAnnotation)
	}
	if spec, isObject := result["spec"].(map[string]any); isObject {
		drop(spec, strippedSpec)
		stripWorkflowMetadata(spec)
	}
	return result
}

// stripWorkflowMetadata strips the labels and annotations that Argo's controller would put on the WEC copy.
func stripWorkflowMetadata(spec map[string]any) {
	metadata, isObject := spec["workflowMetadata"].(map[string]any)
	if !isObject {
		return
	}
	dropKeys(metadata, "labels", isStrippedLabel)
	dropKeys(metadata, "labelsFrom", isStrippedLabel)
	dropKeys(metadata, "annotations", isStrippedAnnotation)
	if len(metadata) == 0 {
		delete(spec, "workflowMetadata")
	}
}

func drop(object map[string]any, names []string) {
	for _, name := range names {
		delete(object, name)
	}
}

// dropKeys deletes the keys of one member, and the member if nothing is left in it.
func dropKeys(object map[string]any, name string, stripped func(key string) bool) {
	members, isObject := object[name].(map[string]any)
	if !isObject {
		return
	}
	for key := range members {
		if stripped(key) {
			delete(members, key)
		}
	}
	if len(members) == 0 {
		delete(object, name)
	}
}

func isStrippedLabel(key string) bool {
	return stellarflow.IsOurs(key) || strippedLabels[key] || strings.HasPrefix(key, argo+"actor")
}

func isStrippedAnnotation(key string) bool {
	return stellarflow.IsOurs(key) || strippedAnnotations[key]
}

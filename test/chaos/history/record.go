package history

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"slices"
	"strconv"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
	"stellarflow.io/stellarflow/pkg/hub/upsync"
)

// Kind is what a record says.
type Kind string

// The kinds.
const (
	// Stored: a revision of a Workflow. Deleted: it is gone; the record has its last state.
	Stored  Kind = "Stored"
	Deleted Kind = "Deleted"
	// Restored: the cluster's etcd was replaced by an older copy. Everything that is in it follows as Stored with Text Carried.
	Restored Kind = "Restored"
	// Acted: a person does something to a Workflow; Text is an Act.
	Acted Kind = "Acted"
	// Began: a manager begins to act that knows nothing but what is stored: a new process, or one that takes over.
	Began Kind = "Began"
	// Served: the hub's API server begins, and may not have read its admission policies yet.
	Served Kind = "Served"
	// Harmed: Text says which pod went that nobody deleted, or which mirror stayed.
	Harmed Kind = "Harmed"
	// Faulted: Text says what is broken or mended.
	Faulted Kind = "Faulted"
	// Quiet: all is mended and had its time: every Workflow must be finished. Ended: everything was deleted and had its time.
	Quiet Kind = "Quiet"
	Ended Kind = "Ended"
)

// Acts of people that change what the hub may show.
const (
	// ActForced: the copy was deleted on a WEC and its finalizers were taken off.
	ActForced = "forced"
	// ActHubForced: the finalizers of a hub copy were taken off as docs/spec/workflow.md says for a lost cluster.
	ActHubForced = "hub-forced"
	// ActDisowned: our annotations of a WEC copy were changed by somebody on the WEC.
	ActDisowned = "disowned"
	// ActRetried: a finished WEC copy was made to run again; until the hub has put harvest back nothing holds it.
	ActRetried = "retried"
	// ActGivenUp: a person asked the hub to abandon or move the Workflow.
	ActGivenUp = "given-up"
)

// Carried is the text of a Stored record of what a restored etcd holds.
const Carried = "carried"

// RanOnHub begins the message of a Workflow that the simulated Argo controller of the hub runs.
const RanOnHub = "runs on the hub"

// RetriedThere begins the message of a Workflow that a person on a WEC has retried.
const RetriedThere = "retried by a person"

// Hub is the name of the hub in Record.Cluster.
const Hub = "hub"

// Record is one thing that happened.
type Record struct {
	Time     time.Time `json:"time"`
	Kind     Kind      `json:"kind"`
	Cluster  string    `json:"cluster,omitempty"`
	Revision int64     `json:"revision,omitempty"`
	Workflow Workflow  `json:"workflow,omitzero"`
	Text     string    `json:"text,omitempty"`
}

// Workflow is what the checker uses of one.
type Workflow struct {
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name,omitempty"`
	UID       string `json:"uid,omitempty"`
	Deleting  bool   `json:"deleting,omitempty"`
	Suspended bool   `json:"suspended,omitempty"`
	// Decoy marks an object that the test made and that nobody may touch.
	Decoy bool `json:"decoy,omitempty"`
	// HubUID and Attempt are what a WEC copy says of itself; on the hub, what the record says. Placed is the recorded cluster.
	HubUID  string `json:"hubUID,omitempty"`
	Attempt int    `json:"attempt,omitempty"`
	Placed  string `json:"placed,omitempty"`
	WECUID  string `json:"wecUID,omitempty"`
	Harvest bool   `json:"harvest,omitempty"`
	Cleanup bool   `json:"cleanup,omitempty"`
	// GivenUp: it carries the mark of an abandoned one.
	GivenUp   bool   `json:"givenUp,omitempty"`
	Phase     string `json:"phase,omitempty"`
	Message   string `json:"message,omitempty"`
	Completed bool   `json:"completed,omitempty"`
	// Asks, on the hub, are what waits to be done where it runs, Refused why the last of what was not done was not. Applied, on a WEC, is the
	// ID of what was done last.
	Asks    []Ask  `json:"asks,omitempty"`
	Refused string `json:"refused,omitempty"`
	Applied string `json:"applied,omitempty"`
	// Note is what people note on it; Switched changes when a person on a WEC suspends it or lifts that.
	Note     string `json:"note,omitempty"`
	Switched string `json:"switched,omitempty"`
	// Held: it was created unsuspended where the hub was to hold it.
	Held bool `json:"held,omitempty"`
	// Status is a hash of the status, Content one of the whole object.
	Status  string `json:"status,omitempty"`
	Content string `json:"content,omitempty"`
}

// Ask is an action that waits to be done on a WEC.
type Ask struct {
	ID   string `json:"id"`
	Kind string `json:"kind"`
	// Of is the UID of the WEC copy that it was asked of, empty if none was known.
	Of string `json:"of,omitempty"`
}

// Terminal reports whether it has ended, as Argo says it: label and phase.
func (w Workflow) Terminal() bool {
	return w.Completed && slices.Contains([]string{"Succeeded", "Failed", "Error"}, w.Phase)
}

// Keys of people in a run. KeyNote is a label and an annotation.
const (
	// LabelDecoy marks decoys, LabelHeld what is Held.
	LabelDecoy  = "chaos.test/decoy"
	LabelHeld   = "chaos.test/held"
	KeyNote     = "chaos.test/note"
	KeySwitched = "chaos.test/switched"
)

// Of reads a stored object.
func Of(object *unstructured.Unstructured) Workflow {
	annotations, labels, finalizers := object.GetAnnotations(), object.GetLabels(), object.GetFinalizers()
	w := Workflow{
		Namespace: object.GetNamespace(), Name: object.GetName(), UID: string(object.GetUID()), Deleting: object.GetDeletionTimestamp() != nil,
		Decoy: labels[LabelDecoy] != "", HubUID: annotations[stellarflow.AnnotationHubUID],
		Harvest: slices.Contains(finalizers, stellarflow.FinalizerHarvest), Cleanup: slices.Contains(finalizers, stellarflow.FinalizerCleanup),
		GivenUp: annotations[stellarflow.AnnotationAbandoned] != "", Completed: stellarflow.Completed(object), Content: hash(object.Object),
		Refused: annotations[stellarflow.AnnotationRefused], Applied: annotations[stellarflow.AnnotationApplied],
		Note: labels[KeyNote] + annotations[KeyNote], Switched: annotations[KeySwitched], Held: labels[LabelHeld] != "",
	}
	if waiting, err := stellarflow.IntentsOf(object); err == nil {
		for _, intent := range waiting {
			w.Asks = append(w.Asks, Ask{string(intent.ID), string(intent.Kind), string(intent.WECUID)})
		}
	}
	w.Attempt, _ = strconv.Atoi(annotations[stellarflow.AnnotationAttempt]) // zero if it is none
	w.Suspended, _, _ = unstructured.NestedBool(object.Object, "spec", "suspend")
	if placement, ok := stellarflow.PlacementOf(object); ok {
		w.HubUID, w.Attempt, w.Placed, w.WECUID = string(placement.UID), placement.Attempt, string(placement.Cluster), string(placement.WECUID)
	}
	if status, found, _ := unstructured.NestedMap(object.Object, "status"); found && len(status) > 0 {
		w.Phase, _ = status["phase"].(string)
		w.Message, _ = status["message"].(string)
		delete(status, "artifactRepositoryRef") // the hub's own
		withoutUnseen(status)
		w.Status = hash(status)
	}
	return w
}

// withoutUnseen takes off a status the condition that the hub adds where pods are not shown.
func withoutUnseen(status map[string]any) {
	conditions, _ := status["conditions"].([]any)
	conditions = slices.DeleteFunc(conditions, func(c any) bool {
		condition, ok := c.(map[string]any)
		return ok && condition["type"] == upsync.ConditionLogsFromS3
	})
	if status["conditions"] = conditions; len(conditions) == 0 {
		delete(status, "conditions")
	}
}

func hash(content map[string]any) string {
	raw, err := json.Marshal(content) // what came from JSON goes back
	if err != nil {
		return err.Error()
	}
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:8])
}

// Sort orders records by time. Those of one cluster are in the order of their revisions already.
func Sort(records []Record) {
	slices.SortStableFunc(records, func(a, b Record) int { return cmp.Compare(a.Time.UnixNano(), b.Time.UnixNano()) })
}

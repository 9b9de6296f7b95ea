package upsync

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

// MaxWECCopyBytes bounds what is read of one WEC copy. An API server stores no more than etcd's 1.5 MiB request limit, so
// only a cluster that lies sends more.
const MaxWECCopyBytes = 3 << 20

// ErrNotMirrorable is the sentinel of a status that must not reach the hub; the text says what is wrong with it.
var ErrNotMirrorable = errors.New("the status cannot be mirrored")

// Rendered is what the hub copy shall show of a WEC copy.
type Rendered struct {
	// Status is the whole status as canonical JSON, nil as long as the WEC has written none.
	Status json.RawMessage
	// Labels and Annotations are Argo's, from a fixed list; one that is missing here must be missing on the hub copy.
	Labels, Annotations map[string]string
	// Hash is that of all of the above.
	Hash string
	// Terminal is true if the phase is Succeeded, Failed or Error.
	Terminal bool
	// Removed is how many artifact locations were taken out; Cut is true if the nodes were.
	Removed int
	Cut     bool
}

// Rules say what a status may refer to.
type Rules struct {
	// Repository is what status.artifactRepositoryRef becomes, whatever the WEC says; nil removes it.
	Repository map[string]any
	// LogsFromS3 says why the pods of the Workflow cannot all be shown on the hub, empty if they can: it becomes a condition.
	LogsFromS3 string
	// Bucket and Endpoint are those of the shared store: a location may name them, nothing else.
	Bucket, Endpoint string
}

// Source: argo.md §7, column U; completed and phase are written by Argo in one update.
var (
	carriedLabels = []string{
		stellarflow.ArgoLabelCompleted, stellarflow.ArgoLabelPhase,
		stellarflow.ArgoLabelWorkflowTemplate, stellarflow.ArgoLabelClusterWorkflowTemplate,
	}
	carriedAnnotations = []string{stellarflow.ArgoAnnotationPodNameFormat, stellarflow.AnnotationSuspended}
	terminalPhases     = []string{stellarflow.PhaseSucceeded, stellarflow.PhaseFailed, stellarflow.PhaseError}
	phases             = append([]string{"", stellarflow.PhasePending, stellarflow.PhaseRunning}, terminalPhases...)
)

// Mirrors reports whether a label or annotation (field: labels, annotations) of a hub copy is made as the WEC copy has it.
func Mirrors(field, key string) bool {
	return field == "labels" && slices.Contains(carriedLabels, key) || field == "annotations" && slices.Contains(carriedAnnotations, key)
}

// WECCopy is what is read of a Workflow on a WEC.
type WECCopy struct {
	Metadata metav1.ObjectMeta `json:"metadata"`
	Spec     struct {
		Shutdown              string `json:"shutdown"`
		Suspend               bool   `json:"suspend"`
		ActiveDeadlineSeconds any    `json:"activeDeadlineSeconds"`
	} `json:"spec"`
	Status json.RawMessage `json:"status"`
}

// HasStatus reports whether the WEC has written a status.
func (w *WECCopy) HasStatus() bool {
	return len(w.Status) > 0 && !bytes.Equal(w.Status, []byte("null")) && !bytes.Equal(w.Status, []byte("{}"))
}

// Decode reads a WEC copy from the API server's answer.
func Decode(raw []byte) (WECCopy, error) {
	var wecCopy WECCopy
	if len(raw) > MaxWECCopyBytes {
		return wecCopy, fmt.Errorf("%w: it has %d bytes, more than %d", ErrNotMirrorable, len(raw), MaxWECCopyBytes)
	}
	if err := json.Unmarshal(raw, &wecCopy); err != nil {
		return wecCopy, fmt.Errorf("%w: %w", ErrNotMirrorable, err)
	}
	return wecCopy, wecCopy.identified()
}

// Render returns what the hub copy shall show. The errors are ErrNotMirrorable: an unknown phase, a status that is no
// object, nodes that cannot be unpacked.
func Render(wecCopy WECCopy, rules Rules) (Rendered, error) {
	r := Rendered{Labels: pick(wecCopy.Metadata.Labels, carriedLabels), Annotations: pick(wecCopy.Metadata.Annotations, carriedAnnotations)}
	delete(r.Annotations, stellarflow.AnnotationSuspended) // what the WEC says of itself there does not count
	if wecCopy.Spec.Suspend {
		r.Annotations[stellarflow.AnnotationSuspended] = "true"
	}
	if wecCopy.HasStatus() {
		status, err := decodeObject(wecCopy.Status)
		if err != nil {
			return Rendered{}, err
		}
		if r.Terminal, err = terminal(status["phase"]); err != nil {
			return Rendered{}, err
		}
		cleaner := cleaner{Rules: rules}
		if err := cleaner.clean(status); err != nil {
			return Rendered{}, err
		}
		r.Removed = cleaner.locations
		if rules.LogsFromS3 != "" {
			condition(status, ConditionLogsFromS3, rules.LogsFromS3)
		}
		if len(status) > 0 { // it may have held nothing that the hub shows
			if r.Status, r.Cut, err = fit(status); err != nil {
				return Rendered{}, err
			}
		}
	}
	if label := r.Labels[stellarflow.ArgoLabelPhase]; !slices.Contains(phases, label) {
		return Rendered{}, fmt.Errorf("%w: label %s=%q is none of Argo's phases", ErrNotMirrorable, stellarflow.ArgoLabelPhase, quoted(label))
	}
	if completed := r.Labels[stellarflow.ArgoLabelCompleted]; completed == "true" && !r.Terminal {
		return Rendered{}, fmt.Errorf("%w: it is labelled completed but its phase is not terminal", ErrNotMirrorable)
	}
	if err := r.carriable(); err != nil {
		return Rendered{}, err
	}
	return r, r.seal(rules.LogsFromS3 != "" && r.Status != nil)
}

// terminal reports whether a phase is one that does not change any more; none is none of those.
func terminal(said any) (bool, error) {
	phase, ok := said.(string)
	if !ok && said != nil || !slices.Contains(phases, phase) {
		return false, fmt.Errorf("%w: phase %s is none of Argo's", ErrNotMirrorable, quoted(said))
	}
	return slices.Contains(terminalPhases, phase), nil
}

// seal fills in the hash.
func (r *Rendered) seal(unseen bool) error {
	raw, err := json.Marshal([]any{r.Status, r.Labels, r.Annotations})
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNotMirrorable, err)
	}
	sum := sha256.Sum256(raw)
	r.Hash = hex.EncodeToString(sum[:8])
	if unseen {
		r.Hash = stellarflow.HashUnseen + r.Hash
	}
	return nil
}

// Canonical returns a status as Render would write it, for comparing. It is nil for one that is no JSON object.
func Canonical(status json.RawMessage) json.RawMessage {
	object, err := decodeObject(status)
	if err != nil {
		return nil
	}
	raw, err := json.Marshal(object)
	if err != nil {
		return nil
	}
	return raw
}

func decodeObject(raw json.RawMessage) (map[string]any, error) {
	if err := sound(raw); err != nil {
		return nil, err
	}
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.UseNumber() // a float64 would change large numbers
	var object map[string]any
	if err := decoder.Decode(&object); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotMirrorable, err)
	}
	_, err := kept(object)
	return object, err
}

func pick(from map[string]string, keys []string) map[string]string {
	picked := map[string]string{}
	for _, key := range keys {
		if value, found := from[key]; found {
			picked[key] = value
		}
	}
	return picked
}

package upsync

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
	"stellarflow.io/stellarflow/pkg/hub/hubcopy"
	"stellarflow.io/stellarflow/pkg/hub/metrics"
)

// ErrRestored is the sentinel of a WEC copy that is older than what was mirrored before: the WEC was restored from a backup.
var ErrRestored = errors.New("the WEC copy is older than what was mirrored before")

// Mirrorer writes what WEC copies say to their hub copies.
type Mirrorer struct {
	Hub *hubcopy.Store
	// Rules returns what a status may refer to.
	Rules func(context.Context) (Rules, error)
	// Metrics count what statuses lose on their way; nil for none.
	Metrics *metrics.Metrics

	large sync.Mutex
}

// largeStatus is the size of a status in bytes, packed or not, from which one is rendered at a time: each may need a hundred megabytes
// for a moment, and every worker of every cluster may have one.
const largeStatus = 4 << 10

func (m *Mirrorer) render(wecCopy WECCopy, rules Rules) (Rendered, error) {
	if len(wecCopy.Status) > largeStatus {
		m.large.Lock()
		defer m.large.Unlock()
	}
	return Render(wecCopy, rules)
}

// Pass is one mirror pass: the hub copy that the decision was made from, its record, and the WEC copy just read.
type Pass struct {
	Key       types.NamespacedName
	HubCopy   *metav1.PartialObjectMetadata
	Placement stellarflow.Placement
	WECCopy   WECCopy
	// Live is the whole hub copy, of the same generation, if it was read for another reason; nil if not.
	Live *unstructured.Unstructured
	// Behind says that the WEC copy does not follow the hub copy's spec: what is written then counts for no generation, so that another
	// pass comes. Sync says why, if people can do something about it.
	Behind bool
	Sync   string
	// Retried says that spec.shutdown of the hub copy is done with: the WEC copy runs again.
	Retried bool
}

// Mirror makes the hub copy show the WEC copy, with at most one write. It returns the hub copy as written, nil if there was
// nothing to write. The errors wrap hubcopy.ErrLostRace, ErrNotMirrorable, ErrRestored, or come from the hub's API server.
func (m *Mirrorer) Mirror(ctx context.Context, pass Pass) (*metav1.PartialObjectMetadata, error) {
	rules, err := m.Rules(ctx)
	if err != nil {
		return nil, err
	}
	rendered, err := m.render(pass.WECCopy, rules)
	if err != nil {
		return nil, fmt.Errorf("workflow %s on %q: %w", pass.Key, pass.Placement.Cluster, err)
	}
	observed, known := stellarflow.ParseObserved(pass.HubCopy.Annotations[stellarflow.AnnotationObserved])
	known = known && observed.WECUID == pass.WECCopy.Metadata.UID
	if known {
		if err := pass.forwards(observed); err != nil {
			return nil, err
		}
	}
	same := known && observed.Hash == rendered.Hash
	withStatus := rendered.Status != nil && !same
	if same && observed.Generation != pass.HubCopy.Generation && rendered.Status != nil {
		if withStatus, err = m.differs(ctx, pass, rendered); err != nil {
			return nil, err
		}
	}
	operations := pass.operations(rendered, observed, change{status: withStatus, countsGenerations: !m.Hub.StatusSubresource})
	if operations == nil {
		return nil, nil //nolint:nilnil // nothing to write is an answer
	}
	written, err := m.Hub.Patch(ctx, pass.Key, operations...)
	if err == nil && withStatus {
		m.Metrics.Cleaned(pass.Placement.Cluster, rendered.Removed, rendered.Cut)
	}
	return written, err
}

// forwards refuses a WEC copy that is older than what was mirrored of it.
func (p Pass) forwards(observed stellarflow.Observed) error {
	if order, err := resourceversion.CompareResourceVersion(p.WECCopy.Metadata.ResourceVersion, observed.ResourceVersion); err != nil || order < 0 {
		return fmt.Errorf("workflow %s on %q has resourceVersion %s, mirrored was %s: %w",
			p.Key, p.Placement.Cluster, p.WECCopy.Metadata.ResourceVersion, observed.ResourceVersion, ErrRestored)
	}
	return nil
}

// differs reports whether the hub copy's status is not the rendered one any more, by a live read: somebody else wrote to the
// hub copy, which may have been its spec only.
func (m *Mirrorer) differs(ctx context.Context, pass Pass, rendered Rendered) (bool, error) {
	live, err := pass.Live, error(nil)
	if live == nil {
		live, err = m.Hub.Live(ctx, pass.Key)
	}
	if err != nil {
		return false, err
	}
	if live == nil || live.GetUID() != pass.HubCopy.UID || live.GetGeneration() != pass.HubCopy.Generation {
		return false, fmt.Errorf("workflow %s: %w", pass.Key, hubcopy.ErrLostRace)
	}
	status, _, err := unstructured.NestedMap(live.Object, "status")
	if err != nil {
		return true, nil //nolint:nilerr // a status that is no object differs
	}
	raw, err := json.Marshal(status)
	if err != nil {
		return false, fmt.Errorf("workflow %s: read its status: %w", pass.Key, err)
	}
	return !bytes.Equal(Canonical(raw), Canonical(rendered.Status)), nil
}

// change says whether a pass writes the status, and whether the hub's generation then grows.
type change struct{ status, countsGenerations bool }

// operations returns the patch of a pass, nil if it would change nothing that matters.
func (p Pass) operations(rendered Rendered, observed stellarflow.Observed, change change) []hubcopy.Operation {
	annotations := map[string]*string{stellarflow.AnnotationSync: nil}
	if p.Sync != "" {
		annotations[stellarflow.AnnotationSync] = &p.Sync
	}
	placement := p.Placement
	placement.WECUID = p.WECCopy.Metadata.UID
	text := placement.String()
	annotations[stellarflow.AnnotationPlacement] = &text
	if rendered.Status != nil {
		for _, key := range carriedAnnotations {
			annotations[key] = optional(rendered.Annotations, key)
		}
	}
	labels := map[string]*string{}
	if rendered.Status != nil {
		for _, key := range carriedLabels {
			labels[key] = optional(rendered.Labels, key)
		}
	}
	changes := append(hubcopy.Set(p.HubCopy, "labels", labels), hubcopy.Set(p.HubCopy, "annotations", annotations)...)
	generation := p.HubCopy.Generation
	if change.status {
		changes = append(changes, hubcopy.Add(rendered.Status, "status"))
	}
	if p.Retried {
		changes = append(changes, hubcopy.Add("", "spec", "shutdown")) // as Argo's own retry leaves it
	}
	switch {
	case p.Behind:
		generation = 0
	case p.Retried, change.status && change.countsGenerations:
		generation++
	}
	if len(changes) == 0 && (rendered.Status == nil || observed.Generation == generation) {
		return nil
	}
	if rendered.Status != nil {
		changes = append(changes, hubcopy.Add(stellarflow.Observed{
			WECUID: p.WECCopy.Metadata.UID, ResourceVersion: p.WECCopy.Metadata.ResourceVersion, Generation: generation, Hash: rendered.Hash,
		}.String(), "metadata", "annotations", stellarflow.AnnotationObserved))
	}
	tests := []hubcopy.Operation{
		hubcopy.SameObject(p.HubCopy),
		hubcopy.Test(p.HubCopy.Generation, "metadata", "generation"),
		hubcopy.Test(optional(p.HubCopy.Annotations, stellarflow.AnnotationPlacement), "metadata", "annotations", stellarflow.AnnotationPlacement),
		hubcopy.Test(optional(p.HubCopy.Annotations, stellarflow.AnnotationObserved), "metadata", "annotations", stellarflow.AnnotationObserved),
		hubcopy.Test(optional(p.HubCopy.Annotations, stellarflow.AnnotationAbandoned), "metadata", "annotations", stellarflow.AnnotationAbandoned),
	}
	return append(tests, changes...)
}

func optional(from map[string]string, key string) *string {
	if value, found := from[key]; found {
		return &value
	}
	return nil
}

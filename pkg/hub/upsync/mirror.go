package upsync

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
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
	// Profile says whether spec.suspend of a hub copy is as its WEC copy's, or always true; shared if empty.
	Profile stellarflow.Profile
	// LogsFromS3 returns why the pods of a hub copy cannot all be shown on the hub, empty if they can; nil for always that.
	LogsFromS3 func(hubCopy types.UID) string
	// PodsLookedAt reports whether all pods of a hub copy that LogsFromS3 may speak of have been looked at; nil for always that.
	PodsLookedAt func(ctx context.Context, hubCopy *metav1.PartialObjectMetadata) bool
	// Metrics count what statuses lose on their way; nil for none.
	Metrics *metrics.Metrics

	large sync.Mutex
}

// largeStatus is the size of a status in bytes, packed or not, from which one is rendered at a time: each may need a hundred megabytes
// for a moment, and every worker of every cluster may have one.
const largeStatus = 4 << 10

// render renders a WEC copy for the hub copy that the hub's record says it is of.
func (m *Mirrorer) render(hubCopy types.UID, wecCopy WECCopy, rules Rules) (Rendered, error) {
	defer m.Alone(wecCopy)()
	rules.LogsFromS3 = m.Unseen(hubCopy)
	return Render(wecCopy, rules)
}

// Unseen returns what LogsFromS3 does.
func (m *Mirrorer) Unseen(hubCopy types.UID) string {
	if m == nil || m.LogsFromS3 == nil {
		return ""
	}
	return m.LogsFromS3(hubCopy)
}

// LookedAt returns what PodsLookedAt does.
func (m *Mirrorer) LookedAt(ctx context.Context, hubCopy *metav1.PartialObjectMetadata) bool {
	return m == nil || m.PodsLookedAt == nil || m.PodsLookedAt(ctx, hubCopy)
}

// Alone waits until no other large status is worked on, if this one is large, and returns what ends that.
func (m *Mirrorer) Alone(wecCopy WECCopy) (done func()) {
	if len(wecCopy.Status) <= largeStatus {
		return func() {}
	}
	m.large.Lock()
	return m.large.Unlock
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
	// Settled says what has become of the hub copy's intents, nil if nothing has.
	Settled *Settled
}

// Settled is what a pass writes about intents.
type Settled struct {
	// Left is the new value of stellarflow.AnnotationIntents, empty for none. Refused is that of stellarflow.AnnotationRefused, empty for the one that
	// is there.
	Left, Refused string
	// Actions is the new value of stellarflow.AnnotationActions.
	Actions string
	// Arguments is spec.arguments that a retry was made with, nil if it stays.
	Arguments json.RawMessage
}

// Mirror makes the hub copy show the WEC copy, with at most one write. It returns the hub copy as written, nil if there was
// nothing to write. The errors wrap hubcopy.ErrLostRace, ErrNotMirrorable, ErrRestored, or come from the hub's API server.
func (m *Mirrorer) Mirror(ctx context.Context, pass Pass) (*metav1.PartialObjectMetadata, error) {
	rules, err := m.Rules(ctx)
	if err != nil {
		return nil, err
	}
	rendered, err := m.render(pass.Placement.UID, pass.WECCopy, rules)
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
	change, err := m.change(ctx, pass, rendered, same, observed)
	if err != nil {
		return nil, err
	}
	operations := pass.operations(rendered, observed, change)
	if operations == nil {
		return nil, nil //nolint:nilnil // nothing to write is an answer
	}
	written, err := m.Hub.Patch(ctx, pass.Key, operations...)
	if err == nil && change.status {
		m.Metrics.Cleaned(pass.Placement.Cluster, rendered.Removed, rendered.Cut)
	}
	return written, err
}

// Shown returns the hash of what the hub copy shows, or would show, of the WEC copy of a pass. The errors are as in Mirror.
func (m *Mirrorer) Shown(ctx context.Context, pass Pass) (string, error) {
	rules, err := m.Rules(ctx)
	if err != nil {
		return "", err
	}
	rendered, err := m.render(pass.Placement.UID, pass.WECCopy, rules)
	return rendered.Hash, err
}

// forwards refuses a WEC copy that is older than what was mirrored of it.
func (p Pass) forwards(observed stellarflow.Observed) error {
	if order, err := resourceversion.CompareResourceVersion(p.WECCopy.Metadata.ResourceVersion, observed.ResourceVersion); err != nil || order < 0 {
		return fmt.Errorf("workflow %s on %q has resourceVersion %s, mirrored was %s: %w",
			p.Key, p.Placement.Cluster, p.WECCopy.Metadata.ResourceVersion, observed.ResourceVersion, ErrRestored)
	}
	return nil
}

// change decides what is written beside metadata. same says that the hub copy was last made to show just this. After an intent the hub copy
// is compared: it may show what was asked already, and who writes that again takes its generation for another.
func (m *Mirrorer) change(ctx context.Context, pass Pass, rendered Rendered, same bool, observed stellarflow.Observed) (change, error) {
	decided := change{status: rendered.Status != nil && !same, countsGenerations: !m.Hub.StatusSubresource, noLocks: m.Profile == stellarflow.ProfileDedicated}
	if !stellarflow.FollowsWECCopy(pass.HubCopy) || decided.status || pass.Settled != nil {
		decided.suspend = m.suspension(pass)
	}
	if rendered.Status != nil && (pass.Settled != nil || same && observed.Generation != pass.HubCopy.Generation) {
		if err := m.compare(ctx, pass, rendered, &decided); err != nil {
			return decided, err
		}
	}
	var err error
	decided.archive, err = m.archives(ctx, pass, rendered, decided.status)
	return decided, err
}

// live reads the whole hub copy that a pass is about, unless it was read before.
func (m *Mirrorer) live(ctx context.Context, pass Pass) (*unstructured.Unstructured, error) {
	live, err := pass.Live, error(nil)
	if live == nil {
		live, err = m.Hub.Live(ctx, pass.Key)
	}
	if err == nil && (live == nil || live.GetUID() != pass.HubCopy.UID || live.GetGeneration() != pass.HubCopy.Generation) {
		err = fmt.Errorf("workflow %s: %w", pass.Key, hubcopy.ErrLostRace)
	}
	return live, err
}

// suspension returns what spec.suspend of the hub copy shall be, nil if it stays as it is: on a shared hub, and while a person's word about
// it waits for the WEC.
func (m *Mirrorer) suspension(pass Pass) *bool {
	text := pass.HubCopy.Annotations[stellarflow.AnnotationIntents]
	if pass.Settled != nil {
		text = pass.Settled.Left
	}
	if m.Profile != stellarflow.ProfileDedicated || stellarflow.AskSuspension(text) {
		return nil
	}
	return &pass.WECCopy.Spec.Suspend
}

// compare finds out, by a live read, what of the hub copy is not as mirrored any more: somebody else wrote to it, which may have been
// another part of its spec only.
func (m *Mirrorer) compare(ctx context.Context, pass Pass, rendered Rendered, change *change) error {
	live, err := m.live(ctx, pass)
	if err != nil {
		return err
	}
	shownStatus := live.Object["status"]
	if status, isObject := shownStatus.(map[string]any); isObject {
		status = maps.Clone(status)
		delete(status, fieldLocks) // no WEC says anything of those
		shownStatus = status
	}
	raw, err := json.Marshal(shownStatus)
	if err != nil {
		return fmt.Errorf("workflow %s: read its status: %w", pass.Key, err)
	}
	change.status = !bytes.Equal(Canonical(raw), Canonical(rendered.Status))
	shown, _, _ := unstructured.NestedBool(live.Object, "spec", "suspend")
	if change.suspend = m.suspension(pass); change.suspend != nil && *change.suspend == shown && stellarflow.FollowsWECCopy(pass.HubCopy) {
		change.suspend = nil
	}
	return nil
}

// change says what a pass writes beside metadata: the status, spec.suspend if it is not nil; and whether the hub's generation grows with
// the status.
type change struct {
	status, countsGenerations bool
	suspend                   *bool
	// archive: the hub's controller is to archive what it ends as.
	archive bool
	// noLocks: no controller of the hub holds any, whatever was recorded when one did.
	noLocks bool
}

// operations returns the patch of a pass, nil if it would change nothing that matters.
func (p Pass) operations(rendered Rendered, observed stellarflow.Observed, change change) []hubcopy.Operation {
	annotations, labels := p.annotations(rendered, change), map[string]*string{}
	if rendered.Status != nil {
		wanted(labels, rendered.Labels, carriedLabels)
		if rendered.Labels[stellarflow.ArgoLabelCompleted] != "true" { // whatever end was archived: it runs again
			labels[stellarflow.ArgoLabelArchivingStatus] = nil
		}
	}
	changes := append(hubcopy.Set(p.HubCopy, "labels", labels), hubcopy.Set(p.HubCopy, "annotations", annotations)...)
	if change.archive { // whatever the cache shows: Argo's controller writes that label too
		changes = append(changes, hubcopy.Add(stellarflow.ArchivingPending, "metadata", "labels", stellarflow.ArgoLabelArchivingStatus))
	}
	if change.status {
		changes = append(changes, p.status(rendered, change)...)
	}
	specs := p.spec(change)
	changes = append(changes, specs...)
	generation := p.HubCopy.Generation
	switch {
	case p.Behind:
		generation = 0
	case len(specs) > 0 && (!change.status || change.suspend == nil || len(specs) > 1), change.status && change.countsGenerations:
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
		hubcopy.Test(optional(p.HubCopy.Annotations, stellarflow.AnnotationIntents), "metadata", "annotations", stellarflow.AnnotationIntents),
	}
	return append(tests, changes...)
}

// status returns the operations that write the status. Until its end the locks stand there that the hub's own controller may hold.
func (p Pass) status(rendered Rendered, change change) []hubcopy.Operation {
	operations := []hubcopy.Operation{hubcopy.Add(rendered.Status, "status")}
	if locks := p.HubCopy.Annotations[stellarflow.AnnotationLocks]; locks != "" && !change.noLocks && !rendered.Terminal {
		operations = append(operations, hubcopy.Add(json.RawMessage(locks), "status", fieldLocks))
	}
	return operations
}

// spec returns the operations on the spec. spec.suspend alone is taken for a change only where no status is written: with one it mostly is
// what it was.
func (p Pass) spec(change change) []hubcopy.Operation {
	var changes []hubcopy.Operation
	if p.Retried {
		changes = append(changes, hubcopy.Add("", "spec", "shutdown")) // as Argo's own retry leaves it
	}
	if p.Settled != nil && p.Settled.Arguments != nil {
		changes = append(changes, hubcopy.Add(p.Settled.Arguments, "spec", "arguments"))
	}
	if change.suspend != nil {
		changes = append(changes, hubcopy.Add(*change.suspend, "spec", "suspend"))
	}
	return changes
}

// annotations are those that the hub copy shall have, nil for one that it shall not have.
func (p Pass) annotations(rendered Rendered, change change) map[string]*string {
	annotations := map[string]*string{stellarflow.AnnotationSync: nonEmpty(p.Sync)}
	if p.Settled != nil {
		annotations[stellarflow.AnnotationIntents], annotations[stellarflow.AnnotationActions] = nonEmpty(p.Settled.Left), nonEmpty(p.Settled.Actions)
		if p.Settled.Refused != "" { // else an earlier one stays: the next that is asked takes it away
			annotations[stellarflow.AnnotationRefused] = &p.Settled.Refused
		}
	}
	placement := p.Placement
	placement.WECUID = p.WECCopy.Metadata.UID
	text := placement.String()
	annotations[stellarflow.AnnotationPlacement] = &text
	if rendered.Status != nil {
		wanted(annotations, rendered.Annotations, carriedAnnotations)
	}
	if change.suspend != nil {
		follows := stellarflow.FollowsSuspend
		annotations[stellarflow.AnnotationFollows] = &follows
	}
	return annotations
}

// wanted notes which keys shall have which value, nil for none.
func wanted(notes map[string]*string, values map[string]string, keys []string) {
	for _, key := range keys {
		notes[key] = optional(values, key)
	}
}

func nonEmpty(value string) *string {
	if value == "" {
		return nil
	}
	return &value
}

func optional(from map[string]string, key string) *string {
	if value, found := from[key]; found {
		return &value
	}
	return nil
}

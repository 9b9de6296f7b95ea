package travel

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/tools/record"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
	"stellarflow.io/stellarflow/pkg/artifact"
	"stellarflow.io/stellarflow/pkg/hub/dependencies"
	"stellarflow.io/stellarflow/pkg/hub/downsync"
	"stellarflow.io/stellarflow/pkg/hub/hubcopy"
)

// maxNamed bounds how many objects a message names, maxWhere in bytes how long each of them is there.
const (
	maxNamed = 5
	maxWhere = 160
)

// givenToEach are what each namespace is given where a shared artifact store is configured: the cluster's own.
var givenToEach = []stellarflow.Reference{
	{Kind: stellarflow.KindConfigMap, Name: artifact.ConfigMapName}, {Kind: stellarflow.KindSecret, Name: artifact.CredentialsSecret},
}

// The events on a hub copy that may miss something, and on one whose cluster does not let the hub see to it.
const (
	eventMissing   = "DependencyMissing"
	eventNotCopied = "DependencyNotCopied"
)

// Carrier finds what a Workflow needs and copies it. It is a downsync.Needs.
type Carrier struct {
	// Objects reads the hub.
	Objects dynamic.Interface
	Hub     *hubcopy.Store
	HubID   types.UID
	// Recorder says what may be missing; nil for nobody.
	Recorder record.EventRecorder
	Now      func() time.Time
	// Policies reads the policies and the labels of namespaces.
	Policies client.Reader
	// Store returns the shared artifact store, nil if none is configured: then artifact repositories are the users' own.
	Store  func(context.Context) (*artifact.Store, error)
	Timing Timing

	// lately is what was needed lately, written what was written lately.
	lately, written lately
}

// baggage is what one Workflow needs on one WEC. It is a downsync.Baggage.
type baggage struct {
	carrier  *Carrier
	target   downsync.Target
	hubCopy  *unstructured.Unstructured
	accounts []string
	items    []item
	stored   bool // a shared artifact store is configured
	// repository is the artifact repository that it names.
	repository dependencies.Repository
	// before are the copies that the Workflow was created with and that are not found any more: they stay for it.
	before []stellarflow.Reference
}

// item is an object that the Workflow needs. Its content is not kept: there may be a hundred of them, of up to a megabyte each.
type item struct {
	dependencies.Need
	version string                        // of the hub's, empty if it has none
	onWEC   *metav1.PartialObjectMetadata // nil if the WEC has none
	action  dependencies.Action
	unseen  error // why the action is Unseen
	refers  bool  // the version refers to other objects
}

// Look finds what a hub copy needs. The error is a *downsync.Refusal if the WEC can certainly not run it. It writes nothing.
func (c *Carrier) Look(ctx context.Context, target downsync.Target, hubCopy *unstructured.Unstructured) (downsync.Baggage, error) {
	b, err := c.find(ctx, target, hubCopy)
	if err == nil {
		err = b.refusal()
	}
	if err == nil {
		err = b.ownRepository(ctx)
	}
	if err != nil {
		return nil, err
	}
	return b, nil
}

func (c *Carrier) find(ctx context.Context, target downsync.Target, hubCopy *unstructured.Unstructured) (*baggage, error) {
	spec, _ := hubCopy.Object["spec"].(map[string]any)
	b := &baggage{carrier: c, target: target, hubCopy: hubCopy}
	store, err := c.Store(ctx)
	if err != nil {
		return nil, err
	}
	b.stored = store != nil
	closure := dependencies.Begin(spec, hubCopy.GetNamespace())
	if !b.stored {
		closure.UseDefaultRepository()
	}
	for asked := closure.Next(); len(asked) > 0; asked = closure.Next() {
		for _, need := range asked {
			it, followed, err := b.look(ctx, need)
			if err != nil {
				return nil, err
			}
			b.items = append(b.items, it)
			closure.Add(need.Reference, followed)
		}
	}
	if closure.TooMany() {
		return nil, &downsync.Refusal{Reason: downsync.ReasonDependencyMissing, Message: closure.Excess()}
	}
	if closure.TooManyAccounts() {
		return nil, &downsync.Refusal{Reason: downsync.ReasonServiceAccountMissing, Message: closure.Excess()}
	}
	for i, need := range closure.Needs() { // a later mention may have made it required
		b.items[i].Need = need
	}
	b.items = slices.DeleteFunc(b.items, func(it item) bool { return it.Implied && it.action == dependencies.LeftOut })
	b.accounts, b.repository = closure.Accounts(), closure.Repository()
	return b, nil
}

// renew looks anew for what a running Workflow needs and copies it, but for pinned templates. What was copied before stays. What is missing now is not in its way: it
// may have what it needed of it already.
func (c *Carrier) renew(ctx context.Context, target downsync.Target, hubCopy *unstructured.Unstructured, before stellarflow.Dependencies, pinned map[place]bool) error {
	looked, err := c.find(ctx, target, hubCopy)
	if err != nil {
		return err
	}
	for i := range looked.items {
		it := &looked.items[i]
		if it.action == dependencies.Update && pinned[placeOf(it.Reference, hubCopy.GetNamespace())] {
			it.action = dependencies.Keep
		}
	}
	looked.keep(before)
	_, err = looked.Bring(ctx)
	return err
}

// look reads an object on both sides. It returns the spec whose references count too: that of the hub's object, if the Workflow will
// use a copy of it. What a WEC says in an object of its own decides nothing.
func (b *baggage) look(ctx context.Context, need dependencies.Need) (item, map[string]any, error) {
	it := item{Need: need, action: dependencies.Missing}
	if err := need.Validate(); err != nil {
		return it, nil, nil //nolint:nilerr // no object can have that name: it is missing
	}
	if b.stored && slices.Contains(givenToEach, need.Reference) {
		it.action = dependencies.LeftOut // the namespace is given the cluster's own
		return it, nil, nil
	}
	shared, err := b.carrier.shared(ctx, b.hubCopy, need.Reference)
	var sent *unstructured.Unstructured
	if shared && err == nil {
		b.needed(need.Reference)
		sent, err = b.read(ctx, need.Reference)
	}
	if errors.Is(err, errUnread) { // its cluster may have it
		it.action, it.unseen = dependencies.Unseen, err
		return it, nil, nil
	}
	if err != nil {
		return it, nil, err
	}
	if !shared {
		b.unshared(ctx, &it)
		return it, nil, nil
	}
	if need.Implied && (sent == nil || sent.GetAnnotations()[artifact.AnnotationDefault] == "") {
		it.action = dependencies.LeftOut
		return it, nil, nil
	}
	content, err := b.follow(ctx, &it, sent)
	return it, content, err
}

// follow decides about what would be sent of an object, nil for nothing, and returns its content if the Workflow will use a copy of it.
func (b *baggage) follow(ctx context.Context, it *item, sent *unstructured.Unstructured) (map[string]any, error) {
	if sent != nil {
		it.version = dependencies.Version(sent)
	}
	decide := b.compare
	if it.Implied {
		decide = b.imply
	}
	if err := decide(ctx, it); err != nil || sent == nil || !it.travels() {
		return nil, err
	}
	content := dependencies.Content(it.Kind, sent)
	it.refers = content != nil
	return content, nil
}

// unshared looks whether the WEC has what no policy lets travel. Where the hub may not look, as with Secrets by default, that is its
// administrator's to know, but for what the hub's own repository needs. Nothing depends on the answer but what is said: none is as good.
func (b *baggage) unshared(ctx context.Context, it *item) {
	if err := b.compare(ctx, it); err != nil {
		it.action = dependencies.Unseen
	}
	if it.action == dependencies.Unseen && it.OfRepository || it.action != dependencies.Unseen && it.onWEC == nil {
		it.action, it.unseen = dependencies.Unshared, nil
	} else {
		it.action, it.unseen = dependencies.LeftOut, nil
	}
}

// imply decides about what nothing names. It would take the place of what the cluster's controller has for all who run in the namespace, and
// may not work there: so it travels where the policy names it. A copy that is there is used already, whoever needs it, and kept for this one too.
func (b *baggage) imply(ctx context.Context, it *item) error {
	selected, err := b.carrier.selected(ctx, b.hubCopy, it.Reference)
	if err != nil {
		return err
	}
	if err := b.compare(ctx, it); err != nil && selected {
		return err
	}
	if used := it.onWEC != nil && it.action != dependencies.OtherHub; !selected && !used {
		it.action, it.unseen = dependencies.Unshared, nil
	}
	return nil
}

// travels reports whether the Workflow will use a copy of the hub's.
func (it *item) travels() bool {
	return it.action == dependencies.Create || it.action == dependencies.Update || it.action == dependencies.Keep
}

// needed notes that nobody may remove an object now.
func (b *baggage) needed(reference stellarflow.Reference) {
	b.carrier.lately.needed(b.target.ID, placeOf(reference, b.hubCopy.GetNamespace()), b.carrier.Now())
}

// read returns what would be sent of the hub's object now, nil for nothing.
func (b *baggage) read(ctx context.Context, reference stellarflow.Reference) (*unstructured.Unstructured, error) {
	return readSent(ctx, b.carrier, reference, b.hubCopy.GetNamespace())
}

// compare reads what the WEC has and decides.
func (b *baggage) compare(ctx context.Context, it *item) error {
	onWEC, err := metadataResource(b.target.Clients.Metadata, it.Reference, b.hubCopy.GetNamespace()).Get(ctx, it.Name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		onWEC = nil
	case apierrors.IsForbidden(err): // joined before this was a right
		it.onWEC, it.action, it.unseen = nil, dependencies.Unseen, b.refused(err, "get", it.Reference)
		return nil
	case err != nil:
		return b.refused(err, "get", it.Reference)
	case onWEC.DeletionTimestamp != nil && it.version != "":
		return fmt.Errorf("%s is being deleted on %q", it.Reference, b.target.Name)
	}
	it.onWEC, it.action = onWEC, dependencies.Decide(it.Kind, it.version, onWEC, b.carrier.HubID)
	return nil
}

// named names the items that are meant, with where they stand, sorted; empty for none.
func (b *baggage) named(meant func(item) bool) string {
	var names []string
	for _, it := range b.items {
		if meant(it) {
			names = append(names, fmt.Sprintf("%s %q (%s)", it.Kind, stellarflow.OneLine(it.Name, maxWhere), stellarflow.OneLine(it.Where, maxWhere)))
		}
	}
	slices.Sort(names)
	if more := len(names) - maxNamed; more > 0 {
		names = append(names[:maxNamed], fmt.Sprintf("%d more", more))
	}
	return strings.Join(names, ", ")
}

// refusal says what is required and on neither side, what another hub has brought there, or what the hub may not look for and would
// have to copy.
func (b *baggage) refusal() error {
	if missing := b.named(func(it item) bool { return it.action == dependencies.Missing && it.Required }); missing != "" {
		return &downsync.Refusal{Reason: downsync.ReasonDependencyMissing, Message: fmt.Sprintf(
			"the Workflow needs what is neither on the hub nor there: %s: create it on the hub, in namespace %q if it has one, or correct the name",
			missing, b.hubCopy.GetNamespace())}
	}
	if others := b.named(func(it item) bool { return it.action == dependencies.OtherHub }); others != "" {
		return &downsync.Refusal{Reason: downsync.ReasonNameTaken, Message: fmt.Sprintf(
			"the Workflow needs what another hub has copied there, and may change or remove at any time: %s: use another namespace or name on one of the hubs",
			others)}
	}
	for _, it := range b.items {
		if it.unseen != nil && it.Required && it.version != "" {
			return it.unseen
		}
	}
	return nil
}

// ownRepository refuses a Workflow that names an artifact repository of the hub's by a key of the ConfigMap that each cluster has its own
// of, where a shared store is configured: the hub's key cannot come there, and would be looked for in vain. The running ones have theirs.
func (b *baggage) ownRepository(ctx context.Context) error {
	r := b.repository
	if !b.stored || r.ConfigMap != artifact.ConfigMapName || r.Key == "" || r.Key == artifact.RepositoryKey || strings.Contains(r.Key, "{{") {
		return nil
	}
	reference := stellarflow.Reference{Kind: stellarflow.KindConfigMap, Name: r.ConfigMap}
	onHub, err := ReadHub(ctx, b.carrier.Objects, reference, b.hubCopy.GetNamespace())
	if err != nil || !hasKey(onHub, r.Key) {
		return err // the hub's Workflows have it of the controller's namespace, as may those there
	}
	there, err := resource(b.target.Clients.Objects, reference, b.hubCopy.GetNamespace()).Get(ctx, r.ConfigMap, metav1.GetOptions{})
	if apierrors.IsForbidden(err) { // joined before this was a right
		return nil
	}
	if err != nil && !apierrors.IsNotFound(err) {
		return b.refused(err, "get", reference)
	}
	if err == nil && hasKey(there, r.Key) && !dependencies.IsCopy(reference.Kind, there, b.carrier.HubID) { // the store's takes the place of a copy
		return nil
	}
	return &downsync.Refusal{Reason: downsync.ReasonDependencyMissing, Message: fmt.Sprintf(
		"the Workflow names the artifact repository %q (%s) of ConfigMap %q, of which each cluster has its own, for the shared store, and that there has no such key: "+
			"leave it out to use the shared store, or put it into a ConfigMap of another name on the hub and name that with configMap",
		stellarflow.OneLine(r.Key, maxWhere), stellarflow.OneLine(r.Where, maxWhere), r.ConfigMap)}
}

func hasKey(configMap *unstructured.Unstructured, key string) bool {
	if configMap == nil {
		return false
	}
	data, _, _ := unstructured.NestedStringMap(configMap.Object, "data")
	_, found := data[key]
	return found
}

// warn says what else is on neither side, since a step may make it, or may wait for it in vain; and what could not be looked for.
func (b *baggage) warn() {
	if b.carrier.Recorder == nil {
		return
	}
	if missing := b.named(func(it item) bool { return it.action == dependencies.Missing && !it.Required && !it.Optional }); missing != "" {
		b.carrier.Recorder.Eventf(b.hubCopy, corev1.EventTypeWarning, eventMissing,
			"neither the hub nor cluster %s has %s: a pod that needs it waits until it is created there", string(b.target.Name), missing)
	}
	if unshared := b.named(func(it item) bool { return it.action == dependencies.Unshared && !it.Optional }); unshared != "" {
		placement, _ := stellarflow.PlacementOf(b.hubCopy)
		b.carrier.Recorder.Eventf(b.hubCopy, corev1.EventTypeWarning, eventNotCopied,
			"policy %s does not share %s, and none is known on cluster %s: a pod that needs it waits until it is created there", placement.Policy, unshared, string(b.target.Name))
	}
	if implied := b.named(func(it item) bool { return it.action == dependencies.Unshared && it.Implied }); implied != "" {
		placement, _ := stellarflow.PlacementOf(b.hubCopy)
		b.carrier.Recorder.Eventf(b.hubCopy, corev1.EventTypeNormal, eventNotCopied,
			"%s of the hub is not used on cluster %s, whose own counts: name it in artifactRepositoryRef or in policy %s if the hub's is meant",
			implied, string(b.target.Name), placement.Policy)
	}
	if unseen := b.named(func(it item) bool { return it.action == dependencies.Unseen }); unseen != "" {
		b.carrier.Recorder.Eventf(b.hubCopy, corev1.EventTypeWarning, eventNotCopied,
			"the hub may not look for %s, here or on cluster %s: it is used as it is there and not copied: run `stellarflow join %s` again to give the hub the right, for Secrets apply samples/secrets-hub.yaml on the hub and samples/secrets-wec.yaml there",
			unseen, string(b.target.Name), string(b.target.Name))
	}
}

// Accounts returns the ServiceAccounts that the Workflow's pods run as.
func (b *baggage) Accounts() []string { return b.accounts }

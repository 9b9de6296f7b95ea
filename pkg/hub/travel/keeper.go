package travel

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
	"stellarflow.io/stellarflow/pkg/hub/cluster"
	"stellarflow.io/stellarflow/pkg/hub/dependencies"
	"stellarflow.io/stellarflow/pkg/hub/downsync"
	"stellarflow.io/stellarflow/pkg/hub/inventory"
)

// Timing is how often a Keeper looks, how long it waits before it removes something, and how long a Carrier waits when it has written something. The
// zero value of each is the one of DefaultTiming.
type Timing struct {
	// Every is the time between two looks at a WEC.
	Every time.Duration
	// Idle is how long a copy must not have been needed, by what this process knows, and how long it must have held the Lease: longer
	// than a create may be under way.
	Idle time.Duration
	// Learns is how long a WEC's Argo controller may take to learn of a template or ConfigMap that was written there.
	Learns time.Duration
}

// DefaultTiming returns the times outside tests.
func DefaultTiming() Timing {
	return Timing{Every: 30 * time.Second, Idle: downsync.Settle + 30*time.Second, Learns: 2 * time.Second}
}

func (t Timing) orDefault() Timing {
	known := DefaultTiming()
	if t.Every == 0 {
		t.Every = known.Every
	}
	if t.Idle == 0 {
		t.Idle = known.Idle
	}
	if t.Learns == 0 {
		t.Learns = known.Learns
	}
	return t
}

// Fleet knows the connections.
type Fleet interface{ Connections() []*cluster.Connection }

// Keeper keeps the copies on all WECs as their Workflows need them. It is a manager.Runnable that needs leader election.
type Keeper struct {
	Carrier *Carrier
	Fleet   Fleet
	// Cache lists the hub's Workflows.
	Cache  client.Reader
	Timing Timing
	Log    logr.Logger

	busy sync.Map // stellarflow.ClusterName of a WEC that is being looked at
	none sync.Map // types.UID of a WEC where the last look found no copy
	said sync.Map // stellarflow.ClusterName: map[types.UID]string, what was last said on which hub copy
}

// eventBehind is the event on a hub copy that runs without what the hub has now.
const eventBehind = "DependencyBehind"

// page is how many copies are listed at once, maxPages how many pages of a kind are taken: a WEC might never end its list.
const (
	page     = 100
	maxPages = 100
)

// NeedLeaderElection is true: only the leader talks to WECs.
func (k *Keeper) NeedLeaderElection() bool { return true }

// Start looks at every WEC every while, until ctx ends; each by itself, so that one that hangs keeps nobody waiting.
func (k *Keeper) Start(ctx context.Context) error {
	ticker := time.NewTicker(k.Timing.orDefault().Every)
	defer ticker.Stop()
	var group sync.WaitGroup
	defer group.Wait()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		for _, connection := range k.Fleet.Connections() {
			if _, busy := k.busy.LoadOrStore(connection.Name, true); busy {
				continue
			}
			group.Go(func() {
				defer k.busy.Delete(connection.Name)
				if err := k.look(ctx, connection); err != nil && ctx.Err() == nil {
					k.Log.Info("cannot keep what Workflows need", "cluster", connection.Name, "error", stellarflow.OneLine(err.Error(), maxError))
				}
			})
		}
	}
}

// look brings one WEC up to date and removes what nobody needs there.
func (k *Keeper) look(ctx context.Context, c *cluster.Connection) error {
	state := c.State()
	if !state.Connected {
		return nil
	}
	seen, err := k.see(ctx, c)
	if err != nil {
		return err
	}
	idle := k.Timing.orDefault().Idle
	lately := k.Carrier.lately.any(state.ID(), idle, k.Carrier.Now()) // asked in any case: it forgets what is old
	_, none := k.none.Load(state.ID())
	if none && len(seen.needed) == 0 && !lately {
		return nil
	}
	copies, crowded, err := k.copies(ctx, c)
	if err != nil {
		if apierrors.IsForbidden(err) { // joined before this was a right: nothing of ours can be there, unless it was taken away since
			k.tell(c, allLate(seen.running, err))
			if len(seen.needed) == 0 {
				k.none.Store(state.ID(), true)
			}
		}
		return err
	}
	if len(copies) == 0 {
		k.none.Store(state.ID(), true)
	} else {
		k.none.Delete(state.ID())
	}
	c.SetCrowded(ctx, crowded)
	behind := k.refresh(ctx, c, state, seen.running, refreshing{copies: copies, cut: crowded != ""})
	if ctx.Err() == nil && c.State().Connected { // else the hub copies are told that, and all is tried again
		k.tell(c, behind)
	}
	return errors.Join(join(behind), k.sweep(ctx, c, state.ID(), copies))
}

// sight is what is known of the Workflows of one WEC at a time.
type sight struct {
	at       time.Time
	running  []metav1.PartialObjectMetadata
	needed   map[place]bool
	complete bool // all WEC copies are known
}

func (k *Keeper) see(ctx context.Context, c *cluster.Connection) (sight, error) {
	now := k.Carrier.Now()
	running, err := inventory.Indexed(ctx, k.Cache, string(c.Name))
	if err != nil {
		return sight{}, err
	}
	wecCopies, complete := c.WECCopies()
	return sight{now, running, neededBy(running, wecCopies), complete}, nil
}

// neededBy collects what the unfinished hub copies on a WEC need, and every WEC copy there, by either's word. A WEC's word keeps
// objects there and does nothing else.
func neededBy(running []metav1.PartialObjectMetadata, wecCopies []*metav1.PartialObjectMetadata) map[place]bool {
	needed := map[place]bool{}
	add := func(workflow *metav1.PartialObjectMetadata) {
		needs := stellarflow.ParseDependencies(workflow.Annotations[stellarflow.AnnotationDependencies])
		for _, reference := range slices.Concat(needs.Copied, needs.There) {
			needed[placeOf(reference, workflow.Namespace)] = true
		}
	}
	for i := range running {
		add(&running[i])
	}
	for _, wecCopy := range wecCopies {
		add(wecCopy)
	}
	return needed
}

// copies lists this hub's copies on a WEC, and says of which kinds there are more than it lists, empty for none: those that it has listed are
// kept and removed as ever, which makes room for the others. A WEC that does not know a kind has none of it.
func (k *Keeper) copies(ctx context.Context, c *cluster.Connection) (found map[place]*metav1.PartialObjectMetadata, crowded string, err error) {
	found = map[place]*metav1.PartialObjectMetadata{}
	var more []string
	for _, kind := range stellarflow.Kinds() {
		if kind.HoldsData() { // neither changed nor removed
			continue
		}
		options := metav1.ListOptions{LabelSelector: dependencies.Selector(k.Carrier.HubID), Limit: page}
		for pages := 0; pages == 0 || options.Continue != ""; pages++ {
			if pages == maxPages {
				more = append(more, kind.Resource().GroupResource().String())
				break
			}
			list, err := c.Clients.Metadata.Resource(kind.Resource()).List(ctx, options)
			if apierrors.IsNotFound(err) || apierrors.IsForbidden(err) && kind == stellarflow.KindSecret { // a right that few clusters give
				break
			}
			if err != nil {
				return nil, "", fmt.Errorf("list %s on %q: %w", kind.Resource().GroupResource(), c.Name, err)
			}
			for i := range list.Items {
				if one := &list.Items[i]; dependencies.IsCopy(kind, one, k.Carrier.HubID) { // whatever the WEC has listed
					found[place{stellarflow.Reference{Kind: kind, Name: one.Name}, one.Namespace}] = one
				}
			}
			options.Continue = list.Continue
		}
	}
	return found, strings.Join(more, " and "), nil
}

package chaos

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
	"stellarflow.io/stellarflow/test/chaos/fault"
	"stellarflow.io/stellarflow/test/chaos/history"
	"stellarflow.io/stellarflow/test/chaos/recorder"
)

// Options are what a run is made of.
type Options struct {
	// Seed reproduces the plans of the people, the lives of the Workflows and the schedule of the faults.
	Seed uint64
	// N is how many Workflows are created, besides copies and those created anew.
	N int
	// Manager is the binary of test/chaos/manager; Mutant names the mutations that are on in it, each between commas.
	Manager, Mutant string
	// Dir is where logs go.
	Dir string
	// Out gets a line now and then.
	Out io.Writer
	// Lanes replaces the schedule, nil for that of the seed.
	Lanes []*lane
	// PerSecond bounds how many Workflows are created in a second.
	PerSecond int
	// Always is what the traffic with every WEC suffers from Calm on, beside the lanes.
	Always fault.Setting
	// Calm is how long nothing breaks at the beginning.
	Calm time.Duration
	// Tail is how long things break after the last was created; Patience how long everything may take to end when all is mended.
	Tail, Patience time.Duration
	// Change alters each plan after it was drawn, nil for none; Alone runs the manager without leader election.
	Change func(*plan)
	Alone  bool
}

const (
	// crowd is how many unfinished Workflows are too many: none is created and nothing is broken until half of them are left.
	crowd = 300
	// patience is the longest back-off of a connection and of a key, 30 s each, and more than as much again for a slow machine.
	patience = 150 * time.Second
	// tail is time for the last Workflows to run while things break.
	tail = 10 * time.Second
)

// run is one fault run.
type run struct {
	Options
	fleet     *Fleet
	log       *recorder.Log
	people    *people
	slots     []*slot
	proxies   map[string]*proxy // by cluster
	argos     map[string]*argo
	recorders map[string]*recorder.Recorder
	pods      map[string]*pods // by cluster
	snapshots map[string]string
	faults    atomic.Int64
	collected atomic.Int64 // mirrored pods

	mu       sync.Mutex
	settings map[string]fault.Setting // by target
	lull     bool                     // it was crowded, and is not half empty yet
}

// Run lets people use a fleet while it is being broken, mends it, and checks what was recorded. The records are returned too.
func (f *Fleet) Run(ctx context.Context, options Options) (history.Report, []history.Record, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r := &run{
		Options: options, fleet: f, log: &recorder.Log{}, proxies: map[string]*proxy{}, argos: map[string]*argo{}, recorders: map[string]*recorder.Recorder{}, pods: map[string]*pods{},
		snapshots: map[string]string{}, settings: map[string]fault.Setting{},
	}
	var background sync.WaitGroup
	defer background.Wait()
	defer cancel()
	defer r.close()
	plans, err := r.prepare(ctx)
	if err != nil {
		return history.Report{}, nil, fmt.Errorf("prepare: %w", err)
	}
	for _, s := range r.slots {
		background.Go(func() { s.watch(ctx, r.log) })
	}
	background.Go(func() { r.collectMirrors(ctx) })
	r.slots[0].run(r.Alone, "")
	if err := r.connected(ctx); err != nil {
		return history.Report{}, r.log.All(), err
	}
	r.say("%d Workflows, %d a second, seed %d", r.N, r.PerSecond, r.Seed)
	if err := r.storm(ctx, plans); err != nil {
		return history.Report{}, r.log.All(), err
	}
	if err := r.settle(ctx); err != nil {
		return history.Report{}, r.log.All(), err
	}
	if len(r.Lanes) > 0 && r.faults.Load()*50 < int64(r.N) {
		return history.Report{}, r.log.All(), fmt.Errorf("only %d faults in the life of %d Workflows: that shows nothing; is the machine too slow?", r.faults.Load(), r.N)
	}
	if len(r.Lanes) > 0 && r.collected.Load() == 0 {
		return history.Report{}, r.log.All(), errors.New("no mirrored pod could be deleted: that shows nothing of pods; are none mirrored?")
	}
	records := r.log.All()
	return history.Check(records), records, nil
}

func (r *run) say(format string, args ...any) {
	fmt.Fprintf(r.Out, "%s "+format+"\n", append([]any{time.Now().Format(time.TimeOnly)}, args...)...)
}

// storm creates the Workflows while the lanes break things, until every plan was begun and most have ended.
func (r *run) storm(ctx context.Context, plans []plan) error {
	stormCtx, calm := context.WithCancel(ctx)
	defer calm()
	var storms sync.WaitGroup
	failed := make(chan error, 1)
	for _, l := range r.Lanes {
		storms.Go(func() {
			if pause(stormCtx, r.Calm) != nil {
				return
			}
			if err := r.blow(stormCtx, l); err != nil && stormCtx.Err() == nil {
				select {
				case failed <- err:
				default:
				}
				calm()
			}
		})
	}
	storms.Go(func() {
		if r.Always != (fault.Setting{}) && pause(stormCtx, r.Calm) == nil {
			for _, name := range clusterNames {
				r.suffer(name, r.Always)
			}
		}
	})
	r.create(stormCtx, plans)
	_ = pause(stormCtx, r.Tail)
	calm()
	storms.Wait()
	select {
	case err := <-failed:
		return fmt.Errorf("the storm itself failed: %w", err)
	default:
		return ctx.Err()
	}
}

// crowded reports whether too much is unfinished, or was and more than half of it still is.
func (r *run) crowded() bool {
	unfinished := r.people.unfinished()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lull = unfinished >= crowd || r.lull && unfinished > crowd/2
	return r.lull
}

// create begins the plans, never more at once or in a second than is wanted, until all are begun or ctx ends.
func (r *run) create(ctx context.Context, plans []plan) {
	tick := time.NewTicker(time.Second / time.Duration(r.PerSecond))
	defer tick.Stop()
	for i, plan := range plans {
		for r.crowded() && pause(ctx, 500*time.Millisecond) == nil {
			r.tidy() // or what waits for a person is a crowd one day
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
		if ctx.Err() != nil {
			return
		}
		r.people.started.Go(func() { r.people.live(plan) })
		if (i+1)%500 == 0 {
			r.say("%d of %d created, %d unfinished, %d faults", i+1, r.N, r.people.unfinished(), r.faults.Load())
		}
	}
}

// prepare makes what one run needs on the fleet, and returns the plans. People use three namespaces: one that exists everywhere and is
// accepted, one that the hub makes on the WECs, and one of that kind where the hub holds what is created.
func (r *run) prepare(ctx context.Context) ([]plan, error) {
	id := fmt.Sprintf("%d-%d", r.Seed, time.Now().UnixNano()%1_000_000)
	given, fresh, held := "given-"+id, "fresh-"+id, heldPrefix+id
	hub := r.fleet.hub()
	for _, s := range r.fleet.servers {
		if err := s.namespace(ctx, given, nil); err != nil {
			return nil, err
		}
	}
	if err := hub.namespace(ctx, fresh, nil); err != nil {
		return nil, err
	}
	if err := hub.namespace(ctx, held, map[string]string{stellarflow.LabelHold: stellarflow.HoldAll}); err != nil {
		return nil, err
	}
	if err := r.record(ctx); err != nil {
		return nil, err
	}
	if err := r.join(ctx, given); err != nil {
		return nil, err
	}
	for _, name := range []string{"a", "b"} {
		s, err := newSlot(ctx, name, r.Dir, r.Manager, r.Mutant, r.Seed, hub)
		if err != nil {
			return nil, err
		}
		r.slots = append(r.slots, s)
	}
	r.fleet.webhooks.aim(r.slots[0].webhook, r.slots[1].webhook)
	drawn := plans(r.Seed, r.N, []string{given, fresh, held})
	if r.Change != nil {
		for i := range drawn {
			r.Change(&drawn[i])
		}
	}
	if err := r.decoys(ctx, given, drawn); err != nil {
		return nil, err
	}
	for name, s := range r.fleet.servers {
		var err error
		if r.snapshots[name], err = s.snapshot(ctx); err != nil {
			return nil, err
		}
		if err := s.ready(ctx); err != nil {
			return nil, err
		}
	}
	return drawn, nil
}

// record makes the simulated controllers and people, and begins to record: from then on they are told what happens.
func (r *run) record(ctx context.Context) error {
	hub := r.fleet.hub()
	asArgo := rest.CopyConfig(hub.config)
	asArgo.Impersonate = rest.ImpersonationConfig{UserName: argoUser, Groups: []string{"system:authenticated"}}
	hubArgo, err := dynamic.NewForConfig(asArgo)
	if err != nil {
		return err
	}
	wecs := map[string]dynamic.Interface{}
	for name, s := range r.fleet.servers {
		r.argos[name] = newArgo(ctx, name, r.Seed, s.dynamic)
		if name != history.Hub {
			wecs[name] = s.dynamic
			r.pods[name] = newPods(ctx, name, s.core, r.log)
			if r.proxies[name], err = newProxy(fmt.Sprintf("%s:%d", loopback, s.apiPort)); err != nil {
				return err
			}
		}
	}
	r.argos[history.Hub].objects = hubArgo
	r.people = newPeople(ctx, r.log, hub.dynamic, wecs)
	for name, s := range r.fleet.servers {
		r.recorders[name] = &recorder.Recorder{Cluster: name, Prefix: recorder.Prefix, URL: s.etcdURL(), Client: http.DefaultClient, Log: r.log, Changed: func(cluster string, object *unstructured.Unstructured, gone bool) {
			r.people.observe(cluster, object, gone)
			r.argos[cluster].observe(object, gone)
			if cluster != history.Hub {
				r.argos[cluster].collect(object, gone)
				r.pods[cluster].observe(object, gone)
			}
		}}
		if err := r.recorders[name].Start(ctx, false); err != nil {
			return err
		}
	}
	return nil
}

func (r *run) close() {
	for _, s := range r.slots {
		s.end(r.log)
		s.proxy.close()
	}
	for _, p := range r.proxies {
		p.close()
	}
	for _, book := range r.recorders {
		book.Stop()
	}
}

// settle mends everything, waits until everything has ended, deletes it, and waits until it is gone.
func (r *run) settle(ctx context.Context) error {
	if err := r.heal(ctx); err != nil {
		return fmt.Errorf("mend what was broken: %w", err)
	}
	r.log.Fault("all is mended")
	r.people.finish(r.Tail)
	r.say("mended after %d faults; %d unfinished", r.faults.Load(), r.people.unfinished())
	began := time.Now()
	ended := func() bool {
		r.tidy()
		for cluster := range r.fleet.servers {
			for _, w := range r.people.list(cluster) {
				if !history.Of(w).Terminal() {
					return false
				}
			}
		}
		return true
	}
	r.waitFor(ctx, ended)
	r.remark(ctx)
	r.log.Add(history.Record{Kind: history.Quiet})
	r.say("quiet after %v", time.Since(began).Round(time.Second))
	began = time.Now()
	for _, w := range r.people.list(history.Hub) {
		r.people.delete(w.GetNamespace(), w.GetName())
	}
	gone := func() bool {
		n := 0
		for cluster := range r.fleet.servers {
			n += len(r.people.list(cluster))
		}
		for _, pods := range r.pods {
			n += pods.busy()
		}
		return n == 0
	}
	r.waitFor(ctx, gone)
	r.waitFor(ctx, func() bool { return len(r.mirrors(ctx)) == 0 })
	for _, pod := range r.mirrors(ctx) {
		r.log.Add(history.Record{Kind: history.Harmed, Cluster: history.Hub, Text: fmt.Sprintf("pod %s/%s is left of what was deleted", pod.Namespace, pod.Name)})
	}
	r.log.Add(history.Record{Kind: history.Ended})
	r.say("everything deleted after %v; %d mirrored pods were while they were needed", time.Since(began).Round(time.Second), r.collected.Load())
	return ctx.Err()
}

// remark notes something on every Workflow that is left, and waits until its copy has it.
func (r *run) remark(ctx context.Context) {
	const last = "the-last"
	noted := map[string]bool{} // by UID on the hub
	for _, w := range r.people.list(history.Hub) {
		noted[string(w.GetUID())] = w.GetDeletionTimestamp() == nil && r.people.noteOnce(w.GetNamespace(), w.GetName(), last) == nil
	}
	r.waitFor(ctx, func() bool {
		for cluster := range r.people.wecs {
			for _, w := range r.people.list(cluster) {
				if w.GetLabels()[history.KeyNote] != last && w.GetDeletionTimestamp() == nil && noted[history.Of(w).HubUID] {
					return false
				}
			}
		}
		return true
	})
}

// waitFor waits as long as things may take.
func (r *run) waitFor(ctx context.Context, what func() bool) {
	for deadline := time.Now().Add(r.Patience); ctx.Err() == nil && !what() && time.Now().Before(deadline); {
		_ = pause(ctx, 250*time.Millisecond)
	}
}

package hub

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/transport"
	"k8s.io/client-go/util/flowcontrol"
	clusterv1 "open-cluster-management.io/api/cluster/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	crcache "sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"

	"stellarflow.io/stellarflow/pkg/apis/control/v1alpha1"
	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
	"stellarflow.io/stellarflow/pkg/artifact"
	"stellarflow.io/stellarflow/pkg/hub/cleanup"
	"stellarflow.io/stellarflow/pkg/hub/cluster"
	"stellarflow.io/stellarflow/pkg/hub/downsync"
	"stellarflow.io/stellarflow/pkg/hub/heartbeat"
	"stellarflow.io/stellarflow/pkg/hub/hubcopy"
	"stellarflow.io/stellarflow/pkg/hub/inventory"
	"stellarflow.io/stellarflow/pkg/hub/lifecycle"
	"stellarflow.io/stellarflow/pkg/hub/metrics"
	"stellarflow.io/stellarflow/pkg/hub/placement"
	"stellarflow.io/stellarflow/pkg/hub/policy"
	"stellarflow.io/stellarflow/pkg/hub/travel"
	"stellarflow.io/stellarflow/pkg/hub/upsync"
	"stellarflow.io/stellarflow/pkg/wec"
)

// Options are what differs between installations.
type Options struct {
	// StoreSecret is the Secret in stellarflow-system with the shared artifact store; without it Workflows run with whatever
	// artifact repository their clusters have.
	StoreSecret string
	// Profile says whether an Argo controller acts on the hub's Workflows; shared if empty.
	Profile stellarflow.Profile
	// Archive says which Workflows the hub's Argo controller archives; none if empty.
	Archive stellarflow.Archive
	// WebhookAddress is where the admission webhook is served (HOST:PORT), empty or 0 for nowhere.
	WebhookAddress string
	// WebhookHost is the name or address by which the API server calls it; guard.Host, its Service, if empty.
	WebhookHost string
	// KubeletAddress is where the hub's API server gets the logs of mirrored pods (HOST:PORT), empty or 0 for nowhere; KubeletHost is the IP
	// address by which it reaches this process there. Without either no pods are mirrored.
	KubeletAddress, KubeletHost string
	// Kubeconfig says which credentials of WECs are dialled.
	Kubeconfig wec.KubeconfigOptions
	// Now is the clock.
	Now func() time.Time
	// Timing is how long the hub waits before it believes something; DefaultTiming outside tests.
	Timing Timing
	// WECTransport wraps the transport to every WEC, nil for none; tests inject faults there.
	WECTransport transport.WrapperFunc
	// Metrics count and time what is done; nil for none. Setup gives them their Snapshot; the caller registers them.
	Metrics *metrics.Metrics
}

// mirrorsPods reports whether pods are mirrored.
func (o Options) mirrorsPods() bool {
	return o.KubeletAddress != "" && o.KubeletAddress != "0" && o.KubeletHost != ""
}

// identity tells this process from every other; the host's name is for people.
func (o Options) identity() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return host + "_" + string(uuid.NewUUID())
}

// Timing is how long the hub waits before it believes something.
type Timing struct {
	// Gone is the time between the two looks after which a WEC copy counts as gone.
	Gone time.Duration
	// Settle is how long a create without an answer may still arrive.
	Settle time.Duration
	// Connection is how often and how long a connection to a WEC tries.
	Connection cluster.Timing
	// Silence is how long a WEC may be away before its Workflows say so.
	Silence time.Duration
	// Travel is how often what Workflows need is looked at, and when it is removed; travel.DefaultTiming if zero.
	Travel travel.Timing
	// Stuck is how long one piece of work may take before /healthz fails; heartbeat.Limit if zero.
	Stuck time.Duration
}

// DefaultTiming returns the times of DESIGN.md §4.
func DefaultTiming() Timing {
	return Timing{Gone: cleanup.Twice, Settle: downsync.Settle, Silence: lifecycle.Silence, Connection: cluster.DefaultTiming()}
}

// hubName stands for the hub where the artifact repository has a cluster's name.
const hubName stellarflow.ClusterName = "hub"

// Limits of the hub's own clients. The hub's priority and fairness is the limit that counts.
const (
	qps        = 300
	burst      = 600
	awayWrites = 20 // writes a second that say that a cluster is unreachable
)

// NewScheme returns the types that the manager reads and writes.
func NewScheme() (*runtime.Scheme, error) {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, v1alpha1.AddToScheme, clusterv1.Install} {
		if err := add(scheme); err != nil {
			return nil, fmt.Errorf("build the scheme: %w", err)
		}
	}
	return scheme, nil
}

// CacheOptions returns what the manager's cache holds: all metadata stripped, Secrets and tombstones of the system namespace only.
func CacheOptions() crcache.Options {
	return crcache.Options{
		DefaultTransform: func(object any) (any, error) {
			stripped, err := wec.StripMetadata(object)
			if accessor, ok := stripped.(metav1.Object); ok {
				accessor.SetManagedFields(nil)
			}
			return stripped, err
		},
		ByObject: map[client.Object]crcache.ByObject{
			&corev1.Secret{}:    {Namespaces: map[string]crcache.Config{stellarflow.SystemNamespace: {}}},
			&corev1.ConfigMap{}: {Namespaces: map[string]crcache.Config{stellarflow.SystemNamespace: {LabelSelector: stellarflow.Labelled(stellarflow.LabelTombstone)}}},
		},
	}
}

// Config returns the hub's REST config with our limits.
func Config(config *rest.Config) *rest.Config {
	limited := rest.CopyConfig(config)
	limited.QPS, limited.Burst = qps, burst
	return limited
}

// Setup registers every controller with the manager. It reads the hub's identity, so the API server must answer.
func Setup(ctx context.Context, mgr ctrl.Manager, options Options) error {
	h := &hub{mgr: mgr, options: options, log: mgr.GetLogger(), beats: &heartbeat.Beats{}}
	if err := h.clients(ctx); err != nil {
		return err
	}
	if err := mgr.GetFieldIndexer().IndexField(ctx, stellarflow.NewWorkflowMetadata(), inventory.Index, inventory.IndexWorkflow); err != nil {
		return fmt.Errorf("index the Workflows: %w", err)
	}
	store := hubcopy.NewStore(mgr.GetClient(), h.objects, h.metadata, options.Now)
	var err error
	if store.StatusSubresource, err = hubcopy.HasStatusSubresource(h.core.Discovery()); err != nil {
		return err
	}
	store.Metrics, store.Archive = options.Metrics, options.Archive
	h.setBack = &setBack{read: h.version, cached: h.cachedVersion, found: make(chan error, 1)}
	connections, toCluster, toPlacement := h.connections()
	tombstones, err := h.tombstones(ctx, connections)
	if err != nil {
		return err
	}
	placer := &placement.Reconciler{
		Hub: store, Cache: mgr.GetClient(), Live: mgr.GetAPIReader(), Fleet: connections, Tombstones: tombstones, Profile: options.Profile,
		Recorder: h.recorder, Now: options.Now, Metrics: options.Metrics, Beats: h.beats,
	}
	carrier := &travel.Carrier{
		Objects: h.objects, Hub: store, HubID: h.id, Recorder: h.recorder, Now: options.Now, Store: h.store,
		Policies: mgr.GetClient(), Timing: options.Timing.Travel,
	}
	syncer := h.syncer(store, placer, carrier)
	syncer.Tombstones, syncer.Fleet = tombstones, connections
	connections.Handler, placer.Recorded = syncer, syncer.Creator.Attempts.Recorded
	placer.RestoredAt, syncer.RestoredAt, placer.Skew = connections.RestoredAt, connections.RestoredAt, h.clock.Skew
	h.forget = []func(metav1.Object){syncer.Forget, placer.Forget}
	if options.Metrics != nil {
		options.Metrics.Snapshot = (&observer{cache: mgr.GetClient(), fleet: connections, tombstones: tombstones, now: options.Now, log: h.log.WithName("metrics")}).snapshot
	}
	clusters := &cluster.Reconciler{Client: mgr.GetClient(), Recorder: h.recorder, Fleet: connections, Events: toCluster}
	connections.Prime = clusters.Prime

	for _, err := range []error{
		placer.SetupWithManager(mgr, toPlacement),
		clusters.SetupWithManager(mgr),
		(&policy.BindingPolicies{Client: mgr.GetClient(), Recorder: h.recorder, Fleet: connections}).SetupWithManager(mgr),
		(&policy.CustomTransforms{Client: mgr.GetClient(), Recorder: h.recorder}).SetupWithManager(mgr),
		mgr.Add(connections),
		mgr.Add(&travel.Keeper{Carrier: carrier, Fleet: connections, Cache: mgr.GetClient(), Timing: options.Timing.Travel, Log: h.log.WithName("travel")}),
		mgr.Add(h.setBack),
		h.dispatch(ctx, connections),
		h.mirrorPods(ctx, connections, store, syncer.Mirrorer),
		h.addChecks(),
		h.serveWebhook(ctx),
	} {
		if err != nil {
			return fmt.Errorf("set up the hub: %w", err)
		}
	}
	return nil
}

// connections returns the fleet and where its news go: to the cluster controller and to placement.
func (h *hub) connections() (*cluster.Fleet, <-chan event.TypedGenericEvent[*clusterv1.ManagedCluster], <-chan event.TypedGenericEvent[*clusterv1.ManagedCluster]) {
	const backlog = 1024
	toCluster := make(chan event.TypedGenericEvent[*clusterv1.ManagedCluster], backlog)
	toPlacement := make(chan event.TypedGenericEvent[*clusterv1.ManagedCluster], backlog)
	return &cluster.Fleet{
		HubID: h.id, Now: h.options.Now, Log: h.log.WithName("connections"), Kubeconfig: h.options.Kubeconfig, Transport: h.options.WECTransport,
		Metrics: h.options.Metrics, Beats: h.beats, Identity: h.options.identity(), Timing: h.options.Timing.Connection,
		HubVersion: h.setBack.Read, Observed: h.observed,
		Changed: func(state cluster.State) {
			news := event.TypedGenericEvent[*clusterv1.ManagedCluster]{Object: &clusterv1.ManagedCluster{ObjectMeta: metav1.ObjectMeta{Name: string(state.Name)}}}
			toCluster <- news
			toPlacement <- news
		},
	}, toCluster, toPlacement
}

func (h *hub) syncer(store *hubcopy.Store, placer lifecycle.Placer, needs downsync.Needs) *lifecycle.Syncer {
	return &lifecycle.Syncer{
		Hub: store, Cache: h.mgr.GetClient(), Placer: placer, Gone: cleanup.NewGone(h.options.Now, h.options.Timing.Gone),
		Creator: &downsync.Creator{
			Hub: store, HubID: h.id, HubCore: h.core, Transforms: h.transforms, Store: h.store, Needs: needs,
			Attempts: downsync.NewAttempts(h.options.Timing.Settle), Now: h.options.Now,
		},
		Mirrorer: &upsync.Mirrorer{Hub: store, Rules: h.rules, Profile: h.options.Profile, Metrics: h.options.Metrics},
		Recorder: h.recorder, Log: h.log.WithName("sync"), Now: h.options.Now,
		Silence: h.options.Timing.Silence, Away: flowcontrol.NewTokenBucketRateLimiter(awayWrites, awayWrites), Metrics: h.options.Metrics,
	}
}

// dispatch sends every change of a hub copy to the queue of the WEC that it is placed on, and its end to all: what an earlier attempt
// left elsewhere is an orphan from then on.
func (h *hub) dispatch(ctx context.Context, connections *cluster.Fleet) error {
	informer, err := h.mgr.GetCache().GetInformer(ctx, stellarflow.NewWorkflowMetadata(), crcache.BlockUntilSynced(false))
	if err != nil {
		return fmt.Errorf("watch the Workflows: %w", err)
	}
	h.workflows = informer
	send := func(object any) {
		if workflow, ok := workflowOf(object); ok {
			if name := workflow.GetLabels()[stellarflow.LabelCluster]; name != "" {
				connections.Enqueue(stellarflow.ClusterName(name), types.NamespacedName{Namespace: workflow.GetNamespace(), Name: workflow.GetName()})
			}
		}
	}
	h.forget = append(h.forget, func(gone metav1.Object) {
		connections.EnqueueEverywhere(types.NamespacedName{Namespace: gone.GetNamespace(), Name: gone.GetName()})
	})
	_, err = informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(added any) { h.arrives(added); send(added) },
		UpdateFunc: func(old, next any) { h.replaced(old, next); h.arrives(next); send(old); send(next) },
		DeleteFunc: h.leaves,
	})
	return err
}

// workflowOf returns the object of an informer's event.
func workflowOf(object any) (metav1.Object, bool) {
	if unknown, ok := object.(cache.DeletedFinalStateUnknown); ok {
		object = unknown.Obj
	}
	workflow, ok := object.(metav1.Object)
	return workflow, ok
}

// hub holds what the parts are made from.
type hub struct {
	mgr      ctrl.Manager
	options  Options
	log      logr.Logger
	id       types.UID
	objects  dynamic.Interface
	metadata metadata.Interface
	core     kubernetes.Interface
	recorder recorder
	beats    *heartbeat.Beats
	clock    *clock
	setBack  *setBack
	// workflows is the cache of the hub's Workflows.
	workflows crcache.Informer
	// forget is told of every Workflow that is gone, so that nothing is remembered of it or left behind.
	forget []func(metav1.Object)
}

func (h *hub) clients(ctx context.Context) error {
	config := h.mgr.GetConfig()
	var err error
	h.clock = &clock{now: h.options.Now}
	timed := rest.CopyConfig(config)
	timed.Wrap(h.clock.wrap) // the clients that read the hub's version, every few seconds, and write for the webhook
	if h.core, err = kubernetes.NewForConfig(timed); err != nil {
		return fmt.Errorf("make a client for the hub: %w", err)
	}
	if h.objects, err = dynamic.NewForConfig(config); err != nil {
		return fmt.Errorf("make a client for the hub: %w", err)
	}
	h.recorder = newRecorder(ctx, h.core.CoreV1(), h.mgr.GetScheme(), h.log.WithName("events"))
	if h.metadata, err = metadata.NewForConfig(timed); err != nil {
		return fmt.Errorf("make a client for the hub: %w", err)
	}
	system, err := h.core.CoreV1().Namespaces().Get(ctx, metav1.NamespaceSystem, metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("read the hub's identity, the UID of namespace kube-system: %w", err)
	}
	h.id = system.UID
	return nil
}

func (h *hub) transforms(ctx context.Context) ([]v1alpha1.CustomTransform, error) {
	var list v1alpha1.CustomTransformList
	if err := h.mgr.GetClient().List(ctx, &list); err != nil {
		return nil, fmt.Errorf("list the custom transforms: %w", err)
	}
	return list.Items, nil
}

// store returns the shared artifact store, nil if none is configured.
func (h *hub) store(ctx context.Context) (*artifact.Store, error) {
	var secret corev1.Secret
	key := types.NamespacedName{Namespace: stellarflow.SystemNamespace, Name: h.options.StoreSecret}
	if err := h.mgr.GetClient().Get(ctx, key, &secret); err != nil {
		if apierrors.IsNotFound(err) {
			return nil, nil //nolint:nilnil // no store is an answer
		}
		return nil, fmt.Errorf("read secret %s: %w", key, err)
	}
	store, err := artifact.ParseStore(secret.Data)
	if err != nil {
		return nil, fmt.Errorf("secret %s: %w", key, err)
	}
	return &store, nil
}

func (h *hub) rules(ctx context.Context) (upsync.Rules, error) {
	store, err := h.store(ctx)
	if err != nil || store == nil {
		return upsync.Rules{}, err
	}
	repository, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&struct {
		Default    bool `json:"default"`
		Repository any  `json:"artifactRepository"`
	}{true, artifact.Repository(*store, hubName)})
	if err != nil {
		return upsync.Rules{}, fmt.Errorf("render the artifact repository: %w", err)
	}
	return upsync.Rules{Repository: repository, Bucket: store.Bucket, Endpoint: store.Endpoint}, nil
}

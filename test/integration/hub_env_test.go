package integration

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
	clusterv1 "open-cluster-management.io/api/cluster/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"

	"stellarflow.io/stellarflow/pkg/apis/control/v1alpha1"
	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
	"stellarflow.io/stellarflow/pkg/hub"
	"stellarflow.io/stellarflow/pkg/hub/cluster"
	"stellarflow.io/stellarflow/pkg/hub/metrics"
	"stellarflow.io/stellarflow/pkg/wec"
)

// clusters is a hub and two WECs, shared by the tests of this package that run a hub manager; they run one after the other.
type clusters struct {
	hub  *server
	wecs map[string]*server
}

// server is one kube-apiserver with etcd.
type server struct {
	env     *envtest.Environment
	config  *rest.Config // an administrator's
	client  client.Client
	dynamic dynamic.Interface
	core    kubernetes.Interface
	// kubeconfig is what a person has.
	kubeconfig []byte
}

var shared struct {
	once sync.Once
	*clusters
	err error
}

// sharedClusters starts the three API servers once, with Argo's CRDs, our config and the guard.
func sharedClusters(t *testing.T) *clusters {
	t.Helper()
	shared.once.Do(func() {
		c := &clusters{wecs: map[string]*server{}}
		shared.clusters = c
		if c.hub, shared.err = newServer(t); shared.err != nil {
			return
		}
		for _, dir := range []string{"crd", "rbac", "webhook"} {
			if shared.err = c.hub.apply(dir); shared.err != nil {
				return
			}
		}
		if shared.err = c.hub.served(t); shared.err != nil {
			return
		}
		for _, name := range []string{"cluster1", "cluster2"} {
			if c.wecs[name], shared.err = newServer(t); shared.err != nil {
				return
			}
			if shared.err = c.wecs[name].apply("wec"); shared.err != nil {
				return
			}
		}
	})
	if shared.err != nil {
		t.Fatalf("start the clusters: %v", shared.err)
	}
	return shared.clusters
}

// newServer starts an API server with Argo's CRDs in it; the binaries are those of KUBEBUILDER_ASSETS. Changes are made before it starts.
func newServer(t *testing.T, changes ...func(*envtest.Environment)) (*server, error) {
	if os.Getenv("KUBEBUILDER_ASSETS") == "" {
		t.Fatal("KUBEBUILDER_ASSETS is not set to a directory with etcd and kube-apiserver: run `make integration`")
	}
	s := &server{env: &envtest.Environment{CRDDirectoryPaths: []string{argoCRDs(t)}, ErrorIfCRDPathMissing: true}}
	for _, change := range changes {
		change(s.env)
	}
	var err error
	if s.config, err = s.env.Start(); err != nil {
		return nil, fmt.Errorf("start an API server: %w", err)
	}
	s.kubeconfig = s.env.KubeConfig
	s.config.QPS, s.config.Burst = 1000, 1000
	scheme, err := hub.NewScheme()
	if err != nil {
		return s, err
	}
	if s.client, err = client.New(s.config, client.Options{Scheme: scheme}); err != nil {
		return s, err
	}
	if s.dynamic, err = dynamic.NewForConfig(s.config); err != nil {
		return s, err
	}
	s.core, err = kubernetes.NewForConfig(s.config)
	return s, err
}

// served waits until our kinds are served.
func (s *server) served(t *testing.T) error {
	for _, list := range []client.ObjectList{&v1alpha1.BindingPolicyList{}, &v1alpha1.CustomTransformList{}, &clusterv1.ManagedClusterList{}} {
		eventually(t, fmt.Sprintf("%T to be served", list), func(ctx context.Context) (bool, string) {
			fresh, err := client.New(s.config, client.Options{Scheme: s.client.Scheme()})
			if err != nil {
				return false, err.Error()
			}
			err = fresh.List(ctx, list)
			s.client = fresh
			return err == nil, fmt.Sprint(err)
		})
	}
	return nil
}

// apply renders a folder of config/ and applies it.
func (s *server) apply(dir string) error {
	rendered, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), filepath.Join("..", "..", "config", dir))
	if err != nil {
		return err
	}
	groups, err := restmapper.GetAPIGroupResources(memory.NewMemCacheClient(discovery.NewDiscoveryClientForConfigOrDie(s.config)))
	if err != nil {
		return err
	}
	mapper := restmapper.NewDiscoveryRESTMapper(groups)
	for _, resource := range rendered.Resources() {
		content, err := resource.Map()
		if err != nil {
			return err
		}
		object := &unstructured.Unstructured{Object: content}
		if isWebhook(object.GetKind()) { // only for tests that serve it (serveWebhook)
			continue
		}
		mapping, err := mapper.RESTMapping(object.GroupVersionKind().GroupKind(), object.GroupVersionKind().Version)
		if err != nil {
			return err
		}
		var target dynamic.ResourceInterface = s.dynamic.Resource(mapping.Resource)
		if mapping.Scope.Name() == meta.RESTScopeNameNamespace {
			target = s.dynamic.Resource(mapping.Resource).Namespace(object.GetNamespace())
		}
		if _, err := target.Apply(context.Background(), object.GetName(), object, metav1.ApplyOptions{FieldManager: "test", Force: true}); err != nil {
			return fmt.Errorf("apply %s %s: %w", object.GetKind(), object.GetName(), err)
		}
	}
	return nil
}

// workflows is the resource in a namespace.
func (s *server) workflows(namespace string) dynamic.ResourceInterface {
	return s.dynamic.Resource(stellarflow.Workflows).Namespace(namespace)
}

// token returns a token of a ServiceAccount, as TokenRequest gives it.
func (s *server) token(t *testing.T, namespace, account string) string {
	t.Helper()
	hour := int64(3600)
	answer, err := s.core.CoreV1().ServiceAccounts(namespace).CreateToken(t.Context(), account,
		&authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: &hour}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatalf("token for %s/%s: %v", namespace, account, err)
	}
	return answer.Status.Token
}

// manager is a hub manager that runs in this process as the ServiceAccount of config/rbac.
type manager struct {
	stop func()
}

type managerOptions struct {
	timing hub.Timing
	// hubTransport and wecTransport see every request; nil for none.
	hubTransport, wecTransport func(http.RoundTripper) http.RoundTripper
	store                      string
	// now is the manager's clock; nil for the right one.
	now func() time.Time
	// profile is the hub's; shared if empty.
	profile stellarflow.Profile
	// archive is what the hub's Argo controller archives; none if empty.
	archive string
	// metrics are what the manager counts into; nil for none.
	metrics *metrics.Metrics
	// webhook is where admission is served, empty for nowhere.
	webhook string
	// kubelet is where what is asked of mirrored pods is served; empty for nowhere, and then pods are not mirrored.
	kubelet string
	// configure changes the manager's own options; nil for none.
	configure func(*ctrl.Options)
	// ended is told with what a manager that nobody stopped has ended; nil if it must not.
	ended func(error)
}

func quickTiming() hub.Timing {
	return hub.Timing{
		Gone: 300 * time.Millisecond, Settle: 500 * time.Millisecond, Silence: time.Second,
		Connection: cluster.Timing{Lease: wec.LeaseTiming{Duration: 2 * time.Second, Deadline: 1500 * time.Millisecond, Retry: 200 * time.Millisecond}},
	}
}

// startManager runs a hub manager until the test ends or stop is called.
func startManager(t *testing.T, c *clusters, o managerOptions) *manager {
	t.Helper()
	if o.timing == (hub.Timing{}) {
		o.timing = quickTiming()
	}
	restConfig := rest.CopyConfig(hub.Config(c.hub.config))
	restConfig.Impersonate = rest.ImpersonationConfig{
		UserName: hubManager, Groups: []string{"system:serviceaccounts", "system:serviceaccounts:" + stellarflow.SystemNamespace, "system:authenticated"},
	}
	if o.hubTransport != nil {
		restConfig.Wrap(o.hubTransport)
	}
	scheme, err := hub.NewScheme()
	if err != nil {
		t.Fatal(err)
	}
	skip := true
	options := ctrl.Options{
		Scheme: scheme, Cache: hub.CacheOptions(), Metrics: metricsserver.Options{BindAddress: "0"},
		Controller: config.Controller{SkipNameValidation: &skip}, Logger: zap.New(zap.UseDevMode(true), zap.WriteTo(&testWriter{t: t})),
	}
	if o.configure != nil {
		o.configure(&options)
	}
	mgr, err := ctrl.NewManager(restConfig, options)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	now := time.Now
	if o.now != nil {
		now = o.now
	}
	store := o.store
	if store == "" {
		store = "artifact-store"
	}
	archive := stellarflow.Archive{}
	if o.archive != "" {
		if archive, err = stellarflow.ParseArchive(o.archive); err != nil {
			t.Fatal(err)
		}
	}
	err = hub.Setup(ctx, mgr, hub.Options{
		KubeletAddress: o.kubelet, KubeletHost: "127.0.0.1",
		Profile: o.profile, Archive: archive, WebhookAddress: o.webhook, WebhookHost: "127.0.0.1", StoreSecret: store, Now: now, Timing: o.timing, Kubeconfig: wec.KubeconfigOptions{AllowLoopback: true}, WECTransport: o.wecTransport, Metrics: o.metrics,
	})
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := mgr.Start(ctx); err != nil && ctx.Err() == nil {
			if o.ended == nil {
				t.Errorf("the manager ended: %v", err)
			} else {
				o.ended(err)
			}
		}
	}()
	m := &manager{stop: sync.OnceFunc(func() { cancel(); <-done })}
	t.Cleanup(m.stop)
	return m
}

// testWriter sends the manager's log to the test's, as long as the test runs.
type testWriter struct {
	mu sync.Mutex
	t  *testing.T
}

func (w *testWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.t.Context().Err() == nil {
		w.t.Log(strings.TrimSpace(string(p)))
	}
	return len(p), nil
}

// join makes a WEC known to the hub, as `stellarflow join` does.
func (c *clusters) join(t *testing.T, name string, namespaces ...string) {
	t.Helper()
	s := c.wecs[name]
	c.joinWith(t, name, kubeconfigFor(t, s.config.Host, s.config.CAData, s.token(t, stellarflow.SystemNamespace, "stellarflow")), namespaces...)
}

// joinWith is join with a credential of the test's own.
func (c *clusters) joinWith(t *testing.T, name string, kubeconfig []byte, namespaces ...string) {
	t.Helper()
	c.create(t, &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: stellarflow.SystemNamespace, Name: stellarflow.CredentialName(stellarflow.ClusterName(name)),
			Labels: map[string]string{stellarflow.LabelManagedCluster: name},
		},
		Data: map[string][]byte{stellarflow.SecretKeyKubeconfig: kubeconfig},
	})
	c.create(t, &clusterv1.ManagedCluster{
		ObjectMeta: metav1.ObjectMeta{
			Name: name, Labels: map[string]string{"name": name, "location-group": "edge"},
			Annotations: map[string]string{stellarflow.AnnotationNamespaces: strings.Join(append(namespaces, "-"), ",")},
		},
		Spec: clusterv1.ManagedClusterSpec{HubAcceptsClient: true},
	})
}

// create makes an object on the hub and removes it when the test ends.
func (c *clusters) create(t *testing.T, object client.Object) {
	t.Helper()
	if err := c.hub.client.Create(t.Context(), object); err != nil {
		t.Fatalf("create %T %s: %v", object, object.GetName(), err)
	}
	t.Cleanup(func() {
		if err := c.hub.client.Delete(context.Background(), object); err != nil && !apierrors.IsNotFound(err) {
			t.Errorf("delete %T %s: %v", object, object.GetName(), err)
		}
	})
}

// policy sends Workflows with a label kubestellar.io/cluster=name to the clusters that have the labels, as DESIGN.md §2.
func policy(name string, clusterLabels map[string]string) *v1alpha1.BindingPolicy {
	return &v1alpha1.BindingPolicy{
		ObjectMeta: metav1.ObjectMeta{Name: "workflows-" + name},
		Spec: v1alpha1.BindingPolicySpec{
			WantSingletonReportedState: true,
			ClusterSelectors:           []metav1.LabelSelector{{MatchLabels: clusterLabels}},
			Downsync: []v1alpha1.DownsyncPolicyClause{{DownsyncObjectTest: v1alpha1.DownsyncObjectTest{
				ObjectSelectors: []metav1.LabelSelector{{MatchLabels: map[string]string{"kubestellar.io/cluster": name}}},
			}}},
		},
	}
}

// namespace makes a namespace on the hub. API servers without a namespace controller never finish deleting one, so each test
// has its own and leaves it.
func (c *clusters) namespace(t *testing.T) string {
	t.Helper()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "t-"}}
	if err := c.hub.client.Create(t.Context(), namespace); err != nil {
		t.Fatal(err)
	}
	return namespace.Name
}

// submit creates a suspended Workflow with the label, and deletes it on both sides when the test ends.
func (c *clusters) submit(t *testing.T, namespace, name, cluster string, change ...func(*unstructured.Unstructured)) *unstructured.Unstructured {
	t.Helper()
	workflow := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow",
		"metadata": map[string]any{"name": name, "namespace": namespace, "labels": map[string]any{"kubestellar.io/cluster": cluster}},
		"spec": map[string]any{
			"suspend": true, "entrypoint": "main", "ttlStrategy": map[string]any{"secondsAfterCompletion": int64(60)},
			"templates": []any{map[string]any{"name": "main", "container": map[string]any{"image": "busybox"}}},
		},
	}}
	for _, f := range change {
		f(workflow)
	}
	created, err := c.hub.workflows(namespace).Create(t.Context(), workflow, metav1.CreateOptions{})
	if err != nil {
		t.Fatalf("create workflow: %v", err)
	}
	t.Cleanup(func() { c.wipe(created.GetNamespace(), created.GetName()) })
	return created
}

// wipe removes a Workflow from every cluster, finalizers and all, without a manager's help.
func (c *clusters) wipe(namespace, name string) {
	ctx := context.Background()
	asManager := rest.CopyConfig(c.hub.config)
	asManager.Impersonate = rest.ImpersonationConfig{UserName: hubManager, Groups: []string{"system:masters"}}
	hubClient, err := dynamic.NewForConfig(asManager)
	if err != nil {
		return
	}
	clients := []dynamic.Interface{hubClient}
	for _, s := range c.wecs {
		clients = append(clients, s.dynamic)
	}
	for _, d := range clients {
		workflows := d.Resource(stellarflow.Workflows).Namespace(namespace)
		_ = workflows.Delete(ctx, name, metav1.DeleteOptions{})
		_, _ = workflows.Patch(ctx, name, types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`), metav1.PatchOptions{})
	}
}

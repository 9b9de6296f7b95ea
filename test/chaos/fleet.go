package chaos

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/restmapper"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"

	"stellarflow.io/stellarflow/pkg/hub/guard"
	"stellarflow.io/stellarflow/test/chaos/history"
)

// clusterNames are the WECs.
var clusterNames = []string{"cluster1", "cluster2"}

// Fleet is a hub and its WECs: real API servers with Argo's CRDs and our config, which several runs may use one after the other.
type Fleet struct {
	dir     string
	servers map[string]*server // by name, history.Hub among them
	// webhooks is what the hub's API server asks: the Service of the managers of the run that uses the fleet.
	webhooks *proxy
}

// Start starts a fleet. assets is the directory with etcd and kube-apiserver, dir where the clusters keep their data. Stop it also
// after an error.
func Start(ctx context.Context, assets, dir string) (*Fleet, error) {
	f := &Fleet{dir: dir, servers: map[string]*server{}}
	crds, err := argoCRDs(ctx)
	if err != nil {
		return f, err
	}
	for _, name := range append([]string{history.Hub}, clusterNames...) {
		s, err := newServer(ctx, assets, dir, name)
		if s != nil {
			f.servers[name] = s
		}
		if err != nil {
			return f, err
		}
		if _, err := envtest.InstallCRDs(s.config, envtest.CRDInstallOptions{Paths: []string{crds}, ErrorIfPathMissing: true}); err != nil {
			return f, fmt.Errorf("install Argo's CRDs on %s: %w", name, err)
		}
		folders := []string{"wec"}
		if name == history.Hub {
			folders = []string{"crd", "rbac", "webhook"}
		}
		for _, folder := range folders {
			if err := s.apply(ctx, filepath.Join(root(), "config", folder)); err != nil {
				return f, err
			}
		}
	}
	if err := f.hubExtras(ctx); err != nil {
		return f, err
	}
	return f, f.askManagers(ctx)
}

// Stop kills every process of the fleet.
func (f *Fleet) Stop() {
	for _, s := range f.servers {
		s.kill()
	}
	if f.webhooks != nil {
		f.webhooks.close()
	}
}

func (f *Fleet) hub() *server { return f.servers[history.Hub] }

// hubExtras lets the simulated Argo controller of the hub do what Argo's own may.
func (f *Fleet) hubExtras(ctx context.Context) error {
	binding := &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "chaos-argo"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "cluster-admin"},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.UserKind, APIGroup: rbacv1.GroupName, Name: argoUser}},
	}
	_, err := f.hub().core.RbacV1().ClusterRoleBindings().Create(ctx, binding, metav1.CreateOptions{})
	return err
}

// askManagers lets the hub's API server ask the managers at a proxy, where in a cluster it asks those behind their Service.
func (f *Fleet) askManagers(ctx context.Context) error {
	var err error
	if f.webhooks, err = newProxy(); err != nil {
		return err
	}
	for _, resource := range []string{"mutatingwebhookconfigurations", "validatingwebhookconfigurations"} {
		configurations := f.hub().dynamic.Resource(admissionregistrationv1.SchemeGroupVersion.WithResource(resource))
		configuration, err := configurations.Get(ctx, guard.Configuration, metav1.GetOptions{})
		if err != nil {
			return err
		}
		asked, _ := configuration.Object["webhooks"].([]any)
		for i := range asked {
			webhook, _ := asked[i].(map[string]any)
			path, _, _ := unstructured.NestedString(webhook, "clientConfig", "service", "path")
			webhook["clientConfig"] = map[string]any{"url": "https://" + f.webhooks.address() + path}
		}
		if _, err := configurations.Update(ctx, configuration, metav1.UpdateOptions{}); err != nil {
			return err
		}
	}
	return nil
}

// argoUser is the user of the hub's Argo controller, whom the guard refuses (config/webhook).
const argoUser = "system:serviceaccount:argo:argo"

// namespace makes a namespace, with the ServiceAccount that a controller would make.
func (s *server) namespace(ctx context.Context, name string, labels map[string]string) error {
	if _, err := s.core.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}}, metav1.CreateOptions{}); err != nil {
		return err
	}
	_, err := s.core.CoreV1().ServiceAccounts(name).Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "default"}}, metav1.CreateOptions{})
	return err
}

// replace creates an object, in the place of one that is there.
func replace(ctx context.Context, c client.Client, object client.Object) error {
	if err := c.Delete(ctx, object); err != nil && !apierrors.IsNotFound(err) {
		return err
	}
	object.SetResourceVersion("")
	return c.Create(ctx, object)
}

// apply renders a kustomization and applies it, as often as it takes until what it needs is served.
func (s *server) apply(ctx context.Context, folder string) error {
	rendered, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), folder)
	if err != nil {
		return err
	}
	deadline := time.Now().Add(time.Minute)
	for {
		var last error
		for _, resource := range rendered.Resources() {
			content, err := resource.Map()
			if err != nil {
				return err
			}
			if err := s.applyOne(ctx, &unstructured.Unstructured{Object: content}); err != nil {
				last = fmt.Errorf("apply %s on %s: %w", resource.CurId(), s.name, err)
			}
		}
		if last == nil || time.Now().After(deadline) {
			return last
		}
		if err := pause(ctx, 200*time.Millisecond); err != nil {
			return err
		}
	}
}

func (s *server) applyOne(ctx context.Context, object *unstructured.Unstructured) error {
	groups, err := restmapper.GetAPIGroupResources(memory.NewMemCacheClient(discovery.NewDiscoveryClientForConfigOrDie(s.config)))
	if err != nil {
		return err
	}
	mapping, err := restmapper.NewDiscoveryRESTMapper(groups).RESTMapping(object.GroupVersionKind().GroupKind(), object.GroupVersionKind().Version)
	if err != nil {
		return err
	}
	var target dynamic.ResourceInterface = s.dynamic.Resource(mapping.Resource)
	if mapping.Scope.Name() == meta.RESTScopeNameNamespace {
		target = s.dynamic.Resource(mapping.Resource).Namespace(object.GetNamespace())
	}
	_, err = target.Apply(ctx, object.GetName(), object, metav1.ApplyOptions{FieldManager: "chaos", Force: true})
	return err
}

// root is the root of the module, found from this package's directory or the root itself.
func root() string {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}").Output()
	if err != nil {
		return "."
	}
	return strings.TrimSpace(string(out))
}

// argoCRDs is the directory with the CRDs of the Argo that go.mod names.
func argoCRDs(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", "github.com/argoproj/argo-workflows/v3").Output()
	if err != nil {
		return "", fmt.Errorf("find Argo's module: %w", err)
	}
	return filepath.Join(strings.TrimSpace(string(out)), "manifests", "base", "crds", "minimal"), nil
}

package downsync

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/client-go/kubernetes"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
	"stellarflow.io/stellarflow/pkg/artifact"
	"stellarflow.io/stellarflow/pkg/hub/dependencies"
)

// ExecutorRole is the ClusterRole that `stellarflow join` puts on a WEC: what Argo's executor needs (create and patch of
// workflowtaskresults, argo-workflows docs/workflow-rbac.md).
const ExecutorRole = "stellarflow-executor"

// maxAccount bounds, in bytes, what a message quotes of a ServiceAccount's name.
const maxAccount = 64

// preparedFor is how long a namespace that was found ready is not looked at again.
const preparedFor = 5 * time.Minute

// namespaces prepares namespaces and remembers which are ready. The zero value is ready for use, by several goroutines.
type namespaces struct {
	mu    sync.Mutex
	ready map[string]time.Time
}

// preparation is what a namespace of a WEC, or without a target one of the hub, is made ready for.
type preparation struct {
	hubID     types.UID
	target    Target
	namespace string
	accounts  []string
	store     *artifact.Store
}

// prepare makes a namespace of a WEC ready: it creates what is missing in one that is ours to fill, and refuses one that is
// not.
func (n *namespaces) prepare(ctx context.Context, p preparation, now time.Time) error {
	target, namespace := p.target, p.namespace
	id := string(target.ID) + "/" + namespace + "/" + strings.Join(p.accounts, ",")
	if p.store != nil { // one that was ready without it is not with it
		id += "/store"
	}
	if n.isReady(id, now) {
		return nil
	}
	if err := neverUsed(namespace); err != nil {
		return err
	}
	for _, account := range p.accounts {
		if wrong := validation.IsDNS1123Subdomain(account); len(wrong) > 0 {
			return &Refusal{ReasonServiceAccountMissing, fmt.Sprintf("spec names the ServiceAccount %s, and %s: correct the name",
				strconv.Quote(stellarflow.OneLine(account, maxAccount)), wrong[0])}
		}
	}
	ours, err := ensureNamespace(ctx, p.hubID, target, namespace)
	if err != nil {
		return err
	}
	for _, account := range p.accounts {
		if err := ensureAccount(ctx, p, account, ours); err != nil {
			return err
		}
	}
	if p.store != nil {
		if err := ensureRepository(ctx, p); err != nil {
			return err
		}
	}
	n.markReady(id, now)
	return nil
}

// neverUsed refuses the namespaces of Kubernetes itself and our own, where credentials are.
func neverUsed(namespace string) error {
	if !strings.HasPrefix(namespace, "kube-") && namespace != stellarflow.SystemNamespace {
		return nil
	}
	return &Refusal{ReasonNamespaceRefused, fmt.Sprintf("namespace %q is never used on a WEC: create the Workflow in another namespace", namespace)}
}

// accepts is Accepts, once in a while for each namespace.
func (n *namespaces) accepts(ctx context.Context, hubID types.UID, target Target, namespace string, now time.Time) error {
	id := "accepts/" + string(target.ID) + "/" + namespace
	if n.isReady(id, now) {
		return nil
	}
	if err := Accepts(ctx, hubID, target, namespace); err != nil {
		return err
	}
	n.markReady(id, now)
	return nil
}

// Accepts returns a Refusal if a WEC has a namespace that Workflows of this hub are not to use. It writes nothing. It comes before
// anything is looked for in the namespace: else a refusal would tell whoever may create Workflows what is there.
func Accepts(ctx context.Context, hubID types.UID, target Target, namespace string) error {
	if err := neverUsed(namespace); err != nil {
		return err
	}
	found, err := target.Clients.Core.CoreV1().Namespaces().Get(ctx, namespace, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return RefusalOf(err, fmt.Sprintf("read namespace %q", namespace))
	}
	_, err = accepted(found, hubID, target)
	return err
}

// prepareHub puts the shared store's Secret into a namespace of the hub: the Argo server reads artifacts and logs of a
// Workflow with the Secret of the Workflow's own namespace (argo.md §4).
func (n *namespaces) prepareHub(ctx context.Context, core kubernetes.Interface, p preparation, now time.Time) error {
	id := "hub/" + p.namespace
	if p.store == nil || n.isReady(id, now) {
		return nil
	}
	_, err := core.CoreV1().Secrets(p.namespace).Create(ctx, artifact.Secret(*p.store, p.namespace, p.hubID), metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("create Secret %s/%s on the hub: %w", p.namespace, artifact.CredentialsSecret, err)
	}
	n.markReady(id, now)
	return nil
}

func (n *namespaces) isReady(id string, now time.Time) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	since, found := n.ready[id]
	return found && now.Sub(since) < preparedFor
}

func (n *namespaces) markReady(id string, now time.Time) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.ready == nil {
		n.ready = map[string]time.Time{}
	}
	n.ready[id] = now
}

// forget makes the next prepare look again, after the WEC refused something.
func (n *namespaces) forget() {
	n.mu.Lock()
	defer n.mu.Unlock()
	clear(n.ready)
}

// ensureNamespace returns whether the namespace is one that this hub made.
func ensureNamespace(ctx context.Context, hubID types.UID, target Target, name string) (bool, error) {
	client := target.Clients.Core.CoreV1().Namespaces()
	found, err := client.Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		found, err = client.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
			Name: name, Labels: map[string]string{stellarflow.LabelOrigin: string(hubID)},
		}}, metav1.CreateOptions{})
		if apierrors.IsAlreadyExists(err) { // another Workflow's create was faster
			found, err = client.Get(ctx, name, metav1.GetOptions{})
		}
	}
	if err != nil {
		return false, RefusalOf(err, fmt.Sprintf("create namespace %q", name))
	}
	return accepted(found, hubID, target)
}

// accepted returns whether a namespace of a WEC is one that this hub made, or a Refusal.
func accepted(found *corev1.Namespace, hubID types.UID, target Target) (ours bool, err error) {
	name := found.Name
	ours = found.Labels[stellarflow.LabelOrigin] == string(hubID)
	switch {
	case found.DeletionTimestamp != nil:
		return false, &Refusal{ReasonNamespaceRefused, fmt.Sprintf("namespace %q is being deleted there: wait until it is gone", name)}
	case !ours && !slices.Contains(target.Namespaces, name) && found.Labels[stellarflow.LabelAccept] != "true":
		return false, &Refusal{ReasonNamespaceRefused, fmt.Sprintf(
			"namespace %q exists there and does not accept Workflows from this hub: label it %s=true on the cluster, or join it again (`stellarflow join %s --kubeconfig FILE`) with %s in --namespaces",
			name, stellarflow.LabelAccept, target.Name, name)}
	}
	return ours, nil
}

// ensureAccount sees that a ServiceAccount exists and may write task results. What is made says which hub has made it.
func ensureAccount(ctx context.Context, p preparation, name string, ours bool) error {
	core, namespace := p.target.Clients.Core, p.namespace
	labels := map[string]string{stellarflow.LabelOrigin: string(p.hubID)}
	_, err := core.CoreV1().ServiceAccounts(namespace).Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) && ours {
		account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}}
		_, err = core.CoreV1().ServiceAccounts(namespace).Create(ctx, account, metav1.CreateOptions{})
	}
	switch {
	case apierrors.IsNotFound(err):
		return &Refusal{ReasonServiceAccountMissing, fmt.Sprintf("ServiceAccount %q does not exist in namespace %q there: create it, or name another in spec.serviceAccountName", name, namespace)}
	case err != nil && !apierrors.IsAlreadyExists(err):
		return RefusalOf(err, fmt.Sprintf("read or create ServiceAccount %s/%s", namespace, name))
	}
	_, err = core.RbacV1().RoleBindings(namespace).Create(ctx, &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: ExecutorRole + "-" + name, Labels: labels},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: ExecutorRole},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: namespace, Name: name}},
	}, metav1.CreateOptions{})
	return tolerateExisting(err, fmt.Sprintf("create RoleBinding %s/%s-%s", namespace, ExecutorRole, name))
}

// ensureRepository puts the shared store's Secret and Argo's artifact repository into a namespace that has none. Credentials that
// change later are brought by `stellarflow join`: the hub may not read or change a Secret there.
func ensureRepository(ctx context.Context, p preparation) error {
	core, namespace := p.target.Clients.Core, p.namespace
	_, err := core.CoreV1().Secrets(namespace).Create(ctx, artifact.Secret(*p.store, namespace, p.hubID), metav1.CreateOptions{})
	if err := tolerateExisting(err, fmt.Sprintf("create Secret %s/%s", namespace, artifact.CredentialsSecret)); err != nil {
		return err
	}
	configMap, err := artifact.ConfigMap(*p.store, p.target.Name, namespace)
	if err != nil {
		return err
	}
	_, err = core.CoreV1().ConfigMaps(namespace).Create(ctx, configMap, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		return replaceCopy(ctx, p, configMap)
	}
	return tolerateExisting(err, fmt.Sprintf("create ConfigMap %s/%s", namespace, artifact.ConfigMapName))
}

// replaceCopy puts the shared store's repository in place of a copy of the hub's, which has come there while no store was configured: a new Workflow
// would use that, and the hub says the store's. A ConfigMap of somebody else's stays. Those that run keep what they have: Argo's controller writes the
// whole repository into a Workflow's status when it begins (argo-workflows v3.7.18 workflow/artifactrepositories/artifactrepositories.go, get).
func replaceCopy(ctx context.Context, p preparation, configMap *corev1.ConfigMap) error {
	client := p.target.Clients.Core.CoreV1().ConfigMaps(p.namespace)
	found, err := client.Get(ctx, configMap.Name, metav1.GetOptions{})
	if apierrors.IsForbidden(err) { // joined before this was a right: then there is no copy
		return nil
	}
	if err != nil {
		return fmt.Errorf("read ConfigMap %s/%s on %q: %w", p.namespace, configMap.Name, p.target.Name, err)
	}
	if !dependencies.IsCopy(stellarflow.KindConfigMap, found, p.hubID) {
		return nil
	}
	configMap.UID, configMap.ResourceVersion = found.UID, found.ResourceVersion
	if _, err = client.Update(ctx, configMap, metav1.UpdateOptions{}); err != nil {
		return RefusalOf(err, fmt.Sprintf("update ConfigMap %s/%s", p.namespace, configMap.Name))
	}
	return nil
}

func tolerateExisting(err error, action string) error {
	if err == nil || apierrors.IsAlreadyExists(err) {
		return nil
	}
	return RefusalOf(err, action)
}

// isRefusal returns the Refusal in an error chain.
func isRefusal(err error) (*Refusal, bool) {
	var refusal *Refusal
	ok := errors.As(err, &refusal)
	return refusal, ok
}

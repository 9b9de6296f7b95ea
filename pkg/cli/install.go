package cli

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
	"stellarflow.io/stellarflow/pkg/artifact"
)

const (
	// storeSecret is the Secret that the hub manager reads the store from.
	storeSecret = "artifact-store"
	// hubDeployment is the Deployment of the hub manager.
	hubDeployment = "stellarflow-hub"
	// inventoryCRD may belong to Open Cluster Management.
	inventoryCRD = "managedclusters.cluster.open-cluster-management.io"
	// probeTimeout bounds the check of the store.
	probeTimeout = 30 * time.Second
)

type installOptions struct {
	hub            *hubFlags
	storeFile      string
	skipStoreCheck bool
	createBucket   bool
	image          string
	controllers    []string
	profile        string
	archive        string
	mirrorPods     string
	argoUI         bool
	argoURL        string
	restart        bool
	dryRun         bool
	wait           bool
	timeout        time.Duration
}

func installCommand(env Env) *cobra.Command {
	var o installOptions
	cmd := &cobra.Command{
		Use:   "install --artifact-store FILE",
		Short: "Install the hub on a cluster, or bring an installation up to date",
		Long: `Install the hub on a cluster, or bring an installation up to date.

The file of --artifact-store has lines of NAME=value with the names MINIO_ENDPOINT (host:port, an address that every cluster
reaches), MINIO_BUCKET, MINIO_ACCESS_KEY, MINIO_SECRET_KEY and, if needed, MINIO_REGION and MINIO_INSECURE (true for http). It
is needed the first time; later the store that the hub has is kept without it.

On a shared hub (--profile shared, the default) an Argo controller runs local Workflows, and the guard holds it off those that are
placed: it needs its user name, which is found by its Deployment, or given with --argo-controller (several times for several; "none" for
no guard). On a dedicated one (--profile dedicated) none may act on Workflows, and it is refused while one runs: "none" says then that
those that run do not act on this hub's. Without --profile the hub keeps the one that it has.

Where the Argo controller of the hub archives Workflows (persistence.archive in its ConfigMap), those that are placed are archived
too. --archive says so of a controller that is not found by its Deployment, and of several that do not do the same.

The UI of Argo's servers on the hub gets a column Cluster: an entry of columns in their ConfigMap, which they read when they are started anew.
--argo-ui=false adds none; --dry-run does not show it. With --argo-url, the address by which people reach that UI, it gets links from a Workflow to
those on the same cluster, and to all that are on another cluster; Argo allows no links without an address. Later they stay as they are without it.`,
		Example: "  stellarflow install --artifact-store .fleet/minio.env\n  stellarflow install --artifact-store s3.env --profile dedicated --dry-run",
		Args:    none,
	}
	o.hub = addHubFlags(cmd, "")
	flags := cmd.Flags()
	flags.StringVar(&o.storeFile, "artifact-store", "", "`file` with the settings of the shared S3 store (default: the store that the hub has)")
	flags.BoolVar(&o.skipStoreCheck, "skip-store-check", false, "do not check from this machine that the store can be used")
	flags.BoolVar(&o.createBucket, "create-bucket", true, "create the bucket if it does not exist")
	flags.StringVar(&o.image, "image", "", "`image` of the hub manager (default: the one that the hub has, else stellarflow/hub:latest)")
	flags.StringArrayVar(&o.controllers, "argo-controller", nil, "`user` of an Argo controller on the hub, or none (default: found by its Deployment)")
	flags.StringVar(&o.profile, "profile", "", "`profile` of the hub, shared or dedicated (default: the one that it has, else shared)")
	flags.StringVar(&o.archive, "archive", "", "which `workflows` the Argo controller of the hub archives: none, all, or a selector of their labels (default: what its ConfigMap says, else what the hub was told before)")
	flags.BoolVar(&o.argoUI, "argo-ui", true, "show in the UI of Argo's servers on the hub which cluster a Workflow is placed on")
	flags.StringVar(&o.argoURL, "argo-url", "", "`address` by which people reach Argo's UI on the hub, for links there, or none to remove them (default: they stay as they are)")
	flags.StringVar(&o.mirrorPods, "mirror-pods", "", "whether the `pods` of other clusters are shown on the hub, on or off (default: as it is, else on)")
	flags.BoolVar(&o.restart, "restart", false, "start the manager anew even if nothing changed (the image behind a tag did)")
	flags.BoolVar(&o.dryRun, "dry-run", false, "print what would be applied, without credentials, and change nothing")
	flags.BoolVar(&o.wait, "wait", true, "wait until the manager is available")
	flags.DurationVar(&o.timeout, "timeout", 2*time.Minute, "how long to wait for the manager")
	return env.runs(cmd, func(ctx context.Context, env Env, _ []string) (any, error) { return install(ctx, env, o) })
}

// installed is the answer of install.
type installed struct {
	// Controllers are the users that the guard holds off.
	Controllers []string `json:"argoControllers"`
	// Profile is the hub's.
	Profile stellarflow.Profile `json:"profile"`
	// Archive says which placed Workflows the Argo controller of the hub archives: none, all, or the selector of their labels.
	Archive string `json:"archive"`
	Store   string `json:"store"`
	// Applied are the objects, Kind namespace/name.
	Applied []string `json:"applied"`
	// Renewed are the namespaces of the hub whose Secret has the store's credentials now and had others before, or was missing, Outdated the clusters
	// that still have those: a join with a kubeconfig of theirs brings the store's.
	Renewed  []string `json:"renewedNamespaces"`
	Outdated []string `json:"outdatedClusters"`
	// ArgoUI are the ConfigMaps of Argo's servers, NAMESPACE/NAME, that got what their UI shows of the clusters, and had it not before.
	ArgoUI []string `json:"argoUI"`
	// Available is false if nobody waited for the manager.
	Available bool `json:"available"`
}

func install(ctx context.Context, env Env, o installOptions) (any, error) {
	store, rendering, err := o.check(env)
	if err != nil {
		return nil, err
	}
	if o.argoURL, err = o.links(); err != nil {
		return nil, err
	}
	if o.dryRun && len(o.controllers) > 0 { // nothing is asked of any cluster
		return dryInstall(rendering)
	}
	hub, err := o.hub.connect()
	if err != nil {
		return nil, err
	}
	suspends, err := o.choose(ctx, env, hub, &rendering)
	if err != nil {
		return nil, err
	}
	if o.dryRun {
		return dryInstall(rendering)
	}
	if err := requireArgo(hub.config); err != nil {
		return nil, err
	}
	if store, err = keepPresent(ctx, hub, store, &rendering); err != nil {
		return nil, err
	}
	if err := checkStore(ctx, env, o, *store); err != nil {
		return nil, err
	}
	answer := installed{
		Profile: rendering.Profile, Archive: rendering.Archive.String(), Controllers: append([]string{}, rendering.Controllers...), Store: store.String(),
		Renewed: []string{}, Outdated: []string{}, ArgoUI: []string{},
	}
	if answer.Applied, err = applyInstall(ctx, env, hub, rendering, *store); err != nil {
		return nil, err
	}
	if err := renewCredentials(ctx, env, hub, *store, &answer); err != nil {
		return answer, err
	}
	err = answer.finish(ctx, env, hub, o, rendering.Unmirrored)
	if err == nil && suspends {
		err = awaitSuspended(ctx, env, hub, o.timeout)
	}
	return answer, err
}

// finish sets Argo's UI up and waits until what was started anew is available. Argo's server is nothing that the hub needs.
func (i *installed) finish(ctx context.Context, env Env, hub client.Client, o installOptions, unmirrored bool) error {
	var servers []client.ObjectKey
	if o.argoUI {
		i.ArgoUI, servers = showClusters(ctx, env, hub, o.argoURL, false)
	}
	if !o.wait {
		return nil
	}
	err := waitAvailable(ctx, env, hub, o.timeout)
	i.Available = err == nil
	for _, server := range servers {
		if failed := waitRolledOut(ctx, hub, server, o.timeout); failed != nil {
			env.sayf("warning: Argo's server: %v", failed)
		}
	}
	if err == nil && unmirrored {
		err = awaitUnmirrored(ctx, hub, o.timeout)
	}
	if err == nil && unmirrored { // no manager makes them again
		err = removeVirtual(ctx, hub, func(what string) { env.sayf("deleted %s", what) })
	}
	return err
}

// choose decides what depends on what the hub has: its profile, the controllers that are held off, and what they archive. It reports whether
// Workflows have to be suspended again.
func (o installOptions) choose(ctx context.Context, env Env, hub client.Client, rendering *renderOptions) (suspends bool, err error) {
	if rendering.Profile, suspends, err = chooseProfile(ctx, hub, rendering.Profile, slices.Contains(o.controllers, noController)); err != nil {
		return false, err
	}
	if suspends && !o.wait && !o.dryRun {
		return false, errNotAwaited
	}
	if len(o.controllers) == 0 {
		if rendering.Controllers, err = discoverControllers(ctx, env, hub, rendering.Profile); err != nil {
			return suspends, err
		}
	}
	if rendering.Servers, err = findServerUsers(ctx, hub); err != nil {
		return suspends, err
	}
	if rendering.Unmirrored, err = choosePods(ctx, hub, o.mirrorPods); err != nil {
		return suspends, err
	}
	rendering.Archive, err = chooseArchive(ctx, env, hub, o.archive, *rendering)
	return suspends, err
}

// check checks all that can be checked without asking a cluster.
func (o installOptions) check(env Env) (*artifact.Store, renderOptions, error) {
	rendering := renderOptions{Image: o.image}
	var store *artifact.Store
	if o.storeFile != "" {
		read, err := readStore(o.storeFile, env.AllowLoopback)
		if err != nil {
			return nil, rendering, err
		}
		store = &read
	}
	if o.restart {
		rendering.Restart = env.Now().UTC().Format(time.RFC3339)
	}
	var err error
	if rendering.Profile, err = givenProfile(o.profile); err != nil {
		return nil, rendering, err
	}
	if rendering.Archive, err = givenArchive(o.archive); err != nil {
		return nil, rendering, err
	}
	if rendering.Unmirrored, err = givenPods(o.mirrorPods); err != nil {
		return nil, rendering, err
	}
	rendering.Controllers, err = givenControllers(o.controllers)
	return store, rendering, err
}

// keepPresent keeps what the hub has of that which the person did not name: the store, which it returns, and the image.
func keepPresent(ctx context.Context, hub client.Client, store *artifact.Store, rendering *renderOptions) (*artifact.Store, error) {
	var err error
	if store == nil {
		if store, err = storedStore(ctx, hub); err != nil {
			return nil, err
		}
	}
	if rendering.Image == "" {
		rendering.Image, err = presentImage(ctx, hub)
	}
	return store, err
}

// storedStore is the store of the installation that is brought up to date.
func storedStore(ctx context.Context, hub client.Client) (*artifact.Store, error) {
	var secret corev1.Secret
	err := hub.Get(ctx, storeKey(), &secret)
	if apierrors.IsNotFound(err) {
		return nil, errors.New("--artifact-store is missing, and the hub has no store yet: name a file with the settings of the shared S3 store (see --help)")
	}
	if err != nil {
		return nil, fmt.Errorf("read secret %s: %w", storeKey(), err)
	}
	store, err := artifact.ParseStore(secret.Data)
	if err != nil {
		return nil, fmt.Errorf("secret %s: %w: name a file with the settings of the shared S3 store with --artifact-store", storeKey(), err)
	}
	return &store, nil
}

// presentImage is the image of the manager that is installed; empty if none is.
func presentImage(ctx context.Context, hub client.Client) (string, error) {
	pod, err := presentPod(ctx, hub)
	for _, container := range pod.Containers {
		if container.Name == "hub" {
			return container.Image, err
		}
	}
	return "", err
}

// presentPod is what the manager's pods are started with; empty if none is installed.
func presentPod(ctx context.Context, hub client.Client) (*corev1.PodSpec, error) {
	var deployment appsv1.Deployment
	err := client.IgnoreNotFound(hub.Get(ctx, managerKey(), &deployment))
	if err != nil {
		err = fmt.Errorf("read deployment %s: %w", managerKey(), err)
	}
	return &deployment.Spec.Template.Spec, err
}

// managerKey is the key of the hub manager's Deployment.
func managerKey() client.ObjectKey {
	return client.ObjectKey{Namespace: stellarflow.SystemNamespace, Name: hubDeployment}
}

// storeKey is the key of the Secret that the hub manager reads the store from.
func storeKey() client.ObjectKey {
	return client.ObjectKey{Namespace: stellarflow.SystemNamespace, Name: storeSecret}
}

// requireArgo refuses a hub without Argo's Workflow CRD.
func requireArgo(config *rest.Config) error {
	asked, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		return fmt.Errorf("reach %s: %w", config.Host, err)
	}
	served, err := servesWorkflows(asked)
	if err == nil && !served {
		err = errors.New("the hub does not serve workflows.argoproj.io/v1alpha1: install Argo Workflows (at least its CRDs) there first")
	}
	return err
}

// readStore reads and checks the file of --artifact-store.
func readStore(file string, allowLoopback bool) (artifact.Store, error) {
	raw, err := os.ReadFile(file) //nolint:gosec // the person names the file
	if err != nil {
		return artifact.Store{}, usagef("--artifact-store %q cannot be read (%w): name an existing file", file, errors.Unwrap(err))
	}
	store, err := artifact.ParseEnv(raw)
	if err != nil {
		return artifact.Store{}, usagef("--artifact-store %q: %w", file, err)
	}
	address, err := netip.ParseAddr(store.Host())
	local := store.Host() == "localhost" || (err == nil && (address.IsLoopback() || address.IsUnspecified()))
	if local && !allowLoopback {
		return artifact.Store{}, usagef("--artifact-store %q: MINIO_ENDPOINT %q is an address of this machine only: give one that the pods of every cluster reach", file, store.Endpoint)
	}
	return store, nil
}

// givenControllers are the users of --argo-controller.
func givenControllers(given []string) ([]string, error) {
	if slices.Contains(given, noController) {
		if len(given) > 1 {
			return nil, usagef("--argo-controller %q stands alone: leave out the others", noController)
		}
		return nil, nil
	}
	for _, user := range given {
		if !validUser.MatchString(user) {
			return nil, usagef("--argo-controller %q is no user name: give it as system:serviceaccount:NAMESPACE:NAME", user)
		}
	}
	return given, nil
}

// discoverControllers are the users of the Argo controllers that run on the hub.
func discoverControllers(ctx context.Context, env Env, hub client.Client, profile stellarflow.Profile) ([]string, error) {
	found, err := findControllers(ctx, hub)
	if err != nil {
		return nil, err
	}
	if len(found) == 0 && profile == stellarflow.ProfileShared {
		return nil, errors.New("no Argo controller was found on the hub, and without its user name the guard cannot hold it off placed Workflows: " +
			"give the user with --argo-controller system:serviceaccount:NAMESPACE:NAME, or, if no controller acts on the hub's Workflows, --profile dedicated")
	}
	users := make([]string, 0, len(found))
	for _, controller := range found {
		users = append(users, controller.User)
		env.sayf("Argo controller on the hub: %s %s", controller.User, controller.Version)
	}
	return users, nil
}

func dryInstall(rendering renderOptions) (any, error) {
	objects, err := renderHub(rendering)
	if err != nil {
		return nil, err
	}
	secret := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "Secret", "metadata": storeSecretMeta(), "type": "Opaque",
	}}
	return dryRun{Objects: append(objects, secret), note: "# The data of this Secret is what the file of --artifact-store holds; it is not shown.\n"}, nil
}

func storeSecretMeta() map[string]any {
	return map[string]any{"name": storeSecret, "namespace": stellarflow.SystemNamespace, "labels": map[string]any{labelPartOf: partOf}}
}

func checkStore(ctx context.Context, env Env, o installOptions, store artifact.Store) error {
	if o.skipStoreCheck {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	if err := artifact.Probe(ctx, store, o.createBucket); err != nil {
		return fmt.Errorf("%w (--skip-store-check leaves this check out)", err)
	}
	env.sayf("artifact store %s answers and can be written to", store)
	return nil
}

// applyInstall applies the CRDs, waits until they are served, and applies the rest.
func applyInstall(ctx context.Context, env Env, hub client.Client, rendering renderOptions, store artifact.Store) ([]string, error) {
	objects, err := renderHub(rendering)
	if err != nil {
		return nil, err
	}
	var crds, rest []*unstructured.Unstructured
	var names []string
	for _, object := range objects {
		if object.GetKind() != "CustomResourceDefinition" {
			rest = append(rest, object)
			continue
		}
		names = append(names, object.GetName())
		foreign, err := foreignCRD(ctx, hub, object.GetName())
		switch {
		case err != nil:
			return nil, err
		case foreign && object.GetName() == inventoryCRD:
			env.sayf("CRD %s is there already and is not ours: it stays as it is", inventoryCRD)
			continue
		case foreign:
			env.sayf("warning: CRD %s was installed by somebody else and is brought to our version: no other controller of it may run here", object.GetName())
		}
		crds = append(crds, object)
	}
	if err := apply(ctx, hub, crds); err != nil {
		return nil, err
	}
	if err := waitEstablished(ctx, hub, names); err != nil {
		return nil, err
	}
	isDeployment := func(object *unstructured.Unstructured) bool { return object.GetKind() == "Deployment" }
	if i := slices.IndexFunc(rest, isDeployment); i >= 0 {
		rest = slices.Insert(rest, i, renderStore(store))
	}
	if err := apply(ctx, hub, rest); err != nil {
		return nil, err
	}
	env.sayf("applied %d objects with field manager %s", len(crds)+len(rest), fieldManager)
	return describeAll(append(crds, rest...)), nil
}

// renderStore is the Secret that the hub manager reads the store from.
func renderStore(store artifact.Store) *unstructured.Unstructured {
	data := map[string]any{}
	for key, value := range store.Data() {
		data[key] = string(value)
	}
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "Secret", "metadata": storeSecretMeta(), "type": "Opaque", "stringData": data,
	}}
}

// foreignCRD reports whether a CRD exists that was not applied by us.
func foreignCRD(ctx context.Context, hub client.Client, name string) (bool, error) {
	var crd apiextensionsv1.CustomResourceDefinition
	err := hub.Get(ctx, client.ObjectKey{Name: name}, &crd)
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look for CRD %s: %w", name, err)
	}
	ours := slices.ContainsFunc(crd.ManagedFields, func(entry metav1.ManagedFieldsEntry) bool {
		return entry.Manager == fieldManager || strings.HasPrefix(entry.Manager, fieldManager+"-")
	})
	return !ours && !isOurs(&crd), nil
}

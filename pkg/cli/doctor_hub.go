package cli

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/discovery"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
	"stellarflow.io/stellarflow/pkg/artifact"
	"stellarflow.io/stellarflow/pkg/cli/diagnosis"
)

// leaseSlack is how far the clock of this machine may be from the hub's when it is said that a Lease has run out.
const leaseSlack = 30 * time.Second

// guardPolicy holds the Argo controllers off.
const guardPolicy = "stellarflow-guard-controller"

// observeHub reads what is on the hub. It fails if nothing can be said without what it could not read.
func (d *doctor) observeHub(ctx context.Context) error {
	err := d.hub.Get(ctx, systemNamespace(), &corev1.Namespace{})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("read namespace %s of the hub: %w", stellarflow.SystemNamespace, err)
	}
	d.facts.Installed = err == nil
	if d.argo, err = findControllers(ctx, d.hub); err != nil {
		return err
	}
	for _, controller := range d.argo {
		d.facts.Controllers = append(d.facts.Controllers, controller.User)
	}
	d.facts.Running = runningOf(d.argo)
	if !d.facts.Installed {
		return nil
	}
	if d.hubID, err = readHubID(ctx, d.hub); err != nil {
		return err
	}
	d.could(d.observeArgo())
	d.could(d.observeObjects(ctx))
	d.could(d.observeArchive(ctx))
	d.could(d.observeManager(ctx))
	d.could(d.observeHubRights(ctx))
	d.could(d.observeWorkflows(ctx))
	d.could(d.readStore(ctx))
	d.could(d.compareCredentials(ctx))
	return nil
}

// versionOf is the version of the first Argo controller that has one.
func versionOf(controllers []argoController) string {
	for _, controller := range controllers {
		if controller.Version != "" {
			return controller.Version
		}
	}
	return ""
}

func (d *doctor) observeArgo() error {
	asked, err := discovery.NewDiscoveryClientForConfig(d.hub.config)
	if err != nil {
		return fmt.Errorf("reach %s: %w", d.hub.config.Host, err)
	}
	served, err := servesWorkflows(asked)
	d.facts.NoArgo = err == nil && !served
	return err
}

// observeObjects compares what is there with what this binary would install. Image, profile, archive, number of replicas and the users
// that the guard holds off are the installation's own.
func (d *doctor) observeObjects(ctx context.Context) error {
	image, err := presentImage(ctx, d.hub)
	if err != nil {
		return err
	}
	guarded, found, err := d.guardedUsers(ctx)
	if err != nil {
		return err
	}
	d.facts.Guarded = guarded
	if d.facts.Profile, err = presentProfile(ctx, d.hub); err != nil {
		return err
	}
	if d.facts.Archive, err = presentArchive(ctx, d.hub); err != nil {
		return err
	}
	if !found { // it is missing, unless nobody is there to hold off
		guarded = d.facts.Controllers
	}
	objects, err := renderHub(renderOptions{Image: image, Controllers: guarded, Profile: d.facts.Profile, Archive: d.facts.Archive})
	if err != nil {
		return err
	}
	for _, wanted := range objects {
		d.could(d.compare(ctx, wanted))
	}
	return nil
}

// observeArchive reads what the Argo controllers of the hub archive.
func (d *doctor) observeArchive(ctx context.Context) error {
	archive, unknown, err := archivedBy(ctx, d.hub, d.facts.Profile, d.argo)
	if err == nil && unknown == "" {
		d.facts.Archived = &archive
	}
	return err
}

// guardedUsers are the users in the guard's first condition.
func (d *doctor) guardedUsers(ctx context.Context) (users []string, found bool, err error) {
	policy := &unstructured.Unstructured{}
	policy.SetAPIVersion("admissionregistration.k8s.io/v1")
	policy.SetKind("ValidatingAdmissionPolicy")
	err = d.hub.Get(ctx, client.ObjectKey{Name: guardPolicy}, policy)
	if apierrors.IsNotFound(err) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("read the guard: %w", err)
	}
	return usersIn(policy), true, nil
}

var quotedUser = regexp.MustCompile(`"([^"]+)"`)

// usersIn are the users that the guard's condition names.
func usersIn(policy *unstructured.Unstructured) []string {
	conditions, _, _ := unstructured.NestedSlice(policy.Object, "spec", "matchConditions")
	for _, entry := range conditions {
		condition, _ := entry.(map[string]any)
		if condition["name"] != "argo-controller" {
			continue
		}
		expression, _ := condition["expression"].(string)
		var users []string
		for _, match := range quotedUser.FindAllStringSubmatch(expression, -1) {
			users = append(users, match[1])
		}
		return users
	}
	return nil
}

// compare notes how an object differs from what is wanted.
func (d *doctor) compare(ctx context.Context, wanted *unstructured.Unstructured) error {
	kind := wanted.GetKind()
	object := diagnosis.Object{Name: describe(wanted), Guard: isGuard(kind)}
	there := &unstructured.Unstructured{}
	there.SetGroupVersionKind(wanted.GroupVersionKind())
	err := d.hub.Get(ctx, client.ObjectKeyFromObject(wanted), there)
	switch {
	case apierrors.IsNotFound(err) || isNoMatch(err):
		object.Missing = true
	case err != nil:
		return fmt.Errorf("read %s: %w", object.Name, err)
	case kind == "CustomResourceDefinition" && wanted.GetName() == inventoryCRD && !isOurs(there): // Open Cluster Management's own
	default:
		unstructured.RemoveNestedField(wanted.Object, "status") // Open Cluster Management's CRD comes with an empty one
		if kind == "Deployment" {
			replicas, _, _ := unstructured.NestedInt64(wanted.Object, "spec", "replicas")
			d.facts.Manager.Installs = int32(replicas) //nolint:gosec // what config/hub says
			unstructured.RemoveNestedField(wanted.Object, "spec", "replicas")
		}
		object.Differs = diagnosis.Differs(wanted.Object, there.Object)
	}
	if kind == "CustomResourceDefinition" && !object.Missing && !established(there) {
		d.facts.Unserved = append(d.facts.Unserved, wanted.GetName())
	}
	d.facts.Objects = append(d.facts.Objects, object)
	return nil
}

// established reports whether the API server serves a CRD.
func established(crd *unstructured.Unstructured) bool {
	conditions, _, _ := unstructured.NestedSlice(crd.Object, "status", "conditions")
	return slices.ContainsFunc(conditions, func(entry any) bool {
		condition, _ := entry.(map[string]any)
		return condition["type"] == string(apiextensionsv1.Established) && condition["status"] == "True"
	})
}

func (d *doctor) observeManager(ctx context.Context) error {
	var deployment appsv1.Deployment
	if err := d.hub.Get(ctx, managerKey(), &deployment); err != nil {
		return client.IgnoreNotFound(err) // it is among the objects
	}
	m := &d.facts.Manager
	m.Found, m.Replicas = true, 1
	if deployment.Spec.Replicas != nil {
		m.Replicas = *deployment.Spec.Replicas
	}
	for _, container := range deployment.Spec.Template.Spec.Containers {
		m.Image = container.Image
	}
	if available, said := rolledOut(&deployment); !available {
		m.Waits = said
		for _, reason := range podReasons(ctx, d.hub, &deployment) {
			m.Waits += ": " + reason
		}
	}
	var lease coordinationv1.Lease
	err := d.hub.Get(ctx, managerKey(), &lease) // it has the Deployment's name
	if err == nil && leaseTrouble(&lease, d.facts.Now) == "" {
		m.Leader = *lease.Spec.HolderIdentity
	}
	return client.IgnoreNotFound(err)
}

// leaseTrouble says why nobody holds a Lease at a time; empty if somebody does.
func leaseTrouble(lease *coordinationv1.Lease, now time.Time) string {
	spec := &lease.Spec
	switch {
	case spec.HolderIdentity == nil || *spec.HolderIdentity == "":
		return "nobody holds it"
	case spec.RenewTime == nil || spec.LeaseDurationSeconds == nil:
		return "it was never renewed"
	}
	if end := spec.RenewTime.Add(time.Duration(*spec.LeaseDurationSeconds) * time.Second); now.After(end.Add(leaseSlack)) {
		return fmt.Sprintf("%s holds it and has not renewed it since %s", *spec.HolderIdentity, spec.RenewTime.UTC().Format(time.RFC3339))
	}
	return ""
}

// readStore reads the store's Secret.
func (d *doctor) readStore(ctx context.Context) error {
	var secret corev1.Secret
	err := d.hub.Get(ctx, storeKey(), &secret)
	if apierrors.IsNotFound(err) {
		d.facts.Store.Missing = true
		return nil
	}
	if err != nil {
		return fmt.Errorf("read secret %s: %w", storeKey(), err)
	}
	store, err := artifact.ParseStore(secret.Data)
	if err != nil {
		d.facts.Store.Invalid = err.Error()
		return nil //nolint:nilerr // it is a finding, and all else can still be examined
	}
	d.store = &store
	return nil
}

// compareCredentials looks for Secrets of the hub with other credentials than the store's, and for namespaces that lack one.
func (d *doctor) compareCredentials(ctx context.Context) error {
	if d.store == nil {
		return nil
	}
	d.facts.HubID = d.hubID
	stale, err := staleCredentials(ctx, d.hub, d.hubID, *d.store)
	for i := range stale.ours {
		d.facts.StaleSecrets = append(d.facts.StaleSecrets, diagnosis.StaleSecret{Namespace: stale.ours[i].Namespace, Ours: true})
	}
	for i := range stale.foreign {
		d.facts.StaleSecrets = append(d.facts.StaleSecrets, diagnosis.StaleSecret{Namespace: stale.foreign[i].Namespace})
	}
	d.facts.NoSecrets = stale.lacking(d.workflows)
	return err
}

// probeStore uses the store as the hub manager does.
func (d *doctor) probeStore(ctx context.Context) {
	if d.store == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, d.timeout)
	defer cancel()
	err := artifact.Probe(ctx, *d.store, false)
	var failed *artifact.ProbeError
	if errors.As(err, &failed) {
		d.facts.Store.Check, d.facts.Store.Trouble = failed.Check, failed.Error()
	} else {
		d.could(err)
	}
}

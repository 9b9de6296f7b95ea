package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
	"stellarflow.io/stellarflow/pkg/wec"
)

// Names of what config/wec creates on a WEC.
const (
	wecAccount = "stellarflow"
	wecRole    = "stellarflow-wec"
	wecStreams = "stellarflow-wec-streams"
	wecToken   = "stellarflow-token" //nolint:gosec // a name, no credential
)

// tokenTimeout is how long a WEC's controller manager may take for the token.
const tokenTimeout = 30 * time.Second

// wecAdmin reaches a WEC with a person's credential.
type wecAdmin struct {
	client    client.Client
	discovery discovery.DiscoveryInterface
}

// wecFacts are what a WEC says of itself.
type wecFacts struct {
	ID               types.UID
	Kubernetes, Argo string
}

func connectWEC(admin *rest.Config) (*wecAdmin, error) {
	asked := rest.CopyConfig(admin)
	asked.Timeout = 30 * time.Second
	c, err := newClient(asked)
	if err != nil {
		return nil, err
	}
	d, err := discovery.NewDiscoveryClientForConfig(asked)
	if err != nil {
		return nil, fmt.Errorf("reach %s: %w", admin.Host, err)
	}
	return &wecAdmin{client: c, discovery: d}, nil
}

// look reads what a join must know, and refuses a cluster that no Workflow could run on.
func (w *wecAdmin) look(ctx context.Context, namespaces []string) (wecFacts, error) {
	var facts wecFacts
	version, err := w.discovery.ServerVersion()
	switch {
	case apierrors.IsUnauthorized(err):
		return facts, errors.New("the credential is rejected: use a kubeconfig with a valid one")
	case err != nil:
		return facts, fmt.Errorf("it cannot be reached: %w: check the address, or give another with --server", err)
	}
	facts.Kubernetes = version.GitVersion
	var system corev1.Namespace
	if err := w.client.Get(ctx, client.ObjectKey{Name: metav1.NamespaceSystem}, &system); err != nil {
		return facts, fmt.Errorf("read namespace kube-system, whose UID is the cluster's identity: %w", err)
	}
	facts.ID = system.UID
	served, err := servesWorkflows(w.discovery)
	if err != nil {
		return facts, err
	}
	if !served {
		return facts, errors.New("it does not serve workflows.argoproj.io/v1alpha1: install Argo Workflows there first")
	}
	controllers, err := findControllers(ctx, w.client)
	if err != nil {
		return facts, err
	}
	if len(controllers) > 0 {
		facts.Argo = controllers[0].Version
	}
	for _, name := range namespaces {
		err := w.client.Get(ctx, client.ObjectKey{Name: name}, &corev1.Namespace{})
		if apierrors.IsNotFound(err) {
			return facts, fmt.Errorf("--namespaces %q does not exist there: remove it (a missing namespace is created when a Workflow needs it), or correct it", name)
		}
		if err != nil {
			return facts, fmt.Errorf("read namespace %s: %w", name, err)
		}
	}
	return facts, nil
}

// grant creates the ServiceAccount and its rights, and waits for its token.
func (w *wecAdmin) grant(ctx context.Context, objects []*unstructured.Unstructured) (string, error) {
	if err := apply(ctx, w.client, objects); err != nil {
		return "", err
	}
	key := client.ObjectKey{Namespace: stellarflow.SystemNamespace, Name: wecToken}
	var secret corev1.Secret
	_, err := poll(ctx, tokenTimeout, func(ctx context.Context) (bool, string, error) {
		err := w.client.Get(ctx, key, &secret)
		return len(secret.Data[corev1.ServiceAccountTokenKey]) > 0, "", err
	})
	if err != nil {
		return "", fmt.Errorf("secret %s got no token in %s: %w: check that the controller manager of the cluster runs, and join again", key, tokenTimeout, err)
	}
	return string(secret.Data[corev1.ServiceAccountTokenKey]), nil
}

// verifyCredential uses the new credential as the hub will. New rights need a moment to be known to every API server.
func verifyCredential(ctx context.Context, env Env, kubeconfig []byte) error {
	config, err := wec.ParseKubeconfig(kubeconfig, wec.KubeconfigOptions{AllowLoopback: env.AllowLoopback})
	if err != nil {
		return err
	}
	clients, err := wec.Dial(config)
	if err != nil {
		return err
	}
	said, err := poll(ctx, tokenTimeout, func(ctx context.Context) (bool, string, error) {
		_, err := clients.Probe(ctx, env.Now)
		var trouble *wec.Trouble
		switch {
		case err == nil:
			return true, "", nil
		case errors.As(err, &trouble) && (trouble.Reason == wec.ReasonUnauthorized || trouble.Reason == wec.ReasonForbidden):
			return false, err.Error(), nil
		}
		return false, "", err
	})
	if said != "" && err != nil {
		return errors.New(said)
	}
	return err
}

// wecLeftovers are the objects of config/wec in the order of their removal.
func wecLeftovers() ([]*unstructured.Unstructured, error) {
	objects, err := renderWEC()
	if err != nil {
		return nil, err
	}
	_, _, rest, _ := uninstallOrder(objects)
	return rest, nil
}

package guard

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
	"stellarflow.io/stellarflow/pkg/hub/hubcopy"
)

// Names of the objects that config/webhook and config/hub have for the webhook.
const (
	// Secret, in the system namespace, holds its certificate. One that cert-manager keeps is used as it is.
	Secret = "stellarflow-webhook"
	// Configuration is the MutatingWebhookConfiguration, and the ValidatingWebhookConfiguration.
	Configuration = "stellarflow"
	// Host is how the API server calls it, by its Service.
	Host = "stellarflow-hub." + stellarflow.SystemNamespace + ".svc"
)

// annotationCertManager is what cert-manager puts on a Secret that it keeps (cert-manager.io docs, Certificate).
const annotationCertManager = "cert-manager.io/certificate-name"

// lookEvery is how often the certificate is looked at if nothing changes, lookForIt how often while there is no webhook to make one for.
const (
	lookEvery = time.Minute
	lookForIt = 10 * time.Second
)

// Certificates makes and renews the certificate of the webhook, and tells the API server to trust it. Every replica does, and the API
// server lets one of them win: a leader of an earlier version does not know the webhook, and the new replica that follows it has to
// become ready first.
type Certificates struct {
	// Core reads and writes on the hub, past any cache; Cached reads Secrets of the system namespace.
	Core   kubernetes.Interface
	Cached client.Reader
	// Host is the name or address that the certificate is for.
	Host string
	Now  func() time.Time
	Log  logr.Logger

	// unused is true while there is no webhook's configuration: nobody calls it.
	unused  atomic.Bool
	mu      sync.Mutex
	version string
	serving *tls.Certificate
}

// SetupWithManager lets this replica keep the Secret and the trust in it.
func (c *Certificates) SetupWithManager(mgr ctrl.Manager) error {
	begin := source.Func(func(_ context.Context, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) error {
		queue.Add(reconcile.Request{NamespacedName: c.key()})
		return nil
	})
	err := ctrl.NewControllerManagedBy(mgr).Named("webhook-certificate").
		For(&corev1.Secret{}).WithEventFilter(predicate.NewPredicateFuncs(func(o client.Object) bool { return client.ObjectKeyFromObject(o) == c.key() })).
		WatchesRawSource(begin).WithOptions(controller.Options{NeedLeaderElection: ptr.To(false)}).Complete(c)
	if err != nil {
		return fmt.Errorf("set up the webhook's certificate: %w", err)
	}
	return nil
}

func (c *Certificates) key() types.NamespacedName {
	return types.NamespacedName{Namespace: stellarflow.SystemNamespace, Name: Secret}
}

// Reconcile renews the certificate if it is time and lets the API server trust it.
func (c *Certificates) Reconcile(ctx context.Context, _ ctrl.Request) (ctrl.Result, error) {
	configurations, unread := c.configurations(ctx)
	c.unused.Store(unread == nil && len(configurations) == 0)
	if len(configurations) == 0 { // being uninstalled, or installed without it
		return ctrl.Result{RequeueAfter: lookForIt}, unread
	}
	var trusted []byte // what the last webhook holds: all the others were told before
	for _, configuration := range configurations {
		for i := range configuration.Webhooks {
			trusted = configuration.Webhooks[i].ClientConfig.CABundle
		}
	}
	bundle, changed, err := c.renew(ctx, trusted)
	for i := 0; i < len(configurations) && err == nil; i++ {
		err = c.trust(ctx, configurations[i], bundle)
	}
	if errors.Is(err, hubcopy.ErrLostRace) {
		return ctrl.Result{RequeueAfter: time.Second}, nil
	}
	if changed {
		c.Log.Info("the webhook has a new certificate")
	}
	return ctrl.Result{RequeueAfter: lookEvery}, errors.Join(err, unread)
}

// renew sees to the Secret, and returns what is to be trusted.
func (c *Certificates) renew(ctx context.Context, trusted []byte) (bundle []byte, changed bool, err error) {
	secrets := c.Core.CoreV1().Secrets(stellarflow.SystemNamespace)
	secret, err := secrets.Get(ctx, Secret, metav1.GetOptions{})
	absent := apierrors.IsNotFound(err)
	switch {
	case err != nil && !absent:
		return nil, false, fmt.Errorf("read the webhook's certificate: %w", err)
	case !absent && secret.Annotations[annotationCertManager] != "":
		return secret.Data[keyCA], false, nil
	case absent:
		secret = &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Namespace: stellarflow.SystemNamespace, Name: Secret, Labels: map[string]string{"app.kubernetes.io/part-of": "stellarflow"}},
			Type:       corev1.SecretTypeOpaque,
		}
	}
	data, err := renew(secret.Data, c.Host, trusted, c.Now())
	if err != nil {
		return nil, false, err
	}
	if maps.EqualFunc(data, secret.Data, bytes.Equal) {
		return data[keyCA], false, nil
	}
	secret.Data = data
	if absent {
		_, err = secrets.Create(ctx, secret, metav1.CreateOptions{})
	} else {
		_, err = secrets.Update(ctx, secret, metav1.UpdateOptions{})
	}
	if apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) {
		return nil, false, fmt.Errorf("%w: another replica was faster: %w", hubcopy.ErrLostRace, err)
	}
	if err != nil {
		return nil, false, fmt.Errorf("store the webhook's certificate: %w", err)
	}
	return data[keyCA], true, nil
}

// configuration is an object that lets the API server call webhooks: of both kinds, with what both have.
type configuration struct {
	admissionregistrationv1.MutatingWebhookConfiguration
	resource string
}

// configurations returns those that there are and that may be read, and what is wrong with the others: an older ClusterRole names one of them.
func (c *Certificates) configurations(ctx context.Context) (found []*configuration, problems error) {
	for _, resource := range []string{"mutatingwebhookconfigurations", "validatingwebhookconfigurations"} {
		read := &configuration{resource: resource}
		raw, err := c.Core.AdmissionregistrationV1().RESTClient().Get().Resource(resource).Name(Configuration).SetHeader("Accept", runtime.ContentTypeJSON).DoRaw(ctx)
		if apierrors.IsNotFound(err) {
			continue
		}
		if err == nil {
			err = json.Unmarshal(raw, &read.MutatingWebhookConfiguration)
		}
		if err != nil {
			problems = errors.Join(problems, fmt.Errorf("read the webhook's configuration (%s), for which `stellarflow install` may have to be run again: %w", resource, err))
			continue
		}
		found = append(found, read)
	}
	return found, problems
}

// trust puts the CA into a configuration.
func (c *Certificates) trust(ctx context.Context, to *configuration, bundle []byte) error {
	operations := hubcopy.Unchanged(to)
	unchanged := len(operations)
	for i := range to.Webhooks {
		if !bytes.Equal(to.Webhooks[i].ClientConfig.CABundle, bundle) {
			operations = append(operations, hubcopy.Add(bundle, "webhooks", fmt.Sprint(i), "clientConfig", "caBundle"))
		}
	}
	if len(operations) == unchanged {
		return nil
	}
	raw, err := hubcopy.Marshal(operations)
	if err != nil {
		return err
	}
	err = c.Core.AdmissionregistrationV1().RESTClient().Patch(hubcopy.PatchType).Resource(to.resource).Name(Configuration).
		VersionedParams(&metav1.PatchOptions{FieldManager: "stellarflow-hub"}, scheme.ParameterCodec).Body(raw).Do(ctx).Error()
	if err != nil {
		return fmt.Errorf("let the API server trust the webhook (%s): %w", to.resource, hubcopy.Classify(err))
	}
	return nil
}

// Serve returns the certificate that the Secret holds now. It is a tls.Config's GetCertificate.
func (c *Certificates) Serve(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	return c.serve(hello.Context())
}

func (c *Certificates) serve(ctx context.Context) (*tls.Certificate, error) {
	var secret corev1.Secret
	if err := c.Cached.Get(ctx, c.key(), &secret); err != nil {
		return nil, fmt.Errorf("read the webhook's certificate: %w", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.serving == nil || c.version != secret.ResourceVersion {
		read, err := tls.X509KeyPair(secret.Data[keyLeaf], secret.Data[keyLeafKey])
		if err != nil {
			return nil, fmt.Errorf("read the webhook's certificate: %w", err)
		}
		c.serving, c.version = &read, secret.ResourceVersion
	}
	return c.serving, nil
}

// Ready is a check of /readyz: without a certificate nobody can call the webhook.
func (c *Certificates) Ready(request *http.Request) error {
	if _, err := c.serve(request.Context()); err != nil && !c.unused.Load() {
		return errors.New("the webhook has no certificate yet")
	}
	return nil
}

package kubelet

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/cache"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/util/cert"
)

// The ConfigMap that an API server publishes, with the CAs of the client certificates that it accepts
// (k8s.io/kubernetes pkg/controlplane/controller/clusterauthenticationtrust).
const (
	clientCAs   = "extension-apiserver-authentication"
	keyClientCA = "client-ca-file"
)

const (
	// rereadClientCAs is how old the CAs may be: a CA that is taken away is trusted for so long.
	rereadClientCAs = time.Minute
	// rememberAccess is how long an answer about a caller's rights counts; a kubelet's own is 5 min for yes and 30 s for no.
	rememberAccess = 10 * time.Second
	// remembered bounds how many answers are kept.
	remembered = 1024
	// askWithin bounds a request to the hub's API server.
	askWithin = 10 * time.Second
)

// access says who a caller is and what it may do.
type access struct {
	core kubernetes.Interface
	now  func() time.Time

	mu      sync.Mutex
	pool    *x509.CertPool
	read    time.Time // when the pool was last looked at
	failed  error     // why that look failed
	answers *cache.LRUExpireCache
}

func newAccess(core kubernetes.Interface, now func() time.Time) *access {
	return &access{core: core, now: now, answers: cache.NewLRUExpireCacheWithClock(remembered, clock(now))}
}

// clock is a cache's.
type clock func() time.Time

// Now returns the time.
func (c clock) Now() time.Time { return c() }

// caller is who asks.
type caller struct {
	name   string
	groups []string
}

// authenticate returns who asks, by its client certificate.
func (a *access) authenticate(ctx context.Context, presented []*x509.Certificate) (caller, *refusal) {
	if len(presented) == 0 {
		return caller{}, &refusal{http.StatusUnauthorized, "no client certificate: only the hub's API server is answered here, with the certificate of its --kubelet-client-certificate"}
	}
	roots, err := a.roots(ctx)
	if err != nil {
		return caller{}, &refusal{http.StatusServiceUnavailable, "client certificates cannot be checked: " + err.Error()}
	}
	between := x509.NewCertPool()
	for _, certificate := range presented[1:] {
		between.AddCert(certificate)
	}
	leaf := presented[0]
	options := x509.VerifyOptions{Roots: roots, Intermediates: between, CurrentTime: a.now(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	if _, err := leaf.Verify(options); err != nil {
		return caller{}, &refusal{http.StatusUnauthorized, fmt.Sprintf("the client certificate is not accepted: %v: it must be signed by a CA of %s in ConfigMap %s/%s",
			err, keyClientCA, metav1.NamespaceSystem, clientCAs)}
	}
	if leaf.Subject.CommonName == "" {
		return caller{}, &refusal{http.StatusUnauthorized, "the client certificate names nobody: it has no common name"}
	}
	return caller{leaf.Subject.CommonName, append(leaf.Subject.Organization[:len(leaf.Subject.Organization):len(leaf.Subject.Organization)], "system:authenticated")}, nil
}

// roots are the CAs of client certificates. If they cannot be read, those of before count, for as long as that lasts.
func (a *access) roots(ctx context.Context) (*x509.CertPool, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	const again = 5 * time.Second
	if age := a.now().Sub(a.read); !a.read.IsZero() && (age < again || a.failed == nil && age < rereadClientCAs) {
		return a.pool, a.unless()
	}
	pool, err := a.readRoots(ctx)
	if errors.Is(err, context.Canceled) { // the caller's own end says nothing
		return a.pool, a.unless()
	}
	a.read, a.failed = a.now(), err
	if err == nil {
		a.pool = pool
	}
	return a.pool, a.unless()
}

// unless is why there are no CAs, nil if there are some.
func (a *access) unless() error {
	switch {
	case a.pool != nil:
		return nil
	case a.failed != nil:
		return a.failed
	}
	return errors.New("they were not read yet: try again")
}

func (a *access) readRoots(ctx context.Context) (*x509.CertPool, error) {
	ctx, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	published, err := a.core.CoreV1().ConfigMaps(metav1.NamespaceSystem).Get(ctx, clientCAs, metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("read ConfigMap %s/%s: %w", metav1.NamespaceSystem, clientCAs, err)
	}
	pool, err := cert.NewPoolFromBytes([]byte(published.Data[keyClientCA]))
	if err != nil {
		return nil, fmt.Errorf("read %s of ConfigMap %s/%s: %w: the hub's API server needs --client-ca-file", keyClientCA, metav1.NamespaceSystem, clientCAs, err)
	}
	return pool, nil
}

// authorize asks the hub's API server, as a kubelet does (k8s.io/kubernetes pkg/kubelet/server/auth.go): may the caller get or create
// nodes/proxy of this Node, of all Nodes if it is empty. Whatever acts in a pod needs create, also if it is asked for with GET, for which a
// kubelet is content with get.
func (a *access) authorize(ctx context.Context, who caller, verb, node string) *refusal {
	review := authorizationv1.SubjectAccessReviewSpec{
		User: who.name, Groups: who.groups,
		ResourceAttributes: &authorizationv1.ResourceAttributes{Verb: verb, Version: "v1", Resource: "nodes", Subresource: "proxy", Name: node},
	}
	raw, err := json.Marshal(review)
	if err != nil {
		return &refusal{http.StatusInternalServerError, "the right to do this cannot be asked for"}
	}
	key := sha256.Sum256(raw)
	known, found := a.answers.Get(key)
	allowed, _ := known.(bool)
	if !found {
		ctx, cancel := context.WithTimeout(ctx, askWithin)
		defer cancel()
		answer, err := a.core.AuthorizationV1().SubjectAccessReviews().Create(ctx, &authorizationv1.SubjectAccessReview{Spec: review}, metav1.CreateOptions{})
		if err != nil {
			return &refusal{http.StatusServiceUnavailable, "the hub's API server does not say whether you may do this: " + err.Error()}
		}
		allowed = answer.Status.Allowed
		a.answers.Add(key, allowed, rememberAccess)
	}
	if !allowed {
		return &refusal{http.StatusForbidden, fmt.Sprintf("%q may not %s nodes/proxy: that right is needed on the Node that the pod is on, as for a kubelet", who.name, verb)}
	}
	return nil
}

// verb is the right that a kind of stream needs.
func (k kind) verb() string {
	if k == kindLog {
		return "get"
	}
	return "create"
}

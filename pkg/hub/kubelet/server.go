package kubelet

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/net/netutil"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
	"stellarflow.io/stellarflow/pkg/hub/metrics"
)

// Pods says where the real pod behind a mirrored one runs.
type Pods interface {
	// Find returns where, or false if the hub's record places no Workflow there that has this pod. It answers from memory.
	Find(ctx context.Context, pod types.NamespacedName) (Target, bool)
}

// Target is where a real pod runs.
type Target struct {
	Cluster stellarflow.ClusterName
	// Node is the name of the virtual Node on the hub: callers need nodes/proxy of it.
	Node string
	// UID is the real pod's; a request that names another one is refused. Empty if it is not known: then none may be named.
	UID types.UID
	// Streams reaches the cluster's API server (wec.Clients.Streams); nil while there is no connection.
	Streams http.RoundTripper
	// Check asks the cluster now whether the real pod is the one that is meant: exec, attach and port-forward wait for it, logs do not. Its
	// error is the caller's answer: 404 if it is a NotFound of an API server, 409 if it is anything else about the pod. Nil for no check.
	Check func(ctx context.Context) error
	// Done is closed when streams are to end: the cluster has left, or the pods of the Workflow are not to be seen any more. Nil for never.
	Done <-chan struct{}
}

const (
	headerWithin = 10 * time.Second
	idleFor      = 90 * time.Second
	// maxHeader bounds a request: a command to run is a part of its address.
	maxHeader = 256 << 10
	// maxSaid bounds a line of the log.
	maxSaid = 4 << 10
	// endWithin is how long streams have for their end when the manager stops, or the target is done.
	endWithin = 3 * time.Second
	// serveAgain is the pause before a port that was taken is tried again.
	serveAgain = 10 * time.Second
)

// Server is the endpoint. It serves on the leader only, which alone has connections to the clusters. Host, Address, Pods, Core and Now must
// be set.
type Server struct {
	// Address is where it listens, HOST:PORT; Host is the IP address by which the API server calls it, which its certificate is for.
	Address, Host string
	Pods          Pods
	// Core reads and writes on the hub, past any cache.
	Core kubernetes.Interface
	// Limits are DefaultLimits if zero.
	Limits  Limits
	Now     func() time.Time
	Log     logr.Logger
	Metrics *metrics.Metrics
}

// NeedLeaderElection reports that only the leader serves.
func (s *Server) NeedLeaderElection() bool { return true }

// Start serves until the context is done, and ends every stream then: it resumes with a new request to the next leader. What keeps it from
// serving, as a port that is taken, is logged and tried again: the leader mirrors status all the same.
func (s *Server) Start(ctx context.Context) error {
	s.insist(ctx, serveAgain)
	return nil
}

// insist serves until the context is done, again after a pause if that failed.
func (s *Server) insist(ctx context.Context, pause time.Duration) {
	for said := ""; ; {
		err := s.listenAndServe(ctx)
		if ctx.Err() != nil {
			return
		}
		if err != nil && err.Error() != said {
			said = err.Error()
			s.Log.Info("logs of mirrored pods are not served: free the port, or give another one with --kubelet-bind-address (0 for nowhere)", "problem", said)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
	}
}

func (s *Server) listenAndServe(ctx context.Context) error {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", s.Address)
	if err != nil {
		return err
	}
	return s.serve(ctx, listener)
}

func (s *Server) serve(ctx context.Context, listener net.Listener) error {
	signs := &authority{core: s.Core, host: s.Host, now: s.Now}
	if s.Limits == (Limits{}) {
		s.Limits = DefaultLimits()
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	handler := &handler{pods: s.Pods, access: newAccess(s.Core, s.Now), slots: &slots{limits: s.Limits, metrics: s.Metrics}}
	server := &http.Server{
		Handler: handler, ReadHeaderTimeout: headerWithin, IdleTimeout: idleFor, MaxHeaderBytes: maxHeader, ErrorLog: log.New(logged{s.Log}, "", 0),
		BaseContext:  func(net.Listener) context.Context { return ctx },
		TLSNextProto: map[string]func(*http.Server, *tls.Conn, http.Handler){}, // no HTTP/2, which cannot be upgraded
		TLSConfig: &tls.Config{
			MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}, GetCertificate: signs.serve, ClientAuth: tls.RequestClientCert, // verified by access
		},
	}
	var kept sync.WaitGroup
	kept.Go(func() { s.keep(ctx, signs) })
	ended := make(chan error, 1)
	go func() { ended <- server.ServeTLS(netutil.LimitListener(listener, s.Limits.connections()), "", "") }()
	var err error
	select {
	case err = <-ended:
	case <-ctx.Done():
	}
	cancel() // the streams' contexts are of this one
	stop, done := context.WithTimeout(context.WithoutCancel(ctx), endWithin)
	defer done()
	if server.Shutdown(stop) != nil {
		_ = server.Close()
	}
	handler.running.wait(stop)
	kept.Wait()
	if err != nil && !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve the logs of mirrored pods: %w", err)
	}
	return nil
}

// logged writes what a http.Server says, of which most is about connections that others have ended.
type logged struct{ log logr.Logger }

// Write logs one message.
func (l logged) Write(message []byte) (int, error) {
	l.log.V(1).Info("a connection failed", "said", stellarflow.OneLine(string(message), maxSaid))
	return len(message), nil
}

// keep sees to the certificate while the server runs.
func (s *Server) keep(ctx context.Context, signs *authority) {
	said, next := "", time.NewTimer(0)
	defer next.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-next.C:
		}
		wait, problem := lookEvery, ""
		if err := signs.renew(ctx); err != nil {
			problem = err.Error()
			if signs.serving.Load() == nil {
				wait = time.Second
			}
		}
		if problem != said && ctx.Err() == nil {
			if problem != "" {
				s.Log.Info("the endpoint for logs of mirrored pods gets no certificate", "problem", problem)
			}
			said = problem
		}
		next.Reset(wait)
	}
}

// handler answers requests.
type handler struct {
	pods    Pods
	access  *access
	slots   *slots
	running running
}

func (h *handler) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	defer h.running.begin()()
	relay, release, said := h.accept(request)
	if said != nil {
		said.write(w)
		return
	}
	defer release()
	ctx, end := h.until(request.Context(), relay.done, w)
	defer end()
	if said := relay.checked(ctx); said != nil {
		said.write(w)
		return
	}
	relay.ServeHTTP(w, request.WithContext(ctx))
}

// errGone is why the context of a stream ends whose target is done.
var errGone = errors.New("the pod is not to be seen any more")

// until returns a request's context that ends when done is closed, too, and what is to be called when it is answered.
func (h *handler) until(ctx context.Context, done <-chan struct{}, w http.ResponseWriter) (context.Context, func()) {
	if done == nil {
		return ctx, func() {}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	connection := http.NewResponseController(w)
	var watch sync.WaitGroup
	watch.Go(func() {
		select {
		case <-done:
			cancel(errGone)
			_ = connection.SetWriteDeadline(h.access.now().Add(endWithin)) // who does not read would hold it open
		case <-ctx.Done():
		}
	})
	return ctx, func() {
		cancel(nil)
		watch.Wait()
		_ = connection.SetWriteDeadline(time.Time{}) // the next request has a stream of its own
	}
}

// accept decides about a request. Who may do nothing learns nothing, not even which pods there are: without a pod, the right to all
// Nodes is needed to be told so.
func (h *handler) accept(request *http.Request) (relay, func(), *refusal) {
	ctx := request.Context()
	who, said := h.access.authenticate(ctx, request.TLS.PeerCertificates)
	if said != nil {
		return relay{}, nil, said
	}
	asked, wrong := translate(request.Method, request.URL, request.Header.Get("Upgrade") != "")
	if wrong != nil {
		if said := h.access.authorize(ctx, who, "get", ""); said != nil {
			return relay{}, nil, said
		}
		return relay{}, nil, wrong
	}
	target, found := h.pods.Find(ctx, asked.pod)
	if said := h.access.authorize(ctx, who, asked.kind.verb(), target.Node); said != nil {
		return relay{}, nil, said
	}
	if !found || asked.uid != "" && asked.uid != target.UID {
		return relay{}, nil, &refusal{http.StatusNotFound, fmt.Sprintf("pod %s is not known to run on another cluster: its Workflow has left it, or the pod is gone", asked.pod)}
	}
	if target.Streams == nil {
		return relay{}, nil, relay{ask: asked, cluster: target.Cluster}.explain(errors.New("there is no connection"))
	}
	release, said := h.slots.take(target.Cluster, asked.pod.Namespace, asked.kind)
	if said != nil {
		return relay{}, nil, said
	}
	return relay{ask: asked, cluster: target.Cluster, streams: target.Streams, check: target.Check, done: target.Done}, release, nil
}

// running counts requests, also those whose connection was taken over, which a http.Server forgets.
type running struct {
	mu   sync.Mutex
	n    int
	none chan struct{} // closed when there are none any more; nil if nobody waits
}

// begin counts one until what it returns is called.
func (r *running) begin() (end func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.n++
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.n--; r.n == 0 && r.none != nil {
			close(r.none)
			r.none = nil
		}
	}
}

// wait waits until there are none, or the context is done.
func (r *running) wait(ctx context.Context) {
	r.mu.Lock()
	if r.n == 0 {
		r.mu.Unlock()
		return
	}
	r.none = make(chan struct{})
	none := r.none
	r.mu.Unlock()
	select {
	case <-none:
	case <-ctx.Done():
	}
}

package wec

import (
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/client-go/rest"
)

// Times of a connection's transport. A peer or a proxy in between that has gone silent is noticed after PingAfter+PingTimeout:
// then every request and watch on the connection fails and the next ones dial anew. client-go's own values are 30 s and 15 s
// (k8s.io/apimachinery pkg/util/net/http.go).
const (
	PingAfter   = 15 * time.Second
	PingTimeout = 10 * time.Second
	dialTimeout = 10 * time.Second
	idleTimeout = 90 * time.Second
)

// anyHost stands for the WEC's address in requests until link puts the current one in.
const anyHost = "https://wec"

// link is the transport to a WEC whose address and credential can be replaced while it is used: requests that are under way
// end on the old one, later ones use the new one.
type link struct {
	current atomic.Pointer[target]
}

// target is where a link leads.
type target struct {
	name  string // of the cluster, for messages
	base  *url.URL
	round http.RoundTripper
	// streams is for answers without an end, see Clients.Streams.
	streams http.RoundTripper
	closes  func()
}

// newTarget makes the transport for a validated REST config. wrap is nearest to the network but for the config's own.
func newTarget(name string, config *rest.Config, hold *Hold) (*target, error) {
	base, err := url.Parse(config.Host)
	if err != nil {
		return nil, fmt.Errorf("read the address: %w", err)
	}
	tlsConfig, err := rest.TLSConfigFor(config)
	if err != nil {
		return nil, err
	}
	proxy := config.Proxy
	if proxy == nil {
		proxy = utilnet.NewProxierWithNoProxyCIDR(http.ProxyFromEnvironment)
	}
	plain := &http.Transport{
		Proxy: proxy, TLSClientConfig: tlsConfig, TLSHandshakeTimeout: dialTimeout, DisableCompression: config.DisableCompression,
		DialContext:       (&net.Dialer{Timeout: dialTimeout, KeepAlive: PingAfter}).DialContext,
		ForceAttemptHTTP2: true, MaxIdleConnsPerHost: 16, IdleConnTimeout: idleTimeout,
		HTTP2: &http.HTTP2Config{SendPingTimeout: PingAfter, PingTimeout: PingTimeout},
	}
	wrapped := rest.CopyConfig(config)
	if hold != nil {
		wrapped.Wrap(hold.Wrap)
	}
	round, err := rest.HTTPWrappersForConfig(wrapped, plain)
	if err != nil {
		return nil, err
	}
	unbounded := streaming(plain, probing())
	streams, err := rest.HTTPWrappersForConfig(wrapped, unbounded)
	if err != nil {
		return nil, err
	}
	if name == "" {
		name = "at " + base.Host
	}
	closes := func() { plain.CloseIdleConnections(); unbounded.CloseIdleConnections() }
	return &target{name: name, base: base, round: round, streams: streams, closes: closes}, nil
}

// address returns the request as the target gets it.
func (t *target) address(request *http.Request) *http.Request {
	address := *request.URL
	address.Scheme, address.Host = t.base.Scheme, t.base.Host
	if prefix := strings.TrimSuffix(t.base.Path, "/"); prefix != "" {
		address.Path, address.RawPath = prefix+address.Path, ""
	}
	sent := request.WithContext(request.Context()) // a shallow copy: a RoundTripper must not change its request
	sent.URL, sent.Host = &address, t.base.Host
	return sent
}

// RoundTrip sends a request to the current target.
func (l *link) RoundTrip(request *http.Request) (*http.Response, error) {
	to := l.current.Load()
	response, err := to.round.RoundTrip(to.address(request))
	if err != nil {
		broken(request)()
		return nil, err
	}
	return limit(to.name, request, response, WatchIdle)
}

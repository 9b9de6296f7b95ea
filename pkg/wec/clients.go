package wec

import (
	"fmt"
	"net/http"
	"time"

	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
)

// RequestTimeout bounds every request to a WEC except watches. A WEC that hangs costs at most this much of one worker of
// its own queue.
const RequestTimeout = 10 * time.Second

// The client-go default of 5 queries a second is what makes peers slow (reference peers.md §5.1); the WEC's own
// priority and fairness is the limit that counts.
const (
	clientQPS   = 200
	clientBurst = 400
	eventQPS    = 20
	eventBurst  = 50
)

// Clients are the ways to talk to one WEC. All but Watch give up after RequestTimeout. They stay the same when the WEC's address
// or credential changes, see Adopt.
type Clients struct {
	// Objects reads and creates whole Workflows.
	Objects dynamic.Interface
	// Metadata patches and deletes them; the answers carry metadata only.
	Metadata metadata.Interface
	// Watch lists and watches metadata, without a timeout on the stream.
	Watch metadata.Interface
	// Core reaches Namespaces, ServiceAccounts, Leases and what a new namespace needs.
	Core kubernetes.Interface
	// Events lists and watches Events, without a timeout on the stream. It has a limit of its own: Workflows do not wait for it.
	Events corev1client.EventsGetter

	http *http.Client
	link *link
}

// Dial makes the clients for a validated REST config. It does not talk to the cluster; it fails only on a config that no
// client can be made from.
func Dial(config *rest.Config) (*Clients, error) { return DialHeld("", config, nil) }

// DialHeld is Dial with the cluster's name in messages, and with writes that fail with ErrNotHeld while hold is not held.
func DialHeld(name string, config *rest.Config, hold *Hold) (*Clients, error) {
	to, err := newTarget(name, config, hold)
	if err != nil {
		return nil, fmt.Errorf("make a client for %s: %w", config.Host, err)
	}
	c := &Clients{link: &link{}}
	c.link.current.Store(to)
	c.http = c.client(RequestTimeout)
	requests := &rest.Config{Host: anyHost, QPS: clientQPS, Burst: clientBurst, Timeout: RequestTimeout}
	if c.Objects, err = dynamic.NewForConfigAndClient(requests, c.http); err != nil {
		return nil, fmt.Errorf("make a client for %s: %w", config.Host, err)
	}
	if c.Metadata, err = metadata.NewForConfigAndClient(requests, c.http); err != nil {
		return nil, fmt.Errorf("make a client for %s: %w", config.Host, err)
	}
	if c.Core, err = kubernetes.NewForConfigAndClient(requests, c.http); err != nil {
		return nil, fmt.Errorf("make a client for %s: %w", config.Host, err)
	}
	streams := &rest.Config{Host: anyHost, QPS: clientQPS, Burst: clientBurst}
	if c.Watch, err = metadata.NewForConfigAndClient(streams, c.client(0)); err != nil {
		return nil, fmt.Errorf("make a watch client for %s: %w", config.Host, err)
	}
	said := rest.CopyConfig(streams)
	said.QPS, said.Burst = eventQPS, eventBurst
	if c.Events, err = corev1client.NewForConfigAndClient(said, c.client(0)); err != nil {
		return nil, fmt.Errorf("make a client for events of %s: %w", config.Host, err)
	}
	return c, nil
}

// client returns a client that follows no redirect: a WEC could otherwise send the hub, with its token, to any address that
// the hub can reach.
func (c *Clients) client(timeout time.Duration) *http.Client {
	return &http.Client{
		Transport: c.link, Timeout: timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// Adopt makes the clients use the address and credential of others from the next request on. Requests and watches that are
// under way end as they began.
func (c *Clients) Adopt(other *Clients) {
	if before := c.link.current.Swap(other.link.current.Load()); before != nil {
		before.closes()
	}
}

// Close gives back the connections that no request uses.
func (c *Clients) Close() { c.link.current.Load().closes() }

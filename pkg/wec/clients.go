package wec

import (
	"fmt"
	"net/http"
	"time"

	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
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
)

// Clients are the ways to talk to one WEC. All but Watch give up after RequestTimeout.
type Clients struct {
	// Objects reads and creates whole Workflows.
	Objects dynamic.Interface
	// Metadata patches and deletes them; the answers carry metadata only.
	Metadata metadata.Interface
	// Watch lists and watches metadata, without a timeout on the stream.
	Watch metadata.Interface
	// Core reaches Namespaces, ServiceAccounts and what a new namespace needs.
	Core kubernetes.Interface

	http *http.Client
	host string
}

// httpClient returns a client that follows no redirect: a WEC could otherwise send the hub, with its token, to any address that
// the hub can reach.
func httpClient(config *rest.Config) (*http.Client, error) {
	shared, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, err
	}
	own := *shared
	own.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &own, nil
}

// Dial makes the clients for a validated REST config. It does not talk to the cluster; it fails only on a config that no
// client can be made from.
func Dial(config *rest.Config) (*Clients, error) {
	requests := rest.CopyConfig(config)
	requests.Timeout, requests.QPS, requests.Burst = RequestTimeout, clientQPS, clientBurst
	streams := rest.CopyConfig(config)
	streams.Timeout, streams.QPS, streams.Burst = 0, clientQPS, clientBurst

	c := &Clients{host: config.Host}
	var err error
	if c.http, err = httpClient(requests); err != nil {
		return nil, fmt.Errorf("make a client for %s: %w", config.Host, err)
	}
	if c.Objects, err = dynamic.NewForConfigAndClient(requests, c.http); err != nil {
		return nil, fmt.Errorf("make a client for %s: %w", config.Host, err)
	}
	if c.Metadata, err = metadata.NewForConfigAndClient(requests, c.http); err != nil {
		return nil, fmt.Errorf("make a client for %s: %w", config.Host, err)
	}
	if c.Core, err = kubernetes.NewForConfigAndClient(requests, c.http); err != nil {
		return nil, fmt.Errorf("make a client for %s: %w", config.Host, err)
	}
	stream, err := httpClient(streams)
	if err != nil {
		return nil, fmt.Errorf("make a watch client for %s: %w", config.Host, err)
	}
	if c.Watch, err = metadata.NewForConfigAndClient(streams, stream); err != nil {
		return nil, fmt.Errorf("make a watch client for %s: %w", config.Host, err)
	}
	return c, nil
}

package wec

import (
	"crypto/tls"
	"net"
	"net/http"
	"time"
)

// A stream may be silent for hours, so only TCP says whether its peer is alive: one that answers no probe for StreamIdle plus
// StreamProbes times StreamProbe, 75 s, is dead. A network that is cut for less costs nothing. TCP probes only while all is acknowledged that was
// sent, else its own patience counts, a quarter of an hour. TCP_USER_TIMEOUT would bound that, and end streams whose reader is slow.
const (
	StreamIdle   = 15 * time.Second
	StreamProbe  = 15 * time.Second
	StreamProbes = 4
)

// maxStreamHeader bounds what a WEC answers before its stream begins.
const maxStreamHeader = 64 << 10

// Streams returns the transport for logs, exec, attach and port-forward. Each stream has a TCP connection of its own, so that none waits
// for another that nobody reads, and speaks HTTP/1.1, which alone can be upgraded. No time and no size bounds an answer: the caller
// ends it with the request's context. Redirects are answers like others. Of a request's URL only path and query count. Whatever may act
// in a pod fails with ErrNotHeld while the Lease is not held; logs are read without it.
func (c *Clients) Streams() http.RoundTripper { return streams{c.link} }

// streams sends requests to the current target of a link.
type streams struct{ link *link }

// RoundTrip sends a request.
func (s streams) RoundTrip(request *http.Request) (*http.Response, error) {
	to := s.link.current.Load()
	return to.streams.RoundTrip(to.address(request))
}

// probing is how the connections of streams are probed.
func probing() net.KeepAliveConfig {
	return net.KeepAliveConfig{Enable: true, Idle: StreamIdle, Interval: StreamProbe, Count: StreamProbes}
}

// streaming returns a transport for streams that reaches the same as another one.
func streaming(plain *http.Transport, probes net.KeepAliveConfig) *http.Transport {
	t := plain.Clone()
	t.DialContext = (&net.Dialer{Timeout: dialTimeout, KeepAliveConfig: probes}).DialContext
	t.HTTP2, t.ForceAttemptHTTP2 = nil, false
	t.Protocols = &http.Protocols{}
	t.Protocols.SetHTTP1(true)
	t.TLSNextProto = map[string]func(string, *tls.Conn) http.RoundTripper{}
	if t.TLSClientConfig != nil {
		t.TLSClientConfig.NextProtos = []string{"http/1.1"}
	}
	t.MaxResponseHeaderBytes = maxStreamHeader
	t.DisableCompression = true // what is unpacked comes in blocks, not line by line
	return t
}

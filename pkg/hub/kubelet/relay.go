package kubelet

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
	"stellarflow.io/stellarflow/pkg/wec"
)

// relay answers a request with what a WEC answers. It copies while both sides keep up: who does not read holds up its own stream only.
// It returns when either side has ended.
type relay struct {
	ask     ask
	cluster stellarflow.ClusterName
	streams http.RoundTripper
	check   func(context.Context) error
	done    <-chan struct{}
}

// buffers are what is copied with; a stream holds one while it lasts.
var buffers = pool{sync.Pool{New: func() any { return new([bufferSize]byte) }}}

const (
	bufferSize = 32 << 10
	// maxText and textWithin bound what is read of a refusal.
	maxText    = 16 << 10
	textWithin = 10 * time.Second
	// maxShown bounds what is quoted of it.
	maxShown = 1024
)

type pool struct{ sync.Pool }

// Get returns a buffer.
func (p *pool) Get() []byte {
	buffer, ok := p.Pool.Get().(*[bufferSize]byte)
	if !ok {
		buffer = new([bufferSize]byte)
	}
	return buffer[:]
}

// Put gives one back.
func (p *pool) Put(buffer []byte) {
	if len(buffer) == bufferSize {
		p.Pool.Put((*[bufferSize]byte)(buffer))
	}
}

// quiet takes what a proxy logs: that a caller or a cluster has ended a stream is no news.
var quiet = log.New(io.Discard, "", 0)

func (r relay) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	proxy := httputil.ReverseProxy{
		Rewrite:       r.rewrite,
		Transport:     exchange{r, request.Context()},
		FlushInterval: -1,
		BufferPool:    &buffers,
		ErrorLog:      quiet,
		ErrorHandler: func(w http.ResponseWriter, request *http.Request, err error) {
			r.unanswered(request.Context(), err).write(w)
		},
	}
	proxy.ServeHTTP(whole{w, request.Context()}, request)
}

// rewrite makes the request to the WEC. Method and upgrade are the caller's.
func (r relay) rewrite(p *httputil.ProxyRequest) {
	connection, upgrade := p.Out.Header.Get("Connection"), p.Out.Header.Get("Upgrade")
	p.Out.Header = headersFor(p.In.Header)
	if upgrade != "" && r.ask.kind != kindLog {
		p.Out.Header.Set("Connection", connection)
		p.Out.Header.Set("Upgrade", upgrade)
	}
	p.Out.URL.Scheme, p.Out.URL.Host, p.Out.Host = "https", "wec", ""
	p.Out.URL.Path, p.Out.URL.RawPath, p.Out.URL.RawQuery = r.ask.path, "", r.ask.query.Encode()
	p.Out.Body, p.Out.ContentLength, p.Out.TransferEncoding, p.Out.Trailer = nil, 0, nil, nil
}

// checked asks whether the pod is the one that is meant, before anything acts in it.
func (r relay) checked(ctx context.Context) *refusal {
	if r.check == nil || r.ask.kind == kindLog {
		return nil
	}
	bounded, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	err := r.check(bounded)
	if err == nil {
		return nil
	}
	var unsent *url.Error
	if bounded.Err() != nil || errors.As(err, &unsent) || errors.Is(err, wec.ErrNotHeld) {
		return r.unanswered(ctx, err)
	}
	code := http.StatusConflict
	if apierrors.IsNotFound(err) {
		code = http.StatusNotFound
	}
	return &refusal{code, fmt.Sprintf("cluster %s: pod %s: %s", r.cluster, r.ask.pod, stellarflow.OneLine(err.Error(), maxShown))}
}

// unanswered says why no answer came to a request with this context. Without a word an aborted request would look like an empty log.
func (r relay) unanswered(ctx context.Context, err error) *refusal {
	switch {
	case errors.Is(context.Cause(ctx), errGone):
		return &refusal{http.StatusNotFound, fmt.Sprintf("cluster %s: pod %s: %v: its Workflow has left the cluster or is gone, its policy shows no pods, or the cluster has left", r.cluster, r.ask.pod, errGone)}
	case ctx.Err() != nil:
		return &refusal{http.StatusServiceUnavailable, fmt.Sprintf("cluster %s: pod %s: this hub manager ends: try again in some seconds", r.cluster, r.ask.pod)}
	}
	return r.explain(err)
}

// explain says why a cluster is not reached.
func (r relay) explain(err error) *refusal {
	shown := map[bool]string{true: "its logs are shown when it is back", false: "try again when it is back"}[r.ask.kind == kindLog]
	if errors.Is(err, wec.ErrNotHeld) {
		return &refusal{http.StatusServiceUnavailable, fmt.Sprintf("cluster %s: %v: try again in some seconds", r.cluster, err)}
	}
	return &refusal{http.StatusBadGateway, fmt.Sprintf("cluster %s cannot be reached for pod %s: %s: %s", r.cluster, r.ask.pod, wec.Plain(err), shown)}
}

// exchange sends the request to the WEC and lets through of its answer what may reach a caller. The context is the caller's, without what
// a proxy adds to it to pass on informational answers.
type exchange struct {
	relay
	ctx context.Context //nolint:containedctx // of one request
}

// RoundTrip sends it.
func (e exchange) RoundTrip(request *http.Request) (*http.Response, error) {
	answer, err := e.streams.RoundTrip(request.WithContext(e.ctx))
	if err != nil {
		return nil, err
	}
	upgraded := e.ask.kind != kindLog && answer.StatusCode == http.StatusSwitchingProtocols && strings.EqualFold(answer.Header.Get("Upgrade"), request.Header.Get("Upgrade"))
	passed := &http.Response{ // a new one: trailers are not passed on
		StatusCode: answer.StatusCode, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: headersOf(answer.Header, upgraded), Body: answer.Body,
		ContentLength: -1, Request: request,
	}
	switch {
	case upgraded:
		both, ok := answer.Body.(io.ReadWriteCloser)
		if !ok {
			_ = answer.Body.Close()
			return nil, errors.New("it switched to another protocol on a connection that cannot be written to")
		}
		// What is written for a body of unknown length, or for an answer to POST, is "Connection: close" and a length, of which an API server takes the
		// first for a refusal to upgrade.
		passed.Body, passed.ContentLength, passed.Request = end{both}, 0, nil
		return passed, nil
	case answer.StatusCode == http.StatusOK && e.ask.kind == kindLog:
		passed.Body = logBody{answer.Body, e.ctx}
		return passed, nil
	}
	said := e.refused(answer)
	passed.StatusCode, passed.Body = said.code, io.NopCloser(strings.NewReader(said.text))
	return passed, nil
}

// refused says what the WEC's API server says instead of a stream. What it knows of the hub's credential is not the caller's to mend.
func (e exchange) refused(answer *http.Response) *refusal {
	defer func() { _ = answer.Body.Close() }()
	var raw []byte
	if answer.StatusCode >= http.StatusBadRequest { // below that there may be no end to it
		defer time.AfterFunc(textWithin, func() { _ = answer.Body.Close() }).Stop()
		raw, _ = io.ReadAll(io.LimitReader(answer.Body, maxText))
	}
	var status metav1.Status
	text := strings.TrimSpace(string(raw))
	if json.Unmarshal(raw, &status) == nil && status.Message != "" {
		text = status.Message
	}
	text = stellarflow.OneLine(text, maxShown)
	switch code := answer.StatusCode; {
	case code == http.StatusUnauthorized:
		return &refusal{http.StatusBadGateway, fmt.Sprintf("cluster %s rejects the hub's credential: join it again with `stellarflow join %s`", e.cluster, e.cluster)}
	case code == http.StatusForbidden:
		return &refusal{http.StatusForbidden, fmt.Sprintf("cluster %s does not let the hub do this: %s: its ClusterRole stellarflow-wec-streams says what the hub may", e.cluster, text)}
	case code >= 400 && code <= 599:
		return &refusal{code, fmt.Sprintf("cluster %s: %s", e.cluster, text)}
	default:
		return &refusal{http.StatusBadGateway, fmt.Sprintf("cluster %s answers with status %d, which is not followed: check what answers at its address", e.cluster, code)}
	}
}

// logBody is a body that ends only if the log did: a cluster that sees us go may say that all was said.
type logBody struct {
	io.ReadCloser
	ctx context.Context //nolint:containedctx // of one request
}

// Read reads on.
func (l logBody) Read(p []byte) (int, error) {
	n, err := l.ReadCloser.Read(p)
	if err != nil && l.ctx.Err() != nil {
		err = l.ctx.Err()
	}
	return n, err
}

// end is a connection without a way to end one direction alone: the end of either is the end of both, as in an API server
// (k8s.io/apimachinery pkg/util/proxy, UpgradeAwareHandler).
type end struct{ io.ReadWriteCloser }

// whole is a ResponseWriter whose connection, once it is taken over, ends as a whole and with the request's context.
type whole struct {
	http.ResponseWriter
	ctx context.Context //nolint:containedctx // of one request
}

// Unwrap is for http.ResponseController.
func (w whole) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// Hijack takes the connection over.
func (w whole) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	connection, buffered, err := http.NewResponseController(w.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	context.AfterFunc(w.ctx, func() { _ = connection.Close() })
	return struct{ net.Conn }{connection}, buffered, nil
}

// write answers with the refusal.
func (r *refusal) write(w http.ResponseWriter) {
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("X-Content-Type-Options", "nosniff")
	if r.code == http.StatusUnauthorized || r.code == http.StatusForbidden { // who may do nothing holds no connection
		w.Header().Set("Connection", "close")
	}
	w.WriteHeader(r.code)
	_, _ = io.WriteString(w, r.text) //nolint:gosec // plain text, and never taken for anything else
}

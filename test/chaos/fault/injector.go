package fault

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// errLost is what a request sees whose answer does not come.
var errLost = errors.New("chaos: no answer")

// Injector wraps transports. It is safe for several goroutines.
type Injector struct {
	path   string
	exitAt int
	before bool

	mu       sync.Mutex
	lots     *rand.Rand
	settings Settings
	read     time.Time
	writes   int
	cached   map[string]answer
	named    map[string]bool
	expired  map[string]bool // hosts whose next watch is sent to list anew
	die      func()
}

// answer is one that may be given again.
type answer struct {
	header http.Header
	body   []byte
}

// NewInjector returns an injector that obeys the file at path and dies at exit (see EnvExit; empty for never).
func NewInjector(path, exit string, seed uint64) (*Injector, error) {
	i := &Injector{
		path: path, lots: rand.New(rand.NewPCG(seed, 1)), cached: map[string]answer{}, named: map[string]bool{}, expired: map[string]bool{},
		die: func() { _ = syscall.Kill(os.Getpid(), syscall.SIGKILL) },
	}
	if exit == "" {
		return i, nil
	}
	when, at, _ := strings.Cut(exit, ":")
	var err error
	if i.exitAt, err = strconv.Atoi(at); err != nil || when != "before" && when != "after" {
		return nil, fmt.Errorf("%s=%q is neither before:K nor after:K", EnvExit, exit)
	}
	i.before = when == "before"
	return i, nil
}

type roundTripper func(*http.Request) (*http.Response, error)

// RoundTrip calls the function.
func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// Wrap returns a transport that breaks what next would do.
func (i *Injector) Wrap(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(r *http.Request) (*http.Response, error) {
		setting, lot := i.draw(r)
		dies := i.counts(r)
		if dies && i.before {
			i.die()
			return nil, errLost
		}
		response, err := i.pass(next, r, setting, lot)
		if dies {
			i.die()
		}
		return response, err
	})
}

// draw returns what is broken for a request, and its lot.
func (i *Injector) draw(r *http.Request) (Setting, float64) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if now := time.Now(); now.Sub(i.read) > Notice/5 {
		i.read = now
		if settings, err := read(i.path); err == nil {
			i.settings = settings
		}
	}
	setting := i.settings[r.URL.Host]
	if setting.Empty {
		i.expired[r.URL.Host] = true
	}
	return setting, i.lots.Float64()
}

// expire reports whether a watch of Workflows is to be sent to list anew: while lists are empty, and once afterwards.
func (i *Injector) expire(r *http.Request, s Setting) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	if !strings.HasSuffix(r.URL.Path, "/workflows") || r.URL.Query().Get("watch") == "" || !i.expired[r.URL.Host] {
		return false
	}
	if !s.Empty {
		delete(i.expired, r.URL.Host)
	}
	return true
}

// counts reports whether a request is the write to die at. Writes are those to Workflows: leases and events are no gap.
func (i *Injector) counts(r *http.Request) bool {
	if r.Method == http.MethodGet || !isWorkflow(r) {
		return false
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.writes++
	return i.writes == i.exitAt
}

func isWorkflow(r *http.Request) bool {
	return strings.Contains(r.URL.Path, "/apis/argoproj.io/v1alpha1/") && strings.Contains(r.URL.Path, "/workflows")
}

// one reports whether a request is for one Workflow, and its name.
func one(r *http.Request) (string, bool) {
	_, name, found := strings.Cut(r.URL.Path, "/workflows/")
	return name, found && isWorkflow(r) && !strings.Contains(name, "/")
}

// pass sends a request on, or does what its lot says. A lot falls into one of the rates, which follow each other.
func (i *Injector) pass(next http.RoundTripper, r *http.Request, s Setting, lot float64) (*http.Response, error) {
	if s.Empty && listsWorkflows(r) || s.Named && i.first(r) || i.expire(r, s) {
		return i.deny(next, r)
	}
	if _, found := one(r); s.Missing && found && r.Method == http.MethodGet {
		return refuse(r, Setting{Answer: http.StatusNotFound}), nil
	}
	if r.URL.Query().Get("watch") != "" {
		return next.RoundTrip(r)
	}
	for _, what := range []struct {
		rate float64
		do   func() (*http.Response, error)
	}{
		{s.Rate, func() (*http.Response, error) { return refuse(r, s), nil }},
		{s.Drop, func() (*http.Response, error) { return nil, errLost }},
		{s.Lose, func() (*http.Response, error) {
			if response, err := next.RoundTrip(r); err == nil {
				_, _ = io.Copy(io.Discard, response.Body)
				_ = response.Body.Close()
			}
			return nil, errLost
		}},
		{s.Delay, func() (*http.Response, error) { return i.late(next, r) }},
		{s.Stale, func() (*http.Response, error) { return i.again(next, r) }},
	} {
		if lot < what.rate {
			return what.do()
		}
		lot -= what.rate
	}
	return i.skewed(next, r, s)
}

// listsWorkflows reports whether a request asks for all Workflows, by a list or by a watch that begins with one.
func listsWorkflows(r *http.Request) bool {
	query := r.URL.Query()
	return r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, "/workflows") && query.Get("limit") != "1" &&
		(query.Get("watch") == "" || query.Get("sendInitialEvents") == "true") // other watches: see expire
}

// first reports whether this is the first GET of a Workflow.
func (i *Injector) first(r *http.Request) bool {
	if _, found := one(r); !found || r.Method != http.MethodGet {
		return false
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	known := i.named[r.URL.Host+r.URL.Path]
	i.named[r.URL.Host+r.URL.Path] = true
	return !known
}

// deny says that what is asked for does not exist: one Workflow, or all. A watch that would begin with a list is sent to list first,
// as API servers that cannot do it answer.
func (i *Injector) deny(next http.RoundTripper, r *http.Request) (*http.Response, error) {
	header := http.Header{"Content-Type": {"application/json"}}
	if name, found := one(r); found {
		return respond(r, http.StatusNotFound, header, fmt.Appendf(nil, `{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure",`+
			`"message":"workflows.argoproj.io %q not found","reason":"NotFound","details":{"name":%q,"group":"argoproj.io","kind":"workflows"},"code":404}`, name, name)), nil
	}
	if r.URL.Query().Get("sendInitialEvents") == "true" {
		return respond(r, http.StatusUnprocessableEntity, header, []byte(`{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure",`+
			`"message":"sendInitialEvents is forbidden","reason":"Invalid","details":{"causes":[{"message":"forbidden","field":"sendInitialEvents"}]},"code":422}`)), nil
	}
	if r.URL.Query().Get("watch") != "" {
		return respond(r, http.StatusGone, header, []byte(`{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure",`+
			`"message":"too old resource version","reason":"Expired","code":410}`)), nil
	}
	readable := r.Clone(r.Context())
	readable.Header.Set("Accept", "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1") // not protobuf
	response, err := next.RoundTrip(readable)
	if err != nil || response.StatusCode != http.StatusOK {
		return response, err
	}
	defer func() { _ = response.Body.Close() }()
	var list struct {
		Metadata struct {
			ResourceVersion string `json:"resourceVersion"`
		} `json:"metadata"`
	}
	if err := json.NewDecoder(response.Body).Decode(&list); err != nil {
		return nil, err
	}
	return respond(r, http.StatusOK, header, fmt.Appendf(nil, `{"kind":"PartialObjectMetadataList","apiVersion":"meta.k8s.io/v1","metadata":{"resourceVersion":%q},"items":[]}`,
		list.Metadata.ResourceVersion)), nil
}

// skewed passes a request on, remembers the answer to a GET of a Workflow and moves its Date.
func (i *Injector) skewed(next http.RoundTripper, r *http.Request, s Setting) (*http.Response, error) {
	response, err := next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	if date, err := http.ParseTime(response.Header.Get("Date")); err == nil && s.Skew != 0 {
		response.Header.Set("Date", date.Add(s.Skew).UTC().Format(http.TimeFormat))
	}
	if _, found := one(r); s.Stale == 0 || !found || r.Method != http.MethodGet || response.StatusCode != http.StatusOK {
		return response, nil
	}
	body, err := io.ReadAll(response.Body)
	_ = response.Body.Close()
	if err != nil {
		return nil, err
	}
	i.mu.Lock()
	if _, found := i.cached[key(r)]; !found {
		i.cached[key(r)] = answer{response.Header.Clone(), body}
	}
	i.mu.Unlock()
	response.Body = io.NopCloser(bytes.NewReader(body))
	return response, nil
}

func key(r *http.Request) string { return r.URL.Host + r.URL.Path + r.Header.Get("Accept") }

// again answers a GET of a Workflow as an earlier one was, if there was one.
func (i *Injector) again(next http.RoundTripper, r *http.Request) (*http.Response, error) {
	i.mu.Lock()
	cached, found := i.cached[key(r)]
	i.mu.Unlock()
	if !found || r.Method != http.MethodGet {
		return next.RoundTrip(r)
	}
	return respond(r, http.StatusOK, cached.header.Clone(), cached.body), nil
}

// late lets a write arrive after its sender has given up. Reads are just lost.
func (i *Injector) late(next http.RoundTripper, r *http.Request) (*http.Response, error) {
	if r.Method == http.MethodGet {
		return nil, errLost
	}
	var body []byte
	if r.Body != nil {
		var err error
		if body, err = io.ReadAll(r.Body); err != nil {
			return nil, err
		}
		_ = r.Body.Close()
	}
	i.mu.Lock()
	delay := time.Duration(i.lots.Int64N(int64(Late)))
	i.mu.Unlock()
	detached := r.Clone(context.WithoutCancel(r.Context()))
	detached.Body = io.NopCloser(bytes.NewReader(body))
	time.AfterFunc(delay, func() {
		if response, err := next.RoundTrip(detached); err == nil {
			_ = response.Body.Close()
		}
	})
	return nil, errLost
}

// refuse answers as something in between does.
func refuse(r *http.Request, s Setting) *http.Response {
	header, body := http.Header{"Content-Type": {"text/html"}}, "<html><body>"+http.StatusText(s.Answer)+"</body></html>\n"
	return respond(r, s.Answer, header, []byte(body))
}

func respond(r *http.Request, status int, header http.Header, body []byte) *http.Response {
	return &http.Response{
		Status: strconv.Itoa(status) + " " + http.StatusText(status), StatusCode: status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: header, Body: io.NopCloser(bytes.NewReader(body)), ContentLength: int64(len(body)), Request: r,
	}
}

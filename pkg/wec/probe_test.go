package wec

import (
	"context"
	"crypto/tls"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/rest"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

// now is the hub's clock.
var now = time.Date(2026, 3, 4, 5, 6, 7, 800_000_000, time.UTC)

// fakeAPI is an API server as far as a probe sees it.
type fakeAPI map[string]http.HandlerFunc

const (
	versionPath   = "/version"
	systemPath    = "/api/v1/namespaces/kube-system"
	workflowsPath = "/apis/argoproj.io/v1alpha1/workflows"
)

// answer is a handler that answers with JSON.
func answer(code int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(code)
		_, _ = io.WriteString(w, body)
	}
}

// status is an API server's refusal.
func status(code int, reason string) http.HandlerFunc {
	return answer(code, fmt.Sprintf(`{"kind":"Status","apiVersion":"v1","status":"Failure","reason":%q,"code":%d,"message":"no"}`, reason, code))
}

// healthy is a WEC with Argo; changes replace single answers.
func healthy(changes fakeAPI) fakeAPI {
	a := fakeAPI{
		versionPath:   answer(200, `{"major":"1","minor":"34","gitVersion":"v1.34.4"}`),
		systemPath:    answer(200, `{"kind":"Namespace","apiVersion":"v1","metadata":{"name":"kube-system","uid":"id-1"}}`),
		workflowsPath: answer(200, `{"kind":"PartialObjectMetadataList","apiVersion":"meta.k8s.io/v1","metadata":{"resourceVersion":"1"},"items":[]}`),
	}
	for path, handler := range changes {
		a[path] = handler
	}
	return a
}

// ServeHTTP answers with the hub's time unless a handler says otherwise, and only to the token.
func (a fakeAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	handler, found := a[r.URL.Path]
	if !found || r.Header.Get("Authorization") != "Bearer secret-token" {
		http.Error(w, "unexpected", http.StatusTeapot)
		return
	}
	w.Header().Set("Date", now.Format(http.TimeFormat))
	handler(w, r)
}

// dial starts a TLS server and returns the clients for it.
func dial(t *testing.T, handler http.Handler, configure ...func(*http.Server)) (*Clients, *httptest.Server) {
	t.Helper()
	server := httptest.NewUnstartedServer(handler)
	server.Config.ErrorLog = nil
	for _, f := range configure {
		f(server.Config)
	}
	server.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
	server.StartTLS()
	t.Cleanup(server.Close)
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	clients, err := Dial(&rest.Config{Host: server.URL, BearerToken: "secret-token", TLSClientConfig: rest.TLSClientConfig{CAData: ca}})
	if err != nil {
		t.Fatal(err)
	}
	return clients, server
}

func at(date time.Time) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Date", date.Format(http.TimeFormat))
		answer(200, `{"gitVersion":"v1.34.4"}`)(w, r)
	}
}

func TestProbe(t *testing.T) {
	all := Facts{ID: "id-1", Version: "v1.34.4"}
	unreachable := func(action, why string) *Trouble {
		return &Trouble{ReasonUnreachable, "cannot " + action + ": " + why + ": check the cluster and the network between it and the hub"}
	}
	const renew = "the cluster rejects the hub's token: run `stellarflow join` again to renew it"
	cases := map[string]struct {
		reason  string
		changes fakeAPI
		facts   Facts
		trouble *Trouble
	}{
		"Healthy": {"it can be used", nil, all, nil},
		"NoDate": {"a proxy may take the header away: no skew is known", fakeAPI{versionPath: func(w http.ResponseWriter, r *http.Request) {
			w.Header()["Date"] = nil
			answer(200, `{"gitVersion":"v1.34.4"}`)(w, r)
		}}, all, nil},
		"OddDate": {"a header that is no date", fakeAPI{versionPath: func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Date", "today")
			answer(200, `{"gitVersion":"v1.34.4"}`)(w, r)
		}}, all, nil},
		"SlightSkew":  {"a minute is borne", fakeAPI{versionPath: at(now.Add(time.Minute))}, Facts{ID: "id-1", Version: "v1.34.4", Skew: 59 * time.Second}, nil},
		"Unnamed":     {"a version that is missing is no reason", fakeAPI{versionPath: answer(200, `{}`)}, Facts{ID: "id-1"}, nil},
		"Ahead":       {"Argo's times would order wrongly", fakeAPI{versionPath: at(now.Add(62 * time.Second))}, Facts{ID: "id-1", Version: "v1.34.4", Skew: 61 * time.Second}, &Trouble{ReasonClockSkew, "the cluster's clock differs from the hub's by more than 1m0s: synchronise both with NTP"}},
		"Behind":      {"also the other way", fakeAPI{versionPath: at(now.Add(-62 * time.Second))}, Facts{ID: "id-1", Version: "v1.34.4", Skew: -62 * time.Second}, &Trouble{ReasonClockSkew, "the cluster's clock differs from the hub's by more than 1m0s: synchronise both with NTP"}},
		"TokenAtOnce": {"the token was revoked", fakeAPI{versionPath: status(401, "Unauthorized")}, Facts{}, &Trouble{ReasonUnauthorized, renew}},
		"TokenLater":  {"where /version is open to everybody", fakeAPI{systemPath: status(401, "Unauthorized")}, Facts{Version: "v1.34.4"}, &Trouble{ReasonUnauthorized, renew}},
		"TokenLast":   {"at the last request", fakeAPI{workflowsPath: status(401, "Unauthorized")}, all, &Trouble{ReasonUnauthorized, renew}},
		"NoIdentity":  {"the ClusterRole was changed", fakeAPI{systemPath: status(403, "Forbidden")}, Facts{Version: "v1.34.4"}, &Trouble{ReasonForbidden, "the hub may not read namespace kube-system there: run `stellarflow join` again to restore its rights"}},
		"NoList":      {"the ClusterRole was changed", fakeAPI{workflowsPath: status(403, "Forbidden")}, all, &Trouble{ReasonForbidden, "the hub may not list workflows.argoproj.io there: run `stellarflow join` again to restore its rights"}},
		"VersionShut": {"a proxy in front", fakeAPI{versionPath: status(403, "Forbidden")}, Facts{}, unreachable("read /version", "the answer was 403 Forbidden")},
		"NoArgo":      {"the CRD is not installed", fakeAPI{workflowsPath: answer(404, "404 page not found")}, all, &Trouble{ReasonArgoMissing, "the cluster does not serve workflows.argoproj.io/v1alpha1: install Argo Workflows there"}},
		"Broken":      {"a load balancer without a backend", fakeAPI{versionPath: answer(503, "no")}, Facts{}, unreachable("read /version", "the answer was 503 Service Unavailable")},
		"NoJSON":      {"a login page", fakeAPI{versionPath: answer(200, "<html>")}, Facts{}, unreachable("read /version", "the answer is not a Kubernetes version: invalid character '<' looking for beginning of value")},
		"Redirect":    {"the hub follows nobody anywhere", fakeAPI{versionPath: func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/elsewhere", http.StatusFound) }}, Facts{}, unreachable("read /version", "the answer was 302 Found")},
		"CutShort": {"the connection ends in the answer", fakeAPI{versionPath: func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			w.WriteHeader(200)
		}}, Facts{}, unreachable("read /version", "EOF")},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			clients, _ := dial(t, healthy(tc.changes))
			if tc.trouble == nil || tc.trouble.Reason == ReasonClockSkew { // it got as far as the list
				tc.facts.ResourceVersion = 1
			}
			facts, err := clients.Probe(t.Context(), func() time.Time { return now })
			if diff := cmp.Diff(tc.facts, facts); diff != "" {
				t.Errorf("%s: facts -want +got:\n%s", tc.reason, diff)
			}
			var trouble *Trouble
			if err != nil && !errors.As(err, &trouble) {
				t.Fatalf("the error is no Trouble: %v", err)
			}
			if diff := cmp.Diff(tc.trouble, trouble); diff != "" {
				t.Errorf("%s: trouble -want +got:\n%s", tc.reason, diff)
			}
		})
	}
}

func TestProbeServerError(t *testing.T) {
	for path, action := range map[string]string{systemPath: "read namespace kube-system", workflowsPath: "list workflows.argoproj.io"} {
		clients, _ := dial(t, healthy(fakeAPI{path: status(500, "InternalError")}))
		_, err := clients.Probe(t.Context(), func() time.Time { return now })
		var trouble *Trouble
		if !errors.As(err, &trouble) || trouble.Reason != ReasonUnreachable || !strings.HasPrefix(trouble.Message, "cannot "+action+": ") {
			t.Errorf("500 at %s gives %v", path, err)
		}
	}
}

// TestRedirectGetsNoRequest: neither the probe nor any client carries the token to another address.
func TestRedirectGetsNoRequest(t *testing.T) {
	asked := make(chan string, 10)
	elsewhere := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { asked <- r.URL.Path }))
	defer elsewhere.Close()
	redirect := func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, elsewhere.URL+r.URL.Path, http.StatusTemporaryRedirect)
	}
	clients, _ := dial(t, fakeAPI{versionPath: redirect, systemPath: redirect, workflowsPath: redirect})
	if _, err := clients.Probe(t.Context(), func() time.Time { return now }); err == nil {
		t.Error("the probe is content")
	}
	if _, err := clients.Core.CoreV1().Namespaces().Get(t.Context(), "kube-system", getOptions); err == nil {
		t.Error("a read is content")
	}
	if _, err := clients.Watch.Resource(stellarflow.Workflows).List(t.Context(), listOptions); err == nil {
		t.Error("a list is content")
	}
	select {
	case path := <-asked:
		t.Errorf("the other address was asked for %s", path)
	default:
	}
}

func TestProbeOfAClusterThatHangs(t *testing.T) {
	reached, release := make(chan struct{}), make(chan struct{})
	clients, _ := dial(t, healthy(fakeAPI{systemPath: func(_ http.ResponseWriter, r *http.Request) {
		close(reached)
		select {
		case <-release:
		case <-r.Context().Done():
		}
		panic(http.ErrAbortHandler) // a return would answer with nothing, and may be read before the end of the request
	}}))
	defer close(release)
	ctx, giveUp := context.WithCancel(t.Context()) // when it hangs, however long it takes until then
	go func() { <-reached; giveUp() }()
	facts, err := clients.Probe(ctx, func() time.Time { return now })
	var trouble *Trouble
	if !errors.As(err, &trouble) || trouble.Message != "cannot read namespace kube-system: context canceled: check the cluster and the network between it and the hub" {
		t.Errorf("the error is %v", err)
	}
	if facts.Version != "v1.34.4" {
		t.Errorf("what is known so far is %+v", facts)
	}
}

func TestProbeWithoutConnection(t *testing.T) {
	closed, server := dial(t, healthy(nil))
	server.Close()
	for why, clients := range map[string]*Clients{"connection refused": closed} {
		_, err := clients.Probe(t.Context(), func() time.Time { return now })
		var trouble *Trouble
		if !errors.As(err, &trouble) || trouble.Reason != ReasonUnreachable || !strings.Contains(trouble.Message, why) {
			t.Errorf("want %q, got %v", why, err)
		}
	}
}

func TestSkew(t *testing.T) {
	second := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	sent := second.Add(900 * time.Millisecond)
	cases := map[string]struct {
		reason   string
		date     time.Time
		received time.Time
		want     time.Duration
	}{
		"SameSecond":    {"the header is cut to the second", second, sent, 0},
		"While":         {"answered while we waited", second.Add(2 * time.Second), sent.Add(3 * time.Second), 0},
		"AtTheEnd":      {"answered at the very end", second.Add(3 * time.Second), second.Add(3 * time.Second), 0},
		"Behind":        {"before we asked", second.Add(-time.Second), sent, -time.Second},
		"FarBehind":     {"an hour", second.Add(-time.Hour), sent.Add(time.Second), -time.Hour},
		"Ahead":         {"after we heard, to the second", second.Add(5 * time.Second), sent, 4 * time.Second},
		"BarelyAhead":   {"less than a second is none", second.Add(time.Second), sent, 0},
		"SlowAnswer":    {"a slow answer is no skew", second.Add(9 * time.Second), sent.Add(9 * time.Second), 0},
		"OtherTimeZone": {"zones mean nothing", second.In(time.FixedZone("X", 3600)), sent, 0},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			if got := Skew(tc.date, sent, tc.received); got != tc.want {
				t.Errorf("%s: Skew() = %s, want %s", tc.reason, got, tc.want)
			}
		})
	}
}

func TestPlain(t *testing.T) {
	for text, want := range map[string]string{
		"dial tcp 10.0.0.1:6443: connect: connection refused":                                "connection refused",
		`Get "https://x": read tcp 10.0.0.2:41234->10.0.0.1:6443: i/o timeout`:               "i/o timeout",
		`Get "https://x": net/http: TLS handshake: EOF`:                                      "EOF",
		`tls: failed to verify certificate: x509: certificate signed by unknown authority`:   "certificate signed by unknown authority",
		"x509: certificate has expired or is not yet valid: current time 2026 is after 2025": "certificate has expired",
		"something new": "something new",
	} {
		if got := Plain(errors.New(text)); got != want {
			t.Errorf("Plain(%q) = %q, want %q: a message with a port in it would change each time", text, got, want)
		}
	}
}

func TestTroubleOf(t *testing.T) {
	trouble := &Trouble{ReasonChanged, "other"}
	if got := troubleOf(fmt.Errorf("wrapped: %w", trouble), "x"); got != trouble {
		t.Errorf("a Trouble becomes %v", got)
	}
	if got := troubleOf(fmt.Errorf("wrapped: %w", apierrors.NewUnauthorized("no")), "x"); got.Reason != ReasonUnauthorized || got.Error() != got.Message {
		t.Errorf("401 becomes %v", got)
	}
}

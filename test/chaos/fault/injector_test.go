package fault

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

const workflowPath = "/apis/argoproj.io/v1alpha1/namespaces/ns/workflows/w"

// broken is a server behind an injector with one setting.
type broken struct {
	client *http.Client
	url    string
	served *atomic.Int64
	path   string
	host   string
}

func newBroken(t *testing.T, exit string, setting Setting, died func()) broken {
	t.Helper()
	served := &atomic.Int64{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := served.Add(1)
		w.Header().Set("Date", "Fri, 02 Jan 2026 03:04:05 GMT")
		if r.URL.Path == workflowPath && r.Method == http.MethodGet {
			_, _ = w.Write([]byte(strings.Repeat("x", int(n))))
			return
		}
		_, _ = w.Write([]byte(`{"metadata":{"resourceVersion":"7"},"items":[{}]}`))
	}))
	t.Cleanup(server.Close)
	path := filepath.Join(t.TempDir(), "faults")
	b := broken{url: server.URL, served: served, path: path, host: strings.TrimPrefix(server.URL, "http://")}
	b.set(t, setting)
	injector, err := NewInjector(path, exit, 1)
	if err != nil {
		t.Fatal(err)
	}
	injector.die = died
	b.client = &http.Client{Transport: injector.Wrap(http.DefaultTransport)}
	return b
}

func (b broken) set(t *testing.T, setting Setting) {
	t.Helper()
	if err := Write(b.path, Settings{b.host: setting}); err != nil {
		t.Fatal(err)
	}
	time.Sleep(Notice)
}

func (b broken) do(t *testing.T, method, path string) (int, http.Header, string, error) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, b.url+path, strings.NewReader("body"))
	if err != nil {
		t.Fatal(err)
	}
	response, err := b.client.Do(request)
	if err != nil {
		return 0, nil, "", err
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	return response.StatusCode, response.Header, string(body), err
}

func TestInjector(t *testing.T) {
	const list, watch = "/apis/argoproj.io/v1alpha1/workflows", "/apis/argoproj.io/v1alpha1/workflows?watch=true&resourceVersion=3"
	cases := map[string]struct {
		reason       string
		setting      Setting
		method, path string
		status       int // 0 for no answer
		body         string
		served       int64
	}{
		"Nothing":    {"nothing is broken", Setting{}, http.MethodGet, workflowPath, 200, "x", 1},
		"Answer":     {"a proxy's answer", Setting{Answer: 403, Rate: 1}, http.MethodPatch, workflowPath, 403, "<html><body>Forbidden</body></html>\n", 0},
		"NoWatch":    {"streams are left alone", Setting{Answer: 403, Rate: 1}, http.MethodGet, watch, 200, `{"metadata":{"resourceVersion":"7"},"items":[{}]}`, 1},
		"Drop":       {"the request is lost", Setting{Drop: 1}, http.MethodPost, workflowPath, 0, "", 0},
		"Lose":       {"the answer is lost", Setting{Lose: 1}, http.MethodPost, workflowPath, 0, "", 1},
		"Empty":      {"a list of nothing", Setting{Empty: true}, http.MethodGet, list, 200, `{"kind":"PartialObjectMetadataList","apiVersion":"meta.k8s.io/v1","metadata":{"resourceVersion":"7"},"items":[]}`, 1},
		"EmptyProbe": {"the probe's list of one", Setting{Empty: true}, http.MethodGet, list + "?limit=1", 200, `{"metadata":{"resourceVersion":"7"},"items":[{}]}`, 1},
		"EmptyWatch": {"list again", Setting{Empty: true}, http.MethodGet, watch, 410, `{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"too old resource version","reason":"Expired","code":410}`, 0},
		"Missing":    {"a proxy finds nothing", Setting{Missing: true}, http.MethodGet, workflowPath, 404, "<html><body>Not Found</body></html>\n", 0},
		"MissingPut": {"but lets writes through", Setting{Missing: true}, http.MethodPatch, workflowPath, 200, `{"metadata":{"resourceVersion":"7"},"items":[{}]}`, 1},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			b := newBroken(t, "", tc.setting, nil)
			status, _, body, err := b.do(t, tc.method, tc.path)
			if status != tc.status || body != tc.body || b.served.Load() != tc.served || (err == nil) != (tc.status != 0) {
				t.Errorf("%s: %d %q %v, %d served", tc.reason, status, body, err, b.served.Load())
			}
			if err != nil && !errors.Is(err, errLost) {
				t.Errorf("the error is %v", err)
			}
		})
	}
}

func TestNamedOnce(t *testing.T) {
	b := newBroken(t, "", Setting{Named: true}, nil)
	for i, want := range []int{404, 200, 200} {
		if status, _, body, err := b.do(t, http.MethodGet, workflowPath); err != nil || status != want || want == 404 && !strings.Contains(body, `"name":"w"`) {
			t.Errorf("GET %d: %d %s %v, want %d", i, status, body, err, want)
		}
	}
}

func TestStale(t *testing.T) {
	b := newBroken(t, "", Setting{Stale: 1e-9}, nil)
	_, _, first, _ := b.do(t, http.MethodGet, workflowPath)
	b.set(t, Setting{Stale: 1})
	if _, _, again, err := b.do(t, http.MethodGet, workflowPath); err != nil || again != first {
		t.Errorf("it answers %q %v after %q", again, err, first)
	}
}

func TestLate(t *testing.T) {
	b := newBroken(t, "", Setting{Delay: 1}, nil)
	if _, _, _, err := b.do(t, http.MethodPost, workflowPath); !errors.Is(err, errLost) {
		t.Errorf("the answer is %v", err)
	}
	for deadline := time.Now().Add(Late + 10*time.Second); b.served.Load() == 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it never arrives")
		}
	}
}

func TestSkew(t *testing.T) {
	b := newBroken(t, "", Setting{Skew: -time.Hour}, nil)
	if _, header, _, err := b.do(t, http.MethodGet, "/version"); err != nil || header.Get("Date") != "Fri, 02 Jan 2026 02:04:05 GMT" {
		t.Errorf("Date is %q %v", header.Get("Date"), err)
	}
}

func TestExit(t *testing.T) {
	for exit, served := range map[string]int64{"before:2": 1, "after:2": 2} {
		died := int64(-1)
		var b broken
		b = newBroken(t, exit, Setting{}, func() { died = b.served.Load() })
		for _, path := range []string{workflowPath, "/api/v1/namespaces/x/events", workflowPath} {
			_, _, _, _ = b.do(t, http.MethodPatch, path)
		}
		if died != served+1 { // the event counts as served, not as a gap
			t.Errorf("%s: it died after %d requests, want %d", exit, died, served+1)
		}
	}
	for _, exit := range []string{"before", "before:x", "then:1"} {
		if _, err := NewInjector("", exit, 1); err == nil {
			t.Errorf("%q is taken", exit)
		}
	}
}

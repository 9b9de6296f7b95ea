package integration

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

// hostile reports what of a hub object a terminal would obey, or what is longer than a person reads.
func hostile(w *unstructured.Unstructured) string {
	for key, value := range w.GetAnnotations() {
		if strings.ContainsFunc(value, stellarflow.IsControl) || len(value) > 2048 {
			return fmt.Sprintf("annotation %s has %d bytes: %.200q", key, len(value), value)
		}
	}
	if text := message(w); strings.ContainsFunc(strings.ReplaceAll(text, "\n", ""), stellarflow.IsControl) || len(text) > 2048 {
		return fmt.Sprintf("the message has %d bytes: %.200q", len(text), text)
	}
	return ""
}

// A WEC says one hostile thing after the other of a Workflow that is placed on it. Each is shown without what is bad about it, or not
// shown and said; and what comes after it is shown again.
func TestHostileWEC(t *testing.T) {
	c, _, ns := setUp(t, managerOptions{})
	first := c.wecs["cluster1"]
	c.running(t, ns, "victim", "cluster1")
	c.submit(t, ns, "other", "cluster2")
	c.wecs["cluster2"].waitFor(t, ns, "other", "the WEC copy", exists)
	other := c.hub.waitFor(t, ns, "other", "its record", func(w *unstructured.Unstructured) bool {
		record, ok := stellarflow.PlacementOf(w)
		return ok && record.WECUID != ""
	})
	deep := strings.Repeat(`{"a":`, 400) + `1` + strings.Repeat(`}`, 400)
	refused := "what cluster cluster1 says is not shown: "
	for i, tc := range []struct {
		name, patch, said string // said is a part of the sync annotation; empty if the status is shown
	}{
		{"a phase that does not exist", `{"status":{"phase":"\u001b[2JWon"}}`, refused},
		{"deep nesting", `{"status":{"phase":"Running","deep":` + deep + `}}`, refused},
		{"a terminal's sequences", `{"status":{"phase":"Running","message":"\u001b]0;pwned\u0007\u202e","nodes":{"n":{"id":"n","displayName":"\u001b[2J"},"\u001b[2J":{}}}}`, ""},
		{"a hundred thousand labels of a node", `{"status":{"phase":"Running","x":[` + strings.TrimSuffix(strings.Repeat(`{"k":""},`, 100_000), ",") + `]}}`, ""},
		{"nodes that are none", `{"status":{"phase":"Running","nodes":null,"compressedNodes":"bm90IGd6aXA="}}`, refused},
		{"completed before its end", `{"metadata":{"labels":{"workflows.argoproj.io/completed":"true"}},"status":{"phase":"Running"}}`, refused},
		{"another Workflow's UID", `{"metadata":{"annotations":{"stellarflow.io/hub-uid":"` + string(other.GetUID()) + `"}}}`, "does not say any more that it is the copy of this one"},
		{"keys of ours", `{"metadata":{"labels":{"stellarflow.io/cluster":"cluster2"},"annotations":{"stellarflow.io/placement":"{}","stellarflow.io/request":"abandon","stellarflow.io/observed":"x"}}}`, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			before := first.get(t.Context(), ns, "victim")
			patchWEC(t, first, ns, "victim", tc.patch)
			if tc.said != "" {
				c.hub.waitFor(t, ns, "victim", "a sentence", func(w *unstructured.Unstructured) bool {
					return strings.Contains(w.GetAnnotations()[stellarflow.AnnotationSync], tc.said)
				})
			}
			// and then it says something good, with what it said before taken back
			restore, err := json.Marshal(map[string]any{
				"metadata": map[string]any{"labels": withNil(before.GetLabels(), "workflows.argoproj.io/completed"), "annotations": map[string]any{stellarflow.AnnotationHubUID: before.GetAnnotations()[stellarflow.AnnotationHubUID]}},
				"status":   map[string]any{"phase": "Running", "deep": nil, "compressedNodes": nil, "x": nil, "progress": fmt.Sprintf("%d/9", i)},
			})
			if err != nil {
				t.Fatal(err)
			}
			if tc.said != "" {
				patchWEC(t, first, ns, "victim", string(restore))
			} else {
				patchWEC(t, first, ns, "victim", fmt.Sprintf(`{"status":{"progress":"%d/9"}}`, i))
			}
			shown := c.hub.waitFor(t, ns, "victim", "what it said next", func(w *unstructured.Unstructured) bool {
				progress, _, _ := unstructured.NestedString(w.Object, "status", "progress")
				return progress == fmt.Sprintf("%d/9", i) && w.GetAnnotations()[stellarflow.AnnotationSync] == ""
			})
			if bad := hostile(shown); bad != "" || !placedOn("cluster1")(shown) || phase(shown) != "Running" {
				t.Errorf("%s; %s", bad, describe(shown))
			}
		})
	}
	now := c.hub.get(t.Context(), ns, "other")
	if record := mustPlacement(t, now); record.Cluster != "cluster2" || record.UID != other.GetUID() || phase(now) != phase(other) {
		t.Errorf("the other Workflow was changed: %s", describe(now))
	}
}

func withNil(labels map[string]string, key string) map[string]any {
	result := map[string]any{key: nil}
	for key, value := range labels {
		result[key] = value
	}
	return result
}

func patchWEC(t *testing.T, wec *server, ns, name, patch string) {
	t.Helper()
	if _, err := wec.workflows(ns).Patch(t.Context(), name, types.MergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
}

// A WEC says numbers that no API server stores, and a key twice: it is refused and said, and what comes after it is shown again.
func TestHostileNumbers(t *testing.T) {
	var says atomic.Value
	says.Store("")
	c, _, ns := setUp(t, managerOptions{wecTransport: func(next http.RoundTripper) http.RoundTripper {
		return roundTripper(func(r *http.Request) (*http.Response, error) {
			response, err := next.RoundTrip(r)
			said := says.Load().(string)
			if err != nil || said == "" || r.Method != http.MethodGet || !strings.HasSuffix(r.URL.Path, "/workflows/numbers") {
				return response, err
			}
			body, err := io.ReadAll(response.Body)
			_ = response.Body.Close()
			body = bytes.Replace(body, []byte(`"startedAt"`), []byte(said+`,"startedAt"`), 1)
			response.Body, response.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
			response.Header.Del("Content-Length")
			return response, err
		})
	}})
	wec := c.wecs["cluster1"]
	c.running(t, ns, "numbers", "cluster1")
	for i, tc := range []struct {
		says, said string // said is a part of the sync annotation; empty if the status is shown
	}{
		{`"x":1e400`, "Kubernetes cannot store the number 1e400"},
		{`"x":12345678901234567890`, "Kubernetes cannot store the number 12345678901234567890"},
		{`"x":9223372036854775807,"y":0.5,"y":1.5`, ""},
	} {
		says.Store(tc.says)
		patchWEC(t, wec, ns, "numbers", fmt.Sprintf(`{"status":{"progress":"%d/8"}}`, i))
		c.hub.waitFor(t, ns, "numbers", "what it says: "+tc.says, func(w *unstructured.Unstructured) bool {
			x, _, _ := unstructured.NestedInt64(w.Object, "status", "nodes", "numbers", "x")
			y, _, _ := unstructured.NestedFloat64(w.Object, "status", "nodes", "numbers", "y")
			said := w.GetAnnotations()[stellarflow.AnnotationSync]
			return tc.said != "" && strings.Contains(said, tc.said) && x == 0 || tc.said == "" && said == "" && x == 9223372036854775807 && y == 1.5
		})
	}
	says.Store("")
	wec.argo(t, ns, "numbers", "Succeeded")
	c.hub.waitFor(t, ns, "numbers", "its end", func(w *unstructured.Unstructured) bool {
		return phase(w) == "Succeeded" && w.GetAnnotations()[stellarflow.AnnotationSync] == ""
	})
}

// What an API server answers to a create is a stranger's text too: it is shown, short and disarmed.
func TestHostileAnswer(t *testing.T) {
	var asked atomic.Int32
	c, _, ns := setUp(t, managerOptions{wecTransport: func(next http.RoundTripper) http.RoundTripper {
		return roundTripper(func(r *http.Request) (*http.Response, error) {
			if r.Method != http.MethodPost || !strings.HasSuffix(r.URL.Path, "/workflows") {
				return next.RoundTrip(r)
			}
			asked.Add(1)
			raw, err := json.Marshal(metav1.Status{
				TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: "Failure", Reason: metav1.StatusReasonForbidden, Code: http.StatusForbidden,
				Message: "no\x1b[2J\u202e\n" + strings.Repeat("word ", 100_000),
			})
			return &http.Response{
				StatusCode: http.StatusForbidden, Status: "403 \x1b[2J", Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(bytes.NewReader(raw)), Request: r, ProtoMajor: 1, ProtoMinor: 1,
			}, err
		})
	}})
	c.submit(t, ns, "refused", "cluster1")
	shown := c.hub.waitFor(t, ns, "refused", "the refusal", waiting("cluster cluster1 refused it: it may not create the Workflow: no\ufffd[2J\ufffd word word"))
	if bad := hostile(shown); bad != "" || !strings.HasSuffix(message(shown), "...: change the quota, the admission policy or the hub's rights there") || asked.Load() == 0 {
		t.Errorf("%s; it ends in %q", bad, message(shown))
	}
	list, err := c.hub.core.EventsV1().Events(ns).List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, event := range list.Items {
		if strings.ContainsFunc(event.Note, stellarflow.IsControl) || len(event.Note) > 1024 {
			t.Errorf("event %s has %d bytes: %.200q", event.Reason, len(event.Note), event.Note)
		}
	}
}

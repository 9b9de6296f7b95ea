package downsync

import (
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
	"stellarflow.io/stellarflow/pkg/artifact"
	"stellarflow.io/stellarflow/pkg/hub/dependencies"
	"stellarflow.io/stellarflow/pkg/wec"
)

// TestNeverUsed: our own namespace holds credentials, and those of Kubernetes are nobody's; neither is looked into.
func TestNeverUsed(t *testing.T) {
	for name, want := range map[string]bool{"kube-system": true, stellarflow.SystemNamespace: true, "argo": false, "kubernetes": false} {
		if got := neverUsed(name) != nil; got != want {
			t.Errorf("%s is refused: %v", name, got)
		}
	}
	var n namespaces
	if err := n.accepts(t.Context(), "hub-1", Target{}, stellarflow.SystemNamespace, start); err == nil || len(n.ready) > 0 {
		t.Errorf("%v; known: %v", err, n.ready)
	}
	n.markReady("accepts/id-1/argo", start)
	if err := n.accepts(t.Context(), "hub-1", Target{ID: "id-1"}, "argo", start); err != nil {
		t.Errorf("one that was asked for lately: %v", err)
	}
}

func TestAccepted(t *testing.T) {
	deleted := metav1.NewTime(start)
	cases := map[string]struct {
		reason    string
		namespace metav1.ObjectMeta
		ours      bool
		want      string // a part of the refusal
	}{
		"Ours":     {"the hub made it", metav1.ObjectMeta{Labels: map[string]string{stellarflow.LabelOrigin: "hub-1"}}, true, ""},
		"OtherHub": {"another hub made it", metav1.ObjectMeta{Labels: map[string]string{stellarflow.LabelOrigin: "hub-2"}}, false, "does not accept Workflows"},
		"Label":    {"somebody there accepts", metav1.ObjectMeta{Labels: map[string]string{stellarflow.LabelAccept: "true"}}, false, ""},
		"Joined":   {"the join accepted", metav1.ObjectMeta{Name: "joined"}, false, ""},
		"Theirs":   {"nobody did", metav1.ObjectMeta{}, false, "does not accept Workflows"},
		"Ending":   {"it is nearly gone", metav1.ObjectMeta{Name: "joined", DeletionTimestamp: &deleted}, false, "is being deleted there"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			ours, err := accepted(&corev1.Namespace{ObjectMeta: tc.namespace}, "hub-1", Target{Name: "c1", Namespaces: []string{"joined"}})
			var refusal *Refusal
			if is := errors.As(err, &refusal); is != (tc.want != "") || is && !strings.Contains(refusal.Message, tc.want) || ours != tc.ours {
				t.Errorf("%s: ours: %v, %v", tc.reason, ours, err)
			}
		})
	}
}

// TestEnsureRepository: a copy of the hub's repositories, from when no shared store was configured, gives way to the store's; no other does.
func TestEnsureRepository(t *testing.T) {
	onHub := &unstructured.Unstructured{Object: map[string]any{"data": map[string]any{"mine": "s3: {}"}}}
	onHub.SetAPIVersion("v1")
	onHub.SetKind("ConfigMap")
	onHub.SetNamespace("argo")
	onHub.SetName(artifact.ConfigMapName)
	copied := func(hub string) *unstructured.Unstructured {
		sent, err := dependencies.Copy(stellarflow.KindConfigMap, onHub, types.UID(hub))
		if err != nil {
			t.Fatal(err)
		}
		sent.SetUID("uid-1")
		sent.SetResourceVersion("5")
		return sent
	}
	cases := map[string]struct {
		reason string
		there  *unstructured.Unstructured // nil for what the hub may not read
		update int                        // the answer to it, zero for none
		failed bool
	}{
		"Copy":     {"new Workflows would use it", copied("hub-1"), http.StatusOK, false},
		"Changed":  {"another look is needed", copied("hub-1"), http.StatusConflict, true},
		"OtherHub": {"it is not ours", copied("hub-2"), 0, false},
		"Theirs":   {"it is the cluster's, or was made by us before", onHub, 0, false},
		"Unread":   {"joined before that was a right, and before anything was copied", nil, 0, false},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			var updated *corev1.ConfigMap
			server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				code, answer := http.StatusCreated, any(map[string]string{"kind": "Secret", "apiVersion": "v1"})
				switch {
				case r.Method == http.MethodPost && strings.HasSuffix(r.URL.Path, "/configmaps"):
					code, answer = http.StatusConflict, metav1.Status{Status: metav1.StatusFailure, Reason: metav1.StatusReasonAlreadyExists, Code: http.StatusConflict}
				case r.Method == http.MethodGet && tc.there == nil:
					code, answer = http.StatusForbidden, metav1.Status{Status: metav1.StatusFailure, Reason: metav1.StatusReasonForbidden, Code: http.StatusForbidden}
				case r.Method == http.MethodGet:
					code, answer = http.StatusOK, tc.there.Object
				case r.Method == http.MethodPut:
					body, _ := io.ReadAll(r.Body)
					if err := json.Unmarshal(body, &updated); err != nil {
						t.Errorf("%v: %s", err, body)
					}
					code, answer = tc.update, updated
				}
				w.Header().Set("Content-Type", "application/json")
				w.WriteHeader(code)
				_ = json.NewEncoder(w).Encode(answer)
			}))
			t.Cleanup(server.Close)
			ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
			core, err := kubernetes.NewForConfig(&rest.Config{Host: server.URL, TLSClientConfig: rest.TLSClientConfig{CAData: ca}, ContentConfig: rest.ContentConfig{ContentType: "application/json"}})
			if err != nil {
				t.Fatal(err)
			}
			err = ensureRepository(t.Context(), preparation{
				hubID: "hub-1", target: Target{Name: "cluster1", Clients: &wec.Clients{Core: core}}, namespace: "argo", store: &artifact.Store{Bucket: "shared"},
			})
			if (err != nil) != tc.failed || (updated != nil) != (tc.update != 0) {
				t.Fatalf("%s: %v, updated: %v", tc.reason, err, updated)
			}
			if updated == nil {
				return
			}
			if updated.UID != "uid-1" || updated.ResourceVersion != "5" || len(updated.Labels) > 0 || len(updated.Data) != 1 || !strings.Contains(updated.Data[artifact.RepositoryKey], "shared") {
				t.Errorf("%s: updated to %v", tc.reason, updated)
			}
		})
	}
}

// TestPreparedWithStore: a namespace that was ready before a shared store was configured is looked at again.
func TestPreparedWithStore(t *testing.T) {
	var n namespaces
	n.markReady("id-1/argo/default", start)
	p := preparation{target: Target{ID: "id-1"}, namespace: "argo", accounts: []string{"default"}}
	if err := n.prepare(t.Context(), p, start); err != nil {
		t.Errorf("it was ready: %v", err)
	}
	p.namespace = "kube-system" // refused when it is looked at
	n.markReady("id-1/kube-system/default", start)
	p.store = &artifact.Store{}
	if err := n.prepare(t.Context(), p, start); err == nil {
		t.Error("it counts as ready for the store")
	}
}

package upsync

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
	"stellarflow.io/stellarflow/pkg/hub/hubcopy"
)

// hub answers reads of one Workflow with live, and takes every patch.
type hub struct {
	live    string
	patches []string
	refuse  int
}

// ServeHTTP notes the patches.
func (h *hub) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	switch {
	case h.refuse != 0:
		w.WriteHeader(h.refuse)
	case r.Method == http.MethodPatch:
		body, _ := io.ReadAll(r.Body)
		h.patches = append(h.patches, string(body))
		_, _ = io.WriteString(w, `{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1","metadata":{"name":"w","namespace":"argo","uid":"hub-1","resourceVersion":"56"}}`)
	case h.live == "":
		w.WriteHeader(http.StatusNotFound)
		_, _ = io.WriteString(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"NotFound","code":404}`)
	default:
		_, _ = io.WriteString(w, h.live)
	}
}

func (h *hub) config(t *testing.T) *rest.Config {
	t.Helper()
	server := httptest.NewTLSServer(h)
	t.Cleanup(server.Close)
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	return &rest.Config{Host: server.URL, TLSClientConfig: rest.TLSClientConfig{CAData: ca}}
}

func (h *hub) mirrorer(t *testing.T) *Mirrorer {
	t.Helper()
	config := h.config(t)
	objects, err := dynamic.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	client, err := metadata.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	return &Mirrorer{
		Hub:   hubcopy.NewStore(nil, objects, client, func() time.Time { return time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC) }),
		Rules: func(context.Context) (Rules, error) { return Rules{}, nil },
	}
}

// live is the hub copy of hubCopy with a status, as the API server returns it.
func live(status, uid, generation string) string {
	return `{"kind":"Workflow","apiVersion":"argoproj.io/v1alpha1","metadata":{"name":"w","namespace":"argo","uid":"` + uid + `","generation":` + generation + `},"status":` + status + `}`
}

func TestMirror(t *testing.T) {
	const status = `{"phase":"Running","nodes":{"n":{"startedAt":null,"x":9007199254740993}}}`
	current := wecCopy(status, phaseLabel, "Running")
	current.Metadata.UID, current.Metadata.ResourceVersion = "wec-1", "101"
	rendered, err := Render(current, Rules{})
	if err != nil {
		t.Fatal(err)
	}
	observed := func(version, generation, hash string) string {
		return strings.Join([]string{"wec-1", version, generation, hash}, "/")
	}
	cases := map[string]struct {
		reason   string
		observed string
		hub      hub
		wec      func(*WECCopy)
		status   bool // the patch has the status
		written  bool
		err      error
	}{
		"First":          {"nothing was mirrored", "", hub{}, nil, true, true, nil},
		"Changed":        {"another hash", observed("100", "7", "old"), hub{}, nil, true, true, nil},
		"Same":           {"a newer version that says the same", observed("100", "7", rendered.Hash), hub{}, nil, false, false, nil},
		"OtherCopy":      {"what was mirrored came from another object: its versions mean nothing", "wec-0/999/7/" + rendered.Hash, hub{}, nil, true, true, nil},
		"Restored":       {"the WEC went back in time", observed("102", "7", "new"), hub{}, nil, false, false, ErrRestored},
		"OddVersion":     {"versions that cannot be compared", observed("x", "7", "new"), hub{}, nil, false, false, ErrRestored},
		"SpecChanged":    {"the hub's generation moved, the status is ours", observed("100", "6", rendered.Hash), hub{live: live(status, "hub-1", "7")}, nil, false, true, nil},
		"StatusChanged":  {"somebody wrote the hub's status", observed("100", "6", rendered.Hash), hub{live: live(`{"phase":"Error"}`, "hub-1", "7")}, nil, true, true, nil},
		"StatusRemoved":  {"somebody took it away", observed("100", "6", rendered.Hash), hub{live: live("null", "hub-1", "7")}, nil, true, true, nil},
		"StatusOdd":      {"somebody wrote text", observed("100", "6", rendered.Hash), hub{live: live(`"x"`, "hub-1", "7")}, nil, true, true, nil},
		"GoneMeanwhile":  {"the cache is behind", observed("100", "6", rendered.Hash), hub{}, nil, false, false, hubcopy.ErrLostRace},
		"OtherMeanwhile": {"another Workflow has the name", observed("100", "6", rendered.Hash), hub{live: live(status, "hub-2", "7")}, nil, false, false, hubcopy.ErrLostRace},
		"NewerMeanwhile": {"the cache is behind", observed("100", "6", rendered.Hash), hub{live: live(status, "hub-1", "8")}, nil, false, false, hubcopy.ErrLostRace},
		"NotMirrorable":  {"a lie", "", hub{}, func(w *WECCopy) { w.Status = json.RawMessage(`{"phase":"Won"}`) }, false, false, ErrNotMirrorable},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			copied := current
			if tc.wec != nil {
				tc.wec(&copied)
			}
			h := tc.hub
			pass := Pass{Key: types.NamespacedName{Namespace: "argo", Name: "w"}, HubCopy: hubCopy(recordKnown, tc.observed), Placement: recordKnown, WECCopy: copied}
			written, err := h.mirrorer(t).Mirror(t.Context(), pass)
			if !errors.Is(err, tc.err) || (written != nil) != tc.written {
				t.Fatalf("%s: Mirror() = %v, %v, want %v", tc.reason, written, err, tc.err)
			}
			if len(h.patches) > 1 || (len(h.patches) == 1) != tc.written {
				t.Fatalf("%s: the patches are %v", tc.reason, h.patches)
			}
			if tc.written {
				if has := strings.Contains(h.patches[0], `"path":"/status","value":{"nodes":{"n":{"startedAt":null,"x":9007199254740993}},"phase":"Running"}`); has != tc.status {
					t.Errorf("%s: the status is written: %v, want %v: %s", tc.reason, has, tc.status, h.patches[0])
				}
				if written.GroupVersionKind() != stellarflow.WorkflowKind {
					t.Errorf("no event could refer to a %s", written.GroupVersionKind())
				}
			}
		})
	}
}

func TestMirrorErrors(t *testing.T) {
	current := wecCopy(`{"phase":"Running"}`)
	current.Metadata.UID, current.Metadata.ResourceVersion = "wec-1", "101"
	rendered, err := Render(current, Rules{})
	if err != nil {
		t.Fatal(err)
	}
	h := &hub{refuse: http.StatusInternalServerError}
	m := h.mirrorer(t)
	pass := Pass{Key: types.NamespacedName{Namespace: "argo", Name: "w"}, HubCopy: hubCopy(recordKnown, "wec-1/100/6/"+rendered.Hash), Placement: recordKnown, WECCopy: current}
	if _, err := m.Mirror(t.Context(), pass); err == nil || errors.Is(err, hubcopy.ErrLostRace) {
		t.Errorf("a hub that cannot be read gives %v", err)
	}
	cause := errors.New("the store's Secret is broken")
	m.Rules = func(context.Context) (Rules, error) { return Rules{}, cause }
	if _, err := m.Mirror(t.Context(), pass); !errors.Is(err, cause) {
		t.Errorf("without rules nothing is mirrored: %v", err)
	}
}

func TestRead(t *testing.T) {
	key := types.NamespacedName{Namespace: "argo", Name: "w"}
	h := &hub{live: live(`{"phase":"Running","x":9007199254740993}`, "wec-1", "7")}
	objects, err := kubernetes.NewForConfig(h.config(t))
	if err != nil {
		t.Fatal(err)
	}
	got, err := Read(t.Context(), objects, key)
	want := WECCopy{Metadata: metav1.ObjectMeta{Namespace: "argo", Name: "w", UID: "wec-1", Generation: 7}, Status: json.RawMessage(`{"phase":"Running","x":9007199254740993}`)}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v, -want +got:\n%s", err, diff)
	}
	h.live = ""
	if _, err := Read(t.Context(), objects, key); err == nil || !strings.Contains(err.Error(), "read workflow argo/w: ") {
		t.Errorf("a Workflow that is not there gives %v", err)
	}
	h.live = live(`{"phase":"Running","message":"`+strings.Repeat("m", MaxWECCopyBytes)+`"}`, "wec-1", "7")
	if _, err := Read(t.Context(), objects, key); !errors.Is(err, ErrNotMirrorable) {
		t.Errorf("a copy that is too large gives %v", err)
	}
	if len(h.patches) > 0 {
		t.Error("a read wrote")
	}
}

// TestMirrorAsksOfTheRecordsHubCopy: whose pods are not shown is asked of the hub copy in the record, not of the one that the WEC copy names.
func TestMirrorAsksOfTheRecordsHubCopy(t *testing.T) {
	hub := &hub{}
	m := hub.mirrorer(t)
	var asked []types.UID
	m.LogsFromS3 = func(hubCopy types.UID) string {
		asked = append(asked, hubCopy)
		return "not mirrored"
	}
	wecCopy := WECCopy{
		Metadata: metav1.ObjectMeta{UID: "wec-1", ResourceVersion: "101", Annotations: map[string]string{stellarflow.AnnotationHubUID: "another"}},
		Status:   json.RawMessage(`{"phase":"Running"}`),
	}
	pass := Pass{Key: types.NamespacedName{Namespace: "argo", Name: "w"}, HubCopy: hubCopy(recordKnown, ""), Placement: recordKnown, WECCopy: wecCopy}
	if _, err := m.Mirror(t.Context(), pass); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Shown(t.Context(), pass); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]types.UID{recordKnown.UID, recordKnown.UID}, asked); diff != "" || recordKnown.UID == "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

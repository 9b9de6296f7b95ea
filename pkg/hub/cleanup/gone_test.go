package cleanup

import (
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
	"stellarflow.io/stellarflow/pkg/wec"
)

var (
	start     = time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	key       = types.NamespacedName{Namespace: "argo", Name: "w"}
	placement = stellarflow.Placement{UID: "hub-1", Cluster: "cluster1", ClusterID: "id-1", Attempt: 1, WECUID: "wec-1"}
)

func TestNames(t *testing.T) {
	workflows := stellarflow.Workflows.GroupResource()
	bare := &apierrors.StatusError{ErrStatus: metav1.Status{Code: http.StatusNotFound, Reason: metav1.StatusReasonNotFound}}
	cases := map[string]struct {
		reason string
		err    error
		want   bool
	}{
		"Answer":        {"the API server knows the resource and has no such object", apierrors.NewNotFound(workflows, "w"), true},
		"Wrapped":       {"whoever wrapped it", fmt.Errorf("x: %w", apierrors.NewNotFound(workflows, "w")), true},
		"OtherName":     {"an answer about something else", apierrors.NewNotFound(workflows, "v"), false},
		"OtherResource": {"likewise", apierrors.NewNotFound(schema.GroupResource{Group: "argoproj.io", Resource: "cronworkflows"}, "w"), false},
		"OtherGroup":    {"likewise", apierrors.NewNotFound(schema.GroupResource{Resource: "workflows"}, "w"), false},
		"NoDetails":     {"a proxy's bare 404", bare, false},
		"NoResource":    {"the CRD is being installed again", apierrors.NewGenericServerResponse(http.StatusNotFound, "get", workflows, "", "404 page not found", 0, true), false},
		"Forbidden":     {"not known", apierrors.NewForbidden(workflows, "w", errors.New("no")), false},
		"Network":       {"not known", errors.New("EOF"), false},
		"None":          {"it is there", nil, false},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			if got := names(tc.err, "w"); got != tc.want {
				t.Errorf("%s: names(%v) = %v", tc.reason, tc.err, got)
			}
		})
	}
}

func TestIsCopyOf(t *testing.T) {
	unknown := placement
	unknown.WECUID = ""
	found := func(uid types.UID, hubUID string) metav1.Object {
		return &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{UID: uid, Annotations: map[string]string{stellarflow.AnnotationHubUID: hubUID}}}
	}
	cases := map[string]struct {
		reason    string
		found     metav1.Object
		placement stellarflow.Placement
		want      bool
	}{
		"Same":         {"the recorded UID", found("wec-1", "hub-1"), placement, true},
		"Disowned":     {"the record counts, not what the object says", found("wec-1", "hub-0"), placement, true},
		"Replaced":     {"another object, though it says the same", found("wec-2", "hub-1"), placement, false},
		"Unknown":      {"no UID is recorded: what it says is all there is", found("wec-2", "hub-1"), unknown, true},
		"UnknownOther": {"another Workflow's", found("wec-2", "hub-0"), unknown, false},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			if got := isCopyOf(tc.found, tc.placement); got != tc.want {
				t.Errorf("%s: isCopyOf() = %v", tc.reason, got)
			}
		})
	}
}

// cluster answers as a WEC does; each field is a status code and a body.
type cluster struct{ workflow, list, system answer }

type answer struct {
	code int
	body string
}

var (
	notThere = answer{404, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"NotFound","code":404,"details":{"name":"w","group":"argoproj.io","kind":"workflows"}}`}
	bare404  = answer{404, `404 page not found`}
	failing  = answer{403, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Forbidden","code":403}`}
	empty    = answer{200, `{"kind":"PartialObjectMetadataList","apiVersion":"meta.k8s.io/v1","metadata":{},"items":[]}`}
	same     = answer{200, `{"kind":"Namespace","apiVersion":"v1","metadata":{"name":"kube-system","uid":"id-1"}}`}
	rebuilt  = answer{200, `{"kind":"Namespace","apiVersion":"v1","metadata":{"name":"kube-system","uid":"id-2"}}`}
	present  = answer{200, `{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1","metadata":{"name":"w","namespace":"argo","uid":"wec-1"}}`}
	stranger = answer{200, `{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1","metadata":{"name":"w","namespace":"argo","uid":"wec-9"}}`}
)

// ServeHTTP answers the three requests of a look.
func (c *cluster) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a := answer{http.StatusTeapot, r.URL.Path}
	switch r.URL.Path {
	case "/apis/argoproj.io/v1alpha1/namespaces/argo/workflows/w":
		a = c.workflow
	case "/apis/argoproj.io/v1alpha1/namespaces/argo/workflows":
		a = c.list
	case "/api/v1/namespaces/kube-system":
		a = c.system
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(a.code)
	_, _ = io.WriteString(w, a.body)
}

func dial(t *testing.T, c *cluster) *wec.Clients {
	t.Helper()
	server := httptest.NewTLSServer(c)
	t.Cleanup(server.Close)
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	clients, err := wec.Dial(&rest.Config{Host: server.URL, TLSClientConfig: rest.TLSClientConfig{CAData: ca}})
	if err != nil {
		t.Fatal(err)
	}
	return clients
}

// TestOneLook is DESIGN.md §4, Gone: everything but a full set of answers is unknown.
func TestOneLook(t *testing.T) {
	cases := map[string]struct {
		reason  string
		cluster cluster
		gone    bool
		present bool
	}{
		"Gone":         {"it is not there, the list works, the cluster is the recorded one", cluster{notThere, empty, same}, true, false},
		"Replaced":     {"another object has the name", cluster{stranger, empty, same}, true, false},
		"Present":      {"a cache was wrong", cluster{present, empty, same}, false, true},
		"Bare404":      {"a proxy's", cluster{bare404, empty, same}, false, false},
		"Forbidden":    {"the rights were changed", cluster{failing, empty, same}, false, false},
		"NoList":       {"the CRD is being installed again", cluster{notThere, bare404, same}, false, false},
		"NoIdentity":   {"not known", cluster{notThere, empty, failing}, false, false},
		"OtherID":      {"a rebuilt cluster behind the same address", cluster{notThere, empty, rebuilt}, false, false},
		"ReplacedID":   {"likewise, with another object", cluster{stranger, empty, rebuilt}, false, false},
		"NothingAtAll": {"a login page", cluster{answer{200, "<html>"}, answer{200, "<html>"}, answer{200, "<html>"}}, false, false},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			err := look(t.Context(), dial(t, &tc.cluster), key, placement)
			if (err == nil) != tc.gone || errors.Is(err, ErrPresent) != tc.present {
				t.Errorf("%s: look() = %v", tc.reason, err)
			}
		})
	}
}

func TestConfirm(t *testing.T) {
	now := start
	c := &cluster{notThere, empty, same}
	clients := dial(t, c)
	gone := NewGone(func() time.Time { return now }, Twice)
	confirm := func(ctx context.Context) (time.Duration, error) { return gone.Confirm(ctx, clients, key, placement) }
	expect := func(what string, want time.Duration, fails bool) {
		t.Helper()
		wait, err := confirm(t.Context())
		if wait != want || (err != nil) != fails {
			t.Errorf("%s: Confirm() = %s, %v, want %s", what, wait, err, want)
		}
	}
	expect("the first look is no fact", Twice, false)
	now = start.Add(4 * time.Second)
	expect("a look too early does not count", 6*time.Second, false)
	now = start.Add(Twice)
	expect("the second look, in time", 0, false)
	now = start.Add(time.Minute)
	expect("it stays a fact", 0, false)

	c.system = rebuilt
	expect("now nothing is known", 0, true)
	c.system = same
	expect("and it begins anew", Twice, false)
	now = now.Add(5 * time.Second)
	c.workflow = present
	expect("it is there", 0, true)
	c.workflow = notThere
	now = now.Add(5 * time.Second)
	expect("ten seconds after the first look, but not two looks in a row", Twice, false)
	now = now.Add(Twice)
	gone.Forget(placement.UID)
	expect("forgotten", Twice, false)

	other := placement
	other.UID = "hub-2"
	if wait, err := gone.Confirm(t.Context(), clients, key, other); wait != Twice || err != nil {
		t.Errorf("a look for another Workflow counts: %s, %v", wait, err)
	}
}

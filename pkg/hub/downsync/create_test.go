package downsync

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
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"

	"stellarflow.io/stellarflow/pkg/apis/control/v1alpha1"
	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
	"stellarflow.io/stellarflow/pkg/artifact"
	"stellarflow.io/stellarflow/pkg/hub/hubcopy"
)

// needy is a Needs and its Baggage.
type needy struct {
	within  time.Duration // until the deadline of what was called
	version string
	fails   error // the look
	brings  error // what bringing ends with
}

func (n *needy) Look(ctx context.Context, _ Target, _ *unstructured.Unstructured) (Baggage, error) {
	if deadline, has := ctx.Deadline(); has {
		n.within = time.Until(deadline)
	}
	return n, n.fails
}
func (n *needy) Accounts() []string                    { return []string{"default"} }
func (n *needy) Record() string                        { return "record" }
func (n *needy) Bring(context.Context) (string, error) { return n.version, n.brings }

var placed = stellarflow.Placement{UID: "hub-1", Cluster: "cluster1", ClusterID: "id-1", Attempt: 1}

// creator returns one over a hub whose Workflow has one resourceVersion after the other, and a namespace that is ready.
func creator(t *testing.T, needs Needs, versions ...string) *Creator {
	t.Helper()
	read := 0
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		version := versions[min(read, len(versions)-1)]
		read++
		w.Header().Set("Content-Type", "application/json")
		if version == "" {
			w.WriteHeader(http.StatusNotFound)
			_, _ = io.WriteString(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"NotFound","code":404}`)
			return
		}
		_, _ = fmt.Fprintf(w, `{"kind":"Workflow","apiVersion":"argoproj.io/v1alpha1","metadata":{"name":"w","namespace":"argo","uid":"hub-1","resourceVersion":%q,
			"labels":{%q:"cluster1"},"annotations":{%q:%q}}}`, version, stellarflow.LabelCluster, stellarflow.AnnotationPlacement, placed.String())
	}))
	t.Cleanup(server.Close)
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	objects, err := dynamic.NewForConfig(&rest.Config{Host: server.URL, TLSClientConfig: rest.TLSClientConfig{CAData: ca}})
	if err != nil {
		t.Fatal(err)
	}
	c := &Creator{
		Hub: hubcopy.NewStore(nil, objects, nil, func() time.Time { return start }), HubID: "hub-id", Needs: needs,
		Store:      func(context.Context) (*artifact.Store, error) { return nil, nil }, //nolint:nilnil // none is configured
		Transforms: func(context.Context) ([]v1alpha1.CustomTransform, error) { return nil, errCreates },
		Attempts:   NewAttempts(Settle), Now: func() time.Time { return start },
	}
	c.namespaces.markReady("accepts/id-1/argo", start)
	c.namespaces.markReady("id-1/argo/default", start)
	return c
}

// errCreates ends what would go on to the create.
var errCreates = errors.New("it goes on to the create")

// TestCreateAgain: a hub copy that changes while its needs are brought is not sent as it was before: it may be stopped, or placed anew.
func TestCreateAgain(t *testing.T) {
	cases := map[string]struct {
		reason   string
		brought  string
		versions []string
		creates  bool
	}{
		"Nothing":  {"what needs nothing is read once", "", []string{"5", "6"}, true},
		"Same":     {"nobody wrote", "5", []string{"5", "5"}, true},
		"Recorded": {"only the record was written", "6", []string{"5", "6"}, true},
		"Changed":  {"somebody wrote after that", "6", []string{"5", "7"}, false},
		"Gone":     {"it was deleted", "6", []string{"5", ""}, false},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			c := creator(t, &needy{version: tc.brought}, tc.versions...)
			result, err := c.Create(t.Context(), Target{Name: "cluster1", ID: "id-1"}, types.NamespacedName{Namespace: "argo", Name: "w"}, placed)
			if errors.Is(err, errCreates) != tc.creates || !tc.creates && (err != nil || result.WECCopy != nil) {
				t.Errorf("%s: %v, %v", tc.reason, result, err)
			}
		})
	}
}

// TestCreateEnds: all that comes before the create ends before what is remembered of it does, and before the process counts as stuck.
func TestCreateEnds(t *testing.T) {
	needs := &needy{fails: errors.New("x")}
	c := creator(t, needs, "5")
	if _, err := c.Create(t.Context(), Target{Name: "cluster1", ID: "id-1"}, types.NamespacedName{Namespace: "argo", Name: "w"}, placed); !errors.Is(err, needs.fails) {
		t.Errorf("%v", err)
	}
	if needs.within <= 0 || needs.within > Settle {
		t.Errorf("it may take %s", needs.within)
	}
}

// TestCreateForgets: what says that a namespace is not as it was has it looked at again; a cluster that is slow costs the others nothing.
func TestCreateForgets(t *testing.T) {
	gone := apierrors.NewNotFound(schema.GroupResource{Resource: "namespaces"}, "argo")
	cases := map[string]struct {
		reason string
		err    error
		want   bool
	}{
		"Refused": {"it may be being deleted", &Refusal{}, true},
		"Gone":    {"it was deleted", fmt.Errorf("create: %w", gone), true},
		"Slow":    {"nothing is known", context.DeadlineExceeded, false},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			c := creator(t, &needy{brings: tc.err}, "5")
			if _, err := c.Create(t.Context(), Target{Name: "cluster1", ID: "id-1"}, types.NamespacedName{Namespace: "argo", Name: "w"}, placed); !errors.Is(err, tc.err) {
				t.Errorf("%v", err)
			}
			if got := !c.namespaces.isReady("id-1/argo/default", start); got != tc.want {
				t.Errorf("%s: it is forgotten: %v", tc.reason, got)
			}
		})
	}
}

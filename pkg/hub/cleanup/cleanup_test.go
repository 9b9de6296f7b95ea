package cleanup

import (
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
	"stellarflow.io/stellarflow/pkg/hub/hubcopy"
)

// script answers writes in order and keeps them.
type script struct {
	answers []answer
	asked   []string
}

// ServeHTTP notes the method and the body.
func (s *script) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	s.asked = append(s.asked, r.Method+" "+string(body))
	a := answer{http.StatusTeapot, "{}"}
	if len(s.answers) > 0 {
		a, s.answers = s.answers[0], s.answers[1:]
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(a.code)
	_, _ = io.WriteString(w, a.body)
}

func (s *script) client(t *testing.T) metadata.Interface {
	t.Helper()
	server := httptest.NewTLSServer(s)
	t.Cleanup(server.Close)
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	client, err := metadata.NewForConfig(&rest.Config{Host: server.URL, TLSClientConfig: rest.TLSClientConfig{CAData: ca}})
	if err != nil {
		t.Fatal(err)
	}
	return client
}

func wecCopy(finalizers ...string) *metav1.PartialObjectMetadata {
	w := stellarflow.NewWorkflowMetadata()
	w.Namespace, w.Name, w.UID, w.ResourceVersion, w.Finalizers = "argo", "w", "wec-1", "7", finalizers
	return w
}

// text is a patch as it is sent.
func text(t *testing.T, operations ...hubcopy.Operation) string {
	t.Helper()
	raw, err := json.Marshal(operations)
	if err != nil {
		t.Fatal(err)
	}
	return "PATCH " + string(raw)
}

var (
	testFailed = answer{422, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Invalid","code":422,"details":{}}`}
	conflict   = answer{409, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Conflict","code":409}`}
)

func TestWrites(t *testing.T) {
	held := wecCopy("x", stellarflow.FinalizerHarvest)
	same := hubcopy.SameObject(held)
	release := text(t, same, hubcopy.Test(stellarflow.FinalizerHarvest, "metadata", "finalizers", "1"), hubcopy.Remove("metadata", "finalizers", "1"))
	const deleted = `DELETE {"kind":"DeleteOptions","apiVersion":"v1","preconditions":{"uid":"wec-1"},"propagationPolicy":"Background"}` + "\n"
	deleting := held.DeepCopy()
	deleting.DeletionTimestamp = &metav1.Time{Time: start}
	ok := answer{200, `{"kind":"Status","apiVersion":"v1","status":"Success"}`}
	do := map[string]func(*testing.T, metadata.Interface, *metav1.PartialObjectMetadata) (*metav1.PartialObjectMetadata, error){
		"release": func(t *testing.T, c metadata.Interface, w *metav1.PartialObjectMetadata) (*metav1.PartialObjectMetadata, error) {
			return ReleaseHarvest(t.Context(), c, w)
		},
		"restore": func(t *testing.T, c metadata.Interface, w *metav1.PartialObjectMetadata) (*metav1.PartialObjectMetadata, error) {
			return RestoreHarvest(t.Context(), c, w)
		},
		"terminate": func(t *testing.T, c metadata.Interface, w *metav1.PartialObjectMetadata) (*metav1.PartialObjectMetadata, error) {
			return Terminate(t.Context(), c, w, "", false)
		},
		"terminate suspended": func(t *testing.T, c metadata.Interface, w *metav1.PartialObjectMetadata) (*metav1.PartialObjectMetadata, error) {
			return Terminate(t.Context(), c, w, "", true)
		},
		"end stopped": func(t *testing.T, c metadata.Interface, w *metav1.PartialObjectMetadata) (*metav1.PartialObjectMetadata, error) {
			return Terminate(t.Context(), c, w, "Stop", true)
		},
		"delete": func(t *testing.T, c metadata.Interface, w *metav1.PartialObjectMetadata) (*metav1.PartialObjectMetadata, error) {
			return DeleteWECCopy(t.Context(), c, w)
		},
	}
	cases := map[string]struct {
		reason  string
		do      string
		wecCopy *metav1.PartialObjectMetadata
		answers []answer
		asked   []string
		written bool
		lost    bool
		fails   bool
	}{
		"Release":        {"the finalizer where it stands, of this object", "release", held, []answer{present}, []string{release}, true, false, false},
		"ReleaseNone":    {"it is off already", "release", wecCopy("x"), nil, nil, false, false, false},
		"ReleaseGone":    {"the last finalizer was the last of it", "release", held, []answer{notThere}, []string{release}, false, false, false},
		"ReleaseLost":    {"another finalizer went meanwhile", "release", held, []answer{testFailed}, []string{release}, false, true, true},
		"ReleaseRefused": {"the rights are gone", "release", held, []answer{failing}, []string{release}, false, false, true},
		"Restore": {
			"only on exactly what was seen", "restore", wecCopy(),
			[]answer{present},
			[]string{text(t, append(append([]hubcopy.Operation{same}, hubcopy.Unchanged(wecCopy())...), hubcopy.AddFinalizer(wecCopy(), stellarflow.FinalizerHarvest)...)...)},
			true, false, false,
		},
		"RestoreThere":  {"it is there", "restore", held, nil, nil, false, false, false},
		"Terminate":     {"one field, nothing else", "terminate", held, []answer{present}, []string{text(t, same, hubcopy.Add("Terminate", "spec", "shutdown"))}, true, false, false},
		"TerminateHeld": {"Argo ends nothing that is suspended", "terminate suspended", held, []answer{present}, []string{text(t, same, hubcopy.Add("Terminate", "spec", "shutdown"), hubcopy.Add(false, "spec", "suspend"))}, true, false, false},
		"TerminateStop": {"it is being stopped already", "end stopped", held, []answer{present}, []string{text(t, same, hubcopy.Add(false, "spec", "suspend"))}, true, false, false},
		"Delete":        {"the delete is taken first, then the finalizer goes", "delete", held, []answer{ok, present}, []string{deleted, release}, true, false, false},
		"DeleteAgain":   {"it is being deleted", "delete", deleting, []answer{present}, []string{release}, true, false, false},
		"DeleteGone":    {"somebody was faster", "delete", held, []answer{notThere, notThere}, []string{deleted, release}, false, false, false},
		"DeleteOther":   {"another object has the name: its UID is not ours, and so the patch fails too", "delete", held, []answer{conflict, testFailed}, []string{deleted, release}, false, true, true},
		"DeleteRefused": {"not deleted, so the finalizer stays", "delete", held, []answer{failing}, []string{deleted}, false, false, true},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			s := &script{answers: tc.answers}
			before := tc.wecCopy.DeepCopy()
			written, err := do[tc.do](t, s.client(t), tc.wecCopy)
			if (written != nil) != tc.written || (err != nil) != tc.fails || errors.Is(err, hubcopy.ErrLostRace) != tc.lost {
				t.Errorf("%s: it returns %v, %v", tc.reason, written, err)
			}
			if diff := cmp.Diff(tc.asked, s.asked); diff != "" {
				t.Errorf("%s: requests -want +got:\n%s", tc.reason, diff)
			}
			if diff := cmp.Diff(before, tc.wecCopy); diff != "" {
				t.Errorf("the cached copy was changed:\n%s", diff)
			}
		})
	}
}

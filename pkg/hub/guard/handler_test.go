package guard

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	admissionv1 "k8s.io/api/admission/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
	"stellarflow.io/stellarflow/pkg/hub/hubcopy"
	"stellarflow.io/stellarflow/pkg/hub/hubcopy/hubcopytest"
	"stellarflow.io/stellarflow/pkg/hub/metrics"
)

// asking is the API server's question about a write of alice's, as Argo's programs make it.
func asking(t *testing.T, change func(*v1alpha1.Workflow)) admission.Request {
	t.Helper()
	old := storedCopy(t)
	return admission.Request{AdmissionRequest: admissionv1.AdmissionRequest{
		UID: "id", Operation: admissionv1.Update, UserInfo: authenticationv1.UserInfo{Username: "alice"},
		OldObject: runtime.RawExtension{Raw: marshalled(t, old.Object)}, Object: runtime.RawExtension{Raw: marshalled(t, byArgo(t, old, change).Object)},
	}}
}

func marshalled(t *testing.T, value any) []byte {
	t.Helper()
	raw, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// requested is what was counted, as request/result.
func requested(t *testing.T, counted *metrics.Metrics) map[string]float64 {
	t.Helper()
	registry := prometheus.NewRegistry()
	registry.MustRegister(counted)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]float64{}
	for _, family := range families {
		if family.GetName() != "stellarflow_requests_total" {
			continue
		}
		for _, m := range family.GetMetric() {
			labels := map[string]string{}
			for _, pair := range m.GetLabel() {
				labels[pair.GetName()] = pair.GetValue()
			}
			if value := m.GetCounter().GetValue(); value > 0 {
				found[labels["request"]+"/"+labels["result"]] = value
			}
		}
	}
	return found
}

// TestHandle is the table of what the API server is answered, and what is counted.
func TestHandle(t *testing.T) {
	asIs, dry := func(*admission.Request) {}, func(r *admission.Request) { r.DryRun = ptr.To(true) }
	status := func(r *admission.Request) { r.SubResource = "status" }
	phase := func(w *v1alpha1.Workflow) { w.Status.Phase = v1alpha1.WorkflowSucceeded }
	other := func(w *v1alpha1.Workflow) { w.Spec.Entrypoint = "other" }
	cases := map[string]struct {
		reason  string
		change  func(*v1alpha1.Workflow)
		ask     func(*admission.Request)
		code    int32 // of a refusal
		says    string
		intent  stellarflow.IntentKind
		counted string
	}{
		"Harmless":         {"it passes", func(w *v1alpha1.Workflow) { w.Labels["team"] = "green" }, asIs, 0, "", "", ""},
		"Resume":           {"an intent", resumed, asIs, 0, "", stellarflow.IntentResume, "resume/asked"},
		"ResumeTried":      {"answered as if it were done, and not counted", resumed, dry, 0, "", stellarflow.IntentResume, ""},
		"Set":              {"an intent", answered, asIs, 0, "", stellarflow.IntentSet, "set/asked"},
		"Phase":            {"refused, as the kind that it looks like", phase, asIs, http.StatusForbidden, "would be overwritten", "", "set/refused"},
		"PhaseTried":       {"refused, and not counted", phase, dry, http.StatusForbidden, "would be overwritten", "", ""},
		"Spec":             {"refused, as no kind of ours", other, asIs, http.StatusForbidden, "resubmit it with the change", "", "other/refused"},
		"Subresource":      {"the API server would drop the annotation: it would be lost", resumed, status, http.StatusForbidden, "cannot be asked for with a write to a subresource", "", "resume/refused"},
		"SubresourceTried": {"likewise, and not counted", resumed, func(r *admission.Request) { status(r); dry(r) }, http.StatusForbidden, "cannot be asked for with a write to a subresource", "", ""},
		"NoObject":         {"it decides about updates only", resumed, func(r *admission.Request) { r.OldObject.Raw = nil }, http.StatusBadRequest, "read the Workflow", "", ""},
		"NoJSON":           {"nothing passes that cannot be read", resumed, func(r *admission.Request) { r.Object.Raw = []byte("{") }, http.StatusBadRequest, "read the Workflow", "", ""},
		"Large": {"decided about one at a time, as the others", func(w *v1alpha1.Workflow) {
			resumed(w)
			w.Annotations["large"] = strings.Repeat("x", largeWrite)
		}, asIs, 0, "", stellarflow.IntentResume, "resume/asked"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			counted := metrics.New()
			handler := &Handler{Now: func() time.Time { return later.Time }, Metrics: counted}
			request := asking(t, tc.change)
			tc.ask(&request)
			response := handler.Handle(t.Context(), request)
			want := map[string]float64{}
			if tc.counted != "" {
				want[tc.counted] = 1
			}
			if diff := cmp.Diff(want, requested(t, counted)); diff != "" {
				t.Errorf("%s: counted: -want +got:\n%s", tc.reason, diff)
			}
			if tc.code != 0 {
				if response.Allowed || response.Result.Code != tc.code || !strings.Contains(response.Result.Message, tc.says) || response.Patch != nil {
					t.Errorf("%s: the answer is %+v", tc.reason, response)
				}
				return
			}
			if !response.Allowed {
				t.Fatalf("%s: refused: %+v", tc.reason, response.Result)
			}
			if got := intended(t, request, response); got != tc.intent {
				t.Errorf("%s: stored with the intent %q, want %q", tc.reason, got, tc.intent)
			}
		})
	}
}

// intended is the kind of the one intent in what the API server stores after an answer, empty for none.
func intended(t *testing.T, request admission.Request, response admission.Response) stellarflow.IntentKind {
	t.Helper()
	var stored v1alpha1.Workflow
	raw := request.Object.Raw
	if response.Patch != nil {
		if response.PatchType == nil || *response.PatchType != admissionv1.PatchTypeJSONPatch {
			t.Fatalf("the patch is of type %v", response.PatchType)
		}
		var operations []hubcopy.Operation
		if err := json.Unmarshal(response.Patch, &operations); err != nil {
			t.Fatal(err)
		}
		patched, err := hubcopytest.Apply(t, raw, operations)
		if err != nil {
			t.Fatal(err)
		}
		raw = patched
	}
	if err := json.Unmarshal(raw, &stored); err != nil {
		t.Fatal(err)
	}
	intents, err := stellarflow.IntentsOf(&stored)
	switch {
	case err != nil:
		t.Fatal(err)
	case len(intents) > 1:
		t.Fatalf("there are %d intents: %v", len(intents), intents)
	case len(intents) == 0:
		return ""
	case intents[0].ID != "id" || intents[0].Caller != "alice" || !intents[0].Time.Equal(later.Time):
		t.Errorf("it says %+v", intents[0])
	}
	return intents[0].Kind
}

// Nobody waits any more: what is large is not decided about, and holds nobody else up.
func TestHandleGivesUp(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	handler := &Handler{Now: func() time.Time { return later.Time }}
	small := asking(t, resumed)
	if response := handler.Handle(ctx, small); !response.Allowed {
		t.Errorf("what is small: %+v", response.Result)
	}
	large := asking(t, func(w *v1alpha1.Workflow) { resumed(w); w.Annotations["large"] = strings.Repeat("x", largeWrite) })
	if response := handler.Handle(ctx, large); response.Allowed || response.Result.Code != http.StatusGatewayTimeout {
		t.Errorf("what is large: %+v", response)
	}
	if response := handler.Handle(t.Context(), large); !response.Allowed {
		t.Errorf("the one after it: %+v", response.Result)
	}
}

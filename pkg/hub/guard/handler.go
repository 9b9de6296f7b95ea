package guard

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
	"stellarflow.io/stellarflow/pkg/hub/hubcopy"
	"stellarflow.io/stellarflow/pkg/hub/metrics"
)

// Path is where the webhook is served; config/webhook names it.
const Path = "/admit-workflow"

// Handler answers the API server's questions about writes to placed Workflows, from the two objects in the question alone.
type Handler struct {
	Now func() time.Time
	// Profile is the hub's; shared if empty.
	Profile stellarflow.Profile
	// Metrics count what is asked and refused; nil for none.
	Metrics *metrics.Metrics

	large sync.Mutex
}

// largeWrite is the size of the two objects in bytes from which one write is decided about at a time: packed nodes may grow to a
// hundred megabytes.
const largeWrite = 64 << 10

// Handle decides about one write.
func (h *Handler) Handle(ctx context.Context, request admission.Request) admission.Response {
	w := Write{Old: &unstructured.Unstructured{}, New: &unstructured.Unstructured{}, ID: request.UID, Caller: request.UserInfo.Username, Time: h.Now(), Profile: h.Profile}
	for object, raw := range map[*unstructured.Unstructured][]byte{w.Old: request.OldObject.Raw, w.New: request.Object.Raw} {
		if err := object.UnmarshalJSON(raw); err != nil {
			return admission.Errored(http.StatusBadRequest, fmt.Errorf("read the Workflow: %w", err))
		}
	}
	if len(request.OldObject.Raw)+len(request.Object.Raw) > largeWrite {
		h.large.Lock()
		defer h.large.Unlock()
		if err := ctx.Err(); err != nil { // nobody waits for the answer any more
			return admission.Errored(http.StatusGatewayTimeout, err)
		}
	}
	decision := Decide(w)
	if decision.Refusal == "" && decision.Kind != "" && request.SubResource != "" { // the API server keeps no annotation of such a write
		decision = refused(decision.Kind, "%s cannot be asked for with a write to a subresource: the hub's CRD of Workflows has one that Argo's own has not; write the Workflow itself", decision.Kind)
	}
	if decision.Refusal != "" {
		h.count(request, decision, metrics.ResultRefused)
		return admission.Response{AdmissionResponse: admissionv1.AdmissionResponse{Result: &metav1.Status{
			Status: metav1.StatusFailure, Code: http.StatusForbidden, Reason: metav1.StatusReasonForbidden, Message: decision.Refusal,
		}}}
	}
	response := admission.Allowed("")
	if len(decision.Operations) == 0 {
		return response
	}
	raw, err := hubcopy.Marshal(decision.Operations)
	if err != nil {
		return admission.Errored(http.StatusInternalServerError, err)
	}
	if decision.Kind != "" {
		h.count(request, decision, metrics.ResultAsked)
	}
	json := admissionv1.PatchTypeJSONPatch
	response.Patch, response.PatchType = raw, &json
	return response
}

func (h *Handler) count(request admission.Request, decision Decision, result string) {
	if request.DryRun != nil && *request.DryRun {
		return
	}
	h.Metrics.Requested(string(decision.Kind), result)
}

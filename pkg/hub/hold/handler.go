package hold

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"stellarflow.io/stellarflow/pkg/apis/control/v1alpha1"
	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
	"stellarflow.io/stellarflow/pkg/hub/hubcopy"
	"stellarflow.io/stellarflow/pkg/hub/travel"
)

// Path is where the webhook is served; config/webhook names it.
const Path = "/hold-workflow"

// lookFor bounds how long is looked for what a Workflow needs: the API server waits 5 s for the whole answer.
const lookFor = 2 * time.Second

// auditHeldBy is the key, in the API server's audit log, of the policies that held a Workflow.
const auditHeldBy = "held-by"

// Handler answers the API server's questions about new Workflows in namespaces that hold.
type Handler struct {
	// Cache reads policies and namespaces; Live a namespace that the cache does not show yet.
	Cache, Live client.Reader
	// Objects reads what a held Workflow needs.
	Objects dynamic.Interface
}

// Handle decides about one creation. It never refuses for a fault of our own: without a decision a Workflow is created as it is, unless the
// policy of config/webhook, which knows the BindingPolicies too, refuses it.
func (h *Handler) Handle(ctx context.Context, request admission.Request) admission.Response {
	workflow := &unstructured.Unstructured{}
	if err := workflow.UnmarshalJSON(request.Object.Raw); err != nil {
		return undecided(err)
	}
	decision, err := h.decide(ctx, request.Namespace, workflow)
	switch {
	case err != nil:
		return undecided(err)
	case len(decision.Policies) == 0:
		return admission.Allowed("")
	case decision.Refusal != "":
		return refused(decision.Policies, decision.Refusal)
	}
	response := admission.Allowed("")
	response.AuditAnnotations = map[string]string{auditHeldBy: strings.Join(decision.Policies, ",")}
	if len(decision.Operations) > 0 {
		raw, err := hubcopy.Marshal(decision.Operations)
		if err != nil {
			return undecided(err)
		}
		json := admissionv1.PatchTypeJSONPatch
		response.Patch, response.PatchType = raw, &json
	}
	refusal, warnings := h.examine(ctx, request.Namespace, workflow)
	if refusal != "" {
		return refused(decision.Policies, refusal)
	}
	response.Warnings = warnings
	return response
}

func (h *Handler) decide(ctx context.Context, namespace string, workflow *unstructured.Unstructured) (Decision, error) {
	var policies v1alpha1.BindingPolicyList
	if err := h.Cache.List(ctx, &policies); err != nil {
		return Decision{}, fmt.Errorf("list the binding policies: %w", err)
	}
	labels, err := h.labels(ctx, namespace)
	if err != nil {
		return Decision{}, err
	}
	return Decide(policies.Items, labels, namespace, workflow), nil
}

// labels returns those of a namespace, which may have been created a moment ago.
func (h *Handler) labels(ctx context.Context, name string) (map[string]string, error) {
	namespace := stellarflow.NewNamespaceMetadata()
	err := h.Cache.Get(ctx, types.NamespacedName{Name: name}, namespace)
	if apierrors.IsNotFound(err) {
		err = h.Live.Get(ctx, types.NamespacedName{Name: name}, namespace)
	}
	if err != nil {
		return nil, fmt.Errorf("read namespace %q: %w", name, err)
	}
	return namespace.Labels, nil
}

// examine looks for what a held Workflow needs; what cannot be found out in time is not held against it.
func (h *Handler) examine(ctx context.Context, namespace string, workflow *unstructured.Unstructured) (refusal string, warnings []string) {
	ctx, cancel := context.WithTimeout(ctx, lookFor)
	defer cancel()
	spec, _ := workflow.Object["spec"].(map[string]any)
	refusal, warnings, err := examine(ctx, spec, namespace, func(ctx context.Context, reference stellarflow.Reference) (map[string]any, bool, error) {
		if reference.Kind.ByPolicy() { // whether it may travel is asked when it is placed
			return nil, true, nil
		}
		object, err := travel.ReadHub(ctx, h.Objects, reference, namespace)
		if err != nil || object == nil {
			return nil, false, err
		}
		of, _ := object.Object["spec"].(map[string]any)
		return of, true, nil
	})
	if err != nil {
		return "", []string{"what it needs was not looked for: " + stellarflow.OneLine(err.Error(), maxError)}
	}
	return refusal, warnings
}

// undecided lets a Workflow be created as it is.
func undecided(err error) admission.Response {
	return admission.Allowed("").WithWarnings("the hub manager could not decide whether to hold it: " + stellarflow.OneLine(err.Error(), maxError))
}

func refused(policies []string, why string) admission.Response {
	return admission.Response{AdmissionResponse: admissionv1.AdmissionResponse{Result: &metav1.Status{
		Status: metav1.StatusFailure, Code: http.StatusUnprocessableEntity, Reason: metav1.StatusReasonInvalid,
		Message: fmt.Sprintf("BindingPolicy %s selects this Workflow to run on another cluster, and none can run it: %s", policies[0], why),
	}}}
}

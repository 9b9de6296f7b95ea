package podmirror

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
	"stellarflow.io/stellarflow/pkg/hub/hubcopy"
)

// Path is where the webhook is served that sees deletions of mirrored pods; config/webhook names it, and whose it is asked about.
const Path = "/delete-mirrored-pod"

// fieldManager is whose the hub manager's patches are.
const fieldManager = "stellarflow-hub"

// Handler notes on a mirrored pod who deletes it, before the API server does. It refuses nothing.
type Handler struct {
	Hub kubernetes.Interface
	// Now is the clock of the hub's API server.
	Now func() time.Time
}

// Handle notes one deletion. The API server asks again when the note has changed the object that it is about to delete.
func (h *Handler) Handle(ctx context.Context, request admission.Request) admission.Response {
	if len(request.OldObject.Raw) == 0 { // a collection as such: each of its pods is asked about
		return admission.Allowed("")
	}
	var mirror corev1.Pod
	if err := json.Unmarshal(request.OldObject.Raw, &mirror); err != nil {
		return admission.Errored(http.StatusBadRequest, fmt.Errorf("read the pod: %w", err))
	}
	ask := Ask{By: request.UserInfo.Username, Time: h.Now().UTC()}
	if len(request.Options.Raw) > 0 {
		var options metav1.DeleteOptions
		if err := json.Unmarshal(request.Options.Raw, &options); err != nil {
			return admission.Errored(http.StatusBadRequest, fmt.Errorf("read how the pod is deleted: %w", err))
		}
		ask.Grace = options.GracePeriodSeconds
	}
	ask, news := note(&mirror, ask)
	if !news || request.DryRun != nil && *request.DryRun {
		return admission.Allowed("")
	}
	wanted := map[string]*string{stellarflow.AnnotationDeletion: ptr.To(ask.String())}
	raw, err := hubcopy.Marshal(slices.Concat([]hubcopy.Operation{hubcopy.SameObject(&mirror)}, hubcopy.Maps(&mirror), hubcopy.Set(&mirror, "annotations", wanted)))
	if err == nil {
		_, err = h.Hub.CoreV1().Pods(mirror.Namespace).Patch(ctx, mirror.Name, hubcopy.PatchType, raw, metav1.PatchOptions{FieldManager: fieldManager})
	}
	if err != nil && !apierrors.IsNotFound(err) {
		return admission.Errored(http.StatusInternalServerError, fmt.Errorf("note that pod %s/%s is deleted, which runs on cluster %s: %w",
			mirror.Namespace, mirror.Name, mirror.Labels[stellarflow.LabelCluster], err))
	}
	return admission.Allowed("")
}

// note returns what is to be noted on a Pod that somebody deletes. It is false if that is no mirrored one, or says so. One that goes already is
// deleted once more to shorten its grace period.
func note(mirror *corev1.Pod, ask Ask) (Ask, bool) {
	if mirror.Labels[stellarflow.LabelMirrorOf] == "" {
		return ask, false
	}
	switch { // as the API server does
	case ask.Grace == nil:
		ask.Grace = mirror.Spec.TerminationGracePeriodSeconds
	case *ask.Grace < 0:
		ask.Grace = ptr.To[int64](1)
	}
	noted, found := AskOf(mirror)
	if age := ask.Time.Sub(noted.Time); found && noted.By == ask.By && ptr.Equal(noted.Grace, ask.Grace) && age > -early && age < within {
		return noted, false
	}
	if Asked(mirror) {
		ask.Shortens = ptr.To(ptr.Deref(mirror.DeletionGracePeriodSeconds, 0))
	}
	return ask, true
}

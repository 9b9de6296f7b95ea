package podmirror

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"time"

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
	Now func() time.Time
}

// Handle notes one deletion. The API server asks again when the note has changed the object that it is about to delete.
func (h *Handler) Handle(ctx context.Context, request admission.Request) admission.Response {
	if len(request.OldObject.Raw) == 0 { // a collection as such: each of its pods is asked about
		return admission.Allowed("")
	}
	var mirror metav1.PartialObjectMetadata
	if err := json.Unmarshal(request.OldObject.Raw, &mirror); err != nil {
		return admission.Errored(http.StatusBadRequest, fmt.Errorf("read the pod: %w", err))
	}
	ask := Ask{By: request.UserInfo.Username, Time: h.Now().UTC()}
	if !note(&mirror, ask) || request.DryRun != nil && *request.DryRun {
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

// note reports whether an ask is to be noted on a Pod that somebody deletes: not if it is no mirrored one, is going already, or says so.
func note(mirror metav1.Object, ask Ask) bool {
	noted, found := AskOf(mirror)
	known := found && noted.By == ask.By && ask.Time.Sub(noted.Time) < within/2
	return !known && mirror.GetLabels()[stellarflow.LabelMirrorOf] != "" && mirror.GetDeletionTimestamp() == nil
}

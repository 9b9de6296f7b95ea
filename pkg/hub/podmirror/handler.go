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
	now := h.Now().UTC()
	noted, found := AskOf(&mirror)
	dry := request.DryRun != nil && *request.DryRun
	known := found && noted.By == request.UserInfo.Username && now.Sub(noted.Time) < within/2
	if dry || known || mirror.Labels[stellarflow.LabelMirrorOf] == "" || mirror.DeletionTimestamp != nil {
		return admission.Allowed("")
	}
	note := map[string]*string{stellarflow.AnnotationDeletion: ptr.To(Ask{By: request.UserInfo.Username, Time: now}.String())}
	raw, err := hubcopy.Marshal(slices.Concat([]hubcopy.Operation{hubcopy.SameObject(&mirror)}, hubcopy.Maps(&mirror), hubcopy.Set(&mirror, "annotations", note)))
	if err == nil {
		_, err = h.Hub.CoreV1().Pods(mirror.Namespace).Patch(ctx, mirror.Name, hubcopy.PatchType, raw, metav1.PatchOptions{FieldManager: "stellarflow-hub"})
	}
	if err != nil && !apierrors.IsNotFound(err) {
		return admission.Errored(http.StatusInternalServerError, fmt.Errorf("note that pod %s/%s is deleted, which runs on cluster %s: %w",
			mirror.Namespace, mirror.Name, mirror.Labels[stellarflow.LabelCluster], err))
	}
	return admission.Allowed("")
}

package policy

import (
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/tools/record"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

// maxSaid bounds, in bytes, what an event quotes of an API server's answer.
const maxSaid = 512

// sayForbidden says in an event that the manager may not write an object's status: the status itself cannot say it.
func sayForbidden(recorder record.EventRecorder, object client.Object, err error) {
	if recorder == nil || !apierrors.IsForbidden(err) {
		return
	}
	recorder.Eventf(object, corev1.EventTypeWarning, "StatusNotWritten",
		"the hub manager may not write the status: %s: run `stellarflow install` again to restore its rights", stellarflow.OneLine(err.Error(), maxSaid))
}

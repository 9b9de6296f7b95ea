package downsync

import (
	"errors"
	"fmt"
	"net/http"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

// Reasons of a Refusal.
const (
	ReasonNameTaken             = "NameTaken"
	ReasonNamespaceRefused      = "NamespaceRefused"
	ReasonServiceAccountMissing = "ServiceAccountMissing"
	ReasonDependencyMissing     = "DependencyMissing"
	ReasonRejected              = "Rejected"
	ReasonNotAllowed            = "NotAllowed"
)

// Refusal says that a WEC definitely did not take a Workflow. Message is a sentence for the user, with the remedy.
type Refusal struct {
	Reason  string
	Message string
}

// Error returns the message.
func (r *Refusal) Error() string { return r.Message }

// maxAnswer bounds, in bytes, what a message quotes of a WEC's answer: with the sentence around it it fits an event.
const maxAnswer = 600

// RefusalOf turns a definite answer of a WEC's API server into a Refusal, and leaves every other error as it is: an answer
// may be lost, or come from something in between.
func RefusalOf(err error, action string) error {
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		return fmt.Errorf("%s: %w", action, err)
	}
	message := stellarflow.OneLine(status.Status().Message, maxAnswer)   // a stranger's text
	if apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) { // it was found ready a while ago
		return &Refusal{ReasonNamespaceRefused, fmt.Sprintf("its namespace is being deleted there: wait until it is gone: %s", message)}
	}
	switch status.Status().Code {
	case http.StatusForbidden:
		return &Refusal{ReasonNotAllowed, fmt.Sprintf("it may not %s: %s: change the quota, the admission policy or the hub's rights there", action, message)}
	case http.StatusBadRequest, http.StatusUnprocessableEntity, http.StatusRequestEntityTooLarge:
		return &Refusal{ReasonRejected, fmt.Sprintf("it rejects the request to %s: %s: correct the Workflow, or the CRD or admission there", action, message)}
	}
	return fmt.Errorf("%s: %w", action, err)
}

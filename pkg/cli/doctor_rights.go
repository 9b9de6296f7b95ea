package cli

import (
	"context"
	"slices"

	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
	"stellarflow.io/stellarflow/pkg/wec"
)

// hubAccount is the ServiceAccount of the hub manager.
const hubAccount = "stellarflow-hub"

// observeHubRights asks the hub for each right of its manager.
func (d *doctor) observeHubRights(ctx context.Context) error {
	objects, err := renderHub(renderOptions{})
	if err != nil {
		return err
	}
	needed, err := rightsNeeded(objects, hubAccount)
	if err != nil {
		return err
	}
	accounts := "system:serviceaccounts"
	d.facts.HubRights, err = missing(ctx, needed, func(ctx context.Context, right authorizationv1.ResourceAttributes) (bool, error) {
		review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
			ResourceAttributes: &right,
			User:               "system:serviceaccount:" + stellarflow.SystemNamespace + ":" + hubAccount,
			Groups:             []string{accounts, accounts + ":" + stellarflow.SystemNamespace, "system:authenticated"},
		}}
		err := d.hub.Create(ctx, review)
		return review.Status.Allowed, err
	})
	return err
}

// lackingThere asks a WEC for each right that the hub needs there, with the hub's own credential. Its administrator may take those to logs and
// exec away: who asks for a stream is told then.
func lackingThere(ctx context.Context, clients *wec.Clients) ([]string, error) {
	objects, err := renderWEC()
	if err != nil {
		return nil, err
	}
	objects = slices.DeleteFunc(objects, func(object *unstructured.Unstructured) bool { return object.GetName() == wecStreams })
	needed, err := rightsNeeded(objects, wecAccount)
	if err != nil {
		return nil, err
	}
	return missing(ctx, needed, func(ctx context.Context, right authorizationv1.ResourceAttributes) (bool, error) {
		review := &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: &right}}
		answer, err := clients.Core.AuthorizationV1().SelfSubjectAccessReviews().Create(ctx, review, metav1.CreateOptions{})
		if err != nil {
			return false, err
		}
		return answer.Status.Allowed, nil
	})
}

package downsync

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

// code is an API server's answer.
func code(status int32) error {
	return &apierrors.StatusError{ErrStatus: metav1.Status{Status: metav1.StatusFailure, Code: status, Message: "it said no"}}
}

func TestRefusalOf(t *testing.T) {
	rejected := &Refusal{ReasonRejected, "it rejects the request to create it: it said no: correct the Workflow, or the CRD or admission there"}
	cases := map[string]struct {
		reason string
		err    error
		want   *Refusal // nil: it may have happened
	}{
		"BadRequest":   {"an answer of the API server: nothing was stored", code(http.StatusBadRequest), rejected},
		"Invalid":      {"CRD validation", code(http.StatusUnprocessableEntity), rejected},
		"TooLarge":     {"etcd's limit", code(http.StatusRequestEntityTooLarge), rejected},
		"Wrapped":      {"whoever wrapped it", fmt.Errorf("x: %w", code(http.StatusBadRequest)), rejected},
		"Forbidden":    {"quota, admission or rights", code(http.StatusForbidden), &Refusal{ReasonNotAllowed, "it may not create it: it said no: change the quota, the admission policy or the hub's rights there"}},
		"Unauthorized": {"the token: the cluster says that, not the Workflow", code(http.StatusUnauthorized), nil},
		"NotFound":     {"a proxy says 404 as well", code(http.StatusNotFound), nil},
		"Conflict":     {"an answer to something else", code(http.StatusConflict), nil},
		"Gone":         {"not of a create", code(http.StatusGone), nil},
		"TooMany":      {"asked to come again", code(http.StatusTooManyRequests), nil},
		"Internal":     {"a webhook that failed, or etcd: it may be stored", code(http.StatusInternalServerError), nil},
		"BadGateway":   {"the answer of something in between", code(http.StatusBadGateway), nil},
		"Unavailable":  {"likewise", code(http.StatusServiceUnavailable), nil},
		"Timeout":      {"it may still happen", code(http.StatusGatewayTimeout), nil},
		"Network":      {"no answer at all", errors.New("EOF"), nil},
		"Terminating": {
			"the namespace was ready a while ago", &apierrors.StatusError{ErrStatus: metav1.Status{
				Code: http.StatusForbidden, Message: "it said no", Details: &metav1.StatusDetails{Causes: []metav1.StatusCause{{Type: corev1.NamespaceTerminatingCause}}},
			}},
			&Refusal{ReasonNamespaceRefused, "its namespace is being deleted there: wait until it is gone: it said no"},
		},
		"Real": {
			"as the API server builds it", apierrors.NewForbidden(schema.GroupResource{Group: "argoproj.io", Resource: "workflows"}, "w", errors.New("exceeded quota: q")),
			&Refusal{ReasonNotAllowed, `it may not create it: workflows.argoproj.io "w" is forbidden: exceeded quota: q: change the quota, the admission policy or the hub's rights there`},
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			err := RefusalOf(tc.err, "create it")
			got, ok := isRefusal(err)
			if diff := cmp.Diff(tc.want, got); diff != "" || ok != (tc.want != nil) {
				t.Errorf("%s: -want +got:\n%s", tc.reason, diff)
			}
			if tc.want == nil && !errors.Is(err, tc.err) {
				t.Errorf("the cause is lost: %v", err)
			}
			if tc.want != nil && err.Error() != tc.want.Message {
				t.Errorf("the text is %q", err)
			}
		})
	}
}

func TestTolerateExisting(t *testing.T) {
	exists := apierrors.NewAlreadyExists(schema.GroupResource{Resource: "secrets"}, "s")
	if err := errors.Join(tolerateExisting(nil, "x"), tolerateExisting(exists, "x")); err != nil {
		t.Error(err)
	}
	if _, ok := isRefusal(tolerateExisting(code(http.StatusForbidden), "x")); !ok {
		t.Error("403 is a refusal")
	}
}

func TestRefusalQuotesAStrangerShortly(t *testing.T) {
	for _, err := range []error{
		apierrors.NewForbidden(stellarflow.Workflows.GroupResource(), "w", errors.New("\x1b[2J"+strings.Repeat("x", 1<<20))), apierrors.NewBadRequest("\x1b[2J" + strings.Repeat("x", 1<<20)),
	} {
		refused := RefusalOf(err, "create the Workflow")
		if _, ok := isRefusal(refused); !ok || len(refused.Error()) > 1024 || strings.ContainsFunc(refused.Error(), stellarflow.IsControl) {
			t.Errorf("%d bytes: %.200q", len(refused.Error()), refused.Error())
		}
	}
}

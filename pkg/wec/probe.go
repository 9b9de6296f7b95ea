package wec

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/version"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

// MaxClockSkew is how far a WEC's clock may be from the hub's. Argo's times are mirrored as they are; beyond this they
// would order wrongly on the hub.
const MaxClockSkew = 60 * time.Second

// How many bytes a version, and the text of an error, may have.
const (
	maxVersion = 64
	maxText    = 512
)

// idPattern is what UIDs look like, so that nothing else gets into the hub's record.
var idPattern = regexp.MustCompile(`^[A-Za-z0-9._-]+$`)

// Facts is what a probe found.
type Facts struct {
	// ID is the UID of the cluster's kube-system Namespace: its identity.
	ID types.UID
	// Version is the Kubernetes version, such as v1.34.4.
	Version string
	// ResourceVersion is that of its store, 0 if it is no number.
	ResourceVersion uint64
	// Skew is the WEC's clock minus the hub's, to the second.
	Skew time.Duration
}

// Reasons why a WEC cannot be used.
const (
	ReasonUnreachable   = "Unreachable"
	ReasonUnauthorized  = "CredentialRejected" //nolint:gosec // a reason, not a credential
	ReasonForbidden     = "CredentialLacksRights"
	ReasonArgoMissing   = "ArgoCRDMissing"
	ReasonClockSkew     = "ClockSkew"
	ReasonBadCredential = "CredentialInvalid" //nolint:gosec // a reason, not a credential
	ReasonChanged       = "ClusterChanged"
	ReasonConnecting    = "Connecting"
	ReasonRestored      = "ClusterRestored"
	ReasonHeldElsewhere = "LeaseHeldElsewhere"
)

// ChangedMessage is the sentence of ReasonChanged.
const ChangedMessage = "behind the address is another cluster than before: run `stellarflow leave` and `stellarflow join` for the new one"

// Trouble is why a WEC cannot be used, as a reason constant and a sentence with the remedy.
type Trouble struct {
	Reason  string
	Message string
}

// Error returns the sentence.
func (t *Trouble) Error() string { return t.Message }

// Probe asks the WEC for its version, identity and Argo's API, each within RequestTimeout. The error is a *Trouble; the
// facts are filled as far as it got.
func (c *Clients) Probe(ctx context.Context, now func() time.Time) (Facts, error) {
	var facts Facts
	if err := c.versionAndClock(ctx, now, &facts); err != nil {
		return facts, troubleOf(err, "read /version")
	}
	namespace, err := c.Core.CoreV1().Namespaces().Get(ctx, metav1.NamespaceSystem, metav1.GetOptions{})
	if err != nil {
		return facts, troubleOf(err, "read namespace kube-system")
	}
	if len(namespace.UID) > maxShown || !idPattern.MatchString(string(namespace.UID)) {
		return facts, &Trouble{ReasonUnreachable, "what answers is no API server, since its namespace kube-system has no UID: check the address"}
	}
	facts.ID = namespace.UID
	list, err := c.Metadata.Resource(stellarflow.Workflows).List(ctx, metav1.ListOptions{Limit: 1})
	switch {
	case apierrors.IsNotFound(err):
		return facts, &Trouble{ReasonArgoMissing, "the cluster does not serve workflows.argoproj.io/v1alpha1: install Argo Workflows there"}
	case err != nil:
		return facts, troubleOf(err, "list workflows.argoproj.io")
	}
	facts.ResourceVersion, _ = strconv.ParseUint(list.ResourceVersion, 10, 64)
	if facts.Skew.Abs() > MaxClockSkew {
		return facts, &Trouble{ReasonClockSkew, fmt.Sprintf("the cluster's clock differs from the hub's by more than %s: synchronise both with NTP", MaxClockSkew)}
	}
	return facts, nil
}

func (c *Clients) versionAndClock(ctx context.Context, now func() time.Time, facts *Facts) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, anyHost+"/version", nil)
	if err != nil {
		return err
	}
	sent := now()
	response, err := c.http.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(response.Body, 1<<16))
	if err != nil {
		return err
	}
	switch {
	case response.StatusCode == http.StatusUnauthorized:
		return apierrors.NewUnauthorized("the API server answered 401")
	case response.StatusCode != http.StatusOK:
		return fmt.Errorf("the answer was %s", response.Status)
	}
	var info version.Info
	if err := json.Unmarshal(body, &info); err != nil {
		return fmt.Errorf("the answer is not a Kubernetes version: %w", err)
	}
	facts.Version = stellarflow.OneLine(info.GitVersion, maxVersion)
	if date, err := http.ParseTime(response.Header.Get("Date")); err == nil {
		// The header has whole seconds and the answer took a while: only what both cannot explain is skew.
		facts.Skew = Skew(date, sent, now())
	}
	return nil
}

// Skew returns how far date, cut to the second, lies outside the time between sent and received.
func Skew(date, sent, received time.Time) time.Duration {
	if earliest := sent.Truncate(time.Second); date.Before(earliest) {
		return date.Sub(earliest)
	}
	if date.After(received) {
		return date.Sub(received).Truncate(time.Second)
	}
	return 0
}

func troubleOf(err error, action string) *Trouble {
	var trouble *Trouble
	switch {
	case errors.As(err, &trouble):
		return trouble
	case apierrors.IsUnauthorized(err):
		return &Trouble{ReasonUnauthorized, "the cluster rejects the hub's token: run `stellarflow join` again to renew it"}
	case apierrors.IsForbidden(err):
		return &Trouble{ReasonForbidden, fmt.Sprintf("the hub may not %s there: run `stellarflow join` again to restore its rights", action)}
	default:
		return &Trouble{ReasonUnreachable, fmt.Sprintf("cannot %s: %s: check the cluster and the network between it and the hub", action, Plain(err))}
	}
}

// Plain shortens an error to one that stays the same between tries: client ports and request ids differ each time.
func Plain(err error) string {
	text := err.Error()
	var request *url.Error // its address is not the WEC's own, see link
	if errors.As(err, &request) {
		text = strings.Replace(text, request.Error(), request.Err.Error(), 1)
	}
	for _, known := range []string{
		"connection refused", "no route to host", "network is unreachable", "i/o timeout", "context deadline exceeded", "connection reset by peer",
		"no such host", "certificate signed by unknown authority", "certificate has expired", "EOF",
	} {
		if strings.Contains(text, known) {
			return known
		}
	}
	return stellarflow.OneLine(text, maxText) // a stranger's words
}

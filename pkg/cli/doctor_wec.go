package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
	"stellarflow.io/stellarflow/pkg/cli/diagnosis"
	"stellarflow.io/stellarflow/pkg/wec"
)

// observeClusters asks every cluster, side by side.
func (d *doctor) observeClusters(ctx context.Context) error {
	wecs, err := storedWECs(ctx, d.env, d.hub)
	if err != nil {
		return err
	}
	d.facts.Clusters = make([]diagnosis.Cluster, len(wecs))
	for _, err := range each(ctx, wecs, func(ctx context.Context, i int) error {
		ctx, cancel := context.WithTimeout(ctx, d.timeout)
		defer cancel()
		e := &wecExam{doctor: d, storedWEC: wecs[i], found: &d.facts.Clusters[i]}
		return e.observe(ctx)
	}) {
		d.could(err)
	}
	return nil
}

// wecExam reads the facts of one cluster.
type wecExam struct {
	*doctor
	storedWEC
	found *diagnosis.Cluster
	skew  time.Duration
}

func (e *wecExam) observe(ctx context.Context) error {
	c := e.found
	c.Name, c.HubArgo = e.Name, versionOf(e.argo)
	c.OldStoreKeys = e.outdated(e.store)
	c.Credential = !errors.Is(e.Err, errNoCredential)
	if e.Cluster != nil {
		c.Joined = c.Credential || e.Cluster.Annotations[stellarflow.AnnotationClusterID] != ""
		c.Argo = e.Cluster.Annotations[stellarflow.AnnotationArgoVersion]
		c.Labels, c.Accepted = formatLabels(ownLabels(e.Cluster)), strings.Join(acceptedNamespaces(e.Cluster), ",")
		if status, message := connection(e.Cluster); status != statusReady {
			c.NotConnected = message
		}
	}
	if !c.Credential {
		return nil
	}
	if e.Err != nil {
		c.BadCredential = e.Err.Error()
		return nil //nolint:nilerr // it is a finding, and the other clusters can still be examined
	}
	facts, err := e.probe(ctx)
	if err != nil {
		return err
	}
	if recorded := e.recordedID(); facts.ID != "" && recorded != "" && facts.ID != recorded {
		c.Changed = true
		return nil
	}
	if c.Trouble != nil && c.Trouble.Reason != wec.ReasonForbidden && c.Trouble.Reason != wec.ReasonClockSkew {
		return nil
	}
	return e.observeInside(ctx)
}

// probe asks the cluster who it is. Trouble with that is a fact like others, not an error.
func (e *wecExam) probe(ctx context.Context) (wec.Facts, error) {
	facts, err := e.Clients.Probe(ctx, e.env.Now)
	e.found.Kubernetes, e.skew = facts.Version, facts.Skew
	if err != nil && !errors.As(err, &e.found.Trouble) {
		return facts, fmt.Errorf("cluster %q: %w", e.Name, err)
	}
	return facts, nil
}

// observeInside reads a cluster that answers.
func (e *wecExam) observeInside(ctx context.Context) error {
	var err error
	if e.found.Rights, err = lackingThere(ctx, e.Clients); err != nil {
		return fmt.Errorf("cluster %q: %w", e.Name, err)
	}
	if len(e.found.Rights) > 0 { // the rest may fail for that alone
		return nil
	}
	if e.found.Lease, err = e.observeLease(ctx); err != nil {
		return fmt.Errorf("cluster %q: %w", e.Name, err)
	}
	copies, err := e.copies(ctx, e.hubID)
	if err != nil {
		return err
	}
	for _, orphan := range orphansAmong(e.storedWEC, copies, e.workflows, e.env.Now()) {
		e.found.Orphans = append(e.found.Orphans, diagnosis.Orphan{Key: orphan.key(), Why: orphan.Why, Ends: orphan.Finished})
	}
	return e.observeNamespaces(ctx)
}

// observeLease says what is wrong with the hub's Lease on the cluster, by the cluster's own clock.
func (e *wecExam) observeLease(ctx context.Context) (string, error) {
	name := wec.LeaseName(e.hubID)
	lease, err := e.Clients.Core.CoordinationV1().Leases(stellarflow.SystemNamespace).Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return fmt.Sprintf("%s does not exist: no hub manager has acted there yet", name), nil
	}
	if apierrors.IsForbidden(err) { // by the cluster's admission or its own policy: the hub's condition on the cluster says so too
		return fmt.Sprintf("%s cannot be read: %v", name, err), nil
	}
	if err != nil {
		return "", fmt.Errorf("read Lease %s: %w", name, err)
	}
	if trouble := leaseTrouble(lease, e.env.Now().Add(e.skew)); trouble != "" {
		return name + ": " + trouble, nil
	}
	return "", nil
}

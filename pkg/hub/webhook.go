package hub

import (
	"cmp"
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"strconv"

	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	crcache "sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/webhook"

	"stellarflow.io/stellarflow/pkg/apis/control/v1alpha1"
	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
	"stellarflow.io/stellarflow/pkg/hub/guard"
	"stellarflow.io/stellarflow/pkg/hub/hold"
	"stellarflow.io/stellarflow/pkg/hub/podmirror"
)

// Limits of what the webhook reads for those who create Workflows: a Workflow may refer to a hundred objects, and what cannot be read in
// time is not held against it.
const (
	webhookQPS   = 100
	webhookBurst = 2 * stellarflow.MaxDependencies
)

// webhookConfig returns the hub's REST config with the webhook's own limits: whoever may create Workflows, if only as a dry run, decides how
// much it reads, and the leader must not wait behind that.
func webhookConfig(config *rest.Config) *rest.Config {
	limited := rest.CopyConfig(config)
	limited.QPS, limited.Burst, limited.RateLimiter = webhookQPS, webhookBurst, nil
	return limited
}

// serveWebhook serves admission on every replica, the standby too: the API server asks any of them.
func (h *hub) serveWebhook(ctx context.Context) error {
	if h.options.WebhookAddress == "" || h.options.WebhookAddress == "0" {
		return nil
	}
	host, service, err := net.SplitHostPort(h.options.WebhookAddress)
	if err != nil {
		return fmt.Errorf("serve the webhook: %w", err)
	}
	port, err := strconv.Atoi(service)
	if err != nil {
		return fmt.Errorf("serve the webhook: %w", err)
	}
	certificates := &guard.Certificates{Core: h.core, Cached: h.mgr.GetClient(), Host: cmp.Or(h.options.WebhookHost, guard.Host), Now: h.options.Now, Log: h.log.WithName("webhook")}
	if err := certificates.SetupWithManager(h.mgr); err != nil {
		return err
	}
	server := webhook.NewServer(webhook.Options{Host: host, Port: port, TLSOpts: []func(*tls.Config){func(config *tls.Config) {
		config.GetCertificate, config.MinVersion = certificates.Serve, tls.VersionTLS13
	}}})
	server.Register(guard.Path, &webhook.Admission{Handler: &guard.Handler{Now: h.options.Now, Profile: h.options.Profile, Metrics: h.options.Metrics}})
	for _, read := range []client.Object{&v1alpha1.BindingPolicy{}, stellarflow.NewNamespaceMetadata()} { // of a standby too, before it is ready
		if _, err := h.mgr.GetCache().GetInformer(ctx, read, crcache.BlockUntilSynced(false)); err != nil {
			return fmt.Errorf("watch what the webhook reads: %w", err)
		}
	}
	objects, err := dynamic.NewForConfig(webhookConfig(h.mgr.GetConfig()))
	if err != nil {
		return fmt.Errorf("make the webhook's client for the hub: %w", err)
	}
	server.Register(hold.Path, &webhook.Admission{Handler: &hold.Handler{Cache: h.mgr.GetClient(), Live: h.mgr.GetAPIReader(), Objects: objects}})
	server.Register(podmirror.Path, &webhook.Admission{Handler: &podmirror.Handler{Hub: h.core, Now: h.clock.Now}})
	if err := h.mgr.Add(server); err != nil {
		return fmt.Errorf("serve the webhook: %w", err)
	}
	if err := h.mgr.AddReadyzCheck("webhook", certificates.Ready); err != nil {
		return fmt.Errorf("add the webhook's readiness check: %w", err)
	}
	return nil
}

package hub

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/flowcontrol"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

// TestWebhookConfig: what the webhook reads takes nothing of what the leader may read, even if its clients share one limit.
func TestWebhookConfig(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(server.Close)
	leaders := Config(&rest.Config{Host: server.URL})
	leaders.RateLimiter = flowcontrol.NewFakeNeverRateLimiter()
	webhooks := webhookConfig(leaders)
	if leaders.QPS != qps || leaders.RateLimiter == nil {
		t.Errorf("the leader's limits were changed: %v", leaders.QPS)
	}
	client, err := dynamic.NewForConfig(webhooks)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for range webhookBurst { // as much as one Workflow can ask for, at once
		_, err := client.Resource(stellarflow.KindConfigMap.Resource()).Namespace("a").Get(ctx, "b", metav1.GetOptions{})
		if err == nil || ctx.Err() != nil {
			t.Fatalf("%v, %v", err, ctx.Err())
		}
	}
	if webhooks.QPS >= leaders.QPS || webhooks.Burst < stellarflow.MaxDependencies {
		t.Errorf("%v a second, %d at once", webhooks.QPS, webhooks.Burst)
	}
}

package hub

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/flowcontrol"
)

// TestPodConfigs: whatever is written of pods, and of all else, Leases of virtual Nodes do not wait for it.
func TestPodConfigs(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(server.Close)
	leaders := Config(&rest.Config{Host: server.URL})
	leaders.RateLimiter = flowcontrol.NewFakeNeverRateLimiter()
	forPods, forNodes := podConfigs(leaders)
	pods, err := kubernetes.NewForConfig(forPods)
	if err != nil {
		t.Fatal(err)
	}
	nodes, err := kubernetes.NewForConfig(forNodes)
	if err != nil {
		t.Fatal(err)
	}
	if limiter := pods.CoreV1().RESTClient().GetRateLimiter(); limiter.QPS() != podQPS {
		t.Errorf("pods are limited to %v a second", limiter.QPS())
	}
	for what, client := range map[string]rest.Interface{"Leases": nodes.CoordinationV1().RESTClient(), "Nodes": nodes.CoreV1().RESTClient()} {
		if limiter := client.GetRateLimiter(); limiter != nil {
			t.Errorf("%s are limited to %v a second", what, limiter.QPS())
		}
	}
}

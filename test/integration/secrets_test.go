package integration

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap/zapcore"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	clusterv1 "open-cluster-management.io/api/cluster/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"

	"stellarflow.io/stellarflow/pkg/apis/control/v1alpha1"
	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
	"stellarflow.io/stellarflow/pkg/hub/metrics"
	"stellarflow.io/stellarflow/pkg/wec"
)

// recordedLog is a log that is kept.
type recordedLog struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *recordedLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *recordedLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// Credentials are planted in kubeconfigs, good, rejected and refused, and in the store's Secret; a run follows with failures of all
// kinds. Then none of them is in a log (all of it), an event, an object but the Secrets, or a metric.
func TestNoSecretIsSaidAnywhere(t *testing.T) {
	const accessKey, secretKey, badToken, password = "AKIAPLANTEDPLANTED", "pl4nted/s3cret+k3y", "pl4nted.bad.t0ken", "pl4nted-passw0rd"
	c := sharedClusters(t)
	c.create(t, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: stellarflow.SystemNamespace, Name: "planted-store"}, Data: map[string][]byte{
		"endpoint": []byte("s3.example.com"), "bucket": []byte("workflows"), "accesskey": []byte(accessKey), "secretkey": []byte(secretKey),
	}})
	var log recordedLog
	registry, counted := prometheus.NewRegistry(), metrics.New()
	registry.MustRegister(counted)
	var fail sync.Map // a path part -> true: requests to a WEC that hold it fail
	_, _, ns := setUp(t, managerOptions{
		store: "planted-store", metrics: counted, configure: func(o *ctrl.Options) {
			o.Logger = zap.New(zap.UseDevMode(true), zap.Level(zapcore.Level(-1)), zap.WriteTo(&log))
		},
		wecTransport: func(next http.RoundTripper) http.RoundTripper {
			return roundTripper(func(r *http.Request) (*http.Response, error) {
				failing := false
				fail.Range(func(part, _ any) bool { failing = failing || strings.Contains(r.URL.Path, part.(string)); return true })
				if failing { // as a transport might that says what it was asked to send
					return nil, fmt.Errorf("cannot send %s %s", r.Method, r.URL)
				}
				return next.RoundTrip(r)
			})
		},
	})
	token := c.plantedTokens(t, badToken, password)

	c.submit(t, ns, "good", "cluster1")
	c.wecs["cluster1"].waitFor(t, ns, "good", "the WEC copy", exists)
	c.wecs["cluster1"].argo(t, ns, "good", "Failed")
	c.hub.waitFor(t, ns, "good", "its end", inPhase("Failed"))
	fail.Store("/workflows/stuck", true)
	c.submit(t, ns, "stuck", "cluster1")
	c.hub.waitFor(t, ns, "stuck", "placement", placedOn("cluster1"))
	c.submit(t, ns, "refused", "cluster1", func(w *unstructured.Unstructured) {
		_ = unstructured.SetNestedField(w.Object, "Bad_", "spec", "serviceAccountName")
	})
	c.hub.waitFor(t, ns, "refused", "the refusal", waiting("ServiceAccount"))
	fail.Store("/version", true)
	eventuallyConditions(t, c, map[string]string{"planted-bad": wec.ReasonUnreachable, "planted-refused": wec.ReasonBadCredential})

	said := map[string]string{"the log": log.String(), "metrics": gathered(t, registry)}
	for _, resource := range []schema.GroupVersionResource{
		stellarflow.Workflows,
		v1alpha1.GroupVersion.WithResource("bindingpolicies"),
		{Group: clusterv1.GroupName, Version: "v1", Resource: "managedclusters"},
		{Version: "v1", Resource: "events"},
		{Version: "v1", Resource: "configmaps"},
		{Group: "coordination.k8s.io", Version: "v1", Resource: "leases"},
	} {
		list, err := c.hub.dynamic.Resource(resource).List(t.Context(), metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		raw, err := json.Marshal(list)
		if err != nil {
			t.Fatal(err)
		}
		said[resource.Resource] = string(raw)
	}
	if !strings.Contains(said["the log"], "step") || !strings.Contains(said["metrics"], "stellarflow_") || !strings.Contains(said["events"], "ServiceAccount") {
		t.Fatalf("what was said is not all there: %d bytes of log, %d of metrics, %d of events", len(said["the log"]), len(said["metrics"]), len(said["events"]))
	}
	for place, text := range said {
		for name, secret := range map[string]string{"access key": accessKey, "secret key": secretKey, "token": token, "bad token": badToken, "password": password} {
			if strings.Contains(text, secret) || strings.Contains(text, base64.StdEncoding.EncodeToString([]byte(secret))) {
				t.Errorf("the %s is in %s", name, place)
			}
		}
	}
}

// plantedTokens makes two clusters whose credentials do not work, and returns the token of cluster1, whose does.
func (c *clusters) plantedTokens(t *testing.T, badToken, password string) string {
	t.Helper()
	first := c.wecs["cluster1"]
	bad, err := wec.MinimalKubeconfig(first.config.Host, first.config.CAData, badToken)
	if err != nil {
		t.Fatal(err)
	}
	refused := strings.Replace(string(bad), "token: "+badToken, "username: me\n    password: "+password, 1)
	for name, kubeconfig := range map[string]string{"planted-bad": string(bad), "planted-refused": refused} {
		c.create(t, &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Namespace: stellarflow.SystemNamespace, Name: "cluster-" + name, Labels: map[string]string{stellarflow.LabelManagedCluster: name}},
			Data:       map[string][]byte{stellarflow.SecretKeyKubeconfig: []byte(kubeconfig)},
		})
		c.create(t, &clusterv1.ManagedCluster{ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: map[string]string{stellarflow.AnnotationNamespaces: "-"}}})
	}
	eventuallyConditions(t, c, map[string]string{"planted-bad": wec.ReasonUnauthorized, "planted-refused": wec.ReasonBadCredential})
	secret, err := c.hub.core.CoreV1().Secrets(stellarflow.SystemNamespace).Get(t.Context(), "cluster-cluster1", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(secret.Data[stellarflow.SecretKeyKubeconfig]), "token: ")
	token, _, _ := strings.Cut(after, "\n")
	if len(token) < 100 {
		t.Fatalf("the token of cluster1 has %d bytes", len(token))
	}
	return token
}

func gathered(t *testing.T, registry *prometheus.Registry) string {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	for _, family := range families {
		text.WriteString(family.String())
	}
	return text.String()
}

// eventuallyConditions waits until each cluster gives its reason.
func eventuallyConditions(t *testing.T, c *clusters, reasons map[string]string) {
	t.Helper()
	for name, reason := range reasons {
		eventually(t, name+" to be "+reason, func(ctx context.Context) (bool, string) {
			var managed clusterv1.ManagedCluster
			if err := c.hub.client.Get(ctx, types.NamespacedName{Name: name}, &managed); err != nil {
				return false, err.Error()
			}
			condition := meta.FindStatusCondition(managed.Status.Conditions, stellarflow.ConditionConnected)
			return condition != nil && condition.Reason == reason, fmt.Sprint(condition)
		})
	}
}

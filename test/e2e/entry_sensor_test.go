package e2e

import (
	"context"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/yaml"

	"stellarflow.io/stellarflow/hack/fleet/components"
)

// bell is an event source: who posts to it rings.
const bell = `
metadata: {name: bell, namespace: NS}
spec: {webhook: {ring: {port: "12000", endpoint: /ring, method: POST}}}
`

// ringer is a sensor that creates a Workflow of its own, and submits one with Argo's CLI.
const ringer = `
metadata: {name: ringer, namespace: NS}
spec:
  dependencies: [{name: rung, eventSourceName: bell, eventName: ring}]
  triggers:
  - template:
      name: creates
      k8s:
        operation: create
        source: {resource: WORKFLOW}
        parameters: [{src: {dependencyName: rung, dataKey: body.text}, dest: spec.arguments.parameters.0.value}]
  - template:
      name: submits
      argoWorkflow:
        operation: submit
        source: {resource: WORKFLOW}
        parameters: [{src: {dependencyName: rung, dataKey: body.text}, dest: spec.arguments.parameters.0.value}]
`

// rung is what the sensor makes, once for each cluster.
const rung = `{apiVersion: argoproj.io/v1alpha1, kind: Workflow, metadata: {generateName: rung-, namespace: NS, labels: {rung: "yes", kubestellar.io/cluster: CLUSTER}},
    spec: {arguments: {parameters: [{name: text, value: nobody}]}, workflowTemplateRef: {name: greet}}}`

// sensor rings a bell of Argo Events. Its event bus is Debian's NATS; that and the sensor run in the hub's network and the event source in
// cluster1's, as plain processes: in pods, which its controller would make, the same program runs with the same environment.
func (e entry) sensor(t *testing.T) {
	programs, err := components.Ensure(t.Context(), os.Stdout, components.Extra()...)
	if err != nil {
		t.Fatal(err)
	}
	hub, cluster1, dir := e.hub, e.wecs["cluster1"], t.TempDir()
	certificate, key := selfSigned(t, dir)
	e.runs(t, hub, nil, programs[components.NATSServer],
		"--addr", e.address(t, hub), "--port", "4222", "--jetstream", "--store_dir", filepath.Join(dir, "nats"), "--tls", "--tlscert", certificate, "--tlskey", key)
	environment := []string{
		"KUBECONFIG=" + hub.kubeconfig, "POD_NAME=e2e", "EVENTBUS_SUBJECT=eventbus-" + e.namespace, "PATH=" + filepath.Dir(e.bin("argo")) + ":" + os.Getenv("PATH"),
		"EVENTBUS_CONFIG=" + encoded(t, `{jetstream: {url: "nats://`+e.address(t, hub)+`:4222", streamConfig: "replicas: 1"}}`),
	}
	created := strings.Replace(ringer, "WORKFLOW", strings.Replace(rung, "CLUSTER", "cluster1", 1), 1)
	created = strings.Replace(created, "WORKFLOW", strings.Replace(rung, "CLUSTER", "cluster2", 1), 1)
	e.runs(t, hub, append(environment, "SENSOR_OBJECT="+encoded(t, strings.ReplaceAll(created, "NS", e.namespace))), programs[components.ArgoEvents], "sensor-service")
	e.runs(t, cluster1, append(environment, "EVENTSOURCE_OBJECT="+encoded(t, strings.ReplaceAll(bell, "NS", e.namespace))), programs[components.ArgoEvents], "eventsource-service")

	made := map[string]string{}
	eventually(t, patience, "a Workflow of each trigger", func(ctx context.Context) error { // what rings before the sensor listens is not heard
		if err := ring(ctx, "http://"+e.address(t, cluster1)+":12000/ring"); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
		case <-time.After(2 * time.Second):
		}
		list, err := hub.workflows.Namespace(e.namespace).List(ctx, metav1.ListOptions{LabelSelector: "rung=yes"})
		if err != nil {
			return err
		}
		for _, item := range list.Items {
			made[item.GetLabels()["kubestellar.io/cluster"]] = item.GetName()
		}
		if len(made) < 2 {
			return fmt.Errorf("there are %v", made)
		}
		return nil
	})
	for target, name := range made {
		e.ranThere(t, name, target, "ding")
	}
}

// ring posts what a step will print.
func ring(ctx context.Context, to string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, to, strings.NewReader(`{"text":"ding"}`))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	_, err = answerTo(request)
	return err
}

// encoded is an object as Argo Events hands it to its programs.
func encoded(t *testing.T, text string) string {
	t.Helper()
	raw, err := yaml.YAMLToJSON([]byte(text))
	if err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	return base64.StdEncoding.EncodeToString(raw)
}

// address is that of a cluster on the fleet's bridge.
func (f *fleet) address(t *testing.T, c *cluster) string {
	t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", c.kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	server, err := url.Parse(config.Host)
	if err != nil {
		t.Fatal(err)
	}
	return server.Hostname()
}

// runs runs a program in a cluster's network until the test ends.
func (f *fleet) runs(t *testing.T, c *cluster, env []string, program string, args ...string) {
	t.Helper()
	log, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	command := exec.Command("nsenter", append([]string{"--net=" + f.netns(t, c), program}, args...)...) //nolint:gosec,noctx // ended below
	command.Env, command.Stdout, command.Stderr = append(os.Environ(), env...), log, log
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = command.Process.Signal(syscall.SIGTERM)
		kill := time.AfterFunc(10*time.Second, func() { _ = command.Process.Kill() })
		_ = command.Wait()
		kill.Stop()
		if said, err := os.ReadFile(log.Name()); t.Failed() {
			t.Logf("%s %v said: %v\n%s", filepath.Base(program), args, err, said)
		}
		_ = log.Close()
	})
}

// selfSigned writes a certificate and its key: Argo Events encrypts what it sends to NATS, and does not ask whose certificate it is.
func selfSigned(t *testing.T, dir string) (certificate, key string) {
	t.Helper()
	server := httptest.NewTLSServer(http.NotFoundHandler())
	defer server.Close()
	pair := server.TLS.Certificates[0]
	private, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	certificate, key = filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	err = errors.Join(err,
		os.WriteFile(certificate, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: pair.Certificate[0]}), 0o600),
		os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), 0o600))
	if err != nil {
		t.Fatal(err)
	}
	return certificate, key
}

package e2e

import (
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

// turnClock lets the clock of a cluster be wrong, for doctor and for the hub manager, until the program runs that doctor says. All
// clusters of the fleet have this machine's clock, so the hub reaches this one through a proxy that changes the times in its answers.
func (f *fleet) turnClock(t *testing.T, c *cluster) {
	begun := time.Now()
	stepped := filepath.Join(t.TempDir(), "stepped")
	if err := os.WriteFile(f.bin("chronyc"), []byte("#!/bin/sh\n[ \"$*\" = makestep ] && touch "+stepped+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Remove(f.bin("chronyc")) })
	proxy := f.proxyTo(t, c, func(answer *http.Response) error {
		if _, err := os.Stat(stepped); err != nil {
			answer.Header.Set("Date", time.Now().Add(5*time.Minute).UTC().Format(http.TimeFormat))
		}
		return nil
	})
	direct := f.credential(t, c)
	f.setCredential(t, c, f.through(t, direct, proxy))
	clock := f.awaitAilment(t, "cluster-clock")
	if clock.Group != "cluster "+c.name {
		t.Errorf("the finding: %+v", clock)
	}
	f.obey(t, clock, c.kubeconfig)
	f.awaitReady(t)
	f.awaitHealth(t)
	f.setCredential(t, c, direct)
	f.awaitHealth(t)
	t.Logf("cluster-clock: broken, found and mended in %.0f s", time.Since(begun).Seconds())
}

// proxyTo starts a proxy in front of a cluster's API server, at an address that the other clusters reach.
func (f *fleet) proxyTo(t *testing.T, c *cluster, change func(*http.Response) error) *httptest.Server {
	t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", c.kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	target, err := url.Parse(config.Host)
	if err != nil {
		t.Fatal(err)
	}
	nobody, err := rest.TLSConfigFor(rest.AnonymousClientConfig(config))
	if err != nil {
		t.Fatal(err)
	}
	machine, _, err := net.SplitHostPort(f.setting("REGISTRY"))
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{TLSClientConfig: nobody, ForceAttemptHTTP2: true}
	proxy := httptest.NewUnstartedServer(&httputil.ReverseProxy{
		Rewrite: func(p *httputil.ProxyRequest) { p.SetURL(target) }, Transport: transport, ModifyResponse: change,
		FlushInterval: -1, ErrorLog: log.New(io.Discard, "", 0),
	})
	_ = proxy.Listener.Close()
	if proxy.Listener, err = net.Listen("tcp", net.JoinHostPort(machine, "0")); err != nil {
		t.Fatal(err)
	}
	proxy.EnableHTTP2, proxy.Config.ErrorLog = true, log.New(io.Discard, "", 0)
	proxy.StartTLS()
	t.Cleanup(func() {
		proxy.CloseClientConnections() // those of watches would not end
		proxy.Close()
		transport.CloseIdleConnections()
	})
	return proxy
}

// through is a kubeconfig that leads through a proxy.
func (f *fleet) through(t *testing.T, kubeconfig []byte, proxy *httptest.Server) []byte {
	t.Helper()
	config, err := clientcmd.Load(kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	for _, there := range config.Clusters {
		there.Server, there.TLSServerName = proxy.URL, "example.com" // as the certificate of httptest names it
		there.CertificateAuthorityData = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: proxy.Certificate().Raw})
	}
	changed, err := clientcmd.Write(*config)
	if err != nil {
		t.Fatal(err)
	}
	return changed
}

// credential is the kubeconfig by which the hub reaches a cluster; setCredential replaces it.
func (f *fleet) credential(t *testing.T, c *cluster) []byte {
	t.Helper()
	secret, err := f.hub.core.CoreV1().Secrets(stellarflow.SystemNamespace).Get(t.Context(), stellarflow.CredentialName(stellarflow.ClusterName(c.name)), metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return secret.Data[stellarflow.SecretKeyKubeconfig]
}

func (f *fleet) setCredential(t *testing.T, c *cluster, kubeconfig []byte) {
	t.Helper()
	patch, err := json.Marshal(map[string]any{"data": map[string]string{stellarflow.SecretKeyKubeconfig: base64.StdEncoding.EncodeToString(kubeconfig)}})
	if err != nil {
		t.Fatal(err)
	}
	name := stellarflow.CredentialName(stellarflow.ClusterName(c.name))
	if _, err := f.hub.core.CoreV1().Secrets(stellarflow.SystemNamespace).Patch(t.Context(), name, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
		t.Fatal(strings.ReplaceAll(err.Error(), string(patch), "(the credential)"))
	}
}

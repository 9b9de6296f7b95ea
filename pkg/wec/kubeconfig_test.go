package wec

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"
)

// pair is a self-signed certificate and its key in PEM.
func pair(t *testing.T) (cert, key []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw})
}

func TestParseKubeconfigLoopback(t *testing.T) {
	ca, _ := pair(t)
	for server, local := range map[string]bool{
		"https://127.0.0.1:6443": true, "https://127.8.8.8": true, "https://localhost:6443": true, "https://LocalHost.": true, "https://a.localhost": true,
		"https://[::1]:6443": true, "https://0.0.0.0:6443": true, "https://[::]:6443": true, "https://[::ffff:127.0.0.1]:6443": true,
		"https://172.30.0.10:6443": false, "https://api.example.com": false, "https://rancher.example.com/k8s/clusters/c-1": false, "https://[fd00::1]:6443": false,
	} {
		t.Run(server, func(t *testing.T) {
			raw, err := MinimalKubeconfig(server, ca, "t0ken")
			if err != nil {
				t.Fatal(err)
			}
			_, err = ParseKubeconfig(raw, KubeconfigOptions{})
			want := ""
			if local {
				want = `kubeconfig refused: server "` + server + `" is an address of this machine only, the hub's pod would reach itself there: give an address that the hub can reach`
			}
			got := ""
			if err != nil {
				got = err.Error()
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if _, err := ParseKubeconfig(raw, KubeconfigOptions{AllowLoopback: true}); err != nil {
				t.Errorf("AllowLoopback: %v", err)
			}
			if _, err := ParseKubeconfig(raw, KubeconfigOptions{Server: "https://10.0.0.1:6443"}); err != nil {
				t.Errorf("Server replaces the address: %v", err)
			}
		})
	}
}

func TestParseKubeconfigAccepts(t *testing.T) {
	ca, key := pair(t)
	config := api.NewConfig()
	config.Clusters["c"] = &api.Cluster{Server: "https://10.0.0.1:6443", CertificateAuthorityData: ca, TLSServerName: "api", ProxyURL: "socks5://proxy:1080"}
	config.AuthInfos["u"] = &api.AuthInfo{ClientCertificateData: ca, ClientKeyData: key}
	config.AuthInfos["other"] = &api.AuthInfo{TokenFile: "/a/file/of/another/context"}
	config.Contexts["x"] = &api.Context{Cluster: "c", AuthInfo: "u"}
	config.Contexts["y"] = &api.Context{Cluster: "c", AuthInfo: "other"}
	raw, err := clientcmd.Write(*config)
	if err != nil {
		t.Fatal(err)
	}
	rc, err := ParseKubeconfig(raw, KubeconfigOptions{Context: "x"})
	if err != nil {
		t.Fatal(err)
	}
	if rc.Host != "https://10.0.0.1:6443" || rc.ServerName != "api" || string(rc.CAData) != string(ca) || string(rc.KeyData) != string(key) {
		t.Errorf("the config is not the kubeconfig's: %v", rc)
	}
	proxy, err := rc.Proxy(&http.Request{})
	if err != nil || proxy.String() != "socks5://proxy:1080" {
		t.Errorf("proxy: got %v, %v", proxy, err)
	}
}

func TestParseKubeconfigNeverQuotesItsInput(t *testing.T) {
	for _, raw := range []string{"token: [t0ken", "just t0ken", "{\"users\": \"t0ken\"}"} {
		_, err := ParseKubeconfig([]byte(raw), KubeconfigOptions{})
		if err == nil || strings.Contains(err.Error(), "t0ken") {
			t.Errorf("%q: want an error that does not quote it, got %v", raw, err)
		}
	}
}

func TestMinimalKubeconfigRoundTrip(t *testing.T) {
	ca, _ := pair(t)
	raw, err := MinimalKubeconfig("https://10.0.0.1:6443", ca, "t0ken")
	if err != nil {
		t.Fatal(err)
	}
	rc, err := ParseKubeconfig(raw, KubeconfigOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if rc.Host != "https://10.0.0.1:6443" || rc.BearerToken != "t0ken" || string(rc.CAData) != string(ca) || len(rc.CertData) > 0 {
		t.Errorf("the config is not what was written: %v", rc)
	}
}

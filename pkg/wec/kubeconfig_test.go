package wec

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
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

func TestParseKubeconfigRefuses(t *testing.T) {
	ca, key := pair(t)
	_, otherKey := pair(t)
	const useToken = "use a ServiceAccount's token or client certificate data"
	const flatten = "(`kubectl config view --raw --flatten`)"
	cases := map[string]struct {
		reason  string
		change  func(*api.Config)
		options KubeconfigOptions
		err     string
	}{
		"Exec": {
			reason: "it would run a program inside the hub",
			change: func(c *api.Config) {
				c.AuthInfos["u"].Exec = &api.ExecConfig{Command: "aws", APIVersion: "client.authentication.k8s.io/v1", InteractiveMode: api.NeverExecInteractiveMode}
			},
			err: `kubeconfig refused: exec runs the program "aws": ` + useToken,
		},
		"AuthProvider": {
			reason: "a plugin is a program too",
			change: func(c *api.Config) { c.AuthInfos["u"].AuthProvider = &api.AuthProviderConfig{Name: "oidc"} },
			err:    `kubeconfig refused: auth-provider "oidc" is a plugin: ` + useToken,
		},
		"TokenFile": {
			reason: "it would read a file of the hub's pod and send it away",
			change: func(c *api.Config) {
				c.AuthInfos["u"].TokenFile = "/var/run/secrets/kubernetes.io/serviceaccount/token"
			},
			err: "kubeconfig refused: tokenFile is a path to a file, which the hub does not have: put its content into token " + flatten,
		},
		"ClientCertificateFiles": {
			reason: "both fields are named at once",
			change: func(c *api.Config) {
				c.AuthInfos["u"] = &api.AuthInfo{ClientCertificate: "/c.crt", ClientKey: "/c.key"}
			},
			err: "kubeconfig refused: client-certificate is a path to a file, which the hub does not have: put its content into client-certificate-data " + flatten +
				"; client-key is a path to a file, which the hub does not have: put its content into client-key-data " + flatten,
		},
		"CAFile": {
			reason: "a path again",
			change: func(c *api.Config) { c.Clusters["c"].CertificateAuthority = "/ca.crt" },
			err:    "kubeconfig refused: certificate-authority is a path to a file, which the hub does not have: put its content into certificate-authority-data " + flatten,
		},
		"NoCA": {
			reason: "nobody vouches for the server",
			change: func(c *api.Config) { c.Clusters["c"].CertificateAuthorityData = nil },
			err:    "kubeconfig refused: certificate-authority-data is missing, so the server's certificate cannot be checked: add the cluster's CA in PEM, base64 encoded",
		},
		"BadCA": {
			reason: "text that is no certificate",
			change: func(c *api.Config) { c.Clusters["c"].CertificateAuthorityData = []byte("hello") },
			err:    "kubeconfig refused: certificate-authority-data holds no certificate: add the cluster's CA in PEM, base64 encoded",
		},
		"Insecure": {
			reason: "the token would go to whoever answers",
			change: func(c *api.Config) { c.Clusters["c"].InsecureSkipTLSVerify = true },
			err:    "kubeconfig refused: insecure-skip-tls-verify would give the token to whoever answers: remove it and give certificate-authority-data",
		},
		"HTTP": {
			reason: "not encrypted",
			change: func(c *api.Config) { c.Clusters["c"].Server = "http://10.0.0.1:8080" },
			err:    `kubeconfig refused: server "http://10.0.0.1:8080" is not encrypted, so the token could be read on the way: give the https address`,
		},
		"NoServer": {
			reason: "no address",
			change: func(c *api.Config) { c.Clusters["c"].Server = "" },
			err:    "kubeconfig refused: server is missing: give the API server's address, https://host:port",
		},
		"OddServer": {
			reason: "another protocol",
			change: func(c *api.Config) { c.Clusters["c"].Server = "unix:///run/x" },
			err:    "kubeconfig refused: server is no https address: give the API server's address, https://host:port",
		},
		"UserInServer": {
			reason: "a password in an address would be shown in errors",
			change: func(c *api.Config) { c.Clusters["c"].Server = "https://me:secret@10.0.0.1" },
			err:    "kubeconfig refused: server holds a user, a query or a fragment: give the API server's address alone, https://host:port",
		},
		"Proxy": {
			reason: "a proxy of a kind we do not speak",
			change: func(c *api.Config) { c.Clusters["c"].ProxyURL = "ftp://proxy" },
			err:    "kubeconfig refused: proxy-url is no http, https or socks5 address: correct or remove it",
		},
		"Basic": {
			reason: "API servers do not take it",
			change: func(c *api.Config) { c.AuthInfos["u"] = &api.AuthInfo{Username: "me", Password: "secret"} },
			err:    "kubeconfig refused: username and password are no credential of an API server any more: " + useToken,
		},
		"Impersonation": {
			reason: "the WEC's audit log would name another user",
			change: func(c *api.Config) { c.AuthInfos["u"].ImpersonateGroups = []string{"system:masters"} },
			err:    "kubeconfig refused: act-as (impersonation) hides who acts: use a credential of the acting user",
		},
		"NoCredential": {
			reason: "an anonymous user",
			change: func(c *api.Config) { c.AuthInfos["u"] = &api.AuthInfo{} },
			err:    "kubeconfig refused: the user has no credential: " + useToken,
		},
		"HalfPair": {
			reason: "a certificate without its key",
			change: func(c *api.Config) { c.AuthInfos["u"] = &api.AuthInfo{ClientCertificateData: ca} },
			err:    "kubeconfig refused: client-certificate-data and client-key-data belong together and one is missing: give both",
		},
		"WrongPair": {
			reason: "the key of another certificate",
			change: func(c *api.Config) {
				c.AuthInfos["u"] = &api.AuthInfo{ClientCertificateData: ca, ClientKeyData: otherKey}
			},
			err: "kubeconfig refused: client-certificate-data and client-key-data are no pair in PEM: give a certificate and its key",
		},
		"UnknownContext": {
			reason: "a context that is not there", change: func(*api.Config) {}, options: KubeconfigOptions{Context: "prod"},
			err: `the kubeconfig has no context "prod": it has x`,
		},
		"NoCurrentContext": {
			reason: "nothing chosen", change: func(c *api.Config) { c.CurrentContext = "" },
			err: "the kubeconfig has no current-context: name one of its contexts: x",
		},
		"NoContext": {
			reason: "nothing to choose from", change: func(c *api.Config) { c.Contexts = nil },
			err: "the kubeconfig has no context: write it with `kubectl config view --raw --flatten --minify`",
		},
		"MissingCluster": {
			reason: "a dangling name", change: func(c *api.Config) { delete(c.Clusters, "c") },
			err: `context "x" names cluster "c", which the kubeconfig does not hold: correct the context`,
		},
		"MissingUser": {
			reason: "a dangling name", change: func(c *api.Config) { delete(c.AuthInfos, "u") },
			err: `context "x" names user "u", which the kubeconfig does not hold: correct the context`,
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			config := api.NewConfig()
			config.Clusters["c"] = &api.Cluster{Server: "https://10.0.0.1:6443", CertificateAuthorityData: ca}
			config.AuthInfos["u"] = &api.AuthInfo{Token: "t0ken"}
			config.Contexts["x"] = &api.Context{Cluster: "c", AuthInfo: "u"}
			config.CurrentContext = "x"
			tc.change(config)
			raw, err := clientcmd.Write(*config)
			if err != nil {
				t.Fatal(err)
			}
			_, err = ParseKubeconfig(raw, tc.options)
			if err == nil {
				t.Fatalf("%s: want a refusal", tc.reason)
			}
			if diff := cmp.Diff(tc.err, err.Error()); diff != "" {
				t.Errorf("%s (-want +got):\n%s", tc.reason, diff)
			}
			for _, secret := range []string{"t0ken", "secret@", base64.StdEncoding.EncodeToString(key)} {
				if strings.Contains(err.Error(), secret) {
					t.Errorf("the error holds a credential: %v", err)
				}
			}
		})
	}
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

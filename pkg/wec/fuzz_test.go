package wec

import (
	"net/http"
	"os"
	"strings"
	"testing"
	"time"
)

// FuzzParseKubeconfig: what is accepted is https to a host that is not this machine, with a checked certificate and a credential that a
// request can carry; nothing is read from files and no program is started.
func FuzzParseKubeconfig(f *testing.F) {
	ca, _ := os.ReadFile("testdata/ca.pem")
	good, err := MinimalKubeconfig("https://10.0.0.1:6443", ca, "t0ken")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good, "", "")
	f.Add([]byte(strings.Replace(string(good), "token: t0ken", "tokenFile: /etc/passwd", 1)), "wec", "https://[::1]:1")
	f.Add([]byte(strings.Replace(string(good), "token: t0ken", "exec: {apiVersion: client.authentication.k8s.io/v1, command: sh}", 1)), "", "http://x")
	f.Add([]byte("apiVersion: v1\nkind: Config\ncurrent-context: a\ncontexts: [{name: a, context: {cluster: a, user: a}}]\nclusters: [{name: a, cluster: {server: 'https://a', proxy-url: 'socks5://b'}}]\n"), "a", "https://a:99999")
	f.Fuzz(func(t *testing.T, raw []byte, context, server string) {
		config, err := ParseKubeconfig(raw, KubeconfigOptions{Context: context, Server: server})
		if err != nil {
			if config != nil {
				t.Errorf("a config and an error: %v", err)
			}
			return
		}
		if !strings.HasPrefix(strings.ToLower(config.Host), "https://") || config.Insecure || len(config.CAData) == 0 || config.CAFile != "" || config.BearerTokenFile != "" ||
			config.ExecProvider != nil || config.AuthProvider != nil || config.CertFile != "" || config.KeyFile != "" || config.Impersonate.UserName != "" || config.Username != "" {
			t.Errorf("%q is accepted: %v", raw, config)
		}
		if _, err := http.NewRequest(http.MethodGet, config.Host+"/version", nil); err != nil {
			t.Errorf("no request can be sent to %q: %v", config.Host, err)
		}
		if _, err := Dial(config); err != nil {
			t.Errorf("%q is accepted and cannot be dialled: %v", raw, err)
		}
	})
}

// FuzzSkew: a date between both clocks' readings is no skew, and a skew has the sign of the difference.
func FuzzSkew(f *testing.F) {
	f.Add(int64(100), int64(100), int64(0))
	f.Add(int64(0), int64(1_000_000_000), int64(500_000_000))
	f.Add(int64(-62135596800), int64(9_000_000_000), int64(10_000_000_000))
	f.Fuzz(func(t *testing.T, date, sent, took int64) {
		const century = 100 * 365 * 24 * 3600
		if date < -century || date > century || sent < -century || sent > century || took < 0 || took > int64(time.Minute) {
			return
		}
		header, start := time.Unix(date, 0), time.Unix(sent, 0)
		end := start.Add(time.Duration(took))
		got := Skew(header, start, end)
		switch {
		case header.Before(start) && got >= 0, header.After(end.Truncate(time.Second)) && header.Sub(end) >= time.Second && got <= 0:
			t.Errorf("a clock at %s, asked from %s to %s, differs by %s", header, start, end, got)
		case !header.Before(start) && !header.After(end) && got != 0:
			t.Errorf("a clock at %s, asked from %s to %s, differs by %s", header, start, end, got)
		}
	})
}

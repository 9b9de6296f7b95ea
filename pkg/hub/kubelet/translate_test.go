package kubelet

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation"
)

func TestTranslate(t *testing.T) {
	pod := types.NamespacedName{Namespace: "argo", Name: "a-1.x"}
	cases := map[string]struct {
		reason, method, from, to string
		kind                     kind
		uid                      types.UID
		code                     int
		plain                    bool // no upgrade is asked for
	}{
		"Log":          {reason: "all of it", from: "/containerLogs/argo/a-1.x/main", to: "log?container=main", kind: kindLog},
		"LogOptions":   {reason: "every option of kubectl logs", from: "/containerLogs/argo/a-1.x/main?follow=true&previous=true&timestamps=true&sinceSeconds=5&sinceTime=2026-01-01T00%3A00%3A00Z&tailLines=0&limitBytes=7&stream=Stderr", to: "log?container=main&follow=true&limitBytes=7&previous=true&sinceSeconds=5&sinceTime=2026-01-01T00%3A00%3A00Z&stream=Stderr&tailLines=0&timestamps=true", kind: kindLog},
		"LogAll":       {reason: "older API servers refuse the parameter", from: "/containerLogs/argo/a-1.x/main?stream=All", to: "log?container=main", kind: kindLog},
		"LogOthers":    {reason: "what is not listed does not travel", from: "/containerLogs/argo/a-1.x/main?insecureSkipTLSVerifyBackend=true&container=other&dryRun=All&tailLines=1&tailLines=2", to: "log?container=main&tailLines=1", kind: kindLog},
		"LogValue":     {reason: "a value stays one", from: "/containerLogs/argo/a-1.x/main?tailLines=1%26container%3Dx%23", to: "log?container=main&tailLines=1%26container%3Dx%23", kind: kindLog},
		"LogUpgrade":   {reason: "an upgrade of a log is not asked for", from: "/containerLogs/argo/a-1.x/main", to: "log?container=main", kind: kindLog, plain: true},
		"Exec":         {reason: "the streams have other names", method: "POST", from: "/exec/argo/a-1.x/main?input=1&output=1&error=1&tty=1&command=sh&command=-c&command=a+b", to: "exec?command=sh&command=-c&command=a+b&container=main&stderr=true&stdin=true&stdout=true&tty=true", kind: kindExec},
		"ExecGet":      {reason: "WebSocket", from: "/exec/argo/a-1.x/main?output=1&command=id", to: "exec?command=id&container=main&stdout=true", kind: kindExec},
		"ExecNot":      {reason: "as a kubelet, only 1 is yes", method: "POST", from: "/exec/argo/a-1.x/main?input=0&output=true&command=id", to: "exec?command=id&container=main", kind: kindExec},
		"ExecUID":      {reason: "a pod's UID may stand in between", method: "POST", from: "/exec/argo/a-1.x/u-1/main?command=id", to: "exec?command=id&container=main", kind: kindExec, uid: "u-1"},
		"Attach":       {reason: "no command", method: "POST", from: "/attach/argo/a-1.x/main?output=1&command=id", to: "attach?container=main&stdout=true", kind: kindAttach},
		"AttachUID":    {reason: "with the UID", method: "POST", from: "/attach/argo/a-1.x/u-1/main?error=1", to: "attach?container=main&stderr=true", kind: kindAttach, uid: "u-1"},
		"PortForward":  {reason: "SPDY names the ports in its streams", method: "POST", from: "/portForward/argo/a-1.x", to: "portforward", kind: kindPortForward},
		"Ports":        {reason: "WebSocket names them here", from: "/portForward/argo/a-1.x?port=80,443&port=8080", to: "portforward?ports=80&ports=443&ports=8080", kind: kindPortForward},
		"PortUID":      {reason: "with the UID", method: "POST", from: "/portForward/argo/a-1.x/u-1", to: "portforward", kind: kindPortForward, uid: "u-1"},
		"PortNone":     {reason: "there is no port 0", from: "/portForward/argo/a-1.x?port=0", code: 400},
		"PortLarge":    {reason: "nor 65536", from: "/portForward/argo/a-1.x?port=65536", code: 400},
		"PortWord":     {reason: "no number", from: "/portForward/argo/a-1.x?port=http", code: 400},
		"LogPost":      {reason: "logs are read", method: "POST", from: "/containerLogs/argo/a-1.x/main", code: 405},
		"ExecPut":      {reason: "none of a kubelet's", method: "PUT", from: "/exec/argo/a-1.x/main", code: 405},
		"ExecPlain":    {reason: "without an upgrade there is nothing to relay", method: "POST", from: "/exec/argo/a-1.x/main", code: 400, plain: true},
		"Namespace":    {reason: "no name", from: "/containerLogs/Argo/a-1.x/main", code: 400},
		"Dots":         {reason: "the path stays where it is", from: "/containerLogs/argo/../main", code: 400},
		"Slash":        {reason: "an encoded slash parts nothing", from: "/containerLogs/argo/a%2Fb/main", code: 400},
		"Encoded":      {reason: "names need no encoding", from: "/containerLogs/argo/a%2D1.x/main", code: 400},
		"Container":    {reason: "no name", from: "/containerLogs/argo/a-1.x/ma%20in", code: 400},
		"NoContainer":  {reason: "a kubelet wants one", from: "/containerLogs/argo/a-1.x/", code: 400},
		"LogShort":     {reason: "none of a kubelet's paths", from: "/containerLogs/argo/a-1.x", code: 404},
		"LogUID":       {reason: "a kubelet has no such path", from: "/containerLogs/argo/a-1.x/u-1/main", code: 404},
		"LogLong":      {reason: "nor that", from: "/containerLogs/argo/a-1.x/main/x/y", code: 404},
		"PortLong":     {reason: "nor that", method: "POST", from: "/portForward/argo/a-1.x/u-1/x", code: 404},
		"Root":         {reason: "nothing is there", from: "/", code: 404},
		"Pods":         {reason: "only what is about one pod", from: "/pods", code: 404},
		"Run":          {reason: "gone from Kubernetes", method: "POST", from: "/run/argo/a-1.x/main", code: 404},
		"Metrics":      {reason: "only what is about one pod", from: "/metrics/cadvisor", code: 404},
		"Debug":        {reason: "only what is about one pod", from: "/debug/pprof/profile", code: 404},
		"API":          {reason: "no other path of a cluster", from: "/api/v1/namespaces/argo/secrets", code: 404},
		"DoubledSlash": {reason: "a path is taken as it is written", from: "//containerLogs/argo/a-1.x/main", code: 404},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			address, err := url.Parse("https://hub" + tc.from)
			if err != nil {
				t.Fatal(err)
			}
			if tc.method == "" {
				tc.method = http.MethodGet
			}
			got, said := translate(tc.method, address, !tc.plain)
			if tc.code != 0 || said != nil {
				if said == nil || said.code != tc.code || said.text == "" {
					t.Fatalf("%s: %+v, want code %d", tc.reason, said, tc.code)
				}
				return
			}
			to := got.path
			if len(got.query) > 0 {
				to += "?" + got.query.Encode()
			}
			if diff := cmp.Diff("/api/v1/namespaces/argo/pods/a-1.x/"+tc.to, to); diff != "" || got.kind != tc.kind || got.pod != pod || got.uid != tc.uid {
				t.Errorf("%s: %+v, -want +got:\n%s", tc.reason, got, diff)
			}
		})
	}
}

func TestHeadersFor(t *testing.T) {
	given := http.Header{}
	for _, line := range []string{
		"Authorization: Bearer secret", "Cookie: a=secret", "X-Remote-User: admin", "X-Remote-Group: system:masters", "X-Remote-Extra-A: b", "Impersonate-User: admin", "Proxy-Authorization: secret",
		"X-Forwarded-For: 10.0.0.1", "Accept-Encoding: gzip", "Te: trailers", "Trailer: x", "Transfer-Encoding: chunked", "Content-Type: text/html", "Kubectl-Command: kubectl exec",
		"Accept: */*", "User-Agent: kubectl", "X-Stream-Protocol-Version: v5.channel.k8s.io", "X-Stream-Protocol-Version: v4.channel.k8s.io",
		"Sec-Websocket-Key: abc", "Sec-Websocket-Version: 13", "Sec-Websocket-Protocol: v5.channel.k8s.io, base64url.bearer.authorization.k8s.io.c2VjcmV0", "Sec-Websocket-Protocol: base64url.bearer.authorization.k8s.io.c2VjcmV0",
	} {
		name, value, _ := strings.Cut(line, ": ")
		given.Add(name, value)
	}
	want := http.Header{
		"Accept": {"*/*"}, "User-Agent": {"kubectl"}, "X-Stream-Protocol-Version": {"v5.channel.k8s.io", "v4.channel.k8s.io"},
		"Sec-Websocket-Key": {"abc"}, "Sec-Websocket-Version": {"13"}, "Sec-Websocket-Protocol": {"v5.channel.k8s.io"},
	}
	if diff := cmp.Diff(want, headersFor(given)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// FuzzTranslate: whatever is asked for, only a pod's own paths are asked of a cluster, with parameters that are listed.
func FuzzTranslate(f *testing.F) {
	for _, seed := range []string{"/containerLogs/argo/a/main?follow=true", "/exec/argo/a/u/main?command=sh&input=1", "/portForward/argo/a?port=80,81", "/attach/../a/%2e%2e/main", "//x", "/exec/a/b/c/d/e?%zz"} {
		f.Add("GET", seed, true)
		f.Add("POST", seed, false)
	}
	known := map[string]bool{"container": true, "command": true, "ports": true, "stdin": true, "stdout": true, "stderr": true, "tty": true}
	for _, name := range logParameters {
		known[name] = true
	}
	f.Fuzz(func(t *testing.T, method, target string, upgrade bool) {
		address, err := url.ParseRequestURI(target)
		if err != nil {
			return
		}
		got, said := translate(method, address, upgrade)
		if said != nil {
			if said.code < 400 || said.code > 499 || said.text == "" || strings.ContainsFunc(said.text, func(r rune) bool { return r < ' ' || r > '~' }) {
				t.Errorf("it is refused with %+v", said)
			}
			return
		}
		subresource := strings.TrimPrefix(got.path, "/api/v1/namespaces/"+got.pod.Namespace+"/pods/"+got.pod.Name+"/")
		if len(validation.IsDNS1123Label(got.pod.Namespace)) > 0 || len(validation.IsDNS1123Subdomain(got.pod.Name)) > 0 ||
			subresource != "log" && subresource != "exec" && subresource != "attach" && subresource != "portforward" {
			t.Errorf("%s is asked for", got.path)
		}
		for name := range got.query {
			if !known[name] {
				t.Errorf("parameter %s travels", name)
			}
		}
		if got.kind != kindLog && !upgrade || got.kind == kindLog && method != http.MethodGet {
			t.Errorf("%s is taken with %s, upgrade %v", got.kind, method, upgrade)
		}
		if again, said := translate(method, address, upgrade); said != nil || cmp.Diff(got.query, again.query) != "" {
			t.Error("the second time it is another one")
		}
	})
}

package kubelet

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

// kind is what a stream is for.
type kind string

// The kinds are the values of a metric's label too.
const (
	kindLog         kind = "log"
	kindExec        kind = "exec"
	kindAttach      kind = "attach"
	kindPortForward kind = "port-forward"
)

// ask is a request that a kubelet would understand.
type ask struct {
	kind kind
	pod  types.NamespacedName
	// uid is the pod's, empty if the request has none.
	uid types.UID
	// path and query are the request to the API server of the pod's cluster.
	path  string
	query url.Values
}

// refusal is an answer without a stream.
type refusal struct {
	code int
	text string
}

// logParameters are the parameters of a log that travel. Others do not: insecureSkipTLSVerifyBackend would weaken the WEC's own connection.
var logParameters = []string{"follow", "limitBytes", "previous", "sinceSeconds", "sinceTime", "stream", "tailLines", "timestamps"}

// attachParameters are what an API server calls the streams of exec and attach, by what it calls them to a kubelet
// (k8s.io/kubernetes pkg/registry/core/pod/strategy.go, streamParams).
var attachParameters = map[string]string{"input": "stdin", "output": "stdout", "error": "stderr", "tty": "tty"}

// translate turns a request to a kubelet (k8s.io/kubernetes pkg/kubelet/server/server.go) into one to an API server. A path that is none of
// the kubelet's about one pod gives a refusal with 404, anything else that is wrong one with 400 or 405.
func translate(method string, address *url.URL, upgrade bool) (ask, *refusal) {
	a, container, found := parsePath(address.EscapedPath())
	if !found {
		return ask{}, &refusal{http.StatusNotFound, "404: of a kubelet's paths only those of logs, exec, attach and port-forward of one pod are served here"}
	}
	if said := a.check(method, container, upgrade); said != nil {
		return ask{}, said
	}
	given := address.Query()
	a.query = url.Values{}
	a.path = "/api/v1/namespaces/" + a.pod.Namespace + "/pods/" + a.pod.Name + "/" + map[kind]string{
		kindLog: "log", kindExec: "exec", kindAttach: "attach", kindPortForward: "portforward",
	}[a.kind]
	switch a.kind {
	case kindPortForward:
		return a, a.ports(given["port"])
	case kindLog:
		a.log(given)
	default:
		for theirs, ours := range attachParameters {
			if given.Get(theirs) == "1" {
				a.query.Set(ours, "true")
			}
		}
		if a.kind == kindExec {
			a.query["command"] = slices.Clone(given["command"])
		}
	}
	a.query.Set("container", container)
	return a, nil
}

// parsePath reads /containerLogs/NAMESPACE/POD/CONTAINER, and /exec, /attach and /portForward, which may have the pod's UID behind its name.
func parsePath(path string) (a ask, container string, found bool) {
	parts := strings.Split(path, "/")
	if len(parts) < 4 || parts[0] != "" { // "", what, namespace, pod
		return ask{}, "", false
	}
	kinds := map[string]kind{"containerLogs": kindLog, "exec": kindExec, "attach": kindAttach, "portForward": kindPortForward}
	a.kind, found = kinds[parts[1]]
	a.pod = types.NamespacedName{Namespace: parts[2], Name: parts[3]}
	rest := parts[4:]
	if a.kind != kindPortForward && len(rest) > 0 {
		container, rest = rest[len(rest)-1], rest[:len(rest)-1]
	} else if a.kind != kindPortForward {
		return ask{}, "", false
	}
	if len(rest) == 1 && a.kind != kindLog {
		a.uid, rest = types.UID(rest[0]), nil
	}
	return a, container, found && len(rest) == 0
}

// check says what is wrong with a request but for its query.
func (a ask) check(method, container string, upgrade bool) *refusal {
	for _, name := range []struct {
		what, value string
		problems    []string
	}{
		{"namespace", a.pod.Namespace, validation.IsDNS1123Label(a.pod.Namespace)},
		{"pod", a.pod.Name, validation.IsDNS1123Subdomain(a.pod.Name)},
		{"container", container, validation.IsDNS1123Label(container)},
	} {
		if len(name.problems) > 0 && (name.what != "container" || a.kind != kindPortForward) {
			return &refusal{http.StatusBadRequest, "the path names no " + name.what + ": " + stellarflow.Quote(name.value, 64) + " is no name of one"}
		}
	}
	switch {
	case a.kind == kindLog && method != http.MethodGet:
		return &refusal{http.StatusMethodNotAllowed, "logs are read with GET"}
	case method != http.MethodGet && method != http.MethodPost:
		return &refusal{http.StatusMethodNotAllowed, string(a.kind) + " is asked for with POST, or GET"}
	case a.kind != kindLog && !upgrade:
		return &refusal{http.StatusBadRequest, string(a.kind) + " needs a request to upgrade to SPDY or WebSocket"}
	}
	return nil
}

func (a ask) log(given url.Values) {
	for _, name := range logParameters {
		if value := given.Get(name); value != "" {
			a.query.Set(name, value)
		}
	}
	if a.query.Get("stream") == "All" { // what all do without; an API server that does not know the others refuses the parameter
		a.query.Del("stream")
	}
}

// ports takes the ports over, each once for itself or with commas between them.
func (a ask) ports(given []string) *refusal {
	for _, port := range strings.Split(strings.Join(given, ","), ",") {
		if port == "" {
			continue
		}
		if number, err := strconv.ParseUint(port, 10, 16); err != nil || number == 0 {
			return &refusal{http.StatusBadRequest, "port " + stellarflow.Quote(port, 64) + " is no number from 1 to 65535"}
		}
		a.query.Add("ports", port)
	}
	return nil
}

// requestHeaders are the headers of a caller that reach a WEC. Its credentials do not, nor does who it is: the WEC knows the hub only.
var requestHeaders = []string{"Accept", "User-Agent", "X-Stream-Protocol-Version", "Sec-Websocket-Key", "Sec-Websocket-Version", "Sec-Websocket-Extensions"}

// bearerProtocol begins the WebSocket protocol that carries a token (k8s.io/apiserver pkg/authentication/request/websocket).
const bearerProtocol = "base64url.bearer.authorization.k8s.io." //nolint:gosec // what stands before a credential

// headersFor returns the headers of a request to a WEC, without those of the upgrade.
func headersFor(given http.Header) http.Header {
	sent := http.Header{}
	for _, name := range requestHeaders {
		if values := given[name]; len(values) > 0 {
			sent[name] = slices.Clone(values)
		}
	}
	for _, list := range given["Sec-Websocket-Protocol"] {
		var kept []string
		for _, protocol := range strings.Split(list, ",") {
			if protocol = strings.TrimSpace(protocol); protocol != "" && !strings.HasPrefix(protocol, bearerProtocol) {
				kept = append(kept, protocol)
			}
		}
		if len(kept) > 0 {
			sent.Add("Sec-Websocket-Protocol", strings.Join(kept, ", "))
		}
	}
	return sent
}

// responseHeaders are the headers of a WEC's answer that reach a caller, beside those of an upgrade.
var responseHeaders = []string{"X-Stream-Protocol-Version", "X-Accepted-Stream-Protocol-Versions", "Sec-Websocket-Accept", "Sec-Websocket-Protocol", "Sec-Websocket-Extensions"}

// headersOf returns what is passed on of the headers of an answer.
func headersOf(answered http.Header, upgraded bool) http.Header {
	passed := http.Header{}
	for _, name := range responseHeaders {
		if values := answered[name]; len(values) > 0 {
			passed[name] = slices.Clone(values)
		}
	}
	if upgraded {
		passed.Set("Connection", "Upgrade")
		passed.Set("Upgrade", answered.Get("Upgrade"))
	} else { // never a page for a browser
		passed.Set("Content-Type", contentType)
		passed.Set("X-Content-Type-Options", "nosniff")
	}
	return passed
}

// contentType is what every answer but an upgrade is.
const contentType = "text/plain; charset=utf-8"

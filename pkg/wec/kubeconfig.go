package wec

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

// KubeconfigOptions say how ParseKubeconfig reads a kubeconfig.
type KubeconfigOptions struct {
	// Context is the context to use; empty means the kubeconfig's current one.
	Context string
	// Server replaces the kubeconfig's server address if it is not empty.
	Server string
	// AllowLoopback accepts addresses of this machine: tests have API servers there.
	AllowLoopback bool
}

// ParseKubeconfig makes a REST config from a kubeconfig that somebody else wrote. It accepts only what can be used from
// anywhere and makes this process do nothing but talk TLS to the named server: no program is started, no file is read, no
// certificate goes unchecked. The error names every field that is refused, why, and what to do; it holds no credential.
func ParseKubeconfig(raw []byte, options KubeconfigOptions) (*rest.Config, error) {
	config, err := clientcmd.Load(raw)
	if err != nil { // the cause may quote the text, credentials included
		return nil, errors.New("the kubeconfig is not one: it cannot be read as YAML of kind Config: write it with `kubectl config view --raw --flatten --minify`")
	}
	cluster, user, err := selectContext(config, options.Context)
	if err != nil {
		return nil, err
	}
	if options.Server != "" {
		cluster.Server = options.Server
	}
	problems := slices.Concat(checkServer(cluster.Server, options.AllowLoopback), checkCluster(cluster), checkUser(user))
	if len(problems) > 0 {
		return nil, fmt.Errorf("kubeconfig refused: %s", strings.Join(problems, "; "))
	}
	rc := &rest.Config{
		Host:        cluster.Server,
		BearerToken: user.Token,
		TLSClientConfig: rest.TLSClientConfig{
			ServerName: cluster.TLSServerName, CAData: cluster.CertificateAuthorityData,
			CertData: user.ClientCertificateData, KeyData: user.ClientKeyData,
		},
		DisableCompression: cluster.DisableCompression,
	}
	if cluster.ProxyURL != "" {
		proxy, err := url.Parse(cluster.ProxyURL)
		if err != nil || !slices.Contains([]string{"http", "https", "socks5"}, proxy.Scheme) || proxy.Host == "" {
			return nil, errors.New("kubeconfig refused: proxy-url is no http, https or socks5 address: correct or remove it")
		}
		rc.Proxy = http.ProxyURL(proxy)
	}
	return rc, nil
}

// MinimalKubeconfig is a kubeconfig with an address, the authorities that vouch for it (PEM) and a token, and nothing else.
func MinimalKubeconfig(server string, ca []byte, token string) ([]byte, error) {
	const name = "wec"
	config := api.NewConfig()
	config.Clusters[name] = &api.Cluster{Server: server, CertificateAuthorityData: ca}
	config.AuthInfos[name] = &api.AuthInfo{Token: token}
	config.Contexts[name] = &api.Context{Cluster: name, AuthInfo: name}
	config.CurrentContext = name
	raw, err := clientcmd.Write(*config)
	if err != nil {
		return nil, fmt.Errorf("write a kubeconfig for %s: %w", server, err)
	}
	return raw, nil
}

// selectContext returns the cluster and the user of a context.
func selectContext(config *api.Config, name string) (*api.Cluster, *api.AuthInfo, error) {
	known := contexts(config)
	if known == "" {
		return nil, nil, errors.New("the kubeconfig has no context: write it with `kubectl config view --raw --flatten --minify`")
	}
	if name == "" {
		name = config.CurrentContext
	}
	if name == "" {
		return nil, nil, fmt.Errorf("the kubeconfig has no current-context: name one of its contexts: %s", known)
	}
	context, found := config.Contexts[name]
	if !found {
		return nil, nil, fmt.Errorf("the kubeconfig has no context %s: it has %s", shorten(name), known)
	}
	cluster, found := config.Clusters[context.Cluster]
	if !found {
		return nil, nil, fmt.Errorf("context %s names cluster %s, which the kubeconfig does not hold: correct the context", shorten(name), shorten(context.Cluster))
	}
	user, found := config.AuthInfos[context.AuthInfo]
	if !found {
		return nil, nil, fmt.Errorf("context %s names user %s, which the kubeconfig does not hold: correct the context", shorten(name), shorten(context.AuthInfo))
	}
	return cluster.DeepCopy(), user.DeepCopy(), nil
}

// contexts lists the names of the contexts, at most maxContexts of them.
func contexts(config *api.Config) string {
	names := slices.Sorted(maps.Keys(config.Contexts))
	shown := make([]string, 0, maxContexts)
	for _, name := range names[:min(len(names), maxContexts)] {
		shown = append(shown, stellarflow.OneLine(name, maxShown))
	}
	text := strings.Join(shown, ", ")
	if len(names) > maxContexts {
		text += fmt.Sprintf(" and %d more", len(names)-maxContexts)
	}
	return text
}

// What a message shows of a kubeconfig: characters of a value, and contexts.
const (
	maxShown    = 128
	maxContexts = 10
)

// shorten quotes a value, cut if it is long.
func shorten(value string) string { return stellarflow.Quote(value, maxShown) }

// checkServer says what is wrong with a server address.
func checkServer(server string, allowLoopback bool) []string {
	if server == "" {
		return []string{"server is missing: give the API server's address, https://host:port"}
	}
	address, err := url.Parse(server)
	if err != nil || address.Hostname() == "" || (address.Scheme != "https" && address.Scheme != "http") {
		return []string{"server is no https address: give the API server's address, https://host:port"}
	}
	if port := address.Port(); port != "" && !isPort(port) {
		return []string{fmt.Sprintf("server has port %s, and ports are 1 to 65535: give the API server's address, https://host:port", shorten(port))}
	}
	if address.User != nil || address.RawQuery != "" || address.Fragment != "" {
		return []string{"server holds a user, a query or a fragment: give the API server's address alone, https://host:port"}
	}
	var problems []string
	if address.Scheme == "http" {
		problems = append(problems, fmt.Sprintf("server %s is not encrypted, so the token could be read on the way: give the https address", shorten(server)))
	}
	switch {
	case !allowLoopback && isLocal(address.Hostname()):
		problems = append(problems, fmt.Sprintf("server %s is an address of this machine only, the hub's pod would reach itself there: give an address that the hub can reach", shorten(server)))
	case isNoUnicast(address.Hostname()):
		problems = append(problems, fmt.Sprintf("server %s is a link-local or multicast address, where clouds answer with a machine's own credentials: give an address that the hub can reach", shorten(server)))
	}
	return problems
}

func isPort(text string) bool {
	n, err := strconv.Atoi(text)
	return err == nil && n >= 1 && n <= 65535
}

// isNoUnicast reports whether a host is an address that no API server of another machine has.
func isNoUnicast(host string) bool {
	address, err := netip.ParseAddr(host)
	if err != nil {
		return false
	}
	address = address.Unmap()
	return address.IsLinkLocalUnicast() || address.IsMulticast()
}

// isLocal reports whether a host means the machine that dials it.
func isLocal(host string) bool {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	address, err := netip.ParseAddr(host)
	if err != nil {
		return false
	}
	address = address.Unmap()
	return address.IsLoopback() || address.IsUnspecified()
}

// checkCluster says what is wrong with a kubeconfig's cluster, the server address aside.
func checkCluster(cluster *api.Cluster) []string {
	var problems []string
	if cluster.InsecureSkipTLSVerify {
		problems = append(problems, "insecure-skip-tls-verify would give the token to whoever answers: remove it and give certificate-authority-data")
	}
	switch {
	case cluster.CertificateAuthority != "":
		problems = append(problems, refusedFile("certificate-authority", "certificate-authority-data"))
	case len(cluster.CertificateAuthorityData) == 0:
		problems = append(problems, "certificate-authority-data is missing, so the server's certificate cannot be checked: add the cluster's CA in PEM, base64 encoded")
	case !x509.NewCertPool().AppendCertsFromPEM(cluster.CertificateAuthorityData):
		problems = append(problems, "certificate-authority-data holds no certificate: add the cluster's CA in PEM, base64 encoded")
	}
	return problems
}

// checkUser says what is wrong with a kubeconfig's user.
func checkUser(user *api.AuthInfo) []string {
	var problems []string
	refuse := func(refused bool, problem string) {
		if refused {
			problems = append(problems, problem)
		}
	}
	const instead = "use a ServiceAccount's token or client certificate data"
	if user.Exec != nil {
		problems = append(problems, fmt.Sprintf("exec runs the program %s: %s", shorten(user.Exec.Command), instead))
	}
	if user.AuthProvider != nil {
		problems = append(problems, fmt.Sprintf("auth-provider %s is a plugin: %s", shorten(user.AuthProvider.Name), instead))
	}
	refuse(user.TokenFile != "", refusedFile("tokenFile", "token"))
	refuse(user.ClientCertificate != "", refusedFile("client-certificate", "client-certificate-data"))
	refuse(user.ClientKey != "", refusedFile("client-key", "client-key-data"))
	refuse(user.Username != "" || user.Password != "", "username and password are no credential of an API server any more: "+instead)
	refuse(user.Impersonate != "" || user.ImpersonateUID != "" || len(user.ImpersonateGroups) > 0 || len(user.ImpersonateUserExtra) > 0,
		"act-as (impersonation) hides who acts: use a credential of the acting user")
	if len(problems) > 0 {
		return problems
	}
	hasCert, hasKey := len(user.ClientCertificateData) > 0, len(user.ClientKeyData) > 0
	refuse(strings.ContainsFunc(user.Token, func(r rune) bool { return r <= ' ' || r > '~' }),
		"token holds a blank, a line break or another character that no token has: give the token alone")
	refuse(user.Token == "" && !hasCert && !hasKey, "the user has no credential: "+instead)
	refuse(hasCert != hasKey, "client-certificate-data and client-key-data belong together and one is missing: give both")
	if hasCert && hasKey {
		_, err := tls.X509KeyPair(user.ClientCertificateData, user.ClientKeyData)
		refuse(err != nil, "client-certificate-data and client-key-data are no pair in PEM: give a certificate and its key")
	}
	return problems
}

func refusedFile(field, instead string) string {
	return fmt.Sprintf("%s is a path to a file, which the hub does not have: put its content into %s (`kubectl config view --raw --flatten`)", field, instead)
}

package integration

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/yaml"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
	"stellarflow.io/stellarflow/pkg/wec"
)

// right is one verb on one resource, as config/ grants it.
type right struct{ role, group, resource, verb string }

// String returns it as the table names it.
func (r right) String() string {
	return strings.TrimSuffix(fmt.Sprintf("%s: %s %s.%s", r.role, r.verb, r.resource, r.group), ".")
}

// granted reads the rights from the files that are installed.
func granted(t *testing.T, files ...string) []right {
	t.Helper()
	var rights []right
	for _, file := range files {
		raw, err := os.ReadFile(filepath.Join("..", "..", "config", file))
		if err != nil {
			t.Fatal(err)
		}
		for _, document := range strings.Split(string(raw), "\n---\n") {
			var role rbacv1.ClusterRole
			if err := yaml.Unmarshal([]byte(document), &role); err != nil {
				t.Fatal(err)
			}
			for _, rule := range single(role.Rules) {
				rights = append(rights, right{role.Kind + " " + role.Name, rule.APIGroups[0], rule.Resources[0], rule.Verbs[0]})
			}
		}
	}
	return rights
}

// single parts rules into those of one verb on one resource.
func single(rules []rbacv1.PolicyRule) []rbacv1.PolicyRule {
	var parts []rbacv1.PolicyRule
	for _, rule := range rules {
		for _, group := range rule.APIGroups {
			for _, resource := range rule.Resources {
				for _, verb := range rule.Verbs {
					parts = append(parts, rbacv1.PolicyRule{APIGroups: []string{group}, Resources: []string{resource}, Verbs: []string{verb}, ResourceNames: rule.ResourceNames})
				}
			}
		}
	}
	return parts
}

// without takes rights away, and gives them back when the function that it returns is called.
func (s *server) without(t *testing.T, taken ...right) (restore func()) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	name := strings.Fields(taken[0].role)[1]
	write := func(change func([]rbacv1.PolicyRule) []rbacv1.PolicyRule) (old []rbacv1.PolicyRule) {
		err := retry.RetryOnConflict(retry.DefaultRetry, func() error {
			if strings.HasPrefix(taken[0].role, "Role ") {
				namespace := stellarflow.SystemNamespace
				if taken[0].resource == "leases" && name == "stellarflow-hub-pods" {
					namespace = corev1.NamespaceNodeLease
				}
				roles := s.core.RbacV1().Roles(namespace)
				role, err := roles.Get(ctx, name, metav1.GetOptions{})
				if err != nil {
					return err
				}
				old, role.Rules = role.Rules, change(role.Rules)
				_, err = roles.Update(ctx, role, metav1.UpdateOptions{})
				return err
			}
			roles := s.core.RbacV1().ClusterRoles()
			role, err := roles.Get(ctx, name, metav1.GetOptions{})
			if err != nil {
				return err
			}
			old, role.Rules = role.Rules, change(role.Rules)
			_, err = roles.Update(ctx, role, metav1.UpdateOptions{})
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return old
	}
	before := write(func(rules []rbacv1.PolicyRule) (left []rbacv1.PolicyRule) {
		for _, rule := range single(rules) {
			keep := true
			for _, r := range taken {
				keep = keep && (rule.APIGroups[0] != r.group || rule.Resources[0] != r.resource || rule.Verbs[0] != r.verb)
			}
			if keep {
				left = append(left, rule)
			}
		}
		return left
	})
	restore = sync.OnceFunc(func() { write(func([]rbacv1.PolicyRule) []rbacv1.PolicyRule { return before }) })
	t.Cleanup(restore)
	return restore
}

// denials counts which requests of a manager were answered 403, as "verb resource.group".
type denials struct {
	mu   sync.Mutex
	seen map[string]int
}

func (d *denials) wrap(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(r *http.Request) (*http.Response, error) {
		response, err := next.RoundTrip(r)
		if err == nil && response.StatusCode == http.StatusForbidden {
			d.mu.Lock()
			defer d.mu.Unlock()
			if d.seen == nil {
				d.seen = map[string]int{}
			}
			d.seen[requested(r)]++
		}
		return response, err
	})
}

func (d *denials) has(r right) bool { return d.count(r) > 0 }

func (d *denials) count(r right) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.seen[strings.TrimSuffix(r.verb+" "+r.resource+"."+r.group, ".")]
}

// requested is the verb and the resource that RBAC decides a request by.
func requested(r *http.Request) string {
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	group := ""
	if parts[0] == "apis" && len(parts) > 1 {
		group, parts = "."+parts[1], parts[1:]
	}
	parts = parts[min(2, len(parts)):] // api v1, or group version
	if len(parts) > 2 && parts[0] == "namespaces" {
		parts = parts[2:]
	}
	verb := map[string]string{http.MethodGet: "get", http.MethodPost: "create", http.MethodPut: "update", http.MethodPatch: "patch", http.MethodDelete: "delete"}[r.Method]
	if len(parts) == 1 && verb == "get" {
		verb = "list"
		if r.URL.Query().Get("watch") != "" {
			verb = "watch"
		}
	}
	resource := strings.Join(parts[:min(1, len(parts))], "")
	if len(parts) == 3 {
		resource += "/" + parts[2]
	}
	return verb + " " + resource + group
}

// renew gives the hub another token for a WEC, so that it connects anew.
func (c *clusters) renew(t *testing.T, name string) {
	t.Helper()
	s := c.wecs[name]
	kubeconfig, err := wec.MinimalKubeconfig(s.config.Host, s.config.CAData, s.token(t, stellarflow.SystemNamespace, "stellarflow"))
	if err != nil {
		t.Fatal(err)
	}
	secrets := c.hub.core.CoreV1().Secrets(stellarflow.SystemNamespace)
	err = retry.RetryOnConflict(retry.DefaultRetry, func() error {
		secret, err := secrets.Get(t.Context(), stellarflow.CredentialName(stellarflow.ClusterName(name)), metav1.GetOptions{})
		if err != nil {
			return err
		}
		secret.Data = map[string][]byte{stellarflow.SecretKeyKubeconfig: append(kubeconfig, fmt.Sprintf("# %s\n", t.Name())...)}
		_, err = secrets.Update(t.Context(), secret, metav1.UpdateOptions{})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// eventsOf returns the notes of all events whose object has a name.
func (c *clusters) eventsOf(ctx context.Context, name string) string {
	list, err := c.hub.core.EventsV1().Events(metav1.NamespaceAll).List(ctx, metav1.ListOptions{FieldSelector: "regarding.name=" + name})
	if err != nil {
		return err.Error()
	}
	var notes []string
	for _, event := range list.Items {
		if event.Type == corev1.EventTypeWarning {
			notes = append(notes, event.Note)
		}
	}
	return strings.Join(notes, "\n")
}

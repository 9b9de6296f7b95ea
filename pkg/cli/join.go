package cli

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
	"stellarflow.io/stellarflow/pkg/wec"
)

type joinOptions struct {
	name       string
	hub        *hubFlags
	kubeconfig string
	context    string
	server     string
	labels     []string
	namespaces []string
	dryRun     bool
	wait       bool
	timeout    time.Duration
}

func joinCommand(env Env) *cobra.Command {
	var o joinOptions
	cmd := &cobra.Command{
		Use:   "join NAME --kubeconfig FILE",
		Short: "Join a cluster, so that Workflows can run there",
		Long: `Join a cluster, so that Workflows can run there.

With the credential of --kubeconfig, which is used once and not kept, a ServiceAccount with the least rights is created on the
cluster; the hub gets a kubeconfig with only its token, and a ManagedCluster NAME with the label name=NAME and those of --labels.
The kubeconfig must be usable from anywhere: no exec plugin, no path to a file, no unchecked certificate, no loopback address.

Existing namespaces of the cluster are used only if --namespaces names them or their label stellarflow.io/accept is "true".
Run it again to change labels or namespaces, to renew the token, or to restore the rights.`,
		Example: "  stellarflow join cluster1 --kubeconfig cluster1.kubeconfig --namespaces argo --labels gpu=true,region=eu",
		Args:    one("the cluster's name"),
	}
	flags := cmd.Flags()
	flags.StringVar(&o.kubeconfig, "kubeconfig", "", "kubeconfig `file` of the cluster to join (required)")
	flags.StringVar(&o.context, "context", "", "`context` in it (default: its current one)")
	flags.StringVar(&o.server, "server", "", "`URL` of the cluster's API server as the hub reaches it (default: that of the kubeconfig)")
	flags.Var(commaList{&o.labels}, "labels", "`key=value` labels of the ManagedCluster, which policies select by, in place of those named before")
	flags.Var(commaList{&o.namespaces}, "namespaces", "existing `namespaces` of the cluster that accept Workflows, in place of those named before")
	flags.BoolVar(&o.dryRun, "dry-run", false, "check everything, print what would be created, and change nothing")
	flags.BoolVar(&o.wait, "wait", true, "wait until the hub is connected to the cluster")
	flags.DurationVar(&o.timeout, "timeout", time.Minute, "how long to wait for that")
	o.hub = addHubFlags(cmd, "hub-")
	return env.runs(cmd, func(ctx context.Context, env Env, args []string) (any, error) {
		o.name = args[0]
		return join(ctx, env, o)
	})
}

// joined is the answer of join.
type joined struct {
	Name       string            `json:"name"`
	Server     string            `json:"server"`
	ID         types.UID         `json:"clusterID"`
	Kubernetes string            `json:"kubernetes"`
	Argo       string            `json:"argo"`
	Labels     map[string]string `json:"labels"`
	// Prepared are the accepted namespaces that hold what Workflows need now.
	Prepared []string `json:"preparedNamespaces"`
	// Connected is false if nobody waited for it.
	Connected bool `json:"connected"`
}

// joining is a join on its way: both clusters, checked input and what was found.
type joining struct {
	env  Env
	name string
	// labels and namespaces are those that were named, and in the end those that are on the ManagedCluster.
	labels     map[string]string
	namespaces []string
	hub        client.Client
	wec        *wecAdmin
	facts      wecFacts
}

func join(ctx context.Context, env Env, o joinOptions) (any, error) {
	j, admin, err := checkJoin(env, o)
	if err != nil {
		return nil, err
	}
	if j.hub, err = o.hub.connect(); err != nil {
		return nil, err
	}
	if err := j.look(ctx, admin); err != nil {
		return nil, err
	}
	objects, err := renderWEC()
	if err != nil {
		return nil, err
	}
	env.sayf("cluster %s at %s: Kubernetes %s, Argo %s", j.name, admin.Host, j.facts.Kubernetes, firstOf(j.facts.Argo, "of unknown version"))
	env.sayf("the hub's rights there, held by ServiceAccount %s/%s:\n%s", stellarflow.SystemNamespace, wecAccount, rightsOf(objects))
	if o.dryRun {
		return dryRun{Objects: objects}, nil
	}
	if err := j.grant(ctx, admin, objects); err != nil {
		return nil, err
	}
	answer := joined{
		Name: j.name, Server: admin.Host, ID: j.facts.ID, Kubernetes: j.facts.Kubernetes, Argo: j.facts.Argo, Labels: j.labels, Prepared: []string{},
	}
	if answer.Prepared, err = j.prepare(ctx); err != nil {
		return nil, err
	}
	env.sayf("joined %s: ManagedCluster %s (labels %s) and Secret %s on the hub", j.name, j.name, formatLabels(j.labels), credentialKey(j.name))
	if o.wait {
		err = waitConnected(ctx, env, j.hub, j.name, o.timeout)
		answer.Connected = err == nil
	}
	return answer, err
}

// look reads both clusters and refuses what cannot be joined.
func (j *joining) look(ctx context.Context, admin *rest.Config) error {
	if err := hubInstalled(ctx, j.hub); err != nil {
		return err
	}
	var err error
	if j.wec, err = connectWEC(admin); err != nil {
		return err
	}
	if j.facts, err = j.wec.look(ctx, j.namespaces); err != nil {
		return fmt.Errorf("cluster %q at %s: %w", j.name, admin.Host, err)
	}
	return checkIdentity(ctx, j.hub, j.name, j.facts.ID)
}

// grant gives the hub its rights there, and the hub a credential that was seen to work.
func (j *joining) grant(ctx context.Context, admin *rest.Config, objects []*unstructured.Unstructured) error {
	token, err := j.wec.grant(ctx, objects)
	if err != nil {
		return fmt.Errorf("cluster %q: %w", j.name, err)
	}
	kubeconfig, err := wec.MinimalKubeconfig(admin.Host, admin.CAData, token)
	if err != nil {
		return err
	}
	if err := verifyCredential(ctx, j.env, kubeconfig); err != nil {
		return fmt.Errorf("cluster %q: the new credential does not work: %w", j.name, err)
	}
	return j.record(ctx, kubeconfig)
}

// checkJoin checks all that can be checked without asking a cluster.
func checkJoin(env Env, o joinOptions) (*joining, *rest.Config, error) {
	j := &joining{env: env, name: o.name}
	if errs := validation.IsDNS1123Label(o.name); len(errs) > 0 {
		return nil, nil, usagef("the cluster's name %q is no DNS label (%s): choose another name, for example cluster1", o.name, strings.Join(errs, "; "))
	}
	var err error
	if j.labels, err = parseLabels(o.name, o.labels); err != nil {
		return nil, nil, err
	}
	if j.namespaces, err = parseNamespaces(o.namespaces); err != nil {
		return nil, nil, err
	}
	if o.kubeconfig == "" {
		return nil, nil, usagef("--kubeconfig is missing: name the kubeconfig of the cluster to join")
	}
	raw, err := os.ReadFile(o.kubeconfig) //nolint:gosec // the person names the file
	if err != nil {
		return nil, nil, usagef("--kubeconfig %q cannot be read (%w): name an existing kubeconfig", o.kubeconfig, errors.Unwrap(err))
	}
	admin, err := wec.ParseKubeconfig(raw, wec.KubeconfigOptions{Context: o.context, Server: o.server, AllowLoopback: env.AllowLoopback})
	if err != nil {
		return nil, nil, usagef("--kubeconfig %q: %w", o.kubeconfig, err)
	}
	if admin.ServerName != "" {
		return nil, nil, usagef("--kubeconfig %q: kubeconfig refused: tls-server-name is not kept for the hub: give an address that the server's certificate names with --server", o.kubeconfig)
	}
	if admin.Proxy != nil {
		env.sayf("proxy-url is used by this command only: the hub dials %s itself", admin.Host)
	}
	return j, admin, nil
}

// parseLabels reads key=value labels.
func parseLabels(name string, given []string) (map[string]string, error) {
	labels := map[string]string{}
	for _, label := range given {
		key, value, found := strings.Cut(label, "=")
		if !found {
			return nil, usagef("--labels %q has no =: write key=value, several with commas between them", label)
		}
		if errs := validation.IsQualifiedName(key); len(errs) > 0 {
			return nil, usagef("--labels %q: the key %q is no label key (%s): correct it", label, key, strings.Join(errs, "; "))
		}
		if errs := validation.IsValidLabelValue(value); len(errs) > 0 {
			return nil, usagef("--labels %q: the value %q is no label value (%s): correct it", label, value, strings.Join(errs, "; "))
		}
		if key == "name" && value != name {
			return nil, usagef("--labels %q: the label name is always the cluster's name, %q: remove it, or use another key", label, name)
		}
		if reservedLabel(key) {
			return nil, usagef("--labels %q: the key %q is kept for Stellarflow: use another key", label, key)
		}
		if before, twice := labels[key]; twice && before != value {
			return nil, usagef("--labels %q: the key %q has the value %q already: keep one of them", label, key, before)
		}
		labels[key] = value
	}
	return labels, nil
}

// parseNamespaces reads the namespaces that accept Workflows.
func parseNamespaces(given []string) ([]string, error) {
	var namespaces []string
	for _, namespace := range given {
		if errs := validation.IsDNS1123Label(namespace); len(errs) > 0 {
			return nil, usagef("--namespaces %q is no namespace name (%s): correct it", namespace, strings.Join(errs, "; "))
		}
		if strings.HasPrefix(namespace, "kube-") || namespace == stellarflow.SystemNamespace {
			return nil, usagef("--namespaces %q is a system namespace, where no Workflow may run: remove it", namespace)
		}
		namespaces = append(namespaces, namespace)
	}
	slices.Sort(namespaces)
	return slices.Compact(namespaces), nil
}

// rightsOf lists the rules of the ClusterRoles that the hub gets, one a line.
func rightsOf(objects []*unstructured.Unstructured) string {
	var lines []string
	for _, object := range objects {
		if object.GetKind() != "ClusterRole" || object.GetName() != wecRole && object.GetName() != wecStreams {
			continue
		}
		rules, _, _ := unstructured.NestedSlice(object.Object, "rules")
		for _, entry := range rules {
			rule, _ := entry.(map[string]any)
			resources, _, _ := unstructured.NestedStringSlice(rule, "resources")
			verbs, _, _ := unstructured.NestedStringSlice(rule, "verbs")
			names, _, _ := unstructured.NestedStringSlice(rule, "resourceNames")
			line := "  " + strings.Join(resources, ", ") + ": " + strings.Join(verbs, ", ")
			if len(names) > 0 {
				line += " (only " + strings.Join(names, ", ") + ")"
			}
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "\n")
}

// formatLabels writes labels as key=value, sorted.
func formatLabels(labels map[string]string) string {
	var texts []string
	for _, key := range slices.Sorted(maps.Keys(labels)) {
		texts = append(texts, key+"="+labels[key])
	}
	return strings.Join(texts, ",")
}

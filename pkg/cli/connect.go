package cli

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clusterv1 "open-cluster-management.io/api/cluster/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"stellarflow.io/stellarflow/pkg/apis/control/v1alpha1"
	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

// fieldManager owns what the CLI applies.
const fieldManager = "stellarflow"

// labelPartOf, with the value partOf, is on everything that the CLI creates: what lacks it is somebody else's.
const (
	labelPartOf = "app.kubernetes.io/part-of"
	partOf      = "stellarflow"
)

// hubFlags are the flags that say where the hub is.
type hubFlags struct {
	kubeconfig, context string
	names               [2]string // of the flags, for errors
}

// addHubFlags adds --kubeconfig and --context for the hub, or --hub-kubeconfig and --hub-context where the others mean a WEC.
func addHubFlags(cmd *cobra.Command, prefix string) *hubFlags {
	f := &hubFlags{names: [2]string{"--" + prefix + "kubeconfig", "--" + prefix + "context"}}
	cmd.Flags().StringVar(&f.kubeconfig, prefix+"kubeconfig", "", "kubeconfig `file` of the hub (default: $KUBECONFIG, then ~/.kube/config)")
	cmd.Flags().StringVar(&f.context, prefix+"context", "", "`context` in the hub's kubeconfig (default: its current one)")
	return f
}

// config is the REST config of the hub, made as kubectl makes it: it is the person's own and read on this machine.
func (f *hubFlags) config() (*rest.Config, error) {
	if f.kubeconfig != "" {
		if _, err := os.Stat(f.kubeconfig); err != nil {
			return nil, usagef("%s %q cannot be read (%w): name an existing kubeconfig", f.names[0], f.kubeconfig, errors.Unwrap(err))
		}
		if _, err := clientcmd.LoadFromFile(f.kubeconfig); err != nil { // the cause may quote the text, credentials included
			return nil, usagef("%s %q is no kubeconfig: it cannot be read as YAML of kind Config: name another file", f.names[0], f.kubeconfig)
		}
	}
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = f.kubeconfig
	config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, &clientcmd.ConfigOverrides{CurrentContext: f.context}).ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("find the hub: %w: name its kubeconfig with %s, and the context with %s", err, f.names[0], f.names[1])
	}
	return config, nil
}

// hubClient is a client for the hub and the config that it was made from.
type hubClient struct {
	client.Client
	config *rest.Config
}

// connect reaches the hub.
func (f *hubFlags) connect() (*hubClient, error) {
	config, err := f.config()
	if err != nil {
		return nil, err
	}
	c, err := newClient(config)
	if err != nil {
		return nil, err
	}
	return &hubClient{c, config}, nil
}

// newClient is a client that knows every kind that the CLI reads.
func newClient(config *rest.Config) (client.Client, error) {
	config = rest.CopyConfig(config)
	config.QPS, config.Burst = 100, 200
	config.UserAgent = rest.DefaultKubernetesUserAgent()
	config.WarningHandler = rest.NoWarnings{}
	c, err := client.New(config, client.Options{Scheme: newScheme()})
	if err != nil {
		return nil, fmt.Errorf("reach %s: %w", config.Host, err)
	}
	return c, nil
}

func newScheme() *runtime.Scheme {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, apiextensionsv1.AddToScheme, clusterv1.Install, v1alpha1.AddToScheme} {
		if err := add(scheme); err != nil { // types of this binary: they are all there or it does not work at all
			return scheme
		}
	}
	return scheme
}

// isOurs reports whether the CLI created an object.
func isOurs(object client.Object) bool { return object.GetLabels()[labelPartOf] == partOf }

// systemNamespace is the key of our namespace.
func systemNamespace() client.ObjectKey { return client.ObjectKey{Name: stellarflow.SystemNamespace} }

// credentialKey is the key of the Secret with the credential of a WEC.
func credentialKey(cluster string) client.ObjectKey {
	return client.ObjectKey{Namespace: stellarflow.SystemNamespace, Name: stellarflow.CredentialName(stellarflow.ClusterName(cluster))}
}

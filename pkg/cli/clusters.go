package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/util/duration"
	clusterv1 "open-cluster-management.io/api/cluster/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"stellarflow.io/stellarflow/bindingpolicy"
	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

// clusterInfo is a row of clusters.
type clusterInfo struct {
	Name       string            `json:"name"`
	Status     string            `json:"status"`
	Message    string            `json:"message"`
	Kubernetes string            `json:"kubernetes"`
	Argo       string            `json:"argo"`
	Workflows  int               `json:"unfinishedWorkflows"`
	Labels     map[string]string `json:"labels"`
	Namespaces string            `json:"namespaces"`
	Joined     time.Time         `json:"joined"`

	age string
}

// clusterList is the answer of clusters.
type clusterList []clusterInfo

func clustersCommand(env Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "clusters",
		Short: "List the clusters: health, versions and unfinished Workflows",
		Args:  none,
	}
	hubFlags := addHubFlags(cmd, "")
	return env.runs(cmd, func(ctx context.Context, env Env, _ []string) (any, error) {
		hub, err := hubFlags.connect()
		if err != nil {
			return nil, err
		}
		return clusterInfos(ctx, hub, env.Now())
	})
}

// listClusters lists the ManagedClusters.
func listClusters(ctx context.Context, hub client.Client) ([]clusterv1.ManagedCluster, error) {
	var clusters clusterv1.ManagedClusterList
	if err := hub.List(ctx, &clusters); err != nil {
		if isNoMatch(err) {
			return nil, errors.New("this cluster does not serve ManagedClusters: run `stellarflow install`, or name the hub with --kubeconfig")
		}
		return nil, fmt.Errorf("list managed clusters: %w", err)
	}
	slices.SortFunc(clusters.Items, func(a, b clusterv1.ManagedCluster) int { return cmp.Compare(a.Name, b.Name) })
	return clusters.Items, nil
}

func clusterInfos(ctx context.Context, hub client.Client, now time.Time) (clusterList, error) {
	clusters, err := listClusters(ctx, hub)
	if err != nil {
		return nil, err
	}
	placed, err := listPlaced(ctx, hub)
	if err != nil {
		return nil, err
	}
	infos := make(clusterList, 0, len(clusters))
	for i := range clusters {
		cluster := &clusters[i]
		info := clusterInfo{
			Name: cluster.Name, Kubernetes: cluster.Status.Version.Kubernetes, Argo: cluster.Annotations[stellarflow.AnnotationArgoVersion],
			Workflows: len(unfinished(placed, stellarflow.ClusterName(cluster.Name))), Labels: cluster.Labels,
			Namespaces: cluster.Annotations[stellarflow.AnnotationNamespaces], Joined: cluster.CreationTimestamp.UTC(),
			age: duration.HumanDuration(now.Sub(cluster.CreationTimestamp.Time)),
		}
		info.Status, info.Message = connection(cluster)
		infos = append(infos, info)
	}
	return infos, nil
}

func (infos clusterList) print(out io.Writer) error {
	if len(infos) == 0 {
		_, err := fmt.Fprintln(out, "No cluster is joined: run `stellarflow join NAME --kubeconfig FILE`.")
		return err
	}
	table := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	_, _ = fmt.Fprintln(table, "NAME\tSTATUS\tKUBERNETES\tARGO\tWORKFLOWS\tAGE\tMESSAGE")
	for i := range infos {
		info := &infos[i]
		row := []string{
			info.Name, info.Status, firstOf(info.Kubernetes, "-"), firstOf(info.Argo, "-"), strconv.Itoa(info.Workflows),
			info.age, info.Message,
		}
		for n, cell := range row {
			if n > 0 {
				_, _ = fmt.Fprint(table, "\t")
			}
			_, _ = fmt.Fprint(table, cell)
		}
		_, _ = fmt.Fprintln(table)
	}
	return table.Flush()
}

// inventoryOf is the inventory that bindingpolicy decides on, for one Workflow: it counts only the others, and a cluster
// that refused it before says so.
func inventoryOf(clusters []clusterv1.ManagedCluster, placed []placedWorkflow, workflow client.ObjectKey, refused []stellarflow.ClusterName) []bindingpolicy.Cluster {
	others := slices.DeleteFunc(slices.Clone(placed), func(p placedWorkflow) bool { return p.Namespace == workflow.Namespace && p.Name == workflow.Name })
	inventory := make([]bindingpolicy.Cluster, 0, len(clusters))
	for i := range clusters {
		cluster := bindingpolicy.Cluster{Name: stellarflow.ClusterName(clusters[i].Name), Labels: clusters[i].Labels}
		cluster.Unfinished = len(unfinished(others, cluster.Name))
		if status, message := connection(&clusters[i]); status != statusReady {
			cluster.Unhealthy = message
		}
		if slices.Contains(refused, cluster.Name) {
			cluster.Refused, cluster.RefusedWhy = true, "it refused an earlier attempt"
		}
		inventory = append(inventory, cluster)
	}
	return inventory
}

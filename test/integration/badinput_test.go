package integration

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	clusterv1 "open-cluster-management.io/api/cluster/v1"

	"stellarflow.io/stellarflow/pkg/apis/control/v1alpha1"
	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
	"stellarflow.io/stellarflow/pkg/wec"
	"stellarflow.io/stellarflow/test/badinput"
)

// minBadInputs is how many cases the tables hold at least.
const minBadInputs = 300

// TestBadInputsAreCounted reads every table in the repository: no two cases are the same input, and each says where a person sees what.
func TestBadInputsAreCounted(t *testing.T) {
	const root = "../.."
	total, inputs := 0, map[string]string{}
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasSuffix(filepath.ToSlash(path), badinput.File) {
			return err
		}
		cases, err := badinput.Load(path)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		t.Logf("%4d %s", len(cases), filepath.Dir(filepath.Dir(path)))
		names := map[string]bool{}
		for _, c := range cases {
			raw, err := json.Marshal([]any{filepath.Dir(path), c.Kind, c.Input})
			if err != nil {
				return err
			}
			if before, twice := inputs[string(raw)]; twice || names[c.Case] {
				t.Errorf("%s: %s is there already, or has the same input as %s", path, c.Case, before)
			}
			if c.Why == "" || c.Where == "" || c.Says == "" || strings.HasPrefix(c.Where, "nowhere") {
				t.Errorf("%s: %s does not say why it is bad, where a person sees it, or what: %+v", path, c.Case, c)
			}
			inputs[string(raw)], names[c.Case] = c.Case, true
			total++
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if total < minBadInputs {
		t.Errorf("there are %d bad inputs, want at least %d", total, minBadInputs)
	}
}

// TestBadInput shows what only API servers can: what the schemas refuse, and what is said on the objects that they take. Workflows go
// to cluster1 by label, from a namespace of the test.
func TestBadInput(t *testing.T) {
	c, _, ns := setUp(t, managerOptions{})
	c.wecs["cluster1"].rejectLabelled(t)
	c.submit(t, ns, "first", "cluster1")
	c.wecs["cluster1"].waitFor(t, ns, "first", "the namespace on the WEC", exists)
	varies := strings.NewReplacer(ns, "NAMESPACE", c.wecs["cluster1"].address(), "ADDRESS")
	uid := regexp.MustCompile(`[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}`)
	badinput.Run(t, func(t *testing.T, one badinput.Case) badinput.Answer {
		var input badObject
		one.Into(t, &input)
		object := &unstructured.Unstructured{Object: input.Object}
		if object.GetKind() == "Workflow" && object.GetNamespace() == "" {
			object.SetNamespace(ns)
		}
		if input.Kubeconfig != nil {
			c.credential(t, object.GetName(), input)
		}
		plain := func(a badinput.Answer) badinput.Answer {
			a.Says = uid.ReplaceAllString(varies.Replace(a.Says), "UID")
			return a
		}
		resource := c.hub.dynamic.Resource(resources[object.GetKind()])
		var target dynamic.ResourceInterface = resource
		if object.GetNamespace() != "" {
			target = resource.Namespace(object.GetNamespace())
		}
		created, err := target.Create(t.Context(), object, metav1.CreateOptions{FieldValidation: metav1.FieldValidationStrict})
		if err != nil {
			return plain(badinput.Answer{Where: "kubectl create", Says: err.Error()})
		}
		t.Cleanup(func() {
			if created.GetKind() == "Workflow" {
				c.wipe(created.GetNamespace(), created.GetName())
				return
			}
			_ = target.Delete(context.Background(), created.GetName(), metav1.DeleteOptions{})
		})
		return badinput.Until(t, one, func() badinput.Answer {
			current, err := target.Get(t.Context(), created.GetName(), metav1.GetOptions{})
			if err != nil {
				return badinput.Answer{Where: "nowhere: " + err.Error()}
			}
			return plain(c.said(t, current, one.Kind))
		})
	})
}

// badObject is what a person creates on the hub, and for a ManagedCluster the kubeconfig in its Secret.
type badObject struct {
	Object map[string]any
	// Kubeconfig has changes of the good one of cluster1: server, token, ca; or text instead of one.
	Kubeconfig map[string]string
	// SecretLabel is the ManagedCluster that the Secret names; its own if empty.
	SecretLabel string
}

// resources are those of the kinds in the table.
var resources = map[string]schema.GroupVersionResource{
	"Workflow":        stellarflow.Workflows,
	"BindingPolicy":   v1alpha1.GroupVersion.WithResource("bindingpolicies"),
	"CustomTransform": v1alpha1.GroupVersion.WithResource("customtransforms"),
	"ManagedCluster":  {Group: clusterv1.GroupName, Version: "v1", Resource: "managedclusters"},
}

// credential puts a kubeconfig where the hub looks for that of a ManagedCluster.
func (c *clusters) credential(t *testing.T, name string, input badObject) {
	t.Helper()
	first := c.wecs["cluster1"]
	server, token, ca := first.config.Host, first.token(t, stellarflow.SystemNamespace, "stellarflow"), first.config.CAData
	if text := input.Kubeconfig["server"]; text != "" {
		server = text
	}
	if text := input.Kubeconfig["token"]; text != "" {
		token = text
	}
	if input.Kubeconfig["ca"] == "cluster2" {
		ca = c.wecs["cluster2"].config.CAData
	}
	raw, err := wec.MinimalKubeconfig(server, ca, token)
	if err != nil {
		t.Fatal(err)
	}
	if text, found := input.Kubeconfig["text"]; found {
		raw = []byte(text)
	}
	label := name
	if input.SecretLabel != "" {
		label = input.SecretLabel
	}
	c.create(t, &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: stellarflow.SystemNamespace, Name: stellarflow.CredentialName(stellarflow.ClusterName(name)),
			Labels: map[string]string{stellarflow.LabelManagedCluster: label},
		},
		Data: map[string][]byte{stellarflow.SecretKeyKubeconfig: raw},
	})
}

// said is what an object says of itself: its message or conditions, or with kind Event the last warning about it.
func (c *clusters) said(t *testing.T, object *unstructured.Unstructured, kind string) badinput.Answer {
	t.Helper()
	if kind == "Event" {
		list, err := c.hub.core.EventsV1().Events(metav1.NamespaceAll).List(t.Context(), metav1.ListOptions{FieldSelector: "regarding.uid=" + string(object.GetUID())})
		if err != nil {
			t.Fatal(err)
		}
		for _, event := range list.Items {
			if event.Type == corev1.EventTypeWarning {
				return badinput.Answer{Where: "event " + event.Reason + " of the " + object.GetKind(), Says: event.Note}
			}
		}
		return badinput.Answer{Where: "nowhere: it has no warning event"}
	}
	if object.GetKind() == "Workflow" {
		return badinput.Answer{Where: "message of the Workflow, phase " + phase(object), Says: message(object)}
	}
	conditions, _, _ := unstructured.NestedSlice(object.Object, "status", "conditions")
	for _, entry := range conditions {
		condition, _ := entry.(map[string]any)
		if condition["status"] == "False" && (condition["type"] == v1alpha1.ConditionReady || condition["type"] == stellarflow.ConditionConnected) {
			return badinput.Answer{Where: fmt.Sprintf("condition %s of the %s, reason %s", condition["type"], object.GetKind(), condition["reason"]), Says: fmt.Sprint(condition["message"])}
		}
	}
	return badinput.Answer{Where: "nowhere: no condition is False"}
}

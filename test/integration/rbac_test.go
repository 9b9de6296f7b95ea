package integration

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	clusterv1 "open-cluster-management.io/api/cluster/v1"
	ctrl "sigs.k8s.io/controller-runtime"

	"stellarflow.io/stellarflow/pkg/apis/control/v1alpha1"
	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
	"stellarflow.io/stellarflow/pkg/hub/guard"
)

// need shows that a right is needed: what makes the hub use it, and what a person then sees.
type need struct {
	// use makes the hub need the right for the Workflow of that name, in a namespace of its own.
	use func(e *rights, name string)
	// said is a part of what is then said: on the Workflow (message, annotation sync or a warning event), or on the object named at.
	said string
	at   string
	// denied is the request that is answered 403 if it is not the right's own.
	denied string
}

// rights is what the cases share.
type rights struct {
	t  *testing.T
	c  *clusters
	ns string
}

func (e *rights) submit(name string, change ...func(*unstructured.Unstructured)) {
	e.c.submit(e.t, e.ns, name, "cluster1", change...)
}

// onWEC waits until a Workflow is there.
func (e *rights) onWEC(name string) {
	e.c.wecs["cluster1"].waitFor(e.t, e.ns, name, "the WEC copy", exists)
}

const (
	hubRole, ownRole, wecRole = "ClusterRole stellarflow-hub: ", "Role stellarflow-hub: ", "ClusterRole stellarflow-wec: "
	streamsRole               = "ClusterRole stellarflow-wec-streams: "
	mayNot                    = "the hub manager may not"
)

func submit(e *rights, name string) { e.submit(name) }

// atStart are the rights that a manager needs before it does anything: all of them are taken from one that starts.
var atStart = []string{
	hubRole + "list workflows.argoproj.io", hubRole + "list namespaces", hubRole + "list managedclusters.cluster.open-cluster-management.io",
	hubRole + "list bindingpolicies.control.kubestellar.io", hubRole + "list customtransforms.control.kubestellar.io", ownRole + "list secrets", ownRole + "list configmaps",
	hubRole + "watch workflows.argoproj.io", hubRole + "watch namespaces", hubRole + "watch managedclusters.cluster.open-cluster-management.io",
	hubRole + "watch bindingpolicies.control.kubestellar.io", hubRole + "watch customtransforms.control.kubestellar.io", ownRole + "watch secrets", ownRole + "watch configmaps",
}

// electionRights are those that the leader election needs, in the order in which it does.
var electionRights = []string{ownRole + "get leases.coordination.k8s.io", ownRole + "create leases.coordination.k8s.io", ownRole + "update leases.coordination.k8s.io", hubRole + "create events"}

// elsewhere are shown needed by other tests, which fail without them.
var elsewhere = map[string]string{
	hubRole + "patch workflows/status.argoproj.io": "TestStatusSubresourceOnTheHub", hubRole + "get namespaces": "every test of the manager: Setup reads the hub's identity",
	hubRole + "get managedclusters.cluster.open-cluster-management.io":         "TestClusterLeaves",
	hubRole + "get mutatingwebhookconfigurations.admissionregistration.k8s.io": webhookRights, hubRole + "patch mutatingwebhookconfigurations.admissionregistration.k8s.io": webhookRights,
	hubRole + "get validatingwebhookconfigurations.admissionregistration.k8s.io": webhookRights, hubRole + "patch validatingwebhookconfigurations.admissionregistration.k8s.io": webhookRights,
	hubRole + "create subjectaccessreviews.authorization.k8s.io": kubeletRights,
	streamsRole + "get pods/log":                                 kubeletRights, streamsRole + "get pods/exec": kubeletRights, streamsRole + "create pods/exec": kubeletRights,
	streamsRole + "get pods/attach": kubeletRights, streamsRole + "create pods/attach": kubeletRights,
	streamsRole + "get pods/portforward": kubeletRights, streamsRole + "create pods/portforward": kubeletRights,
	ownRole + "get secrets": webhookRights, ownRole + "update secrets": webhookRights,
	ownRole + "get configmaps": "TestAbandonInEveryGap", ownRole + "create configmaps": "TestAbandon", ownRole + "delete configmaps": "TestAbandon",
	wecRole + "watch workflows.argoproj.io": "TestMainJob",
	wecRole + "get pods":                    mirrorRights, wecRole + "watch pods": mirrorRights,
	wecRole + "list events": "TestPodEvents", wecRole + "watch events": "TestPodEvents",
	wecRole + "list configmaps": "TestDependencies", wecRole + "delete configmaps": "TestDependencies",
	wecRole + "list workflowtemplates.argoproj.io": "TestDependencies", wecRole + "delete workflowtemplates.argoproj.io": "TestDependencies",
	wecRole + "list clusterworkflowtemplates.argoproj.io": "TestDependencies", wecRole + "delete clusterworkflowtemplates.argoproj.io": "TestDependencies",
}

// needs has a case for every other right.
var needs = map[string]need{
	hubRole + "get workflows.argoproj.io":   {use: submit, said: mayNot},
	hubRole + "patch workflows.argoproj.io": {use: submit, said: mayNot},
	hubRole + "list pods":                   {use: submit, said: mayNot},
	hubRole + "create secrets":              {use: submit, said: "create Secret"},
	hubRole + "create events":               {use: submit, said: "placed on cluster cluster1"},
	hubRole + "patch events": {said: "make its annotations smaller", use: func(e *rights, name string) { // said again, an event is counted
		e.submit(name, func(w *unstructured.Unstructured) {
			w.SetAnnotations(map[string]string{"a": strings.Repeat("a", 262_100)})
		})
		eventually(e.t, "the first event", func(ctx context.Context) (bool, string) { return e.c.eventsOf(ctx, name) != "", "none" })
		e.c.create(e.t, policy("again", map[string]string{"name": "nobody"})) // what waits is looked at again
	}},
	hubRole + "patch managedclusters/status.cluster.open-cluster-management.io": {at: "rbac-managed", said: mayNot + " write the status", use: func(e *rights, _ string) {
		e.c.create(e.t, &clusterv1.ManagedCluster{ObjectMeta: metav1.ObjectMeta{Name: "rbac-managed", Annotations: map[string]string{stellarflow.AnnotationNamespaces: "-"}}})
	}},
	hubRole + "patch bindingpolicies/status.control.kubestellar.io": {at: "workflows-rbac", said: mayNot + " write the status", use: func(e *rights, _ string) {
		e.c.create(e.t, policy("rbac", map[string]string{"name": "nobody"}))
	}},
	hubRole + "patch customtransforms/status.control.kubestellar.io": {at: "rbac-transform", said: mayNot + " write the status", use: func(e *rights, _ string) {
		e.c.create(e.t, &v1alpha1.CustomTransform{ObjectMeta: metav1.ObjectMeta{Name: "rbac-transform"}, Spec: v1alpha1.CustomTransformSpec{APIGroup: "example.com", Resource: "x"}})
	}},
	wecRole + "create workflows.argoproj.io": {use: submit, said: "it may not create the Workflow"},
	wecRole + "get workflows.argoproj.io": {said: "keeps failing", use: func(e *rights, name string) {
		e.submit(name)
		e.onWEC(name)
		e.c.wecs["cluster1"].argo(e.t, e.ns, name, "Running")
	}},
	wecRole + "patch workflows.argoproj.io": {said: "keeps failing", use: func(e *rights, name string) {
		e.submit(name)
		e.onWEC(name)
		e.c.wecs["cluster1"].argo(e.t, e.ns, name, "Succeeded")
	}},
	wecRole + "delete workflows.argoproj.io": {said: "keeps failing", use: func(e *rights, name string) {
		e.submit(name)
		e.onWEC(name)
		if err := e.c.hub.workflows(e.ns).Delete(e.t.Context(), name, metav1.DeleteOptions{}); err != nil {
			e.t.Fatal(err)
		}
	}},
	wecRole + "list workflows.argoproj.io":                    {at: "cluster1", said: "the hub may not list workflows", use: func(e *rights, _ string) { e.c.renew(e.t, "cluster1") }},
	wecRole + "get namespaces":                                {at: "cluster1", said: "the hub may not read namespace kube-system", use: func(e *rights, _ string) { e.c.renew(e.t, "cluster1") }},
	wecRole + "create namespaces":                             {use: submit, said: "it may not create namespace"},
	wecRole + "get serviceaccounts":                           {use: submit, said: "it may not read or create ServiceAccount"},
	wecRole + "create serviceaccounts":                        {use: submit, said: "it may not read or create ServiceAccount"},
	wecRole + "create rolebindings.rbac.authorization.k8s.io": {use: submit, said: "it may not create RoleBinding"},
	wecRole + "bind clusterroles.rbac.authorization.k8s.io":   {use: submit, said: "it may not create RoleBinding", denied: "create rolebindings.rbac.authorization.k8s.io"},
	wecRole + "create configmaps":                             {use: submit, said: "it may not create ConfigMap"},
	wecRole + "create secrets":                                {use: submit, said: "it may not create Secret"},
	wecRole + "list pods":                                     {use: retryThere, said: "it may not delete the pods of the steps that run again"},
	wecRole + "delete pods":                                   {use: retryThere, said: "it may not delete the pods of the steps that run again"},

	hubRole + "get workflowtemplates.argoproj.io":        {use: needsOne(wft), said: "the hub manager may not get workflowtemplates"},
	hubRole + "get clusterworkflowtemplates.argoproj.io": {use: needsOne(cwft), said: "the hub manager may not get clusterworkflowtemplates"},
	hubRole + "get configmaps":                           {use: needsOne(cm), said: "the hub manager may not get configmaps"},
	wecRole + "get workflowtemplates.argoproj.io":        {use: needsOne(wft), said: "it may not get WorkflowTemplate/"},
	wecRole + "get clusterworkflowtemplates.argoproj.io": {use: needsOne(cwft), said: "it may not get ClusterWorkflowTemplate/"},
	wecRole + "get configmaps":                           {use: needsOne(cm), said: "it may not get ConfigMap/"},

	hubRole + "get persistentvolumeclaims":    {use: needsClaim, said: "the hub manager may not get persistentvolumeclaims"},
	wecRole + "get persistentvolumeclaims":    {use: needsClaim, said: "the hub may not look for PersistentVolumeClaim"},
	wecRole + "create persistentvolumeclaims": {use: needsClaim, said: "it may not create PersistentVolumeClaim/"},

	wecRole + "create workflowtemplates.argoproj.io":        {use: needsOne(wft), said: "it may not create WorkflowTemplate/"},
	wecRole + "create clusterworkflowtemplates.argoproj.io": {use: needsOne(cwft), said: "it may not create ClusterWorkflowTemplate/"},
	wecRole + "update workflowtemplates.argoproj.io":        {use: needsNewer(wft), said: "it may not update WorkflowTemplate/"},
	wecRole + "update clusterworkflowtemplates.argoproj.io": {use: needsNewer(cwft), said: "it may not update ClusterWorkflowTemplate/"},
	wecRole + "update configmaps":                           {use: needsNewer(cm), said: "it may not update ConfigMap/"},
}

// needsOne makes an object of a kind on the hub and submits a Workflow that needs it.
func needsOne(kind stellarflow.Kind) func(*rights, string) {
	return func(e *rights, name string) {
		e.c.hub.put(e.t, e.ns, kind, e.ns, `{metadata: {labels: {older: "yes"}}, spec: {}}`)
		e.submit(name, needing(specNeeding(kind, e.ns)))
	}
}

// needsNewer lets a Workflow need an object of which the WEC has an older copy.
func needsNewer(kind stellarflow.Kind) func(*rights, string) {
	return func(e *rights, name string) {
		needsOne(kind)(e, name+"-before")
		e.onWEC(name + "-before")
		e.c.hub.patchKind(e.t, e.ns, kind, e.ns, `{"metadata":{"labels":{"newer":"yes"}}}`)
		e.submit(name, needing(specNeeding(kind, e.ns)))
	}
}

// needsClaim submits a Workflow that needs a claim which its policy shares.
func needsClaim(e *rights, name string) {
	e.c.create(e.t, sharing(e.ns, "persistentvolumeclaims", "data"))
	e.c.hub.put(e.t, e.ns, claim, "data", `{spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}}`)
	e.c.submit(e.t, e.ns, name, e.ns, needing(`{entrypoint: main, volumes: [{name: a, persistentVolumeClaim: {claimName: data}}], templates: [{name: main, container: {image: busybox}}]}`))
}

// specNeeding is a spec that needs one object when it is created on a WEC; what a Workflow is made from is read before.
func specNeeding(kind stellarflow.Kind, name string) string {
	switch kind {
	case wft:
		return fmt.Sprintf(`{entrypoint: main, templates: [{name: main, steps: [[{name: a, templateRef: {name: %s, template: x}}]]}]}`, name)
	case cwft:
		return fmt.Sprintf(`{entrypoint: main, templates: [{name: main, steps: [[{name: a, templateRef: {name: %s, template: x, clusterScope: true}}]]}]}`, name)
	default:
		return fmt.Sprintf(`{arguments: {parameters: [{name: a, valueFrom: {configMapKeyRef: {name: %s, key: k}}}]}}`, name)
	}
}

// retryThere retries on the hub what has failed on a WEC and left a pod there.
func retryThere(e *rights, name string) {
	e.c.running(e.t, e.ns, name, "cluster1")
	wec := e.c.wecs["cluster1"]
	wec.pod(e.t, e.ns, wec.get(e.t.Context(), e.ns, name), name+"-2")
	e.c.fails(e.t, e.ns, name)
	observed, _ := stellarflow.ParseObserved(e.c.hub.get(e.t.Context(), e.ns, name).GetAnnotations()[stellarflow.AnnotationObserved])
	e.c.intend(e.t, e.ns, name, stellarflow.Intent{
		ID: "i", Kind: stellarflow.IntentRetry, Caller: "alice", Base: observed.Hash, Retry: &stellarflow.RetryChange{Removed: []string{"-2"}, Reset: []string{""}, StartedAt: metav1.Now()},
	})
}

// webhookRights is the test of the rights to keep the webhook's certificate.
const webhookRights = "TestRightsOfTheWebhook"

// TestRightsOfTheWebhook takes each right to the webhook's certificate away while a new one is to be made.
func TestRightsOfTheWebhook(t *testing.T) {
	c := sharedClusters(t)
	var hubDenied denials
	startManager(t, c, managerOptions{webhook: c.serveWebhook(t), hubTransport: hubDenied.wrap})
	secrets := c.hub.core.CoreV1().Secrets(stellarflow.SystemNamespace)
	var last types.UID
	made := func(ctx context.Context) (bool, string) {
		secret, err := secrets.Get(ctx, guard.Secret, metav1.GetOptions{})
		if err != nil || len(secret.Data["tls.crt"]) < 100 || secret.UID == last {
			return false, fmt.Sprint(err)
		}
		trusted, err := c.hub.trust(ctx)
		for i := range trusted {
			if !bytes.Equal(trusted[i], secret.Data["ca.crt"]) {
				return false, "the API server trusts another CA"
			}
		}
		return err == nil, fmt.Sprint(err)
	}
	eventually(t, "the first certificate", made)
	done := map[right]bool{} // the endpoint for logs has a Secret of its own
	for _, r := range granted(t, "rbac/cluster_role.yaml", "rbac/role.yaml") {
		if elsewhere[r.String()] != webhookRights || done[r] {
			continue
		}
		done[r] = true
		t.Run(r.String(), func(t *testing.T) {
			secret, err := secrets.Get(t.Context(), guard.Secret, metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			restore := c.hub.without(t, r)
			if r.verb == "update" {
				secret.Data["tls.crt"] = []byte("somebody wrote this")
				_, err = secrets.Update(t.Context(), secret, metav1.UpdateOptions{})
			} else {
				last, err = secret.UID, secrets.Delete(t.Context(), guard.Secret, metav1.DeleteOptions{})
			}
			if err != nil {
				t.Fatal(err)
			}
			eventually(t, "a refusal", func(context.Context) (bool, string) { return hubDenied.has(r), "none" })
			restore()
			eventually(t, "a certificate again", made)
		})
	}
	if len(done) != 6 {
		t.Errorf("6 rights are to be shown, and %d are granted", len(done))
	}
}

// TestEachRightIsNeeded takes each right away that config/rbac and config/wec grant: the hub asks for it and is refused, and a person
// is told where they look. A right without a case fails.
func TestEachRightIsNeeded(t *testing.T) {
	var hubDenied, wecDenied denials
	c := sharedClusters(t)
	c.create(t, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: stellarflow.SystemNamespace, Name: "rbac-store"}, Data: map[string][]byte{
		"endpoint": []byte("s3.example.com"), "bucket": []byte("workflows"), "accesskey": []byte("a"), "secretkey": []byte("b"),
	}})
	_, _, _ = setUp(t, managerOptions{hubTransport: hubDenied.wrap, wecTransport: wecDenied.wrap, store: "rbac-store"})
	eventually(t, "the connection", func(ctx context.Context) (bool, string) { return c.connected(ctx), "" })
	for _, r := range granted(t, "rbac/mirrored_pods.yaml") { // it would stand in for another role's
		if r.resource == "pods" && r.verb == "list" {
			defer c.hub.without(t, r)()
		}
	}
	cases := map[string]bool{}
	for _, r := range granted(t, "rbac/cluster_role.yaml", "rbac/role.yaml", "wec/cluster_role.yaml") {
		key := r.String()
		if cases[key] || strings.Contains(r.role, "stellarflow-executor") {
			continue
		}
		cases[key] = true
		one, found := needs[key]
		if !found {
			if elsewhere[key] == "" && !contains(atStart, key) && !contains(electionRights, key) {
				t.Errorf("nothing shows that %s is needed: remove it, or add a case", key)
			}
			continue
		}
		t.Run(key, func(t *testing.T) {
			api, denied := c.hub, &hubDenied
			if strings.HasPrefix(key, wecRole) {
				api, denied = c.wecs["cluster1"], &wecDenied
			}
			e, name := &rights{t: t, c: c, ns: c.namespace(t)}, fmt.Sprintf("needs-%d", len(cases))
			restore := api.without(t, r)
			one.use(e, name)
			wanted := r
			if one.denied != "" {
				wanted = right{resource: "rolebindings", group: "rbac.authorization.k8s.io", verb: "create"}
			}
			eventually(t, "a refusal and a word about it", func(ctx context.Context) (bool, string) {
				said := e.said(ctx, one.at, name)
				return denied.has(wanted) && strings.Contains(said, one.said), said
			})
			restore()
			if one.at == "cluster1" {
				c.renew(t, "cluster1")
				eventually(t, "the connection", func(ctx context.Context) (bool, string) { return c.connected(ctx), "" })
			}
		})
	}
	for key := range needs {
		if !cases[key] {
			t.Errorf("%s has a case and is not granted", key)
		}
	}
}

func contains(list []string, text string) bool {
	for _, one := range list {
		if one == text {
			return true
		}
	}
	return false
}

func (c *clusters) connected(ctx context.Context) bool {
	var managed clusterv1.ManagedCluster
	err := c.hub.client.Get(ctx, types.NamespacedName{Name: "cluster1"}, &managed)
	return err == nil && meta.IsStatusConditionTrue(managed.Status.Conditions, stellarflow.ConditionConnected)
}

// said is all that is said on a Workflow, or on another object.
func (e *rights) said(ctx context.Context, at, name string) string {
	if at == "cluster1" {
		var managed clusterv1.ManagedCluster
		if err := e.c.hub.client.Get(ctx, types.NamespacedName{Name: at}, &managed); err != nil {
			return err.Error()
		}
		condition := meta.FindStatusCondition(managed.Status.Conditions, stellarflow.ConditionConnected)
		if condition == nil {
			return ""
		}
		return condition.Message
	}
	if at != "" {
		return e.c.eventsOf(ctx, at)
	}
	w := e.c.hub.get(ctx, e.ns, name)
	if w == nil {
		return ""
	}
	return message(w) + "\n" + w.GetAnnotations()[stellarflow.AnnotationSync] + "\n" + e.c.eventsOf(ctx, name)
}

// TestRightsAtTheStart takes every watch from a manager that starts: each is asked for and refused. The lists that go with them are asked
// for only where an API server does not stream lists.
func TestRightsAtTheStart(t *testing.T) {
	c := sharedClusters(t)
	for _, verb := range []string{"watch"} {
		t.Run(verb, func(t *testing.T) {
			var hubDenied denials
			var all, taken []right
			for _, r := range granted(t, "rbac/cluster_role.yaml", "rbac/role.yaml") {
				if contains(atStart, r.String()) {
					all = append(all, r)
				}
			}
			if len(all) != len(atStart) {
				t.Errorf("%d of %d are granted", len(all), len(atStart))
			}
			for _, role := range []string{hubRole, ownRole} {
				var ofRole []right
				for _, r := range all {
					if r.verb == verb {
						taken = append(taken, r)
					} else if verb == "watch" {
						continue
					}
					if r.role+": " == role {
						ofRole = append(ofRole, r)
					}
				}
				defer c.hub.without(t, ofRole...)()
			}
			m := startManager(t, c, managerOptions{hubTransport: hubDenied.wrap, ended: func(error) {}, configure: func(o *ctrl.Options) { o.Controller.CacheSyncTimeout = 1 << 40 }})
			defer m.stop()
			eventually(t, "every refusal", func(context.Context) (bool, string) {
				var missing []string
				for _, r := range taken {
					if !hubDenied.has(r) {
						missing = append(missing, r.String())
					}
				}
				return len(missing) == 0, strings.Join(missing, ", ") + " not yet"
			})
		})
	}
}

// TestRightsOfTheElection gives a manager the rights to its Lease one after the other.
func TestRightsOfTheElection(t *testing.T) {
	c := sharedClusters(t)
	var hubDenied denials
	var taken []right
	for _, key := range electionRights {
		for _, r := range granted(t, "rbac/cluster_role.yaml", "rbac/role.yaml") {
			if r.String() == key {
				taken = append(taken, r)
			}
		}
	}
	if len(taken) != len(electionRights) {
		t.Fatalf("%d of %d are granted", len(taken), len(electionRights))
	}
	defer c.hub.without(t, taken[3])()
	restore := c.hub.without(t, taken[0], taken[1], taken[2])
	startManager(t, c, managerOptions{hubTransport: hubDenied.wrap, ended: func(error) {}, configure: func(o *ctrl.Options) {
		o.LeaderElection, o.LeaderElectionID, o.LeaderElectionNamespace = true, "rbac-election", stellarflow.SystemNamespace
	}})
	for i := range 3 {
		eventually(t, taken[i].String(), func(context.Context) (bool, string) { return hubDenied.has(taken[i]), "not asked for" })
		restore()
		if i < 2 {
			restore = c.hub.without(t, taken[i+1:3]...)
		}
	}
	eventually(t, taken[3].String(), func(context.Context) (bool, string) { return hubDenied.has(taken[3]), "not asked for" })
}

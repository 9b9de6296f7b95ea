package integration

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
	"stellarflow.io/stellarflow/pkg/hub/podmirror"
)

// TestMirroredPodsOfAManagerThatWasAway deletes mirrored pods of which a manager learns when it is back after 10 minutes, by its clock: what a
// person has deleted just before it went, while it did not reach the cluster, and what others have deleted since. No real pod is touched.
func TestMirroredPodsOfAManagerThatWasAway(t *testing.T) {
	const away = 10 * time.Minute
	c, net := sharedClusters(t), &network{}
	address := c.serveWebhook(t)
	c, manager, ns := setUp(t, managerOptions{kubelet: freeAddress(t), webhook: address, wecTransport: net.wrap})
	c.forgetsRestores(t)
	m := mirroring{clusters: c, ns: ns}.run(t, "hello")
	c.trusted(t, ns, "hello")

	slow, once := metav1.DeleteOptions{}, metav1.DeleteOptions{GracePeriodSeconds: ptr.To[int64](0)}
	const held = `{"metadata":{"finalizers":["example.com/held"]}}`
	deletions := []struct {
		name, by string
		how      metav1.DeleteOptions
		patch    string // of the mirror before
	}{
		{"hello-person-1234567890", "jane", slow, ""},
		{"hello-person-once-1234567890", "jane", once, ""},
		{"hello-person-held-1234567890", "jane", slow, held},
		{"hello-person-held-once-1234567890", "jane", once, held},
		{"hello-gc-1234567890", garbageCollector, slow, ""},
		{"hello-gc-once-1234567890", garbageCollector, once, ""},
		{"hello-gc-held-1234567890", garbageCollector, once, held},
		// A request that another webhook has refused leaves a note.
		{"hello-noted-1234567890", garbageCollector, slow, fmt.Sprintf(`{"metadata":{"annotations":{%q:%q}}}`, stellarflow.AnnotationDeletion, podmirror.Ask{By: "jane", Time: time.Now().Add(-away).UTC()})},
	}
	pods, before := m.hub.core.CoreV1().Pods(ns), map[string]*corev1.Pod{}
	for _, one := range deletions {
		m.begin(t, one.name)
	}
	for _, one := range deletions {
		before[one.name] = m.waitMirror(t, one.name, "the mirror", shows(corev1.PodRunning))
		if one.patch != "" {
			if _, err := pods.Patch(t.Context(), one.name, types.MergePatchType, []byte(one.patch), metav1.PatchOptions{}); err != nil {
				t.Fatal(err)
			}
		}
	}
	remove := func(by string) {
		for _, one := range deletions {
			if one.by != by {
				continue
			}
			if err := m.hub.coreAs(t, by).CoreV1().Pods(ns).Delete(t.Context(), one.name, one.how); err != nil {
				t.Fatalf("delete %s: %v", one.name, err)
			}
		}
	}
	net.cut(t, c, "cluster1")
	remove("jane")
	manager.stop()
	remove(garbageCollector)
	later := shifted(away)
	later.hubTransport = later.wecTransport // so late is it on the hub too
	later.kubelet, later.webhook = freeAddress(t), address
	startManager(t, c, later)

	for _, heldOnes := range []bool{false, true} { // these last: the manager has looked at them by then
		for _, one := range deletions {
			if heldOnes != (one.patch == held) {
				continue
			}
			if heldOnes {
				if _, err := pods.Patch(t.Context(), one.name, types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`), metav1.PatchOptions{}); err != nil {
					t.Fatal(err)
				}
			}
			m.waitMirror(t, one.name, "the mirror made again", another(before[one.name]))
			if there := m.real(t, one.name); there.DeletionTimestamp != nil {
				t.Errorf("the real pod of %s is deleted", one.name)
			}
		}
	}
	eventually(t, "an event about what was asked", func(ctx context.Context) (bool, string) {
		said := m.eventsOf(ctx, "hello")
		return strings.Contains(said, "on cluster cluster1 is not deleted although it was here: that was more than a minute ago"), said
	})
}

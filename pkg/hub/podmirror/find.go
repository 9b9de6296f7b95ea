package podmirror

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
	"stellarflow.io/stellarflow/pkg/hub/cluster"
	"stellarflow.io/stellarflow/pkg/wec"
)

// Found is where a mirrored pod really runs.
type Found struct {
	Cluster stellarflow.ClusterName
	// Connection is nil while it is not known which pods the WEC has: it was not reached since the start, or has no credential.
	Connection *cluster.Connection
	// UID is the real pod's.
	UID types.UID
	// Done is closed when the pod is not to be seen any more: its Workflow is not placed there any more, was given up or has gone, its policy lets
	// nobody see its pods, or the WEC has left.
	Done <-chan struct{}
}

// Find returns where the pod runs that is mirrored under a name. It is false if the hub's record places no Workflow there that controls the
// pod, or if there is no mirror of just that pod: another WEC may have one of the same name.
func (m *Mirrorer) Find(ctx context.Context, key types.NamespacedName) (Found, bool) {
	var mirror corev1.Pod
	if m.Shown.Get(ctx, key, &mirror) != nil {
		return Found{}, false
	}
	name, ours := MirrorOf(&mirror)
	hubCopy, err := m.Copies.Cached(ctx, wec.WorkflowOf(&mirror))
	if !ours || err != nil || hubCopy == nil || !metav1.IsControlledBy(&mirror, hubCopy) {
		return Found{}, false
	}
	at := placed(hubCopy)
	if at.cluster != name || at.wecUID == "" {
		return Found{}, false
	}
	found := Found{Cluster: name, UID: types.UID(mirror.Labels[stellarflow.LabelMirrorOf]), Done: m.access.until(at)}
	if allowed, err := m.allowed(ctx, at); err != nil || !allowed { // asked after that, so that no end is missed
		return Found{}, false
	}
	p := m.of(name)
	if p == nil {
		return found, true
	}
	watch := p.watch.Load()
	if watch == nil {
		return found, true
	}
	pod := watch.Get(key)
	if pod == nil || pod.UID != found.UID {
		return Found{}, false
	}
	found.Connection = p.connection
	_, owned := p.owner(ctx, pod)
	return found, owned
}

// Check reports whether the pod that Find has found is still what runs under its name on its WEC: that is asked there.
func (m *Mirrorer) Check(ctx context.Context, key types.NamespacedName, found Found) error {
	connection := found.Connection
	pod, err := connection.Clients.Pods.Pods(key.Namespace).Get(ctx, key.Name, metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("look at pod %s of cluster %s: %w", key, connection.Name, err)
	}
	p := m.of(connection.Name)
	if p == nil || pod.UID != found.UID {
		return fmt.Errorf("pod %s of cluster %s is another one by now: ask again", key, connection.Name)
	}
	if _, owned := p.owner(ctx, pod); !owned {
		return fmt.Errorf("pod %s of cluster %s is no Workflow's of this hub any more", key, connection.Name)
	}
	return nil
}

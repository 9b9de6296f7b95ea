package podmirror

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

// settle ends a mirror of a WEC that cannot be used, if it is to go whatever runs there. What runs there is not touched: if it still does it is
// shown again when the WEC can be used.
func (m *Mirrorer) settle(ctx context.Context, mirror *corev1.Pod) error {
	name, _ := MirrorOf(mirror)
	if p := m.of(name); p != nil && p.knows(client.ObjectKeyFromObject(mirror)) {
		return nil // its pass does what there is to do
	}
	hubCopy, stray := m.strays(ctx, mirror, name)
	if !stray && !ends(mirror, m.cordoned(ctx, name), m.Now()) {
		return nil
	}
	if _, known := m.removing.Load(mirror.UID); !known && !stray && Asked(mirror) {
		m.sayUnknown(hubCopy, mirror)
	}
	return m.remove(ctx, mirror)
}

// sayUnknown says of a pod that a person has deleted that the WEC could not be told.
func (m *Mirrorer) sayUnknown(hubCopy *metav1.PartialObjectMetadata, mirror *corev1.Pod) {
	m.Recorder.Eventf(hubCopy, corev1.EventTypeWarning, eventNotDeleted, "whether pod %s on cluster %s is deleted, as it was here, is not known: "+
		"look whether it still is to go when the cluster can be used, and delete it again", mirror.Name, mirror.Labels[stellarflow.LabelCluster])
}

// knows reports whether a pod of the WEC was seen under a name.
func (p *pods) knows(key types.NamespacedName) bool {
	watch := p.watch.Load()
	return watch != nil && watch.Get(key) != nil
}

// ends reports whether a mirror that is being deleted goes without its real pod: who deletes it asks nothing of that, or has asked too long ago.
// Until then the WEC may be there again, and the deletion is passed on.
func ends(mirror *corev1.Pod, cordoned bool, now time.Time) bool {
	return mirror.DeletionTimestamp != nil && !View{Mirror: mirror, Cordoned: cordoned, Now: now}.reaches()
}

package tombstone

import (
	"fmt"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

// The keys of a tombstone's ConfigMap.
const (
	keyCluster   = "cluster"
	keyClusterID = "clusterID"
	keyNamespace = "namespace"
	keyName      = "name"
	keyHubUID    = "hubUID"
	keyAttempt   = "attempt"
	keyWECUID    = "wecUID"
	keyTime      = "time"
)

// Tombstone names the WEC copy of a Workflow that was given up.
type Tombstone struct {
	// Cluster is the WEC, ClusterID its identity when the Workflow was placed there.
	Cluster   stellarflow.ClusterName
	ClusterID types.UID
	// Workflow is the namespace and name of both copies.
	Workflow types.NamespacedName
	// HubUID and Attempt are what the WEC copy says of itself.
	HubUID  types.UID
	Attempt int
	// WECUID is empty if the WEC copy was never seen: there may be none.
	WECUID types.UID
	// Time is when the Workflow was given up.
	Time time.Time
	// Object is the ConfigMap's UID, empty before it is stored.
	Object types.UID
}

// Of returns the tombstone of a hub copy with this record.
func Of(workflow types.NamespacedName, placement stellarflow.Placement, now time.Time) Tombstone {
	return Tombstone{
		Cluster: placement.Cluster, ClusterID: placement.ClusterID, Workflow: workflow,
		HubUID: placement.UID, Attempt: placement.Attempt, WECUID: placement.WECUID, Time: now.UTC().Truncate(time.Second),
	}
}

// Name returns the name of the ConfigMap: one for each attempt of each hub copy.
func (t Tombstone) Name() string { return fmt.Sprintf("tombstone-%s-%d", t.HubUID, t.Attempt) }

// Covers reports whether an object on the cluster with the tombstone's identity is the one that is to be removed. It must agree
// in everything that is known: what says that it belongs to another Workflow or attempt is not ours to delete.
func (t Tombstone) Covers(wecCopy *metav1.PartialObjectMetadata) bool {
	return wecCopy != nil && wecCopy.Namespace == t.Workflow.Namespace && wecCopy.Name == t.Workflow.Name &&
		t.Placement().Owns(wecCopy)
}

// Void reports whether a hub copy shows that it was not given up after all: its record counts and is the one that the tombstone was
// made from. The manager ended between the two writes, and the person took the request back.
func (t Tombstone) Void(hubCopy *metav1.PartialObjectMetadata) bool {
	if hubCopy == nil || stellarflow.Abandoned(hubCopy) {
		return false
	}
	placement, placed := stellarflow.PlacementOf(hubCopy)
	return placed && placement.UID == t.HubUID && placement.Attempt == t.Attempt
}

// Placement returns the record that the Workflow was placed by, as far as a look for the WEC copy needs it. Its time is zero: a
// create of whichever process may still arrive.
func (t Tombstone) Placement() stellarflow.Placement {
	return stellarflow.Placement{UID: t.HubUID, Cluster: t.Cluster, ClusterID: t.ClusterID, Attempt: t.Attempt, WECUID: t.WECUID}
}

// ConfigMap returns the tombstone as it is stored.
func (t Tombstone) ConfigMap() *corev1.ConfigMap {
	return &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: stellarflow.SystemNamespace, Name: t.Name(), Labels: map[string]string{stellarflow.LabelTombstone: string(t.Cluster)},
		},
		Data: map[string]string{
			keyCluster: string(t.Cluster), keyClusterID: string(t.ClusterID), keyNamespace: t.Workflow.Namespace, keyName: t.Workflow.Name,
			keyHubUID: string(t.HubUID), keyAttempt: strconv.Itoa(t.Attempt), keyWECUID: string(t.WECUID), keyTime: t.Time.Format(time.RFC3339),
		},
	}
}

// Parse reads what ConfigMap wrote. The error names the key that is wrong: such a ConfigMap was written by somebody else and
// removes nothing.
func Parse(object *corev1.ConfigMap) (Tombstone, error) {
	data := object.Data
	t := Tombstone{
		Cluster: stellarflow.ClusterName(data[keyCluster]), ClusterID: types.UID(data[keyClusterID]),
		Workflow: types.NamespacedName{Namespace: data[keyNamespace], Name: data[keyName]},
		HubUID:   types.UID(data[keyHubUID]), WECUID: types.UID(data[keyWECUID]), Object: object.UID,
	}
	fail := func(key, why string) (Tombstone, error) {
		return Tombstone{}, fmt.Errorf("configmap %s/%s: key %s %s: delete it, or write what the hub manager wrote", object.Namespace, object.Name, key, why)
	}
	for _, key := range []string{keyClusterID, keyNamespace, keyName, keyHubUID} {
		if data[key] == "" {
			return fail(key, "is missing")
		}
	}
	if err := t.Cluster.Validate(); err != nil {
		return fail(keyCluster, err.Error())
	}
	var err error
	if t.Attempt, err = strconv.Atoi(data[keyAttempt]); err != nil || t.Attempt < 1 {
		return fail(keyAttempt, fmt.Sprintf("is %q, no number from 1", data[keyAttempt]))
	}
	if t.Time, err = time.Parse(time.RFC3339, data[keyTime]); err != nil {
		return fail(keyTime, fmt.Sprintf("is %q, no RFC 3339 time", data[keyTime]))
	}
	if object.Name != t.Name() {
		return fail(keyHubUID, "does not fit the object's name")
	}
	return t, nil
}

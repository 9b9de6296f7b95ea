package dependencies

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
	"stellarflow.io/stellarflow/transforms"
)

// Action is what is to be done for an object that a Workflow needs.
type Action string

// The actions.
const (
	// Missing: the hub does not have it, and the WEC not either, or only our copy of what the hub had.
	Missing Action = "Missing"
	// UseThere: the WEC has one that is not ours to change.
	UseThere Action = "UseThere"
	// OtherHub: the WEC has a copy of another hub's, which may change or remove it at any time, and this hub has its own.
	OtherHub Action = "OtherHub"
	// Unseen: the WEC does not let the hub look. It is used as it is there, if it is.
	Unseen Action = "Unseen"
	// Unshared: no policy lets the hub's travel, and the WEC has none, or the hub cannot look for what a repository that travels needs. What is
	// only implied is so whatever the WEC has.
	Unshared Action = "Unshared"
	// LeftOut: it is not the business of what travels.
	LeftOut Action = "LeftOut"
	// Create: it is on the hub only.
	Create Action = "Create"
	// Update: our copy is of another version than the hub's.
	Update Action = "Update"
	// Keep: our copy is of the hub's version.
	Keep Action = "Keep"
)

// controllerConfig is the ConfigMap of Argo's controller (argo-workflows workflow/common/common.go): that of one cluster is not
// another's, and it may hold what no author of Workflows is to read.
const controllerConfig = "workflow-controller-configmap"

// StaysOnHub reports whether an object is never sent, whoever refers to it: our own namespace's, and the Argo controller's own.
func StaysOnHub(reference stellarflow.Reference, namespace string) bool {
	return namespace == stellarflow.SystemNamespace && reference.Kind.Namespaced() || reference.Kind == stellarflow.KindConfigMap && reference.Name == controllerConfig
}

// credentials are the types of Secrets that belong to a cluster or a tool, and to no Workflow: of a ServiceAccount, of a node that joins,
// of Helm's releases.
var credentials = []string{string(corev1.SecretTypeServiceAccountToken), string(corev1.SecretTypeBootstrapToken), "helm.sh/release.v1"}

// Withheld reports whether an object of the hub is never sent for what it is.
func Withheld(kind stellarflow.Kind, onHub *unstructured.Unstructured) bool {
	kindOfSecret, _, _ := unstructured.NestedString(onHub.Object, "type")
	return kind == stellarflow.KindSecret && slices.Contains(credentials, kindOfSecret)
}

// trackers begin the keys by which other tools, and Kubernetes' own volume controllers, know what is theirs: on a copy they would have it
// changed or pruned by those of the WEC.
var trackers = []string{
	"argocd.argoproj.io/", "meta.helm.sh/", "helm.sh/", "helm.toolkit.fluxcd.io/", "kustomize.toolkit.fluxcd.io/",
	"pv.kubernetes.io/", "volume.kubernetes.io/", "volume.beta.kubernetes.io/",
	"app.kubernetes.io/managed-by", "app.kubernetes.io/instance",
}

func isTracker(key, _ string) bool {
	for _, tracker := range trackers {
		if strings.HasPrefix(key, tracker) {
			return true
		}
	}
	return false
}

// Copy returns what is sent of an object of the hub: the same name and content, labelled as ours, without what belongs to the hub
// alone. The object is not changed.
func Copy(kind stellarflow.Kind, onHub *unstructured.Unstructured, hubID types.UID) (*unstructured.Unstructured, error) {
	sent := &unstructured.Unstructured{Object: transforms.Strip(onHub.Object)}
	switch kind {
	case stellarflow.KindConfigMap, stellarflow.KindSecret:
		delete(sent.Object, "immutable") // on the hub it can be made anew under its name, and the copy has to follow
	case stellarflow.KindPersistentVolumeClaim: // its volume is made or found on the WEC
		for _, field := range []string{"volumeName", "dataSource", "dataSourceRef"} {
			unstructured.RemoveNestedField(sent.Object, "spec", field)
		}
	}
	labels, annotations := withoutTrackers(sent.GetLabels()), withoutTrackers(sent.GetAnnotations())
	sent.SetLabels(labels)
	sent.SetAnnotations(annotations)
	raw, err := json.Marshal(sent.Object) // maps are written in the order of their keys
	if err != nil {
		return nil, fmt.Errorf("read %s %s of the hub: %w", kind, onHub.GetName(), err)
	}
	sum := sha256.Sum256(raw)
	labels[stellarflow.LabelOrigin], labels[stellarflow.LabelDependency] = string(hubID), "true"
	annotations[stellarflow.AnnotationSource] = source(kind, onHub)
	annotations[stellarflow.AnnotationSourceHash] = hex.EncodeToString(sum[:])
	sent.SetLabels(labels)
	sent.SetAnnotations(annotations)
	return sent, nil
}

// withoutTrackers returns a map that may be written to.
func withoutTrackers(keys map[string]string) map[string]string {
	kept := map[string]string{}
	maps.Copy(kept, keys)
	maps.DeleteFunc(kept, isTracker)
	return kept
}

// Version tells apart what was sent: a hash of it. The WEC's API server may add defaults, or leave out what it does not know.
func Version(sent metav1.Object) string {
	return sent.GetAnnotations()[stellarflow.AnnotationSourceHash]
}

// source says which object of a hub a copy is of: one that was copied on to another name or namespace says that of the first.
func source(kind stellarflow.Kind, object metav1.Object) string {
	if !kind.Namespaced() {
		return string(kind) + "/" + object.GetName()
	}
	return string(kind) + "/" + object.GetNamespace() + "/" + object.GetName()
}

// IsCopy reports whether an object of a WEC is a copy of this hub's: not what somebody has made of one.
func IsCopy(kind stellarflow.Kind, onWEC metav1.Object, hubID types.UID) bool {
	return isAnyCopy(kind, onWEC) && onWEC.GetLabels()[stellarflow.LabelOrigin] == string(hubID)
}

// isAnyCopy reports whether an object of a WEC is a copy of some hub's.
func isAnyCopy(kind stellarflow.Kind, onWEC metav1.Object) bool {
	return onWEC.GetLabels()[stellarflow.LabelDependency] == "true" && onWEC.GetLabels()[stellarflow.LabelOrigin] != "" &&
		onWEC.GetAnnotations()[stellarflow.AnnotationSource] == source(kind, onWEC)
}

// Selector selects the copies of a hub.
func Selector(hubID types.UID) string {
	return stellarflow.LabelOrigin + "=" + string(hubID) + "," + stellarflow.LabelDependency + "=true"
}

// Decide says what is to be done for an object, from the Version that would be sent of the hub's, empty if it has none, and from what
// the WEC has, nil for none.
func Decide(kind stellarflow.Kind, version string, onWEC *metav1.PartialObjectMetadata, hubID types.UID) Action {
	switch {
	case onWEC != nil && !IsCopy(kind, onWEC, hubID):
		if isAnyCopy(kind, onWEC) && version != "" {
			return OtherHub
		}
		return UseThere
	case version == "":
		return Missing
	case onWEC == nil:
		return Create
	case Version(onWEC) != version && !kind.HoldsData():
		return Update
	}
	return Keep
}

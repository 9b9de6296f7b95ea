package artifact

import (
	"fmt"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/yaml"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

const (
	// CredentialsSecret is the Secret that holds the store's credentials (KeyAccessKey, KeySecretKey) in every namespace
	// where Workflows run. The rendered repository refers to it.
	CredentialsSecret = "stellarflow-artifacts" //nolint:gosec // a name, no credential
	// ConfigMapName is where Argo looks for a namespace's artifact repositories.
	ConfigMapName = stellarflow.ArtifactRepositories
	// RepositoryKey is the key of that ConfigMap that holds our repository.
	RepositoryKey = "stellarflow"
	// AnnotationDefault names the key that Argo takes when a Workflow names none
	// (argo-workflows v3.7.18, workflow/artifactrepositories/artifactrepositories.go).
	AnnotationDefault = "workflows.argoproj.io/default-artifact-repository"
)

// Repository is Argo's artifact repository for a cluster. Pod logs are archived; keys begin with the cluster, and hold the
// namespace, the name and the UID of the Workflow, so that no two Workflows share one.
func Repository(store Store, cluster stellarflow.ClusterName) wfv1.ArtifactRepository {
	archive, insecure := true, store.Insecure
	credential := func(key string) *corev1.SecretKeySelector {
		return &corev1.SecretKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: CredentialsSecret}, Key: key}
	}
	return wfv1.ArtifactRepository{
		ArchiveLogs: &archive,
		S3: &wfv1.S3ArtifactRepository{
			S3Bucket: wfv1.S3Bucket{
				Endpoint:        store.Endpoint,
				Bucket:          store.Bucket,
				Region:          store.Region,
				Insecure:        &insecure,
				AccessKeySecret: credential(KeyAccessKey),
				SecretKeySecret: credential(KeySecretKey),
			},
			KeyFormat: string(cluster) + "/{{workflow.namespace}}/{{workflow.name}}/{{workflow.uid}}/{{pod.name}}",
		},
	}
}

// ConfigMap is the ConfigMap that makes Repository the default of a namespace. It holds no credential.
func ConfigMap(store Store, cluster stellarflow.ClusterName, namespace string) (*corev1.ConfigMap, error) {
	raw, err := yaml.Marshal(Repository(store, cluster))
	if err != nil {
		return nil, fmt.Errorf("render the artifact repository of %q: %w", cluster, err)
	}
	return &corev1.ConfigMap{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"},
		ObjectMeta: metav1.ObjectMeta{
			Name: ConfigMapName, Namespace: namespace,
			Annotations: map[string]string{AnnotationDefault: RepositoryKey},
		},
		Data: map[string]string{RepositoryKey: string(raw)},
	}, nil
}

// Secret is the Secret that Repository refers to. hubID labels it as that hub's, which may then bring new credentials into it; empty
// for one that stays as it is.
func Secret(store Store, namespace string, hubID types.UID) *corev1.Secret {
	secret := &corev1.Secret{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"},
		ObjectMeta: metav1.ObjectMeta{Name: CredentialsSecret, Namespace: namespace},
		Type:       corev1.SecretTypeOpaque,
		Data:       map[string][]byte{KeyAccessKey: []byte(store.AccessKey), KeySecretKey: []byte(store.SecretKey)},
	}
	if hubID != "" {
		secret.Labels = map[string]string{stellarflow.LabelOrigin: string(hubID)}
	}
	return secret
}

// HoldsCredentials reports whether a Secret as Secret makes it holds the credentials of the store.
func HoldsCredentials(secret *corev1.Secret, store Store) bool {
	return string(secret.Data[KeyAccessKey]) == store.AccessKey && string(secret.Data[KeySecretKey]) == store.SecretKey
}

package argo

import (
	"embed"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"

	"stellarflow.io/stellarflow/hack/fleet/images"
	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
	"stellarflow.io/stellarflow/pkg/artifact"
)

// Namespace is where Argo runs, and where the samples' Workflows run.
const Namespace = "argo"

//go:embed patch
var patch embed.FS

// Input is what the manifests of one cluster depend on.
type Input struct {
	// Manifests is the directory of manifests of Argo's module.
	Manifests string
	Cluster   stellarflow.ClusterName
	Store     artifact.Store
	// Images are the commands of the fleet's images by name.
	Images map[string]images.Command
}

// Render returns the YAML of everything to apply to one cluster.
func Render(in Input) ([]byte, error) {
	mem := filesys.MakeFsInMemory()
	if err := copyTree(mem, os.DirFS(in.Manifests), "/manifests"); err != nil {
		return nil, fmt.Errorf("read Argo's manifests in %s: %w", in.Manifests, err)
	}
	sub, err := fs.Sub(patch, "patch")
	if err != nil {
		return nil, err
	}
	if err := copyTree(mem, sub, "/patch"); err != nil {
		return nil, err
	}
	rendered := map[string]func(Input) (any, error){"artifacts.yaml": credentials, "controller.yaml": controller}
	for name, object := range rendered {
		o, err := object(in)
		if err != nil {
			return nil, fmt.Errorf("render %s for cluster %s: %w", name, in.Cluster, err)
		}
		data, err := yaml.Marshal(o)
		if err != nil {
			return nil, fmt.Errorf("render %s for cluster %s: %w", name, in.Cluster, err)
		}
		if err := mem.WriteFile("/patch/"+name, data); err != nil {
			return nil, err
		}
	}
	options := krusty.MakeDefaultOptions()
	options.Reorder = krusty.ReorderOptionUnspecified // the kustomization says
	resources, err := krusty.MakeKustomizer(options).Run(mem, "/patch")
	if err != nil {
		return nil, fmt.Errorf("render Argo for cluster %s: %w", in.Cluster, err)
	}
	return resources.AsYaml()
}

func credentials(in Input) (any, error) {
	secret := artifact.Secret(in.Store, Namespace, "")
	secret.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"}
	return secret, nil
}

func controller(in Input) (any, error) {
	repository, err := yaml.Marshal(artifact.Repository(in.Store, in.Cluster))
	if err != nil {
		return nil, err
	}
	commands, err := yaml.Marshal(in.Images)
	if err != nil {
		return nil, err
	}
	return &corev1.ConfigMap{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"},
		ObjectMeta: metav1.ObjectMeta{Name: "workflow-controller-configmap", Namespace: Namespace},
		Data:       map[string]string{"artifactRepository": string(repository), "images": string(commands)},
	}, nil
}

// copyTree copies the YAML files of a directory.
func copyTree(to filesys.FileSystem, from fs.FS, dir string) error {
	return fs.WalkDir(from, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(name) != ".yaml" {
			return err
		}
		data, err := fs.ReadFile(from, name)
		if err != nil {
			return err
		}
		return to.WriteFile(path.Join(dir, name), data)
	})
}

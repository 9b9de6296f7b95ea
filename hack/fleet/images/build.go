package images

import (
	"context"
	"fmt"
	"io"
	"runtime"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"stellarflow.io/stellarflow/hack/fleet/components"
)

// Image is an image that is ready to be pushed under each of its refs.
type Image struct {
	Refs       []string
	Image      v1.Image
	Entrypoint []string
	Cmd        []string
}

const searchPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// Build makes the images with the refs, or all that are listed if there are none. paths must have what Needs names for
// them; a path for Hub is used instead of building cmd/hub. Layers are kept in the cache of package components. To
// progress it writes a line for each layer that is not there; the large ones take a few seconds.
func Build(ctx context.Context, progress io.Writer, paths components.Paths, refs ...string) ([]Image, error) {
	list, err := Read()
	if err != nil {
		return nil, err
	}
	specs, err := list.Select(refs...)
	if err != nil {
		return nil, err
	}
	b := &builder{paths: paths, progress: progress, layers: map[string]v1.Layer{}}
	images := make([]Image, 0, len(specs))
	for _, spec := range specs {
		image, err := b.build(ctx, spec)
		if err != nil {
			return nil, fmt.Errorf("make image %s: %w", spec.Refs[0], err)
		}
		images = append(images, Image{Refs: spec.Refs, Image: image, Entrypoint: spec.Entrypoint, Cmd: spec.Cmd})
	}
	return images, nil
}

// builder makes each layer once.
type builder struct {
	paths    components.Paths
	progress io.Writer
	layers   map[string]v1.Layer
}

func (b *builder) build(ctx context.Context, spec Spec) (v1.Image, error) {
	layers := make([]v1.Layer, 0, len(spec.Layers))
	for _, name := range spec.Layers {
		layer, err := b.layer(ctx, name)
		if err != nil {
			return nil, err
		}
		layers = append(layers, layer)
	}
	return assemble(spec, layers)
}

func (b *builder) layer(ctx context.Context, name string) (v1.Layer, error) {
	if layer, ok := b.layers[name]; ok {
		return layer, nil
	}
	p := parts[name]
	for _, need := range p.needs {
		if b.paths[need] == "" {
			return nil, fmt.Errorf("layer %s needs component %s; call components.Ensure with what images.Needs returns", name, need)
		}
	}
	entries, err := p.entries(ctx, b.progress, b.paths)
	if err != nil {
		return nil, err
	}
	layer, err := newLayer(b.progress, name, entries)
	if err != nil {
		return nil, err
	}
	b.layers[name] = layer
	return layer, nil
}

// assemble puts layers and configuration together. Nothing in it depends on when it is done.
func assemble(spec Spec, layers []v1.Layer) (v1.Image, error) {
	image := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	addenda := make([]mutate.Addendum, 0, len(layers))
	for i, layer := range layers {
		addenda = append(addenda, mutate.Addendum{
			Layer:     layer,
			MediaType: types.OCILayer,
			History:   v1.History{Created: v1.Time{Time: epoch}, CreatedBy: "hack/fleet/images: " + spec.Layers[i]},
		})
	}
	image, err := mutate.Append(image, addenda...)
	if err != nil {
		return nil, err
	}
	file, err := image.ConfigFile()
	if err != nil {
		return nil, err
	}
	file = file.DeepCopy()
	file.OS, file.Architecture, file.Created = "linux", runtime.GOARCH, v1.Time{Time: epoch}
	file.Config = v1.Config{
		Entrypoint: spec.Entrypoint, Cmd: spec.Cmd, User: spec.User, WorkingDir: spec.WorkingDir,
		Env:    append([]string{searchPath}, spec.Env...),
		Labels: map[string]string{"org.opencontainers.image.description": spec.Holds},
	}
	return mutate.ConfigFile(image, file)
}

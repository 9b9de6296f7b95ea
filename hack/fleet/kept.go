package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"

	"stellarflow.io/stellarflow/hack/fleet/images"
)

// The registry remembers no image over a restart. Those that up makes it pushes
// again; those that load-image made are kept here as they are, for up would
// make others of a work tree that has changed since.

func (f *fleet) keptDir() string { return filepath.Join(f.StateDir(), "images") }

// keep stores a loaded image, a directory for each name.
func (f *fleet) keep(image images.Image) error {
	for _, ref := range image.Refs {
		dir := filepath.Join(f.keptDir(), url.PathEscape(ref))
		if err := removeAll(dir, dir+".new"); err != nil {
			return fmt.Errorf("keep image %s: %w", ref, err)
		}
		kept, err := layout.Write(dir+".new", empty.Index)
		if err == nil {
			err = kept.AppendImage(image.Image)
		}
		if err == nil {
			err = os.Rename(dir+".new", dir)
		}
		if err != nil {
			return fmt.Errorf("keep image %s: %w", ref, err)
		}
	}
	return nil
}

// kept are the images that load-image made.
func (f *fleet) kept() ([]images.Image, error) {
	entries, err := os.ReadDir(f.keptDir())
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var found []images.Image
	for _, entry := range entries {
		ref, err := url.PathUnescape(entry.Name())
		if err != nil || filepath.Ext(entry.Name()) == ".new" { // load-image was killed in the middle
			continue
		}
		image, err := readKept(filepath.Join(f.keptDir(), entry.Name()))
		if err != nil {
			return nil, fmt.Errorf("read image %s: %w; fleet load-image %s makes it anew", ref, err, ref)
		}
		found = append(found, images.Image{Refs: []string{ref}, Image: image})
	}
	return found, nil
}

func readKept(dir string) (v1.Image, error) {
	index, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		return nil, err
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		return nil, err
	}
	if len(manifest.Manifests) != 1 {
		return nil, fmt.Errorf("%s holds %d images, not 1", dir, len(manifest.Manifests))
	}
	return index.Image(manifest.Manifests[0].Digest)
}

// pushKept pushes what load-image made before the registry was started anew.
func (f *fleet) pushKept(ctx context.Context) (int, error) {
	kept, err := f.kept()
	if err != nil {
		return 0, err
	}
	return f.push(ctx, kept)
}

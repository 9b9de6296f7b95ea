package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"golang.org/x/sync/errgroup"

	"stellarflow.io/stellarflow/hack/fleet/components"
	"stellarflow.io/stellarflow/hack/fleet/images"
)

// pushImages makes every image that clusters and Workflows need and pushes it
// to the fleet's registry. What is there already is not sent again.
func (f *fleet) pushImages(ctx context.Context) error {
	list, err := images.Read()
	if err != nil {
		return err
	}
	var refs []string
	for _, spec := range append(append([]images.Spec{}, list.Clusters...), list.Workflows...) {
		refs = append(refs, spec.Refs[0])
	}
	made, err := images.Build(ctx, f.say, f.paths, refs...)
	if err != nil {
		return err
	}
	n, err := f.push(ctx, made)
	if err != nil {
		return err
	}
	kept, err := f.pushKept(ctx)
	if err != nil {
		return err
	}
	if n += kept; n > 0 {
		f.say.line("%d images are in the registry", n)
	}
	return nil
}

func (f *fleet) loadImage(ctx context.Context, ref string) error {
	if !f.rec.Subnet.IsValid() {
		return fmt.Errorf("%s is not up: run fleet up first", f)
	}
	needs, err := images.Needs(ref)
	if err != nil {
		return err
	}
	paths, err := components.Ensure(ctx, f.say, needs...)
	if err != nil {
		return err
	}
	made, err := images.Build(ctx, f.say, paths, ref)
	if err != nil {
		return err
	}
	if _, err := f.push(ctx, made); err != nil {
		return err
	}
	for _, image := range made {
		if err := f.keep(image); err != nil {
			return err
		}
	}
	f.say.line("%s is in the registry of %s", ref, f)
	return nil
}

// push pushes images under each of their names and returns how many there are
// that the registry did not have.
func (f *fleet) push(ctx context.Context, made []images.Image) (int, error) {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(4)
	fresh := make([]int, len(made))
	for i, image := range made {
		g.Go(func() error {
			for _, ref := range image.Refs {
				target, err := f.target(ref)
				if err != nil {
					return err
				}
				want, err := image.Image.Digest()
				if err != nil {
					return fmt.Errorf("image %s: %w", ref, err)
				}
				if have, err := remote.Head(target, remote.WithContext(ctx)); err == nil && have.Digest == want {
					continue
				}
				if err := remote.Write(target, image.Image, remote.WithContext(ctx)); err != nil {
					return fmt.Errorf("push %s to the registry of %s: %w", ref, f, err)
				}
				fresh[i] = 1
			}
			return nil
		})
	}
	err := g.Wait()
	n := 0
	for _, v := range fresh {
		n += v
	}
	return n, err
}

// target is where the fleet's registry keeps an image: under the path its own
// registry would have.
func (f *fleet) target(ref string) (name.Reference, error) {
	parsed, err := name.ParseReference(ref)
	if err != nil {
		return nil, fmt.Errorf("image %q: %w", ref, err)
	}
	path := strings.Join([]string{f.registry(), parsed.Context().RepositoryStr()}, "/")
	return name.ParseReference(path+":"+parsed.Identifier(), name.Insecure)
}

package main

import (
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/random"

	"stellarflow.io/stellarflow/hack/fleet/images"
	"stellarflow.io/stellarflow/hack/fleet/plan"
)

func TestLoadedImagesAreKept(t *testing.T) {
	p, err := plan.New(t.TempDir(), "kept", 2)
	if err != nil {
		t.Fatal(err)
	}
	f := &fleet{Fleet: p}
	if kept, err := f.kept(); err != nil || len(kept) != 0 {
		t.Fatalf("a new fleet has kept %v (%v), wanted nothing", kept, err)
	}
	const ref = "stellarflow/hub:latest"
	for range 2 { // the second replaces the first
		made, err := random.Image(512, 2)
		if err != nil {
			t.Fatal(err)
		}
		if err := f.keep(images.Image{Refs: []string{ref}, Image: made}); err != nil {
			t.Fatal(err)
		}
		kept, err := f.kept()
		if err != nil || len(kept) != 1 || len(kept[0].Refs) != 1 || kept[0].Refs[0] != ref {
			t.Fatalf("kept is %v (%v), wanted %s", kept, err, ref)
		}
		want, err := made.Digest()
		if err != nil {
			t.Fatal(err)
		}
		if got, err := kept[0].Image.Digest(); err != nil || got != want {
			t.Errorf("digest is %s (%v), wanted %s", got, err, want)
		}
	}
}

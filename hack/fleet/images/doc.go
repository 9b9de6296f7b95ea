// Package images makes the images that a local fleet serves from local files: no image is pulled. images.yaml lists
// them and says what each holds; parts.go says what the layers that it names are made of, which comes from package
// components or is a small program in a directory beside this file.
//
// hack/fleet calls Build and pushes what it gets into the fleet's registry. The same files give the same digests, so
// that a push of what is there already is nothing. The package talks to no network.
package images

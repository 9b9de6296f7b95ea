// Command demo shows the main job on a fleet of real clusters: it brings the fleet up, installs Stellarflow in the hub cluster,
// joins the others, applies the sample policies and the transform, runs the hello-world samples, and prints what ran where.
//
//	go run ./hack/demo        what `make demo` does; can be run again
//	go run ./hack/demo down   what `make demo-down` does
//
// It does nothing that a person could not type: every command is printed before it runs. FLEET_NAME and CLUSTERS mean what they
// mean to hack/fleet.
package main

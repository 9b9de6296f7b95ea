// Package e2e tests Stellarflow on a fleet of real clusters: kubelet, containerd, real pods, stock Argo on every cluster and MinIO.
//
// `make e2e` runs it, as root. The test program starts itself a second time: the first one brings up a fleet of its own (named
// after the checkout, so it runs beside a demo), installs Stellarflow, joins the clusters, and takes everything down however the
// second one, which runs the tests, has ended. E2E_KEEP=1 leaves the fleets up, and the next run uses them as they are.
//
// Everything is one test, TestFleet: first what can share the fleet, side by side and in a namespace each, then what disturbs it,
// one after the other. Beside these, others that disturb a fleet and mostly wait run on a second one, which comes up for the first of them
// that is to run. `make e2e TESTARGS='-run TestFleet/shared/samples'` runs a part. A run of all ends with the check that doctor has
// found everything that it can find, and that every command that it prints was run.
//
// Nothing here may touch another fleet, and no assertion is about how long something took: waiting is polling until a deadline.
package e2e

// Package truth judges what the hub has shown of a Workflow against what its WEC has said, and two runs of one Workflow against each
// other. It is pure; the suites truth and dedicated of test/e2e record what it judges.
package truth

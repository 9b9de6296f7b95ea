// Package diagnosis says what is wrong with an installation, from facts that somebody else has read: Diagnose(Facts) is a list of
// findings, each with the command that mends it.
//
// `stellarflow doctor` reads the facts and prints the findings. The package does no I/O; docs/cli.md lists every finding.
package diagnosis

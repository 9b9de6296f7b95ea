// Package cli is the inside of the command stellarflow: one file a subcommand, and what they share.
//
// Only cmd/stellarflow calls it. It talks to the hub and, in join and leave, to the WEC with a person's own credentials; it
// decides nothing about Workflows: explain shows what bindingpolicy decides. Exit codes are 0, 1 for a failure and 2 for
// wrong usage; an error names the field, its value and the remedy, and never holds a credential.
package cli

package main

import (
	"testing"

	"stellarflow.io/stellarflow/test/badinput"
)

// The manager does not start with a bad flag; its container's log, which `kubectl logs` shows, says all of them.
func TestBadInput(t *testing.T) {
	badinput.Run(t, func(t *testing.T, c badinput.Case) badinput.Answer {
		var args []string
		c.Into(t, &args)
		_, err := parse(args)
		if err == nil {
			return badinput.Answer{Where: "nowhere: it is accepted"}
		}
		return badinput.Answer{Where: "stderr of the hub manager, exit code 1", Says: err.Error()}
	})
}

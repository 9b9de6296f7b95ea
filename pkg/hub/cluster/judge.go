package cluster

import (
	"errors"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
	"stellarflow.io/stellarflow/pkg/wec"
)

// findings is what is known of a WEC when its state is judged.
type findings struct {
	// probed is true once the first probe has ended, with facts and err.
	probed bool
	facts  wec.Facts
	err    error
	lease  wec.LeaseState
	// restored is true while the WEC's resourceVersion is below one that was seen.
	restored bool
	// listed is true once a watch was complete; unlisted is why the last list took too long, empty if it did not.
	listed   bool
	unlisted string
}

// maxMessage bounds, in bytes, what a state says.
const maxMessage = 1024

const (
	messageLease = "the hub manager waits until it can take its Lease there"
	messageList  = "the cluster answers, but does not list its Workflows: check the load of its API server"
)

// judge returns the state that follows from the findings, and false if they are not enough to say anything new.
func judge(f findings, last State) (State, bool) {
	if !f.probed {
		return last, false
	}
	next := State{Name: last.Name, Tried: true, Facts: f.facts, LeaseSince: f.lease.Since}
	refuse := func(reason, message string) (State, bool) {
		next.Reason, next.Message = reason, stellarflow.OneLine(message, maxMessage)
		return next, true
	}
	trouble := troubleOf(f.err)
	switch {
	case trouble != nil && trouble.Reason != wec.ReasonClockSkew:
		if f.facts.ID == "" || trouble.Reason == wec.ReasonChanged {
			next.Facts = last.Facts
		}
		return refuse(trouble.Reason, trouble.Message)
	case f.lease.Trouble != nil:
		return refuse(f.lease.Trouble.Reason, f.lease.Trouble.Message)
	case f.unlisted != "":
		return refuse(wec.ReasonUnreachable, f.unlisted)
	case f.lease.Since.IsZero() && last.Connected:
		return refuse(wec.ReasonConnecting, messageLease)
	case f.lease.Since.IsZero(), !f.listed:
		return last, false
	}
	next.Connected, next.Restored = true, f.restored
	if trouble != nil {
		next.Reason, next.Message = trouble.Reason, trouble.Message
	}
	return next, true
}

// unlisted returns why a list took too long, given how it failed last, or nil.
func unlisted(err error) string {
	var large *wec.TooLargeError
	if errors.As(err, &large) {
		return large.Error()
	}
	return messageList
}

func troubleOf(err error) *wec.Trouble {
	if err == nil {
		return nil
	}
	var trouble *wec.Trouble
	if errors.As(err, &trouble) {
		return trouble
	}
	return &wec.Trouble{Reason: wec.ReasonUnreachable, Message: err.Error()}
}

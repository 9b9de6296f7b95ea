package main

import (
	"flag"
	"fmt"
	"time"

	"k8s.io/client-go/tools/leaderelection"
)

// stopWithin bounds how long a process that is told to stop finishes what it has begun; config/hub gives it some seconds more. A
// pass makes no request that takes longer than 10 s, and begins no further pass.
const stopWithin = 30 * time.Second

// election is how replicas agree on who acts.
type election struct {
	enabled             bool
	lease, renew, retry time.Duration
}

// The defaults are those of Kubernetes' own controllers (k8s.io/component-base config/options/leaderelectionconfig.go).
func (e *election) addFlags(flags *flag.FlagSet) {
	flags.BoolVar(&e.enabled, "leader-elect", true, "act only while holding the Lease stellarflow-hub")
	flags.DurationVar(&e.lease, "leader-elect-lease-duration", 15*time.Second, "how long a standby waits for a leader that is silent before it takes over, in whole seconds")
	flags.DurationVar(&e.renew, "leader-elect-renew-deadline", 10*time.Second, "how long a leader that cannot renew the Lease goes on before it ends")
	flags.DurationVar(&e.retry, "leader-elect-retry-period", 2*time.Second, "time between two tries to get or renew the Lease")
}

// validate says all that is wrong. A leader has to end before another one may begin, and has to have had more than one try.
func (e election) validate() []error {
	const shortest, longest = time.Second, 10 * time.Minute
	var problems []error
	for _, flag := range []struct {
		name  string
		value time.Duration
		least time.Duration
	}{
		{"--leader-elect-lease-duration", e.lease, shortest}, {"--leader-elect-renew-deadline", e.renew, shortest / 10}, {"--leader-elect-retry-period", e.retry, shortest / 10},
	} {
		if flag.value < flag.least || flag.value > longest {
			problems = append(problems, fmt.Errorf("%s %s: it is %s at least and %s at most", flag.name, flag.value, flag.least, longest))
		}
	}
	if len(problems) > 0 {
		return problems
	}
	if e.lease%time.Second != 0 {
		problems = append(problems, fmt.Errorf("--leader-elect-lease-duration %s: a Lease has whole seconds", e.lease))
	}
	if e.renew >= e.lease {
		problems = append(problems, fmt.Errorf("--leader-elect-renew-deadline %s must be shorter than --leader-elect-lease-duration %s: else two would act at once", e.renew, e.lease))
	}
	if least := time.Duration(leaderelection.JitterFactor * float64(e.retry)); e.renew <= least {
		problems = append(problems, fmt.Errorf("--leader-elect-renew-deadline %s must be longer than %s, %g times --leader-elect-retry-period %s: else one failed try ends the leader",
			e.renew, least, leaderelection.JitterFactor, e.retry))
	}
	return problems
}

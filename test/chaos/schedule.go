package chaos

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"time"

	"stellarflow.io/stellarflow/test/chaos/fault"
	"stellarflow.io/stellarflow/test/chaos/history"
)

// kind is what an episode breaks.
type kind string

// The kinds of the first lane, which are about processes, and of the second, about what is between them.
const (
	kill       kind = "kill -9 of the manager"
	second     kind = "a second manager"
	exLeader   kind = "the leader is paused for longer than its lease, and goes on"
	clone      kind = "a clone of the manager without leader election"
	stopAPI    kind = "API server killed"
	hangAPI    kind = "API server paused"
	stopEtcd   kind = "etcd killed, and copied"
	restore    kind = "etcd set back to the last copy"
	refuseNet  kind = "connections refused"
	holdNet    kind = "network holds"
	slowNet    kind = "network slow"
	answer     kind = "a proxy answers"
	lose       kind = "answers lost"
	drop       kind = "requests lost"
	delay      kind = "writes arrive late"
	stale      kind = "a proxy answers from its cache"
	empty      kind = "lists are empty and each Workflow is missing once"
	missing    kind = "lists are empty and a proxy finds nothing"
	wrongClock kind = "clock wrong"
)

// episode is one fault: what, where, how long, and how long nothing follows.
type episode struct {
	kind   kind
	target string // history.Hub or a cluster
	lasts  time.Duration
	gap    time.Duration
	// setting is what the manager's own traffic suffers, net what the network does; cut ends the connections when it is mended.
	setting fault.Setting
	net     mode
	cut     bool
	// exit tells the next manager at which write to die.
	exit string
}

// String says it as the fault log does.
func (e episode) String() string {
	text := fmt.Sprintf("%s (%s) for %v", e.kind, e.target, e.lasts.Round(time.Millisecond))
	if e.setting != (fault.Setting{}) {
		text += fmt.Sprintf(" %+v", e.setting)
	}
	if e.net != (mode{}) {
		text += fmt.Sprintf(" %+v, cut %v", e.net, e.cut)
	}
	if e.exit != "" {
		text += " exit " + e.exit
	}
	return text
}

// lane draws one episode after the other. Lanes run beside each other; the same seed draws the same.
type lane struct {
	lots    *rand.Rand
	kinds   []kind
	targets []string
}

// relist is about how long a reflector of client-go waits after a broken watch until it lists again (its back-off, twice).
const relist = 4 * time.Second

// weighted repeats a kind: how often it is drawn.
func weighted(weights map[kind]int, order []kind) []kind {
	var all []kind
	for _, k := range order {
		for range weights[k] {
			all = append(all, k)
		}
	}
	return all
}

// lanes returns the two lanes of a run.
func lanes(seed uint64, clusters []string) []*lane {
	processes := weighted(map[kind]int{kill: 8, second: 2, exLeader: 2, clone: 2, stopAPI: 3, hangAPI: 2, stopEtcd: 3, restore: 3},
		[]kind{kill, second, exLeader, clone, stopAPI, hangAPI, stopEtcd, restore})
	between := weighted(map[kind]int{refuseNet: 3, holdNet: 4, slowNet: 2, answer: 6, lose: 4, drop: 2, delay: 4, stale: 2, empty: 2, missing: 2, wrongClock: 1},
		[]kind{refuseNet, holdNet, slowNet, answer, lose, drop, delay, stale, empty, missing, wrongClock})
	targets := append([]string{history.Hub}, clusters...)
	return []*lane{
		{rand.New(rand.NewPCG(seed, 3)), processes, targets},
		{rand.New(rand.NewPCG(seed, 4)), between, targets},
	}
}

// next draws an episode.
func (l *lane) next() episode {
	some := func(least, most time.Duration) time.Duration {
		return least + time.Duration(l.lots.Int64N(int64(most-least)))
	}
	e := episode{kind: l.kinds[l.lots.IntN(len(l.kinds))], target: l.targets[l.lots.IntN(len(l.targets))], lasts: some(200*time.Millisecond, 3*time.Second), gap: some(200*time.Millisecond, 1500*time.Millisecond)}
	rate := 0.1 + 0.6*l.lots.Float64()
	e.cut = l.lots.IntN(2) == 0
	if l.lots.IntN(2) == 0 {
		e.exit = fmt.Sprintf("%s:%d", []string{"before", "after"}[l.lots.IntN(2)], 1+l.lots.IntN(40))
	}
	wec := l.targets[1+l.lots.IntN(len(l.targets)-1)]
	status := []int{http.StatusNotFound, http.StatusForbidden, http.StatusInternalServerError, http.StatusBadGateway, http.StatusGatewayTimeout, http.StatusTooManyRequests}[l.lots.IntN(6)]
	direction := []mode{{holdUp: true}, {holdDown: true}, {holdUp: true, holdDown: true}}[l.lots.IntN(3)]
	l.fill(&e, rate, wec, status, direction)
	if e.kind != kill {
		e.exit = ""
	}
	return e
}

// fill gives an episode what its kind needs. All lots are drawn before, so that each episode takes the same number of them.
func (l *lane) fill(e *episode, rate float64, wec string, status int, direction mode) {
	switch e.kind {
	case second, exLeader, clone:
		e.target, e.lasts = "manager", e.lasts+5*time.Second
	case kill:
		e.target, e.lasts = "manager", e.lasts/4
	case refuseNet:
		e.net = mode{refuse: true}
	case holdNet:
		e.net = direction
	case slowNet:
		e.net = mode{delay: time.Duration(rate * float64(300*time.Millisecond))}
	case answer:
		e.setting = fault.Setting{Answer: status, Rate: rate}
	case lose:
		e.setting.Lose = rate
	case drop:
		e.setting.Drop = rate
	case delay:
		e.setting.Delay = rate
	case stale:
		e.target, e.setting.Stale = wec, rate
	case empty: // a reflector waits before it lists anew
		e.lasts += relist
		e.target, e.setting = wec, fault.Setting{Empty: true, Named: true}
	case missing:
		e.lasts += relist
		e.target, e.setting = wec, fault.Setting{Empty: true, Missing: true}
	case wrongClock:
		e.target, e.setting.Skew = wec, time.Duration(rate*float64(10*time.Minute))-5*time.Minute
	case stopAPI, hangAPI, stopEtcd, restore:
	}
}

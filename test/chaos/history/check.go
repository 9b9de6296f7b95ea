package history

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Count is one of the seven things that must be zero.
type Count string

// The counts, as the last line of a run names them.
const (
	StartedTwice   Count = "started twice"
	TerminalLost   Count = "terminal lost"
	FalseShown     Count = "false shown"
	ForeignTouched Count = "foreign touched"
	Stuck          Count = "finalizers stuck"
	AsksBroken     Count = "asks broken"
	PodsBroken     Count = "pods broken"
)

// Counts are all counts, in the order in which they are printed.
var Counts = []Count{StartedTwice, TerminalLost, FalseShown, ForeignTouched, Stuck, AsksBroken, PodsBroken}

// Finding is one break of a law.
type Finding struct {
	Count Count
	Time  time.Time
	// UID is the Workflow's on the hub if there is one, else that on the WEC.
	UID  string
	Text string
}

// Report is what a check found.
type Report struct {
	Findings []Finding
	// Workflows are the hub copies ever seen, Placed those that had a record, Starts the runs that began.
	Workflows, Placed, Starts, Ended int
	// Asked are the actions that admission took from people, Done those of them that were done.
	Asked, Done int
	// Unknowable counts second starts that no hub could have prevented: the first copy was wiped out before the hub was told that it
	// exists, and nobody is left who saw it.
	Unknowable int
}

// Of returns how many findings of a count there are.
func (r Report) Of(count Count) int {
	n := 0
	for _, finding := range r.Findings {
		if finding.Count == count {
			n++
		}
	}
	return n
}

// Line returns the seven counts.
func (r Report) Line() string {
	parts := make([]string, 0, len(Counts))
	for _, count := range Counts {
		parts = append(parts, fmt.Sprintf("%s %d", count, r.Of(count)))
	}
	return strings.Join(parts, ", ")
}

// slack is how late a record of one cluster may be against one of another: each etcd is watched on its own.
const slack = 2 * time.Second

// Check reads a history.
func Check(records []Record) Report {
	c := newChecker(records)
	c.findAsks()
	c.starts()
	c.shown()
	c.terminals()
	c.leftBehind()
	c.decoys()
	c.stuck()
	c.carriedOut()
	c.pods()
	slices.SortStableFunc(c.report.Findings, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(a.Count, b.Count), a.Time.Compare(b.Time), cmp.Compare(a.UID, b.UID), cmp.Compare(a.Text, b.Text))
	})
	return c.report
}

// version is one state of an object, in the epoch of its cluster.
type version struct {
	at      time.Time
	epoch   int
	gone    bool // the last state before it went
	carried bool // found in a restored etcd, not written then
	Workflow
}

// object is the life of one UID on one cluster.
type object struct {
	cluster  string
	versions []version
}

func (o *object) first() version { return o.versions[0] }
func (o *object) last() version  { return o.versions[len(o.versions)-1] }

// in reports whether the object was ever seen in an epoch.
func (o *object) in(epoch int) bool {
	return slices.ContainsFunc(o.versions, func(v version) bool { return v.epoch == epoch })
}

// checker indexes a history.
type checker struct {
	records []Record
	hub     map[string]*object // by UID
	wec     map[string]*object // by UID
	order   []string           // UIDs, in the order of their first record
	copies  map[string][]*object
	acted   map[string]map[string]time.Time // UID, act -> when
	epochs  map[string][]time.Time          // when each cluster was restored
	began   []time.Time                     // when a manager began to act
	served  []time.Time                     // when the hub's API server began to answer
	asks    map[string]*asked               // by ID
	again   map[string]map[int]bool         // hub UID, attempt -> a retry asked for it
	quiet   time.Time
	ended   time.Time
	report  Report
}

func newChecker(records []Record) *checker {
	c := &checker{
		records: records, hub: map[string]*object{}, wec: map[string]*object{}, copies: map[string][]*object{},
		acted: map[string]map[string]time.Time{}, epochs: map[string][]time.Time{},
		asks: map[string]*asked{}, again: map[string]map[int]bool{},
	}
	for _, r := range records {
		switch r.Kind {
		case Stored, Deleted:
			c.store(r)
		case Restored:
			c.epochs[r.Cluster] = append(c.epochs[r.Cluster], r.Time)
		case Acted:
			if c.acted[r.Workflow.UID] == nil {
				c.acted[r.Workflow.UID] = map[string]time.Time{}
			}
			c.acted[r.Workflow.UID][r.Text] = r.Time
		case Quiet:
			c.quiet = r.Time
		case Ended:
			c.ended = r.Time
		case Began:
			c.began = append(c.began, r.Time)
		case Served:
			c.served = append(c.served, r.Time)
		case Harmed, Faulted:
		}
	}
	for _, uid := range c.order {
		if o := c.wec[uid]; o != nil && !o.first().Decoy && o.first().HubUID != "" {
			c.copies[o.first().HubUID] = append(c.copies[o.first().HubUID], o)
		}
	}
	c.report.Workflows = len(c.hub)
	return c
}

func (c *checker) store(r Record) {
	objects := c.wec
	if r.Cluster == Hub {
		objects = c.hub
	}
	o := objects[r.Workflow.UID]
	if o == nil {
		o = &object{cluster: r.Cluster}
		objects[r.Workflow.UID] = o
		c.order = append(c.order, r.Workflow.UID)
	}
	o.versions = append(o.versions, version{r.Time, len(c.epochs[r.Cluster]), r.Kind == Deleted, r.Text == Carried, r.Workflow})
}

func (c *checker) find(count Count, at time.Time, uid, format string, args ...any) {
	c.report.Findings = append(c.report.Findings, Finding{count, at, uid, fmt.Sprintf(format, args...)})
}

// did reports whether a person did something to an object.
func (c *checker) did(uid, act string) bool { return !c.acted[uid][act].IsZero() }

// restoredBetween reports whether a cluster was restored after from and before to.
func (c *checker) restoredBetween(cluster string, from, to time.Time) bool {
	return slices.ContainsFunc(c.epochs[cluster], func(at time.Time) bool { return at.After(from) && !at.After(to) })
}

// epoch is the last epoch of a cluster.
func (c *checker) epoch(cluster string) int { return len(c.epochs[cluster]) }

// aliveAt reports whether an object was in its cluster's etcd at a time, as far as slack allows to say that it surely was.
func (c *checker) aliveAt(o *object, at time.Time) bool {
	alive := false
	for _, v := range o.versions {
		if v.at.After(at) {
			break
		}
		alive = !v.gone && !c.restoredBetween(o.cluster, v.at, at)
	}
	return alive
}

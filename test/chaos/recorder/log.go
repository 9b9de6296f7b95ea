package recorder

import (
	"fmt"
	"sync"
	"time"

	"stellarflow.io/stellarflow/test/chaos/history"
)

// Log collects the records of a run. It is safe for several goroutines.
type Log struct {
	mu      sync.Mutex
	records []history.Record
}

// Add keeps a record, with the time it has now.
func (l *Log) Add(r history.Record) {
	l.mu.Lock()
	defer l.mu.Unlock()
	r.Time = time.Now()
	l.records = append(l.records, r)
}

// All returns what there is so far.
func (l *Log) All() []history.Record {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]history.Record(nil), l.records...)
}

// Fault keeps what is broken or mended.
func (l *Log) Fault(format string, args ...any) {
	l.Add(history.Record{Kind: history.Faulted, Text: fmt.Sprintf(format, args...)})
}

// Acted keeps what a person does to a Workflow, a history.Act….
func (l *Log) Acted(cluster, uid, act string) {
	l.Add(history.Record{Kind: history.Acted, Cluster: cluster, Workflow: history.Workflow{UID: uid}, Text: act})
}

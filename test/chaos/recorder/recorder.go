package recorder

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"stellarflow.io/stellarflow/test/chaos/history"
)

// Prefix is where an API server keeps Workflows in etcd, as JSON; those of a namespace are below it.
const Prefix = "/registry/argoproj.io/workflows/"

// Recorder reads every revision of every Workflow of one cluster from its etcd, which nothing may compact within minutes: while the
// API server is down, is killed or lies, nothing is missed and nothing is invented. When etcd is away it goes on at the next revision.
type Recorder struct {
	// Cluster is the name in the records, Prefix the part of etcd that is read.
	Cluster, Prefix string
	// URL is etcd's, without a path; Client reaches it.
	URL    string
	Client *http.Client
	Log    *Log
	// Changed is told of each change after it was recorded. It owns the object.
	Changed func(cluster string, object *unstructured.Unstructured, gone bool)
	// Shown, if it is not nil, reduces a status to what is compared between the hub and a WEC.
	Shown func(*unstructured.Unstructured)

	mu    sync.Mutex
	next  int64             // the first revision not recorded yet
	known map[string][]byte // key -> last value, for deletions
	old   map[string]bool   // UIDs that were there before this run
	stop  context.CancelFunc
	done  chan struct{}
}

// the answers of etcd's JSON gateway (etcd v3.5 api/etcdserverpb/rpc.proto); int64 are strings there.
type etcdKV struct {
	Key         []byte `json:"key"`
	Value       []byte `json:"value"`
	ModRevision string `json:"mod_revision"`
}

type etcdHeader struct {
	Revision string `json:"revision"`
}

type etcdEvents struct {
	Error  *struct{ Message string } `json:"error"`
	Result struct {
		Header        etcdHeader `json:"header"`
		Canceled      bool       `json:"canceled"`
		CancelReason  string     `json:"cancel_reason"`
		CompactReason string     `json:"compact_revision"`
		Events        []struct {
			Type string `json:"type"`
			KV   etcdKV `json:"kv"`
		} `json:"events"`
	} `json:"result"`
}

func (r *Recorder) prefixRange() map[string]any {
	end := []byte(r.Prefix)
	end[len(end)-1]++
	return map[string]any{
		"key": base64.StdEncoding.EncodeToString([]byte(r.Prefix)), "range_end": base64.StdEncoding.EncodeToString(end),
	}
}

// Start lists what is there and follows it. With carried the etcd was restored, and what it holds is said to be carried.
func (r *Recorder) Start(ctx context.Context, carried bool) error {
	var list struct {
		Header etcdHeader `json:"header"`
		KVs    []etcdKV   `json:"kvs"`
	}
	if err := r.post(ctx, "/v3/kv/range", r.prefixRange(), func(body io.Reader) error { return json.NewDecoder(body).Decode(&list) }); err != nil {
		return fmt.Errorf("read the etcd of %s: %w", r.Cluster, err)
	}
	revision, err := strconv.ParseInt(list.Header.Revision, 10, 64)
	if err != nil {
		return fmt.Errorf("the etcd of %s says revision %q: %w", r.Cluster, list.Header.Revision, err)
	}
	r.mu.Lock()
	r.next, r.known = revision+1, map[string][]byte{}
	if r.old == nil {
		r.old = map[string]bool{}
	}
	r.mu.Unlock()
	if carried {
		r.Log.Add(history.Record{Kind: history.Restored, Cluster: r.Cluster, Revision: revision})
	}
	for _, kv := range list.KVs {
		if !carried {
			r.leave(kv)
			continue
		}
		r.record(kv, false, history.Carried)
	}
	ctx, r.stop = context.WithCancel(ctx)
	r.done = make(chan struct{})
	go r.follow(ctx, r.done)
	return nil
}

// Drain waits until everything up to the present revision is recorded, and stops.
func (r *Recorder) Drain(ctx context.Context) error {
	defer r.Stop()
	var list struct {
		Header etcdHeader `json:"header"`
	}
	query := r.prefixRange()
	query["count_only"] = true
	if err := r.post(ctx, "/v3/kv/range", query, func(body io.Reader) error { return json.NewDecoder(body).Decode(&list) }); err != nil {
		return err
	}
	// the last revision may be of another key: ask for the last one of ours
	query = r.prefixRange()
	query["sort_order"], query["sort_target"], query["limit"], query["keys_only"] = "DESCEND", "MOD", "1", true
	var newest struct {
		KVs []etcdKV `json:"kvs"`
	}
	if err := r.post(ctx, "/v3/kv/range", query, func(body io.Reader) error { return json.NewDecoder(body).Decode(&newest) }); err != nil {
		return err
	}
	if len(newest.KVs) > 0 {
		wanted, err := strconv.ParseInt(newest.KVs[0].ModRevision, 10, 64)
		if err != nil {
			return err
		}
		for r.recorded() <= wanted {
			if err := pause(ctx, 5*time.Millisecond); err != nil {
				return err
			}
		}
	}
	return pause(ctx, 300*time.Millisecond) // deletions have no key any more to ask for
}

// Stop ends the recording, if it has begun.
func (r *Recorder) Stop() {
	if r.stop != nil {
		r.stop()
		<-r.done
	}
}

func (r *Recorder) recorded() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.next
}

func (r *Recorder) follow(ctx context.Context, done chan struct{}) {
	defer close(done)
	for ctx.Err() == nil {
		request := r.prefixRange()
		request["start_revision"] = strconv.FormatInt(r.recorded(), 10)
		err := r.post(ctx, "/v3/watch", map[string]any{"create_request": request}, r.read)
		if ctx.Err() == nil && errors.Is(err, errHistoryLost) {
			r.Log.Fault("history of %s is incomplete: %v", r.Cluster, err)
			return
		}
		_ = pause(ctx, 50*time.Millisecond)
	}
}

var errHistoryLost = errors.New("etcd cancelled the watch")

func (r *Recorder) read(body io.Reader) error {
	decoder := json.NewDecoder(body)
	for {
		var answer etcdEvents
		if err := decoder.Decode(&answer); err != nil {
			return err
		}
		if answer.Result.Canceled {
			return fmt.Errorf("%w: %s", errHistoryLost, answer.Result.CancelReason)
		}
		for _, event := range answer.Result.Events {
			r.record(event.KV, event.Type == "DELETE", "")
		}
	}
}

// leave notes that an object is of an earlier run on the same fleet.
func (r *Recorder) leave(kv etcdKV) {
	object := &unstructured.Unstructured{}
	if object.UnmarshalJSON(kv.Value) == nil {
		r.old[string(object.GetUID())] = true
	}
	r.known[string(kv.Key)] = kv.Value
}

// record keeps one revision.
func (r *Recorder) record(kv etcdKV, gone bool, text string) {
	revision, err := strconv.ParseInt(kv.ModRevision, 10, 64)
	if err != nil {
		return
	}
	r.mu.Lock()
	value := kv.Value
	if gone {
		value = r.known[string(kv.Key)]
		delete(r.known, string(kv.Key))
	} else {
		r.known[string(kv.Key)] = value
	}
	r.next = max(r.next, revision+1)
	r.mu.Unlock()
	object := &unstructured.Unstructured{}
	if err := object.UnmarshalJSON(value); err != nil {
		r.Log.Fault("cannot read %s of %s: %v", kv.Key, r.Cluster, err)
		return
	}
	if r.old[string(object.GetUID())] {
		return
	}
	object.SetResourceVersion(kv.ModRevision)
	kind := history.Stored
	if gone {
		kind = history.Deleted
	}
	stored := object.DeepCopy()
	stored.SetResourceVersion("")
	if r.Shown != nil {
		r.Shown(stored)
	}
	r.Log.Add(history.Record{Kind: kind, Cluster: r.Cluster, Revision: revision, Workflow: history.Of(stored), Text: text})
	if r.Changed != nil {
		r.Changed(r.Cluster, object, gone)
	}
}

func (r *Recorder) post(ctx context.Context, path string, body any, read func(io.Reader) error) error {
	raw, err := json.Marshal(body)
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, r.URL+path, bytes.NewReader(raw))
	if err != nil {
		return err
	}
	response, err := r.Client.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("etcd answers %s", response.Status)
	}
	return read(response.Body)
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

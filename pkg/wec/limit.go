package wec

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

// What a WEC may answer, in bytes and unpacked: a hub that reads more than it has memory for is gone for every other cluster too.
const (
	// MaxList bounds a list of Workflows or pods, where it does not arrive as a watch: the metadata of 20,000 of them, of 3 KiB each.
	MaxList = 64 << 20
	// MaxObject bounds every other answer: an API server's own limit for an object is about 1.5 MiB in etcd and 3 MiB in a request
	// (k8s.io/apiserver pkg/server/config.go, MaxRequestBodyBytes).
	MaxObject = 8 << 20
	// MaxEvent bounds each event of a watch, of whose object there is the metadata at most, or which is an Event: empty entries unpack to a
	// hundred times their size. How many there are only the watch can bound: see MaxKept.
	MaxEvent = 3 << 20
)

// WatchIdle is how long a watch may be without a byte. An API server sends bookmarks about every minute
// (k8s.io/apiserver pkg/storage/cacher, defaultBookmarkFrequency), so one that is silent for longer has lost its peer somewhere
// behind a proxy; it is then begun anew from where it was.
const WatchIdle = 5 * time.Minute

// TooLargeError says that an answer was larger than what is read of a WEC.
type TooLargeError struct {
	// Cluster is its name, or its address where it has none yet.
	Cluster string
	Request string
	Limit   int64
	// Kept is true if it is not one answer that is larger, but what a watch keeps of them.
	Kept bool
}

// Error says what was asked, how much is read and what to do.
func (e *TooLargeError) Error() string {
	remedy := "check what answers there"
	switch {
	case (e.Kept || e.Limit == MaxList) && strings.HasSuffix(e.Request, podsSuffix):
		remedy = "delete finished Workflows there, whose pods it still has, or let them delete their pods (podGC)"
	case e.Kept || e.Limit == MaxList:
		remedy = "delete finished Workflows of this hub, or send fewer at a time to this cluster"
	case strings.Contains(e.Request, workflowsSuffix):
		remedy = "delete that Workflow there, or split it into smaller ones"
	}
	done := "read"
	if e.Kept {
		done = "kept"
	}
	return fmt.Sprintf("the answer of cluster %s to %s is larger than the %d MiB that are %s of a cluster: %s", e.Cluster, e.Request, e.Limit>>20, done, remedy)
}

// How the paths of lists that may be long end.
var (
	workflowsSuffix = "/" + stellarflow.Workflows.Resource
	podsSuffix      = "/" + string(corev1.ResourcePods)
)

// limit makes the body of an answer fail beyond what its request may bring. It counts what the transport has unpacked, so a small
// answer that unpacks into a large one is caught on the way.
func limit(cluster string, request *http.Request, response *http.Response, idle time.Duration) (*http.Response, error) {
	most, what := int64(MaxObject), request.Method+" "+request.URL.Path
	watch := isWatch(request)
	if request.Method == http.MethodGet && !watch && (strings.HasSuffix(request.URL.Path, workflowsSuffix) || strings.HasSuffix(request.URL.Path, podsSuffix)) {
		most = MaxList
	}
	if watch {
		most = MaxEvent
	}
	large := &TooLargeError{Cluster: cluster, Request: what, Limit: most}
	if response.ContentLength > most {
		_ = response.Body.Close()
		return nil, large
	}
	body := &bounded{ReadCloser: response.Body, err: large, left: most, most: most}
	if watch && response.StatusCode == http.StatusOK {
		body.charge, body.broken = body.count, broken(request)
		if media, _, _ := mime.ParseMediaType(response.Header.Get("Content-Type")); media == runtime.ContentTypeProtobuf { // as client-go decides
			body.charge = body.countFrames
		}
		body.silence = time.AfterFunc(idle, func() { _ = response.Body.Close() })
		body.idle = idle
	}
	response.Body = body
	return response, nil
}

func isWatch(request *http.Request) bool {
	value := request.URL.Query().Get("watch")
	return value == "true" || value == "1"
}

// bounded is a body that fails once more was read than is left.
type bounded struct {
	io.ReadCloser
	err        error
	left, most int64

	// Of a watch, each event has the whole bound: charge takes what was read from what is left. Events in JSON end where the nesting does,
	// binary ones say their length first.
	charge   func(p []byte)
	depth    int
	inString bool
	escaped  bool
	length   [4]byte
	lengths  int    // bytes of length that were read
	frame    int64  // bytes of the event that are to come
	broken   func() // told when it breaks off
	silence  *time.Timer
	idle     time.Duration
}

// Read reads on, or fails with the TooLargeError.
func (b *bounded) Read(p []byte) (int, error) {
	if b.left < 0 {
		return 0, b.err
	}
	n, err := b.ReadCloser.Read(p)
	if b.silence != nil {
		b.silence.Reset(b.idle)
	}
	if b.charge != nil {
		b.charge(p[:n])
		if b.left < 0 || err != nil && !errors.Is(err, io.EOF) {
			b.broken()
		}
	} else {
		b.left -= int64(n)
	}
	if b.left < 0 {
		return 0, b.err
	}
	return n, err
}

// count charges bytes to the event in JSON that they belong to.
func (b *bounded) count(p []byte) {
	for _, c := range p {
		if b.left--; b.left < 0 {
			return
		}
		switch {
		case b.escaped:
			b.escaped = false
		case b.inString && c == '\\':
			b.escaped = true
		case c == '"':
			b.inString = !b.inString
		case b.inString:
		case c == '{' || c == '[':
			b.depth++
		case c == '}' || c == ']':
			if b.depth--; b.depth <= 0 {
				b.depth, b.left = 0, b.most
			}
		}
	}
}

// countFrames charges bytes to the binary event that they belong to: four bytes of length and as many as that says
// (k8s.io/apimachinery pkg/util/framer, NewLengthDelimitedFrameReader). Too long a one fails before it is read.
func (b *bounded) countFrames(p []byte) {
	for len(p) > 0 {
		if b.frame > 0 {
			n := min(b.frame, int64(len(p)))
			b.frame -= n
			p = p[n:]
			continue
		}
		n := copy(b.length[b.lengths:], p)
		b.lengths += n
		p = p[n:]
		if b.lengths < len(b.length) {
			return
		}
		b.lengths, b.frame = 0, int64(binary.BigEndian.Uint32(b.length[:]))
		if b.left = b.most - b.frame; b.left < 0 {
			return
		}
	}
}

// Close ends the answer.
func (b *bounded) Close() error {
	if b.silence != nil {
		b.silence.Stop()
	}
	return b.ReadCloser.Close()
}

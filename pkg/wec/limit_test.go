package wec

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

// repeat reads one piece of text for ever, n times.
type repeat struct {
	text string
	n    int64
	rest string
}

func (r *repeat) Read(p []byte) (int, error) {
	if r.rest == "" {
		if r.n == 0 {
			return 0, io.EOF
		}
		r.n--
		r.rest = r.text
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

func TestLimit(t *testing.T) {
	const list, watch, object = "/apis/argoproj.io/v1alpha1/workflows", "/apis/argoproj.io/v1alpha1/workflows?watch=true", "/apis/argoproj.io/v1alpha1/namespaces/argo/workflows/w"
	const pods, pod = "/api/v1/pods", "/api/v1/namespaces/argo/pods/w-main-1"
	mebi := strings.Repeat("x", 1<<20)
	event := `{"type":"ADDED","object":{"a":"}\"{` + mebi + `"}}` + "\n"
	cases := map[string]struct {
		reason string
		path   string
		piece  string
		n      int64
		length int64
		fails  bool
	}{
		"Object":        {"the largest that an API server keeps is far below", object, mebi, 8, -1, false},
		"LargeObject":   {"one more byte", object, mebi + "x", 8, -1, true},
		"SaidLarge":     {"what says that it is too large is not read", object, "", 0, MaxObject + 1, true},
		"List":          {"many Workflows", list, mebi, 64, -1, false},
		"LargeList":     {"more than the hub has memory for", list, mebi, 65, -1, true},
		"Pods":          {"so many Workflows have many pods", pods, mebi, 64, -1, false},
		"PodsOfOne":     {"in one namespace too", "/api/v1/namespaces/argo/pods", mebi, 64, -1, false},
		"LargePods":     {"more than the hub has memory for", pods, mebi, 65, -1, true},
		"LargePod":      {"one pod is one object", pod, mebi, 9, -1, true},
		"WatchPods":     {"each event of a watch is one object", pods + "?watch=true", `{"a":"` + mebi, 9, -1, true},
		"Watch":         {"a watch goes on for ever", watch, event, 100, -1, false},
		"LargeEvent":    {"one event that never ends", watch, `{"a":"` + mebi, 9, -1, true},
		"SpreadEvent":   {"its line breaks do not help it", watch, `{"a":{},` + "\n" + strings.Repeat(" ", 1<<20), 9, -1, true},
		"BetweenEvents": {"nor does it count what is no event", watch, strings.Repeat("\n", 1<<20), 9, -1, true},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://wec"+tc.path, nil)
			if err != nil {
				t.Fatal(err)
			}
			response, err := limit("edge", request, &http.Response{
				StatusCode: http.StatusOK, ContentLength: tc.length, Body: io.NopCloser(&repeat{text: tc.piece, n: tc.n}),
			}, time.Hour)
			if err == nil {
				_, err = io.Copy(io.Discard, response.Body)
				_ = response.Body.Close()
			}
			var large *TooLargeError
			if errors.As(err, &large) != tc.fails || !tc.fails && err != nil {
				t.Errorf("%s: %v", tc.reason, err)
			}
		})
	}
}

// TestLimitOfBinaryEvents: events of a metadata watch are binary as a rule, and what looks like JSON in them is none.
func TestLimitOfBinaryEvents(t *testing.T) {
	frame := func(said int, text string) string {
		return string(binary.BigEndian.AppendUint32(nil, uint32(said))) + text //nolint:gosec // small
	}
	odd := `{[k8s` + "\x00" + `"{` + strings.Repeat("x", 1<<20)
	cases := map[string]struct {
		reason  string
		content string
		piece   string
		n       int64
		read    int64 // at least, -1 for all
		fails   bool
	}{
		"Many":      {"a watch goes on for ever, whatever is in it", "application/vnd.kubernetes.protobuf;stream=watch", frame(len(odd), odd), 9, -1, false},
		"Nothing":   {"an event of no bytes is one too", "application/vnd.kubernetes.protobuf", frame(0, ""), 20, -1, false},
		"Largest":   {"as large as any object may be", "application/vnd.kubernetes.protobuf", frame(MaxEvent, strings.Repeat("{", MaxEvent)), 3, -1, false},
		"Large":     {"one more byte fails before it is read", "application/vnd.kubernetes.protobuf", frame(MaxEvent+1, "{}"), 1, 0, true},
		"Huge":      {"the largest that can be said", "Application/Vnd.Kubernetes.Protobuf; stream=watch", frame(1<<32-1, "{}"), 1, 0, true},
		"SaidAsOdd": {"what is said to be something else counts as JSON", "text/plain", frame(len(odd), odd), 9, 0, true},
	}
	for name, tc := range cases {
		for _, at := range []int{1021, 1 << 16} { // bytes that are read at a time
			t.Run(fmt.Sprintf("%s/%d", name, at), func(t *testing.T) {
				request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://wec/api/v1/pods?watch=true", nil)
				if err != nil {
					t.Fatal(err)
				}
				response, err := limit("edge", request, &http.Response{
					StatusCode: http.StatusOK, ContentLength: -1, Header: http.Header{"Content-Type": {tc.content}}, Body: io.NopCloser(&repeat{text: tc.piece, n: tc.n}),
				}, time.Hour)
				if err != nil {
					t.Fatal(err)
				}
				read, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{response.Body}, make([]byte, at))
				_ = response.Body.Close()
				var large *TooLargeError
				if errors.As(err, &large) != tc.fails || !tc.fails && err != nil || tc.read < 0 && read != tc.n*int64(len(tc.piece)) {
					t.Errorf("%s: after %d bytes: %v", tc.reason, read, err)
				}
			})
		}
	}
}

// TestPackedBomb: what counts is what an answer unpacks to.
func TestPackedBomb(t *testing.T) {
	var packed bytes.Buffer
	pack := gzip.NewWriter(&packed)
	if _, err := io.Copy(pack, &repeat{text: strings.Repeat(" ", 1<<20), n: 100}); err != nil {
		t.Fatal(err)
	}
	if err := pack.Close(); err != nil {
		t.Fatal(err)
	}
	if packed.Len() > MaxObject/10 {
		t.Fatalf("the bomb has %d bytes", packed.Len())
	}
	clients, _ := dial(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Encoding", "gzip")
		_, _ = w.Write(packed.Bytes())
	}))
	_, err := clients.Objects.Resource(stellarflow.Workflows).Namespace("argo").Get(t.Context(), "w", metav1.GetOptions{})
	if err == nil || !strings.Contains(err.Error(), "to GET /apis/argoproj.io/v1alpha1/namespaces/argo/workflows/w is larger than the 8 MiB that are read of a cluster: delete that Workflow there, or split it into smaller ones") {
		t.Errorf("the error is %v", err)
	}
}

// TestSilentWatch: a watch without a byte is ended, one that says something is not.
func TestSilentWatch(t *testing.T) {
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://wec/apis/argoproj.io/v1alpha1/workflows?watch=1", nil)
	if err != nil {
		t.Fatal(err)
	}
	reader, writer := io.Pipe()
	response, err := limit("edge", request, &http.Response{StatusCode: http.StatusOK, ContentLength: -1, Body: reader}, 1500*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	go func() {
		for range 10 {
			_, _ = writer.Write([]byte("{}"))
			time.Sleep(50 * time.Millisecond)
		}
	}()
	read, err := io.ReadAll(response.Body)
	if len(read) != 20 || err == nil {
		t.Errorf("%d bytes were read, then %v", len(read), err)
	}
}

// TestTooLargeSaysWhat: it is said on a Workflow or a ManagedCluster, whose readers know no request of ours.
func TestTooLargeSaysWhat(t *testing.T) {
	for _, tc := range []struct {
		request string
		limit   int64
		kept    bool
		want    string
	}{
		{"GET /version", MaxObject, false, "the answer of cluster edge to GET /version is larger than the 8 MiB that are read of a cluster: check what answers there"},
		{"GET " + workflowsPath, MaxList, false, "the answer of cluster edge to GET /apis/argoproj.io/v1alpha1/workflows is larger than the 64 MiB that are read of a cluster: delete finished Workflows of this hub, or send fewer at a time to this cluster"},
		{"GET /api/v1/pods", MaxList, false, "the answer of cluster edge to GET /api/v1/pods is larger than the 64 MiB that are read of a cluster: delete finished Workflows there, whose pods it still has, or let them delete their pods (podGC)"},
		{"WATCH " + workflowsPath, MaxKept, true, "the answer of cluster edge to WATCH /apis/argoproj.io/v1alpha1/workflows is larger than the 64 MiB that are kept of a cluster: delete finished Workflows of this hub, or send fewer at a time to this cluster"},
		{"WATCH /api/v1/pods", MaxKept, true, "the answer of cluster edge to WATCH /api/v1/pods is larger than the 64 MiB that are kept of a cluster: delete finished Workflows there, whose pods it still has, or let them delete their pods (podGC)"},
		{"GET /api/v1/namespaces/argo/pods/w-main-1", MaxObject, false, "the answer of cluster edge to GET /api/v1/namespaces/argo/pods/w-main-1 is larger than the 8 MiB that are read of a cluster: check what answers there"},
		{"GET /apis/argoproj.io/v1alpha1/namespaces/argo/workflows/w", MaxObject, false, "the answer of cluster edge to GET /apis/argoproj.io/v1alpha1/namespaces/argo/workflows/w is larger than the 8 MiB that are read of a cluster: delete that Workflow there, or split it into smaller ones"},
	} {
		if got := (&TooLargeError{Cluster: "edge", Request: tc.request, Limit: tc.limit, Kept: tc.kept}).Error(); got != tc.want {
			t.Errorf("Error() = %s, want %s", got, tc.want)
		}
	}
}

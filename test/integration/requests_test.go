package integration

import (
	"bufio"
	"bytes"
	"strconv"
	"strings"
	"testing"
)

// requests is how many requests for Workflows an API server has answered, by verb and by code, from its own metrics.
type requests map[string]int

func (s *server) requests(t *testing.T) requests {
	t.Helper()
	raw, err := s.core.Discovery().RESTClient().Get().AbsPath("/metrics").DoRaw(t.Context())
	if err != nil {
		t.Fatalf("read the API server's metrics: %v", err)
	}
	counted := requests{}
	lines := bufio.NewScanner(bytes.NewReader(raw))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		labels, value, found := strings.Cut(lines.Text(), "} ")
		if !found || !strings.HasPrefix(labels, "apiserver_request_total{") || !strings.Contains(labels, `resource="workflows"`) {
			continue
		}
		number, err := strconv.ParseFloat(value, 64)
		if err != nil {
			t.Fatalf("metric %q: %v", lines.Text(), err)
		}
		counted[label(labels, "verb")] += int(number)
		counted[label(labels, "verb")+" "+label(labels, "code")] += int(number)
	}
	return counted
}

func label(labels, name string) string {
	_, after, _ := strings.Cut(labels, name+`="`)
	value, _, _ := strings.Cut(after, `"`)
	return value
}

// creates is how many Workflows a WEC has taken.
func (c *clusters) creates(t *testing.T, cluster string) int {
	t.Helper()
	return c.wecs[cluster].requests(t)["POST 201"]
}

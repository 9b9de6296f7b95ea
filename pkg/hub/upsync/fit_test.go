package upsync

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// packed is a text as Argo stores nodes: gzip, base64 (argo-workflows v3.7.18, util/file/fileutil.go).
func packed(t testing.TB, text string) string {
	t.Helper()
	var buffer bytes.Buffer
	writer := gzip.NewWriter(&buffer)
	if _, err := writer.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := writer.Close(); err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(buffer.Bytes())
}

// argoReads unpacks nodes as Argo does (DecodeDecompressString there).
func argoReads(t testing.TB, text string) string {
	t.Helper()
	zipped, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	reader, err := gzip.NewReader(bytes.NewReader(zipped))
	if err != nil {
		t.Fatal(err)
	}
	raw, err := io.ReadAll(reader)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// manyNodes are nodes as JSON, each of about 100 bytes and with a message.
func manyNodes(count int, message func(int) string) string {
	var b strings.Builder
	b.WriteByte('{')
	for i := range count {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `"w-%d":{"id":"w-%d","phase":"Succeeded","type":"Pod","message":%q,"outputs":{"artifacts":[{"name":"x"}]}}`, i, i, message(i))
	}
	b.WriteByte('}')
	return b.String()
}

// noise is text that does not compress.
func noise(bytesEach int) func(int) string {
	source := rand.New(rand.NewPCG(1, 2))
	return func(int) string {
		raw := make([]byte, bytesEach)
		for i := range raw {
			raw[i] = byte(source.Uint32())
		}
		return base64.StdEncoding.EncodeToString(raw)
	}
}

func same(int) string { return "the same" }

func render(t *testing.T, status string) map[string]any {
	t.Helper()
	r, err := Render(wecCopy(status), Rules{})
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Status) > maxStatusBytes {
		t.Errorf("the status has %d bytes", len(r.Status))
	}
	return decoded(t, string(r.Status))
}

func TestNodesArePackedWhenLarge(t *testing.T) {
	nodes := manyNodes(4000, same)
	for name, status := range map[string]string{
		"plain on the WEC":  `{"phase":"Running","nodes":` + nodes + `}`,
		"packed on the WEC": `{"phase":"Running","compressedNodes":"` + packed(t, nodes) + `"}`,
	} {
		got := render(t, status)
		text, _ := got["compressedNodes"].(string)
		if text == "" || got["nodes"] != nil {
			t.Fatalf("%s: the nodes are not packed", name)
		}
		if diff := cmp.Diff(decoded(t, nodes), decoded(t, argoReads(t, text))); diff != "" {
			t.Errorf("%s: Argo reads other nodes, -want +got:\n%s", name, diff)
		}
		if got["conditions"] != nil {
			t.Errorf("%s: nothing was cut, yet %v", name, got["conditions"])
		}
	}
}

func TestNodesStayReadableWhenSmall(t *testing.T) {
	nodes := manyNodes(10, same)
	got := render(t, `{"phase":"Running","compressedNodes":"`+packed(t, nodes)+`","nodes":{"old":{}}}`)
	if diff := cmp.Diff(map[string]any{"phase": "Running", "nodes": decoded(t, nodes)}, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	got = render(t, `{"phase":"Running","compressedNodes":"","nodes":{"n":{}}}`)
	if diff := cmp.Diff(map[string]any{"phase": "Running", "nodes": map[string]any{"n": map[string]any{}}}, got); diff != "" {
		t.Errorf("an empty text packs nothing, -want +got:\n%s", diff)
	}
	got = render(t, `{"phase":"Running","compressedNodes":7}`)
	if diff := cmp.Diff(map[string]any{"phase": "Running"}, got); diff != "" {
		t.Errorf("a number packs nothing, -want +got:\n%s", diff)
	}
}

func TestPackedNodesAreCleaned(t *testing.T) {
	evil := `{"n":{"outputs":{"artifacts":[{"name":"x","http":{"url":"http://evil"}}]}}}`
	got := render(t, `{"phase":"Running","compressedNodes":"`+packed(t, evil)+`"}`)
	want := decoded(t, `{"n":{"outputs":{"artifacts":[{"name":"x"}]}}}`)
	if diff := cmp.Diff(want, got["nodes"]); diff != "" {
		t.Errorf("packing hides nothing, -want +got:\n%s", diff)
	}
}

func TestNodesAreCut(t *testing.T) {
	got := render(t, `{"phase":"Failed","conditions":[{"type":"Completed","status":"True"}],"nodes":`+manyNodes(1000, noise(1500))+`}`)
	if got["nodes"] != nil || got["compressedNodes"] != nil {
		t.Error("nodes that do not fit are there")
	}
	want := []any{
		map[string]any{"type": "Completed", "status": "True"},
		map[string]any{
			"type": ConditionCut, "status": "True",
			"message": "the nodes do not fit into 1048576 bytes even compressed and were left out here; see them on the cluster itself",
		},
	}
	if diff := cmp.Diff(want, got["conditions"]); diff != "" || got["phase"] != "Failed" {
		t.Errorf("phase %v, conditions -want +got:\n%s", got["phase"], diff)
	}
}

func TestTooLargeWithoutNodes(t *testing.T) {
	big := strings.Repeat("m", maxStatusBytes)
	for name, status := range map[string]string{
		"no nodes":       `{"phase":"Running","message":"` + big + `"}`,
		"nodes were cut": `{"phase":"Running","message":"` + big + `","nodes":{"n":{}}}`,
	} {
		if _, err := Render(wecCopy(status), Rules{}); !errors.Is(err, ErrNotMirrorable) || !strings.Contains(err.Error(), "without its nodes it still has") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestUnpackRefuses(t *testing.T) {
	whole := packed(t, `{"n":{}}`)
	raw, err := base64.StdEncoding.DecodeString(whole)
	if err != nil {
		t.Fatal(err)
	}
	part, err := base64.StdEncoding.DecodeString(packed(t, strings.Repeat(" ", maxUnpackedBytes/64)))
	if err != nil {
		t.Fatal(err)
	}
	cases := map[string]struct {
		reason string
		text   string
		err    string
	}{
		"Base64":    {"not base64", "***", "illegal base64 data"},
		"Gzip":      {"zstd of Argo 4.1, say", base64.StdEncoding.EncodeToString([]byte("\x28\xb5\x2f\xfd not gzip")), "gzip: invalid header"},
		"Cut":       {"the end is missing", base64.StdEncoding.EncodeToString(raw[:len(raw)-6]), "unexpected EOF"},
		"NoObject":  {"JSON, but no nodes", packed(t, `[1]`), "cannot unmarshal array"},
		"NoJSON":    {"no JSON", packed(t, `hello`), "invalid character"},
		"Bomb":      {"64 KiB that become 64 MiB", base64.StdEncoding.EncodeToString(bytes.Repeat(part, 65)), "unpack to more than 67108864 bytes"},
		"EmptyGzip": {"nothing in it", packed(t, ""), "EOF"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			if _, err := unpack(tc.text); !errors.Is(err, ErrNotMirrorable) || !strings.Contains(err.Error(), tc.err) {
				t.Errorf("%s: unpack() = %v, want ErrNotMirrorable with %q", tc.reason, err, tc.err)
			}
		})
	}
}

// TestUnmarshallable covers what JSON cannot hold; no decoder produces it.
func TestUnmarshallable(t *testing.T) {
	for name, status := range map[string]map[string]any{
		"at the top": {"x": func() {}}, "in the nodes": {"nodes": map[string]any{"n": func() {}}},
	} {
		if _, _, err := fit(status); !errors.Is(err, ErrNotMirrorable) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := Pack(func() {}); !errors.Is(err, ErrNotMirrorable) {
		t.Error(err)
	}
	if err := (&Rendered{Status: json.RawMessage("{")}).seal(false); !errors.Is(err, ErrNotMirrorable) {
		t.Error(err)
	}
}

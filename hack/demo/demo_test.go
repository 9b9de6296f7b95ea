package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func testDemo(t *testing.T, env string) *demo {
	t.Helper()
	root := t.TempDir()
	for name, content := range map[string]string{
		".fleet/env": env, "samples/bindingpolicy-cluster1.yaml": "", "samples/bindingpolicy-cluster2.yaml": "",
	} {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return &demo{root: root, fleet: ".fleet"}
}

func TestClusters(t *testing.T) {
	cases := map[string]struct {
		reason            string
		env               string
		clusters, sampled []string
	}{
		"Two":   {"the default fleet", "ARGO_URL=x\nCLUSTERS=hub,cluster1,cluster2\n", []string{"cluster1", "cluster2"}, []string{"cluster1", "cluster2"}},
		"Three": {"one more, joined but without a sample", "CLUSTERS=hub,cluster1,cluster2,cluster3\n", []string{"cluster1", "cluster2", "cluster3"}, []string{"cluster1", "cluster2"}},
		"None":  {"no fleet", "", nil, nil},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			d := testDemo(t, tc.env)
			if diff := cmp.Diff(tc.clusters, d.clusters()); diff != "" {
				t.Errorf("%s: clusters (-want +got):\n%s", tc.reason, diff)
			}
			if diff := cmp.Diff(tc.sampled, d.sampled()); diff != "" {
				t.Errorf("%s: sampled (-want +got):\n%s", tc.reason, diff)
			}
		})
	}
}

func TestIndent(t *testing.T) {
	for text, want := range map[string]string{"a\nb\n": "  a\n  b\n", "a": "  a\n", "": "  \n"} {
		if got := indent([]byte(text)); got != want {
			t.Errorf("indent %q: want %q, got %q", text, want, got)
		}
	}
}

func TestUnknownArguments(t *testing.T) {
	if err := run(t.Context(), []string{"dwon"}); err == nil || err.Error() != `unknown arguments "dwon": give none, or down` {
		t.Errorf("want a refusal, got %v", err)
	}
}

// The demo reads a Workflow as Argo writes it.
func TestWorkflowShape(t *testing.T) {
	raw := `{"metadata":{"name":"w","labels":{"stellarflow.io/cluster":"cluster1"}},"status":{"phase":"Succeeded","nodes":{"w":
		{"type":"Pod","displayName":"w","hostNodeName":"n","outputs":{"artifacts":[{"name":"main-logs","s3":{"key":"cluster1/argo/w/u/w/main.log"}}]}}}}}`
	var w workflow
	if err := json.Unmarshal([]byte(raw), &w); err != nil {
		t.Fatal(err)
	}
	n := w.Status.Nodes["w"]
	if w.Metadata.Labels["stellarflow.io/cluster"] != "cluster1" || n.HostNodeName != "n" || n.Outputs.Artifacts[0].S3.Key != "cluster1/argo/w/u/w/main.log" {
		t.Errorf("something is lost: %+v", w)
	}
}

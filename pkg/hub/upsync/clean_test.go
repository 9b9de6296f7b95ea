package upsync

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// cleaned renders a status and returns it decoded.
func cleaned(t *testing.T, status string) map[string]any {
	t.Helper()
	r, err := Render(wecCopy(status), Rules{Bucket: rules.Bucket, Endpoint: rules.Endpoint})
	if err != nil {
		t.Fatal(err)
	}
	var object map[string]any
	if err := json.Unmarshal(r.Status, &object); err != nil {
		t.Fatal(err)
	}
	return object
}

func decoded(t *testing.T, text string) map[string]any {
	t.Helper()
	var object map[string]any
	if err := json.Unmarshal([]byte(text), &object); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return object
}

func TestArtifactLocations(t *testing.T) {
	const kept = `{"s3":{"key":"a/b"}}`
	long := strings.Repeat("k", maxKeyBytes)
	cases := map[string]struct {
		reason   string
		artifact string
		want     string
	}{
		"Key":             {"a key of the shared store", kept, kept},
		"Described":       {"what the artifact is stays", `{"name":"x","path":"/p","s3":{"key":"a/b"},"archive":{"none":{}},"mode":420}`, `{"name":"x","path":"/p","s3":{"key":"a/b"},"archive":{"none":{}},"mode":420}`},
		"OurBucket":       {"bucket and endpoint of the shared store may be named", `{"s3":{"key":"a/b","bucket":"artifacts","endpoint":"minio:9000"}}`, kept},
		"EmptyBucket":     {"empty means the repository's", `{"s3":{"key":"a/b","bucket":"","endpoint":""}}`, kept},
		"Secrets":         {"the Argo server would read any Secret that is named here", `{"s3":{"key":"a/b","accessKeySecret":{"name":"hub","key":"k"},"secretKeySecret":{"name":"hub","key":"k"},"sessionTokenSecret":{"name":"x"},"caSecret":{"name":"x"}}}`, kept},
		"Options":         {"nor may it assume a role or leave TLS off", `{"s3":{"key":"a/b","roleARN":"arn","useSDKCreds":true,"insecure":true,"encryptionOptions":{},"createBucketIfNotPresent":{}}}`, kept},
		"OtherBucket":     {"another bucket", `{"name":"x","s3":{"key":"a/b","bucket":"other"}}`, `{"name":"x"}`},
		"OtherEndpoint":   {"another endpoint", `{"name":"x","s3":{"key":"a/b","endpoint":"evil:9000"}}`, `{"name":"x"}`},
		"BucketNoText":    {"what is no text is not ours", `{"s3":{"key":"a/b","bucket":1}}`, `{}`},
		"EndpointNoText":  {"what is no text is not ours", `{"s3":{"key":"a/b","endpoint":{}}}`, `{}`},
		"KeyNoText":       {"a key is text", `{"s3":{"key":1}}`, `{}`},
		"NoKey":           {"a location without a key is the whole bucket", `{"s3":{}}`, `{}`},
		"EmptyKey":        {"likewise", `{"s3":{"key":""}}`, `{}`},
		"S3NoObject":      {"not a location", `{"s3":"a/b"}`, `{}`},
		"LongestKey":      {"S3 takes 1024 bytes", `{"s3":{"key":"` + long + `"}}`, `{"s3":{"key":"` + long + `"}}`},
		"LongKey":         {"and no more", `{"s3":{"key":"` + long + `k"}}`, `{}`},
		"AbsoluteKey":     {"no key of Argo's begins so", `{"s3":{"key":"/etc/passwd"}}`, `{}`},
		"Parent":          {"it leaves the prefix", `{"s3":{"key":"../b"}}`, `{}`},
		"ParentInside":    {"it leaves the prefix, hidden", `{"s3":{"key":"a/../../b"}}`, `{}`},
		"OnlyParent":      {"it is the parent", `{"s3":{"key":".."}}`, `{}`},
		"Dots":            {"dots in a name are no parent", `{"s3":{"key":"a/..b/c.."}}`, `{"s3":{"key":"a/..b/c.."}}`},
		"HTTP":            {"the Argo server would fetch it", `{"name":"x","http":{"url":"http://169.254.169.254/"}}`, `{"name":"x"}`},
		"Git":             {"the Argo server would clone it", `{"git":{"repo":"https://evil","sshPrivateKeySecret":{"name":"hub"}}}`, `{}`},
		"GCS":             {"another store", `{"gcs":{"bucket":"b","key":"k","serviceAccountKeySecret":{"name":"hub"}}}`, `{}`},
		"OSS":             {"another store", `{"oss":{"key":"k"}}`, `{}`},
		"Azure":           {"another store", `{"azure":{"blob":"k"}}`, `{}`},
		"HDFS":            {"another store", `{"hdfs":{"path":"/k"}}`, `{}`},
		"Artifactory":     {"another store", `{"artifactory":{"url":"https://evil"}}`, `{}`},
		"Plugin":          {"a driver of Argo 4", `{"plugin":{"name":"p"}}`, `{}`},
		"Raw":             {"the data itself is no place", `{"raw":{"data":"hello"}}`, `{"raw":{"data":"hello"}}`},
		"Several":         {"whichever Argo would take", `{"s3":{"key":"a/b"},"http":{"url":"http://evil"},"raw":{"data":"x"}}`, `{"s3":{"key":"a/b"},"raw":{"data":"x"}}`},
		"Case":            {"encoding/json, which Argo unpacks nodes with, takes these for s3 and http", `{"S3":{"endpoint":"evil","key":"k"},"HTTP":{"url":"http://evil"}}`, `{}`},
		"CaseBeside":      {"also beside a good one", `{"s3":{"key":"a/b"},"S3":{"endpoint":"evil","key":"k"}}`, kept},
		"CaseUnicode":     {"it folds U+017F to s", "{\"\u017f3\":{\"endpoint\":\"evil\",\"key\":\"k\"}}", `{}`},
		"ArchiveLocation": {"nor does an artifact have one", `{"archiveLocation":{"s3":{"endpoint":"evil"}}}`, `{}`},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			for _, place := range artifactPlaces {
				if diff := cmp.Diff(decoded(t, fmt.Sprintf(place, tc.want)), cleaned(t, fmt.Sprintf(place, tc.artifact))); diff != "" {
					t.Errorf("%s, in %s: -want +got:\n%s", tc.reason, place, diff)
				}
			}
		})
	}
}

// artifactPlaces are where artifacts stand in a status (argo-workflows v3.7.18, workflow_types.go).
var artifactPlaces = []string{
	`{"phase":"Running","outputs":{"artifacts":[%s]}}`,
	`{"phase":"Running","nodes":{"n":{"inputs":{"artifacts":[{"name":"first"},%s]}}}}`,
	`{"phase":"Running","nodes":{"artifacts":{"outputs":{"artifacts":[%s]}}}}`,
	`{"phase":"Running","storedTemplates":{"namespaced/t/x":{"inputs":{"artifacts":[%s]}}}}`,
	`{"phase":"Running","storedTemplates":{"t":{"steps":[[{"arguments":{"artifacts":[%s]}}]]}}}`,
	`{"phase":"Running","storedTemplates":{"t":{"dag":{"tasks":[{"arguments":{"Artifacts":[%s]},"hooks":{"exit":{"arguments":{"artifacts":[]}}}}]}}}}`,
	`{"phase":"Running","storedTemplates":{"t":{"resource":{"manifestFrom":{"artifact":%s}}}}}`,
	`{"phase":"Running","storedTemplates":{"t":{"data":{"source":{"artifactPaths":%s}}}}}`,
	`{"phase":"Running","storedWorkflowTemplateSpec":{"arguments":{"artifacts":[%s]},"templates":[{"outputs":{"artifacts":[]}}]}}`,
}

func TestCleanAtAnyDepth(t *testing.T) {
	cases := map[string]struct {
		reason string
		status string
		want   string
	}{
		"ArchiveLocation": {
			"a template's location is where the Argo server looks for logs",
			`{"storedTemplates":{"t":{"name":"t","archiveLocation":{"s3":{"endpoint":"evil"}}}},"storedWorkflowTemplateSpec":{"templates":[{"archiveLocation":{"http":{}}}],"templateDefaults":{"ArchiveLocation":{}}}}`,
			`{"storedTemplates":{"t":{"name":"t"}},"storedWorkflowTemplateSpec":{"templates":[{}],"templateDefaults":{}}}`,
		},
		"RepositoryRef": {
			"a stored spec names a repository too",
			`{"storedWorkflowTemplateSpec":{"artifactRepositoryRef":{"configMap":"evil"},"entrypoint":"x"},"ArtifactRepositoryRef":{}}`,
			`{"storedWorkflowTemplateSpec":{"entrypoint":"x"}}`,
		},
		"NodeNames": {
			"a Workflow may be named like a field, and its root node with it",
			`{"nodes":{"archivelocation":{"id":"archivelocation","archiveLocation":{}},"artifactrepositoryref":{"id":"r"},"artifact":{"id":"a","phase":"Failed"}}}`,
			`{"nodes":{"archivelocation":{"id":"archivelocation"},"artifactrepositoryref":{"id":"r"},"artifact":{"id":"a","phase":"Failed"}}}`,
		},
		"OddNodes": {
			"what is no map of nodes is cleaned like everything else",
			`{"nodes":[{"archiveLocation":{},"artifacts":[{"git":{}}]}]}`,
			`{"nodes":[{"artifacts":[{}]}]}`,
		},
		"OddArtifacts": {
			"lists of other things, objects and texts under these names stay",
			`{"outputs":{"artifacts":["x",1,null]},"x":{"artifacts":{"a":{"artifact":"text"}},"artifact":["y"]}}`,
			`{"outputs":{"artifacts":["x",1,null]},"x":{"artifacts":{"a":{"artifact":"text"}},"artifact":["y"]}}`,
		},
		"Everything else": {
			"nothing else is touched",
			`{"conditions":[{"type":"Completed","status":"True"}],"resourcesDuration":{"cpu":1},"progress":"1/2","taskResultsCompletionStatus":{"n":true},"persistentVolumeClaims":[{"name":"v"}]}`,
			`{"conditions":[{"type":"Completed","status":"True"}],"resourcesDuration":{"cpu":1},"progress":"1/2","taskResultsCompletionStatus":{"n":true},"persistentVolumeClaims":[{"name":"v"}]}`,
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(decoded(t, tc.want), cleaned(t, tc.status)); diff != "" {
				t.Errorf("%s: -want +got:\n%s", tc.reason, diff)
			}
		})
	}
}

func TestWhatIsTakenOutIsCounted(t *testing.T) {
	cases := map[string]struct {
		reason string
		status string
		want   int
	}{
		"None":    {"a key of the store is kept", `{"phase":"Running","outputs":{"artifacts":[{"s3":{"key":"a/b"}},{"raw":{"data":"x"}},{"name":"n"}]}}`, 0},
		"Renamed": {"what is only written shorter is not taken out", `{"phase":"Running","outputs":{"artifacts":[{"s3":{"key":"a/b","secretKeySecret":{"name":"s"}}}]}}`, 0},
		"Some":    {"each location, wherever it stands", `{"phase":"Running","outputs":{"artifacts":[{"git":{}},{"S3":{},"http":{}}]},"nodes":{"n":{"outputs":{"artifacts":[{"s3":{"key":"/x"}}]}}}}`, 4},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			rendered, err := Render(WECCopy{Status: []byte(tc.status)}, Rules{})
			if err != nil {
				t.Fatal(err)
			}
			if rendered.Removed != tc.want || rendered.Cut {
				t.Errorf("%s: %d taken out, want %d (cut: %v)", tc.reason, rendered.Removed, tc.want, rendered.Cut)
			}
		})
	}
	cut, err := Render(WECCopy{Status: []byte(`{"phase":"Running","nodes":` + manyNodes(1000, noise(1500)) + `}`)}, Rules{})
	if err != nil || !cut.Cut {
		t.Errorf("a status without its nodes is not counted as cut: %v", err)
	}
}

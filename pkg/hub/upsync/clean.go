package upsync

import (
	"path"
	"slices"
	"strings"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

// What a status may not carry, whatever it says (DESIGN.md §4 Upsync; argo.md §1.4): lock holders would become holders on the
// hub, offloaded nodes live in the WEC's database.
var droppedFields = []string{fieldLocks, "offloadNodeStatusVersion"}

// fieldLocks is the field of a status that has the locks: of the hub's own controller, see stellarflow.AnnotationLocks.
const fieldLocks = "synchronization"

// The fields of an artifact that name a place; all others say what it is.
var locations = []string{"s3", "artifactory", "git", "http", "hdfs", "oss", "gcs", "azure", "plugin"}

const maxKeyBytes = 1024 // S3's own limit

// cleaner applies Rules to one status and counts the locations that it took out.
type cleaner struct {
	Rules
	locations int
}

// clean removes from a status what the hub must not follow. It changes the status.
func (r *cleaner) clean(status map[string]any) error {
	packed, _ := status["compressedNodes"].(string)
	for _, field := range append([]string{"compressedNodes"}, droppedFields...) {
		remove(status, field)
	}
	nodes, found := status["nodes"]
	remove(status, "nodes")
	if packed != "" {
		unpacked, err := unpack(packed)
		if err != nil {
			return err
		}
		nodes, found = unpacked, true
	}
	disarmAll(status, nodes)
	r.walk(status)
	if byID, ok := nodes.(map[string]any); ok { // its keys are names of Workflows: no field of ours
		for _, node := range byID {
			r.walk(node)
		}
	} else {
		r.walk(nodes)
	}
	if found {
		status["nodes"] = nodes
	}
	if r.Repository != nil {
		status["artifactRepositoryRef"] = r.Repository
	}
	return nil
}

// remove deletes a field in whatever case it is written: where Argo decodes with encoding/json (compressedNodes, steps), it
// takes "S3" for s3.
func remove(object map[string]any, field string) {
	for key := range object {
		if strings.EqualFold(key, field) {
			delete(object, key)
		}
	}
}

// walk goes through templates, nodes and outputs alike: wherever an artifact stands, it stands under one of these keys.
func (r *cleaner) walk(value any) {
	switch value := value.(type) {
	case map[string]any:
		remove(value, "archiveLocation")
		remove(value, "artifactRepositoryRef")
		for key, child := range value {
			switch {
			case strings.EqualFold(key, "artifact"), strings.EqualFold(key, "artifactPaths"):
				r.relocate(child)
			case strings.EqualFold(key, "artifacts"):
				if list, ok := child.([]any); ok {
					for _, artifact := range list {
						r.relocate(artifact)
					}
				}
			}
			r.walk(child)
		}
	case []any:
		for _, child := range value {
			r.walk(child)
		}
	}
}

// relocate reduces an artifact's place to a key of the shared store, or removes it.
func (r *cleaner) relocate(value any) {
	artifact, ok := value.(map[string]any)
	if !ok {
		return
	}
	s3, _ := artifact["s3"].(map[string]any)
	before := len(artifact)
	for _, location := range locations {
		remove(artifact, location)
	}
	key, _ := s3["key"].(string)
	if key == "" || len(key) > maxKeyBytes || !isOr(s3["bucket"], r.Bucket) || !isOr(s3["endpoint"], r.Endpoint) || escapes(key) {
		r.locations += before - len(artifact)
		return
	}
	artifact["s3"] = map[string]any{"key": key}
}

// isOr reports whether a value is absent, empty or the wanted one.
func isOr(value any, wanted string) bool {
	return value == nil || value == "" || value == wanted
}

func escapes(key string) bool {
	return strings.HasPrefix(key, "/") || strings.ContainsFunc(key, stellarflow.IsControl) || slices.Contains(strings.Split(path.Clean(key), "/"), "..")
}

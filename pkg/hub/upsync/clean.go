package upsync

import (
	"path"
	"slices"
	"strings"
)

// What a status may not carry, whatever it says (DESIGN.md §4 Upsync; argo.md §1.4): lock holders would become holders on the
// hub, offloaded nodes live in the WEC's database.
var droppedFields = []string{"synchronization", "offloadNodeStatusVersion"}

// The fields of an artifact that name a place; all others say what it is.
var locations = []string{"s3", "artifactory", "git", "http", "hdfs", "oss", "gcs", "azure", "plugin"}

const maxKeyBytes = 1024 // S3's own limit

// clean removes from a status what the hub must not follow. It changes the status.
func (r Rules) clean(status map[string]any) error {
	for _, field := range droppedFields {
		delete(status, field)
	}
	if packed, ok := status["compressedNodes"].(string); ok && packed != "" {
		nodes, err := unpack(packed)
		if err != nil {
			return err
		}
		status["nodes"] = nodes
	}
	delete(status, "compressedNodes")
	r.walk(status)
	if r.Repository != nil {
		status["artifactRepositoryRef"] = r.Repository
	}
	return nil
}

// walk goes through templates, nodes and outputs alike: wherever an artifact stands, it stands under one of these keys.
func (r Rules) walk(value any) {
	switch value := value.(type) {
	case map[string]any:
		delete(value, "archiveLocation")
		delete(value, "artifactRepositoryRef")
		for key, child := range value {
			switch key {
			case "artifact", "artifactPaths":
				r.relocate(child)
			case "artifacts":
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
func (r Rules) relocate(value any) {
	artifact, ok := value.(map[string]any)
	if !ok {
		return
	}
	s3, _ := artifact["s3"].(map[string]any)
	for _, location := range locations {
		delete(artifact, location)
	}
	key, _ := s3["key"].(string)
	if key == "" || len(key) > maxKeyBytes || !isOr(s3["bucket"], r.Bucket) || !isOr(s3["endpoint"], r.Endpoint) || escapes(key) {
		return
	}
	artifact["s3"] = map[string]any{"key": key}
}

// isOr reports whether a value is absent, empty or the wanted one.
func isOr(value any, wanted string) bool {
	return value == nil || value == "" || value == wanted
}

func escapes(key string) bool {
	return strings.HasPrefix(key, "/") || slices.Contains(strings.Split(path.Clean(key), "/"), "..")
}

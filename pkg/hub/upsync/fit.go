package upsync

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
)

const (
	// packAbove is the size of a status in bytes from which its nodes are stored as Argo's compressedNodes: the hub's etcd,
	// watchers and Argo server then hold a tenth.
	packAbove = 256 << 10
	// maxStatusBytes leaves room for spec and metadata under etcd's 1.5 MiB request limit.
	maxStatusBytes = 1 << 20
	// maxUnpackedBytes bounds what compressedNodes may grow to in memory.
	maxUnpackedBytes = 64 << 20
)

// Types of the conditions that a status gets here.
const (
	// ConditionCut says that its nodes were left out.
	ConditionCut = "StellarflowNodesCut"
	// ConditionLogsFromS3 says that pods are not shown on the hub: logs are there once they are archived.
	ConditionLogsFromS3 = "StellarflowLogsFromS3Only"
)

// condition adds a condition that is true to a status.
func condition(status map[string]any, kind, message string) {
	conditions, _ := status["conditions"].([]any)
	status["conditions"] = append(conditions, map[string]any{"type": kind, "status": "True", "message": message})
}

// fit returns the status as JSON that the hub can store: as it is, with its nodes packed, or without them (cut) and saying so.
func fit(status map[string]any) (fitting json.RawMessage, cut bool, err error) {
	raw, err := json.Marshal(status)
	if err != nil {
		return nil, false, fmt.Errorf("%w: %w", ErrNotMirrorable, err)
	}
	if len(raw) <= packAbove || status["nodes"] == nil {
		raw, err := within(raw)
		return raw, false, err
	}
	if status["compressedNodes"], err = Pack(status["nodes"]); err != nil {
		return nil, false, err
	}
	delete(status, "nodes")
	if raw, err = json.Marshal(status); err != nil {
		return nil, false, fmt.Errorf("%w: %w", ErrNotMirrorable, err)
	}
	if len(raw) <= maxStatusBytes {
		return raw, false, nil
	}
	delete(status, "compressedNodes")
	condition(status, ConditionCut, fmt.Sprintf("the nodes do not fit into %d bytes even compressed and were left out here; see them on the cluster itself", maxStatusBytes))
	if raw, err = json.Marshal(status); err != nil {
		return nil, false, fmt.Errorf("%w: %w", ErrNotMirrorable, err)
	}
	raw, err = within(raw)
	return raw, true, err
}

func within(raw json.RawMessage) (json.RawMessage, error) {
	if len(raw) > maxStatusBytes {
		return nil, fmt.Errorf("%w: without its nodes it still has %d bytes, more than %d", ErrNotMirrorable, len(raw), maxStatusBytes)
	}
	return raw, nil
}

// Unpacked reads a status, with its nodes under nodes even if they were packed, which is said. The errors are ErrNotMirrorable.
func Unpacked(raw json.RawMessage) (status map[string]any, packed bool, err error) {
	if status, err = decodeObject(raw); err != nil {
		return nil, false, err
	}
	text, packed := status["compressedNodes"].(string)
	if packed = packed && text != ""; packed {
		if status["nodes"], err = unpack(text); err != nil {
			return nil, false, err
		}
	}
	delete(status, "compressedNodes")
	return status, packed, nil
}

// Pack writes nodes as Argo does: JSON, gzip, base64 (util/file/fileutil.go, CompressEncodeString).
func Pack(nodes any) (string, error) {
	raw, err := json.Marshal(nodes)
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrNotMirrorable, err)
	}
	var buffer bytes.Buffer
	writer := gzip.NewWriter(&buffer)
	if _, err := writer.Write(raw); err != nil {
		return "", fmt.Errorf("%w: %w", ErrNotMirrorable, err)
	}
	if err := writer.Close(); err != nil {
		return "", fmt.Errorf("%w: %w", ErrNotMirrorable, err)
	}
	return base64.StdEncoding.EncodeToString(buffer.Bytes()), nil
}

func unpack(packed string) (map[string]any, error) {
	zipped, err := base64.StdEncoding.DecodeString(packed)
	if err != nil {
		return nil, fmt.Errorf("%w: compressedNodes: %w", ErrNotMirrorable, err)
	}
	reader, err := gzip.NewReader(bytes.NewReader(zipped))
	if err != nil {
		return nil, fmt.Errorf("%w: compressedNodes: %w", ErrNotMirrorable, err)
	}
	raw, err := io.ReadAll(io.LimitReader(reader, maxUnpackedBytes+1))
	if err != nil {
		return nil, fmt.Errorf("%w: compressedNodes: %w", ErrNotMirrorable, err)
	}
	if len(raw) > maxUnpackedBytes {
		return nil, fmt.Errorf("%w: compressedNodes unpack to more than %d bytes", ErrNotMirrorable, maxUnpackedBytes)
	}
	return decodeObject(raw)
}

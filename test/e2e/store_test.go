package e2e

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"strings"
	"testing"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"github.com/minio/minio-go/v7"
)

// read reads an object of the artifact store by its key.
func (f *fleet) read(t *testing.T, key string) string {
	t.Helper()
	object, err := f.objects.GetObject(t.Context(), f.store.Bucket, key, minio.GetObjectOptions{})
	if err != nil {
		t.Fatalf("read %s from the store: %v", key, err)
	}
	defer func() { _ = object.Close() }()
	raw, err := io.ReadAll(object)
	if err != nil {
		t.Fatalf("read %s from the store: %v", key, err)
	}
	return string(raw)
}

// stored reports whether the artifact store has an object.
func (f *fleet) stored(t *testing.T, key string) bool {
	t.Helper()
	_, err := f.objects.StatObject(t.Context(), f.store.Bucket, key, minio.StatObjectOptions{})
	if err != nil && minio.ToErrorResponse(err).Code != minio.NoSuchKey {
		t.Fatalf("look for %s in the store: %v", key, err)
	}
	return err == nil
}

// forget removes an object from the store, so that what is read later was written after this.
func (f *fleet) forget(t *testing.T, key string) {
	t.Helper()
	if err := f.objects.RemoveObject(t.Context(), f.store.Bucket, key, minio.RemoveObjectOptions{}); err != nil {
		t.Fatalf("remove %s from the store: %v", key, err)
	}
}

// keyOf is the key of an output artifact of a node, as its status has it.
func keyOf(t *testing.T, node wfv1.NodeStatus, artifact string) string {
	t.Helper()
	if node.Outputs != nil {
		for _, a := range node.Outputs.Artifacts {
			if a.Name == artifact && a.S3 != nil && a.S3.Key != "" {
				return a.S3.Key
			}
		}
	}
	t.Fatalf("node %s has no artifact %s with a key: %+v", node.DisplayName, artifact, node.Outputs)
	return ""
}

// unpack returns the content of the only file of a .tgz, which is how Argo stores an artifact without an archive strategy.
func unpack(t *testing.T, packed string) string {
	t.Helper()
	content, err := func() (string, error) {
		unzipped, err := gzip.NewReader(strings.NewReader(packed))
		if err != nil {
			return "", err
		}
		files := tar.NewReader(unzipped)
		if _, err := files.Next(); err != nil {
			return "", err
		}
		var content bytes.Buffer
		_, err = io.Copy(&content, files) //nolint:gosec // our own artifact
		if err != nil {
			return "", err
		}
		if next, err := files.Next(); err != io.EOF { //nolint:errorlint // io.EOF is returned as it is
			return "", fmt.Errorf("it holds more than one file: %v, %w", next, err)
		}
		return content.String(), nil
	}()
	if err != nil {
		t.Fatalf("unpack an artifact of %d bytes: %v", len(packed), err)
	}
	return content
}

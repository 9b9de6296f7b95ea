package images

import (
	"archive/tar"
	"bufio"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"sort"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"stellarflow.io/stellarflow/hack/fleet/components"
)

// entry is a file, link or directory of a layer. One with link is a symbolic link, one whose mode is a directory is
// that, all others are files, whose content is the file from of this machine, or data.
type entry struct {
	path string // absolute, in the image
	mode fs.FileMode
	from string
	data string
	link string
	user int // owner and group
}

// idLength is how many digits an identity has.
const idLength = 16

// layerRecipe changes when the way in which layers are written changes.
const layerRecipe = "layer 1"

// epoch is when everything in a layer was changed: the same files give the same digest.
var epoch = time.Unix(0, 0).UTC()

// complete returns the entries with the directories that lead to them, ordered, a later entry replacing an earlier one.
func complete(entries []entry) []entry {
	byPath := map[string]entry{}
	for _, e := range entries {
		e.path = path.Clean("/" + e.path)
		byPath[e.path] = e
	}
	for at := range byPath {
		for dir := path.Dir(at); dir != "/"; dir = path.Dir(dir) {
			if _, ok := byPath[dir]; !ok {
				byPath[dir] = entry{path: dir, mode: fs.ModeDir | 0o755}
			}
		}
	}
	all := make([]entry, 0, len(byPath))
	for _, e := range byPath {
		all = append(all, e)
	}
	sort.Slice(all, func(i, j int) bool { return all[i].path < all[j].path })
	return all
}

// identity returns a key that changes when what the layer holds changes. Files are told apart by name, size and time of
// change: reading them all would take longer than writing the layer.
func identity(entries []entry) (string, error) {
	h := sha256.New()
	fmt.Fprintln(h, layerRecipe)
	for _, e := range entries {
		fmt.Fprintf(h, "%q %v %q %q %d", e.path, e.mode, e.data, e.link, e.user)
		if e.from != "" {
			info, err := os.Stat(e.from)
			if err != nil {
				return "", fmt.Errorf("file %s of a layer: %w", e.path, err)
			}
			fmt.Fprintf(h, " %q %d %d", e.from, info.Size(), info.ModTime().UnixNano())
		}
		fmt.Fprintln(h)
	}
	return hex.EncodeToString(h.Sum(nil))[:idLength], nil
}

// layerAge is how long a layer is kept after it was written, once another of its name is.
const layerAge = 7 * 24 * time.Hour

// removeOld removes the layers of a name that were written before the time: each change of a program makes a new one.
func removeOld(dir, name string, before time.Time) {
	old, _ := filepath.Glob(filepath.Join(dir, name+"-*", layerInfo))
	for _, file := range old {
		info, err := os.Stat(file)
		layer := filepath.Dir(file)
		if err == nil && info.ModTime().Before(before) && len(filepath.Base(layer)) == len(name)+1+idLength {
			_ = os.RemoveAll(layer)
		}
	}
}

// newLayer returns the layer with these entries; it is written into the cache if it is not there, which is said to progress.
func newLayer(progress io.Writer, name string, entries []entry) (v1.Layer, error) {
	entries = complete(entries)
	id, err := identity(entries)
	if err != nil {
		return nil, err
	}
	dir, err := components.Cached(filepath.Join("layers", name+"-"+id), func(dir string) error {
		fmt.Fprintf(progress, "writing image layer %s\n", name)
		removeOld(filepath.Dir(dir), name, time.Now().Add(-layerAge))
		return writeLayer(dir, entries)
	})
	if err != nil {
		return nil, fmt.Errorf("layer %s: %w", name, err)
	}
	return openLayer(dir)
}

const (
	layerBlob = "layer.tar.gz"
	layerInfo = "layer.json"
)

// diskLayer is a layer in the cache, with its digests, so that it need not be read to be named.
type diskLayer struct {
	dir  string
	info struct {
		Digest v1.Hash `json:"digest"`
		DiffID v1.Hash `json:"diffID"`
		Size   int64   `json:"size"`
	}
}

var _ v1.Layer = (*diskLayer)(nil)

func openLayer(dir string) (*diskLayer, error) {
	layer := &diskLayer{dir: dir}
	data, err := os.ReadFile(filepath.Join(dir, layerInfo))
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(data, &layer.info); err != nil {
		return nil, fmt.Errorf("%s: %w; remove %s", layerInfo, err, dir)
	}
	return layer, nil
}

// Digest implements v1.Layer.
func (l *diskLayer) Digest() (v1.Hash, error) { return l.info.Digest, nil }

// DiffID implements v1.Layer.
func (l *diskLayer) DiffID() (v1.Hash, error) { return l.info.DiffID, nil }

// Size implements v1.Layer.
func (l *diskLayer) Size() (int64, error) { return l.info.Size, nil }

// MediaType implements v1.Layer.
func (l *diskLayer) MediaType() (types.MediaType, error) { return types.OCILayer, nil }

// Compressed implements v1.Layer.
func (l *diskLayer) Compressed() (io.ReadCloser, error) {
	return os.Open(filepath.Join(l.dir, layerBlob))
}

// Uncompressed implements v1.Layer.
func (l *diskLayer) Uncompressed() (io.ReadCloser, error) {
	file, err := l.Compressed()
	if err != nil {
		return nil, err
	}
	unzip, err := gzip.NewReader(bufio.NewReader(file))
	if err != nil {
		_ = file.Close()
		return nil, err
	}
	return struct {
		io.Reader
		io.Closer
	}{unzip, file}, nil
}

// writeLayer writes the layer's blob and its digests into dir.
func writeLayer(dir string, entries []entry) error {
	file, err := os.Create(filepath.Join(dir, layerBlob))
	if err != nil {
		return err
	}
	defer file.Close() //nolint:errcheck // the second Close, after an error
	compressed, uncompressed := sha256.New(), sha256.New()
	size := &counter{}
	// Level 1: the registry is on the same machine, and the layer is read more often than it is sent.
	zip, err := gzip.NewWriterLevel(io.MultiWriter(file, compressed, size), gzip.BestSpeed)
	if err != nil {
		return err
	}
	if err := writeTar(io.MultiWriter(zip, uncompressed), entries); err != nil {
		return err
	}
	if err := zip.Close(); err != nil {
		return err
	}
	layer := diskLayer{}
	layer.info.Digest, layer.info.DiffID, layer.info.Size = hashOf(compressed), hashOf(uncompressed), size.bytes
	data, err := json.Marshal(layer.info)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, layerInfo), data, 0o644); err != nil {
		return err
	}
	return file.Close()
}

type counter struct{ bytes int64 }

func (c *counter) Write(p []byte) (int, error) {
	c.bytes += int64(len(p))
	return len(p), nil
}

func hashOf(h hash.Hash) v1.Hash {
	return v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(h.Sum(nil))}
}

func writeTar(out io.Writer, entries []entry) error {
	archive := tar.NewWriter(out)
	for _, e := range entries {
		if err := writeEntry(archive, e); err != nil {
			return fmt.Errorf("file %s: %w", e.path, err)
		}
	}
	return archive.Close()
}

func writeEntry(archive *tar.Writer, e entry) error {
	header := &tar.Header{
		Name: strings.TrimPrefix(e.path, "/"), ModTime: epoch, Uid: e.user, Gid: e.user, Mode: int64(e.mode.Perm()), Format: tar.FormatPAX,
	}
	if e.mode&fs.ModeSticky != 0 {
		header.Mode |= 0o1000
	}
	content := io.Reader(strings.NewReader(e.data))
	switch {
	case e.link != "":
		header.Typeflag, header.Linkname, header.Mode = tar.TypeSymlink, e.link, 0o777
		return archive.WriteHeader(header)
	case e.mode.IsDir():
		header.Typeflag, header.Name = tar.TypeDir, header.Name+"/"
		return archive.WriteHeader(header)
	case e.from != "":
		file, err := os.Open(e.from)
		if err != nil {
			return err
		}
		defer file.Close() //nolint:errcheck // it is only read
		info, err := file.Stat()
		if err != nil {
			return err
		}
		header.Size, content = info.Size(), file
	default:
		header.Size = int64(len(e.data))
	}
	header.Typeflag = tar.TypeReg
	if err := archive.WriteHeader(header); err != nil {
		return err
	}
	_, err := io.Copy(archive, content)
	return err
}

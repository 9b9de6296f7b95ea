package images

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/google/go-containerregistry/pkg/v1/validate"

	"stellarflow.io/stellarflow/hack/fleet/components"
)

// fakeComponents are files that stand for what package components builds; nothing is built and the cache is empty.
func fakeComponents(t *testing.T) components.Paths {
	t.Helper()
	t.Setenv("STELLARFLOW_CACHE", t.TempDir())
	dir := t.TempDir()
	write := func(name, content string, mode fs.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	paths := components.Paths{
		components.Busybox:    write("busybox", "#!/bin/sh\nprintf '%s\\n' bin/busybox bin/sh usr/bin/env usr/bin/dpkg\n", 0o755),
		components.CACerts:    write("ca.crt", "certificates", 0o644),
		components.MimeTypes:  write("mime.types", "text/plain txt", 0o644),
		components.ZoneInfo:   filepath.Dir(write("zoneinfo/UTC", "utc", 0o644)),
		components.ArgoFiles:  filepath.Dir(write("argo-files/nsswitch.conf", "hosts: files dns", 0o644)),
		components.PythonRoot: filepath.Join(dir, "python"),
	}
	write("argo-files/ssh_known_hosts", "hosts", 0o644)
	write("python/usr/bin/python3.11", "python", 0o755)
	write("python/usr/lib/python3.11/json/__init__.py", "json", 0o644)
	for _, name := range []components.Name{Hub, "cowsay", "argosay", "pause", components.CoreDNS, components.WorkflowController, components.Argo, components.ArgoExec} {
		paths[name] = write(string(name), "program "+string(name), 0o755)
	}
	return paths
}

// contents returns what a container of the image would find, path by path.
func contents(t *testing.T, image v1.Image) map[string]*tar.Header {
	t.Helper()
	headers := map[string]*tar.Header{}
	reader := mutate.Extract(image)
	defer reader.Close() //nolint:errcheck // it is only read
	archive := tar.NewReader(reader)
	for {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return headers
		}
		if err != nil {
			t.Fatal(err)
		}
		headers["/"+strings.TrimSuffix(header.Name, "/")] = header
	}
}

func buildOne(t *testing.T, paths components.Paths, ref string) Image {
	t.Helper()
	images, err := Build(t.Context(), io.Discard, paths, ref)
	if err != nil {
		t.Fatal(err)
	}
	if len(images) != 1 {
		t.Fatalf("Build(%s) made %d images, want 1", ref, len(images))
	}
	return images[0]
}

func TestBuildAll(t *testing.T) {
	paths := fakeComponents(t)
	images, err := Build(t.Context(), io.Discard, paths)
	if err != nil {
		t.Fatal(err)
	}
	list, err := Read()
	if err != nil {
		t.Fatal(err)
	}
	if len(images) != len(list.All()) {
		t.Fatalf("Build made %d images, want all %d", len(images), len(list.All()))
	}
	for i, spec := range list.All() {
		if diff := cmp.Diff(spec.Refs, images[i].Refs); diff != "" {
			t.Errorf("refs (-want +got):\n%s", diff)
		}
		if err := validate.Image(images[i].Image); err != nil {
			t.Errorf("%s is not a valid image: %v", spec.Refs[0], err)
		}
		if kind, err := images[i].Image.MediaType(); err != nil || kind != types.OCIManifestSchema1 {
			t.Errorf("%s: media type %s, %v, want OCI", spec.Refs[0], kind, err)
		}
		checkCommand(t, spec, images[i].Image)
	}
}

// checkCommand looks whether what the image runs is in it, where its PATH leads.
func checkCommand(t *testing.T, spec Spec, image v1.Image) {
	t.Helper()
	program := append(append([]string{}, spec.Entrypoint...), spec.Cmd...)[0]
	files := contents(t, image)
	for _, dir := range []string{"", "/usr/local/bin/", "/usr/bin/", "/bin/"} {
		if files[dir+program] != nil {
			return
		}
	}
	t.Errorf("%s runs %q, which is not in it", spec.Refs[0], program)
}

func TestConfig(t *testing.T) {
	paths := fakeComponents(t)
	const search = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	for ref, want := range map[string]v1.Config{
		"quay.io/argoproj/workflow-controller:v3.7.18": {Entrypoint: []string{"workflow-controller"}, User: "8737", Env: []string{search}},
		"quay.io/argoproj/argocli:v3.7.18":             {Entrypoint: []string{"argo"}, User: "8737", WorkingDir: "/home/argo", Env: []string{search}},
		"quay.io/argoproj/argoexec:v3.7.18":            {Entrypoint: []string{"argoexec"}, Env: []string{search}},
		"python:alpine3.6":                             {Cmd: []string{"python3"}, Env: []string{search, "LANG=C.UTF-8"}},
		"stellarflow/hub":                              {Entrypoint: []string{"/hub"}, User: "65532:65532", Env: []string{search}},
	} {
		image := buildOne(t, paths, ref)
		file, err := image.Image.ConfigFile()
		if err != nil {
			t.Fatal(err)
		}
		got := file.Config
		got.Labels = nil
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: config (-want +got):\n%s", ref, diff)
		}
		if file.OS != "linux" || file.Architecture == "" || !file.Created.Equal(epoch) {
			t.Errorf("%s: %s/%s made %s, want linux, an architecture, and no time", ref, file.OS, file.Architecture, file.Created)
		}
		if diff := cmp.Diff([][]string{want.Entrypoint, want.Cmd}, [][]string{image.Entrypoint, image.Cmd}); diff != "" {
			t.Errorf("%s: entrypoint and cmd of Image (-want +got):\n%s", ref, diff)
		}
	}
}

func TestContents(t *testing.T) {
	paths := fakeComponents(t)
	for name, tc := range map[string]struct {
		ref   string
		modes map[string]int64
		links map[string]string
		gone  []string
	}{
		"the shell of a stand-in": {
			"alpine:3.7",
			map[string]int64{"/bin/busybox": 0o755, "/tmp": 0o1777, "/root": 0o700, "/etc/passwd": 0o644},
			map[string]string{"/bin/sh": "/bin/busybox", "/usr/bin/env": "/bin/busybox"},
			[]string{"/usr/bin/dpkg", "/usr/local/bin/cowsay"},
		},
		"Python": {
			"python:alpine3.6",
			map[string]int64{"/usr/bin/python3.11": 0o755, "/usr/lib/python3.11/json/__init__.py": 0o644},
			map[string]string{"/usr/local/bin/python": "/usr/bin/python3.11", "/usr/bin/python3": "/usr/bin/python3.11", "/bin/sh": "/bin/busybox"},
			nil,
		},
		"Argo's executor": {
			"quay.io/argoproj/argoexec:v3.7.18",
			map[string]int64{"/bin/argoexec": 0o755, "/etc/mime.types": 0o644, "/etc/nsswitch.conf": 0o644, "/etc/ssh/ssh_known_hosts": 0o644, "/usr/share/zoneinfo/UTC": 0o644, "/tmp": 0o1777},
			nil,
			[]string{"/bin/sh"},
		},
		"pause has nothing else": {"registry.k8s.io/pause:3.6", map[string]int64{"/pause": 0o755}, nil, []string{"/etc/passwd", "/tmp"}},
	} {
		t.Run(name, func(t *testing.T) {
			files := contents(t, buildOne(t, paths, tc.ref).Image)
			for path, mode := range tc.modes {
				if files[path] == nil || files[path].Mode != mode {
					t.Errorf("%s = %+v, want mode %o", path, files[path], mode)
				}
			}
			for path, target := range tc.links {
				if files[path] == nil || files[path].Linkname != target {
					t.Errorf("%s = %+v, want a link to %s", path, files[path], target)
				}
			}
			for _, path := range tc.gone {
				if files[path] != nil {
					t.Errorf("%s is there, want it absent", path)
				}
			}
			for path, header := range files {
				if !header.ModTime.Equal(epoch) {
					t.Errorf("%s has the time %s, want a fixed one", path, header.ModTime)
				}
			}
		})
	}
}

func TestDigestIsStable(t *testing.T) {
	paths := fakeComponents(t)
	digest := func() string {
		hash, err := buildOne(t, paths, "stellarflow/hub:latest").Image.Digest()
		if err != nil {
			t.Fatal(err)
		}
		return hash.String()
	}
	first := digest()
	later := time.Now().Add(time.Hour)
	if err := os.Chtimes(paths[Hub], later, later); err != nil {
		t.Fatal(err)
	}
	if got := digest(); got != first {
		t.Errorf("the same files with another time have digest %s, want %s", got, first)
	}
	t.Setenv("STELLARFLOW_CACHE", t.TempDir())
	if got := digest(); got != first {
		t.Errorf("the same files with an empty cache have digest %s, want %s", got, first)
	}
	if err := os.WriteFile(paths[Hub], []byte("another program"), 0o755); err != nil {
		t.Fatal(err)
	}
	if got := digest(); got == first {
		t.Errorf("another program has the same digest %s", got)
	}
}

func TestLayersAreCached(t *testing.T) {
	paths := fakeComponents(t)
	var said bytes.Buffer
	if _, err := Build(t.Context(), &said, paths, "alpine:3.7", "busybox"); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff("writing image layer base\nwriting image layer busybox\n", said.String()); diff != "" {
		t.Errorf("progress (-want +got):\n%s", diff)
	}
	said.Reset()
	images, err := Build(t.Context(), &said, paths, "alpine:3.7")
	if err != nil || said.Len() != 0 {
		t.Errorf("the second time it said %q, %v, want nothing", &said, err)
	}
	layers, err := images[0].Image.Layers()
	if err != nil {
		t.Fatal(err)
	}
	for _, layer := range layers {
		blob, err := layer.Compressed()
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(blob)
		if err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256(data)
		digest, _ := layer.Digest()
		size, _ := layer.Size()
		if digest.Hex != hex.EncodeToString(sum[:]) || size != int64(len(data)) {
			t.Errorf("the layer says %s, %d bytes; it has %x, %d bytes", digest, size, sum, len(data))
		}
	}
}

func TestBuildSaysWhatIsMissing(t *testing.T) {
	paths := fakeComponents(t)
	delete(paths, components.Busybox)
	if _, err := Build(t.Context(), io.Discard, paths, "alpine:3.7"); err == nil || !strings.Contains(err.Error(), "make image alpine:3.7: layer busybox needs component busybox") {
		t.Errorf("error = %v, want the image, the layer and the component", err)
	}
	if _, err := Build(t.Context(), io.Discard, paths, "alpine:4"); err == nil || !strings.Contains(err.Error(), "images.yaml") {
		t.Errorf("error = %v, want one that names the list", err)
	}
	paths[Hub] = filepath.Join(t.TempDir(), "none")
	if _, err := Build(t.Context(), io.Discard, paths, "stellarflow/hub"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error = %v, want that the program does not exist", err)
	}
}

func TestComplete(t *testing.T) {
	got := complete([]entry{{path: "/a/b/c", data: "1"}, {path: "/a", mode: fs.ModeDir | 0o700}, {path: "a/b/c", data: "2"}})
	want := []entry{{path: "/a", mode: fs.ModeDir | 0o700}, {path: "/a/b", mode: fs.ModeDir | 0o755}, {path: "/a/b/c", data: "2"}}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(entry{})); diff != "" {
		t.Errorf("entries (-want +got):\n%s", diff)
	}
}

func TestTree(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "d"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "d", "f"), nil, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("../x", filepath.Join(dir, "d", "l")); err != nil {
		t.Fatal(err)
	}
	got, err := tree(dir, "/at")
	if err != nil {
		t.Fatal(err)
	}
	want := []entry{
		{path: "/at/d", mode: fs.ModeDir | 0o755},
		{path: "/at/d/f", mode: 0o755, from: filepath.Join(dir, "d", "f")},
		{path: "/at/d/l", mode: fs.ModeSymlink | 0o777, link: "../x"},
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(entry{})); diff != "" {
		t.Errorf("entries (-want +got):\n%s", diff)
	}
}

func TestRemoveOld(t *testing.T) {
	dir := t.TempDir()
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	const id = "0123456789abcdef"
	ages := map[string]time.Duration{"argo-" + id: 3 * time.Hour, "argo-f" + id[1:]: time.Minute, "argo-base-" + id: 3 * time.Hour, "hub-" + id: 3 * time.Hour}
	for name, age := range ages {
		file := filepath.Join(dir, name, layerInfo)
		if err := os.Mkdir(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, nil, 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(file, now.Add(-age), now.Add(-age)); err != nil {
			t.Fatal(err)
		}
	}
	removeOld(dir, "argo", now.Add(-time.Hour))
	left, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, item := range left {
		names = append(names, item.Name())
	}
	if diff := cmp.Diff([]string{"argo-base-" + id, "argo-f" + id[1:], "hub-" + id}, names); diff != "" {
		t.Errorf("left are, the old one of the name being gone (-want +got):\n%s", diff)
	}
}

package images

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"sort"
	"strings"

	"stellarflow.io/stellarflow/hack/fleet/components"
)

// part is what a layer that images.yaml names is made of.
type part struct {
	needs   []components.Name
	entries func(ctx context.Context, progress io.Writer, from components.Paths) ([]entry, error)
}

// Hub names the binary of cmd/hub: a path for it in Build's paths is used instead of building the program.
const Hub components.Name = "hub"

// parts are the layers by name.
var parts = map[string]part{
	"base":                {[]components.Name{components.CACerts}, base},
	"busybox":             {[]components.Name{components.Busybox}, busybox},
	"python":              {[]components.Name{components.PythonRoot}, python},
	"argo-base":           {[]components.Name{components.ArgoFiles, components.MimeTypes, components.ZoneInfo}, argoBase},
	"cowsay":              ours("cowsay", "./hack/fleet/images/cowsay", "/usr/local/bin/cowsay"),
	"argosay":             ours("argosay", "./hack/fleet/images/argosay", "/argosay"),
	"pause":               ours("pause", "./hack/fleet/images/pause", "/pause"),
	"hub":                 ours(Hub, "./cmd/hub", "/hub"),
	"coredns":             component(components.CoreDNS, "/coredns"),
	"workflow-controller": component(components.WorkflowController, "/bin/workflow-controller"),
	"argo":                component(components.Argo, "/bin/argo"),
	"argoexec":            component(components.ArgoExec, "/bin/argoexec"),
}

func partNames() []string {
	names := make([]string, 0, len(parts))
	for name := range parts {
		names = append(names, name)
	}
	sort.Strings(names)
	return names
}

// component is a layer with one program of package components.
func component(name components.Name, at string) part {
	return part{[]components.Name{name}, func(_ context.Context, _ io.Writer, from components.Paths) ([]entry, error) {
		return []entry{{path: at, mode: 0o755, from: from[name]}}, nil
	}}
}

// ours is a layer with one program of this repository, which is built unless it is given.
func ours(name components.Name, pkg, at string) part {
	return part{nil, func(ctx context.Context, progress io.Writer, from components.Paths) ([]entry, error) {
		program := from[name]
		if program == "" {
			var err error
			if program, err = components.BuildProgram(ctx, progress, pkg); err != nil {
				return nil, err
			}
		}
		return []entry{{path: at, mode: 0o755, from: program}}, nil
	}}
}

const (
	passwd = `root:x:0:0:root:/root:/bin/sh
argo:x:8737:8737:argo:/home/argo:/bin/sh
nonroot:x:65532:65532:nonroot:/home/nonroot:/bin/sh
nobody:x:65534:65534:nobody:/nonexistent:/bin/false
`
	group = `root:x:0:
argo:x:8737:
nonroot:x:65532:
nogroup:x:65534:
`
	issue = `NAME="Stellarflow stand-in"
ID=stellarflow-stand-in
PRETTY_NAME="A stand-in made from local files, see hack/fleet/images/images.yaml"
`
)

// base is what programs expect of any system: users, /tmp, homes and certificates.
func base(_ context.Context, _ io.Writer, from components.Paths) ([]entry, error) {
	return []entry{
		{path: "/etc/passwd", mode: 0o644, data: passwd},
		{path: "/etc/group", mode: 0o644, data: group},
		{path: "/etc/os-release", mode: 0o644, data: issue},
		{path: "/etc/ssl/certs/ca-certificates.crt", mode: 0o644, from: from[components.CACerts]},
		{path: "/root", mode: fs.ModeDir | 0o700},
		{path: "/home/argo", mode: fs.ModeDir | 0o755, user: 8737},
		{path: "/home/nonroot", mode: fs.ModeDir | 0o700, user: 65532},
		{path: "/tmp", mode: fs.ModeDir | fs.ModeSticky | 0o777},
		{path: "/var/tmp", mode: fs.ModeDir | fs.ModeSticky | 0o777},
		{path: "/var/run", link: "/run"},
		{path: "/run", mode: fs.ModeDir | 0o755},
	}, nil
}

// busybox is the program and a link for each of its commands, at the place where it says that it belongs.
func busybox(ctx context.Context, _ io.Writer, from components.Paths) ([]entry, error) {
	program, err := filepath.EvalSymlinks(from[components.Busybox])
	if err != nil {
		return nil, fmt.Errorf("busybox: %w", err)
	}
	out, err := exec.CommandContext(ctx, program, "--list-full").Output()
	if err != nil {
		return nil, fmt.Errorf("ask %s for its commands: %w", program, err)
	}
	entries := []entry{{path: "/bin/busybox", mode: 0o755, from: program}}
	for _, command := range strings.Fields(string(out)) {
		// Those that pretend to be Debian's are of no use without its database.
		if slices.Contains([]string{"busybox", "dpkg", "dpkg-deb", "rpm", "rpm2cpio", "linuxrc"}, path.Base(command)) {
			continue
		}
		entries = append(entries, entry{path: "/" + command, link: "/bin/busybox"})
	}
	return entries, nil
}

// python is Debian's Python, under the names that the official image has too.
func python(_ context.Context, _ io.Writer, from components.Paths) ([]entry, error) {
	entries, err := tree(from[components.PythonRoot], "/")
	if err != nil {
		return nil, err
	}
	const program = "/usr/bin/python3.11"
	for _, name := range []string{"/usr/bin/python3", "/usr/bin/python", "/usr/local/bin/python3", "/usr/local/bin/python"} {
		entries = append(entries, entry{path: name, link: program})
	}
	return entries, nil
}

// argoBase is what Argo's Dockerfile copies beside the programs, and what its base image has.
func argoBase(_ context.Context, _ io.Writer, from components.Paths) ([]entry, error) {
	entries, err := tree(from[components.ZoneInfo], "/usr/share/zoneinfo")
	if err != nil {
		return nil, err
	}
	files := from[components.ArgoFiles]
	return append(entries,
		entry{path: "/etc/mime.types", mode: 0o644, from: from[components.MimeTypes]},
		entry{path: "/etc/nsswitch.conf", mode: 0o644, from: filepath.Join(files, "nsswitch.conf")},
		entry{path: "/etc/ssh/ssh_known_hosts", mode: 0o644, from: filepath.Join(files, "ssh_known_hosts")},
	), nil
}

// tree lists what is below a directory of this machine, to be put at a path of the image.
func tree(dir, at string) ([]entry, error) {
	var entries []entry
	err := filepath.WalkDir(dir, func(file string, item fs.DirEntry, err error) error {
		if err != nil || file == dir {
			return err
		}
		rel, err := filepath.Rel(dir, file)
		if err != nil {
			return err
		}
		info, err := item.Info()
		if err != nil {
			return err
		}
		e := entry{path: path.Join(at, filepath.ToSlash(rel)), mode: info.Mode()}
		switch {
		case info.Mode()&fs.ModeSymlink != 0:
			if e.link, err = os.Readlink(file); err != nil {
				return err
			}
		case info.Mode().IsRegular():
			e.from = file
		case !info.IsDir():
			return nil
		}
		entries = append(entries, e)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list the files of a layer: %w", err)
	}
	return entries, nil
}

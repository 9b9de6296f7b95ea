package components

import (
	"context"
	"path/filepath"
	"time"
)

// unit is one thing that is built on its own: a directory in the cache.
type unit struct {
	title    string        // "kubelet v1.34.4", for people
	dir      string        // its directory below the cache: name, version and key
	estimate time.Duration // a cold build on two cores
	disk     float64       // GB that a cold build needs, modules and Go's build cache included
	needs    []*unit       // must be there before build
	build    func(ctx context.Context, dir string) error
}

// environment is what every recipe depends on.
type environment struct {
	root      string // of the repository
	cache     string
	goVersion string // what `go env GOVERSION` says, with platform
	osRelease string // "debian-12/amd64"
}

// path is where the unit's directory is, or will be.
func (e *environment) path(u *unit) string { return filepath.Join(e.cache, u.dir) }

// provided says which unit a Name comes with and where in its directory it is.
type provided struct {
	unit *unit
	file string
}

// catalog returns what provides each Name.
func (e *environment) catalog() (map[Name]provided, error) {
	tools, python := e.debianTools(), e.debianImages()
	driver, err := e.playwright()
	if err != nil {
		return nil, err
	}
	all := map[Name]provided{
		DebianBin:  {tools, "bin"},
		CNIPlugins: {tools, "root/usr/lib/cni"},
		PythonRoot: {python, "python"},
		CACerts:    {python, "ca-certificates.crt"},
		MimeTypes:  {python, "mime.types"},
		ZoneInfo:   {python, "zoneinfo"},
		NATSServer: {e.debianNATS(), "root/usr/sbin/nats-server"},
		PostgreSQL: {e.debianPostgreSQL(), "root"},
		Chromium:   {e.debianChromium(), "chromium"},
		Playwright: {driver, "node_modules"},
	}
	for _, name := range []Name{Containerd, Shim, Ctr, Runc, Iptables, Conntrack, IP, Busybox} {
		all[name] = provided{tools, "bin/" + string(name)}
	}
	gos, err := e.goUnits()
	if err != nil {
		return nil, err
	}
	for name, u := range gos {
		all[name] = provided{u, string(name)}
	}
	argos, err := e.argoUnits()
	if err != nil {
		return nil, err
	}
	for name, u := range argos {
		all[name] = provided{u, string(name)}
	}
	return all, nil
}

// missing returns what has to be built for the units, what is needed first coming first.
func missing(units []*unit, have func(*unit) bool) []*unit {
	var plan []*unit
	seen := map[string]bool{}
	var visit func(u *unit)
	visit = func(u *unit) {
		if seen[u.dir] || have(u) {
			return
		}
		seen[u.dir] = true
		for _, need := range u.needs {
			visit(need)
		}
		plan = append(plan, u)
	}
	for _, u := range units {
		visit(u)
	}
	return plan
}

package components

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"time"
)

// Ensure returns where the named things are (All and Extra), building first what the cache lacks. To progress it writes what it builds, which number of how many, and roughly how long that takes; nothing if
// nothing is built. Another Ensure on the same cache waits for this one. An error of a build holds its command and the
// end of its output; what was built before it stays.
func Ensure(ctx context.Context, progress io.Writer, names ...Name) (Paths, error) {
	env, goCaches, err := discover(ctx)
	if err != nil {
		return nil, err
	}
	catalog, err := env.catalog()
	if err != nil {
		return nil, err
	}
	paths := make(Paths, len(names))
	units := make([]*unit, 0, len(names))
	for _, name := range names {
		p, ok := catalog[name]
		if !ok {
			return nil, fmt.Errorf("component %q is not known; known are %q", name, append(All(), Extra()...))
		}
		paths[name] = filepath.Join(env.path(p.unit), p.file)
		units = append(units, p.unit)
	}
	return paths, env.buildMissing(ctx, progress, units, goCaches)
}

// buildMissing builds what the cache lacks of the units, one after the other: each fills the machine by itself.
func (e *environment) buildMissing(ctx context.Context, progress io.Writer, units []*unit, goCaches []string) error {
	have := func(u *unit) bool { return exists(e.path(u)) }
	if len(missing(units, have)) == 0 {
		return nil
	}
	unlock, err := lock(ctx, filepath.Join(e.cache, "build.lock"), func() {
		fmt.Fprintf(progress, "waiting for another build that fills %s ...\n", e.cache)
	})
	if err != nil {
		return err
	}
	defer unlock()
	plan := missing(units, have) // what the other has built is there now
	if len(plan) == 0 {
		return nil
	}
	if err := checkDisk(e.cache, plan, goCaches, freeDisk, sizeOf); err != nil {
		return err
	}
	left := time.Duration(0)
	for _, u := range plan {
		left += u.estimate
		sweep(filepath.Dir(e.path(u)))
	}
	fmt.Fprintf(progress, "building %d parts that are not in %s, about %s on two cores\n", len(plan), e.cache, about(left))
	for i, u := range plan {
		left -= u.estimate
		s := step{out: progress, now: time.Now, number: i + 1, total: len(plan), title: u.title, estimate: u.estimate, left: left}
		err := s.run(func() error {
			return publish(e.path(u), func(dir string) error { return u.build(ctx, dir) })
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// discover looks at the machine: the repository, the cache and Go.
func discover(ctx context.Context) (*environment, []string, error) {
	root, err := Root()
	if err != nil {
		return nil, nil, err
	}
	cache, err := CacheDir()
	if err != nil {
		return nil, nil, err
	}
	out, err := command{dir: root, env: goEnv(), argv: []string{"go", "env", "-json", "GOVERSION", "GOOS", "GOARCH", "GOCACHE", "GOMODCACHE"}}.output(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("ask go for its version: %w", err)
	}
	var goEnv struct{ GOVERSION, GOOS, GOARCH, GOCACHE, GOMODCACHE string }
	if err := json.Unmarshal(out, &goEnv); err != nil {
		return nil, nil, fmt.Errorf("ask go for its version: %w", err)
	}
	env := &environment{
		root: root, cache: cache,
		goVersion: strings.Join([]string{goEnv.GOVERSION, goEnv.GOOS, goEnv.GOARCH}, "/"),
		osRelease: osRelease("/etc/os-release") + "/" + goEnv.GOARCH,
	}
	return env, []string{goEnv.GOCACHE, goEnv.GOMODCACHE}, nil
}

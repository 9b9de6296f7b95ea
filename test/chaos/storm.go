package chaos

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
	"stellarflow.io/stellarflow/test/chaos/fault"
	"stellarflow.io/stellarflow/test/chaos/history"
)

// blow breaks and mends one thing after the other until ctx ends. What it broke last is mended by heal. It has a lull while it is
// crowded: on a slow machine nothing would ever end between two faults.
func (r *run) blow(ctx context.Context, l *lane) error {
	for pause(ctx, 100*time.Millisecond) == nil {
		for r.crowded() && pause(ctx, 100*time.Millisecond) == nil {
		}
		e := l.next()
		r.log.Fault("begin: %s", e)
		r.faults.Add(1)
		if err := r.strike(ctx, e); err != nil {
			return fmt.Errorf("%s: %w", e, err)
		}
		r.log.Fault("end: %s", e)
		_ = pause(ctx, e.gap) // ends early with ctx, as the loop then does
	}
	return nil
}

// strike does one episode, from the break to the mending.
func (r *run) strike(ctx context.Context, e episode) error {
	s := r.fleet.servers[e.target]
	wait := func() { _ = pause(ctx, e.lasts) }
	switch e.kind {
	case kill, second, exLeader, clone:
		r.strikeManager(e, wait)
		return nil
	case stopAPI:
		s.api.kill()
		wait()
		r.serves(s)
		return s.start(ctx)
	case hangAPI:
		s.api.signal(syscall.SIGSTOP)
		wait()
		s.api.signal(syscall.SIGCONT)
	case stopEtcd:
		return r.copyEtcd(ctx, s)
	case restore:
		return r.setBack(r.people.ctx, s, wait) // to its end, also if ctx ends: what was set back and is not recorded again is lost
	case refuseNet, holdNet, slowNet:
		r.disturb(e.target, e.net, false)
		wait()
		r.disturb(e.target, mode{}, e.cut)
	case answer, lose, drop, delay, stale, wrongClock:
		if a := r.argos[e.target]; a != nil {
			a.skew.Store(int64(e.setting.Skew))
			defer a.skew.Store(0)
		}
		r.suffer(e.target, e.setting)
		wait()
		r.suffer(e.target, fault.Setting{})
	case empty, missing:
		r.suffer(e.target, e.setting)
		_ = pause(ctx, fault.Notice)
		r.disturb(e.target, mode{}, true) // so that everything is listed anew
		wait()
		r.suffer(e.target, fault.Setting{})
		_ = pause(ctx, fault.Notice)
		r.disturb(e.target, mode{}, true) // what believed in the empty list finds out
	}
	return nil
}

// strikeManager is about the two places where a manager may run: a always does, b sometimes.
func (r *run) strikeManager(e episode, wait func()) {
	a, b := r.slots[0], r.slots[1]
	switch e.kind {
	case kill:
		a.run(r.Alone, e.exit)
		a.kill()
		wait()
	case second:
		b.run(false, "")
		wait()
		a.kill()
		wait()
		b.end(r.log)
	case exLeader:
		b.run(false, "")
		wait()
		a.signal(syscall.SIGSTOP)
		r.log.Add(history.Record{Kind: history.Began, Text: "manager b takes over"})
		wait()
		a.signal(syscall.SIGCONT)
		wait()
		b.end(r.log)
	case clone:
		b.run(true, "")
		wait()
		b.end(r.log)
	}
}

// disturb sets what the network between the manager and an API server does; that of the hub asks it, too.
func (r *run) disturb(target string, m mode, cut bool) {
	if target != history.Hub {
		r.proxies[target].set(m, cut)
		return
	}
	r.slots[0].proxy.set(m, cut)
	r.fleet.webhooks.set(m, cut)
}

// suffer sets what the traffic of the managers with a target suffers.
func (r *run) suffer(target string, setting fault.Setting) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.settings[target] = setting
	for _, s := range r.slots {
		settings := fault.Settings{}
		for target, setting := range r.settings {
			if target == history.Hub {
				settings[s.proxy.address()] = setting
			} else {
				settings[r.proxies[target].address()] = setting
			}
		}
		if err := fault.Write(s.files[fault.EnvFile], settings); err != nil {
			r.log.Fault("cannot write the faults: %v", err)
		}
	}
}

// copyEtcd kills an etcd, keeps a copy of its data and starts it again.
func (r *run) copyEtcd(ctx context.Context, s *server) error {
	copied, err := s.snapshot(ctx)
	if err != nil {
		return err
	}
	if err := os.RemoveAll(filepath.Dir(r.snapshots[s.name])); err != nil {
		return err
	}
	r.snapshots[s.name] = copied
	return s.ready(ctx)
}

// setBack restores the last copy of an etcd.
func (r *run) setBack(ctx context.Context, s *server, wait func()) error {
	book := r.recorders[s.name]
	err := s.restore(ctx, r.snapshots[s.name], func() error {
		if err := book.Drain(ctx); err != nil {
			return err
		}
		r.people.forgetAll(s.name)
		r.argos[s.name].forgetAll()
		if pods := r.pods[s.name]; pods != nil {
			pods.forgetAll()
		}
		return nil
	}, func() error {
		r.serves(s)
		return book.Start(r.people.ctx, true)
	})
	wait()
	return err
}

// serves notes that an API server begins.
func (r *run) serves(s *server) {
	if s.name == history.Hub {
		r.log.Add(history.Record{Kind: history.Served, Cluster: s.name})
	}
}

// heal mends everything that may be broken.
func (r *run) heal(ctx context.Context) error {
	for target := range r.settings {
		r.suffer(target, fault.Setting{})
	}
	for name, s := range r.fleet.servers {
		s.etcd.signal(syscall.SIGCONT)
		s.api.signal(syscall.SIGCONT)
		r.serves(s)
		if err := s.start(ctx); err != nil {
			return err
		}
		r.argos[name].skew.Store(0)
		r.disturb(name, mode{}, true)
	}
	r.slots[0].signal(syscall.SIGCONT)
	r.slots[0].run(r.Alone, "")
	r.slots[1].end(r.log)
	return nil
}

// tidy is what a person does with Workflows that say that they wait for one: resumes or deletes them.
func (r *run) tidy() {
	r.people.resumeAll()
	for _, w := range r.people.list(history.Hub) {
		message := history.Of(w).Message + w.GetAnnotations()[stellarflow.AnnotationSync]
		for _, word := range []string{"or create this one under another name", "runs there (hub UID ", "the hub was restored from a backup", "the WEC copy is older than what was mirrored before"} {
			if strings.Contains(message, word) && w.GetDeletionTimestamp() == nil {
				r.log.Fault("a person deletes %s/%s: %s", w.GetNamespace(), w.GetName(), message)
				r.people.delete(w.GetNamespace(), w.GetName())
			}
		}
	}
}

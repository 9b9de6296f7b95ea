package process

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Lock is a lock on a directory, held by at most one process.
type Lock struct{ f *os.File }

// LockDir makes the directory and locks it. While another process holds the
// lock it waits, and calls waiting once.
func LockDir(ctx context.Context, dir string, waiting func()) (*Lock, error) {
	for told := false; ; {
		l, err := tryLock(dir)
		if err == nil {
			return l, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("lock %s: %w", dir, err)
		}
		if !told {
			waiting()
			told = true
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("lock %s: another fleet command holds it: %w", dir, ctx.Err())
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func tryLock(dir string) (*Lock, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = f.Close()
		return nil, err
	}
	// The directory may have been removed by the one that held the lock.
	held, err1 := f.Stat()
	there, err2 := os.Stat(dir)
	if err1 != nil || err2 != nil || !os.SameFile(held, there) {
		_ = f.Close()
		return nil, unix.EWOULDBLOCK
	}
	return &Lock{f: f}, nil
}

// Unlock gives the lock back.
func (l *Lock) Unlock() { _ = l.f.Close() }

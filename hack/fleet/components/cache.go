package components

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// hashKey returns 12 hex digits that change whenever a part does. Parts are delimited by their length, so that moving a
// byte from one to the next is a change too.
func hashKey(parts ...string) string {
	h := sha256.New()
	for _, p := range parts {
		fmt.Fprintf(h, "%d:%s", len(p), p)
	}
	return hex.EncodeToString(h.Sum(nil))[:12]
}

// publish calls fill with a new directory and renames it to final when fill has succeeded: final is complete or absent.
func publish(final string, fill func(dir string) error) error {
	if err := os.MkdirAll(filepath.Dir(final), 0o755); err != nil {
		return fmt.Errorf("create the cache: %w", err)
	}
	tmp, err := os.MkdirTemp(filepath.Dir(final), ".tmp-"+filepath.Base(final)+"-")
	if err != nil {
		return fmt.Errorf("create the cache: %w", err)
	}
	defer os.RemoveAll(tmp) //nolint:errcheck // what stays is found by sweep
	if err := os.Chmod(tmp, 0o755); err != nil {
		return fmt.Errorf("create the cache: %w", err)
	}
	if err := fill(tmp); err != nil {
		return err
	}
	if err := os.Rename(tmp, final); err != nil && !exists(final) {
		return fmt.Errorf("put %s into the cache: %w", filepath.Base(final), err)
	}
	return nil
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// sweep removes what builds that were killed have left in dir. Call it with the lock held only.
func sweep(dir string) {
	left, _ := filepath.Glob(filepath.Join(dir, ".tmp-*"))
	for _, path := range left {
		_ = os.RemoveAll(path)
	}
}

const lockPoll = 500 * time.Millisecond

// lock takes the lock that is kept at path, which one process on the machine can hold; waiting is called once when
// someone else has it. The lock ends with the process at the latest.
func lock(ctx context.Context, path string, waiting func()) (unlock func(), err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("create the cache: %w", err)
	}
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("lock the cache: %w", err)
	}
	for first := true; ; first = false {
		err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return func() { _ = file.Close() }, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			_ = file.Close()
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
		if first && waiting != nil {
			waiting()
		}
		select {
		case <-ctx.Done():
			_ = file.Close()
			return nil, fmt.Errorf("wait for another build, which holds %s: %w", path, ctx.Err())
		case <-time.After(lockPoll):
		}
	}
}

// Cached returns the directory of the cache at the relative path; fill makes its content if it is not there. Two that
// fill the same directory at once both succeed, one of them in vain.
func Cached(path string, fill func(dir string) error) (string, error) {
	cache, err := CacheDir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, path)
	if exists(dir) {
		return dir, nil
	}
	return dir, publish(dir, fill)
}

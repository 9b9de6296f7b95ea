package components

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

const (
	gigabyte = 1e9
	// diskReserve is what is left free beside what a build needs, for images and for the fleet.
	diskReserve = 3.0
)

// checkDisk refuses to begin builds that would fill the disk. goCaches are directories that hold what earlier builds
// downloaded and compiled, which has not to be stored again.
func checkDisk(cache string, plan []*unit, goCaches []string, free func(string) (float64, error), size func(string) float64) error {
	need := diskReserve
	for _, u := range plan {
		need += u.disk
	}
	dirs := append([]string{cache}, goCaches...)
	tightest, least := "", 0.0
	for _, dir := range dirs {
		gb, err := free(dir)
		if err != nil {
			return fmt.Errorf("look how much disk is free: %w", err)
		}
		if tightest == "" || gb < least {
			tightest, least = dir, gb
		}
	}
	if least >= need {
		return nil
	}
	stored := 0.0
	for _, dir := range goCaches {
		stored += size(dir)
	}
	if need = max(need-stored, diskReserve); least >= need {
		return nil
	}
	return fmt.Errorf("%.0f GB are free on the disk of %s, and building %d missing parts needs about %.0f GB (Go modules and Go's build cache included); "+
		"free some space, or put the caches on another disk with STELLARFLOW_CACHE, GOCACHE and GOMODCACHE", least, tightest, len(plan), need)
}

// freeDisk returns how many GB we can still write where path is, or is going to be.
func freeDisk(path string) (float64, error) {
	for ; !exists(path) && path != filepath.Dir(path); path = filepath.Dir(path) {
	}
	var stat syscall.Statfs_t
	if err := syscall.Statfs(path, &stat); err != nil {
		return 0, &os.PathError{Op: "statfs", Path: path, Err: err}
	}
	return float64(stat.Bavail) * float64(stat.Bsize) / gigabyte, nil
}

// sizeOf returns how many GB the files below dir have, as far as they can be read.
func sizeOf(dir string) float64 {
	total := int64(0)
	_ = filepath.WalkDir(dir, func(_ string, entry fs.DirEntry, err error) error {
		if err != nil {
			return nil //nolint:nilerr // what cannot be read is not counted
		}
		if info, err := entry.Info(); err == nil && info.Mode().IsRegular() {
			total += info.Size()
		}
		return nil
	})
	return float64(total) / gigabyte
}

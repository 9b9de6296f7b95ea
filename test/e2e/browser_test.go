package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"stellarflow.io/stellarflow/hack/fleet/components"
)

// envPictures, if it is set, is the directory that the pictures of Argo's UI are written to; `make pictures` sets it.
const envPictures = "E2E_PICTURES"

// browser is Debian's Chromium, with which testdata/ui/visit.js does in the hub's Argo UI what a person does.
type browser struct {
	*fleet
	chromium, modules string
	pictures          string
	namespace         string
}

// browser builds what it needs. The pictures stay if the test fails.
func (f *fleet) browser(t *testing.T, namespace string) *browser {
	t.Helper()
	programs, err := components.Ensure(t.Context(), os.Stdout, components.Chromium, components.Playwright)
	if err != nil {
		t.Fatal(err)
	}
	b := &browser{
		fleet: f, chromium: programs[components.Chromium], modules: programs[components.Playwright], pictures: os.Getenv(envPictures), namespace: namespace,
	}
	if b.pictures != "" {
		return b
	}
	if b.pictures, err = os.MkdirTemp("", "stellarflow-pictures-"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("pictures of Argo's UI are in %s", b.pictures)
			return
		}
		_ = os.RemoveAll(b.pictures)
	})
	return b
}

// visit plays a scenario of visit.js on a Workflow and reads into seen what it saw. No request of the page may have failed, and nothing be on its
// console. Of the browser nothing is left afterwards, neither files nor processes. What the scenario waits for once it has made the file sign is
// done by signed.
func (b *browser) visit(t *testing.T, scenario, workflow string, settings map[string]any, seen any, signed ...func()) {
	t.Helper()
	home := t.TempDir()
	result, sign := filepath.Join(home, "result.json"), filepath.Join(home, "sign")
	all := map[string]any{
		"scenario": scenario, "url": b.setting("ARGO_URL"), "chromium": b.chromium, "patience": moment.Seconds(), "pictures": b.pictures, "result": result,
		"namespace": b.namespace, "workflow": workflow, "sign": sign,
	}
	for key, value := range settings {
		all[key] = value
	}
	raw, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	env := []string{"NODE_PATH=" + b.modules, "HOME=" + home, "TMPDIR=" + home, "XDG_CACHE_HOME=", "XDG_CONFIG_HOME="}
	t.Cleanup(func() {
		for pid := range processesOf(home) {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	})
	ended := make(chan error, 1)
	go func() {
		_, err := b.try(t.Context(), env, "node", "test/e2e/testdata/ui/visit.js", string(raw))
		ended <- err
	}()
	for _, do := range signed {
		eventually(t, patience, "the browser sees what "+scenario+" waits for", func(context.Context) error {
			_, err := os.Stat(sign)
			select {
			case failed := <-ended:
				ended <- failed
				if err != nil {
					return finalError{fmt.Errorf("it has ended before that: %w; pictures are in %s", failed, b.pictures)}
				}
			default:
			}
			return err
		})
		do()
	}
	if err := <-ended; err != nil {
		t.Fatalf("%s: %v\npictures are in %s", scenario, err, b.pictures)
	}
	eventually(t, moment, "nothing of the browser runs any more", func(context.Context) error {
		if left := processesOf(home); len(left) > 0 {
			return fmt.Errorf("it has left %v", left)
		}
		return nil
	})
	answer, err := os.ReadFile(result)
	var common struct{ Problems []string }
	if err = errors.Join(err, json.Unmarshal(answer, &common), json.Unmarshal(answer, seen)); err != nil {
		t.Fatalf("%s: read what the browser saw: %v: %s", scenario, err, answer)
	}
	for _, problem := range common.Problems {
		t.Errorf("%s: %s", scenario, problem)
	}
}

// processesOf are the command lines of the processes whose temporary directory is dir.
func processesOf(dir string) map[int]string {
	found := map[int]string{}
	files, _ := filepath.Glob("/proc/[0-9]*/environ")
	for _, file := range files {
		environment, err := os.ReadFile(file)
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		if err != nil || pid == 0 || !slices.Contains(strings.Split(string(environment), "\x00"), "TMPDIR="+dir) {
			continue
		}
		line, _ := os.ReadFile(filepath.Join(filepath.Dir(file), "cmdline"))
		found[pid] = strings.ReplaceAll(string(line), "\x00", " ")
	}
	return found
}

package components

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const testPackage = `{
  "name": "argo-workflows-ui",
  "dependencies": {"argo-ui": "git+https://github.com/argoproj/argo-ui.git#54f36c7", "react": "^18.3.1"},
  "resolutions": {"semver": "^7.5.2"}
}`

const testLock = `# yarn lockfile v1


"@adobe/css-tools@^4.4.0":
  version "4.4.4"
  resolved "https://registry.yarnpkg.com/@adobe/css-tools/-/css-tools-4.4.4.tgz#28"

"argo-ui@git+https://github.com/argoproj/argo-ui.git#54f36c7":
  version "1.0.0"
  resolved "git+https://github.com/argoproj/argo-ui.git#54f36c7"

uuid@^9.0.0:
  version "9.0.1"
  resolved "https://registry.yarnpkg.com/uuid/-/uuid-9.0.1.tgz#e1"
`

func TestPrepareUI(t *testing.T) {
	dir := t.TempDir()
	for name, content := range map[string]string{"package.json": testPackage, "yarn.lock": testLock, ".yarnrc": "--install.frozen-lockfile true\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := prepareUI(dir, "https://npm.example.org/mirror"); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(dir, "package.json"))
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal(data, &got); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"name":         "argo-workflows-ui",
		"dependencies": map[string]any{"argo-ui": "1.0.0", "react": "^18.3.1"},
		"resolutions":  map[string]any{"semver": "^7.5.2", "uuid": "3.4.0"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("package.json (-want +got):\n%s", diff)
	}
	lock, err := os.ReadFile(filepath.Join(dir, "yarn.lock"))
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(lock), "github.com") || strings.Contains(string(lock), "yarnpkg.com") {
		t.Errorf("yarn.lock still names something other than the registry:\n%s", lock)
	}
	for _, kept := range []string{"https://npm.example.org/mirror/@adobe/css-tools/-/css-tools-4.4.4.tgz#28", "\n\nuuid@^9.0.0:\n"} {
		if !strings.Contains(string(lock), kept) {
			t.Errorf("yarn.lock lacks %q:\n%s", kept, lock)
		}
	}
	if exists(filepath.Join(dir, ".yarnrc")) {
		t.Error(".yarnrc is still there, and demands a complete lock file")
	}
}

func TestPatchPackageRefusesAnother(t *testing.T) {
	if _, err := patchPackage([]byte(`{"dependencies": {}}`)); err == nil || !strings.Contains(err.Error(), "resolutions") {
		t.Errorf("error = %v, want one that names what is missing", err)
	}
}

package components

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestChromiumIsUnpackedAndFindsItsLibrariesWhereItEndsUp(t *testing.T) {
	env := testEnvironment(t)
	env.cache = filepath.Join(t.TempDir(), "my cache") // a space in the path, as a home directory may have
	log := filepath.Join(t.TempDir(), "calls")
	fakeApt(t, log)
	const program = "#!/bin/sh\nprintf '%s|' \"$LD_LIBRARY_PATH\" \"$FONTCONFIG_FILE\" \"$@\"\n"
	fakePrograms(t, map[string]string{"dpkg-deb": `
mkdir -p "$3/usr/lib/chromium" "$3/usr/lib/x86_64-linux-gnu/pulseaudio" "$3/lib/x86_64-linux-gnu" "$3/usr/share/doc"
cat > "$3/usr/lib/chromium/chromium" <<'END'
` + program + `END
chmod +x "$3/usr/lib/chromium/chromium"`})
	u := env.debianChromium()
	if err := publish(env.path(u), func(dir string) error { return u.build(testContext(t), dir) }); err != nil {
		t.Fatal(err)
	}
	root := filepath.Join(env.path(u), "root")
	want := strings.Join([]string{
		root + "/usr/lib/x86_64-linux-gnu:" + root + "/lib/x86_64-linux-gnu:" + root + "/usr/lib/x86_64-linux-gnu/pulseaudio", filepath.Join(env.path(u), "fonts.conf"), "--headless", "a b", "",
	}, "|")
	out, err := exec.Command(filepath.Join(env.path(u), "chromium"), "--headless", "a b").Output()
	if err != nil || string(out) != want {
		t.Errorf("chromium: got %q, %v, want %q", out, err, want)
	}
	fonts, err := os.ReadFile(filepath.Join(env.path(u), "fonts.conf"))
	if err != nil || !strings.Contains(string(fonts), "<dir>"+root+"/usr/share/fonts</dir>") {
		t.Errorf("fonts.conf is %q, %v", fonts, err)
	}
	if exists(filepath.Join(root, "usr/share/doc")) {
		t.Error("what no program reads is kept")
	}
}

func TestChromiumThatDoesNotRunIsNotKept(t *testing.T) {
	env := testEnvironment(t)
	fakeApt(t, filepath.Join(t.TempDir(), "calls"))
	fakePrograms(t, map[string]string{"dpkg-deb": `
mkdir -p "$3/usr/lib/chromium" "$3/usr/lib/x86_64-linux-gnu/pulseaudio" "$3/lib/x86_64-linux-gnu"
printf '#!/bin/sh\necho libnss3.so: cannot open shared object file >&2; exit 127\n' > "$3/usr/lib/chromium/chromium"
chmod +x "$3/usr/lib/chromium/chromium"`})
	u := env.debianChromium()
	err := publish(env.path(u), func(dir string) error { return u.build(testContext(t), dir) })
	if err == nil || !strings.Contains(err.Error(), "libnss3.so") || exists(env.path(u)) {
		t.Errorf("error = %v, want what the browser said, and nothing in the cache", err)
	}
}

func TestChromiumPackagesAreListedOnce(t *testing.T) {
	sorted := slices.Clone(chromiumPackages)
	slices.Sort(sorted)
	if n := len(slices.Compact(sorted)); n != len(chromiumPackages) {
		t.Errorf("%d packages are listed, %d different ones", len(chromiumPackages), n)
	}
	for _, name := range []string{"libc6", "libgcc-s1", "libstdc++6"} { // those must fit the machine's loader and compiler
		if slices.Contains(chromiumPackages, name) {
			t.Errorf("%s is listed, which every Debian machine has", name)
		}
	}
}

func TestPlaywrightIsWhatTheLockFilePins(t *testing.T) {
	env := copyOfPins(t)
	calls := filepath.Join(t.TempDir(), "calls")
	fakePrograms(t, map[string]string{"npm": `
echo "$*" > ` + calls + `
mkdir -p "$npm_config_cache" node_modules/playwright-core
cp package-lock.json node_modules/playwright-core`})
	u, err := env.playwright()
	if err != nil {
		t.Fatal(err)
	}
	if err := publish(env.path(u), func(dir string) error { return u.build(testContext(t), dir) }); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(calls); err != nil || !strings.HasPrefix(string(got), "ci --ignore-scripts ") {
		t.Errorf("npm was called with %q, %v, want ci without scripts", got, err)
	}
	if exists(filepath.Join(env.path(u), "npm")) {
		t.Error("what npm downloaded is kept beside what it installed")
	}
	lock := filepath.Join(env.root, "hack/tools/browser/package-lock.json")
	if same, err := sameFile(lock, filepath.Join(env.path(u), "node_modules/playwright-core/package-lock.json")); err != nil || !same {
		t.Errorf("npm did not see the lock file: %v", err)
	}
	data, err := os.ReadFile(lock)
	if err != nil || strings.Contains(string(data), "resolved") {
		t.Errorf("the lock file names where packages come from, which is not the same for everybody: %v", err)
	}
	if err := os.WriteFile(lock, append(data, '\n'), 0o644); err != nil {
		t.Fatal(err)
	}
	if other, err := env.playwright(); err != nil || other.dir == u.dir {
		t.Errorf("another lock file has the same directory %s (%v)", u.dir, err)
	}
}

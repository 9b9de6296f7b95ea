package components

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// fakePrograms puts shell scripts before everything else on PATH.
func fakePrograms(t *testing.T, scripts map[string]string) {
	t.Helper()
	dir := t.TempDir()
	for name, script := range scripts {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\nset -eu\n"+script), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
}

// fakeApt has lists that are missing until apt-get update was called; log holds the calls.
func fakeApt(t *testing.T, log string) {
	t.Helper()
	fakePrograms(t, map[string]string{
		"apt-get": `
while [ "${1#-}" != "$1" ]; do case $1 in -o) shift 2;; *) shift;; esac; done
echo "$*" >> ` + log + `
case $1 in
update) touch ` + log + `.updated;;
download)
  shift
  [ -e ` + log + `.updated ] || { echo "E: Can't find a source to download version" >&2; exit 100; }
  for p; do echo "$p" > "${p}_1%3a2_amd64.deb"; done;;
esac`,
		"dpkg-deb": `mkdir -p "$3/doc"; cat "$2" > "$3/doc/$(cat "$2")"`,
	})
}

func TestUnpackPackagesUpdatesMissingLists(t *testing.T) {
	work := t.TempDir()
	log := filepath.Join(t.TempDir(), "calls")
	fakeApt(t, log)
	root := filepath.Join(work, "root")
	for range 2 { // the second time the lists are there
		if err := unpackPackages(testContext(t), work, root, []string{"runc", "containerd"}); err != nil {
			t.Fatal(err)
		}
	}
	calls, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	want := "download runc containerd\nupdate\ndownload runc containerd\ndownload runc containerd\n"
	if diff := cmp.Diff(want, string(calls)); diff != "" {
		t.Errorf("calls of apt-get (-want +got):\n%s", diff)
	}
	for _, name := range []string{"runc", "containerd"} {
		if !exists(filepath.Join(root, "doc", name)) {
			t.Errorf("%s was not unpacked", name)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(work, "debs-*")); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestUnpackPackagesWithoutApt(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	err := unpackPackages(testContext(t), t.TempDir(), t.TempDir(), []string{"runc"})
	if err == nil || !strings.Contains(err.Error(), "Debian 12") {
		t.Errorf("error = %v, want one that says which system has apt-get", err)
	}
}

func TestDownloadErrorNamesBothFailures(t *testing.T) {
	defer func(old time.Duration) { firstRetryDelay = old }(firstRetryDelay)
	firstRetryDelay = time.Millisecond
	fakePrograms(t, map[string]string{"apt-get": `echo "$*: no such thing" >&2; exit 100`})
	err := download(testContext(t), t.TempDir(), []string{"runc"})
	if err == nil || !strings.Contains(err.Error(), "download runc: no such thing") || !strings.Contains(err.Error(), "update: no such thing") {
		t.Errorf("error = %v, want the output of both calls", err)
	}
}

func TestWriteBin(t *testing.T) {
	// A space in the path, as a home directory may have.
	dir := filepath.Join(t.TempDir(), "my cache")
	const program = "#!/bin/sh\nprintf '%s|' \"$LD_LIBRARY_PATH\" \"$XTABLES_LIBDIR\" \"$@\"\n"
	for _, w := range wrapped {
		path := filepath.Join(dir, "root", w.program)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(program), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	libraries := filepath.Join(dir, "root/usr/lib/x86_64-linux-gnu")
	if err := os.MkdirAll(libraries, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := writeBin(dir, dir); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"iptables":         libraries + "|" + libraries + "/xtables|iptables|-t|a b|",
		"iptables-restore": libraries + "|" + libraries + "/xtables|iptables-restore|-t|a b|",
		"conntrack":        libraries + "|" + libraries + "/xtables|-t|a b|",
		"runc":             "||-t|a b|",
	} {
		out, err := exec.Command(filepath.Join(dir, "bin", name), "-t", "a b").Output()
		if err != nil || string(out) != want {
			t.Errorf("%s: got %q, %v, want %q", name, out, err, want)
		}
	}
}

func TestLibraryDirNeedsExactlyOne(t *testing.T) {
	if _, err := libraryDir(t.TempDir(), "/final"); err == nil {
		t.Error("no directory of libraries is accepted, want an error")
	}
}

func TestBundleCertificates(t *testing.T) {
	dir := t.TempDir()
	bundle := filepath.Join(t.TempDir(), "all.crt")
	if err := bundleCertificates(dir, bundle); err == nil {
		t.Error("a directory without certificates is accepted, want an error")
	}
	for name, content := range map[string]string{"b.crt": "B\n\n", "a.crt": "A", "readme": "x"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := bundleCertificates(dir, bundle); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(bundle)
	if err != nil || string(got) != "A\nB\n" {
		t.Errorf("bundle = %q, %v, want A and B on lines of their own", got, err)
	}
}

func TestTrim(t *testing.T) {
	root := t.TempDir()
	for _, dir := range []string{"usr/share/doc/x", "usr/lib/x86_64-linux-gnu/gconv", "usr/share/zoneinfo", "usr/lib/python3.11"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := trim(root); err != nil {
		t.Fatal(err)
	}
	for dir, want := range map[string]bool{"usr/share/doc": false, "usr/lib/x86_64-linux-gnu/gconv": false, "usr/share/zoneinfo": true, "usr/lib/python3.11": true} {
		if got := exists(filepath.Join(root, dir)); got != want {
			t.Errorf("%s is there: %t, want %t", dir, got, want)
		}
	}
}

func TestOSRelease(t *testing.T) {
	file := filepath.Join(t.TempDir(), "os-release")
	if err := os.WriteFile(file, []byte("NAME=\"Debian GNU/Linux\"\nVERSION_ID=\"12\"\nID=debian\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if got := osRelease(file); got != "debian-12" {
		t.Errorf("osRelease = %q, want debian-12", got)
	}
}

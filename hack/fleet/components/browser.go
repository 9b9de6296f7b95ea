package components

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

const (
	// chromiumRecipe changes when the way in which Debian's Chromium is made to run from the cache changes.
	chromiumRecipe = "chromium 1"
	// chromiumProgram is the browser itself; Debian's usr/bin/chromium is a script that looks for it below /usr.
	chromiumProgram = "usr/lib/chromium/chromium"
	// npmRecipe changes when the way in which packages of npm are installed changes.
	npmRecipe = "npm 1"
	// playwrightPackage is what drives the browser. It comes without one.
	playwrightPackage = "playwright-core"
)

// chromiumPackages hold a browser, a font, and the libraries that they link to and a Debian machine with apt and gcc need not have.
var chromiumPackages = []string{
	"chromium", "chromium-common", "fonts-dejavu-core",
	"libapparmor1", "libasound2", "libasyncns0", "libatk-bridge2.0-0", "libatk1.0-0", "libatspi2.0-0", "libavahi-client3", "libavahi-common3",
	"libblkid1", "libbrotli1", "libbsd0", "libcairo2", "libcap2", "libcom-err2", "libcups2", "libdatrie1", "libdav1d6", "libdbus-1-3",
	"libdouble-conversion3", "libdrm2", "libexpat1", "libffi8", "libflac12", "libfontconfig1", "libfreetype6", "libfribidi0", "libgbm1",
	"libgcrypt20", "libglib2.0-0", "libgmp10", "libgnutls30", "libgpg-error0", "libgraphite2-3", "libgssapi-krb5-2", "libharfbuzz-subset0",
	"libharfbuzz0b", "libhogweed6", "libidn2-0", "libjpeg62-turbo", "libk5crypto3", "libkeyutils1", "libkrb5-3", "libkrb5support0", "liblcms2-2",
	"liblz4-1", "liblzma5", "libmd0", "libminizip1", "libmount1", "libmp3lame0", "libmpg123-0", "libnettle8", "libnspr4", "libnss3", "libogg0",
	"libopenh264-7", "libopenjp2-7", "libopus0", "libp11-kit0", "libpango-1.0-0", "libpcre2-8-0", "libpixman-1-0", "libpng16-16", "libpulse0",
	"libselinux1", "libsndfile1", "libtasn1-6", "libthai0", "libudev1", "libunistring2", "libvorbis0a", "libvorbisenc2", "libwayland-server0",
	"libx11-6", "libx11-xcb1", "libxau6", "libxcb-render0", "libxcb-shm0", "libxcb1", "libxcomposite1", "libxdamage1", "libxdmcp6", "libxext6",
	"libxfixes3", "libxi6", "libxkbcommon0", "libxnvctrl0", "libxrandr2", "libxrender1", "libzstd1",
}

// debianChromium unpacks a browser and writes a script that runs it where it is.
func (e *environment) debianChromium() *unit {
	u := &unit{
		title: "Chromium of Debian", estimate: 20 * time.Second, disk: 0.7,
		dir: "debian/chromium-" + hashKey(append([]string{debianRecipe, chromiumRecipe, e.osRelease}, chromiumPackages...)...),
	}
	u.build = func(ctx context.Context, dir string) error {
		root := filepath.Join(dir, "root")
		if err := unpackPackages(ctx, dir, root, chromiumPackages); err != nil {
			return err
		}
		if err := trim(root); err != nil {
			return err
		}
		libraries, err := chromiumLibraries(root)
		if err != nil {
			return err
		}
		check := command{dir: dir, env: []string{"LD_LIBRARY_PATH=" + strings.Join(libraries, ":")}, argv: []string{filepath.Join(root, chromiumProgram), "--version"}}
		if _, err := check.output(ctx); err != nil { // before it is moved to where the script looks for it
			return fmt.Errorf("chromium of Debian does not run here: %w", err)
		}
		return writeChromium(dir, e.path(u), libraries)
	}
	return u
}

// chromiumLibraries are the directories with libraries below root: those of the machine's architecture and, with some that others link to, those of
// PulseAudio in them.
func chromiumLibraries(root string) ([]string, error) {
	var found []string
	for _, pattern := range []string{"usr/lib/*-linux-gnu*", "lib/*-linux-gnu*", "usr/lib/*-linux-gnu*/pulseaudio"} {
		dirs, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil || len(dirs) != 1 {
			return nil, fmt.Errorf("find the libraries of Debian's packages in %s: %s is %q, want one directory", root, pattern, dirs)
		}
		found = append(found, dirs[0])
	}
	return found, nil
}

// fontsFile tells the browser of its font: the directory of the fonts is filled in.
const fontsFile = `<?xml version="1.0"?>
<fontconfig>
  <dir>%s</dir>
  <cachedir prefix="xdg">fontconfig</cachedir>
  <alias><family>monospace</family><prefer><family>DejaVu Sans Mono</family></prefer></alias>
  <alias><family>sans-serif</family><prefer><family>DejaVu Sans</family></prefer></alias>
</fontconfig>
`

// writeChromium writes the script chromium, and what tells the browser of its font, into dir, which is going to be at final.
func writeChromium(dir, final string, libraries []string) error {
	moved := make([]string, len(libraries))
	for i, library := range libraries {
		relative, err := filepath.Rel(dir, library)
		if err != nil {
			return err
		}
		moved[i] = filepath.Join(final, relative)
	}
	fonts := fmt.Appendf(nil, fontsFile, filepath.Join(final, "root/usr/share/fonts"))
	if err := os.WriteFile(filepath.Join(dir, "fonts.conf"), fonts, 0o644); err != nil {
		return err
	}
	script := fmt.Sprintf("#!/bin/sh\nLD_LIBRARY_PATH=%s FONTCONFIG_FILE=%s exec %s \"$@\"\n",
		shellQuote(strings.Join(moved, ":")), shellQuote(filepath.Join(final, "fonts.conf")), shellQuote(filepath.Join(final, "root", chromiumProgram)))
	return os.WriteFile(filepath.Join(dir, "chromium"), []byte(script), 0o755)
}

// playwright installs what drives the browser, as the lock file in hack/tools/browser pins it: npm and the npm registry in use are needed. No script
// of a package is run, so no browser is downloaded.
func (e *environment) playwright() (*unit, error) {
	pinned, files := filepath.Join(e.root, "hack", "tools", "browser"), []string{"package.json", "package-lock.json"}
	key := []string{npmRecipe}
	for _, file := range files {
		data, err := os.ReadFile(filepath.Join(pinned, file))
		if err != nil {
			return nil, fmt.Errorf("read what pins %s: %w", playwrightPackage, err)
		}
		key = append(key, string(data))
	}
	return &unit{
		title: playwrightPackage, estimate: 5 * time.Second, disk: 0.1, dir: "npm/" + playwrightPackage + "-" + hashKey(key...),
		build: func(ctx context.Context, dir string) error {
			for _, file := range files {
				if err := copyFile(filepath.Join(pinned, file), filepath.Join(dir, file)); err != nil {
					return err
				}
			}
			downloads := filepath.Join(dir, "npm")
			install := command{
				dir: dir, env: []string{"npm_config_cache=" + downloads, "npm_config_update_notifier=false"},
				argv: []string{"npm", "ci", "--ignore-scripts", "--engine-strict", "--no-audit", "--no-fund"},
			}
			if _, err := retry(ctx, func() ([]byte, error) { return install.output(ctx) }); err != nil {
				return err
			}
			return os.RemoveAll(downloads)
		},
	}, nil
}

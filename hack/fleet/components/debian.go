package components

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// debianRecipe changes when the way in which Debian's packages are unpacked changes.
const debianRecipe = "debian 1"

// nodePackages hold what a node runs. The libraries are those that a Debian machine need not have.
var nodePackages = []string{
	"containerd", "runc", "libseccomp2", "containernetworking-plugins", "busybox-static",
	"iptables", "libip4tc2", "libip6tc2", "libxtables12", "libnftnl11", "libmnl0", "libnfnetlink0",
	"conntrack", "libnetfilter-conntrack3", "netbase",
	"iproute2", "libbpf1", "libelf1", "libbsd0", "libmd0", "libcap2", "zlib1g",
}

// pythonPackages hold Python 3, its whole standard library and everything that links to, down to the C library.
var pythonPackages = []string{
	"python3.11", "python3.11-minimal", "libpython3.11-minimal", "libpython3.11-stdlib", "python3-distutils", "python3-lib2to3",
	"libc6", "libgcc-s1", "libc-bin", "libexpat1", "zlib1g", "libssl3", "libbz2-1.0", "libcrypt1", "libdb5.3", "libffi8",
	"liblzma5", "libncursesw6", "libtinfo6", "libreadline8", "libsqlite3-0", "libuuid1", "libnsl2", "libtirpc3", "libtirpc-common",
	"libgssapi-krb5-2", "libkrb5-3", "libk5crypto3", "libkrb5support0", "libkeyutils1", "libcom-err2",
	"netbase", "readline-common",
}

// postgresqlPackages hold a database server and the libraries that a Debian machine need not have. It can compile queries with LLVM, and does
// without.
var postgresqlPackages = []string{
	"postgresql-15", "libpq5", "libicu72", "libxml2", "libldap-2.5-0", "libsasl2-2", "libssl3",
	"libgssapi-krb5-2", "libkrb5-3", "libk5crypto3", "libkrb5support0", "libkeyutils1", "libcom-err2",
}

// sharedPackages hold data for images.
var sharedPackages = []string{"ca-certificates", "media-types", "tzdata"}

// wrapped are the programs of nodePackages that get an entry in bin: name of the entry, path of the program, and whether
// it needs its name as first argument, as programs that are many in one do.
var wrapped = []struct {
	name, program string
	multi, plain  bool
}{
	{name: "containerd", program: "usr/bin/containerd", plain: true},
	{name: "containerd-shim-runc-v2", program: "usr/bin/containerd-shim-runc-v2", plain: true},
	{name: "ctr", program: "usr/bin/ctr", plain: true},
	{name: "runc", program: "usr/sbin/runc", plain: true},
	{name: "busybox", program: "bin/busybox", plain: true},
	{name: "conntrack", program: "usr/sbin/conntrack"},
	{name: "ip", program: "bin/ip"},
	{name: "iptables", program: nftables, multi: true},
	{name: "iptables-save", program: nftables, multi: true},
	{name: "iptables-restore", program: nftables, multi: true},
	{name: "ip6tables", program: nftables, multi: true},
	{name: "ip6tables-save", program: nftables, multi: true},
	{name: "ip6tables-restore", program: nftables, multi: true},
}

// nftables is the flavour of iptables that Debian uses by default.
const nftables = "usr/sbin/xtables-nft-multi"

// debianTools unpacks nodePackages below root and makes bin: links to the programs that need nothing else, and wrappers
// for those with libraries of their own. Nothing is installed, so no service starts and nothing of the machine's is
// displaced.
func (e *environment) debianTools() *unit {
	u := &unit{
		title: "containerd, runc and iptables of Debian", estimate: 10 * time.Second, disk: 0.5,
		dir: fmt.Sprintf("debian/node-%s", hashKey(append([]string{debianRecipe, e.osRelease, fmt.Sprint(wrapped)}, nodePackages...)...)),
	}
	u.build = func(ctx context.Context, dir string) error {
		if err := unpackPackages(ctx, dir, filepath.Join(dir, "root"), nodePackages); err != nil {
			return err
		}
		if err := writeBin(dir, e.path(u)); err != nil {
			return err
		}
		return checkTools(ctx, dir)
	}
	return u
}

// debianNATS unpacks NATS's server, which runs with the machine's own C library.
func (e *environment) debianNATS() *unit {
	return &unit{
		title: "NATS of Debian", estimate: 5 * time.Second, disk: 0.1, dir: "debian/nats-" + hashKey(debianRecipe, e.osRelease),
		build: func(ctx context.Context, dir string) error {
			return unpackPackages(ctx, dir, filepath.Join(dir, "root"), []string{"nats-server"})
		},
	}
}

// debianPostgreSQL unpacks a database server. It finds its own files by where it is, so that a copy of it works.
func (e *environment) debianPostgreSQL() *unit {
	return &unit{
		title: "PostgreSQL of Debian", estimate: 10 * time.Second, disk: 0.3,
		dir: "debian/postgresql-" + hashKey(append([]string{debianRecipe, e.osRelease}, postgresqlPackages...)...),
		build: func(ctx context.Context, dir string) error {
			return unpackPackages(ctx, dir, filepath.Join(dir, "root"), postgresqlPackages)
		},
	}
}

// writeBin makes bin in dir, which is going to be at final.
func writeBin(dir, final string) error {
	bin := filepath.Join(dir, "bin")
	if err := os.MkdirAll(bin, 0o755); err != nil {
		return err
	}
	libraries, err := libraryDir(dir, final)
	if err != nil {
		return err
	}
	for _, w := range wrapped {
		path := filepath.Join(bin, w.name)
		if w.plain {
			if err := os.Symlink(filepath.Join("..", "root", w.program), path); err != nil {
				return err
			}
			continue
		}
		if err := os.WriteFile(path, []byte(wrapper(final, libraries, w.program, w.name, w.multi)), 0o755); err != nil {
			return err
		}
	}
	return nil
}

// wrapper is a shell script that runs a program of the unpacked packages with their libraries and plugins.
func wrapper(final, libraries, program, name string, multi bool) string {
	arguments := `"$@"`
	if multi {
		arguments = name + " " + arguments
	}
	return fmt.Sprintf("#!/bin/sh\nLD_LIBRARY_PATH=%s XTABLES_LIBDIR=%s exec %s %s\n",
		shellQuote(libraries), shellQuote(filepath.Join(libraries, "xtables")), shellQuote(filepath.Join(final, "root", program)), arguments)
}

// libraryDir returns where the libraries are going to be, whatever the machine's architecture is called.
func libraryDir(dir, final string) (string, error) {
	found, err := filepath.Glob(filepath.Join(dir, "root", "usr", "lib", "*-linux-gnu*"))
	if err != nil || len(found) != 1 {
		return "", fmt.Errorf("find the libraries of Debian's packages in %s: got %q, want one directory", filepath.Join(dir, "root", "usr", "lib"), found)
	}
	return filepath.Join(final, "root", "usr", "lib", filepath.Base(found[0])), nil
}

// checkTools runs what has to work on this machine. The wrappers are not run: they name the place that dir is moved to.
func checkTools(ctx context.Context, dir string) error {
	for _, name := range []string{"containerd", "runc"} {
		argv := []string{filepath.Join(dir, "bin", name), "--version"}
		if _, err := (command{dir: dir, argv: argv}).output(ctx); err != nil {
			return fmt.Errorf("%s of Debian does not run here (does libseccomp2 lack? apt-get install libseccomp2): %w", name, err)
		}
	}
	return nil
}

// debianImages unpacks what images are made of: Python as a root file system, and data.
func (e *environment) debianImages() *unit {
	key := hashKey(append([]string{debianRecipe, e.osRelease, strings.Join(sharedPackages, " ")}, pythonPackages...)...)
	return &unit{
		title: "Python of Debian, for images", estimate: 15 * time.Second, disk: 0.5,
		dir: "debian/images-" + key,
		build: func(ctx context.Context, dir string) error {
			python, shared := filepath.Join(dir, "python"), filepath.Join(dir, "shared")
			if err := unpackPackages(ctx, dir, python, pythonPackages); err != nil {
				return err
			}
			if err := unpackPackages(ctx, dir, shared, sharedPackages); err != nil {
				return err
			}
			if err := trim(python); err != nil {
				return err
			}
			if err := bundleCertificates(filepath.Join(shared, "usr/share/ca-certificates/mozilla"), filepath.Join(dir, "ca-certificates.crt")); err != nil {
				return err
			}
			if err := copyFile(filepath.Join(shared, "etc/mime.types"), filepath.Join(dir, "mime.types")); err != nil {
				return err
			}
			if err := os.Rename(filepath.Join(shared, "usr/share/zoneinfo"), filepath.Join(dir, "zoneinfo")); err != nil {
				return err
			}
			return os.RemoveAll(shared)
		},
	}
}

// trim removes what no program reads.
func trim(root string) error {
	for _, part := range []string{
		"usr/share/doc", "usr/share/man", "usr/share/lintian", "usr/share/info", "usr/share/pixmaps", "usr/share/applications",
		"usr/share/binfmts", "usr/share/bug", "usr/lib/*/gconv",
	} {
		found, err := filepath.Glob(filepath.Join(root, part))
		if err != nil {
			return err
		}
		for _, path := range found {
			if err := os.RemoveAll(path); err != nil {
				return err
			}
		}
	}
	return nil
}

// bundleCertificates writes all certificates of a directory into one file, as update-ca-certificates does on a machine.
func bundleCertificates(dir, bundle string) error {
	files, err := filepath.Glob(filepath.Join(dir, "*.crt"))
	if err != nil {
		return err
	}
	if len(files) == 0 {
		return fmt.Errorf("no certificates in %s; the package ca-certificates has changed", dir)
	}
	var all []byte
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		all = append(all, strings.TrimRight(string(data), "\n")+"\n"...)
	}
	return os.WriteFile(bundle, all, 0o644)
}

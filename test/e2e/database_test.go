package e2e

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"stellarflow.io/stellarflow/hack/fleet/components"
)

// The database server does not run as root. It takes connections from every cluster.
const (
	databasePort     = 5432
	databaseUser     = "argo"
	databasePassword = "not-secret"
	nobody           = 65534
)

// startDatabase starts Debian's PostgreSQL in the hub's network until the test ends, and returns its address.
func (f *fleet) startDatabase(t *testing.T) string {
	t.Helper()
	programs, err := components.Ensure(t.Context(), os.Stdout, components.PostgreSQL)
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "stellarflow-postgresql-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	root, data, password := filepath.Join(dir, "root"), filepath.Join(dir, "data"), filepath.Join(dir, "password")
	err = errors.Join( // the cache may be in a home directory that nobody else may enter
		os.CopyFS(root, os.DirFS(programs[components.PostgreSQL])),
		os.WriteFile(password, []byte(databasePassword), 0o644), //nolint:gosec // it is read as another user
		os.Chown(dir, nobody, nobody))
	if err != nil {
		t.Fatal(err)
	}
	libraries, err := filepath.Glob(filepath.Join(root, "usr", "lib", "*-linux-gnu*"))
	others, _ := filepath.Glob(filepath.Join(root, "lib", "*-linux-gnu*"))
	if err != nil || len(libraries) == 0 {
		t.Fatalf("%s has no libraries: %v", root, err)
	}
	env := []string{"LD_LIBRARY_PATH=" + strings.Join(append(libraries, others...), ":"), "LC_ALL=C"}
	unprivileged := func(program string, args ...string) []string {
		as := []string{"--reuid=" + strconv.Itoa(nobody), "--regid=" + strconv.Itoa(nobody), "--clear-groups", "--pdeathsig=TERM", filepath.Join(root, "usr/lib/postgresql/15/bin", program), "-D", data}
		return append(as, args...)
	}
	if _, err := f.try(t.Context(), env, "setpriv", unprivileged("initdb", "-U", databaseUser, "--pwfile="+password, "--auth=scram-sha-256", "--encoding=UTF8", "--no-sync")...); err != nil {
		t.Fatal(err)
	}
	access, err := os.OpenFile(filepath.Join(data, "pg_hba.conf"), os.O_APPEND|os.O_WRONLY, 0)
	if err == nil {
		_, err = access.WriteString("host all all all scram-sha-256\n")
		err = errors.Join(err, access.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	host := f.address(t, f.hub)
	f.runs(t, f.hub, env, "setpriv", unprivileged("postgres", "-h", host, "-p", strconv.Itoa(databasePort), "-c", "unix_socket_directories=", "-c", "fsync=off", "-c", "jit=off")...)
	eventually(t, moment, "PostgreSQL takes connections", func(ctx context.Context) error {
		connection, err := (&net.Dialer{}).DialContext(ctx, "tcp", fmt.Sprintf("%s:%d", host, databasePort))
		if err != nil {
			return err
		}
		return connection.Close()
	})
	return host
}

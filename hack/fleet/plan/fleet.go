package plan

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
)

// MaxWECs is the largest number of WECs a fleet may have. It keeps the
// addresses of the clusters inside one /24 and their networks inside 10/8.
const MaxWECs = 20

// HubName is the name of the control cluster of every fleet.
const HubName = "hub"

// reserved are the entries the default fleet itself has in .fleet, which a
// named fleet would overwrite.
var reserved = []string{"bin", "state", "logs", "env"}

var nameRE = regexp.MustCompile(`^[a-z][a-z0-9-]{0,30}$`)

// Fleet is one fleet: who it is on this machine and where its files are.
type Fleet struct {
	// Name is FLEET_NAME; the default fleet has none.
	Name string
	// Checkout is the absolute path of the work tree the fleet belongs to.
	Checkout string
	// ID names the fleet's bridge, namespaces and cgroups: "sf-" and 8 hex
	// digits derived from the checkout and the name.
	ID string
	// WECs is the number of WECs beside the hub.
	WECs int
}

// New computes the fleet of a checkout. wecs is the number of WECs.
func New(checkout, name string, wecs int) (Fleet, error) {
	if !filepath.IsAbs(checkout) {
		return Fleet{}, fmt.Errorf("checkout %q: not an absolute path", checkout)
	}
	if name != "" && !nameRE.MatchString(name) {
		return Fleet{}, fmt.Errorf("FLEET_NAME=%q: must be lower case letters, digits and dashes, begin with a letter and have at most 31 characters", name)
	}
	if slices.Contains(reserved, name) {
		return Fleet{}, fmt.Errorf("FLEET_NAME=%q: the default fleet has a directory of that name, choose another", name)
	}
	if wecs < 1 || wecs > MaxWECs {
		return Fleet{}, fmt.Errorf("CLUSTERS=%d: must be between 1 and %d", wecs, MaxWECs)
	}
	sum := sha256.Sum256([]byte(filepath.Clean(checkout) + "\x00" + name))
	return Fleet{
		Name:     name,
		Checkout: filepath.Clean(checkout),
		ID:       "sf-" + hex.EncodeToString(sum[:4]),
		WECs:     wecs,
	}, nil
}

// ParseWECs reads the variable CLUSTERS. Empty means as many as the fleet was
// brought up with (recorded), two for a new fleet. A fleet keeps the clusters
// it has, so a smaller number changes nothing.
func ParseWECs(value string, recorded int) (int, error) {
	if value == "" {
		if recorded > 0 {
			return recorded, nil
		}
		return 2, nil
	}
	n, err := strconv.Atoi(value)
	if err != nil {
		return 0, fmt.Errorf("CLUSTERS=%q: not a number; give the number of WECs, such as 2", value)
	}
	return max(n, recorded), nil
}

// String is the fleet's name for people.
func (f Fleet) String() string {
	if f.Name == "" {
		return "the default fleet"
	}
	return "fleet " + f.Name
}

// IsDefault tells whether this is the fleet on the well-known ports.
func (f Fleet) IsDefault() bool { return f.Name == "" }

// ClusterNames are the names of the fleet's clusters, the hub first.
func (f Fleet) ClusterNames() []string {
	names := []string{HubName}
	for i := 1; i <= f.WECs; i++ {
		names = append(names, "cluster"+strconv.Itoa(i))
	}
	return names
}

// Dir is the directory of everything the fleet writes.
func (f Fleet) Dir() string { return filepath.Join(f.Checkout, ".fleet", f.Name) }

// BinDir holds the commands for people.
func (f Fleet) BinDir() string { return filepath.Join(f.Dir(), "bin") }

// LogDir holds a log per process, a directory per cluster.
func (f Fleet) LogDir() string { return filepath.Join(f.Dir(), "logs") }

// StateDir holds data that survives a restart: etcd, containerd, MinIO, keys.
func (f Fleet) StateDir() string { return filepath.Join(f.Dir(), "state") }

// RecordFile is where the fleet's choices (subnet, ports) are kept.
func (f Fleet) RecordFile() string { return filepath.Join(f.StateDir(), "fleet.json") }

// EnvFile holds the addresses for people and tests.
func (f Fleet) EnvFile() string { return filepath.Join(f.Dir(), "env") }

// MinioEnvFile holds the endpoint and the credentials of the artifact store.
func (f Fleet) MinioEnvFile() string { return filepath.Join(f.Dir(), "minio.env") }

// KubeletCAFile holds the CA for the hub's endpoint for logs of other clusters' pods, to be applied before Stellarflow is installed: the
// hub's API server trusts it (--kubelet-certificate-authority).
func (f Fleet) KubeletCAFile() string { return filepath.Join(f.Dir(), "kubelet-ca.yaml") }

// Bridge is the name of the fleet's bridge on the host (11 characters).
func (f Fleet) Bridge() string { return f.ID }

// CgroupRoot is the name of the fleet's directory in every cgroup hierarchy.
func (f Fleet) CgroupRoot() string { return f.ID }

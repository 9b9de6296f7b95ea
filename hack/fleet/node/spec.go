package node

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"stellarflow.io/stellarflow/hack/fleet/render"
)

// Spec is the work of one cluster's first process.
type Spec struct {
	// Cluster and Hostname name the cluster and its node.
	Cluster  string `json:"cluster"`
	Hostname string `json:"hostname"`
	// Var becomes /var.
	Var string `json:"var"`
	// Keep are directories that must stay visible where they are although
	// they may lie below /var or /run: configuration, programs.
	Keep []string `json:"keep"`
	// Cgroups are the cgroup.procs files to join.
	Cgroups []string `json:"cgroups"`
	// Env is the environment of every component.
	Env []string `json:"env"`
	// LogDir takes a log per component.
	LogDir string `json:"logDir"`
	// StatusFile is written at each change.
	StatusFile string `json:"statusFile"`
	// Publish are files that appear only once something answers.
	Publish []Publish `json:"publish,omitempty"`
	// Components are started in this order.
	Components []render.Component `json:"components"`
}

// Publish is a file that is copied to where the cluster's processes look for
// it as soon as every address of Waits answers.
type Publish struct {
	From  string   `json:"from"`
	To    string   `json:"to"`
	Waits []string `json:"waits"`
}

// Status is what the first process says of its components.
type Status struct {
	Components []ComponentStatus `json:"components"`
}

// ComponentStatus is the state of one component.
type ComponentStatus struct {
	Name string `json:"name"`
	// Running says that the process is there, not that it answers.
	Running bool `json:"running"`
	// Exits counts how often it ended unasked; LastExit says how it did last.
	Exits    int       `json:"exits"`
	LastExit string    `json:"lastExit,omitempty"`
	Since    time.Time `json:"since"`
}

// ReadStatus reads the status a cluster's first process wrote.
func ReadStatus(path string) (Status, error) {
	var s Status
	data, err := os.ReadFile(path)
	if err != nil {
		return s, err
	}
	if err := json.Unmarshal(data, &s); err != nil {
		return s, fmt.Errorf("%s: %w", path, err)
	}
	return s, nil
}

// WriteJSON replaces a file in one step, so that no reader sees half of it.
func WriteJSON(path string, v any, mode os.FileMode) error {
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	tmp := path + ".tmp"
	if err := os.WriteFile(tmp, append(data, '\n'), mode); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := os.Rename(tmp, path); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

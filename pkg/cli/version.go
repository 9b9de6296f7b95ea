package cli

import (
	"context"
	"fmt"
	"io"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// Version is set by the linker: -X stellarflow.io/stellarflow/pkg/cli.Version=v1.2.3.
var Version = ""

type versionInfo struct {
	Version  string `json:"version"`
	Commit   string `json:"commit,omitempty"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

func versionCommand(env Env) *cobra.Command {
	cmd := &cobra.Command{Use: "version", Short: "Print the version of this command", Args: none}
	return env.runs(cmd, func(context.Context, Env, []string) (any, error) { return thisVersion(), nil })
}

func (v versionInfo) print(out io.Writer) error {
	text := v.Version
	if v.Commit != "" {
		text += " (" + v.Commit + ")"
	}
	_, err := fmt.Fprintf(out, "stellarflow %s %s %s\n", text, v.Go, v.Platform)
	return err
}

// thisVersion is what the linker or the build recorded.
func thisVersion() versionInfo {
	info := versionInfo{Version: Version, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	build, found := debug.ReadBuildInfo()
	if !found {
		build = &debug.BuildInfo{}
	}
	for _, setting := range build.Settings {
		if setting.Key == "vcs.revision" {
			info.Commit = setting.Value
		}
	}
	if info.Version == "" {
		info.Version = build.Main.Version
	}
	if info.Version == "" {
		info.Version = "(devel)"
	}
	return info
}

package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// Exit codes of Main.
const (
	ExitOK      = 0
	ExitFailure = 1
	ExitUsage   = 2
)

// Env is the outside of the command.
type Env struct {
	// Out and Err are standard output and standard error.
	Out, Err io.Writer
	// Now is the clock.
	Now func() time.Time
	// AllowLoopback accepts API servers and stores on this machine's own addresses: tests have theirs there.
	AllowLoopback bool
	// Name is the name that the command was called by, for usage texts; empty means stellarflow.
	Name string
}

// usageError is an error about how the command was called.
type usageError struct{ error }

// usagef is a usageError; its arguments are those of fmt.Errorf.
func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// Main runs the command with its arguments and returns the exit code. The error, if there is one, is printed.
func Main(ctx context.Context, env Env, args []string) int {
	env.Out, env.Err = terminal{env.Out}, terminal{env.Err}
	started := false
	root := newRoot(env, &started) //nolint:contextcheck // its commands take the context that ExecuteContext gives them
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return ExitOK
	}
	_, _ = fmt.Fprintln(env.Err, "Error:", err)
	var usage usageError
	if errors.As(err, &usage) || !started {
		_, _ = fmt.Fprintf(env.Err, "Run `%s --help` for usage.\n", root.CommandPath())
		return ExitUsage
	}
	return ExitFailure
}

// newRoot makes the command; started is set once a subcommand's flags and arguments were accepted.
func newRoot(env Env, started *bool) *cobra.Command {
	root := &cobra.Command{
		Use:           "stellarflow",
		Short:         "Run Argo Workflows on many clusters from one",
		Long:          "Run Argo Workflows on many clusters from one.\n\nInstall the hub, join clusters to it, and see where Workflows run and why.",
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	if strings.HasPrefix(filepath.Base(env.Name), "kubectl-") { // a plugin is called as two words
		root.Annotations = map[string]string{cobra.CommandDisplayNameAnnotation: "kubectl stellarflow"}
	}
	root.SetOut(env.Out)
	root.SetErr(env.Err)
	root.CompletionOptions.DisableDefaultCmd = true
	for _, command := range []*cobra.Command{
		installCommand(env), uninstallCommand(env), joinCommand(env), leaveCommand(env), clustersCommand(env), explainCommand(env), versionCommand(env),
	} {
		run := command.RunE
		command.RunE = func(cmd *cobra.Command, args []string) error {
			*started = true
			return run(cmd, args)
		}
		root.AddCommand(command)
	}
	return root
}

// one is the Args of a command that takes exactly one argument, which it calls what.
func one(what string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		switch len(args) {
		case 0:
			return fmt.Errorf("%s is missing: give it as the argument", what)
		case 1:
			return nil
		}
		return fmt.Errorf("%s is expected once, got %s: run the command once for each", what, strings.Join(args, ", "))
	}
}

// none is the Args of a command without arguments.
func none(_ *cobra.Command, args []string) error {
	if len(args) > 0 {
		return fmt.Errorf("no argument is expected, got %s: remove it", strings.Join(args, ", "))
	}
	return nil
}

// outputFlag adds -o and returns a function that tells whether JSON is wanted.
func outputFlag(cmd *cobra.Command) func() (bool, error) {
	output := cmd.Flags().StringP("output", "o", "", "output format: json, or empty for text")
	return func() (bool, error) {
		switch *output {
		case "":
			return false, nil
		case "json":
			return true, nil
		}
		return false, usagef("--output %q is unknown: use json, or leave it out for text", *output)
	}
}

// printJSON writes a value as indented JSON.
func printJSON(out io.Writer, value any) error {
	encoder := json.NewEncoder(out)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	return encoder.Encode(value)
}

// sayf writes a line of progress; a terminal that is gone is no reason to stop half-way.
func (e Env) sayf(format string, args ...any) {
	_, _ = fmt.Fprintf(e.Out, format+"\n", args...)
}

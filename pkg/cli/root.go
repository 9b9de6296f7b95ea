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
	// ExitFindings is that of doctor when it could look and found something that has to be mended.
	ExitFindings = 3
)

// exitCodes ends the Long text of every command but doctor.
const exitCodes = "Exit codes: 0 done, 1 failed, 2 wrong usage."

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

// errFindings says that a command did what it was asked, and that what it found is bad.
var errFindings = errors.New("something has to be mended")

// answeredError is an error beside an answer that is printed all the same.
type answeredError struct{ error }

func (e answeredError) Unwrap() error { return e.error }

// usagef is a usageError; its arguments are those of fmt.Errorf.
func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// Main runs the command with its arguments and returns the exit code. The error, if there is one, is printed.
func Main(ctx context.Context, env Env, args []string) int {
	env.Out, env.Err = terminal{env.Out}, terminal{env.Err}
	started := false
	root := newRoot(env, &started) //nolint:contextcheck // its commands take the context that ExecuteContext gives them
	root.SetArgs(args)
	return env.exit(root.ExecuteContext(ctx), started, root.CommandPath())
}

// exit prints an error and returns the exit code. started is false if the command line itself was refused.
func (e Env) exit(err error, started bool, command string) int {
	if err == nil {
		return ExitOK
	}
	_, _ = fmt.Fprintln(e.Err, "Error:", err)
	var usage usageError
	if errors.As(err, &usage) || !started {
		_, _ = fmt.Fprintf(e.Err, "Run `%s --help` for usage.\n", command)
		return ExitUsage
	}
	if errors.Is(err, errFindings) {
		return ExitFindings
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
		installCommand(env), uninstallCommand(env), joinCommand(env), leaveCommand(env), clustersCommand(env), explainCommand(env),
		suspendCommand(env), abandonCommand(env), moveCommand(env), orphansCommand(env), doctorCommand(env), versionCommand(env),
	} {
		noteStart(command, started)
		root.AddCommand(command)
	}
	return root
}

// noteStart makes a command, or those below it, say that their flags and arguments were accepted. A command that only holds others
// is called in a wrong way if it is called itself.
func noteStart(command *cobra.Command, started *bool) {
	var below []string
	for _, child := range command.Commands() {
		noteStart(child, started)
		below = append(below, child.Name())
	}
	run := command.RunE
	if run == nil {
		command.Args, command.RunE = cobra.ArbitraryArgs, func(cmd *cobra.Command, args []string) error {
			return usagef("%s is followed by one of %s, got %q", cmd.CommandPath(), strings.Join(below, ", "), strings.Join(args, " "))
		}
		return
	}
	command.RunE = func(cmd *cobra.Command, args []string) error {
		*started = true
		return run(cmd, args)
	}
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

// action does what a command is for and returns its answer, which is printed as JSON if that is wanted. As text it is printed if
// it is a printer; what is not has said everything on the way. Beside an error it is printed only if that is an answeredError.
type action func(ctx context.Context, env Env, args []string) (any, error)

// printer is an answer that can be printed as text.
type printer interface {
	print(out io.Writer) error
}

// runs makes a command do an action, with -o, and documents its exit codes.
func (e Env) runs(cmd *cobra.Command, do action) *cobra.Command {
	output := cmd.Flags().StringP("output", "o", "", "output format: json, or empty for text")
	cmd.Long = firstOf(cmd.Long, cmd.Short+".")
	if !strings.Contains(cmd.Long, "Exit codes:") {
		cmd.Long += "\n\n" + exitCodes
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		env := e
		switch *output {
		case "":
		case "json":
			env.Out = e.Err // what it says on the way is not the answer
		default:
			return usagef("--output %q is unknown: use json, or leave it out for text", *output)
		}
		answer, err := do(cmd.Context(), env, args)
		var answered answeredError
		if err != nil && !errors.As(err, &answered) {
			return err
		}
		text, isText := answer.(printer)
		switch {
		case *output == "json":
			err = errors.Join(err, printJSON(e.Out, answer))
		case isText:
			err = errors.Join(err, text.print(e.Out))
		}
		return err
	}
	return cmd
}

// jsonOf is a value as JSON.
func jsonOf(value any) ([]byte, error) {
	raw, err := json.Marshal(value)
	if err != nil {
		return nil, fmt.Errorf("write JSON: %w", err)
	}
	return raw, nil
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

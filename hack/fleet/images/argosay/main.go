// Command argosay does the small things that examples of Workflows ask of argoproj/argosay:v2, with the same words:
//
//	argosay                               prints "hello argo"
//	argosay echo [TEXT [FILE]]            prints TEXT, or writes it to FILE
//	argosay cat FILE                      prints FILE
//	argosay sleep TIME                    waits; TIME is seconds, or a number with s, m or h
//	argosay exit [CODE]                   ends with CODE
//	argosay assert_contains FILE TEXT     prints the lines of FILE that hold TEXT, fails if there is none
//	argosay sh FILE                       runs FILE with the shell
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

const greeting = "hello argo"

func main() {
	code, err := run(os.Args[1:], os.Stdout, time.Sleep)
	if err != nil {
		fmt.Fprintln(os.Stderr, "argosay:", err)
	}
	os.Exit(code)
}

// run returns the exit code, and what to say if it failed.
func run(args []string, out io.Writer, sleep func(time.Duration)) (int, error) {
	if len(args) == 0 {
		return done(fmt.Fprintln(out, greeting))
	}
	command, args := args[0], args[1:]
	switch command {
	case "":
		return done(fmt.Fprintln(out, greeting))
	case "echo":
		return echo(args, out)
	case "cat":
		return cat(args, out)
	case "sleep":
		return wait(args, sleep)
	case "exit":
		return exit(args)
	case "assert_contains":
		return assertContains(args, out)
	case "sh":
		return shell(args, out)
	default:
		return 1, fmt.Errorf("command %q is not known; known are echo, cat, sleep, exit, assert_contains and sh", command)
	}
}

func done(_ int, err error) (int, error) {
	if err != nil {
		return 1, err
	}
	return 0, nil
}

func echo(args []string, out io.Writer) (int, error) {
	switch len(args) {
	case 0:
		return done(fmt.Fprintln(out, greeting))
	case 1:
		return done(fmt.Fprintln(out, args[0]))
	case 2:
		if err := os.MkdirAll(filepath.Dir(args[1]), 0o755); err != nil {
			return 1, err
		}
		return done(0, os.WriteFile(args[1], []byte(args[0]+"\n"), 0o644))
	default:
		return 0, nil // as upstream's script
	}
}

func cat(args []string, out io.Writer) (int, error) {
	if len(args) == 0 {
		return 2, errors.New("cat needs a file")
	}
	file, err := os.Open(args[0])
	if err != nil {
		return 1, err
	}
	defer file.Close() //nolint:errcheck // it is only read
	_, err = io.Copy(out, file)
	return done(0, err)
}

func wait(args []string, sleep func(time.Duration)) (int, error) {
	if len(args) == 0 {
		return 2, errors.New("sleep needs a time")
	}
	value := args[0]
	if _, err := strconv.ParseFloat(value, 64); err == nil {
		value += "s"
	}
	d, err := time.ParseDuration(value)
	if err != nil {
		return 1, fmt.Errorf("sleep: %q is not a time such as 5, 5s or 2m", args[0])
	}
	sleep(d)
	return 0, nil
}

func exit(args []string) (int, error) {
	if len(args) == 0 {
		return 0, nil
	}
	code, err := strconv.Atoi(args[0])
	if err != nil {
		return 2, fmt.Errorf("exit: %q is not a number", args[0])
	}
	return code & 0xff, nil
}

func assertContains(args []string, out io.Writer) (int, error) {
	if len(args) < 2 {
		return 2, errors.New("assert_contains needs a file and a text")
	}
	data, err := os.ReadFile(args[0])
	if err != nil {
		return 2, err
	}
	found := false
	for line := range strings.Lines(string(data)) {
		if line = strings.TrimSuffix(line, "\n"); strings.Contains(line, args[1]) {
			found = true
			fmt.Fprintln(out, line)
		}
	}
	if !found {
		return 1, nil
	}
	return 0, nil
}

func shell(args []string, out io.Writer) (int, error) {
	if len(args) == 0 {
		return 2, errors.New("sh needs a file")
	}
	cmd := exec.Command("sh", args[0])
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, out, os.Stderr
	err := cmd.Run()
	var failed *exec.ExitError
	if errors.As(err, &failed) {
		return failed.ExitCode(), nil
	}
	return done(0, err)
}

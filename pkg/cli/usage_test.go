package cli

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"

	"stellarflow.io/stellarflow/pkg/wec"
)

const goodStore = "MINIO_ENDPOINT=172.30.0.1:9000\nMINIO_BUCKET=workflows\nMINIO_ACCESS_KEY=AKIAFAKE\nMINIO_SECRET_KEY=s3cr3t\nMINIO_INSECURE=true\n"

// run runs the command; DIR in an argument is a directory with the given files.
func run(t *testing.T, files map[string]string, args ...string) (code int, out, errOut string) {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for i := range args {
		args[i] = strings.ReplaceAll(args[i], "DIR", dir)
	}
	var stdout, stderr bytes.Buffer
	now := func() time.Time { return time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC) }
	code = Main(t.Context(), Env{Out: &stdout, Err: &stderr, Now: now}, args)
	return code, stdout.String(), strings.ReplaceAll(stderr.String(), dir, "DIR")
}

// authority is a CA in PEM.
func authority(t *testing.T) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func kubeconfig(t *testing.T, server string) string {
	t.Helper()
	raw, err := wec.MinimalKubeconfig(server, authority(t), "t0ken")
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// Wrong usage is refused before anything is asked of a cluster, with exit code 2 and a message that says what to do.
func TestUsageErrors(t *testing.T) {
	good := kubeconfig(t, "https://10.0.0.1:6443")
	local := kubeconfig(t, "https://127.0.0.1:6443")
	exec := strings.Replace(good, "    token: t0ken", "    exec:\n      apiVersion: client.authentication.k8s.io/v1\n      command: aws", 1)
	files := map[string]string{"good": good, "local": local, "exec": exec, "store": goodStore, "localstore": strings.Replace(goodStore, "172.30.0.1", "127.0.0.1", 1), "text": "hello"}
	join := func(args ...string) []string {
		return append([]string{"join", "cluster1", "--kubeconfig=DIR/good"}, args...)
	}
	cases := map[string]struct {
		reason string
		args   []string
		err    string
	}{
		"UnknownCommand":  {"a misspelt command", []string{"bogus"}, `unknown command "bogus" for "stellarflow"`},
		"UnknownFlag":     {"a misspelt flag", []string{"clusters", "--wide"}, "unknown flag: --wide"},
		"Argument":        {"a command without arguments", []string{"clusters", "cluster1"}, "no argument is expected, got cluster1: remove it"},
		"Output":          {"an unknown format", []string{"version", "-o", "yaml"}, `--output "yaml" is unknown: use json, or leave it out for text`},
		"NoName":          {"what is to be joined?", []string{"join"}, "the cluster's name is missing: give it as the argument"},
		"TwoNames":        {"one at a time", []string{"join", "a", "b"}, "the cluster's name is expected once, got a, b: run the command once for each"},
		"NoWorkflow":      {"what is to be explained?", []string{"explain"}, "the Workflow's name is missing: give it as the argument"},
		"NameUpperCase":   {"a name must be a label value", []string{"join", "Cluster_1", "--kubeconfig=DIR/good"}, `the cluster's name "Cluster_1" is no DNS label (a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')): choose another name, for example cluster1`},
		"NameLong":        {"more than 63 characters", []string{"join", strings.Repeat("a", 64), "--kubeconfig=DIR/good"}, `the cluster's name "` + strings.Repeat("a", 64) + `" is no DNS label (must be no more than 63 characters): choose another name, for example cluster1`},
		"NoKubeconfig":    {"how is it reached?", []string{"join", "cluster1"}, "--kubeconfig is missing: name the kubeconfig of the cluster to join"},
		"MissingFile":     {"a file that is not there", []string{"join", "cluster1", "--kubeconfig=DIR/none"}, `--kubeconfig "DIR/none" cannot be read (no such file or directory): name an existing kubeconfig`},
		"NotAKubeconfig":  {"some text", []string{"join", "cluster1", "--kubeconfig=DIR/text"}, "--kubeconfig \"DIR/text\": the kubeconfig is not one: it cannot be read as YAML of kind Config: write it with `kubectl config view --raw --flatten --minify`"},
		"Exec":            {"a program that the hub's pod does not have", []string{"join", "cluster1", "--kubeconfig=DIR/exec"}, `--kubeconfig "DIR/exec": kubeconfig refused: exec runs the program "aws": use a ServiceAccount's token or client certificate data`},
		"Loopback":        {"the hub would dial itself", []string{"join", "cluster1", "--kubeconfig=DIR/local"}, `--kubeconfig "DIR/local": kubeconfig refused: server "https://127.0.0.1:6443" is an address of this machine only, the hub's pod would reach itself there: give an address that the hub can reach`},
		"ServerLoopback":  {"--server is checked too", join("--server=https://localhost:1"), `--kubeconfig "DIR/good": kubeconfig refused: server "https://localhost:1" is an address of this machine only, the hub's pod would reach itself there: give an address that the hub can reach`},
		"Context":         {"a context that is not there", join("--context=prod"), `--kubeconfig "DIR/good": the kubeconfig has no context "prod": it has wec`},
		"LabelNoEquals":   {"no value", join("--labels=gpu"), `--labels "gpu" has no =: write key=value, several with commas between them`},
		"LabelKey":        {"no label key", join("--labels=-x=1"), `--labels "-x=1": the key "-x" is no label key (name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')): correct it`},
		"LabelValue":      {"no label value", join("--labels=x=a b"), `--labels "x=a b": the value "a b" is no label value (a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')): correct it`},
		"LabelName":       {"policies select by name", join("--labels=name=other"), `--labels "name=other": the label name is always the cluster's name, "cluster1": remove it, or use another key`},
		"LabelOurs":       {"our own keys", join("--labels=stellarflow.io/x=1"), `--labels "stellarflow.io/x=1": the key "stellarflow.io/x" is kept for Stellarflow: use another key`},
		"LabelTwice":      {"which one counts?", join("--labels=a=1,a=2"), `--labels "a=2": the key "a" has the value "1" already: keep one of them`},
		"NamespaceKube":   {"system namespaces", join("--namespaces=argo,kube-system"), `--namespaces "kube-system" is a system namespace, where no Workflow may run: remove it`},
		"NamespaceSystem": {"our own", join("--namespaces=stellarflow-system"), `--namespaces "stellarflow-system" is a system namespace, where no Workflow may run: remove it`},
		"NamespaceName":   {"no namespace name", join("--namespaces=a.b"), `--namespaces "a.b" is no namespace name (must not contain dots): correct it`},
		"HubKubeconfig":   {"a file that is not there", join("--hub-kubeconfig=DIR/none"), `--hub-kubeconfig "DIR/none" cannot be read (no such file or directory): name an existing kubeconfig`},
		"StoreFile":       {"a file that is not there", []string{"install", "--artifact-store=DIR/none"}, `--artifact-store "DIR/none" cannot be read (no such file or directory): name an existing file`},
		"StoreText":       {"some text", []string{"install", "--artifact-store=DIR/text"}, `--artifact-store "DIR/text": line 1 is not NAME=value: write one setting a line, for example MINIO_BUCKET=workflows`},
		"StoreLoopback":   {"pods would dial themselves", []string{"install", "--artifact-store=DIR/localstore"}, `--artifact-store "DIR/localstore": MINIO_ENDPOINT "127.0.0.1:9000" is an address of this machine only: give one that the pods of every cluster reach`},
		"Controller":      {"a name that would break the guard's CEL", []string{"install", "--artifact-store=DIR/store", `--argo-controller=a"b`}, `--argo-controller "a\"b" is no user name: give it as system:serviceaccount:NAMESPACE:NAME`},
		"Archive":         {"no selector", []string{"install", "--artifact-store=DIR/store", "--archive=a=b=c"}, `--archive "a=b=c": it is none (the hub's Argo controller archives no Workflows), all, or the selector of the labels of those that it archives`},
		"ControllerNone":  {"none and one", []string{"install", "--artifact-store=DIR/store", "--argo-controller=none", "--argo-controller=a"}, `--argo-controller "none" stands alone: leave out the others`},
		"Image":           {"no image", []string{"install", "--artifact-store=DIR/store", "--argo-controller=none", "--dry-run", "--image=a b"}, `--image "a b" is no image reference: give it as REGISTRY/NAME:TAG`},
		"AbandonYes":      {"giving up is no accident", []string{"abandon", "w", "-n", "argo"}, "argo/w may still run on its cluster, to its end, and nobody on the hub will see it: add --yes to give it up all the same"},
		"OrphansAlone":    {"what about them?", []string{"orphans", "kill"}, `stellarflow orphans is followed by one of adopt, delete, list, got "kill"`},
		"OrphanOneWord":   {"which one?", []string{"orphans", "delete", "cluster1"}, "an orphan is named by two arguments: the cluster and NAMESPACE/NAME, as `stellarflow orphans list` shows them"},
		"OrphanNoKey":     {"names are not unique", []string{"orphans", "adopt", "cluster1", "w"}, "\"w\" is not NAMESPACE/NAME: write it as `stellarflow orphans list` does"},
		"MoveNone":        {"what is to be moved?", []string{"move"}, "the Workflow's name is missing: give it as the argument"},
		"LeaveKubeconfig": {"leave checks it as join does", []string{"leave", "cluster1", "--kubeconfig=DIR/exec"}, `--kubeconfig "DIR/exec": kubeconfig refused: exec runs the program "aws": use a ServiceAccount's token or client certificate data`},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			code, _, errOut := run(t, files, tc.args...)
			if code != ExitUsage {
				t.Errorf("%s: want exit code %d, got %d", tc.reason, ExitUsage, code)
			}
			if diff := cmp.Diff("Error: "+tc.err+"\nRun `stellarflow --help` for usage.\n", errOut); diff != "" {
				t.Errorf("%s (-want +got):\n%s", tc.reason, diff)
			}
			if strings.Contains(errOut, "t0ken") || strings.Contains(errOut, "s3cr3t") {
				t.Errorf("the error holds a credential: %s", errOut)
			}
		})
	}
}

// Every command can answer in JSON, on standard output and nothing else there, and says what its exit codes mean.
func TestEveryCommandSpeaksJSON(t *testing.T) {
	started := false
	commands := newRoot(Env{Name: "stellarflow"}, &started).Commands()
	if len(commands) < 9 {
		t.Fatalf("only %d commands were found", len(commands))
	}
	for _, command := range leaves(commands) {
		if command.Flags().ShorthandLookup("o") == nil {
			t.Errorf("%s has no -o", command.CommandPath())
		}
		if !strings.Contains(command.Long, "Exit codes: 0 ") {
			t.Errorf("%s does not say its exit codes", command.CommandPath())
		}
		if command.Short == "" || strings.HasSuffix(command.Short, ".") {
			t.Errorf("%s has no short text, or one with a full stop: %q", command.CommandPath(), command.Short)
		}
	}
}

// leaves are the commands that do something.
func leaves(commands []*cobra.Command) []*cobra.Command {
	var found []*cobra.Command
	for _, command := range commands {
		if command.HasSubCommands() {
			found = append(found, leaves(command.Commands())...)
		} else {
			found = append(found, command)
		}
	}
	return found
}

// What an action returns is JSON on standard output; what it says on the way is not; an error beside an answer decides the exit code.
func TestRuns(t *testing.T) {
	failed := errors.New("it failed")
	cases := map[string]struct {
		reason   string
		args     []string
		err      error
		code     int
		out, log string
	}{
		"Text":     {"words on the way and a printer", nil, nil, ExitOK, "on the way\nstellarflow v1  \n", ""},
		"JSON":     {"the answer alone is on standard output", []string{"-o", "json"}, nil, ExitOK, "{\n  \"version\": \"v1\",\n  \"go\": \"\",\n  \"platform\": \"\"\n}\n", "on the way\n"},
		"Failed":   {"no answer", []string{"-o=json"}, failed, ExitFailure, "", "on the way\nError: it failed\n"},
		"Findings": {"an answer that is bad news", nil, answeredError{errFindings}, ExitFindings, "on the way\nstellarflow v1  \n", "Error: something has to be mended\n"},
		"Partial":  {"an answer that is not whole", nil, answeredError{failed}, ExitFailure, "on the way\nstellarflow v1  \n", "Error: it failed\n"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			var out, log bytes.Buffer
			env := Env{Out: &out, Err: &log}
			command := env.runs(&cobra.Command{Use: "x", SilenceErrors: true, SilenceUsage: true}, func(_ context.Context, env Env, _ []string) (any, error) {
				env.sayf("on the way")
				return versionInfo{Version: "v1"}, tc.err
			})
			command.SetArgs(append([]string{}, tc.args...))
			code := env.exit(command.ExecuteContext(t.Context()), true, "stellarflow")
			if diff := cmp.Diff([]any{tc.code, tc.out, tc.log}, []any{code, out.String(), log.String()}); diff != "" {
				t.Errorf("%s (-want +got):\n%s", tc.reason, diff)
			}
		})
	}
}

func TestHubCannotBeFound(t *testing.T) {
	t.Setenv("KUBECONFIG", filepath.Join(t.TempDir(), "none"))
	code, _, errOut := run(t, nil, "clusters")
	want := "Error: find the hub: invalid configuration: no configuration has been provided, try setting KUBERNETES_MASTER environment variable: name its kubeconfig with --kubeconfig, and the context with --context\n"
	if diff := cmp.Diff(want, errOut); diff != "" || code != ExitFailure {
		t.Errorf("exit code %d (-want +got):\n%s", code, diff)
	}
}

func TestPluginName(t *testing.T) {
	var out bytes.Buffer
	code := Main(t.Context(), Env{Out: &out, Err: &out, Now: time.Now, Name: "/usr/local/bin/kubectl-stellarflow"}, []string{"clusters", "--help"})
	if code != ExitOK || !strings.Contains(out.String(), "kubectl stellarflow clusters [flags]") {
		t.Errorf("want the usage of a plugin, got %d: %s", code, out.String())
	}
}

func TestVersion(t *testing.T) {
	old := Version
	t.Cleanup(func() { Version = old })
	Version = "v1.2.3"
	code, out, _ := run(t, nil, "version", "-o", "json")
	if code != ExitOK || !strings.Contains(out, `"version": "v1.2.3"`) {
		t.Errorf("want v1.2.3, got %d: %s", code, out)
	}
	if _, out, _ := run(t, nil, "version"); !strings.HasPrefix(out, "stellarflow v1.2.3 ") {
		t.Errorf("want v1.2.3, got %s", out)
	}
}

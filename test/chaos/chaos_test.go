package chaos

import (
	"bytes"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	ctrl "sigs.k8s.io/controller-runtime"

	"stellarflow.io/stellarflow/hack/suite/sidebyside"
	"stellarflow.io/stellarflow/test/chaos/history"
)

// testFleet is one fleet for all tests of this package; they use it one after the other.
type testFleet struct {
	*Fleet
	dir string
}

var one struct {
	once sync.Once
	testFleet
	err error
}

// processes is how many run at once: with a fleet each one for TestFew, one for TestMutants1 and one for TestMutants2, and one for the rest.
const processes = 4

func TestMain(m *testing.M) {
	ctrl.SetLogger(logr.Discard()) // envtest says what it does
	os.Exit(sidebyside.Run(m, processes, func(code int) {
		if one.Fleet == nil {
			return
		}
		one.Stop()
		if code == 0 {
			_ = os.RemoveAll(one.dir)
		}
	}))
}

func shared(t *testing.T) testFleet {
	t.Helper()
	one.once.Do(func() {
		assets := os.Getenv("KUBEBUILDER_ASSETS")
		if assets == "" {
			t.Fatal("KUBEBUILDER_ASSETS is not set to a directory with etcd and kube-apiserver: run `make chaos-few`")
		}
		if one.dir, one.err = os.MkdirTemp("", "stellarflow-chaos-"); one.err == nil {
			one.Fleet, one.err = Start(t.Context(), assets, one.dir)
		}
	})
	if one.err != nil {
		t.Fatalf("start the fleet: %v", one.err)
	}
	return one.testFleet
}

// run does one run, and keeps what it wrote if the test fails.
func (f testFleet) run(t *testing.T, options Options) (history.Report, string) {
	t.Helper()
	out := &bytes.Buffer{}
	options.Out = out
	options.Dir = filepath.Join(f.dir, strings.ReplaceAll(t.Name(), "/", "-"))
	if err := os.MkdirAll(options.Dir, privateDir); err != nil {
		t.Fatal(err)
	}
	report, records, err := f.Run(t.Context(), options)
	path := filepath.Join(options.Dir, "history.jsonl")
	if err := write(path, records); err != nil {
		t.Error(err)
	}
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the history and the logs are in %s", options.Dir)
		}
	})
	return report, out.String()
}

// mutantOptions are those of a small run that is broken in a few ways only.
func mutantOptions(manager string, names []string, m mutant) Options {
	const seed, n, fast = 11, 40, 20
	options := Options{Seed: seed, N: n, Manager: manager, Mutant: "," + strings.Join(names, ",") + ",", PerSecond: fast, Calm: 1500 * time.Millisecond, Tail: 4 * time.Second, Patience: 6 * time.Second, Alone: true, Change: m.change, Always: m.always}
	if len(m.kinds) > 0 {
		options.Tail += relist
		options.Lanes = []*lane{{rand.New(rand.NewPCG(seed, 5)), m.kinds, append([]string{history.Hub}, clusterNames...)}}
	}
	return options
}

// TestFew is what CI runs of `make chaos`: a few hundred Workflows, with a seed that is always the same and one of the day.
func TestFew(t *testing.T) {
	const n = 200
	f := shared(t)
	manager, err := buildManager(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	seeds := []uint64{42}
	if text := os.Getenv("SEED"); text != "" {
		seed, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		seeds = append(seeds, seed)
	}
	for _, seed := range seeds {
		t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) {
			options := Options{
				Seed: seed, N: n, Manager: manager, PerSecond: perSecond, Tail: tail, Patience: patience, Lanes: lanes(seed, clusterNames),
			}
			report, out := f.run(t, options)
			t.Logf("seed %d, %d Workflows: %s", seed, n, report.Line())
			if report.Placed < n/2 || report.Starts < n/2 || report.Ended < n/4 {
				t.Errorf("of %d Workflows %d were placed, %d runs started and %d ended: this shows nothing", n, report.Placed, report.Starts, report.Ended)
			}
			if len(report.Findings) > 0 {
				t.Errorf("seed %d: %s\n%s\n%s", seed, report.Line(), findings(report), out)
			}
		})
	}
}

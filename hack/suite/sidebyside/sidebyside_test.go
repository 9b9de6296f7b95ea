package sidebyside

import (
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestDeal(t *testing.T) {
	for name, test := range map[string]struct {
		tests     []string
		processes int
		wanted    [][]string // what each process runs
	}{
		"none":                     {nil, 3, nil},
		"fewer than processes":     {[]string{"TestA"}, 3, [][]string{{"TestA"}}},
		"one process":              {[]string{"TestA", "TestB"}, 1, [][]string{{"TestA", "TestB"}}},
		"names that begin another": {[]string{"TestA", "TestAB", "TestABC"}, 2, [][]string{{"TestA", "TestABC"}, {"TestAB"}}},
	} {
		t.Run(name, func(t *testing.T) {
			var got [][]string
			for _, skip := range deal(test.tests, test.processes) {
				var runs []string
				for _, one := range test.tests {
					if !regexp.MustCompile(skip).MatchString(one) {
						runs = append(runs, one)
					}
				}
				got = append(got, runs)
			}
			if diff := cmp.Diff(test.wanted, got); diff != "" {
				t.Errorf("what each process runs (-wanted +got):\n%s", diff)
			}
		})
	}
}

// envFail names the process test that is to fail.
const envFail = "SIDEBYSIDE_FAIL"

func TestMain(m *testing.M) {
	if os.Getenv(envFail) == "" {
		os.Exit(m.Run())
	}
	os.Exit(Run(m, 2, func(int) { fmt.Println("ended") }))
}

// TestOne and TestTwo are what TestRun runs, in a process each.
func TestOne(t *testing.T) { played(t) }
func TestTwo(t *testing.T) { played(t) }

func played(t *testing.T) {
	fmt.Printf("%s in %d\n", t.Name(), os.Getpid())
	if t.Name() == os.Getenv(envFail) {
		t.Error("it was to fail")
	}
}

// TestRun runs tests in two processes: each once, each in its own, and a failure of either is told.
func TestRun(t *testing.T) {
	for _, fails := range []string{"none", "TestOne", "TestTwo"} {
		t.Run(fails, func(t *testing.T) {
			command := exec.Command(os.Args[0], "-test.run=^(TestOne|TestTwo)$") //nolint:gosec // ourselves
			command.Env = append(os.Environ(), envFail+"="+fails)
			raw, err := command.CombinedOutput()
			out := string(raw)
			if (err != nil) != (fails != "none") || strings.Contains(out, "--- FAIL: "+fails+" ") != (fails != "none") {
				t.Errorf("it ended with %v:\n%s", err, out)
			}
			one, two := regexp.MustCompile(`TestOne in (\d+)\n`).FindAllStringSubmatch(out, -1), regexp.MustCompile(`TestTwo in (\d+)\n`).FindAllStringSubmatch(out, -1)
			if len(one) != 1 || len(two) != 1 || one[0][1] == two[0][1] || strings.Count(out, "ended\n") != 2 {
				t.Errorf("wanted each test once and in a process of its own:\n%s", out)
			}
		})
	}
}

package chaos

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"stellarflow.io/stellarflow/test/chaos/fault"
	"stellarflow.io/stellarflow/test/chaos/history"
)

// replacement puts a text in the place of another that is in a file exactly once.
type replacement struct{ file, old, mutated string }

// mutant breaks a law on purpose. The manager is built once with all of them; those that the environment names are on. In mutated
// texts `mutant` is whether this one is. One that disturbs another in nothing is on beside it, in the same run.
type mutant struct {
	reason  string
	count   history.Count
	kinds   []kind // what is broken beside, for the mutation to show
	always  fault.Setting
	change  func(*plan)
	changes []replacement
}

// beside are mutants that are on in the run of another.
var beside = map[string]string{"keys-dropped": "orphans-killed", "unheld": "orphans-killed"}

const (
	next    = "pkg/hub/lifecycle/next.go"
	ends    = "pkg/hub/lifecycle/ends.go"
	syncer  = "pkg/hub/lifecycle/syncer.go"
	gone    = "pkg/hub/cleanup/gone.go"
	create  = "pkg/hub/downsync/create.go"
	object  = "pkg/hub/downsync/object.go"
	mirror  = "pkg/hub/upsync/mirror.go"
	removal = "pkg/hub/cleanup/cleanup.go"
	asked   = "pkg/hub/lifecycle/intents.go"
	applies = "pkg/hub/intent/apply.go"
	keys    = "pkg/hub/downsync/keys.go"
	hold    = "pkg/hub/hold/decide.go"
	shown   = "pkg/hub/podmirror/next.go"
)

var mutants = map[string]mutant{
	"made-again": {
		"a WEC copy that was seen and is gone is created again", history.StartedTwice, nil,
		fault.Setting{},
		forced,
		[]replacement{{next, `	case placement.WECUID != "":
		return Vanished
	case v.Seen != "":`, `	case placement.WECUID != "" && !mutant:
		return Vanished
	case v.Seen != "" && !mutant:`}},
	},
	"own-names": {
		"a create is repeated under another name", history.StartedTwice, nil,
		fault.Setting{Lose: 0.3},
		nil,
		[]replacement{{create, `	created, err := client.Create(ctx, wecCopy,`, `	if mutant {
		wecCopy.SetName(wecCopy.GetName() + "-" + c.Now().Format("050000000"))
	}
	created, err := client.Create(ctx, wecCopy,`}},
	},
	"no-harvest": {
		"a WEC copy is not held until its end is shown", history.TerminalLost,
		[]kind{refuseNet, stopAPI},
		fault.Setting{},
		nil,
		[]replacement{
			{object, `	wecCopy.SetFinalizers([]string{stellarflow.FinalizerHarvest})`, `	if !mutant {
		wecCopy.SetFinalizers([]string{stellarflow.FinalizerHarvest})
	}`},
			{next, `case !held && !ended && v.WEC.DeletionTimestamp == nil:`, `case !mutant && !held && !ended && v.WEC.DeletionTimestamp == nil:`},
		},
	},
	"let-go": {
		"a hub copy goes although its WEC copy is there", history.TerminalLost, nil,
		fault.Setting{},
		nil,
		[]replacement{
			{next, `func whileDeleting(v View) (Step, time.Duration) {`, `func whileDeleting(v View) (Step, time.Duration) {
	if mutant {
		return FinishCleanup, 0
	}`},
			{gone, `	if err := look(ctx, clients, key, placement); err != nil {`, `	if mutant {
		return 0, nil
	}
	if err := look(ctx, clients, key, placement); err != nil {`},
		},
	},
	"backwards": {
		"an older state of a WEC copy is mirrored over a newer one", history.FalseShown, nil,
		fault.Setting{Stale: 0.5},
		nil,
		[]replacement{{mirror, `err != nil || order < 0 {`, `err != nil || order < 0 && !mutant {`}},
	},
	"any-owner": {
		"what has the name is taken for the copy, whatever it says", history.ForeignTouched, nil,
		fault.Setting{},
		nil,
		[]replacement{
			{next, `	case !placement.Owns(v.WEC):`, `	case !mutant && !placement.Owns(v.WEC):`},
			{syncer, `	if err == nil && !placement.Owns(&wecCopy.Metadata) {`, `	if err == nil && !mutant && !placement.Owns(&wecCopy.Metadata) {`},
			{create, `		if placement.Owns(found) {`, `		if mutant || placement.Owns(found) {`},
		},
	},
	"orphans-killed": {
		"an unfinished copy that the hub does not know is removed", history.ForeignTouched, nil,
		fault.Setting{},
		nil,
		[]replacement{{ends, `	if known || !stellarflow.Completed(v.WEC) {`, `	if !mutant && (known || !stellarflow.Completed(v.WEC)) {`}},
	},
	"kept": {
		"the cleanup finalizer is never taken off", history.Stuck, nil,
		fault.Setting{},
		nil,
		[]replacement{{ends, `	operations := hubcopy.Release(v.Hub)
	if operations == nil {
		return 0, nil
	}
	if _, err := s.Hub.Patch(`, `	operations := hubcopy.Release(v.Hub)
	if operations == nil || mutant {
		return 0, nil
	}
	if _, err := s.Hub.Patch(`}},
	},
	"pods-collected": {
		"whoever deletes a mirrored pod deletes the real one", history.PodsBroken, nil,
		fault.Setting{},
		nil,
		[]replacement{{shown, `	return Asked(v.Mirror) && !v.Cordoned && v.fresh(ask.Time)`, `	return mutant || Asked(v.Mirror) && !v.Cordoned && v.fresh(ask.Time)`}},
	},
	"asks-dropped": {
		"what is asked is said to be done, and is not", history.AsksBroken, nil,
		fault.Setting{},
		asking(askHold),
		[]replacement{{asked, knownAsk, knownAsk + `	if mutant {
		known = len(waiting)
	}
`}},
	},
	"asks-repeated": {
		"what is asked is done again, since nobody looks whether it was done", history.StartedTwice, nil,
		fault.Setting{},
		asking(askRetry),
		[]replacement{
			{asked, knownAsk, knownAsk + `	if mutant {
		known = 0
	}
`},
			{applies, `			return Effect{}, refuse("it runs again already")`, `			if mutant {
				return Effect{}, fmt.Errorf("it runs")
			}
			return Effect{}, refuse("it runs again already")`},
			{applies, `intent.Base != mirrored`, noBase},
		},
	},
	"any-base": {
		"a retry is done late, whatever has become of the end that it is of", history.AsksBroken, nil,
		fault.Setting{},
		retriedTwice,
		[]replacement{
			{asked, firstAsk, firstAsk + `		if mutant && s.Now().Sub(left[0].Time) < 3*time.Second {
			result.failed = errors.New("later")
			return result
		}
`},
			{applies, `intent.Base != mirrored`, noBase},
		},
	},
	"keys-dropped": {
		"a change of labels and annotations is said to be passed on, and is not", history.AsksBroken, nil,
		fault.Setting{},
		nil,
		[]replacement{{keys, `	given := map[string]bool{}
`, `	if mutant {
		return append(hubcopy.Unchanged(wecCopy), hubcopy.Add(now, "metadata", "annotations", stellarflow.AnnotationPassedOn))
	}
	given := map[string]bool{}
`}},
	},
	"unheld": {
		"what is to be held is made a Workflow that nobody selects", history.StartedTwice, nil,
		fault.Setting{},
		nil,
		[]replacement{{hold, `		return []hubcopy.Operation{hubcopy.Add(true, "spec", "suspend")}, ""
`, `		if mutant {
			return []hubcopy.Operation{hubcopy.Remove("metadata", "labels", "kubestellar.io/cluster")}, ""
		}
		return []hubcopy.Operation{hubcopy.Add(true, "spec", "suspend")}, ""
`}},
	},
	"held": {
		"harvest is never released", history.Stuck, nil,
		fault.Setting{},
		nil,
		[]replacement{{
			removal, `	return Patch(ctx, wec, wecCopy, hubcopy.RemoveFinalizer(wecCopy, stellarflow.FinalizerHarvest))`,
			`	if mutant {
		return nil, nil
	}
	return Patch(ctx, wec, wecCopy, hubcopy.RemoveFinalizer(wecCopy, stellarflow.FinalizerHarvest))`,
		}},
	},
}

// What the mutations of actions put something after.
const (
	knownAsk = `	known := 1 + slices.IndexFunc(waiting, func(i stellarflow.Intent) bool { return string(i.ID) == applied })
`
	firstAsk = `	if len(left) > 0 && known == 0 { // one at a time: what is done is written before the next
`
	noBase = `!mutant && intent.Base != mirrored`
)

// asking has each Workflow asked for the same soon, and not deleted for it.
func asking(what string) func(*plan) {
	return func(p *plan) { p.asks, p.asksT, p.deleteAfter, p.keep = what, 100*time.Millisecond, 0, 0 }
}

// retriedTwice lets a person on the WEC retry what another retries on the hub.
func retriedTwice(p *plan) {
	asking(askRetry)(p)
	p.wec, p.wecT = doRetry, 1200*time.Millisecond
}

// forced lets a person on the WEC delete each copy by force.
func forced(p *plan) { p.wec, p.wecT = doForce, 900*time.Millisecond }

// overlay writes mutated copies of the sources and returns the file for go build -overlay. It fails if a text is not in its file
// exactly once: a mutation that changes nothing would prove nothing.
func overlay(t *testing.T, dir string) string {
	t.Helper()
	sources := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(mutants)) {
		for _, r := range mutants[name].changes {
			path := filepath.Join(root(), r.file)
			if _, known := sources[path]; !known {
				raw, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				sources[path] = string(raw)
			}
			if n := strings.Count(sources[path], r.old); n != 1 {
				t.Fatalf("mutant %s: this is %d times in %s, not once: write the mutation anew\n%s", name, n, r.file, r.old)
			}
			sources[path] = strings.Replace(sources[path], r.old, strings.ReplaceAll(r.mutated, "mutant", fmt.Sprintf("mutantIs(%q)", name)), 1)
		}
	}
	replace := map[string]string{}
	for path, source := range sources {
		replace[path] = filepath.Join(dir, strings.ReplaceAll(path, string(filepath.Separator), "_"))
		packageName := filepath.Base(filepath.Dir(path))
		added := filepath.Join(filepath.Dir(path), "mutants.go") // exists in the overlay only
		replace[added] = filepath.Join(dir, "mutants_"+packageName+".go")
		writeFile(t, replace[path], source)
		writeFile(t, replace[added], fmt.Sprintf("package %s\n\nimport (\n\t\"os\"\n\t\"strings\"\n)\n\nfunc mutantIs(name string) bool { return strings.Contains(os.Getenv(%q), \",\"+name+\",\") }\n", packageName, fault.EnvMutant))
	}
	raw, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "overlay.json")
	writeFile(t, path, string(raw))
	return path
}

func writeFile(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), privateFile); err != nil {
		t.Fatal(err)
	}
}

// TestMutationsFit needs no cluster: a change of a source that takes a mutation its text is seen at once.
func TestMutationsFit(t *testing.T) { overlay(t, t.TempDir()) }

// TestMutants1 and TestMutants2 break each law on purpose and let the checker find it; every count is reached. Each has every second run: they mostly
// wait, and are in a process each.
func TestMutants1(t *testing.T) { testMutants(t, 0) }
func TestMutants2(t *testing.T) { testMutants(t, 1) }

func testMutants(t *testing.T, part int) {
	const parts = 2
	dir := t.TempDir()
	manager, err := buildManager(t.Context(), dir, "-overlay", overlay(t, dir))
	if err != nil {
		t.Fatal(err)
	}
	f := shared(t)
	reached := map[history.Count]bool{}
	runs := 0
	for _, name := range slices.Sorted(maps.Keys(mutants)) {
		m := mutants[name]
		reached[m.count] = true
		if beside[name] != "" {
			continue
		}
		if runs++; runs%parts != part {
			continue
		}
		together := []string{name}
		for _, other := range slices.Sorted(maps.Keys(mutants)) {
			if beside[other] == name {
				together = append(together, other)
			}
		}
		t.Run(strings.Join(together, "+"), func(t *testing.T) {
			options := mutantOptions(manager, together, m)
			report, out := f.run(t, options)
			for try := 0; len(missed(report, together)) > 0 && try < 2; try++ { // a slow machine gets more time for the same
				options.Tail, options.Patience = 3*options.Tail, 2*options.Patience
				report, out = f.run(t, options)
			}
			t.Logf("%s: %s", m.reason, report.Line())
			for _, name := range missed(report, together) {
				t.Errorf("%s, and the run reports %s: not found\n%s", mutants[name].reason, report.Line(), out)
			}
		})
	}
	for _, count := range history.Counts {
		if !reached[count] {
			t.Errorf("no mutant is about %q", count)
		}
	}
	if runs++; runs%parts != part {
		return
	}
	t.Run("none", func(t *testing.T) { // the mutations that are off change nothing
		options := mutantOptions(manager, nil, mutant{kinds: []kind{lose, empty, stale, refuseNet}})
		options.Patience = patience
		if report, out := f.run(t, options); len(report.Findings) > 0 {
			t.Errorf("without a mutation it reports %s\n%s\n%s", report.Line(), findings(report), out)
		}
	})
}

// missed returns the mutants that a run reports nothing about.
func missed(report history.Report, names []string) []string {
	return slices.DeleteFunc(slices.Clone(names), func(name string) bool { return report.Of(mutants[name].count) > 0 })
}

func findings(report history.Report) string {
	var b bytes.Buffer
	for _, finding := range report.Findings {
		fmt.Fprintln(&b, finding.Count, finding.Time.Format("15:04:05.000"), finding.UID, finding.Text)
	}
	return b.String()
}

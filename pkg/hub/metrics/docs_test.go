package metrics

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// row is a row of the table of metrics: name, type, labels.
var row = regexp.MustCompile("(?m)^\\| `(stellarflow_[a-z_]+)` \\| (gauge|counter|histogram) \\| ([^|]*)\\|")

// TestEveryMetricIsExplained compares the registry with the page for operators, in both directions.
func TestEveryMetricIsExplained(t *testing.T) {
	raw, err := os.ReadFile(filepath.Join("..", "..", "..", "docs", "operations.md"))
	if err != nil {
		t.Fatal(err)
	}
	documented := map[string]string{}
	for _, match := range row.FindAllStringSubmatch(string(raw), -1) {
		documented[match[1]] = match[2] + " " + strings.NewReplacer("`", "", " ", "").Replace(match[3])
	}
	_, families := full(t)
	registered := map[string]string{}
	for name, family := range families {
		var labels []string
		for _, pair := range family.GetMetric()[0].GetLabel() {
			labels = append(labels, pair.GetName())
		}
		slices.Sort(labels)
		registered[name] = strings.ToLower(family.GetType().String()) + " " + strings.Join(labels, ",")
	}
	if diff := cmp.Diff(registered, documented); diff != "" {
		t.Errorf("docs/operations.md and the code differ, -code +page:\n%s", diff)
	}
	for _, name := range regexp.MustCompile(`stellarflow_[a-z_]+`).FindAllString(string(raw), -1) {
		plain := strings.TrimSuffix(strings.TrimSuffix(strings.TrimSuffix(name, "_bucket"), "_count"), "_sum")
		if _, found := registered[plain]; !found {
			t.Errorf("docs/operations.md speaks of %s, which does not exist", name)
		}
	}
}

package stellarflow

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestParseArchive(t *testing.T) {
	for text, want := range map[string]struct {
		said        string // what String returns; empty if it is refused
		here, other bool   // what is taken: labels team=here, and others
	}{
		"none": {"none", false, false}, "all": {"all", true, true},
		"team=here": {"team=here", true, false}, "team in (here,there), x!=y": {"team in (here,there),x!=y", true, false}, "!team": {"!team", false, true},
		"": {}, "a=b=c": {}, "team in": {},
	} {
		archive, err := ParseArchive(text)
		if (err != nil) != (want.said == "") {
			t.Errorf("%q: %v", text, err)
			continue
		}
		if err != nil {
			continue
		}
		if archive.String() != want.said || archive.None() != (want.said == "none") {
			t.Errorf("%q is %q, want %q", text, archive, want.said)
		}
		if here, other := archive.Takes(map[string]string{"team": "here"}), archive.Takes(nil); here != want.here || other != want.other {
			t.Errorf("%q takes %v, %v, want %v, %v", text, here, other, want.here, want.other)
		}
		if again, err := ParseArchive(archive.String()); err != nil || again.String() != archive.String() {
			t.Errorf("%q is read back as %q (%v)", text, again, err)
		}
	}
	if archive := (Archive{}); archive.String() != "none" || archive.Takes(nil) {
		t.Error("the zero value archives")
	}
}

func TestArchiveOf(t *testing.T) {
	for said, selector := range map[string]*metav1.LabelSelector{
		"all":                      nil,
		"a=b,c in (d,e),!f":        {MatchLabels: map[string]string{"a": "b"}, MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "c", Operator: "In", Values: []string{"e", "d"}}, {Key: "f", Operator: "DoesNotExist"}}},
		"workflows.argoproj.io/x=": {MatchLabels: map[string]string{"workflows.argoproj.io/x": ""}},
	} {
		archive, err := ArchiveOf(selector)
		if err != nil || archive.String() != said {
			t.Errorf("%+v is %q (%v), want %q", selector, archive, err, said)
		}
		if again, err := ParseArchive(archive.String()); err != nil || again.String() != said {
			t.Errorf("%q is read back as %q (%v)", said, again, err)
		}
	}
	if archive, err := ArchiveOf(&metav1.LabelSelector{}); err != nil || archive.String() != "all" {
		t.Errorf("a selector of nothing selects all: %q (%v)", archive, err)
	}
	for reason, requirement := range map[string]metav1.LabelSelectorRequirement{
		"an operator that Argo would refuse":    {Key: "a", Operator: "Like"},
		"a selector that would be read as all":  {Key: "all", Operator: "Exists"},
		"a selector that would be read as none": {Key: "none", Operator: "Exists"},
	} {
		if archive, err := ArchiveOf(&metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{requirement}}); err == nil {
			t.Errorf("%s is taken: %s", reason, archive)
		}
	}
}

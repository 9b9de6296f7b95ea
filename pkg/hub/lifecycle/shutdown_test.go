package lifecycle

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
	"stellarflow.io/stellarflow/pkg/hub/upsync"
)

func TestToTell(t *testing.T) {
	for name, test := range map[string]struct {
		asked, told, there string
		ended              bool
		want               telling
	}{
		"nothing was asked":                    {"", "", "", false, tellNothing},
		"somebody stopped it there":            {"", "", "Stop", false, tellNothing},
		"stop":                                 {"Stop", "", "", false, tellAsked},
		"what is being stopped there already":  {"Terminate", "", "Stop", false, tellAsked},
		"it was told":                          {"Stop", "Stop", "Stop", false, tellNothing},
		"the last word":                        {"Terminate", "Stop", "Stop", false, tellAsked},
		"it was told, and terminated there":    {"Stop", "Stop", "Terminate", false, tellNothing},
		"taken back while it is shutting down": {"", "Stop", "Stop", false, tellNoted},
		"it has ended as asked":                {"Stop", "Stop", "Stop", true, tellNothing},
		"too late":                             {"Stop", "", "", true, tellNoted},
		"retried there":                        {"Stop", "Stop", "", false, tellBack},
		"retried there, and taken back here":   {"", "Stop", "", false, tellNoted},
		"retried there, and asked anew":        {"Terminate", "Stop", "", false, tellAsked},
		"retried there, and ended":             {"Stop", "Stop", "", true, tellNothing},
	} {
		if got := toTell(test.asked, test.told, test.there, test.ended); got != test.want {
			t.Errorf("%s: want %s, got %s", name, test.want, got)
		}
	}
}

func TestFollows(t *testing.T) {
	observed := func(generation int64) stellarflow.Observed {
		return stellarflow.Observed{WECUID: "w", ResourceVersion: "7", Generation: generation, Hash: "h"}
	}
	var nothing stellarflow.Observed
	for name, test := range map[string]struct {
		observed             stellarflow.Observed
		version, told, there string
		read                 int64
		want                 bool
	}{
		"nobody has written":                       {observed(3), "7", "", "", 0, true},
		"somebody has written":                     {observed(2), "8", "", "", 0, false},
		"it was behind":                            {observed(0), "8", "", "", 3, false},
		"just created from it":                     {nothing, "7", "", "", 3, true},
		"just created, and somebody has written":   {nothing, "7", "", "", 2, false},
		"created by an earlier process":            {nothing, "7", "", "", 0, false},
		"the cluster was restored":                 {observed(3), "6", "", "", 0, false},
		"versions of which nobody knows the order": {observed(3), "x", "", "", 0, false},
		"it ends as asked":                         {observed(3), "8", "Stop", "Stop", 0, true},
		"it was retried there":                     {observed(3), "8", "Stop", "", 0, false},
	} {
		hub := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Generation: 3}}
		wec := upsync.WECCopy{Metadata: metav1.ObjectMeta{ResourceVersion: test.version, Annotations: map[string]string{stellarflow.AnnotationShutdown: test.told}}}
		wec.Spec.Shutdown = test.there
		if got := follows(View{Hub: hub, Observed: test.observed, Read: test.read}, wec); got != test.want {
			t.Errorf("%s: want %v, got %v", name, test.want, got)
		}
	}
}

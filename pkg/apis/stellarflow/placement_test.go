package stellarflow

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// hubCopy is a Workflow with a cluster label and a placement annotation; an empty one is left out.
func hubCopy(uid types.UID, cluster, record string) *metav1.PartialObjectMetadata {
	w := NewWorkflowMetadata()
	w.UID = uid
	if cluster != "" {
		w.Labels = map[string]string{LabelCluster: cluster}
	}
	if record != "" {
		w.Annotations = map[string]string{AnnotationPlacement: record}
	}
	return w
}

func TestPlacementOf(t *testing.T) {
	full := Placement{
		UID: "u1", Policy: "p", Cluster: "cluster1", ClusterID: "c1", Attempt: 2, Time: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), WECUID: "w1",
		Refused: []ClusterName{"cluster0"}, Hidden: true,
	}
	least := Placement{UID: "u1", Cluster: "cluster1", Attempt: 1}
	cases := map[string]struct {
		reason string
		object metav1.Object
		want   Placement
		ok     bool
	}{
		"Full":         {"what String writes is read", hubCopy("u1", "cluster1", full.String()), full, true},
		"Least":        {"optional fields may be missing", hubCopy("u1", "cluster1", least.String()), least, true},
		"Unknown":      {"a newer hub's fields do not matter", hubCopy("u1", "cluster1", `{"uid":"u1","cluster":"cluster1","attempt":1,"new":{"a":[1]}}`), least, true},
		"None":         {"nothing is placed", hubCopy("u1", "", ""), Placement{}, false},
		"LabelOnly":    {"a user may set the label; it counts only with the record", hubCopy("u1", "cluster1", ""), Placement{}, false},
		"RecordOnly":   {"the guard selects by the label, so a record without it does not count", hubCopy("u1", "", full.String()), Placement{}, false},
		"Copied":       {"a resubmit or an import carries another object's record", hubCopy("u2", "cluster1", full.String()), Placement{}, false},
		"OtherCluster": {"label and record must agree", hubCopy("u1", "cluster2", full.String()), Placement{}, false},
		"BrokenJSON":   {"a person edited it", hubCopy("u1", "cluster1", `{"uid":"u1"`), Placement{}, false},
		"OtherTypes":   {"JSON, but no record", hubCopy("u1", "cluster1", `{"uid":"u1","cluster":"cluster1","attempt":"1"}`), Placement{}, false},
		"AttemptZero":  {"attempts count from 1", hubCopy("u1", "cluster1", `{"uid":"u1","cluster":"cluster1","attempt":0}`), Placement{}, false},
		"AttemptBelow": {"attempts count from 1", hubCopy("u1", "cluster1", `{"uid":"u1","cluster":"cluster1","attempt":-1}`), Placement{}, false},
		"BadCluster":   {"a name that is no DNS label is no cluster of ours", hubCopy("u1", "Cluster_1", `{"uid":"u1","cluster":"Cluster_1","attempt":1}`), Placement{}, false},
		"NoCluster":    {"neither is an empty one", hubCopy("u1", "", `{"uid":"u1","attempt":1}`), Placement{}, false},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			got, ok := PlacementOf(tc.object)
			if diff := cmp.Diff(tc.want, got); diff != "" || ok != tc.ok {
				t.Errorf("%s: PlacementOf() is %v, want %v, -want +got:\n%s", tc.reason, ok, tc.ok, diff)
			}
		})
	}
}

func TestPlacementString(t *testing.T) {
	full := Placement{
		UID: "u1", Policy: "p", Cluster: "cluster1", ClusterID: "c1", Attempt: 2, Time: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), WECUID: "w1",
		Refused: []ClusterName{"cluster0"}, Hidden: true,
	}
	want := `{"uid":"u1","policy":"p","cluster":"cluster1","clusterID":"c1","attempt":2,"time":"2026-01-02T03:04:05Z","wecUID":"w1","refused":["cluster0"],"hidden":true}`
	if diff := cmp.Diff(want, full.String()); diff != "" {
		t.Errorf("the stored form is read by other versions of the hub; -want +got:\n%s", diff)
	}
	unwritable := Placement{Time: time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)}
	if got := unwritable.String(); got != "" {
		t.Errorf("a time that JSON cannot hold gives %q, want no record rather than half of one", got)
	}
}

func FuzzPlacementOf(f *testing.F) {
	f.Add("u1", "cluster1", Placement{UID: "u1", Cluster: "cluster1", Attempt: 1, WECUID: "w", Refused: []ClusterName{"a"}}.String())
	f.Add("u1", "cluster1", `{"uid":"u1","cluster":"cluster1","attempt":1,"time":"2026-01-02T03:04:05.123456789+23:59","refused":[]}`)
	f.Add("", "", "null")
	f.Fuzz(func(t *testing.T, uid, cluster, record string) {
		object := hubCopy(types.UID(uid), cluster, record)
		placement, ok := PlacementOf(object)
		if !ok {
			return
		}
		if placement.Cluster.Validate() != nil || string(placement.UID) != uid || placement.Attempt < 1 {
			t.Errorf("%q counts as %+v", record, placement)
		}
		object.Annotations[AnnotationPlacement] = placement.String()
		again, ok := PlacementOf(object)
		if diff := cmp.Diff(placement, again, cmpopts.EquateEmpty()); !ok || diff != "" {
			t.Errorf("what String writes for %q is not read back (%v):\n%s", record, ok, diff)
		}
	})
}

func TestParseObserved(t *testing.T) {
	cases := map[string]struct {
		reason string
		value  string
		want   Observed
		ok     bool
	}{
		"Full":           {"what String writes", Observed{"w1", "123", 7, "abc"}.String(), Observed{"w1", "123", 7, "abc"}, true},
		"NoHash":         {"a hash may be empty: it then equals no other", "w1/123/7/", Observed{"w1", "123", 7, ""}, true},
		"Empty":          {"placed, never mirrored", "", Observed{}, false},
		"TooFew":         {"an older form", "w1/123/7", Observed{}, false},
		"TooMany":        {"a newer form", "w1/123/7/abc/x", Observed{}, false},
		"NoUID":          {"it would match a copy without one", "/123/7/abc", Observed{}, false},
		"NoVersion":      {"it could not be compared", "w1//7/abc", Observed{}, false},
		"NoGeneration":   {"it is no number", "w1/123/x/abc", Observed{}, false},
		"HugeGeneration": {"it does not fit", "w1/123/99999999999999999999/abc", Observed{}, false},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			got, ok := ParseObserved(tc.value)
			if diff := cmp.Diff(tc.want, got); diff != "" || ok != tc.ok {
				t.Errorf("%s: ParseObserved(%q) is %v, want %v, -want +got:\n%s", tc.reason, tc.value, ok, tc.ok, diff)
			}
		})
	}
}

func FuzzParseObserved(f *testing.F) {
	f.Add("w1/123/7/abc")
	f.Add("w1/123/+7/")
	f.Add("///")
	f.Fuzz(func(t *testing.T, value string) {
		observed, ok := ParseObserved(value)
		if !ok {
			return
		}
		again, ok := ParseObserved(observed.String())
		if diff := cmp.Diff(observed, again); !ok || diff != "" {
			t.Errorf("what String writes for %q is not read back (%v):\n%s", value, ok, diff)
		}
	})
}

func TestClusterNameValidate(t *testing.T) {
	cases := map[string]struct {
		reason string
		name   ClusterName
		valid  bool
	}{
		"Plain":     {"the usual name", "cluster1", true},
		"Longest":   {"63 characters are a label value", ClusterName(strings.Repeat("a", 63)), true},
		"TooLong":   {"64 are not", ClusterName(strings.Repeat("a", 64)), false},
		"Subdomain": {"a ManagedCluster may be named so, a label of ours may not", "a.b", false},
		"UpperCase": {"not a DNS label", "Cluster", false},
		"Empty":     {"not a name", "", false},
		"Waiting":   {"the index's value for Workflows that are not placed must be no cluster's name", "-", false},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			err := tc.name.Validate()
			if (err == nil) != tc.valid {
				t.Errorf("%s: Validate(%q) = %v", tc.reason, tc.name, err)
			}
			if err != nil && (!strings.Contains(err.Error(), `cluster name "`+string(tc.name)+`"`) || !strings.HasSuffix(err.Error(), ": rename the ManagedCluster")) {
				t.Errorf("the error does not say which name and what to do: %v", err)
			}
		})
	}
}

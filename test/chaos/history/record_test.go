package history

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

func TestOf(t *testing.T) {
	object := func(json string) *unstructured.Unstructured {
		u := &unstructured.Unstructured{}
		if err := u.UnmarshalJSON([]byte(json)); err != nil {
			t.Fatal(err)
		}
		return u
	}
	hub := Of(object(`{"apiVersion":"argoproj.io/v1alpha1","kind":"Workflow","metadata":{"namespace":"ns","name":"n","uid":"h","finalizers":["stellarflow.io/cleanup"],
		"labels":{"stellarflow.io/cluster":"c1","workflows.argoproj.io/completed":"true"},
		"annotations":{"stellarflow.io/placement":"{\"uid\":\"h\",\"cluster\":\"c1\",\"attempt\":2,\"wecUID\":\"w\"}"}},
		"spec":{"suspend":true},"status":{"phase":"Failed","message":"m","artifactRepositoryRef":{"default":true},
		"conditions":[{"type":"StellarflowLogsFromS3Only","status":"True"}]}}`))
	wec := Of(object(`{"apiVersion":"argoproj.io/v1alpha1","kind":"Workflow","metadata":{"namespace":"ns","name":"n","uid":"w","finalizers":["stellarflow.io/harvest"],
		"deletionTimestamp":"2026-01-02T03:04:05Z","labels":{"workflows.argoproj.io/completed":"true"},"annotations":{"stellarflow.io/hub-uid":"h","stellarflow.io/attempt":"2"}},
		"spec":{},"status":{"phase":"Failed","message":"m"}}`))
	if hub.Status == "" || hub.Status != wec.Status {
		t.Errorf("the same status is %q and %q: the repository and the condition are the hub's own", hub.Status, wec.Status)
	}
	if !hub.Terminal() || !wec.Terminal() || hub.Content == wec.Content {
		t.Errorf("they are %+v and %+v", hub, wec)
	}
	hub.Status, hub.Content, wec.Status, wec.Content = "", "", "", ""
	wantHub := Workflow{
		Namespace: "ns", Name: "n", UID: "h", HubUID: "h", Attempt: 2, Placed: "c1", WECUID: "w", Cleanup: true, Suspended: true, Phase: "Failed", Message: "m", Completed: true,
	}
	wantWEC := Workflow{Namespace: "ns", Name: "n", UID: "w", HubUID: "h", Attempt: 2, Harvest: true, Deleting: true, Phase: "Failed", Message: "m", Completed: true}
	if diff := cmp.Diff([]Workflow{wantHub, wantWEC}, []Workflow{hub, wec}); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if (Workflow{Phase: "Succeeded"}).Terminal() || (Workflow{Completed: true, Phase: "Running"}).Terminal() {
		t.Error("label and phase belong together")
	}
}

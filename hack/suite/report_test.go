package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestReport(t *testing.T) {
	const input = `{"Action":"run","Package":"p","Test":"TestA"}
{"Action":"output","Package":"p","Test":"TestA","Output":"=== RUN   TestA\n"}
{"Action":"output","Package":"p","Test":"TestA","Output":"a says\n"}
{"Action":"pass","Package":"p","Test":"TestA"}
{"Action":"output","Package":"p","Test":"TestB","Output":"b says\n"}
{"Action":"output","Package":"p","Test":"TestB","Output":"--- FAIL: TestB (0.00s)\n"}
{"Action":"fail","Package":"p","Test":"TestB"}
{"Action":"output","Package":"p","Test":"TestC","Output":"no root\n"}
{"Action":"skip","Package":"p","Test":"TestC"}
{"Action":"output","Package":"p","Output":"PASS\n"}
{"Action":"output","Package":"p","Output":"FAIL\tp\t0.1s\n"}
{"Action":"fail","Package":"p"}
{"Action":"output","Package":"q","Output":"?   \tq\t[no test files]\n"}
{"Action":"skip","Package":"q"}
{"Action":"build-output","ImportPath":"r","Output":"r.go:1: wrong\n"}
not json
`
	cases := map[string]struct {
		reason string
		stream bool
		want   string
	}{
		"Quiet": {
			"a test that passes says nothing, others everything", false,
			"b says\n--- FAIL: TestB (0.00s)\nno root\nFAIL\tp\t0.1s\nr.go:1: wrong\nnot json\n",
		},
		"Stream": {
			"everything but the noise", true,
			"a says\nb says\n--- FAIL: TestB (0.00s)\nno root\nPASS\nFAIL\tp\t0.1s\n?   \tq\t[no test files]\nr.go:1: wrong\nnot json\n",
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			var out strings.Builder
			report := newReport(&out, tc.stream)
			if err := report.read(strings.NewReader(input)); err != nil {
				t.Fatalf("read(...): %v", err)
			}
			if diff := cmp.Diff(tc.want, out.String()); diff != "" {
				t.Errorf("\n%s\n-want, +got:\n%s", tc.reason, diff)
			}
			if got, want := report.summary(), "1 passed, 1 failed, 1 skipped"; got != want {
				t.Errorf("\n%s\nsummary() = %q, want %q", tc.reason, got, want)
			}
		})
	}
}

func TestRepeatFailures(t *testing.T) {
	const input = `{"Action":"output","Package":"p","Test":"TestA","Output":"    a_test.go:1: a says\n"}
{"Action":"pass","Package":"p","Test":"TestA"}
{"Action":"output","Package":"p","Test":"TestB/one","Output":"        b_test.go:7: it is wrong:\n"}
{"Action":"output","Package":"p","Test":"TestB/one","Output":"            -want +got\n"}
{"Action":"output","Package":"p","Test":"TestB/one","Output":"        b_test.go:9: hub$ kubectl get pods\n"}
{"Action":"fail","Package":"p","Test":"TestB/one"}
{"Action":"fail","Package":"p","Test":"TestB"}
{"Action":"fail","Package":"p"}
`
	var all, out strings.Builder
	report := newReport(&all, true)
	if err := report.read(strings.NewReader(input)); err != nil {
		t.Fatalf("read(...): %v", err)
	}
	report.out = &out
	report.repeatFailures()
	if diff := cmp.Diff("failed: p.TestB/one\n        b_test.go:7: it is wrong:\nfailed: p.TestB\n", out.String()); diff != "" {
		t.Errorf("repeatFailures(): -want, +got:\n%s", diff)
	}
}

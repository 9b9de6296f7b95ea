package hub

import (
	"context"
	"errors"
	"strings"
	"testing"
)

func TestSetBack(t *testing.T) {
	for name, tc := range map[string]struct {
		reason  string
		cached  uint64
		answers []uint64 // zero is no answer
		want    string   // of the error that ends the manager, empty for none
	}{
		"Forwards":   {"as always", 5, []uint64{7, 7, 9}, ""},
		"Same":       {"nothing was written", 7, []uint64{7, 7}, ""},
		"NoAnswer":   {"nothing is known", 7, []uint64{0, 8}, ""},
		"OneOld":     {"a proxy's cache", 7, []uint64{9, 8, 9}, ""},
		"ThenSilent": {"and no second answer", 7, []uint64{9, 8, 0}, ""},
		"ReadBefore": {"below what was read", 0, []uint64{9, 8, 8}, "is at resourceVersion 8 and was at 9 before"},
		"Cached":     {"below what the caches have, at the first look", 7, []uint64{5, 6}, "is at resourceVersion 6 and was at 7 before"},
		"Often":      {"it is said once", 7, []uint64{5, 5, 5, 5, 5, 5}, "is at resourceVersion 5 and was at 7 before"},
	} {
		t.Run(name, func(t *testing.T) {
			left := tc.answers
			s := &setBack{cached: func() uint64 { return tc.cached }, found: make(chan error, 1), read: func(context.Context) (uint64, error) {
				answer := left[0]
				left = left[1:]
				if answer == 0 {
					return 0, errors.New("no answer")
				}
				return answer, nil
			}}
			for len(left) > 0 {
				_, _ = s.Read(t.Context())
			}
			ended, end := context.WithCancel(t.Context())
			if tc.want == "" {
				end()
			}
			err := s.Start(ended)
			end()
			if got := errorText(err); !strings.Contains(got, tc.want) || (got == "") != (tc.want == "") {
				t.Errorf("%s: got %q, want %q", tc.reason, got, tc.want)
			}
		})
	}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

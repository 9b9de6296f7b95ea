package upsync

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

// kept replaces every number in decoded JSON by what the hub's API server will keep of it: an int64 or else a float64 (sigs.k8s.io/json).
// A number of which neither keeps the value is an error: what an honest API server sends went through the same. It changes the value.
func kept(value any) (any, error) {
	var err error
	switch value := value.(type) {
	case map[string]any:
		for key, child := range value {
			if value[key], err = kept(child); err != nil {
				return nil, err
			}
		}
	case []any:
		for i, child := range value {
			if value[i], err = kept(child); err != nil {
				return nil, err
			}
		}
	case json.Number:
		return number(value.String())
	}
	return value, nil
}

func number(text string) (any, error) {
	if whole, err := strconv.ParseInt(text, 10, 64); err == nil {
		return whole, nil
	}
	value, err := strconv.ParseFloat(text, 64)
	if err != nil || !strings.ContainsAny(text, ".eE") && strconv.FormatFloat(value, 'f', -1, 64) != text {
		return nil, fmt.Errorf("%w: Kubernetes cannot store the number %s", ErrNotMirrorable, quoted(text))
	}
	return value, nil
}

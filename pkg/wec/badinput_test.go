package wec

import (
	"encoding/base64"
	"encoding/json"
	"maps"
	"strings"
	"testing"

	"stellarflow.io/stellarflow/test/badinput"
)

// A kubeconfig that could do anything but talk TLS to its server is refused, with every reason and no credential in any of them. Join
// says it on the terminal, the hub in the condition of the ManagedCluster.
func TestBadInput(t *testing.T) {
	ca, key := pair(t)
	_, otherKey := pair(t)
	files := strings.NewReplacer("$OTHERKEY", base64.StdEncoding.EncodeToString(otherKey), "$CA", base64.StdEncoding.EncodeToString(ca), "$KEY", base64.StdEncoding.EncodeToString(key),
		"$TEXT", base64.StdEncoding.EncodeToString([]byte("hello")))
	badinput.Run(t, func(t *testing.T, c badinput.Case) badinput.Answer {
		var raw []byte
		var options KubeconfigOptions
		if c.Kind == "Text" {
			raw = []byte(files.Replace(c.Text(t)))
		} else {
			raw, options = kubeconfigWith(t, c, files)
		}
		_, err := ParseKubeconfig(raw, options)
		if err == nil {
			return badinput.Answer{Where: "nowhere: it is accepted"}
		}
		for _, secret := range []string{"t0ken", "s3cret", base64.StdEncoding.EncodeToString(key)[:40]} {
			if strings.Contains(err.Error(), secret) {
				t.Errorf("the message holds a credential: %v", err)
			}
		}
		return badinput.Answer{Where: "condition StellarflowConnected of the ManagedCluster; stderr of stellarflow join, exit code 2", Says: err.Error()}
	})
}

// kubeconfigWith is a good kubeconfig with the changes of a case; a member that is null goes.
func kubeconfigWith(t *testing.T, c badinput.Case, files *strings.Replacer) ([]byte, KubeconfigOptions) {
	t.Helper()
	var input struct {
		Cluster, User, Context map[string]any
		Top                    map[string]any
		Options                KubeconfigOptions
	}
	c.Into(t, &input)
	with := func(base, changes map[string]any) map[string]any {
		maps.Copy(base, changes)
		maps.DeleteFunc(base, func(_ string, value any) bool { return value == nil })
		return base
	}
	cluster := with(map[string]any{"server": "https://10.0.0.1:6443", "certificate-authority-data": "$CA"}, input.Cluster)
	user := with(map[string]any{"token": "t0ken"}, input.User)
	context := with(map[string]any{"cluster": "c", "user": "u"}, input.Context)
	raw, err := json.Marshal(with(map[string]any{
		"apiVersion": "v1", "kind": "Config", "current-context": "x",
		"clusters": []any{map[string]any{"name": "c", "cluster": cluster}},
		"users":    []any{map[string]any{"name": "u", "user": user}},
		"contexts": []any{map[string]any{"name": "x", "context": context}},
	}, input.Top))
	if err != nil {
		t.Fatal(err)
	}
	return []byte(files.Replace(string(raw))), input.Options
}

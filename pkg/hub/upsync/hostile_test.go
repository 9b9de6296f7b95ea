package upsync

import (
	"encoding/base64"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

// What a cluster that lies may say. It is refused in a short sentence, or rendered without what is bad about it.
func TestHostile(t *testing.T) {
	deep := func(n int) string { return strings.Repeat(`{"a":`, n) + `1` + strings.Repeat(`}`, n) }
	lists := func(n int) string { return strings.Repeat(`[`, n) + strings.Repeat(`]`, n) }
	cases := map[string]struct {
		reason string
		copy   WECCopy
		err    string // a part; empty if it is rendered
		never  string // what the rendered status may not hold
	}{
		"Deep":            {"every walk recurses as deep", wecCopy(`{"phase":"Running","x":` + deep(300) + `}`), "it is nested more than 256 deep", ""},
		"DeepLists":       {"in lists too", wecCopy(`{"phase":"Running","x":` + lists(100_000) + `}`), "it is nested more than 256 deep", ""},
		"DeepUnclosed":    {"and where it never ends", wecCopy(`{"x":` + strings.Repeat(`[`, 1<<20)), "it is nested more than 256 deep", ""},
		"DeepInNodes":     {"in nodes", wecCopy(`{"phase":"Running","nodes":{"n":{"outputs":` + deep(300) + `}}}`), "it is nested more than 256 deep", ""},
		"DeepPacked":      {"in packed nodes", wecCopy(`{"phase":"Running","compressedNodes":"` + packed(t, `{"n":`+deep(300)+`}`) + `"}`), "it is nested more than 256 deep", ""},
		"BracesInText":    {"braces in a text nest nothing", wecCopy(`{"phase":"Running","message":"` + strings.Repeat(`{[\"`, 300) + `"}`), "", "never"},
		"Values":          {"empty objects are small to send and large to keep", wecCopy(`{"phase":"Running","x":[` + strings.Repeat(`{},`, 1<<20) + `1]}`), "it has more than 1048576 values", ""},
		"ValuesPacked":    {"and smaller still packed", wecCopy(`{"phase":"Running","compressedNodes":"` + packed(t, `{"n":[`+strings.Repeat(`[],`, 1<<20)+`1]}`) + `"}`), "it has more than 1048576 values", ""},
		"PhaseObject":     {"a phase is a text", wecCopy(`{"phase":{"a":"` + strings.Repeat("x", 5000) + `"}}`), "... is none of Argo's", ""},
		"PhaseHuge":       {"the message stays short", wecCopy(`{"phase":"` + strings.Repeat("x", 1<<20) + `"}`), "... is none of Argo's", ""},
		"PhaseControl":    {"a terminal would obey it", wecCopy(`{"phase":"\u001b[2J"}`), "phase \ufffd[2J is none of Argo's", ""},
		"PhaseCase":       {"phases are written so and not otherwise", wecCopy(`{"phase":"running"}`), "phase running is none of Argo's", ""},
		"PhaseTwice":      {"the last one counts, as for Argo", wecCopy(`{"phase":"Running","phase":"Hacked"}`), "phase Hacked is none of Argo's", ""},
		"PhaseInOtherKey": {"Phase is not phase", wecCopy(`{"phase":"Running","PHASE":"\u001b[2J"}`), "", "\\u001b"},
		"LabelValue":      {"no API server stores such a label", wecCopy(`{"phase":"Running"}`, stellarflow.ArgoLabelWorkflowTemplate, strings.Repeat("x", 1000)), "which no label can have", ""},
		"LabelControl":    {"no API server stores such a label", wecCopy(`{"phase":"Running"}`, stellarflow.ArgoLabelClusterWorkflowTemplate, "a\x1b[2J"), "which no label can have", ""},
		"LabelPhaseHuge":  {"the message stays short", wecCopy(`{"phase":"Running"}`, phaseLabel, strings.Repeat("x", 1<<20)), "is none of Argo's phases", ""},
		"Message":         {"argo prints it as it is", wecCopy(`{"phase":"Failed","message":"a\u001b[2J\u009b1m\u202eb\nc"}`), "", "\u202e"},
		"MessageOfNode":   {"argo get prints it as it is", wecCopy(`{"phase":"Running","nodes":{"n":{"id":"n","displayName":"\u001b]0;x\u0007","message":"\u001b[2J"}}}`), "", "\\u001b"},
		"MessagePacked":   {"in packed nodes too", wecCopy(`{"phase":"Running","compressedNodes":"` + packed(t, `{"n":{"id":"n","message":"\u001b[2J"}}`) + `"}`), "", "\\u001b"},
		"Condition":       {"kubectl describe prints it", wecCopy(`{"phase":"Running","conditions":[{"type":"x","message":"\u001b[2J"},"x",1]}`), "", "\\u001b"},
		"NodeID":          {"no node has such an id", wecCopy(`{"phase":"Running","nodes":{"\u001b[2J":{"id":"x"},"n":{"id":"n"}}}`), "", "\\u001b"},
		"NodeIDHuge":      {"nor such a long one", wecCopy(`{"phase":"Running","nodes":{"` + strings.Repeat("n", 1000) + `":{"id":"x"}}}`), "", "nnnnn"},
		"NodesText":       {"nodes that are none stay, and are no harm", wecCopy(`{"phase":"Running","nodes":"none"}`), "", "never"},
		"NodesOfTexts":    {"the same for a node", wecCopy(`{"phase":"Running","nodes":{"a":"x","b":1,"c":null,"d":[[]]}}`), "", "never"},
		"SecretCase":      {"S3 beside s3", wecCopy(`{"phase":"Running","outputs":{"artifacts":[{"s3":{"key":"k"},"S3":{"accessKeySecret":{"name":"hub-secret"}}}]}}`), "", "hub-secret"},
		"SecretTwice":     {"the last one counts, and is cleaned", wecCopy(`{"phase":"Running","outputs":{"artifacts":[{"s3":{"key":"k"},"s3":{"key":"k","accessKeySecret":{"name":"hub-secret"}}}]}}`), "", "hub-secret"},
		"KeyControl":      {"no key of Argo's holds one", wecCopy(`{"phase":"Running","outputs":{"artifacts":[{"s3":{"key":"a\u001b[2J"}}]}}`), "", "\\u001b"},
		"Repository":      {"the hub's own stands there", wecCopy(`{"phase":"Running","artifactRepositoryRef":{"configMap":"theirs"},"ARTIFACTREPOSITORYREF":{"configMap":"theirs"}}`), "", "theirs"},
		"Ours":            {"what the hub says of itself is not theirs to say", wecCopy(`{"phase":"Running"}`, stellarflow.LabelCluster, "theirs", stellarflow.LabelOrigin, "theirs"), "", "theirs"},
		"NoText":          {"bytes that are no UTF-8", wecCopy("{\"phase\":\"Running\",\"message\":\"a\xff\xfe\"}"), "", "\xff"},
		"Number":          {"a number that no float holds", wecCopy(`{"phase":"Running","x":-1e999999}`), "cannot store the number -1e999999", ""},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			got, err := Render(tc.copy, rules)
			if tc.err != "" {
				if !errors.Is(err, ErrNotMirrorable) || !strings.Contains(fmt.Sprint(err), tc.err) || len(fmt.Sprint(err)) > 300 {
					t.Fatalf("%s: got %.500v, want ErrNotMirrorable with %q", tc.reason, err, tc.err)
				}
				return
			}
			if err != nil {
				t.Fatalf("%s: %v", tc.reason, err)
			}
			text := string(got.Status) + fmt.Sprint(got.Labels, got.Annotations)
			if strings.Contains(text, tc.never) || strings.ContainsFunc(text, armed) {
				t.Errorf("%s: %.500s", tc.reason, text)
			}
		})
	}
}

// A parameter is data: a step may well print colours and another one want them.
func TestResultsStayAsTheyAre(t *testing.T) {
	status := `{"nodes":{"n":{"id":"n","message":"a\nb","outputs":{"parameters":[{"name":"p","value":"\u001b[31mred"}],"result":"\u001b[31mred"}}},"phase":"Running"}`
	got, err := Render(wecCopy(status), Rules{})
	if err != nil || string(got.Status) != status {
		t.Errorf("got %s, %v", got.Status, err)
	}
}

func TestDecodeIdentity(t *testing.T) {
	for name, tc := range map[string]struct {
		raw, err string
	}{
		"UID":           {`{"metadata":{"uid":"a/b","resourceVersion":"1"}}`, `its uid "a/b" is none`},
		"UIDControl":    {`{"metadata":{"uid":"a\u001b","resourceVersion":"1"}}`, `its uid "a` + "\ufffd" + `" is none`},
		"UIDHuge":       {`{"metadata":{"uid":"` + strings.Repeat("u", 1<<20) + `","resourceVersion":"1"}}`, `..." is none`},
		"VersionText":   {`{"metadata":{"uid":"a","resourceVersion":"new"}}`, `its resourceVersion "new" is none`},
		"VersionHuge":   {`{"metadata":{"uid":"a","resourceVersion":"` + strings.Repeat("1", 1000) + `"}}`, `..." is none`},
		"LabelNumber":   {`{"metadata":{"labels":{"a":1}}}`, "cannot unmarshal number"},
		"MetadataText":  {`{"metadata":"x"}`, "cannot unmarshal string"},
		"ShutdownList":  {`{"spec":{"shutdown":[]}}`, "cannot unmarshal array"},
		"Deep":          {strings.Repeat(`{"status":`, 20_000), "exceeded max depth"},
		"TrailingWords": {`{"status":{}} and more`, "invalid character"},
	} {
		if _, err := Decode([]byte(tc.raw)); !errors.Is(err, ErrNotMirrorable) || !strings.Contains(err.Error(), tc.err) || len(err.Error()) > 300 {
			t.Errorf("%s: got %.500v, want %q", name, err, tc.err)
		}
	}
}

// An answer of 3 MiB costs no more than maxHostile to read and to render, whatever is in it.
func TestHostileMemory(t *testing.T) {
	const maxHostile = 512 << 20
	fill := func(part, around string) []byte {
		return fmt.Appendf(nil, around, strings.TrimSuffix(strings.Repeat(part, (MaxWECCopyBytes-1000)/len(part)), ","))
	}
	numbered := func(around string) []byte {
		var text strings.Builder
		for i := 0; text.Len() < MaxWECCopyBytes-1000; i++ {
			fmt.Fprintf(&text, `"%x":"",`, i)
		}
		return fmt.Appendf(nil, around, strings.TrimSuffix(text.String(), ","))
	}
	bomb, err := base64.StdEncoding.DecodeString(packed(t, strings.Repeat(" ", 1<<20)))
	if err != nil {
		t.Fatal(err)
	}
	for name, raw := range map[string][]byte{
		"labels":          numbered(`{"metadata":{"labels":{%s}},"status":{"phase":"Running"}}`),
		"keys":            numbered(`{"status":{"phase":"Running","x":{%s}}}`),
		"nodes":           numbered(`{"status":{"phase":"Running","nodes":{%s}}}`),
		"empty objects":   fill(`{},`, `{"status":{"phase":"Running","x":[%s]}}`),
		"objects":         fill(`{"a":0},`, `{"status":{"phase":"Running","x":[%s]}}`),
		"numbers":         fill(`0,`, `{"status":{"phase":"Running","x":[%s]}}`),
		"one text":        fill(`a`, `{"status":{"phase":"Running","message":"%s"}}`),
		"bomb":            fmt.Appendf(nil, `{"status":{"phase":"Running","compressedNodes":"%s"}}`, base64.StdEncoding.EncodeToString([]byte(strings.Repeat(string(bomb), 1500)))),
		"bomb of objects": []byte(`{"status":{"phase":"Running","compressedNodes":"` + packed(t, `{"n":[`+strings.Repeat(`{},`, 20<<20)+`1]}`) + `"}}`),
		"bomb below":      []byte(`{"status":{"phase":"Running","compressedNodes":"` + packed(t, `{"n":[`+strings.Repeat(`{"a":0},`, 500_000)+`1]}`) + `"}}`),
	} {
		t.Run(name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			copied, err := Decode(raw)
			if err == nil {
				_, err = Render(copied, rules)
			}
			runtime.ReadMemStats(&after)
			used := after.TotalAlloc - before.TotalAlloc
			t.Logf("%d bytes cost %d MiB: %.100v", len(raw), used>>20, err)
			if used > maxHostile {
				t.Errorf("%d bytes of %s cost %d MiB, more than %d", len(raw), name, used>>20, maxHostile>>20)
			}
		})
	}
}

package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"reflect"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

const (
	// columnsKey is the setting of Argo's server that has the columns of the UI's list (argo-workflows v3.7.18 config/config.go, since v3.5).
	columnsKey = "columns"
	// linksKey is the one that has the UI's links to elsewhere (since v2.7). Their URLs are absolute: with another scheme than http and https
	// neither Argo's server nor its controller would start (Config.Sanitize).
	linksKey = "links"
	// clusterColumn shows in that list which cluster a Workflow is placed on.
	clusterColumn = `{"name":"Cluster","type":"label","key":"` + stellarflow.LabelCluster + `"}`
	// noURL is --argo-url for no links.
	noURL = "none"
)

// uiEntry is an entry of ours in a list of the settings of Argo's server: one line in JSON, which is YAML too, by whose beginning it is found
// again.
type uiEntry struct {
	list, line string
	// begins is how each line begins that an install of ours has added, whatever it was told then.
	begins string
	// keep leaves the one that is there, or is not; remove takes it away.
	keep, remove bool
}

// uiLinks are the names and scopes of our links, and where they lead from the UI's address: to the UI's list by a selector of labels (its
// ui/src/shared/services/utils.ts). In scope workflow ${} is replaced; labels and annotations are named there with all their dots
// (ui/src/shared/components/links.tsx).
var uiLinks = []struct{ name, scope, leads string }{
	{"Workflows on this cluster", "workflow", "/workflows/${metadata.namespace}?label=" + url.QueryEscape(stellarflow.LabelCluster+"=") + "${workflow.metadata.labels." + stellarflow.LabelCluster + "}"},
	{"Workflows on other clusters", "workflow-list", "/workflows?label=" + url.QueryEscape(stellarflow.LabelCluster)},
}

// uiEntries are our entries for a UI at an address: empty for one that is not known, so that what an earlier install was told stays.
func uiEntries(address string) []uiEntry {
	entries := []uiEntry{{list: columnsKey, line: clusterColumn, begins: clusterColumn}}
	for _, link := range uiLinks {
		begins := fmt.Sprintf(`{"name":%q,"scope":%q,"url":"`, link.name, link.scope)
		entries = append(entries, uiEntry{
			list: linksKey, begins: begins, line: begins + address + link.leads + `"}`, keep: address == "", remove: address == noURL,
		})
	}
	return entries
}

// links is the address of Argo's UI for its links.
func (o installOptions) links() (string, error) {
	if o.argoURL != "" && !o.argoUI {
		return "", usagef("--argo-url is for links in Argo's UI, which --argo-ui=false leaves alone: give one of the two")
	}
	return checkURL(o.argoURL)
}

// checkURL returns the address by which people reach Argo's UI as it goes before a path, or says why a link cannot lead there.
func checkURL(address string) (string, error) {
	if address == "" || address == noURL {
		return address, nil
	}
	read, err := url.Parse(address)
	var unread *url.Error
	switch {
	case errors.As(err, &unread): // which quotes the whole address
		return "", usagef("--argo-url: %v: give the address of Argo's UI, such as https://argo.example.com", unread.Err)
	case read.Scheme != "http" && read.Scheme != "https", read.Host == "":
		return "", usagef("--argo-url %q: Argo allows links of http and https only: give the whole address of its UI, such as https://argo.example.com", address)
	case read.User != nil:
		return "", usagef("--argo-url: it has a user name or password, which everybody would see who sees the UI: give it without")
	case strings.ContainsAny(address, "?#$\"\\ "):
		return "", usagef("--argo-url %q: our links go on with a path: give it without query, fragment, $, quotes and spaces", address)
	}
	return strings.TrimRight(address, "/"), nil
}

// withEntry returns the data of the ConfigMap of Argo's server with an entry of ours behind those that are there; the data themselves if it is
// among them. What else is in them stays as somebody wrote it. The error says that this cannot be done, and what to do.
func withEntry(data map[string]string, entry uiEntry) (map[string]string, error) {
	if entry.keep {
		return data, nil
	}
	if text, whole := data["config"]; whole { // as of older Helm charts: the text is somebody's, and others apply it as a whole
		if strings.Contains(text, entry.list+":") && strings.Contains(text, stellarflow.LabelCluster) {
			return data, nil
		}
		return data, fmt.Errorf("all its settings are in one text: add %s to the list %s there", entry.line, entry.list)
	}
	there, err := entriesIn(data, entry.list)
	if err != nil {
		return data, err
	}
	var ours any
	if err := json.Unmarshal([]byte(entry.line), &ours); err != nil {
		return data, fmt.Errorf("read our entry of %s: %w", entry.list, err)
	}
	if slices.ContainsFunc(there, func(column any) bool { return reflect.DeepEqual(column, ours) }) {
		return data, nil
	}
	changed := maps.Clone(withoutEntry(data, entry)) // what an earlier install was told
	if changed == nil {
		changed = map[string]string{}
	}
	before, err := entriesIn(changed, entry.list)
	if err != nil {
		return data, err
	}
	text := changed[entry.list]
	if text != "" && !strings.HasSuffix(text, "\n") {
		text += "\n"
	}
	changed[entry.list] = text + indentOf(text) + "- " + entry.line + "\n"
	if after, err := entriesIn(changed, entry.list); err != nil || !reflect.DeepEqual(after, append(slices.Clone(before), ours)) {
		return data, fmt.Errorf("its list %s is written in a form that cannot be added to: add %s to it", entry.list, entry.line)
	}
	return changed, nil
}

// withoutEntry returns the data without the line that withEntry has added; the data themselves if it is not there.
func withoutEntry(data map[string]string, entry uiEntry) map[string]string {
	lines := strings.SplitAfter(data[entry.list], "\n")
	left := slices.DeleteFunc(slices.Clone(lines), func(line string) bool { return strings.HasPrefix(strings.TrimSpace(line), "- "+entry.begins) })
	if len(left) == len(lines) {
		return data
	}
	changed := maps.Clone(data)
	if changed[entry.list] = strings.Join(left, ""); strings.TrimSpace(changed[entry.list]) == "" {
		delete(changed, entry.list)
	}
	return changed
}

// entriesIn reads a list.
func entriesIn(data map[string]string, list string) (entries []any, err error) {
	if err := yaml.Unmarshal([]byte(data[list]), &entries); err != nil {
		return nil, fmt.Errorf("read its list %s: %w", list, err)
	}
	return entries, nil
}

// indentOf is what precedes the first entry of a list in YAML.
func indentOf(list string) string {
	for line := range strings.Lines(list) {
		if trimmed := strings.TrimLeft(line, " "); strings.HasPrefix(trimmed, "- ") {
			return line[:len(line)-len(trimmed)]
		}
	}
	return ""
}

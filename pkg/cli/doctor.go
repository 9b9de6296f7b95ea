package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"stellarflow.io/stellarflow/pkg/artifact"
	"stellarflow.io/stellarflow/pkg/cli/diagnosis"
)

func doctorCommand(env Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Check hub, guard, store and every cluster, and print what mends them",
		Long: `Check hub, guard, store and every cluster, and print what mends them.

It reads with your rights on the hub and with the hub's own credentials on the clusters. It changes nothing but the probe object in
the store's bucket. A cluster that does not answer delays no other. docs/cli.md lists every finding.

In the commands that it prints FILE is what only you have: a kubeconfig of the cluster, or the settings of the store.

Exit codes: 0 no problem (there may be warnings), 1 something could not be checked, 2 wrong usage, 3 there are problems.`,
		Example: "  stellarflow doctor\n  stellarflow doctor -o json | jq '.findings[].id'",
		Args:    none,
	}
	hubFlags := addHubFlags(cmd, "")
	timeout := cmd.Flags().Duration("timeout", 30*time.Second, "how long to wait for each cluster and the store")
	return env.runs(cmd, func(ctx context.Context, env Env, _ []string) (any, error) {
		hub, err := hubFlags.connect()
		if err != nil {
			return nil, err
		}
		d := &doctor{env: env, hub: hub, timeout: *timeout}
		d.facts.HubFlags, d.facts.WECFlags = hubFlags.words("--"), hubFlags.words("--hub-")
		return d.examine(ctx)
	})
}

// words are the flags as they were given, for a command that the person runs next.
func (f *hubFlags) words(prefix string) string {
	var words []string
	if f.kubeconfig != "" {
		words = append(words, prefix+"kubeconfig "+f.kubeconfig)
	}
	if f.context != "" {
		words = append(words, prefix+"context "+f.context)
	}
	return strings.Join(words, " ")
}

// doctor reads facts.
type doctor struct {
	env     Env
	hub     *hubClient
	timeout time.Duration
	facts   diagnosis.Facts
	// argo are the Argo controllers of the hub, workflows its Workflows, placed how many of those are ours.
	argo      []argoController
	workflows []metav1.PartialObjectMetadata
	placed    int
	hubID     types.UID
	store     *artifact.Store

	mu        sync.Mutex
	unchecked []string
}

// examination is the answer of doctor.
type examination struct {
	Checked  []checked           `json:"checked"`
	Findings []diagnosis.Finding `json:"findings"`
	// Unchecked says what could not be read, and why.
	Unchecked []string `json:"unchecked"`
}

// checked is one group of checks.
type checked struct {
	Group string `json:"group"`
	// Found is what is there.
	Found string `json:"found"`
}

// could notes a check that could not be made.
func (d *doctor) could(err error) {
	if err == nil {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.unchecked = append(d.unchecked, err.Error())
}

// examine reads the facts and says what is wrong. The error says so too, if something is.
func (d *doctor) examine(ctx context.Context) (any, error) {
	d.facts.Now = d.env.Now()
	if err := d.observeHub(ctx); err != nil { // then nothing can be said
		return nil, err
	}
	if d.facts.Installed {
		var both sync.WaitGroup
		both.Go(func() { d.probeStore(ctx) })
		d.could(d.observeClusters(ctx))
		both.Wait()
	}
	slices.Sort(d.unchecked)
	answer := examination{Checked: d.checked(), Findings: diagnosis.Diagnose(d.facts), Unchecked: append([]string{}, d.unchecked...)}
	if answer.Findings == nil {
		answer.Findings = []diagnosis.Finding{}
	}
	problems := diagnosis.Problems(answer.Findings)
	switch {
	case problems > 0:
		return answer, answeredError{fmt.Errorf("%d problems: %w", problems, errFindings)}
	case len(answer.Unchecked) > 0:
		return answer, answeredError{errors.New("not everything could be checked: " + strings.Join(answer.Unchecked, "; "))}
	}
	return answer, nil
}

// checked are the groups and what is there.
func (d *doctor) checked() []checked {
	f := &d.facts
	if !f.Installed {
		return []checked{{diagnosis.GroupHub, "not installed"}}
	}
	store := "unknown"
	if d.store != nil {
		store = d.store.String()
	}
	guarded := "no Argo controller"
	if len(f.Guarded) > 0 {
		guarded = "holds off " + strings.Join(f.Guarded, ", ")
	}
	groups := []checked{
		{diagnosis.GroupHub, fmt.Sprintf("%s, %d objects, Argo %s", f.Profile, len(f.Objects), firstOf(versionOf(d.argo), "without a controller"))},
		{diagnosis.GroupManager, fmt.Sprintf("%s, leader %s", firstOf(f.Manager.Image, "no image"), firstOf(f.Manager.Leader, "none"))},
		{diagnosis.GroupGuard, guarded},
		{diagnosis.GroupStore, store},
	}
	for i := range f.Clusters {
		if c := &f.Clusters[i]; c.Joined || c.Credential {
			groups = append(groups, checked{diagnosis.GroupCluster + string(c.Name), firstOf(c.Kubernetes, "Kubernetes unknown") + ", Argo " + firstOf(c.Argo, "unknown")})
		}
	}
	return append(groups, checked{diagnosis.GroupWorkflows, fmt.Sprintf("%d placed, %d given up", d.placed, len(f.Tombstones))})
}

func (e examination) print(out io.Writer) error {
	var text strings.Builder
	for _, group := range e.Checked {
		word := "ok"
		for _, finding := range e.Findings {
			if finding.Group != group.Group {
				continue
			}
			if finding.Severity == diagnosis.Problem {
				word = "PROBLEM"
			} else if word == "ok" {
				word = "warning"
			}
		}
		_, _ = fmt.Fprintf(&text, "%-8s %s: %s\n", word, group.Group, group.Found)
		for _, finding := range e.Findings {
			if finding.Group == group.Group {
				_, _ = fmt.Fprintf(&text, "         - %s (%s, %s): %s\n           $ %s\n", finding.Which, finding.ID, finding.Severity, finding.What, finding.Remedy)
			}
		}
	}
	_, err := io.WriteString(out, text.String())
	return err
}

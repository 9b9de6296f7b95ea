package dependencies

import (
	"fmt"
	"slices"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

// maxSteps bounds the work for one Workflow: how many templates are walked.
const maxSteps = 10_000

// MaxAccounts bounds how many ServiceAccounts the pods of one Workflow may run as: each costs requests before the create.
const MaxAccounts = 20

// Need is an object that a Workflow refers to, itself or through its templates.
type Need struct {
	stellarflow.Reference
	// Required: without it the Workflow cannot begin, or stops half-way.
	Required bool
	// Optional: the Workflow says of each place that it may be missing.
	Optional bool
	// Implied: nothing names it. Without it the cluster has its own way, which must not be worse than before.
	Implied bool
	// OfRepository: an artifact repository that travels needs it, a Secret.
	OfRepository bool
	// Where says in whose spec it stands, and where there, the first time that it was found.
	Where string
}

// Closure finds what a Workflow needs, transitively. It asks (Next) and is answered (Add) until it asks for nothing more.
type Closure struct {
	namespace string // the Workflow's
	needs     []*Need
	known     map[stellarflow.Reference]*Need
	asked     int // how many of needs Next has returned
	specs     map[stellarflow.Reference]content
	// waiting are the parts of templates that are walked when their spec comes, queue those whose spec is there.
	waiting map[stellarflow.Reference][]part
	queue   []step
	walked  map[step]bool
	tooMany bool

	root              *use
	rootCalls         []string
	given             map[string]bool // the Workflow's own arguments
	account, executor string
	accounts          []string

	repository *Repository // nil if nobody names one
	useDefault bool
}

// step is a part of a template object, or of a ConfigMap, that is to be walked.
type step struct {
	stellarflow.Reference
	part
}

// Begin walks the spec of a Workflow in a namespace. All of its templates count: Argo's validation asks for what each of them calls (argo-workflows
// workflow/validate/validate.go, ValidateWorkflow).
func Begin(spec map[string]any, namespace string) *Closure {
	c := &Closure{
		namespace: namespace, known: map[stellarflow.Reference]*Need{}, specs: map[stellarflow.Reference]content{},
		waiting: map[stellarflow.Reference][]part{}, walked: map[step]bool{}, given: map[string]bool{},
	}
	for _, argument := range argumentsOf(spec) {
		c.given[argument.name] = true
	}
	own := newContent(spec, namespace).find(part{spec: true, template: all})
	c.account, c.executor, c.root, c.rootCalls = own.account, own.executor, own.root, own.calls
	c.repository = own.repository
	c.take(own, "")
	if c.root == nil && c.repository != nil {
		c.askRepository()
	}
	if c.root != nil {
		c.ask(Need{Reference: c.root.Reference, Required: true, Where: c.root.where})
		c.walk(step{c.root.Reference, part{spec: true}})
		for _, call := range c.rootCalls {
			c.walk(step{c.root.Reference, part{template: call}})
		}
	}
	return c
}

// Next returns what was found since the last call. Each is to be answered with Add.
func (c *Closure) Next() []Need {
	if c.asked == len(c.needs) {
		c.askDefault()
	}
	var next []Need
	for ; c.asked < len(c.needs); c.asked++ {
		next = append(next, *c.needs[c.asked])
	}
	return next
}

// Add gives the Content of an object that the Workflow will use from the hub; nil for one that has none, or is not the hub's.
func (c *Closure) Add(reference stellarflow.Reference, spec map[string]any) {
	c.specs[reference] = newContent(spec, c.namespace)
	for _, waiting := range c.waiting[reference] {
		c.queue = append(c.queue, step{reference, waiting})
	}
	delete(c.waiting, reference)
	c.enterAll()
	if c.root != nil && c.root.Reference == reference {
		c.askRepository()
		c.enterAll()
	}
}

func (c *Closure) enterAll() {
	for len(c.queue) > 0 {
		next := c.queue[0]
		c.queue = c.queue[1:]
		c.enter(next)
	}
}

// Needs returns all that was found, in the order in which it was: what something refers to comes after it.
func (c *Closure) Needs() []Need {
	needs := make([]Need, 0, len(c.needs))
	for _, need := range c.needs {
		needs = append(needs, *need)
	}
	return needs
}

// TooMany reports whether the Workflow needs more than is looked for.
func (c *Closure) TooMany() bool { return c.tooMany }

// Excess says in a sentence, for people, what of the above is too much for any cluster; empty if nothing is.
func (c *Closure) Excess() string {
	switch {
	case c.TooMany():
		return fmt.Sprintf("the Workflow needs more than %d templates and ConfigMaps: let it refer to fewer", stellarflow.MaxDependencies)
	case c.TooManyAccounts():
		return fmt.Sprintf("the Workflow's pods run as more than %d ServiceAccounts: let its templates name fewer", MaxAccounts)
	}
	return ""
}

// TooManyAccounts reports whether the Workflow's pods run as more than MaxAccounts.
func (c *Closure) TooManyAccounts() bool { return len(c.Accounts()) > MaxAccounts }

// Accounts returns the ServiceAccounts that the Workflow's pods run as, sorted but for the first, which is the Workflow's own.
// Source: argo-workflows workflow_types.go, WorkflowSpec.ServiceAccountName, Template.ServiceAccountName and ExecutorConfig.
func (c *Closure) Accounts() []string {
	main := c.account
	if main == "" {
		main = "default"
	}
	others := slices.Clone(c.accounts)
	if c.executor != "" {
		others = append(others, c.executor)
	}
	slices.Sort(others)
	others = slices.DeleteFunc(slices.Compact(others), func(name string) bool { return name == main })
	return append([]string{main}, others...)
}

// enter walks a part of a template object whose spec is known.
func (c *Closure) enter(s step) {
	f := c.specs[s.Reference].find(s.part)
	if s.spec { // the root: what the Workflow says itself comes first (argo-workflows workflow/util/merge.go, JoinWorkflowSpec)
		if c.account == "" {
			c.account = f.account
		}
		if c.executor == "" {
			c.executor = f.executor
		}
		c.repository = c.repository.over(f.repository, s.String())
		for i := range f.needs {
			if f.needs[i].parameter != "" && c.given[f.needs[i].parameter] {
				f.needs[i].required = false
			}
		}
	}
	c.take(f, s.String())
	for _, call := range f.calls {
		c.walk(step{s.Reference, part{template: call}})
	}
}

// take takes up what a spec refers to; in is the object whose spec it is, empty for the Workflow.
func (c *Closure) take(f found, in string) {
	c.accounts = append(c.accounts, f.accounts...)
	for _, n := range f.needs {
		c.ask(Need{Reference: n.Reference, Required: n.required, Optional: n.optional, OfRepository: n.ofRepository, Where: place(in, n.where)})
	}
	for _, u := range f.uses {
		c.ask(Need{Reference: u.Reference, Required: true, Where: place(in, u.where)})
		c.walk(step{u.Reference, part{template: u.template}})
	}
}

func place(in, where string) string {
	if in == "" {
		return where
	}
	return where + " of " + in
}

// ask notes that an object is needed.
func (c *Closure) ask(need Need) {
	if known, found := c.known[need.Reference]; found {
		known.Required = known.Required || need.Required
		known.Optional = known.Optional && need.Optional
		known.Implied = known.Implied && need.Implied
		known.OfRepository = known.OfRepository || need.OfRepository
		return
	}
	if len(c.needs) >= stellarflow.MaxDependencies {
		c.tooMany = c.tooMany || !need.Implied
		return
	}
	c.known[need.Reference], c.needs = &need, append(c.needs, &need)
}

// walk notes that a part of an object is to be walked, now or when its spec comes.
func (c *Closure) walk(s step) {
	if c.walked[s] {
		return
	}
	if len(c.walked) >= maxSteps {
		c.tooMany = true
		return
	}
	c.walked[s] = true
	if _, answered := c.specs[s.Reference]; answered {
		c.queue = append(c.queue, s)
		return
	}
	c.waiting[s.Reference] = append(c.waiting[s.Reference], s.part)
}

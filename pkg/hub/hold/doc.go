// Package hold is the admission of new Workflows in namespaces that ask for it (label stellarflow.io/hold): what a BindingPolicy selects is
// suspended in the request that creates it, and what it needs is looked for on the hub.
//
// Decide is pure; Handler is the webhook around it, served by every replica. It refuses only what can never run: of everything else that
// goes wrong here, a policy of config/webhook that needs no server makes the best (docs/adr/0009-holding-at-creation.md).
package hold

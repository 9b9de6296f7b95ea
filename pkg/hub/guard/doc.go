// Package guard is the admission of writes to placed Workflows: it refuses what would be lost or do harm, and turns what Argo's server,
// CLI and kubectl write for resume, set outputs, stop of a node and retry into intents that the hub manager does on the WEC copy.
//
// Decide is pure and has the whole table; Handler is the webhook around it, served by every replica; Certificates makes and renews what the
// API server trusts it by. The writes of Argo's own controllers, and keys that only the hub manager may write, are refused by the policies
// of config/webhook, which need no server.
package guard

// Package wec is the connection to one workflow execution cluster: a dialled REST config, the clients made from it, the probe
// that says whether it can be used, and a metadata watch on our Workflows there.
//
// pkg/hub/cluster owns the connections; downsync, upsync and cleanup use their clients. The package decides nothing and knows
// no hub object.
package wec

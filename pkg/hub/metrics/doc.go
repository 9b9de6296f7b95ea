// Package metrics counts and times what the hub manager does, for Prometheus. Metrics is a prometheus.Collector: cmd/hub registers
// it with controller-runtime's registry, which serves /metrics.
//
// The packages below pkg/hub call its hooks; a nil *Metrics takes them all and does nothing, so that nobody has to have one. All
// times are this process's own: a WEC's clock is not trusted. No label holds the name of a Workflow, and what is labelled with a
// cluster goes when the cluster leaves. docs/operations.md has the table of all metrics; nothing is decided here.
package metrics

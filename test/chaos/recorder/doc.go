// Package recorder reads every revision of every Workflow of a cluster from its etcd into a history (package history).
package recorder

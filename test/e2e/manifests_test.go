package e2e

import (
	"fmt"
	"strings"
)

// suspended is a Workflow that is meant for a cluster; its templates begin with main.
func suspended(name, target, templates string) string {
	return fmt.Sprintf(`
apiVersion: argoproj.io/v1alpha1
kind: Workflow
metadata:
  name: %s
  labels: {kubestellar.io/cluster: %s}
spec:
  suspend: true
  entrypoint: main
  templates:
  %s
`, name, target, strings.ReplaceAll(strings.TrimSpace(templates), "\n", "\n  "))
}

// shell is the template main: one container that runs a script.
func shell(script string) string {
	return fmt.Sprintf("- name: main\n  container: {image: alpine:3.7, command: [sh, -c], args: [%q]}", script)
}

// retried is shell for what must survive the loss of its node.
func retried(script string) string {
	return shell(script) + "\n  retryStrategy: {limit: 10, retryPolicy: Always}"
}

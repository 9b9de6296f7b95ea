package e2e

import (
	"fmt"
	"strings"
)

// suspended is a Workflow with one template, main, that is meant for a cluster.
func suspended(name, target, template string) string {
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
  - name: main
%s`, name, target, indent(template))
}

// shell is a template of one container that runs a script.
func shell(script string) string {
	return fmt.Sprintf("container: {image: alpine:3.7, command: [sh, -c], args: [%q]}", script)
}

// retried is shell for what must survive the loss of its node.
func retried(script string) string {
	return "retryStrategy: {limit: 10, retryPolicy: Always}\n" + shell(script)
}

func indent(text string) string {
	return "    " + strings.ReplaceAll(strings.TrimSpace(text), "\n", "\n    ") + "\n"
}

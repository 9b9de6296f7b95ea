package podmirror

import (
	"context"
	"fmt"
	"hash/fnv"
	"strconv"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

const (
	// maxPrefix is how much of a pod's name Argo lets stand before the hash, in bytes.
	maxPrefix = 242
	// A hash is 32 bits in decimal. Two in a million have fewer digits than that, and their pods are not shown: a StatefulSet's pods are numbered so.
	minDigits = 5
)

// Named reports whether Argo can have given a Workflow's pod a name: the Workflow's own, or one that begins with it and ends with the hash of the
// node's (argo-workflows v3.7.18 workflow/util/pod_name.go, both versions, and workflow/controller/artifact_gc.go), or that of the pod which
// makes its HTTP requests (agent.go). Any other name could be one that something else on the hub has a use for.
func Named(pod, workflow string) bool {
	if workflow == "" {
		return false
	}
	if pod == workflow || pod == fmt.Sprintf("%s-%d-agent", workflow, hash("agent")) {
		return true
	}
	at := strings.LastIndexByte(pod, '-')
	if at < 0 || !hashed(pod[at+1:]) {
		return false
	}
	prefix, begins := pod[:at], workflow[:min(len(workflow), maxPrefix)]
	return len(prefix) <= maxPrefix && (prefix == begins || strings.HasPrefix(prefix, begins+"-"))
}

// hash is Argo's of a node's name.
func hash(node string) uint32 {
	h := fnv.New32a()
	_, _ = h.Write([]byte(node))
	return h.Sum32()
}

// hashed reports whether text is what hash returns, in decimal, and long enough.
func hashed(text string) bool {
	n, err := strconv.ParseUint(text, 10, 32)
	return err == nil && len(text) >= minDigits && strconv.FormatUint(n, 10) == text
}

// longer reports whether the name of a pod begins with that of another Workflow of the hub which is longer than that of its own: it could be
// the name of that one's pod, which the hub may be about to start.
func (p *pods) longer(ctx context.Context, pod metav1.Object, own types.NamespacedName) bool {
	name := pod.GetName()
	for at := len(own.Name) + 1; at <= len(name); at++ {
		if at < len(name) && name[at] != '-' {
			continue
		}
		if other, err := p.Copies.Cached(ctx, types.NamespacedName{Namespace: own.Namespace, Name: name[:at]}); err != nil || other != nil {
			return true
		}
	}
	return false
}

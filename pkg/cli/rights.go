package cli

import (
	"context"
	"fmt"
	"strings"

	authorizationv1 "k8s.io/api/authorization/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

// rightsNeeded are the rights, one for each verb of each resource, that rendered manifests give to a ServiceAccount of our
// namespace through its bindings.
func rightsNeeded(objects []*unstructured.Unstructured, account string) ([]authorizationv1.ResourceAttributes, error) {
	rules := map[string][]rbacv1.PolicyRule{} // by kind, namespace and name
	var bindings []*rbacv1.RoleBinding
	for _, object := range objects {
		switch object.GetKind() {
		case "ClusterRole", "Role":
			var role rbacv1.Role
			if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, &role); err != nil {
				return nil, fmt.Errorf("read %s: %w", describe(object), err)
			}
			rules[describe(object)] = role.Rules
		case "ClusterRoleBinding", "RoleBinding":
			var binding rbacv1.RoleBinding
			if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, &binding); err != nil {
				return nil, fmt.Errorf("read %s: %w", describe(object), err)
			}
			bindings = append(bindings, &binding)
		}
	}
	var needed []authorizationv1.ResourceAttributes
	for _, binding := range bindings {
		if len(binding.Subjects) != 1 || binding.Subjects[0].Name != account || binding.Subjects[0].Namespace != stellarflow.SystemNamespace {
			continue
		}
		name := binding.RoleRef.Name
		if binding.RoleRef.Kind == "Role" {
			name = binding.Namespace + "/" + name
		}
		for _, rule := range rules[binding.RoleRef.Kind+" "+name] {
			needed = append(needed, expand(rule, binding.Namespace)...)
		}
	}
	return needed, nil
}

// expand are the rights of a rule, in a namespace or, if it is empty, everywhere.
func expand(rule rbacv1.PolicyRule, namespace string) []authorizationv1.ResourceAttributes {
	names := rule.ResourceNames
	if len(names) == 0 {
		names = []string{""}
	}
	var rights []authorizationv1.ResourceAttributes
	for _, group := range rule.APIGroups {
		for _, resource := range rule.Resources {
			resource, subresource, _ := strings.Cut(resource, "/")
			for _, verb := range rule.Verbs {
				for _, name := range names {
					rights = append(rights, authorizationv1.ResourceAttributes{
						Namespace: namespace, Verb: verb, Group: group, Resource: resource, Subresource: subresource, Name: name,
					})
				}
			}
		}
	}
	return rights
}

// missing are the rights that are not granted, in words.
func missing(ctx context.Context, needed []authorizationv1.ResourceAttributes, granted func(context.Context, authorizationv1.ResourceAttributes) (bool, error)) ([]string, error) {
	var lacking []string
	for i := range needed {
		ok, err := granted(ctx, needed[i])
		if err != nil {
			return nil, fmt.Errorf("ask for the right to %s: %w", inWords(needed[i]), err)
		}
		if !ok {
			lacking = append(lacking, inWords(needed[i]))
		}
	}
	return lacking, nil
}

// inWords is a right such as "patch workflows.argoproj.io".
func inWords(right authorizationv1.ResourceAttributes) string {
	words := right.Verb + " " + right.Resource
	if right.Group != "" {
		words += "." + right.Group
	}
	if right.Subresource != "" {
		words += "/" + right.Subresource
	}
	if right.Name != "" {
		words += " " + right.Name
	}
	if right.Namespace != "" {
		words += " in " + right.Namespace
	}
	return words
}

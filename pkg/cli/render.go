package cli

import (
	"bytes"
	"cmp"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"

	"stellarflow.io/stellarflow/config"
	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

// noController is the value of --argo-controller for a hub without an Argo controller.
const noController = "none"

// renderOptions are what an installation changes in config/.
type renderOptions struct {
	// Image of the hub manager; empty means that of config/hub.
	Image string
	// Controllers are the users of the hub's Argo controllers; with none the policy against them is left out.
	Controllers []string
	// Servers are the users of the hub's Argo servers; with none the one of Argo's manifests.
	Servers []string
	// Profile of the hub; shared if empty.
	Profile stellarflow.Profile
	// Archive says which Workflows those controllers archive.
	Archive stellarflow.Archive
	// Unmirrored says that the hub shows no pods of other clusters.
	Unmirrored bool
	// Restart is a time that is put on the manager's pods, so that they start anew; empty leaves them.
	Restart string
}

// validUser is what a user's name may hold, so that it can stand in a CEL string as it is.
var validUser = regexp.MustCompile(`^[A-Za-z0-9:@._/=+-]+$`)

// validImage is what an image reference may hold: enough to keep it one value of a patch.
var validImage = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._:/@-]*$`)

// renderHub renders config/ for a hub.
func renderHub(options renderOptions) ([]*unstructured.Unstructured, error) {
	patches, err := options.patches()
	if err != nil {
		return nil, err
	}
	return render(".", patches)
}

// renderWEC renders config/wec.
func renderWEC() ([]*unstructured.Unstructured, error) { return render("wec", nil) }

// patch is an entry of a kustomization's patches.
type patch struct {
	Target map[string]string `json:"target,omitempty"`
	Patch  string            `json:"patch"`
}

// patches are kustomize patches over config/. Each tests what it replaces: a base that changed must not be patched blindly.
func (o renderOptions) patches() ([]patch, error) {
	users, err := inUsers(o.Controllers)
	if err != nil {
		return nil, err
	}
	patches := []patch{
		userPatch("MutatingWebhookConfiguration", "stellarflow", "/webhooks/0", "not-the-argo-controller", "!("+users+")"),
	}
	if len(o.Servers) > 0 {
		servers, err := inUsers(o.Servers)
		if err != nil {
			return nil, err
		}
		patches = append(patches, userPatch("ValidatingWebhookConfiguration", "stellarflow", "/webhooks/0", "argo-server-or-a-person",
			servers+" || !request.userInfo.username.startsWith('system:') || request.userInfo.username == 'system:admin'"))
	}
	guard := "stellarflow-guard-controller"
	if len(o.Controllers) == 0 {
		for _, kind := range []string{"ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"} {
			patches = append(patches, patch{Patch: fmt.Sprintf(
				"apiVersion: admissionregistration.k8s.io/v1\nkind: %s\nmetadata:\n  name: %s\n$patch: delete\n", kind, guard)})
		}
	} else {
		patches = append(patches, userPatch("ValidatingAdmissionPolicy", guard, "/spec", "argo-controller", users))
	}
	if o.Profile == stellarflow.ProfileDedicated {
		patches = append(patches, dedicatedPatches()...)
	}
	if !o.Archive.None() {
		patches = append(patches, archivePatch(o.Archive))
	}
	if o.Unmirrored {
		patches = append(patches, podsPatch())
	}
	if o.Image != "" {
		if !validImage.MatchString(o.Image) {
			return nil, usagef("--image %q is no image reference: give it as REGISTRY/NAME:TAG", o.Image)
		}
		patches = append(patches, jsonPatch("Deployment", hubDeployment,
			map[string]any{"op": "test", "path": "/spec/template/spec/containers/0/name", "value": "hub"},
			map[string]any{"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": o.Image}))
	}
	if o.Restart != "" {
		patches = append(patches, jsonPatch("Deployment", hubDeployment, map[string]any{
			"op": "add", "path": "/spec/template/metadata/annotations", "value": map[string]string{"stellarflow.io/restarted-at": o.Restart},
		}))
	}
	return patches, nil
}

// inUsers is the CEL expression that is true for users of Argo's.
func inUsers(users []string) (string, error) {
	quoted := make([]string, 0, len(users))
	for _, user := range users {
		if !validUser.MatchString(user) {
			return "", usagef("--argo-controller %q is no user name: give it as system:serviceaccount:NAMESPACE:NAME", user)
		}
		quoted = append(quoted, strconv.Quote(user))
	}
	slices.Sort(quoted)
	return "request.userInfo.username in [" + strings.Join(slices.Compact(quoted), ", ") + "]", nil
}

// userPatch replaces the first match condition under a path.
func userPatch(kind, name, under, condition, expression string) patch {
	return jsonPatch(kind, name,
		map[string]any{"op": "test", "path": under + "/matchConditions/0/name", "value": condition},
		map[string]any{"op": "replace", "path": under + "/matchConditions/0/expression", "value": expression})
}

// jsonPatch is a JSON patch of one object.
func jsonPatch(kind, name string, operations ...map[string]any) patch {
	raw, err := yaml.Marshal(operations)
	if err != nil { // maps of strings always marshal
		return patch{}
	}
	return patch{Target: map[string]string{"kind": kind, "name": name}, Patch: string(raw)}
}

// render runs kustomize over an embedded base, in memory, and returns the objects in the order to apply them.
func render(base string, patches []patch) ([]*unstructured.Unstructured, error) {
	files := filesys.MakeFsInMemory()
	err := fs.WalkDir(config.FS, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := config.FS.ReadFile(name)
		if err != nil {
			return err
		}
		return files.WriteFile(path.Join("/config", name), content)
	})
	if err != nil {
		return nil, fmt.Errorf("read the embedded manifests: %w", err)
	}
	overlay, err := yaml.Marshal(map[string]any{"resources": []string{path.Join("..", "config", base)}, "patches": patches})
	if err != nil {
		return nil, fmt.Errorf("write the overlay: %w", err)
	}
	if err := files.WriteFile("/overlay/kustomization.yaml", overlay); err != nil {
		return nil, fmt.Errorf("write the overlay: %w", err)
	}
	rendered, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(files, "/overlay")
	if err != nil {
		return nil, fmt.Errorf("render the manifests: %w", err)
	}
	objects := make([]*unstructured.Unstructured, 0, rendered.Size())
	for _, resource := range rendered.Resources() {
		raw, err := resource.MarshalJSON() // through JSON: numbers then have the types that Kubernetes expects
		if err != nil {
			return nil, fmt.Errorf("render %s: %w", resource.CurId(), err)
		}
		object := &unstructured.Unstructured{}
		if err := object.UnmarshalJSON(raw); err != nil {
			return nil, fmt.Errorf("render %s: %w", resource.CurId(), err)
		}
		objects = append(objects, object)
	}
	slices.SortStableFunc(objects, func(a, b *unstructured.Unstructured) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(a.GetName(), b.GetName()))
	})
	return objects, nil
}

// rank orders kinds so that what is referred to comes first, and the manager last: it starts with everything there.
func rank(object *unstructured.Unstructured) int {
	order := []string{
		"CustomResourceDefinition", "Namespace", "ServiceAccount", "Secret", "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding",
		"ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding", "ValidatingWebhookConfiguration", "MutatingWebhookConfiguration", "PodDisruptionBudget", "NetworkPolicy", "Service",
	}
	if i := slices.Index(order, object.GetKind()); i >= 0 {
		return i
	}
	return len(order)
}

// marshalAll writes objects as a YAML stream.
func marshalAll(objects []*unstructured.Unstructured) ([]byte, error) {
	var out bytes.Buffer
	for _, object := range objects {
		raw, err := yaml.Marshal(object.Object)
		if err != nil {
			return nil, fmt.Errorf("write %s %s: %w", object.GetKind(), object.GetName(), err)
		}
		out.WriteString("---\n")
		out.Write(raw)
	}
	return out.Bytes(), nil
}

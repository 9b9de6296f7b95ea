package cli

import (
	"context"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

// archiveFlag tells the manager which Workflows the Argo controller of the hub archives.
const archiveFlag = "--archive="

// archivePatch starts the manager with that flag.
func archivePatch(archive stellarflow.Archive) patch {
	return jsonPatch("Deployment", hubDeployment,
		map[string]any{"op": "test", "path": "/spec/template/spec/containers/0/args/0", "value": "--leader-elect"},
		map[string]any{"op": "add", "path": "/spec/template/spec/containers/0/args/-", "value": archiveFlag + archive.String()})
}

// givenArchive is that of --archive, none for none.
func givenArchive(text string) (stellarflow.Archive, error) {
	if text == "" {
		return stellarflow.Archive{}, nil
	}
	archive, err := stellarflow.ParseArchive(text)
	if err != nil {
		return archive, usagef("--archive %q: %w", text, err)
	}
	return archive, nil
}

// presentArchive is what the manager that is installed was told; none if none is installed.
func presentArchive(ctx context.Context, hub client.Client) (stellarflow.Archive, error) {
	pod, err := presentPod(ctx, hub)
	for _, container := range pod.Containers {
		for _, arg := range container.Args {
			if text, found := strings.CutPrefix(arg, archiveFlag); found {
				archive, _ := stellarflow.ParseArchive(text) // a manager with another does not start
				return archive, err
			}
		}
	}
	return stellarflow.Archive{}, err
}

// chooseArchive finds out what the Argo controllers of the hub archive. Where that is not known it stays what the manager was told before.
func chooseArchive(ctx context.Context, env Env, hub client.Client, given string, chosen renderOptions) (stellarflow.Archive, error) {
	if given != "" {
		return givenArchive(given)
	}
	found, err := findControllers(ctx, hub)
	if err != nil {
		return stellarflow.Archive{}, err
	}
	if len(found) == 0 || len(chosen.Controllers) == 0 { // there is none, or none that acts on this hub's Workflows
		return presentArchive(ctx, hub)
	}
	archive, unknown, err := archivedBy(ctx, hub, chosen.Profile, found)
	if apierrors.IsForbidden(err) {
		unknown, err = err.Error(), nil
	}
	if err != nil || unknown == "" {
		return archive, err
	}
	if archive, err = presentArchive(ctx, hub); err == nil {
		env.sayf("warning: what the Argo controllers of the hub archive is not known (%s): it is taken for %s; say what with --archive", unknown, archive)
	}
	return archive, err
}

// archivedBy reads what Argo controllers archive from their ConfigMaps. unknown says why that cannot be known. Where those of a dedicated hub are
// scaled to 0, as they should be, nobody archives.
func archivedBy(ctx context.Context, hub client.Client, profile stellarflow.Profile, controllers []argoController) (archive stellarflow.Archive, unknown string, err error) {
	seen := ""
	for _, controller := range controllers {
		for _, key := range controller.ConfigMaps {
			var configMap corev1.ConfigMap
			if err := hub.Get(ctx, key, &configMap); client.IgnoreNotFound(err) != nil { // without one it does not start
				return archive, "", fmt.Errorf("read ConfigMap %s of Argo's controller: %w", key, err)
			}
			next, err := archiveIn(configMap.Data)
			if err != nil {
				return stellarflow.Archive{}, fmt.Sprintf("ConfigMap %s: %v", key, err), nil
			}
			if says := fmt.Sprintf("%s says %s", key, next); seen == "" {
				archive, seen = next, says
			} else if next.String() != archive.String() {
				return stellarflow.Archive{}, "ConfigMap " + seen + ", " + says, nil
			}
		}
	}
	if seen == "" && (profile != stellarflow.ProfileDedicated || len(controllers) == 0) {
		return archive, "no Deployment of one runs", nil
	}
	return archive, "", nil
}

// archiveIn reads what a controller's ConfigMap has it archive (argo-workflows v3.7.18 config/controller.go, config/config.go: a key config
// with all settings, or a key for each).
func archiveIn(data map[string]string) (stellarflow.Archive, error) {
	var settings struct {
		Persistence struct {
			Archive              bool                  `json:"archive"`
			ArchiveLabelSelector *metav1.LabelSelector `json:"archiveLabelSelector"`
		} `json:"persistence"`
	}
	var err error
	if all, whole := data["config"]; whole {
		err = yaml.Unmarshal([]byte(all), &settings)
	} else {
		err = yaml.Unmarshal([]byte(data["persistence"]), &settings.Persistence)
	}
	if err != nil {
		return stellarflow.Archive{}, fmt.Errorf("read its persistence: %w", err)
	}
	if !settings.Persistence.Archive {
		return stellarflow.Archive{}, nil
	}
	return stellarflow.ArchiveOf(settings.Persistence.ArchiveLabelSelector)
}

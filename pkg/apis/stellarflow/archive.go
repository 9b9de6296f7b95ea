package stellarflow

import (
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// Archive says which Workflows the Argo controller of the hub archives when they have ended (docs/adr/0011). The zero value is none.
type Archive struct{ selector labels.Selector }

// What an Archive is called that is no selector.
const (
	archiveNone = "none"
	archiveAll  = "all"
)

// ParseArchive reads what String returns: none, all, or a label selector.
func ParseArchive(text string) (Archive, error) {
	switch text {
	case archiveNone:
		return Archive{}, nil
	case archiveAll:
		return Archive{labels.Everything()}, nil
	}
	selector, err := labels.Parse(text)
	if err != nil || selector.Empty() {
		return Archive{}, fmt.Errorf("it is %s (the hub's Argo controller archives no Workflows), %s, or the selector of the labels of those that it archives", archiveNone, archiveAll)
	}
	return Archive{selector}, nil
}

// ArchiveOf returns the archive of those that an Argo controller's archiveLabelSelector selects; nil selects all.
func ArchiveOf(selector *metav1.LabelSelector) (Archive, error) {
	if selector == nil {
		return Archive{labels.Everything()}, nil
	}
	selects, err := metav1.LabelSelectorAsSelector(selector)
	if err != nil {
		return Archive{}, fmt.Errorf("read archiveLabelSelector: %w", err)
	}
	archive := Archive{selects}
	if text := archive.String(); !selects.Empty() && (text == archiveNone || text == archiveAll) {
		return Archive{}, fmt.Errorf("archiveLabelSelector selects by the existence of label %q, which cannot be told from %q for all or none: give the label another name", text, text)
	}
	return archive, nil
}

// None reports whether nothing is archived.
func (a Archive) None() bool { return a.selector == nil }

// String is what ParseArchive reads.
func (a Archive) String() string {
	switch {
	case a.None():
		return archiveNone
	case a.selector.Empty():
		return archiveAll
	}
	return a.selector.String()
}

// Takes reports whether a Workflow that has ended with these labels is archived.
func (a Archive) Takes(has map[string]string) bool {
	return !a.None() && a.selector.Matches(labels.Set(has))
}

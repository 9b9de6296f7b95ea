package travel

import (
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
	"stellarflow.io/stellarflow/pkg/wec"
)

// server is as much of an API server as these tests need; test/integration has real ones.
type server struct {
	mu      sync.Mutex
	objects map[string]*unstructured.Unstructured // by path
	version int
	endless bool     // a list has always one more page
	asked   []string // METHOD PATH, with ?meta if only the metadata is asked for
	// answer, if not nil, may answer in its place, with a code that is not zero.
	answer func(asked string) (code int, reason metav1.StatusReason, details metav1.StatusDetails)
}

// pathOf is where an object of namespace argo is.
func pathOf(kind stellarflow.Kind, name string) string {
	gvr := kind.Resource()
	base := "/apis/" + gvr.Group + "/" + gvr.Version
	if gvr.Group == "" {
		base = "/api/" + gvr.Version
	}
	if kind.Namespaced() {
		base += "/namespaces/argo"
	}
	return path.Join(base, gvr.Resource, name)
}

// workflowPath is where the Workflow is.
const workflowPath = "/apis/argoproj.io/v1alpha1/namespaces/argo/workflows/w"

// put stores an object of namespace argo.
func (s *server) put(t *testing.T, kind stellarflow.Kind, name, body string) {
	t.Helper()
	object := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(body), &object.Object); err != nil {
		t.Fatal(err)
	}
	object.SetAPIVersion(kind.Resource().GroupVersion().String())
	object.SetKind(string(kind))
	object.SetName(name)
	if kind.Namespaced() {
		object.SetNamespace("argo")
	}
	s.store(pathOf(kind, name), object)
}

func (s *server) store(where string, object *unstructured.Unstructured) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.storeLocked(where, object)
}

func (s *server) storeLocked(where string, object *unstructured.Unstructured) {
	if s.objects == nil {
		s.objects = map[string]*unstructured.Unstructured{}
	}
	s.version++
	object.SetResourceVersion(strconv.Itoa(s.version))
	if object.GetUID() == "" {
		object.SetUID(types.UID("uid-" + strconv.Itoa(s.version)))
	}
	s.objects[where] = object.DeepCopy()
}

func (s *server) get(where string) *unstructured.Unstructured {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.objects[where]
}

// requests returns what was asked so far of a method.
func (s *server) requests(method string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(s.asked), func(asked string) bool { return !strings.HasPrefix(asked, method+" ") })
}

// ServeHTTP answers one request.
func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	meta := strings.Contains(r.Header.Get("Accept"), "as=PartialObjectMetadata")
	asked := r.Method + " " + r.URL.Path
	if meta && r.Method == http.MethodGet {
		asked += "?meta"
	}
	s.asked = append(s.asked, asked)
	answer := s.answer
	s.mu.Unlock()
	if answer != nil {
		if code, reason, details := answer(asked); code != 0 {
			fail(w, code, reason, &details)
			return
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	body, _ := io.ReadAll(r.Body)
	object := s.objects[r.URL.Path]
	switch {
	case r.Method == http.MethodPost:
		s.create(w, r, body)
	case r.Method == http.MethodGet && isList(r):
		s.list(w, r)
	case object == nil:
		fail(w, http.StatusNotFound, metav1.StatusReasonNotFound, &metav1.StatusDetails{Name: path.Base(r.URL.Path)})
	case r.Method == http.MethodGet:
		reply(w, object, meta)
	case r.Method == http.MethodPut:
		s.update(w, r, object, body)
	case r.Method == http.MethodPatch:
		s.patch(w, r, object, body)
	case r.Method == http.MethodDelete:
		var options metav1.DeleteOptions
		_ = json.Unmarshal(body, &options)
		if p := options.Preconditions; p != nil && (*p.UID != object.GetUID() || *p.ResourceVersion != object.GetResourceVersion()) {
			fail(w, http.StatusConflict, metav1.StatusReasonConflict, nil)
			return
		}
		delete(s.objects, r.URL.Path)
		_ = json.NewEncoder(w).Encode(metav1.Status{Status: metav1.StatusSuccess})
	}
}

func isList(r *http.Request) bool {
	return slices.Contains([]string{"configmaps", "workflowtemplates", "clusterworkflowtemplates"}, path.Base(r.URL.Path))
}

func (s *server) list(w http.ResponseWriter, r *http.Request) {
	limit, _ := strconv.Atoi(r.URL.Query().Get("limit"))
	from, _ := strconv.Atoi(r.URL.Query().Get("continue"))
	var items []metav1.PartialObjectMetadata
	for _, where := range slices.Sorted(maps.Keys(s.objects)) {
		if object := s.objects[where]; strings.Contains(where, "/"+path.Base(r.URL.Path)+"/") {
			items = append(items, metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{
				Name: object.GetName(), Namespace: object.GetNamespace(), UID: object.GetUID(), ResourceVersion: object.GetResourceVersion(),
				Labels: object.GetLabels(), Annotations: object.GetAnnotations(),
			}})
		}
	}
	list := metav1.PartialObjectMetadataList{TypeMeta: metav1.TypeMeta{APIVersion: "meta.k8s.io/v1", Kind: "PartialObjectMetadataList"}}
	items = items[min(from, len(items)):]
	if limit > 0 && len(items) > limit {
		items, list.Continue = items[:limit], strconv.Itoa(from+limit)
	}
	if list.Items = items; s.endless {
		list.Continue = "0"
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(list)
}

func (s *server) create(w http.ResponseWriter, r *http.Request, body []byte) {
	object := &unstructured.Unstructured{}
	_ = object.UnmarshalJSON(body)
	where := path.Join(r.URL.Path, object.GetName())
	if s.objects[where] != nil {
		fail(w, http.StatusConflict, metav1.StatusReasonAlreadyExists, nil)
		return
	}
	s.storeLocked(where, object)
	reply(w, object, false)
}

func (s *server) update(w http.ResponseWriter, r *http.Request, object *unstructured.Unstructured, body []byte) {
	next := &unstructured.Unstructured{}
	_ = next.UnmarshalJSON(body)
	if next.GetResourceVersion() != object.GetResourceVersion() || next.GetUID() != object.GetUID() {
		fail(w, http.StatusConflict, metav1.StatusReasonConflict, nil)
		return
	}
	s.storeLocked(r.URL.Path, next)
	reply(w, next, false)
}

func (s *server) patch(w http.ResponseWriter, r *http.Request, object *unstructured.Unstructured, body []byte) {
	before, _ := object.MarshalJSON()
	patch, err := jsonpatch.DecodePatch(body)
	var after []byte
	if err == nil {
		after, err = patch.Apply(before)
	}
	next := &unstructured.Unstructured{}
	if err == nil {
		err = next.UnmarshalJSON(after)
	}
	if err != nil {
		fail(w, http.StatusUnprocessableEntity, metav1.StatusReasonInvalid, nil)
		return
	}
	s.storeLocked(r.URL.Path, next)
	reply(w, next, true)
}

func reply(w http.ResponseWriter, object *unstructured.Unstructured, meta bool) {
	body := maps.Clone(object.Object)
	if meta {
		body = map[string]any{"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object.Object["metadata"]}
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(body)
}

func fail(w http.ResponseWriter, code int, reason metav1.StatusReason, details *metav1.StatusDetails) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(metav1.Status{
		TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: metav1.StatusFailure,
		Code: int32(code), Reason: reason, Details: details, Message: fmt.Sprintf("answer %d", code), //nolint:gosec // a status code
	})
}

// serve returns how to reach it.
func (s *server) serve(t *testing.T) *rest.Config {
	t.Helper()
	listening := httptest.NewTLSServer(s)
	t.Cleanup(listening.Close)
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: listening.Certificate().Raw})
	return &rest.Config{Host: listening.URL, TLSClientConfig: rest.TLSClientConfig{CAData: ca}, QPS: 1000, Burst: 1000}
}

func (s *server) clients(t *testing.T) *wec.Clients {
	t.Helper()
	clients, err := wec.Dial(s.serve(t))
	if err != nil {
		t.Fatal(err)
	}
	return clients
}

func (s *server) hub(t *testing.T) (dynamic.Interface, metadata.Interface) {
	t.Helper()
	config := s.serve(t)
	objects, err := dynamic.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	meta, err := metadata.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	return objects, meta
}

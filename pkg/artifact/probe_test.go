package artifact

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// s3 answers every request with a status and, for an error, S3's XML.
func s3(t *testing.T, answer func(r *http.Request) (int, string)) Store {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		status, errCode := answer(r)
		w.Header().Set("Content-Type", "application/xml")
		w.WriteHeader(status)
		if errCode != "" {
			_, _ = w.Write([]byte("<Error><Code>" + errCode + "</Code><Message>said with s3cr3t</Message></Error>"))
		} else if r.Method == http.MethodGet {
			_, _ = w.Write([]byte("<LocationConstraint/>"))
		}
	}))
	t.Cleanup(server.Close)
	return Store{Endpoint: strings.TrimPrefix(server.URL, "http://"), Bucket: "workflows", Insecure: true, AccessKey: "AKIAFAKE", SecretKey: "s3cr3t"}
}

func TestProbe(t *testing.T) {
	ok := func(*http.Request) (int, string) { return http.StatusOK, "" }
	always := func(status int, code string) func(*http.Request) (int, string) {
		return func(*http.Request) (int, string) { return status, code }
	}
	at := func(method, path string, status int, code string, otherwise func(*http.Request) (int, string)) func(*http.Request) (int, string) {
		return func(r *http.Request) (int, string) {
			if r.Method == method && strings.Trim(r.URL.Path, "/") == path {
				return status, code
			}
			return otherwise(r)
		}
	}
	cases := map[string]struct {
		reason string
		answer func(*http.Request) (int, string)
		change func(*Store)
		create bool
		check  Check
		err    string // without the address
	}{
		"Usable": {reason: "everything is there", answer: ok},
		"UnknownKey": {
			reason: "the access key is not known", answer: always(http.StatusForbidden, "InvalidAccessKeyId"), check: CheckCredentials,
			err: "credentials check failed: the server rejects them (InvalidAccessKeyId): check the access key and the secret key",
		},
		"WrongSecret": {
			reason: "the secret key is wrong", answer: always(http.StatusForbidden, "SignatureDoesNotMatch"), check: CheckCredentials,
			err: "credentials check failed: the server rejects them (SignatureDoesNotMatch): check the access key and the secret key",
		},
		"Denied": {
			reason: "the user may not use the bucket", answer: always(http.StatusForbidden, "AccessDenied"), check: CheckBucket,
			err: `bucket check failed: access to bucket "workflows" is denied: let the user of the access key use the bucket, check the secret key, or choose a bucket of its own`,
		},
		"Missing": {
			reason: "no bucket and no leave to create it", answer: always(http.StatusNotFound, "NoSuchBucket"), check: CheckBucket,
			err: `bucket check failed: bucket "workflows" does not exist: create it, or allow it to be created`,
		},
		"CannotCreate": {
			reason: "the server refuses to create it", create: true, check: CheckBucket,
			answer: at(http.MethodPut, "workflows", http.StatusForbidden, "AccessDenied", always(http.StatusNotFound, "NoSuchBucket")),
			err:    `bucket check failed: bucket "workflows" does not exist and cannot be created: said with <redacted>: create it, or let the user of the access key create it`,
		},
		"ReadOnly": {
			reason: "Argo could not save a log", check: CheckWrite,
			answer: at(http.MethodPut, "workflows/"+ProbeObject, http.StatusForbidden, "AccessDenied", ok),
			err:    `write check failed: object ".stellarflow/probe" cannot be written: said with <redacted>: let the user of the access key read and write the bucket's objects`,
		},
		"LocationDenied": {
			reason: "a user who may not ask for the location can still use the bucket",
			answer: at(http.MethodGet, "workflows", http.StatusForbidden, "AccessDenied", ok),
		},
		"NotReady": {
			reason: "a server that has just started", answer: always(http.StatusServiceUnavailable, "XMinioServerNotInitialized"), check: CheckEndpoint,
			err: "endpoint check failed: the server is not ready: said with <redacted>: wait a moment and try again, or look at the server's log",
		},
		"NotTLS": {
			reason: "http spoken where https is configured", answer: ok, change: func(s *Store) { s.Insecure = false }, check: CheckEndpoint,
			err: "endpoint check failed: the server speaks http, not https: set insecure to true",
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			store := s3(t, tc.answer)
			if tc.change != nil {
				tc.change(&store)
			}
			err := Probe(t.Context(), store, tc.create)
			got := strings.TrimPrefix(message(err), "artifact store "+store.String()+": ")
			if diff := cmp.Diff(tc.err, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", tc.reason, diff)
			}
			var probe *ProbeError
			if errors.As(err, &probe) && probe.Check != tc.check {
				t.Errorf("%s: want check %q, got %q", tc.reason, tc.check, probe.Check)
			}
		})
	}
}

func TestProbeUnreachable(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	err = Probe(ctx, Store{Endpoint: address, Bucket: "workflows", Insecure: true, AccessKey: "AKIAFAKE", SecretKey: "s3cr3t"}, true)
	var probe *ProbeError
	if !errors.As(err, &probe) || probe.Check != CheckEndpoint {
		t.Fatalf("want a failed endpoint check, got %v", err)
	}
	if want := "check the address, that the server runs and that this machine may reach it"; probe.Remedy != want {
		t.Errorf("remedy: want %q, got %q", want, probe.Remedy)
	}
}

func TestProbeCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	store := s3(t, func(*http.Request) (int, string) { return http.StatusOK, "" })
	if err := Probe(ctx, store, false); !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled probe says nothing about the store: want context.Canceled, got %v", err)
	}
}

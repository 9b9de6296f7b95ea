package artifact

import (
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func valid() map[string][]byte {
	return map[string][]byte{
		"endpoint": []byte("172.30.0.1:9000"), "bucket": []byte("workflows"), "insecure": []byte("true"),
		"accesskey": []byte("AKIAFAKE"), "secretkey": []byte("s3cr3t"),
	}
}

func with(changes map[string]string) map[string][]byte {
	data := valid()
	for key, value := range changes {
		if value == "<none>" {
			delete(data, key)
			continue
		}
		data[key] = []byte(value)
	}
	return data
}

func TestParseStore(t *testing.T) {
	cases := map[string]struct {
		reason string
		data   map[string][]byte
		want   Store
		err    string
	}{
		"Complete": {
			reason: "the settings of the local fleet",
			data:   valid(),
			want:   Store{Endpoint: "172.30.0.1:9000", Bucket: "workflows", Insecure: true, AccessKey: "AKIAFAKE", SecretKey: "s3cr3t"},
		},
		"RegionAndHTTPS": {
			reason: "insecure may be left out, the port too",
			data:   with(map[string]string{"insecure": "<none>", "region": "eu-central-1", "endpoint": "s3.example.com"}),
			want:   Store{Endpoint: "s3.example.com", Bucket: "workflows", Region: "eu-central-1", AccessKey: "AKIAFAKE", SecretKey: "s3cr3t"},
		},
		"IPv6": {
			reason: "brackets as in an address",
			data:   with(map[string]string{"endpoint": "[fd00::1]:9000"}),
			want:   Store{Endpoint: "[fd00::1]:9000", Bucket: "workflows", Insecure: true, AccessKey: "AKIAFAKE", SecretKey: "s3cr3t"},
		},
		"TrailingNewline": {
			reason: "a value made with echo keeps its line end",
			data:   with(map[string]string{"secretkey": "s3cr3t\n"}),
			want:   Store{Endpoint: "172.30.0.1:9000", Bucket: "workflows", Insecure: true, AccessKey: "AKIAFAKE", SecretKey: "s3cr3t"},
		},
		"Empty": {
			reason: "every missing key is named at once",
			data:   nil,
			err: "artifact store: accesskey is missing: set it to the credential of a user that may read and write the bucket; " +
				"bucket is missing: set it to the name of the bucket for artifacts and logs; " +
				"endpoint is missing: set it to the host:port of the S3 server; " +
				"secretkey is missing: set it to the credential of a user that may read and write the bucket",
		},
		"SchemeHTTP": {
			reason: "a URL where an address belongs",
			data:   with(map[string]string{"endpoint": "http://minio:9000"}),
			err:    `artifact store: endpoint "http://minio:9000" has a scheme: write host:port and set insecure to true`,
		},
		"SchemeHTTPS": {
			reason: "a URL where an address belongs",
			data:   with(map[string]string{"endpoint": "https://minio:9000"}),
			err:    `artifact store: endpoint "https://minio:9000" has a scheme: write host:port`,
		},
		"Path": {
			reason: "minio-go takes no path",
			data:   with(map[string]string{"endpoint": "minio:9000/workflows"}),
			err:    `artifact store: endpoint "minio:9000/workflows" is not host:port: no path, user or blank belongs there`,
		},
		"Port": {
			reason: "a port is a number",
			data:   with(map[string]string{"endpoint": "minio:90000"}),
			err:    `artifact store: endpoint "minio:90000" has no port from 1 to 65535: write host:port`,
		},
		"NoHost": {
			reason: "an address needs a host",
			data:   with(map[string]string{"endpoint": ":9000"}),
			err:    `artifact store: endpoint ":9000" has no host name or address before the port: write host:port`,
		},
		"Bucket": {
			reason: "S3's rule for bucket names",
			data:   with(map[string]string{"bucket": "My_Bucket"}),
			err:    `artifact store: bucket "My_Bucket" is no bucket name (Bucket name contains invalid characters): use 3 to 63 lower case letters, digits and dashes`,
		},
		"Insecure": {
			reason: "a boolean",
			data:   with(map[string]string{"insecure": "maybe"}),
			err:    `artifact store: insecure "maybe" is neither true nor false: write true for http, false for https`,
		},
		"UnknownKey": {
			reason: "a misspelt key is not ignored, and its value may be a credential",
			data:   with(map[string]string{"secret_key": "oops"}),
			err:    `artifact store: unknown key "secret_key": remove it`,
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			got, err := ParseStore(tc.data)
			if diff := cmp.Diff(tc.err, message(err)); diff != "" {
				t.Errorf("%s: ParseStore error (-want +got):\n%s", tc.reason, diff)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("%s: ParseStore (-want +got):\n%s", tc.reason, diff)
			}
		})
	}
}

func TestParseEnv(t *testing.T) {
	complete := "MINIO_ENDPOINT=172.30.0.1:9000\nMINIO_BUCKET=workflows\nMINIO_ACCESS_KEY=AKIAFAKE\nMINIO_SECRET_KEY=s3cr3t\nMINIO_INSECURE=true\n"
	want := Store{Endpoint: "172.30.0.1:9000", Bucket: "workflows", Insecure: true, AccessKey: "AKIAFAKE", SecretKey: "s3cr3t"}
	cases := map[string]struct {
		reason string
		raw    string
		want   Store
		err    string
	}{
		"Complete": {reason: "the file of the local fleet", raw: complete, want: want},
		"Shell": {
			reason: "a file that a shell can source: comments, export, quotes, an = in a value",
			raw:    "# store\n\nexport MINIO_ENDPOINT='172.30.0.1:9000'\nMINIO_BUCKET=\"workflows\"\nMINIO_ACCESS_KEY=AKIAFAKE\nMINIO_SECRET_KEY=a=b\nMINIO_INSECURE=true",
			want:   Store{Endpoint: "172.30.0.1:9000", Bucket: "workflows", Insecure: true, AccessKey: "AKIAFAKE", SecretKey: "a=b"},
		},
		"NoEquals": {
			reason: "the line may be a credential, so only its number is said",
			raw:    complete + "s3cr3t",
			err:    "line 6 is not NAME=value: write one setting a line, for example MINIO_BUCKET=workflows",
		},
		"UnknownName": {
			reason: "a misspelt name",
			raw:    "MINIO_SECRET=s3cr3t",
			err:    `line 1: unknown name "MINIO_SECRET": the names are MINIO_ACCESS_KEY, MINIO_BUCKET, MINIO_ENDPOINT, MINIO_INSECURE, MINIO_REGION, MINIO_SECRET_KEY`,
		},
		"Twice": {
			reason: "two values for one setting",
			raw:    "MINIO_BUCKET=a\nMINIO_BUCKET=b",
			err:    "line 2: MINIO_BUCKET is set twice: keep one of the lines",
		},
		"Names": {
			reason: "errors use the names of the file",
			raw:    "MINIO_ENDPOINT=http://m\nMINIO_INSECURE=no way\nMINIO_BUCKET=workflows\nMINIO_ACCESS_KEY=a",
			err: `artifact store: MINIO_ENDPOINT "http://m" has a scheme: write host:port and set MINIO_INSECURE to true; ` +
				`MINIO_INSECURE "no way" is neither true nor false: write true for http, false for https; ` +
				`MINIO_SECRET_KEY is missing: set it to the credential of a user that may read and write the bucket`,
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			got, err := ParseEnv([]byte(tc.raw))
			if diff := cmp.Diff(tc.err, message(err)); diff != "" {
				t.Errorf("%s: ParseEnv error (-want +got):\n%s", tc.reason, diff)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("%s: ParseEnv (-want +got):\n%s", tc.reason, diff)
			}
		})
	}
}

func TestStoreDataRoundTrip(t *testing.T) {
	for name, changes := range map[string]map[string]string{
		"NoRegion": nil,
		"Region":   {"region": "eu-central-1"},
		"HTTPS":    {"insecure": "false"},
	} {
		t.Run(name, func(t *testing.T) {
			data := with(changes)
			store, err := ParseStore(maps.Clone(data))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(data, store.Data()); diff != "" {
				t.Errorf("Data is not the inverse of ParseStore (-want +got):\n%s", diff)
			}
		})
	}
}

func TestStoreNeverPrintsCredentials(t *testing.T) {
	store, err := ParseStore(valid())
	if err != nil {
		t.Fatal(err)
	}
	for _, format := range []string{"%v", "%+v", "%#v", "%s"} {
		if got := fmt.Sprintf(format, store); strings.Contains(got, "s3cr3t") || strings.Contains(got, "AKIAFAKE") {
			t.Errorf("%s prints a credential: %s", format, got)
		}
	}
	if diff := cmp.Diff("http://172.30.0.1:9000/workflows", store.String()); diff != "" {
		t.Errorf("String (-want +got):\n%s", diff)
	}
}

func TestStoreHost(t *testing.T) {
	for endpoint, want := range map[string]string{"minio:9000": "minio", "s3.example.com": "s3.example.com", "[fd00::1]:9000": "fd00::1", "[fd00::1]": "fd00::1"} {
		if got := (Store{Endpoint: endpoint}).Host(); got != want {
			t.Errorf("Host of %q: want %q, got %q", endpoint, want, got)
		}
	}
}

func message(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

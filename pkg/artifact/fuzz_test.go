package artifact

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// FuzzParseEnv: a file of settings gives a store that its own data gives again, or a short error without the credentials in it.
func FuzzParseEnv(f *testing.F) {
	f.Add([]byte("MINIO_ENDPOINT=minio:9000\nMINIO_BUCKET=workflows\nMINIO_ACCESS_KEY=AKIAFAKE\nMINIO_SECRET_KEY=s3cr3t\nMINIO_INSECURE=true\n"))
	f.Add([]byte("\ufeffexport MINIO_ENDPOINT='[fd00::1]:9000'\r\nMINIO_REGION=\"eu\"\r\nMINIO_BUCKET = b.b.b\nMINIO_ACCESS_KEY=a=b\nMINIO_SECRET_KEY=\"\n"))
	f.Add([]byte("MINIO_ENDPOINT=http://me:s3cr3t@minio\ns3cr3t==\n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		store, err := ParseEnv(raw)
		if err != nil {
			if text := err.Error(); len(text) > 3000 || store != (Store{}) {
				t.Errorf("%q gives %+v and an error of %d bytes", raw, store, len(text))
			}
			return
		}
		again, err := ParseStore(store.Data())
		if diff := cmp.Diff(store, again); err != nil || diff != "" {
			t.Errorf("%q is not read back: %v\n%s", raw, err, diff)
		}
		if strings.ContainsAny(store.Endpoint+store.Bucket+store.Region, " @/\n\x1b") {
			t.Errorf("%q gives %s", raw, store)
		}
		if _, err := ConfigMap(store, "c", "n"); err != nil {
			t.Errorf("%q gives no repository: %v", raw, err)
		}
	})
}

// FuzzParseStore is the same for a Secret.
func FuzzParseStore(f *testing.F) {
	f.Add("minio:9000", "workflows", "eu-central-1", "true", "AKIAFAKE", "s3cr3t")
	f.Add("[::1]", "b.b", "", "", "a", "\x00")
	f.Add("fd00::1", "10.0.0.1", " ", "1", " ", "ö")
	f.Fuzz(func(t *testing.T, endpoint, bucket, region, insecure, access, secret string) {
		data := map[string][]byte{"endpoint": []byte(endpoint), "bucket": []byte(bucket), "region": []byte(region), "insecure": []byte(insecure), "accesskey": []byte(access), "secretkey": []byte(secret)}
		store, err := ParseStore(data)
		if err != nil {
			if len(err.Error()) > 3000 {
				t.Errorf("an error of %d bytes", len(err.Error()))
			}
			return
		}
		if again, err := ParseStore(store.Data()); err != nil || again != store {
			t.Errorf("%q is read back as %+v, %v", data, again, err)
		}
	})
}

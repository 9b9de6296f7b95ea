package artifact

import (
	"strings"
	"testing"

	"stellarflow.io/stellarflow/test/badinput"
)

// A store that cannot be used is refused with every reason, and no credential in any of them. The Secret's faults are shown on each
// Workflow that needs the store, those of a file by `stellarflow install`.
func TestBadInput(t *testing.T) {
	badinput.Run(t, func(t *testing.T, c badinput.Case) badinput.Answer {
		var err error
		where := "stderr of stellarflow install, exit code 2"
		if c.Kind == "Secret" {
			data := valid()
			var changes map[string]*string
			c.Into(t, &changes)
			for key, value := range changes {
				if delete(data, key); value != nil {
					data[key] = []byte(*value)
				}
			}
			where = "message of each Workflow that waits for its copy"
			_, err = ParseStore(data)
		} else {
			_, err = ParseEnv([]byte(c.Text(t)))
		}
		if err == nil {
			return badinput.Answer{Where: "nowhere: it is accepted"}
		}
		for _, secret := range []string{"s3cr3t", "AKIAFAKE"} {
			if strings.Contains(err.Error(), secret) {
				t.Errorf("the message holds a credential: %v", err)
			}
		}
		return badinput.Answer{Where: where, Says: err.Error()}
	})
}

// What editors and shells leave in a file is no fault.
func TestParseEnvTolerates(t *testing.T) {
	want := Store{Endpoint: "minio:9000", Bucket: "workflows", AccessKey: "AKIAFAKE", SecretKey: "s3cr3t="}
	lines := []string{"MINIO_ENDPOINT=minio:9000", "MINIO_BUCKET=workflows", "MINIO_ACCESS_KEY = AKIAFAKE ", `export MINIO_SECRET_KEY="s3cr3t="`}
	for name, raw := range map[string]string{
		"BOM": "\ufeff" + strings.Join(lines, "\n"), "CRLF": strings.Join(lines, "\r\n") + "\r\n", "NoLastLineEnd": strings.Join(lines, "\n"),
	} {
		if got, err := ParseEnv([]byte(raw)); err != nil || got != want {
			t.Errorf("%s: got %+v, %v", name, got, err)
		}
	}
}

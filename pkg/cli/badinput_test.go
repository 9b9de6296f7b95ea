package cli

import (
	"fmt"
	"strings"
	"testing"

	"stellarflow.io/stellarflow/test/badinput"
)

// A command that is called in a wrong way says on stderr what is wrong, whole and without a credential, and asks nothing of a cluster.
// FILES/ in an argument is a folder with a good and a bad file of each kind.
func TestBadInput(t *testing.T) {
	files := map[string]string{"good": kubeconfig(t, "https://10.0.0.1:6443"), "local": kubeconfig(t, "https://127.0.0.1:6443"), "store": goodStore, "text": "hello", "empty": "", "binary": "\x00\x01\x1b[2J"}
	badinput.Run(t, func(t *testing.T, c badinput.Case) badinput.Answer {
		var args []string
		c.Into(t, &args)
		for i := range args {
			args[i] = strings.ReplaceAll(args[i], "FILES/", "DIR/")
		}
		code, out, errOut := run(t, files, args...)
		if strings.Contains(errOut, "t0ken") || strings.Contains(errOut, "s3cr3t") {
			t.Errorf("the message holds a credential: %s", errOut)
		}
		if out != "" || len(errOut) > 2000 || strings.ContainsFunc(errOut, func(r rune) bool { return r < ' ' && r != '\n' && r != '\t' || r == 0x7f || r == 0x9b }) {
			t.Errorf("stdout %q, and stderr of %d bytes: %q", out, len(errOut), errOut)
		}
		return badinput.Answer{Where: fmt.Sprintf("stderr, exit code %d", code), Says: strings.ReplaceAll(errOut, "DIR/", "FILES/")}
	})
}

package chaos

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
	"stellarflow.io/stellarflow/pkg/wec"
	"stellarflow.io/stellarflow/test/chaos/fault"
	"stellarflow.io/stellarflow/test/chaos/history"
	"stellarflow.io/stellarflow/test/chaos/recorder"
)

// slot is one place where a manager may run, with a network path of its own to the hub. It is started again when it ends, as a
// Deployment does, for as long as it is wanted.
type slot struct {
	name    string
	seed    uint64
	proxy   *proxy
	webhook string            // where it serves admission
	kubelet string            // and what is asked of mirrored pods
	files   map[string]string // what the environment names
	process

	wantMu sync.Mutex
	want   bool
	exit   string
	alone  bool
}

// newSlot prepares a manager that reaches the hub through a proxy.
func newSlot(ctx context.Context, name, dir, binary, mutant string, seed uint64, hub *server) (*slot, error) {
	p, err := newProxy(fmt.Sprintf("%s:%d", loopback, hub.apiPort))
	if err != nil {
		return nil, err
	}
	token, err := hub.accountToken(ctx, stellarflow.SystemNamespace, "stellarflow-hub")
	if err != nil {
		return nil, err
	}
	kubeconfig, err := wec.MinimalKubeconfig("https://"+p.address(), hub.config.CAData, token)
	if err != nil {
		return nil, err
	}
	ports, err := freePorts(2)
	if err != nil {
		return nil, err
	}
	s := &slot{name: name, seed: seed, proxy: p, webhook: fmt.Sprintf("%s:%d", loopback, ports[0]), kubelet: fmt.Sprintf("%s:%d", loopback, ports[1]), files: map[string]string{
		fault.EnvKubeconfig: filepath.Join(dir, "manager-"+name+".kubeconfig"), fault.EnvFile: filepath.Join(dir, "manager-"+name+".faults"), fault.EnvMutant: mutant,
	}}
	s.process.name, s.log, s.args = "manager "+name, filepath.Join(dir, "manager-"+name+".log"), []string{binary}
	if err := os.WriteFile(s.files[fault.EnvKubeconfig], kubeconfig, privateFile); err != nil {
		return nil, err
	}
	return s, fault.Write(s.files[fault.EnvFile], fault.Settings{})
}

// run lets the manager live until it is told otherwise. exit is for its next life only.
func (s *slot) run(alone bool, exit string) {
	s.wantMu.Lock()
	defer s.wantMu.Unlock()
	s.want, s.alone, s.exit = true, alone, exit
}

// end kills the manager for good. What it saw and did not write down yet is forgotten, which the checker is told.
func (s *slot) end(log *recorder.Log) {
	s.wantMu.Lock()
	s.want = false
	s.wantMu.Unlock()
	s.signal(syscall.SIGCONT)
	s.kill()
	log.Add(history.Record{Kind: history.Began, Text: "manager " + s.name + " ends, and what it saw with it"})
}

// watch starts the manager whenever it is wanted and does not run.
func (s *slot) watch(ctx context.Context, log *recorder.Log) {
	for life := uint64(1); pause(ctx, 100*time.Millisecond) == nil; {
		s.wantMu.Lock()
		want := s.want && !s.running()
		if want {
			s.env = []string{fault.EnvSeed + "=" + strconv.FormatUint(s.seed*1000+life, 10), fault.EnvExit + "=" + s.exit, fault.EnvAlone + "=" + map[bool]string{true: "1"}[s.alone], fault.EnvWebhook + "=" + s.webhook, fault.EnvKubelet + "=" + s.kubelet}
			for name, value := range s.files {
				s.env = append(s.env, name+"="+value)
			}
			s.exit = ""
			life++
		}
		s.wantMu.Unlock()
		if !want {
			continue
		}
		log.Add(history.Record{Kind: history.Began, Text: fmt.Sprintf("manager %s starts, %v", s.name, s.env[1:3])})
		if err := s.start(); err != nil {
			log.Fault("manager %s: %v", s.name, err)
		}
	}
	s.end(log)
}

// accountToken returns a token of a ServiceAccount, as TokenRequest gives it.
func (s *server) accountToken(ctx context.Context, namespace, account string) (string, error) {
	day := int64(24 * 3600)
	answer, err := s.core.CoreV1().ServiceAccounts(namespace).CreateToken(ctx, account,
		&authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: &day}}, metav1.CreateOptions{})
	if err != nil {
		return "", fmt.Errorf("token for %s/%s on %s: %w", namespace, account, s.name, err)
	}
	return answer.Status.Token, nil
}

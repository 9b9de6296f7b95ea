package node

import (
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

// askEvery is how often an address is asked.
const askEvery = 50 * time.Millisecond

// loopback asks servers of this very node, whose certificates say nothing that
// the network namespace does not.
var loopback = &http.Client{
	Timeout: 2 * time.Second,
	Transport: &http.Transport{
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // see above
	},
}

// gates let many wait for one address while only one of them asks it.
type gates struct {
	mu   sync.Mutex
	open map[string]chan struct{}
}

var waiting = gates{open: map[string]chan struct{}{}}

// awaitAll returns when every address has answered.
func awaitAll(addrs []string) {
	for _, addr := range addrs {
		waiting.await(addr)
	}
}

func (g *gates) await(addr string) {
	g.mu.Lock()
	gate, asked := g.open[addr]
	if !asked {
		gate = make(chan struct{})
		g.open[addr] = gate
	}
	g.mu.Unlock()
	if asked {
		<-gate
		return
	}
	for !answers(addr) {
		time.Sleep(askEvery)
	}
	g.mu.Lock()
	delete(g.open, addr)
	g.mu.Unlock()
	close(gate)
}

// answers tells whether an address ("host:port" or "unix:/path") takes
// connections, or an https URL says 200.
func answers(addr string) bool {
	if strings.HasPrefix(addr, "https:") {
		resp, err := loopback.Get(addr)
		if err != nil {
			return false
		}
		_, _ = io.Copy(io.Discard, resp.Body) // so that the connection is used again
		_ = resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	}
	network := "tcp"
	if path, ok := strings.CutPrefix(addr, "unix:"); ok {
		network, addr = "unix", path
	}
	conn, err := net.DialTimeout(network, addr, time.Second)
	if err != nil {
		return false
	}
	_ = conn.Close()
	return true
}

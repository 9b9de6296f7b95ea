package chaos

import (
	"math/rand/v2"
	"net"
	"sync"
	"time"
)

// mode is what a proxy does to what passes.
type mode struct {
	// refuse closes every connection at once.
	refuse bool
	// holdUp and holdDown keep what goes to the server or comes from it, as a network does that loses one direction.
	holdUp, holdDown bool
	// delay is added to each piece in both directions.
	delay time.Duration
}

// proxy is a TCP proxy on loopback before one API server, or before the webhooks of all managers.
type proxy struct {
	listener net.Listener
	targets  []string

	mu      sync.Mutex
	mode    mode
	changed chan struct{} // closed and replaced with each change of the mode
	open    map[net.Conn]bool
}

// newProxy listens until close.
func newProxy(targets ...string) (*proxy, error) {
	listener, err := net.Listen("tcp", loopback+":0")
	if err != nil {
		return nil, err
	}
	p := &proxy{listener: listener, targets: targets, changed: make(chan struct{}), open: map[net.Conn]bool{}}
	go p.accept()
	return p, nil
}

func (p *proxy) address() string { return p.listener.Addr().String() }

// set changes what the proxy does. cut ends the connections that are open, so that what was held is lost; otherwise it arrives late.
func (p *proxy) set(m mode, cut bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mode = m
	close(p.changed)
	p.changed = make(chan struct{})
	if cut || m.refuse {
		for connection := range p.open {
			_ = connection.Close()
		}
	}
}

// aim sets where connections go from now on: to any of the targets that takes them, as those to a Service do.
func (p *proxy) aim(targets ...string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.targets = targets
}

func (p *proxy) close() {
	_ = p.listener.Close()
	p.set(mode{refuse: true}, true)
}

func (p *proxy) now() (mode, <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.mode, p.changed
}

func (p *proxy) keep(connection net.Conn, open bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if open {
		p.open[connection] = true
	} else {
		delete(p.open, connection)
	}
}

func (p *proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		go p.serve(client)
	}
}

func (p *proxy) serve(client net.Conn) {
	defer func() { _ = client.Close() }()
	if m, _ := p.now(); m.refuse {
		return
	}
	server := p.dial()
	if server == nil {
		return
	}
	defer func() { _ = server.Close() }()
	for _, connection := range []net.Conn{client, server} {
		p.keep(connection, true)
		defer p.keep(connection, false)
	}
	var both sync.WaitGroup
	both.Go(func() { p.pump(server, client, func(m mode) bool { return m.holdUp }) })
	both.Go(func() { p.pump(client, server, func(m mode) bool { return m.holdDown }) })
	both.Wait()
}

// dial connects with a target, nil if none takes it.
func (p *proxy) dial() net.Conn {
	p.mu.Lock()
	targets := p.targets
	p.mu.Unlock()
	for _, i := range rand.Perm(len(targets)) {
		if server, err := net.Dial("tcp", targets[i]); err == nil {
			return server
		}
	}
	return nil
}

// pump copies one direction until an end closes.
func (p *proxy) pump(to, from net.Conn, held func(mode) bool) {
	defer func() { _, _ = to.Close(), from.Close() }()
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		if n > 0 {
			m, changed := p.now()
			for held(m) {
				<-changed
				m, changed = p.now()
			}
			if m.delay > 0 {
				time.Sleep(m.delay)
			}
			if _, err := to.Write(buffer[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

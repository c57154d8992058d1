package e2e

import (
	"net"
	"net/url"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
)

// proxy stands between a server and PostgreSQL, and can take it away.
type proxy struct {
	t               *testing.T
	network, target string // PostgreSQL
	address         string // ours
	url             string // of the database through us

	mu       sync.Mutex
	listener net.Listener
	conns    map[net.Conn]struct{}
	flowing  chan struct{} // closed while bytes pass
}

// newProxy returns a proxy for the database, which is there.
func newProxy(t *testing.T, database string) *proxy {
	t.Helper()
	config, err := pgconn.ParseConfig(database)
	if err != nil {
		t.Fatalf("read the URL of the database: %v", err)
	}
	p := &proxy{t: t, address: "127.0.0.1:0", conns: map[net.Conn]struct{}{}, flowing: make(chan struct{})}
	p.network, p.target = pgconn.NetworkAddress(config.Host, config.Port)
	close(p.flowing)
	p.open()
	p.address = p.listener.Addr().String()
	u := url.URL{
		Scheme: "postgres", User: url.UserPassword(config.User, config.Password), Host: p.address,
		Path: "/" + config.Database, RawQuery: "sslmode=disable",
	}
	p.url = u.String()
	t.Cleanup(p.cut)
	return p
}

// open lets PostgreSQL be reached.
func (p *proxy) open() {
	p.t.Helper()
	l, err := net.Listen("tcp", p.address) //nolint:noctx // it takes no time
	if err != nil {
		p.t.Fatalf("listen for PostgreSQL: %v", err)
	}
	p.mu.Lock()
	p.listener = l
	p.mu.Unlock()
	go p.accept(l)
}

// cut is PostgreSQL stopped: connections end, and new ones are refused.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	_ = p.listener.Close() // closed twice is closed
	for c := range p.conns {
		_ = c.Close() // nothing is left to be lost on it
	}
	clear(p.conns)
}

// hang is PostgreSQL, or the way to it, that says nothing any more.
func (p *proxy) hang() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.flowing = make(chan struct{})
}

// flow ends hang.
func (p *proxy) flow() {
	p.mu.Lock()
	defer p.mu.Unlock()
	close(p.flowing)
}

func (p *proxy) accept(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		up, err := net.Dial(p.network, p.target) //nolint:noctx // to the same machine
		if err != nil {
			_ = c.Close() // so they see it, too
			continue
		}
		p.mu.Lock()
		p.conns[c], p.conns[up] = struct{}{}, struct{}{}
		p.mu.Unlock()
		go p.pass(c, up)
		go p.pass(up, c)
	}
}

// pass hands bytes on until either side ends, and ends both.
func (p *proxy) pass(to, from net.Conn) {
	defer to.Close()
	defer from.Close()
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		p.mu.Lock()
		flowing := p.flowing
		p.mu.Unlock()
		select {
		case <-flowing:
		case <-p.t.Context().Done():
			return
		}
		if _, err := to.Write(buf[:n]); err != nil {
			return
		}
	}
}

package postgres

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/romi/plantdb-go/internal/postgres/cluster"
)

const (
	// joinTime bounds the wait for another process that is starting the
	// server; it may be downloading it.
	joinTime = 2 * time.Minute
	// takeOver is how often a joined process looks whether the owner is gone.
	takeOver = 100 * time.Millisecond
	// maxPause bounds the wait between attempts to start a server again.
	maxPause = 10 * time.Second
)

// PrivateOptions says where a private server is.
type PrivateOptions struct {
	// Dir is the directory for the cluster and what goes with it.
	Dir string
	// Download allows to fetch PostgreSQL when none is installed.
	Download bool
	// Log is told what happens to the server.
	Log *slog.Logger
}

// settings are those of a server whose data are to last.
func (PrivateOptions) settings() map[string]string {
	return map[string]string{
		"fsync":                   "on",
		"full_page_writes":        "on",
		"synchronous_commit":      "on",
		"unix_socket_permissions": "0700",
		"shared_buffers":          "128MB",
		"max_connections":         "100",
		"cluster_name":            "plantdb",
	}
}

// Private is a PostgreSQL server of our own, reachable through a Unix socket
// by our user alone.
//
// Of the processes that use one directory the first owns the server and the
// others join. If the server dies the owner starts it again. If the owner
// stops, or is killed, one of those that joined becomes the owner and starts
// it again at the same URL; until then, some tenths of a second, their calls
// fail with errors that are Unavailable.
type Private struct {
	home   *home
	o      PrivateOptions
	url    string
	joined atomic.Bool

	stop    context.CancelFunc // ends the wish to run
	hurry   context.CancelFunc // ends the patience with a shutdown
	stopped chan struct{}      // closed when nothing of ours runs any more
	err     error              // of the end; read it after stopped
}

// StartPrivate starts the server in o.Dir, or joins the one that another
// process runs there, and returns when it answers. The first start makes the
// cluster. It is complete after a kill at any moment: half a cluster is made
// again, and what a killed server left is cleared away. The server ends with
// us, even if we are killed (on Linux).
//
// The error is a fault with one sentence for the operator: no PostgreSQL of a
// version that will do (cluster.ErrNotInstalled, and ErrFetch when a download
// was allowed), a directory that keeps the server out (cluster.ErrShutOut), or
// another's (ErrPrivate, cluster.ErrAccount, cluster.ErrForeign), a server that
// does not start (cluster.ErrFailed).
func StartPrivate(ctx context.Context, o PrivateOptions) (*Private, error) {
	h, err := openHome(o.Dir)
	if err != nil {
		return nil, err
	}
	p := &Private{home: h, o: o, stopped: make(chan struct{})}
	owner, s, err := p.enter(ctx)
	if err == nil {
		p.url, err = h.url()
	}
	if err != nil {
		if s != nil {
			s.stop(ctx)
		}
		return nil, errors.Join(err, closeLock(owner), h.root.Close())
	}
	p.joined.Store(owner == nil)
	life, stop := context.WithCancel(context.WithoutCancel(ctx))
	patience, hurry := context.WithCancel(context.WithoutCancel(ctx))
	p.stop, p.hurry = stop, hurry
	go p.supervise(life, patience, owner, s)
	return p, nil
}

// URL is that of the database, password included, for Open and Migrate.
func (p *Private) URL() string { return p.url }

// Joined says whether another process runs the server, and ours only uses it.
func (p *Private) Joined() bool { return p.joined.Load() }

// Stop shuts the server down if it is ours and returns when it is gone. If ctx
// ends before, the shutdown is an immediate one, which costs the next start a
// recovery and loses nothing. A second Stop changes nothing.
func (p *Private) Stop(ctx context.Context) error {
	p.stop()
	select {
	case <-p.stopped:
	case <-ctx.Done():
	}
	p.hurry()
	<-p.stopped
	return p.err
}

// enter becomes the owner, and then returns lock and server, or finds that
// another's server answers, and then returns neither.
func (p *Private) enter(ctx context.Context) (*cluster.Lock, *server, error) {
	wait, cancel := context.WithTimeout(ctx, joinTime)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		owner, err := cluster.TryLock(p.home.path(ownerFile), cluster.Exclusive)
		if err == nil {
			s, err := p.home.launch(ctx, p.o)
			return owner, s, err
		}
		if !errors.Is(err, cluster.ErrLocked) {
			return nil, nil, privateError(p.home.dir, err)
		}
		url, err := p.home.url()
		if err == nil {
			err = knock(ctx, url)
		}
		switch {
		case err == nil:
			return nil, nil, nil
		case errors.Is(err, ErrPrivate), errors.Is(err, ErrRefused):
			return nil, nil, err
		}
		select {
		case <-tick.C: // its owner may be just making it
		case <-wait.Done():
			return nil, nil, ErrPrivate.With("another process has not yet started PostgreSQL in %s: "+
				"see what it says, or try again", p.home.dir).Because(errors.Join(ctx.Err(), err))
		}
	}
}

// supervise keeps a server running until life ends: it waits to become the
// owner, starts the server, and starts it again when it ended.
func (p *Private) supervise(life, patience context.Context, owner *cluster.Lock, s *server) {
	defer close(p.stopped)
	if owner == nil {
		owner = p.inherit(life)
	}
	if owner != nil {
		p.joined.Store(false)
		if s = p.keep(life, s); s != nil {
			s.stop(patience)
		}
	}
	p.err = errors.Join(closeLock(owner), p.home.root.Close())
}

// inherit waits for the owner's end; nil when ctx ended first.
func (p *Private) inherit(ctx context.Context) *cluster.Lock {
	tick := time.NewTicker(takeOver)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		owner, err := cluster.TryLock(p.home.path(ownerFile), cluster.Exclusive)
		if err == nil {
			p.o.Log.InfoContext(ctx, "the private PostgreSQL's owner is gone: taking over")
			return owner
		}
	}
}

// keep has the server run until ctx ends, and returns the one that then does.
func (p *Private) keep(ctx context.Context, s *server) *server {
	pause := takeOver
	for ctx.Err() == nil {
		if s == nil {
			var err error
			if s, err = p.home.launch(ctx, p.o); err != nil {
				p.o.Log.ErrorContext(ctx, "private PostgreSQL not started",
					slog.Any("err", err), slog.Duration("again_in", pause))
				rest(ctx, pause)
				pause = min(2*pause, maxPause)
				continue
			}
			pause = takeOver
		}
		select {
		case <-ctx.Done():
		case <-s.process.Done():
			p.o.Log.ErrorContext(ctx, "private PostgreSQL ended by itself: starting it again",
				slog.Any("err", s.process.Err()), slog.String("log", p.home.path(logFile)))
			s = nil
			rest(ctx, takeOver) // if it ends whenever it starts
		}
	}
	return s
}

func rest(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

func closeLock(l *cluster.Lock) error {
	if l == nil {
		return nil
	}
	return l.Close()
}

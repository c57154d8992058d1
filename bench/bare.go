package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/romi/plantdb-go/internal/postgres"
)

// This program runs itself once more, as the server that limits are taken
// from: in a process of its own, as the server that is measured is.
const (
	bareCommand  = "bare"
	bareDatabase = "BENCH_DATABASE_URL"
)

// The routes of the bare server.
const (
	bareMemory = "/memory/" // a file of its directory, kept in memory
	bareFile   = "/file/"   // the same from disk
	bareRow    = "/row/"    // the metadata of a scan, by its primary key
	barePut    = "/put/"    // takes a body, hashed and synced to disk
)

// bareServer is the other process, and how to call it.
type bareServer struct {
	*caller
	process *process
	dir     string
}

// bare starts the bare server beside a site, whose database it asks.
func (b *bench) bare(ctx context.Context, s *site) (*bareServer, error) {
	return b.plain.get(func() (*bareServer, error) {
		bare := &bareServer{dir: filepath.Join(b.dir, "bare")}
		if err := os.Mkdir(bare.dir, 0o700); err != nil {
			return nil, fmt.Errorf("make directory of the bare server: %w", err)
		}
		self, err := os.Executable()
		if err != nil {
			return nil, fmt.Errorf("find this program: %w", err)
		}
		env := []string{bareDatabase + "=" + s.private.URL()}
		if bare.process, err = b.start(ctx, self, env, bareCommand, bare.dir); err != nil {
			return nil, err
		}
		b.onClose(bare.process.stop)
		address, err := bare.process.address(ctx)
		bare.caller = newClient(address)
		return bare, err
	})
}

// hold gives the bare server a file.
func (b *bareServer) hold(name string, content []byte) error {
	if err := os.WriteFile(filepath.Join(b.dir, name), content, 0o600); err != nil {
		return fmt.Errorf("give the bare server a file: %w", err)
	}
	return nil
}

// serveBare serves until ctx or stdin ends, which is when who started it has.
func serveBare(ctx context.Context, dir, database string, stdin io.Reader, stdout io.Writer) error {
	pool, err := postgres.Open(ctx, database, postgres.PoolOptions{MaxConns: 24, ApplicationName: "bench"})
	if err != nil {
		return err
	}
	defer pool.Close()
	var lc net.ListenConfig
	listener, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	server := &http.Server{Handler: bareHandler(dir, pool), ReadHeaderTimeout: 10 * time.Second}
	ctx, end := context.WithCancel(ctx)
	go func() {
		defer end()
		_, _ = io.Copy(io.Discard, stdin) // only its end counts
	}()
	// All that it reads and writes is for a measurement that is over.
	defer context.AfterFunc(ctx, func() { _ = server.Close() })()
	fmt.Fprintf(stdout, "http://%s\n", listener.Addr())
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve: %w", err)
	}
	return nil
}

func bareHandler(dir string, pool *pgxpool.Pool) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET "+bareMemory, http.StripPrefix(bareMemory, &memory{dir: dir}))
	mux.Handle("GET "+bareFile, http.StripPrefix(bareFile, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.ServeFile(w, r, filepath.Join(dir, filepath.Base(r.URL.Path)))
	})))
	mux.HandleFunc("POST "+barePut+"{name}", func(w http.ResponseWriter, r *http.Request) {
		sum := sha256.New()
		err := writeDurably(filepath.Join(dir, filepath.Base(r.URL.Path)), io.TeeReader(r.Body, sum))
		answer(w, sum.Sum(nil), err)
	})
	mux.HandleFunc("GET "+bareRow+"{id}", func(w http.ResponseWriter, r *http.Request) {
		id, err := uuid.Parse(r.PathValue("id"))
		var document []byte
		if err == nil {
			err = pool.QueryRow(r.Context(), "SELECT document FROM scans WHERE id = $1", id).Scan(&document)
		}
		answer(w, document, err)
	})
	return mux
}

func answer(w http.ResponseWriter, body []byte, err error) {
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(body) // nobody is left to tell of a failure
}

// memory answers with files that it reads once.
type memory struct {
	dir  string
	held sync.Map // name -> []byte
}

// ServeHTTP implements http.Handler.
func (m *memory) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name := filepath.Base(r.URL.Path)
	if content, ok := m.held.Load(name); ok {
		held, _ := content.([]byte)
		answer(w, held, nil)
		return
	}
	content, err := os.ReadFile(filepath.Join(m.dir, name))
	if err == nil {
		m.held.Store(name, content)
	}
	answer(w, content, err)
}

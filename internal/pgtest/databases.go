package pgtest

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/romi/plantdb-go/internal/postgres"
	"github.com/romi/plantdb-go/internal/postgres/cluster"
	"github.com/romi/plantdb-go/migrations"
)

const (
	// templatePrefix begins the names of templates; a hash of the migrations
	// and the version of the tables of jobs follow.
	templatePrefix = "plantdb_template_"
	// testPrefix begins the names of the databases of tests; the key of the
	// process that made it and a number follow.
	testPrefix = "plantdb_test_"
	// keyName begins the name, in pg_stat_activity, of the connection by which
	// the process of that key is known to live.
	keyName = "pgtest "
	// templateLock is the advisory lock under which templates are made.
	templateLock = 0x706c616e74646202
)

// A test process attaches to the server once and stays attached until it
// ends, which is what keeps the server running; there is nobody to hand the
// attachment from test to test. Hence these two.
var (
	attached = sync.OnceValues(func() (*harness, error) {
		ctx, cancel := context.WithTimeout(context.Background(), setupTime)
		defer cancel()
		if named := os.Getenv(envURL); named != "" {
			return newHarness(ctx, named, nil)
		}
		base, err := baseDir()
		if err != nil {
			return nil, err
		}
		server, users, err := attach(ctx, base)
		if err != nil {
			return nil, err
		}
		return newHarness(ctx, server, users)
	})
	shared = sync.OnceValues(func() (*pgxpool.Pool, error) {
		h, err := attached()
		if err != nil {
			return nil, err
		}
		ctx, cancel := context.WithTimeout(context.Background(), setupTime)
		defer cancel()
		database, err := h.clone(ctx)
		if err != nil {
			return nil, err
		}
		return postgres.Open(ctx, h.urlOf(database), postgres.PoolOptions{MaxConns: 24, ApplicationName: "pgtest.Tx", ConnectTimeout: stepTime})
	})
)

// harness makes and drops databases for one process.
type harness struct {
	server   *url.URL
	admin    *pgxpool.Pool
	template string
	key      string
	made     atomic.Int64

	// What this process holds as long as it lives; the garbage collector
	// would close it.
	users    *cluster.Lock // nil for a server that is not ours
	keyOwner *pgx.Conn
}

func newHarness(ctx context.Context, raw string, users *cluster.Lock) (*harness, error) {
	server, err := parseURL(raw)
	if err != nil {
		return nil, err
	}
	admin, err := postgres.Open(ctx, raw, postgres.PoolOptions{MaxConns: 4, ApplicationName: "pgtest", ConnectTimeout: stepTime})
	if err != nil {
		return nil, err
	}
	h := &harness{server: server, admin: admin, key: strings.ToLower(rand.Text()), users: users}
	if err = h.announce(ctx); err == nil {
		err = h.prepare(ctx)
	}
	if err != nil {
		admin.Close()
		return nil, err
	}
	return h, nil
}

// announce opens a connection that names the key of this process for as long
// as it lives: what the whole server shows, unlike an advisory lock, which
// counts in one database only.
func (h *harness) announce(ctx context.Context) error {
	cfg, err := pgx.ParseConfig(h.server.String())
	if err != nil {
		return fmt.Errorf("read URL: %w", err)
	}
	cfg.RuntimeParams["application_name"] = keyName + h.key
	if h.keyOwner, err = pgx.ConnectConfig(ctx, cfg); err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	return nil
}

// prepare clears up after others and makes the template for our migrations
// unless there is one.
func (h *harness) prepare(ctx context.Context) (err error) {
	sum, err := fingerprint(migrations.FS)
	if err != nil {
		return err
	}
	h.template = fmt.Sprintf("%s%s_%d", templatePrefix, sum, postgres.JobsVersion())
	conn, err := h.admin.Acquire(ctx)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	defer conn.Release()
	if _, err := conn.Exec(ctx, "SELECT pg_advisory_lock($1)", int64(templateLock)); err != nil {
		return fmt.Errorf("lock templates: %w", err)
	}
	defer func() {
		_, unlock := conn.Exec(ctx, "SELECT pg_advisory_unlock($1)", int64(templateLock))
		err = errors.Join(err, unlock)
	}()
	if err := h.sweep(ctx); err != nil {
		return err
	}
	var there bool
	err = conn.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)", h.template).Scan(&there)
	if err != nil || there {
		return err
	}
	return h.build(ctx)
}

// sweep drops our role's databases of processes that are no more.
func (h *harness) sweep(ctx context.Context) error {
	rows, _ := h.admin.Query(ctx, `
		SELECT d.datname FROM pg_database d
		WHERE starts_with(d.datname, $1) AND pg_get_userbyid(d.datdba) = current_user AND NOT EXISTS (
			SELECT FROM pg_stat_activity a
			WHERE a.application_name = $2 || split_part(substr(d.datname, length($1) + 1), '_', 1))`, testPrefix, keyName)
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return fmt.Errorf("list test databases: %w", err)
	}
	for _, name := range names {
		if err := h.drop(ctx, name); err != nil {
			return err
		}
	}
	return nil
}

// build makes the template under another name first, so that one which has
// the name is whole.
func (h *harness) build(ctx context.Context) error {
	half := h.template + "_new"
	if err := h.drop(ctx, half); err != nil {
		return err
	}
	if err := h.exec(ctx, "CREATE DATABASE "+half); err != nil {
		return err
	}
	if err := postgres.Migrate(ctx, h.urlOf(half), slog.New(slog.DiscardHandler)); err != nil {
		return fmt.Errorf("build template: %w", err)
	}
	if err := h.deserted(ctx, half); err != nil {
		return err
	}
	return h.exec(ctx, "ALTER DATABASE "+half+" RENAME TO "+h.template)
}

// clone makes a database with our schema.
func (h *harness) clone(ctx context.Context) (string, error) {
	name := fmt.Sprintf("%s%s_%d", testPrefix, h.key, h.made.Add(1))
	return name, h.exec(ctx, "CREATE DATABASE "+name+" TEMPLATE "+h.template)
}

// languages are ways to say in which order a database keeps text, by what the
// server was built with and runs on; the last works everywhere, and is by bytes.
var languages = []string{"LOCALE_PROVIDER icu ICU_LOCALE 'en-US' LOCALE 'C'", "LOCALE 'en_US.utf8'", ""}

// collated makes a database with our schema in the order of a language.
func (h *harness) collated(ctx context.Context) (name string, err error) {
	name = fmt.Sprintf("%s%s_%d", testPrefix, h.key, h.made.Add(1))
	for _, language := range languages {
		if err = h.exec(ctx, "CREATE DATABASE "+name+" TEMPLATE template0 ENCODING 'UTF8' "+language); err == nil {
			break
		}
	}
	if err != nil {
		return "", err
	}
	return name, postgres.Migrate(ctx, h.urlOf(name), slog.New(slog.DiscardHandler))
}

func (h *harness) drop(ctx context.Context, database string) error {
	if err := h.deserted(ctx, database); err != nil {
		return err
	}
	return h.exec(ctx, "DROP DATABASE IF EXISTS "+database+" WITH (FORCE)")
}

// deserted gives the server a moment to notice that connections were closed:
// if it had not, the next command would sleep a tenth of a second.
func (h *harness) deserted(ctx context.Context, database string) error {
	wait, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
	defer cancel()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		var used bool
		err := h.admin.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = $1)", database).Scan(&used)
		if err != nil {
			return fmt.Errorf("ask who uses %s: %w", database, err)
		}
		if !used {
			return nil
		}
		select {
		case <-wait.Done():
			return nil // somebody stays
		case <-tick.C:
		}
	}
}

// exec runs a command whose names are ours: letters, digits and underscores.
func (h *harness) exec(ctx context.Context, command string) error {
	if _, err := h.admin.Exec(ctx, command); err != nil {
		return fmt.Errorf("%s: %w", command, err)
	}
	return nil
}

func (h *harness) urlOf(database string) string {
	u := *h.server
	u.Path = "/" + database
	return u.String()
}

// parseURL reads the URL of a server; a DSN of keywords will not do, for the
// database in it is to be exchanged.
func parseURL(raw string) (*url.URL, error) {
	u, err := url.Parse(raw)
	if err != nil || u.Scheme != "postgres" && u.Scheme != "postgresql" {
		// The cause would quote the password.
		return nil, errors.New(envURL + " is not of the form postgres://user:password@host:5432/name")
	}
	return u, nil
}

// fingerprint changes with each name and each byte of the migrations.
func fingerprint(fsys fs.FS) (string, error) {
	names, err := fs.Glob(fsys, "*.sql")
	if err != nil {
		return "", fmt.Errorf("list migrations: %w", err)
	}
	sum := sha256.New()
	for _, name := range names {
		b, err := fs.ReadFile(fsys, name)
		if err != nil {
			return "", fmt.Errorf("read migration: %w", err)
		}
		fmt.Fprintf(sum, "%s %d\n%s", name, len(b), b)
	}
	return fmt.Sprintf("%x", sum.Sum(nil)[:8]), nil
}

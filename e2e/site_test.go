package e2e

import (
	"context"
	"crypto/rand"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/romi/plantdb-go/internal/contract"
	"github.com/romi/plantdb-go/internal/pgtest"
	"github.com/romi/plantdb-go/internal/servertest"
)

// agent is how our requests name themselves.
const agent = "e2e/1.0"

// site is a database and a tree, which any number of servers serve.
type site struct {
	t             *testing.T
	database, dir string
	env           []string
	db            *pgxpool.Pool
	http          *http.Client
	seen          *secrets

	mu      sync.Mutex
	servers []*server
}

// server is one replica.
type server struct {
	*servertest.Server
	t    *testing.T
	site *site
}

// person is an account.
type person struct{ name, password string }

const adminName = "admin"

// newSite makes a site, on which every server gets these settings. Rate
// limits are off unless a test is about them.
func newSite(t *testing.T, env ...string) *site {
	t.Helper()
	return newSiteOn(t, pgtest.URL(t), env...)
}

func newSiteOn(t *testing.T, database string, env ...string) *site {
	t.Helper()
	config, err := pgxpool.ParseConfig(database)
	if err != nil {
		t.Fatalf("read the URL of the database: %v", err)
	}
	// Bytes are shown as text as far as they are text.
	config.ConnConfig.RuntimeParams["bytea_output"] = "escape"
	db, err := pgxpool.NewWithConfig(t.Context(), config)
	if err != nil {
		t.Fatalf("connect to the database: %v", err)
	}
	t.Cleanup(db.Close)
	s := &site{t: t, database: database, dir: servertest.Dir(t), db: db, seen: newSecrets()}
	transport := &http.Transport{MaxIdleConnsPerHost: 64}
	t.Cleanup(transport.CloseIdleConnections)
	s.http = &http.Client{
		Transport: contract.Held(t, transport), Timeout: 2 * patience,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	s.env = append([]string{
		"DATABASE_URL=" + database, "PLANTDB_RATE_LIMITS=off", "PLANTDB_LOG_LEVEL=debug",
		"PLANTDB_ADMIN_PASSWORD=" + s.seen.password(adminName),
	}, env...)
	s.seen.settings(s.env)
	// Runs when the servers have ended and before the database is dropped.
	t.Cleanup(s.searchForSecrets)
	return s
}

// start starts a replica, with further settings of its own.
func (s *site) start(env ...string) *server {
	s.t.Helper()
	s.seen.settings(env)
	env = append(slices.Clip(s.env), env...)
	sv := &server{t: s.t, site: s, Server: servertest.Start(s.t, servertest.Options{Env: env}, s.dir)}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.servers = append(s.servers, sv)
	return sv
}

// pair starts two replicas.
func (s *site) pair() (a, b *server) {
	s.t.Helper()
	return s.start(), s.start()
}

func (s *site) admin() person { return person{adminName, s.seen.password(adminName)} }

// user makes an account with a role.
func (sv *server) user(name, role string) person {
	sv.t.Helper()
	p := person{name, sv.site.seen.password(name)}
	a := sv.post("/auth/register", sv.login(sv.site.admin()).access, map[string]any{
		"username": name, "fullname": "Test " + name, "password": p.password, "role": role,
	})
	a.want(sv.t, "register "+name, http.StatusCreated)
	return p
}

// one reads one value by SQL.
func one[T any](s *site, query string, args ...any) T {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	rows, err := s.db.Query(ctx, query, args...)
	if err != nil {
		s.t.Fatalf("%s: %v", query, err)
	}
	v, err := pgx.CollectExactlyOneRow(rows, pgx.RowTo[T])
	if err != nil {
		s.t.Fatalf("%s: %v", query, err)
	}
	return v
}

// exec changes rows by SQL and returns how many.
func (s *site) exec(query string, args ...any) int64 {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	tag, err := s.db.Exec(ctx, query, args...)
	if err != nil {
		s.t.Fatalf("%s: %v", query, err)
	}
	return tag.RowsAffected()
}

// run runs a command of the program on the site, with further settings, to its end.
func (s *site) run(env []string, args ...string) servertest.Result {
	s.t.Helper()
	s.seen.settings(env)
	o := servertest.Options{Env: append(slices.Clip(s.env), env...)}
	return servertest.Run(s.t, o, append(args, "--db-path", s.dir)...)
}

// events counts the rows of the audit trail of one kind for one user.
func (s *site) events(kind, username string) int {
	s.t.Helper()
	return one[int](s, "SELECT count(*) FROM auth_events WHERE kind = $1 AND username = $2", kind, username)
}

// logs returns all that the servers of the site have written.
func (s *site) logs() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all strings.Builder
	for _, sv := range s.servers {
		all.WriteString(sv.Stdout())
		all.WriteString(sv.Stderr())
	}
	return all.String()
}

// newPassword returns one that no text holds by chance.
func newPassword() string { return "open-sesame-" + rand.Text() }

// soon is a context for one request of a goroutine.
func soon(t *testing.T) (context.Context, context.CancelFunc) {
	return context.WithTimeout(t.Context(), 2*patience)
}

// since is the time that f took.
func since(f func()) time.Duration {
	began := time.Now()
	f()
	return time.Since(began)
}

package auth

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/romi/plantdb-go/internal/actor"
	"github.com/romi/plantdb-go/internal/pgtest"
	"github.com/romi/plantdb-go/tokenauth"
)

// password is one that the rules take.
const password = "leaves of grass"

// world is a database with the services on it, all by one clock.
type world struct {
	pool *pgxpool.Pool
	keys *tokenauth.Keyring

	mu  sync.Mutex
	now time.Time
}

func newWorld(t testing.TB) *world {
	t.Helper()
	key, err := tokenauth.NewHMACKey(bytes.Repeat([]byte("k"), tokenauth.MinSecret))
	if err != nil {
		t.Fatal(err)
	}
	keys, err := tokenauth.NewKeyring(key)
	if err != nil {
		t.Fatal(err)
	}
	return &world{pool: pgtest.New(t), keys: keys, now: time.Now().Truncate(time.Second)}
}

func (w *world) Now() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

func (w *world) step(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = w.now.Add(d)
}

// config is the default but for hashes that cost little.
func config(change ...func(*Config)) Config {
	c := Default()
	c.Hash = HashParams{Memory: 64, Time: 1, Threads: 1}
	for _, f := range change {
		f(&c)
	}
	return c
}

// service returns one more replica. It remembers no actors, so that what
// another did is seen at once.
func (w *world) service(t testing.TB, change ...func(*Config)) *Service {
	t.Helper()
	return w.serviceAt(t, 0, change...)
}

// serviceAt is a replica whose clock is ahead of the others' by as much.
func (w *world) serviceAt(t testing.TB, ahead time.Duration, change ...func(*Config)) *Service {
	t.Helper()
	clock := WithClock(func() time.Time { return w.Now().Add(ahead) })
	s := New(w.pool, w.keys, config(change...), slog.New(slog.DiscardHandler), clock, WithNotifications(w.pool))
	s.actors.keep = 0
	s.revoked.Fresh = time.Hour // nobody asks again here, and a busy machine takes longer than what counts elsewhere
	if err := s.Load(t.Context()); err != nil {
		t.Fatalf("Load() = %v", err)
	}
	return s
}

// system is the context of the server's own work.
func system(ctx context.Context) context.Context { return actor.NewContext(ctx, actor.System()) }

func register(t testing.TB, s *Service, name string, roles ...actor.Role) {
	t.Helper()
	if _, err := s.Register(system(t.Context()), NewUser{name, "Full " + name, password, roles, false}); err != nil {
		t.Fatalf("Register(%q) = %v", name, err)
	}
}

func login(t testing.TB, s *Service, name string) Pair {
	t.Helper()
	_, pair, err := s.Login(t.Context(), name, password)
	if err != nil {
		t.Fatalf("Login(%q) = %v", name, err)
	}
	return pair
}

// as is the context in which the bearer of the pair's access token acts.
func as(t testing.TB, s *Service, p Pair) context.Context {
	t.Helper()
	a, err := s.Actor(t.Context(), &p.AccessClaims)
	if err != nil {
		t.Fatalf("Actor(%s) = %v", p.AccessClaims.Subject, err)
	}
	return actor.NewContext(t.Context(), a)
}

// from is ctx of a client at that address.
func from(ctx context.Context, address string) context.Context {
	return WithClient(ctx, Client{Address: netip.MustParseAddr(address), UserAgent: "test", RequestID: "r1"})
}

func wantErr(t testing.TB, call string, got, want error) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Errorf("%s = %v, want %v", call, got, want)
	}
}

// events returns the kinds of the events of a user, the first first.
func (w *world) events(t testing.TB, username string) []string {
	t.Helper()
	rows, err := w.pool.Query(t.Context(), "SELECT kind FROM auth_events WHERE username = $1 ORDER BY id", username)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var kinds []string
	for rows.Next() {
		var k string
		if err := rows.Scan(&k); err != nil {
			t.Fatal(err)
		}
		kinds = append(kinds, k)
	}
	return kinds
}

func (w *world) count(t testing.TB, query string, args ...any) int {
	t.Helper()
	var n int
	if err := w.pool.QueryRow(t.Context(), query, args...).Scan(&n); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return n
}

func wantEvent(t testing.TB, w *world, username, kind string) {
	t.Helper()
	if got := w.events(t, username); !slices.Contains(got, kind) {
		t.Errorf("events of %s = %v, want %s among them", username, got, kind)
	}
}

// together runs f n times at once and returns the errors.
func together(n int, f func(i int) error) []error {
	errs := make([]error, n)
	var ready, done sync.WaitGroup
	ready.Add(1)
	for i := range n {
		done.Go(func() {
			ready.Wait()
			errs[i] = f(i)
		})
	}
	ready.Done()
	done.Wait()
	return errs
}

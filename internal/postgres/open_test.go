package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/romi/plantdb-go/internal/pgtest"
	"github.com/romi/plantdb-go/internal/postgres"
)

const secret = "s3cret-not-to-be-told"

// changed returns raw with an edit.
func changed(t *testing.T, raw string, edit func(*url.URL)) string {
	t.Helper()
	u, err := url.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	edit(u)
	return u.String()
}

func TestOpenSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	good := pgtest.URL(t)
	for _, tt := range []struct {
		name, url string
		want      error
		says      string
	}{
		{"not a URL", "postgres://plantdb:" + secret + "@[::1/x", postgres.ErrURL, "postgres://user:password@host"},
		{"bad port", "postgres://plantdb:" + secret + "@localhost:port/x", postgres.ErrURL, "postgres://user:password@host"},
		{"no server", "postgres://plantdb:" + secret + "@127.0.0.1:1/x", postgres.ErrUnreachable, "127.0.0.1:1"},
		{
			"no socket", "postgres://plantdb:" + secret + "@/x?host=" + url.QueryEscape(t.TempDir()),
			postgres.ErrUnreachable, ".s.PGSQL.5432",
		},
		{
			"wrong password", changed(t, good, func(u *url.URL) { u.User = url.UserPassword(u.User.Username(), secret) }),
			postgres.ErrRefused, "does not let user",
		},
		{"no database", changed(t, good, func(u *url.URL) { u.Path = "/no_such" }), postgres.ErrRefused, `createdb no_such`},
	} {
		pool, err := postgres.Open(t.Context(), tt.url, postgres.PoolOptions{})
		if !errors.Is(err, tt.want) {
			t.Errorf("%s: Open = %v, want %v", tt.name, err, tt.want)
		}
		if err == nil {
			pool.Close()
			continue
		}
		if !strings.Contains(err.Error(), tt.says) || strings.Contains(fmt.Sprintf("%+v", err), secret) {
			t.Errorf("%s: Open says %q, want it with %q and without the password", tt.name, err, tt.says)
		}
		if err := postgres.Migrate(t.Context(), tt.url, quiet()); !errors.Is(err, tt.want) {
			t.Errorf("%s: Migrate = %v, want %v", tt.name, err, tt.want)
		}
	}
}

func TestOpenTakesOptions(t *testing.T) {
	t.Parallel()
	pool, err := postgres.Open(t.Context(), pgtest.URL(t), postgres.PoolOptions{MaxConns: 3, ApplicationName: "the test"})
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	if got := pool.Config().MaxConns; got != 3 {
		t.Errorf("MaxConns = %d, want 3", got)
	}
	var name string
	var at time.Time
	err = pool.QueryRow(t.Context(), "SELECT current_setting('application_name'), '2024-01-02 03:04:05+02'::timestamptz").Scan(&name, &at)
	if err != nil || name != "the test" {
		t.Errorf("application_name = %q, %v, want %q", name, err, "the test")
	}
	if want := time.Date(2024, 1, 2, 1, 4, 5, 0, time.UTC); at != want {
		t.Errorf("timestamptz read = %v, want %v in UTC", at, want)
	}
}

func TestOpenGivesUpWithItsContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := postgres.Open(ctx, "postgres://u@/x?host="+filepath.Join(t.TempDir(), "none"), postgres.PoolOptions{})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("Open(canceled) = %v, want context.Canceled in it", err)
	}
}

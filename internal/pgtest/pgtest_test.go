package pgtest

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/romi/plantdb-go/internal/postgres"
)

const addGroup = "INSERT INTO groups (id, name, created_by) VALUES (gen_random_uuid(), $1, 'test')"

func groups(t *testing.T, db postgres.DB) (n int) {
	t.Helper()
	if err := db.QueryRow(t.Context(), "SELECT count(*) FROM groups").Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

func add(t *testing.T, db postgres.DB, name string) {
	t.Helper()
	if _, err := db.Exec(t.Context(), addGroup, name); err != nil {
		t.Fatalf("add group %s: %v", name, err)
	}
}

func TestTx(t *testing.T) {
	t.Parallel()
	one, two := Tx(t), Tx(t)
	add(t, one, "tx-one")
	add(t, two, "tx-two")
	if a, b := groups(t, one), groups(t, two); a != 1 || b != 1 {
		t.Errorf("two transactions see %d and %d rows, want 1 each: its own", a, b)
	}
	t.Run("ended", func(t *testing.T) { add(t, Tx(t), "tx-three") })
	if n := groups(t, Tx(t)); n != 0 {
		t.Errorf("after the end of a test %d rows are left, want 0", n)
	}
	t.Run("committed by the test", func(t *testing.T) {
		if err := Tx(t).Commit(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func TestNew(t *testing.T) {
	t.Parallel()
	one, two := New(t), New(t)
	add(t, one, "same")
	add(t, two, "same")
	if n := groups(t, New(t)); n != 0 {
		t.Errorf("a new database has %d rows, want 0", n)
	}
}

func TestNewIsDropped(t *testing.T) {
	t.Parallel()
	var name string
	var left *pgx.Conn
	t.Run("test", func(t *testing.T) {
		pool := New(t)
		if err := pool.QueryRow(t.Context(), "SELECT current_database()").Scan(&name); err != nil {
			t.Fatal(err)
		}
		// As a program would that the test forgot to stop.
		var err error
		if left, err = pgx.ConnectConfig(t.Context(), pool.Config().ConnConfig); err != nil {
			t.Fatal(err)
		}
	})
	h, err := attached()
	if err != nil {
		t.Fatal(err)
	}
	if exists(t, h, name) {
		t.Errorf("database %s is there after its test", name)
	}
	if err := left.Ping(t.Context()); err == nil {
		t.Error("a connection outlived its database")
	}
}

func TestNewInParallel(t *testing.T) {
	t.Parallel()
	var wait sync.WaitGroup
	pools := make([]*pgxpool.Pool, 8)
	for i := range pools {
		wait.Go(func() { pools[i] = New(t) })
	}
	wait.Wait()
	for i, pool := range pools {
		add(t, pool, "parallel")
		if n := groups(t, pool); n != 1 {
			t.Errorf("database %d has %d rows, want 1", i, n)
		}
	}
}

// A program under test may run as any user.
func TestURLForAnotherUser(t *testing.T) {
	t.Parallel()
	attr, _ := unprivileged(t)
	other := exec.CommandContext(t.Context(), testBinary(t), "-test.run=^TestNamedServer$")
	other.Env = append(os.Environ(), envURL+"="+URL(t))
	other.SysProcAttr = attr
	other.Dir = "/"
	if out, err := other.CombinedOutput(); err != nil {
		t.Errorf("another user's process with URL: %v\n%s", err, out)
	}
}

// With a server that is named, which TestURLForAnotherUser does, the databases
// are made there; without, this is one more test of URL.
func TestNamedServer(t *testing.T) {
	t.Parallel()
	u, err := parseURL(URL(t))
	if err != nil {
		t.Fatal(err)
	}
	if named := os.Getenv(envURL); named != "" {
		want, err := parseURL(named)
		if err != nil {
			t.Fatal(err)
		}
		if u.Host != want.Host || u.RawQuery != want.RawQuery || u.Path == want.Path {
			t.Errorf("URL = %s, want another database of %s", u.Redacted(), want.Redacted())
		}
	}
	if err := answers(t.Context(), u.String()); err != nil {
		t.Errorf("the database of URL answers %v, want nil", err)
	}
}

func TestFingerprint(t *testing.T) {
	t.Parallel()
	file := func(text string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(text)} }
	var seen []string
	for _, fsys := range []fstest.MapFS{
		{},
		{"1.sql": file("a")},
		{"1.sql": file("b")},
		{"2.sql": file("a")},
		{"1.sql": file("a"), "2.sql": file("")},
		{"1.sql": file("a2.sql 0\n")},
	} {
		sum, err := fingerprint(fsys)
		if err != nil || slices.Contains(seen, sum) || strings.Trim(sum, "0123456789abcdef") != "" {
			t.Errorf("fingerprint(%v) = %q, %v, want one unlike %q", fsys, sum, err, seen)
		}
		seen = append(seen, sum)
	}
	again, err := fingerprint(fstest.MapFS{"1.sql": file("a"), "README": file("x")})
	if err != nil || again != seen[1] {
		t.Errorf("fingerprint = %q, %v, want %q: only migrations count", again, err, seen[1])
	}
	if _, err := fingerprint(fstest.MapFS{"1.sql/x": file("a")}); err == nil {
		t.Error("fingerprint(unreadable) = nil, want an error")
	} else if _, ok := errors.AsType[*fs.PathError](err); !ok {
		t.Errorf("fingerprint(unreadable) = %v, want the reason", err)
	}
}

func BenchmarkTx(b *testing.B) {
	Tx(b) // the first starts the server
	for b.Loop() {
		tx := Tx(b)
		if err := tx.Rollback(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkNew(b *testing.B) {
	New(b) // the first starts the server
	for b.Loop() {
		pool := New(b)
		pool.Close()
	}
}

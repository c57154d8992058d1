package postgres

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/romi/plantdb-go/internal/postgres/cluster"
)

func startPrivate(t *testing.T, dir string) *Private {
	t.Helper()
	p, err := StartPrivate(t.Context(), PrivateOptions{Dir: dir, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatalf("StartPrivate(%q) = %v", dir, err)
	}
	t.Cleanup(func() { stopPrivate(t, p) })
	return p
}

func stopPrivate(t *testing.T, p *Private) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	if err := p.Stop(ctx); err != nil {
		t.Errorf("Stop() = %v, want nil", err)
	}
}

// privateDir is where a tree would have it.
func privateDir(t *testing.T) string {
	t.Helper()
	return filepath.Join(quickDir(t), ".plantdb", "postgres")
}

func query[T any](ctx context.Context, url, sql string, args ...any) (v T, err error) {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return v, err
	}
	defer func() { err = errors.Join(err, conn.Close(ctx)) }()
	err = conn.QueryRow(ctx, sql, args...).Scan(&v)
	return v, err
}

func mustQuery[T any](t *testing.T, url, sql string, args ...any) T {
	t.Helper()
	v, err := query[T](t.Context(), url, sql, args...)
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return v
}

// remember commits a row; remembered looks for it.
func remember(t *testing.T, url string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	_, err = conn.Exec(t.Context(), "CREATE TABLE memory AS SELECT 'kept' AS what")
	if err = errors.Join(err, conn.Close(t.Context())); err != nil {
		t.Fatal(err)
	}
}

func remembered(t *testing.T, url string) {
	t.Helper()
	if got := mustQuery[string](t, url, "SELECT what FROM memory"); got != "kept" {
		t.Errorf("what was committed = %q, want %q", got, "kept")
	}
}

// postmaster returns the server's process id.
func postmaster(t *testing.T, dir string) int {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, dataDir, "postmaster.pid"))
	if err != nil {
		t.Fatal(err)
	}
	line, _, _ := bytes.Cut(b, []byte("\n"))
	pid, err := strconv.Atoi(string(line))
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

// gone returns nil if no process of the server lives.
func gone(dir string) error {
	l, err := cluster.TryLock(filepath.Join(dir, serverFile), cluster.Exclusive)
	if err != nil {
		return err
	}
	return l.Close()
}

func TestPrivateKeepsWhatWasWritten(t *testing.T) {
	t.Parallel()
	dir := privateDir(t)
	first := startPrivate(t, dir)
	if first.Joined() {
		t.Error("Joined() of the first process = true, want false")
	}
	remember(t, first.URL())
	stopPrivate(t, first)
	if err := gone(dir); err != nil {
		t.Errorf("after Stop the server is %v, want gone", err)
	}
	stopPrivate(t, first) // once more

	second := startPrivate(t, dir)
	remembered(t, second.URL())
	if first.URL() != second.URL() {
		t.Error("URL() differs from that of the run before")
	}
}

// On a disk that has to keep it, and not in memory as the other tests: how long
// that takes is the disk's, and told.
func TestPrivateOnDisk(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(openDir(t), "postgres")
	start := func(how string, then func(*testing.T, string)) {
		began := time.Now()
		p := startPrivate(t, dir)
		mustQuery[int](t, p.URL(), "SELECT 1")
		t.Logf("to the first query, %s: %v", how, time.Since(began).Round(time.Millisecond))
		then(t, p.URL())
		stopPrivate(t, p)
	}
	start("cold", remember)
	start("warm", remembered)
}

func TestPrivateIsClosedToOthers(t *testing.T) {
	t.Parallel()
	dir := privateDir(t)
	p := startPrivate(t, dir)
	for _, tt := range []struct{ query, want string }{
		{"SELECT rolsuper::text FROM pg_roles WHERE rolname = current_user", "false"},
		{"SELECT rolcreaterole::text FROM pg_roles WHERE rolname = current_user", "false"},
		{"SELECT pg_get_userbyid(datdba)::text FROM pg_database WHERE datname = current_database()", cluster.Role},
		{"SELECT current_setting('listen_addresses')", ""},
		{"SELECT current_setting('fsync')", "on"},
		{"SELECT current_setting('full_page_writes')", "on"},
		{"SELECT current_setting('synchronous_commit')", "on"},
		{"SELECT current_setting('data_checksums')", "on"},
		{"SELECT current_setting('shared_buffers')", "128MB"},
		{"SELECT current_setting('max_connections')", "100"},
		{"SELECT current_setting('server_encoding')", "UTF8"},
	} {
		if got := mustQuery[string](t, p.URL(), tt.query); got != tt.want {
			t.Errorf("%s = %q, want %q", tt.query, got, tt.want)
		}
	}
	for name, want := range map[string]fs.FileMode{
		passwordFile: 0o600, dataDir: 0o700 | fs.ModeDir, runDir: 0o700 | fs.ModeDir, logFile: 0o600,
	} {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Mode() != want {
			t.Errorf("mode of %s = %v, %v, want %v", name, info.Mode(), err, want)
		}
	}
	for _, tt := range []struct{ user, password string }{
		{cluster.Role, "wrong"}, {cluster.Role, ""}, {"postgres", ""}, {"postgres", "postgres"}, {"nobody", "x"},
	} {
		u, err := url.Parse(p.URL())
		if err != nil {
			t.Fatal(err)
		}
		u.User = url.UserPassword(tt.user, tt.password)
		if err := knock(t.Context(), u.String()); !errors.Is(err, ErrRefused) {
			t.Errorf("connect as %s with password %q = %v, want ErrRefused", tt.user, tt.password, err)
		}
	}
	group, err := syscall.Getpgid(postmaster(t, dir))
	if err != nil || group == syscall.Getpgrp() {
		t.Errorf("process group of the server = %d, %v, want not ours: Ctrl-C would reach it", group, err)
	}
	// The role that is no superuser is all that the migrations need.
	if err := Migrate(t.Context(), p.URL(), slog.New(slog.DiscardHandler)); err != nil {
		t.Errorf("Migrate(private server) = %v, want nil", err)
	}
	// Readers is made with the cluster, for Role may not make it.
	if !mustQuery[bool](t, p.URL(), `
		SELECT NOT rolcanlogin AND pg_has_role(oid, 'MEMBER') AND has_table_privilege(oid, 'report_users', 'SELECT')
		FROM pg_roles WHERE rolname = $1`, cluster.Readers) {
		t.Errorf("role %s can log in, is not ours to be, or may not read the views", cluster.Readers)
	}
}

func TestPrivateIsJoined(t *testing.T) {
	t.Parallel()
	dir := privateDir(t)
	owner := startProcess(t, dir, nil)
	joined := startPrivate(t, dir)
	if owner.Joined || !joined.Joined() || joined.URL() != owner.URL {
		t.Fatalf("Joined() = %v, %v, same URL %v, want false, true, true",
			owner.Joined, joined.Joined(), joined.URL() == owner.URL)
	}
	remember(t, owner.URL)
	remembered(t, joined.URL())
	stopPrivate(t, joined)
	remembered(t, owner.URL) // the server is the owner's to stop
}

func TestPrivateStartedAtOnce(t *testing.T) {
	t.Parallel()
	dir := privateDir(t)
	started := make(chan *Private, 4)
	for range cap(started) {
		go func() {
			p, err := StartPrivate(t.Context(), PrivateOptions{Dir: dir, Log: slog.New(slog.DiscardHandler)})
			if err != nil {
				t.Errorf("StartPrivate = %v", err)
			}
			started <- p
		}()
	}
	owners := 0
	for range cap(started) {
		p := <-started
		if p == nil {
			continue
		}
		defer stopPrivate(t, p)
		if !p.Joined() {
			owners++
		}
		mustQuery[int](t, p.URL(), "SELECT 1")
	}
	if owners != 1 {
		t.Errorf("%d of %d are owners, want 1", owners, cap(started))
	}
}

func TestPrivateIsTakenOver(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(*process){"stopped": (*process).stop, "killed": (*process).kill} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := privateDir(t)
			owner := startProcess(t, dir, nil)
			joined := startPrivate(t, dir)
			remember(t, joined.URL())
			end(owner)
			eventually(t, "after the owner's end", func() error {
				if joined.Joined() {
					return errors.New("still joined")
				}
				_, err := query[int](t.Context(), joined.URL(), "SELECT 1")
				return err
			})
			remembered(t, joined.URL())
		})
	}
}

// A process of PostgreSQL that does not end with the others, as one that waits for a
// lock of another that was killed, is ended by who starts the server again.
func TestPrivateEndsOrphans(t *testing.T) {
	t.Parallel()
	dir := privateDir(t)
	owner := startProcess(t, dir, nil)
	remember(t, owner.URL)
	conn, err := pgx.Connect(t.Context(), owner.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.Background()) }() // its other end is killed
	first, stuck := postmaster(t, dir), int(conn.PgConn().PID())
	for _, kill := range []struct {
		pid  int
		with syscall.Signal
	}{{stuck, syscall.SIGSTOP}, {first, syscall.SIGKILL}} {
		if err := syscall.Kill(kill.pid, kill.with); err != nil {
			t.Fatal(err)
		}
	}
	owner.kill()
	remembered(t, startPrivate(t, dir).URL())
}

// TestPrivateStopsWhatHearsNothing stops a server whose processes stand still:
// it ends, and what was committed is there at the next start.
func TestPrivateStopsWhatHearsNothing(t *testing.T) {
	t.Parallel()
	dir := privateDir(t)
	p := startPrivate(t, dir)
	remember(t, p.URL())
	conn, err := pgx.Connect(t.Context(), p.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.Background()) }() // its other end is killed
	for _, pid := range []int{postmaster(t, dir), int(conn.PgConn().PID())} {
		if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
	}
	impatient, cancel := context.WithCancel(t.Context())
	cancel()
	if err := p.Stop(impatient); err != nil {
		t.Errorf("Stop = %v", err)
	}
	remembered(t, startPrivate(t, dir).URL())
}

func TestPrivateFinishesHalfACluster(t *testing.T) {
	t.Parallel()
	dir := privateDir(t)
	half := filepath.Join(dir, dataDir+".new", "base")
	if err := os.MkdirAll(half, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o711); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Dir(dir), 0o711); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(half, "rubbish"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	mustQuery[int](t, startPrivate(t, dir).URL(), "SELECT 1")
	if _, err := os.Stat(filepath.Dir(half)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Stat(half a cluster) = %v, want not there", err)
	}
}

func TestPrivateReplacesLostPassword(t *testing.T) {
	t.Parallel()
	dir := privateDir(t)
	p := startPrivate(t, dir)
	remember(t, p.URL())
	stopPrivate(t, p)
	file := filepath.Join(dir, passwordFile)
	if err := os.WriteFile(file, []byte("another's"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := StartPrivate(t.Context(), PrivateOptions{Dir: dir, Log: slog.New(slog.DiscardHandler)})
	if !errors.Is(err, ErrPrivate) || !strings.Contains(err.Error(), file) {
		t.Errorf("StartPrivate with another password = %v, want ErrPrivate that names the file", err)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	remembered(t, startPrivate(t, dir).URL())
}

func TestPrivateBelowLongPath(t *testing.T) {
	t.Parallel()
	for name, part := range map[string]string{"long": strings.Repeat("deep", 40), "comma": "a,b"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(quickDir(t), part, ".plantdb", "postgres")
			owner := startProcess(t, dir, nil)
			joined := startPrivate(t, dir)
			if !joined.Joined() {
				t.Error("Joined() = false, want true")
			}
			mustQuery[int](t, joined.URL(), "SELECT 1")
			u, err := url.Parse(owner.URL)
			if err != nil {
				t.Fatal(err)
			}
			sockets := u.Query().Get("host")
			if info, err := os.Stat(sockets); err != nil || info.Mode().Perm() != 0o700 {
				t.Errorf("Stat(directory of the socket) = %v, %v, want mode 0700", info, err)
			}
			stopPrivate(t, joined)
			owner.stop()
			if _, err := os.Stat(sockets); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("Stat(directory of the socket) after the end = %v, want not there", err)
			}
		})
	}
}

func TestPrivateStopInAHurry(t *testing.T) {
	t.Parallel()
	dir := privateDir(t)
	p := startPrivate(t, dir)
	remember(t, p.URL())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := p.Stop(ctx); err != nil {
		t.Errorf("Stop(canceled) = %v, want nil", err)
	}
	if err := gone(dir); err != nil {
		t.Errorf("after Stop(canceled) the server is %v, want gone", err)
	}
	remembered(t, startPrivate(t, dir).URL())
}

func TestPrivateSaysWhyItDoesNotStart(t *testing.T) {
	t.Parallel()
	dir := privateDir(t)
	stopPrivate(t, startPrivate(t, dir))
	conf, err := os.OpenFile(filepath.Join(dir, dataDir, "postgresql.conf"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = conf.WriteString("no_such_setting = 1\n")
	if err = errors.Join(err, conf.Close()); err != nil {
		t.Fatal(err)
	}
	_, err = StartPrivate(t.Context(), PrivateOptions{Dir: dir, Log: slog.New(slog.DiscardHandler)})
	if !errors.Is(err, cluster.ErrFailed) || !strings.Contains(err.Error(), "configuration file") {
		t.Errorf("StartPrivate with a bad configuration = %v, want ErrFailed with the server's reason", err)
	}
	if err := gone(dir); err != nil {
		t.Errorf("after a failed start the server is %v, want gone", err)
	}
}

func TestPrivateOfAnotherVersion(t *testing.T) {
	t.Parallel()
	dir := privateDir(t)
	stopPrivate(t, startPrivate(t, dir))
	if err := os.WriteFile(filepath.Join(dir, dataDir, "PG_VERSION"), []byte("99\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := StartPrivate(t.Context(), PrivateOptions{Dir: dir, Log: slog.New(slog.DiscardHandler)})
	if !errors.Is(err, cluster.ErrNotInstalled) || !strings.Contains(err.Error(), "PostgreSQL 99") {
		t.Errorf("StartPrivate of a cluster of version 99 = %v, want ErrNotInstalled that names it", err)
	}
}

func TestPrivateLogDoesNotGrowFromRunToRun(t *testing.T) {
	t.Parallel()
	dir := privateDir(t)
	for range 3 {
		stopPrivate(t, startPrivate(t, dir))
	}
	for _, name := range []string{logFile, logFile + ".1"} {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if got := bytes.Count(b, []byte("starting PostgreSQL")); err != nil || got != 1 {
			t.Errorf("%s tells of %d starts, %v, want 1", name, got, err)
		}
	}
}

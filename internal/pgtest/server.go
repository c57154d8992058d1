package pgtest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/romi/plantdb-go/internal/postgres/cluster"
)

// The files of a base directory, in which all test processes of a user meet.
const (
	usersFile   = "users"   // locked, shared, by every test process while it lives
	startFile   = "start"   // locked while a server is looked for or started
	currentFile = "current" // the URL of the server
	serverDirs  = "server-*"
	guardFile   = "guard" // in a server's directory: locked while it lives

	// recipe changes with how a server's cluster is made, such as its roles:
	// another checkout, whose server would not do for us, meets elsewhere.
	recipe = "2"
)

// room is the memory that must be free for databases to be put there.
const room = 1 << 30

// baseDir returns the directory to meet in: in memory if there is room.
func baseDir() (string, error) {
	base := os.TempDir()
	var st syscall.Statfs_t
	if err := syscall.Statfs("/dev/shm", &st); err == nil && st.Bavail*uint64(st.Bsize) > room {
		if probe, err := os.MkdirTemp("/dev/shm", ".plantdb-"); err == nil {
			base = "/dev/shm"
			_ = os.Remove(probe)
		}
	}
	dir := filepath.Join(base, "plantdb-test-"+recipe+"-"+strconv.Itoa(os.Geteuid()))
	return dir, keepBase(dir)
}

// keepBase makes the directory, through which others may only pass, or finds
// that it is ours: in a directory open to all, anybody may have made it.
func keepBase(dir string) error {
	if err := os.Mkdir(dir, 0o711); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("make directory for test databases: %w", err)
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return fmt.Errorf("look at directory for test databases: %w", err)
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok || !info.IsDir() || int(st.Uid) != os.Geteuid() || info.Mode().Perm()&0o022 != 0 {
		return fmt.Errorf("%s is somebody else's: remove it", dir)
	}
	return os.Chmod(dir, 0o711) // whatever the umask
}

// attach returns the URL of the running server of the base directory, which
// it starts if there is none, and the lock of its users: the server runs at
// least until that is closed.
//
// Who waits for users' exclusive lock learns that no user is left, and while
// he holds it none can come: so a server's keeper, and it alone, may stop it.
func attach(ctx context.Context, base string) (string, *cluster.Lock, error) {
	users, err := cluster.WaitLock(ctx, filepath.Join(base, usersFile), cluster.Shared)
	if err != nil {
		return "", nil, fmt.Errorf("become a user of the test server: %w", err)
	}
	server, err := find(ctx, base)
	if err != nil {
		return "", nil, errors.Join(err, users.Close())
	}
	return server, users, nil
}

func find(ctx context.Context, base string) (_ string, err error) {
	start, err := cluster.WaitLock(ctx, filepath.Join(base, startFile), cluster.Exclusive)
	if err != nil {
		return "", fmt.Errorf("wait for others to start the test server: %w", err)
	}
	defer func() { err = errors.Join(err, start.Close()) }()
	current := filepath.Join(base, currentFile)
	if b, err := os.ReadFile(current); err == nil && answers(ctx, string(b)) == nil {
		return string(b), nil
	}
	if err := clean(base); err != nil {
		return "", err
	}
	s, err := prepare(ctx, base)
	if err != nil {
		return "", err
	}
	if err := errors.Join(s.run(), s.cluster.Guard.Close()); err != nil {
		return "", err
	}
	if err := s.await(ctx); err != nil {
		return "", err
	}
	if err := os.WriteFile(current+".new", []byte(s.url()), 0o600); err != nil {
		return "", fmt.Errorf("record test server: %w", err)
	}
	return s.url(), os.Rename(current+".new", current)
}

// clean removes what servers left that nobody could stop in order.
func clean(base string) error {
	dirs, _ := filepath.Glob(filepath.Join(base, serverDirs)) // the pattern is well-formed
	for _, dir := range dirs {
		guard, err := cluster.TryLock(filepath.Join(dir, guardFile), cluster.Exclusive)
		if errors.Is(err, cluster.ErrLocked) {
			continue // one that no longer answers; its keeper is there
		}
		if err == nil {
			err = guard.Close()
		}
		if err = errors.Join(err, os.RemoveAll(dir)); err != nil {
			return fmt.Errorf("remove a former test server: %w", err)
		}
	}
	return nil
}

// server is one that is being started.
type server struct {
	base, dir, password string
	cluster             cluster.Cluster
}

// prepare makes a cluster in a directory of its own, whose guard the caller
// closes once the server has it.
func prepare(ctx context.Context, base string) (*server, error) {
	programs, err := programs(ctx)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(base, serverDirs)
	if err != nil {
		return nil, fmt.Errorf("make directory for the test server: %w", err)
	}
	s := &server{base: base, dir: dir, password: rand.Text(), cluster: cluster.Cluster{
		Programs: programs, Data: filepath.Join(dir, "data"),
	}}
	if s.cluster.Guard, err = cluster.TryLock(filepath.Join(dir, guardFile), cluster.Exclusive); err != nil {
		return nil, err
	}
	if err := s.fill(ctx); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir), s.cluster.Guard.Close())
	}
	return s, nil
}

func (s *server) fill(ctx context.Context) (err error) {
	if s.cluster.Account, err = cluster.AccountFor(s.cluster.Data); err != nil {
		return err
	}
	// Open for all to pass: programs under test may run as any user. The
	// password keeps the others out.
	err = errors.Join(os.Chmod(s.dir, 0o711), os.Mkdir(s.sockets(), 0o711), os.Chmod(s.sockets(), 0o711),
		s.cluster.Account.Own(s.dir), s.cluster.Account.Own(s.sockets()))
	if err != nil {
		return fmt.Errorf("make directories for the test server: %w", err)
	}
	if err := s.cluster.Account.MayEnter(ctx, s.dir); err != nil {
		return err
	}
	return s.cluster.Create(ctx, cluster.CreateOptions{Password: s.password, Disposable: true})
}

// programs finds PostgreSQL, or has it downloaded to where the next run finds
// it.
func programs(ctx context.Context) (cluster.Programs, error) {
	// Not under a home directory if we are root: the server's account could
	// not get there.
	cache := "/var/cache"
	if os.Geteuid() != 0 {
		var err error
		if cache, err = os.UserCacheDir(); err != nil {
			return cluster.Programs{}, fmt.Errorf("find a directory for downloads: %w", err)
		}
	}
	cache = filepath.Join(cache, "plantdb", "postgres")
	path := os.Getenv("PATH")
	p, err := cluster.Find(ctx, path, cache, 0)
	if !errors.Is(err, cluster.ErrNotInstalled) {
		return p, err
	}
	if err := cluster.Fetch(ctx, cache, 0, slog.Default()); err != nil {
		return cluster.Programs{}, err
	}
	return cluster.Find(ctx, path, cache, 0)
}

// keeper runs the server, waits until it has no users, and stops it. It is a
// shell so that no test binary needs a hook to be something else. The server
// needs no care: nothing of it is to be kept.
const keeper = `
flock=$1 users=$2 dir=$3
shift 3
"$@" </dev/null >"$dir/log" 2>&1 &
exec 4<"$users"
"$flock" -x 4
kill -s QUIT $!
wait $!
rm -rf "$dir/data" "$dir/run"
`

// run starts the server, in a session of its own so that neither a Ctrl-C nor
// the end of this test reaches it.
func (s *server) run() error {
	flock, err := exec.LookPath("flock")
	if err != nil {
		return fmt.Errorf("the test server's keeper needs the program flock: install util-linux, or set %s: %w", envURL, err)
	}
	users := filepath.Join(s.base, usersFile)
	if err := os.Chmod(users, 0o644); err != nil {
		return fmt.Errorf("let the keeper see who uses the test server: %w", err)
	}
	cmd := s.cluster.Server(s.sockets(), settings())
	cmd.Args = append([]string{"sh", "-c", keeper, "keeper", flock, users, s.dir, cmd.Path}, cmd.Args[1:]...)
	cmd.Path = "/bin/sh"
	cmd.SysProcAttr.Setsid = true
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start test server: %w", err)
	}
	// Nobody waits for the keeper: it outlives us.
	if err := cmd.Process.Release(); err != nil {
		return fmt.Errorf("let the test server go: %w", err)
	}
	return nil
}

// await returns when the server answers.
func (s *server) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, stepTime)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		err := answers(ctx, s.url())
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("the test server does not start: %s: %w", cluster.LastWords(filepath.Join(s.dir, "log")), err)
		}
	}
}

func (s *server) sockets() string { return filepath.Join(s.dir, "run") }

func (s *server) url() string {
	u := url.URL{
		Scheme: "postgres", User: url.UserPassword(cluster.Role, s.password), Path: "/" + cluster.Database,
		RawQuery: url.Values{"host": {s.sockets()}, "port": {cluster.Port}}.Encode(),
	}
	return u.String()
}

// settings are those of a server whose data are worth nothing.
func settings() map[string]string {
	return map[string]string{
		"fsync":              "off",
		"full_page_writes":   "off",
		"synchronous_commit": "off",
		"wal_level":          "minimal",
		"max_wal_senders":    "0",
		"autovacuum":         "off",
		"shared_buffers":     "64MB",
		"max_connections":    "300",
		"cluster_name":       "plantdb-test",
	}
}

// answers returns nil if the server at url lets us in.
func answers(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeout(ctx, stepTime)
	defer cancel()
	conn, err := pgx.Connect(ctx, strings.TrimSpace(url))
	if err != nil {
		return err
	}
	return conn.Close(ctx)
}

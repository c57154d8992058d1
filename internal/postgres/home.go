package postgres

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/romi/plantdb-go/internal/fault"
	"github.com/romi/plantdb-go/internal/postgres/cluster"
)

// The files beside the cluster.
const (
	ownerFile    = "owner.lock"  // locked by the process that runs the server
	serverFile   = "server.lock" // locked by the server, as long as a part of it lives
	passwordFile = "password"    // 0600
	socketFile   = "socket"      // where the socket is: runDir, or a path
	logFile      = "postgres.log"
	dataDir      = "data"
	runDir       = "run"
	programsDir  = "programs" // what was downloaded
)

// maxSocketPath is what fits into sockaddr_un on every system, without its
// closing zero (107 on Linux, 103 on macOS).
const maxSocketPath = 103

// ErrPrivate says that the private server's directory is not fit for use.
var ErrPrivate = fault.New(fault.Unavailable, "postgres_private", "the private PostgreSQL cannot be used")

// home is the directory of a private server.
type home struct {
	root *os.Root
	dir  string // absolute, without symbolic links
}

func openHome(dir string) (*home, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("find the private server's directory: %w", err)
	}
	if err := makeDir(dir); err != nil {
		return nil, privateError(dir, err)
	}
	// Where a process stands is told without symbolic links.
	dir, err = filepath.EvalSymlinks(dir)
	if err != nil {
		return nil, privateError(dir, err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, privateError(dir, err)
	}
	return &home{root: root, dir: dir}, nil
}

// makeDir makes dir and what is missing above it: closed to others, except
// that root has to let the server's account pass through.
func makeDir(dir string) error {
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := makeDir(filepath.Dir(dir)); err != nil {
		return err
	}
	mode := fs.FileMode(0o700)
	if os.Geteuid() == 0 {
		mode = 0o711
	}
	if err := os.Mkdir(dir, mode); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return os.Chmod(dir, mode) // whatever the umask
}

func privateError(dir string, err error) error {
	if errors.Is(err, fs.ErrPermission) {
		return ErrPrivate.With("the private PostgreSQL in %s belongs to another user: "+
			"start as that user or as root, or name a server (DATABASE_URL)", dir).Because(err)
	}
	return fmt.Errorf("open the private server's directory: %w", err)
}

func (h *home) path(name string) string { return filepath.Join(h.dir, name) }

// password returns the role's password and whether it was made just now.
func (h *home) password() (_ string, fresh bool, err error) {
	b, err := h.root.ReadFile(passwordFile)
	if err == nil && len(b) > 0 {
		return string(b), false, nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", false, privateError(h.dir, err)
	}
	password := rand.Text()
	return password, true, h.write(passwordFile, password)
}

// write has the whole text in the file, for us alone, or leaves what was.
func (h *home) write(name, text string) (err error) {
	tmp := name + ".new"
	f, err := h.root.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	_, err = f.WriteString(text)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	if err := h.root.Rename(tmp, name); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}

// url returns the URL of the server that runs, or last ran; an error while
// there has been none.
func (h *home) url() (string, error) {
	password, err := h.root.ReadFile(passwordFile)
	if err != nil {
		return "", privateError(h.dir, err)
	}
	sockets, err := h.root.ReadFile(socketFile)
	if err != nil {
		return "", privateError(h.dir, err)
	}
	dir := string(sockets)
	if !filepath.IsAbs(dir) {
		dir = h.path(dir)
	}
	u := url.URL{
		Scheme: "postgres", User: url.UserPassword(cluster.Role, string(password)), Path: "/" + cluster.Database,
		RawQuery: url.Values{"host": {dir}, "port": {cluster.Port}}.Encode(),
	}
	return u.String(), nil
}

// sockets makes the directory for the socket, which only the account may
// enter, records it and returns its path. It is beside the cluster, or, when
// that path is too long for a socket, a short one for temporary files, of a
// name that the next owner finds again.
func (h *home) sockets(ctx context.Context, a cluster.Account) (string, error) {
	if own := h.path(runDir); fits(own) {
		if err := keepDir(own, a); err != nil {
			return "", err
		}
		return own, h.write(socketFile, runDir)
	}
	sum := sha256.Sum256([]byte(h.dir))
	name := fmt.Sprintf("plantdb-%s-%x", strconv.Itoa(os.Geteuid()), sum[:6])
	for _, base := range []string{os.Getenv("XDG_RUNTIME_DIR"), os.TempDir(), "/tmp"} {
		dir := filepath.Join(base, name)
		if !filepath.IsAbs(base) || !fits(dir) || a.MayEnter(ctx, base) != nil {
			continue
		}
		if keepDir(dir, a) == nil {
			return dir, h.write(socketFile, dir)
		}
	}
	return "", ErrPrivate.With("the path of %s is too long for a socket, and no short directory for temporary files "+
		"can be used: use a shorter one, or set TMPDIR", h.dir)
}

// fits says whether a socket in dir can be named, by PostgreSQL and by pgx,
// for both of which a comma separates directories.
func fits(dir string) bool {
	return len(dir)+len("/.s.PGSQL."+cluster.Port) <= maxSocketPath && !strings.ContainsAny(dir, `,"`)
}

// keepDir makes dir for the account alone, or finds that it is just that. In
// a directory open to all, somebody else may have made it first.
func keepDir(dir string, a cluster.Account) error {
	err := os.Mkdir(dir, 0o700) //nolint:gosec // The path is ours, or the one recorded beside the cluster.
	if err == nil {
		return a.Own(dir)
	}
	if !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("make directory for the socket: %w", err)
	}
	if !a.Has(dir) {
		return ErrPrivate.With("the directory %s is not for %s alone: remove it", dir, a.Name)
	}
	return nil
}

// log opens the server's log, empty; the one before it is kept once.
func (h *home) log() (*os.File, error) {
	if err := h.root.Rename(logFile, logFile+".1"); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("turn the server's log: %w", err)
	}
	f, err := h.root.OpenFile(logFile, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the server's log: %w", err)
	}
	return f, nil
}

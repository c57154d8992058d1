package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	embedded "github.com/fergusstrange/embedded-postgres"

	"github.com/romi/plantdb-go/internal/fault"
)

// ErrFetch says that PostgreSQL could not be had from elsewhere.
var ErrFetch = fault.New(fault.Unavailable, "postgres_not_fetched",
	"PostgreSQL could not be downloaded: see whether the network is there, or install it (apt-get install postgresql)")

// Fetch gets the programs of the major version want, or of one that will do if
// want is 0: as root from the system's packages, which get security updates,
// else as an archive that is unpacked into dir. Find finds them afterwards.
func Fetch(ctx context.Context, dir string, want int, log *slog.Logger) error {
	if apt, err := exec.LookPath("apt-get"); err == nil && os.Geteuid() == 0 {
		err := packages{apt: apt, conf: "/etc/postgresql-common/createcluster.d"}.install(ctx, want, log)
		if err == nil {
			return nil
		}
		log.WarnContext(ctx, "postgresql package not installed", slog.Any("err", err))
	}
	return unpack(ctx, embedded.DefaultConfig(), dir, want, log)
}

// packages are Debian's.
type packages struct {
	apt  string // the path of apt-get
	conf string // the directory for what configures PostgreSQL's packages
}

func (p packages) install(ctx context.Context, want int, log *slog.Logger) (err error) {
	name := "postgresql"
	if want != 0 {
		name += "-" + strconv.Itoa(want)
	}
	// Else the packages make and start a server, which nobody asked for.
	if err := os.MkdirAll(p.conf, 0o755); err != nil { //nolint:gosec // As the packages themselves make it.
		return fmt.Errorf("make the packages' configuration directory: %w", err)
	}
	noServer := filepath.Join(p.conf, "plantdb.conf")
	if err := os.WriteFile(noServer, []byte("create_main_cluster = false\n"), 0o644); err != nil { //nolint:gosec // The packages read it as another user.
		return fmt.Errorf("configure the packages: %w", err)
	}
	// Whoever installs another version later decides anew.
	defer func() { err = errors.Join(err, os.Remove(noServer)) }()

	log.InfoContext(ctx, "installing package", slog.String("package", name))
	install := []string{"install", "--yes", "--no-install-recommends", name}
	if p.run(ctx, install...) == nil {
		return nil
	}
	// A fresh machine has no lists of packages yet.
	if err := p.run(ctx, "update"); err != nil {
		return err
	}
	return p.run(ctx, install...)
}

func (p packages) run(ctx context.Context, args ...string) error {
	cmd := exec.CommandContext(ctx, p.apt, args...)
	cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.WaitDelay = 5 * time.Second
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("apt-get %s: %s: %w", args[0], telling(out.String()), err)
	}
	return nil
}

// archives are the versions that can be had as an archive.
func archives(want int) (embedded.PostgresVersion, bool) {
	v, ok := map[int]embedded.PostgresVersion{
		0: embedded.V17, 14: embedded.V14, 15: embedded.V15, 16: embedded.V16, 17: embedded.V17, 18: embedded.V18,
	}[want]
	return v, ok
}

// unpack downloads an archive and has its programs in dir/VERSION, all of
// them or none. If ctx ends it returns at once; the download, which knows no
// context, then runs to its end unheeded.
func unpack(ctx context.Context, from embedded.Config, dir string, want int, log *slog.Logger) error {
	v, ok := archives(want)
	if !ok {
		return ErrFetch.With("PostgreSQL %d, which made the database, is not to be had as a download: install it", want)
	}
	log.InfoContext(ctx, "downloading PostgreSQL", slog.String("version", string(v)))
	done := make(chan error, 1)
	go func() { done <- download(from.Version(v), filepath.Join(dir, string(v))) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ErrFetch.Because(ctx.Err())
	}
}

func download(from embedded.Config, final string) (err error) {
	dir := filepath.Dir(final)
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // The account that runs PostgreSQL must get in.
		return fmt.Errorf("make directory for downloads: %w", err)
	}
	work, err := os.MkdirTemp(dir, ".fetch-")
	if err != nil {
		return fmt.Errorf("make directory for a download: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(work)) }()

	files := filepath.Join(work, "files")
	reason := embedded.NewDatabase(from.Port(0).Logger(io.Discard).
		CachePath(work).RuntimePath(filepath.Join(work, "run")).BinariesPath(files).
		// We want its files, not its server (which would listen on TCP and
		// cannot be started by root): a data directory that cannot be makes
		// Start end when the files are there, before it runs any of them.
		DataPath("\x00")).Start()
	if _, err := os.Stat(filepath.Join(files, "bin", "initdb")); err != nil {
		return ErrFetch.Because(errors.Join(reason, err))
	}
	if err := publish(files); err != nil {
		return err
	}
	if err := os.RemoveAll(final); err != nil {
		return fmt.Errorf("remove an old download: %w", err)
	}
	if err := os.Rename(files, final); err != nil {
		return fmt.Errorf("put the downloaded programs in place: %w", err)
	}
	return nil
}

// publish lets everybody read and run what is under dir, as the server's
// account must, whatever our umask made of it.
func publish(dir string) error {
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.Type()&fs.ModeSymlink != 0 {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		ours := info.Mode().Perm() & 0o500
		return os.Chmod(path, info.Mode().Perm()|ours>>3|ours>>6) //nolint:gosec // Nobody else can write there yet.
	})
	if err != nil {
		return fmt.Errorf("open the downloaded programs to all: %w", err)
	}
	return nil
}

// Package cluster finds PostgreSQL's programs, makes a cluster of databases
// with them and runs it: as an unprivileged account when we are root, behind a
// Unix socket only, with one role that can log in with a password and is no
// superuser. It knows locks and processes; who owns a cluster, who joins it and
// for how long it runs is decided above, in postgres (a private server beside
// a tree) and pgtest (a server for tests).
package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/romi/plantdb-go/internal/fault"
)

const (
	// Role is the only role that can log in.
	Role = "plantdb"
	// Database is the database that Role owns.
	Database = "plantdb"
	// Readers is the role that may read the report views and nothing else; Role
	// is its member.
	Readers = "plantdb_report"
	// Port is no TCP port: it only ends the name of the socket.
	Port = "5432"

	superuser = "postgres" // has no password and no line in pg_hba.conf
)

// ErrFailed says that one of PostgreSQL's programs failed.
var ErrFailed = fault.New(fault.Unavailable, "postgres_failed", "PostgreSQL could not be started")

// Cluster is a directory of databases and what is needed to work on it. The
// caller makes sure that nobody else does at the same time.
type Cluster struct {
	Programs Programs
	Account  Account
	// Data is the absolute path of the cluster, without symbolic links.
	Data string
	// Guard is a locked file which every process of the cluster inherits:
	// while any of them lives, even after its parent was killed, the lock is
	// held.
	Guard *Lock
}

// CreateOptions says what kind of cluster Create makes.
type CreateOptions struct {
	// Password is Role's; it may hold anything but control characters.
	Password string
	// Disposable leaves out what only serves to survive a power cut, and
	// lets Role create databases.
	Disposable bool
}

// Create makes the cluster in c.Data, complete with role and database, or
// leaves no c.Data. Unless it is disposable it is on disk when Create returns.
func (c Cluster) Create(ctx context.Context, o CreateOptions) error {
	fresh := c
	fresh.Data = c.Data + ".new"
	if err := os.RemoveAll(fresh.Data); err != nil {
		return fmt.Errorf("remove half a cluster: %w", err)
	}
	// The account may not write in the parent: the directory is ours to make.
	if err := os.Mkdir(fresh.Data, 0o700); err != nil {
		return fmt.Errorf("make the cluster's directory: %w", err)
	}
	if err := c.Account.Own(fresh.Data); err != nil {
		return err
	}
	if err := fresh.fill(ctx, o); err != nil {
		return err
	}
	if err := os.Rename(fresh.Data, c.Data); err != nil {
		return fmt.Errorf("put the cluster in place: %w", err)
	}
	if o.Disposable {
		return nil
	}
	return syncDir(filepath.Dir(c.Data))
}

func (c Cluster) fill(ctx context.Context, o CreateOptions) error {
	args := []string{
		"--pgdata=" + c.Data, "--username=" + superuser, "--auth=reject",
		// C sorts by bytes, as Go does, and is the one locale every system has.
		"--encoding=UTF8", "--locale=C",
		"--no-sync", "--no-instructions",
	}
	if !o.Disposable {
		args = append(args, "--data-checksums")
	}
	if err := c.run(ctx, "initdb", nil, args...); err != nil {
		return err
	}
	// Nobody but Role gets in, by the socket, with its password; not even the
	// superuser, whom only single-user mode can be.
	hba := "local all " + Role + " scram-sha-256\n"
	if err := os.WriteFile(filepath.Join(c.Data, "pg_hba.conf"), []byte(hba), 0o600); err != nil {
		return fmt.Errorf("write the cluster's access rules: %w", err)
	}
	role := "CREATE ROLE " + Role + " LOGIN"
	if o.Disposable {
		role += " CREATEDB"
	}
	err := c.single(ctx,
		role+" PASSWORD "+literal(o.Password),
		// Nobody else could make it later: Role may not.
		"CREATE ROLE "+Readers+" NOLOGIN ROLE "+Role,
		"CREATE DATABASE "+Database+" OWNER "+Role)
	if err != nil || o.Disposable {
		return err
	}
	return c.run(ctx, "initdb", nil, "--sync-only", "--pgdata="+c.Data)
}

// SetPassword gives Role another password. The server must not be running.
func (c Cluster) SetPassword(ctx context.Context, password string) error {
	return c.single(ctx, "ALTER ROLE "+Role+" PASSWORD "+literal(password))
}

// single runs statements as superuser in PostgreSQL's single-user mode.
func (c Cluster) single(ctx context.Context, statements ...string) error {
	// With -j a statement ends at a semicolon and an empty line.
	input := strings.Join(statements, ";\n\n") + ";\n\n"
	return c.run(ctx, "postgres", strings.NewReader(input),
		"--single", "-j", "-D", c.Data, "-c", "exit_on_error=on", "-c", "log_min_messages=error",
		"-c", "log_min_error_statement=panic", "postgres")
}

// literal quotes s for SQL.
func literal(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

func (c Cluster) run(ctx context.Context, program string, stdin *strings.Reader, args ...string) error {
	cmd := c.command(program, args...)
	if stdin != nil {
		cmd.Stdin = stdin
	}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	p, err := Spawn(cmd)
	if err != nil {
		return fmt.Errorf("run %s: %w", program, err)
	}
	select {
	case <-p.Done():
	case <-ctx.Done():
		p.Signal(os.Kill)
		<-p.Done()
		return fmt.Errorf("run %s: %w", program, ctx.Err())
	}
	if err := p.Err(); err != nil {
		return ErrFailed.With("%s failed: %s", program, telling(out.String())).Because(err)
	}
	return nil
}

// command prepares a program of PostgreSQL to run as the cluster's account,
// with none of our environment: PGDATA, PGPORT and their like would count.
func (c Cluster) command(program string, args ...string) *exec.Cmd {
	cmd := &exec.Cmd{
		Path: filepath.Join(c.Programs.Dir, program),
		Args: append([]string{program}, args...),
		Dir:  "/",
		Env:  []string{"PATH=" + c.Programs.Dir + ":/usr/bin:/bin", "LC_ALL=C", "HOME=/"},
		// A helper process that outlives its parent could keep our pipe open.
		WaitDelay: 5 * time.Second,
	}
	c.Account.apply(cmd)
	if c.Guard != nil {
		cmd.ExtraFiles = []*os.File{c.Guard.file}
	}
	return cmd
}

// Server prepares the server, with its socket in sockets; it writes its log to
// standard error. Settings are names and values that are put over the
// cluster's own.
func (c Cluster) Server(sockets string, settings map[string]string) *exec.Cmd {
	args := []string{
		"-D", c.Data, "-p", Port,
		"-c", "listen_addresses=",
		"-c", "unix_socket_directories=" + sockets,
		"-c", "logging_collector=off",
		"-c", "log_destination=stderr",
		// A statement that fails is logged by the program that sent it,
		// which knows what may be said: here its values would be told.
		"-c", "log_min_messages=log",
		"-c", "log_min_error_statement=panic",
		"-c", "log_checkpoints=off",
	}
	for name, value := range settings {
		args = append(args, "-c", name+"="+value)
	}
	return c.command("postgres", args...)
}

// Exists says whether there is a cluster in data, and of which major version.
func Exists(data string) (major int, ok bool, err error) {
	b, err := os.ReadFile(filepath.Join(data, "PG_VERSION"))
	if errors.Is(err, os.ErrNotExist) {
		if _, err := os.Lstat(data); err == nil {
			return 0, false, ErrFailed.With("%s is no cluster of PostgreSQL: it has no PG_VERSION; move it away", data)
		}
		return 0, false, nil
	}
	if err != nil {
		return 0, false, fmt.Errorf("read the cluster's version: %w", err)
	}
	major, err = strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		return 0, false, ErrFailed.With("%s names no version of PostgreSQL", filepath.Join(data, "PG_VERSION")).Because(err)
	}
	return major, true, nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("open directory: %w", err)
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("sync directory: %w", err)
	}
	return nil
}

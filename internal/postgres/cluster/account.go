package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/romi/plantdb-go/internal/fault"
)

var (
	// ErrAccount says that no account is fit to run the server.
	ErrAccount = fault.New(fault.Unavailable, "postgres_account", "no account can run PostgreSQL here")
	// ErrShutOut says that a directory does not let the server's account in.
	ErrShutOut = fault.New(fault.Unavailable, "postgres_shut_out", "a directory does not let PostgreSQL in")
)

// Account is who runs the server. PostgreSQL refuses to be run by root.
type Account struct {
	// Name is for people.
	Name     string
	uid, gid uint32
	other    bool // than we are: root lends it its processes
}

// AccountFor returns the account to run the cluster in data: its owner's if
// there is one, else our own, or, when we are root, postgres or nobody.
func AccountFor(data string) (Account, error) {
	owner, exists, err := ownerOf(data)
	if err != nil {
		return Account{}, err
	}
	us := os.Geteuid()
	switch {
	case us != 0 && exists && owner != us:
		return Account{}, ErrAccount.With(
			"the database in %s belongs to %s: start as that user, or as root", data, nameOf(owner))
	case us != 0:
		return Account{Name: nameOf(us)}, nil
	case exists && owner == 0:
		return Account{}, ErrAccount.With("the database in %s belongs to root, as whom PostgreSQL does not run: "+
			"give it to postgres (chown -R postgres)", data)
	case exists:
		return lookup(user.LookupId(strconv.Itoa(owner)))
	}
	for _, name := range []string{"postgres", "nobody"} {
		if a, err := lookup(user.Lookup(name)); err == nil {
			return a, nil
		}
	}
	return Account{}, ErrAccount.With("PostgreSQL does not run as root, and there is neither a user postgres nor nobody: make one")
}

func lookup(u *user.User, err error) (Account, error) {
	if err != nil {
		return Account{}, ErrAccount.With("the database's owner has no account on this machine").Because(err)
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return Account{}, fmt.Errorf("read user id: %w", err)
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	if err != nil {
		return Account{}, fmt.Errorf("read group id: %w", err)
	}
	return Account{Name: u.Username, uid: uint32(uid), gid: uint32(gid), other: true}, nil
}

func ownerOf(path string) (uid int, exists bool, err error) {
	info, err := os.Stat(path)
	if errors.Is(err, os.ErrNotExist) {
		return 0, false, nil
	}
	if err != nil {
		return 0, false, fmt.Errorf("look at the cluster: %w", err)
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, false, fmt.Errorf("look at the cluster: no owner of %s", path)
	}
	return int(st.Uid), true, nil
}

func nameOf(uid int) string {
	if u, err := user.LookupId(strconv.Itoa(uid)); err == nil {
		return u.Username
	}
	return "user " + strconv.Itoa(uid)
}

// Other says whether the account is not the one we run as.
func (a Account) Other() bool { return a.other }

// Own gives the file or directory at path to the account.
func (a Account) Own(path string) error {
	if !a.other {
		return nil
	}
	if err := os.Lchown(path, int(a.uid), int(a.gid)); err != nil {
		return fmt.Errorf("give to %s: %w", a.Name, err)
	}
	return nil
}

// Has says whether the directory at path belongs to the account and to it
// alone.
func (a Account) Has(path string) bool {
	info, err := os.Lstat(path)
	if err != nil || !info.IsDir() || info.Mode().Perm()&0o077 != 0 {
		return false
	}
	uid := os.Geteuid()
	if a.other {
		uid = int(a.uid)
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(st.Uid) == uid
}

// apply makes cmd run as the account, without our groups.
func (a Account) apply(cmd *exec.Cmd) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	if a.other {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: a.uid, Gid: a.gid}
	}
}

// MayEnter returns nil if the account can reach dir, or ErrShutOut naming the
// first directory on the way that keeps it out.
func (a Account) MayEnter(ctx context.Context, dir string) error {
	if !a.other || a.enters(ctx, dir) == nil {
		return nil
	}
	var way string
	for step := range strings.SplitSeq(filepath.Clean(dir), string(filepath.Separator)) {
		way += step + string(filepath.Separator)
		if err := a.enters(ctx, way); err != nil {
			way = filepath.Clean(way)
			return ErrShutOut.With("PostgreSQL runs as user %s, whom the directory %s does not let in: "+
				"allow it (chmod o+x %[2]s) or use a directory elsewhere", a.Name, way).Because(err)
		}
	}
	return nil
}

// enters tries it: mode bits alone would not tell (groups, access lists).
func (a Account) enters(ctx context.Context, dir string) error {
	cmd := exec.CommandContext(ctx, "/bin/sh", "-c", ":")
	cmd.Dir = dir
	a.apply(cmd)
	return cmd.Run()
}

package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"

	"github.com/romi/plantdb-go/internal/fault"
)

// MinMajor is the oldest major version that will do.
const MinMajor = 14

// ErrNotInstalled says that no PostgreSQL of a version that will do was found.
var ErrNotInstalled = fault.New(fault.Unavailable, "postgres_not_installed",
	"PostgreSQL "+strconv.Itoa(MinMajor)+" or newer is not installed: install it (apt-get install postgresql), "+
		"allow its download (--download-postgres), or name a server (DATABASE_URL)")

// Programs are the programs of one installed PostgreSQL.
type Programs struct {
	// Dir holds postgres and initdb.
	Dir string
	// Major is the major version, such as 17.
	Major int
}

// places are where packages put the programs; most of them not in PATH.
func places() []string {
	return []string{
		"/usr/lib/postgresql/*/bin",            // Debian, Ubuntu
		"/usr/pgsql-*/bin",                     // PostgreSQL's own RPMs
		"/usr/libexec/postgresql*",             // Alpine
		"/usr/lib/postgresql*/bin",             // openSUSE
		"/usr/local/pgsql/bin",                 // from source
		"/opt/homebrew/opt/postgresql@*/bin",   // Homebrew on Apple silicon
		"/usr/local/opt/postgresql@*/bin",      // Homebrew on Intel
		"/home/linuxbrew/.linuxbrew/opt/*/bin", // Homebrew on Linux
		"/opt/local/lib/postgresql*/bin",       // MacPorts
		"/Applications/Postgres.app/Contents/Versions/*/bin",
	}
}

// Find returns the installed programs of the major version want, or the newest
// if want is 0. It looks into path (as in $PATH), where packages put them, and
// last into the directory that Fetch filled. Without any the error is
// ErrNotInstalled.
func Find(ctx context.Context, path, fetched string, want int) (Programs, error) {
	var best Programs
	for _, dir := range candidates(path, fetched) {
		major, err := majorOf(ctx, dir)
		if err != nil || major < MinMajor {
			continue // not whole, not for this machine, or too old: none
		}
		if want == major || want == 0 && major > best.Major {
			best = Programs{Dir: dir, Major: major}
		}
		if want == major {
			break
		}
	}
	switch {
	case best.Major != 0:
		return best, nil
	case ctx.Err() != nil:
		return Programs{}, fmt.Errorf("look for PostgreSQL: %w", ctx.Err())
	case want != 0:
		return Programs{}, ErrNotInstalled.With("the database was made by PostgreSQL %d, which is not installed: "+
			"install it (apt-get install postgresql-%[1]d) or allow its download (--download-postgres)", want)
	default:
		return Programs{}, ErrNotInstalled
	}
}

func candidates(path, fetched string) []string {
	patterns := slices.Concat(filepath.SplitList(path), places(), []string{filepath.Join(fetched, "*", "bin")})
	var dirs []string
	for _, pattern := range patterns {
		if pattern == "" || !filepath.IsAbs(pattern) {
			continue // as with exec.LookPath, the current directory is no place
		}
		matches, _ := filepath.Glob(filepath.Join(pattern, "postgres"))
		for _, m := range matches {
			// A link from a common place leads to initdb and its libraries.
			program, err := filepath.EvalSymlinks(m)
			if err != nil {
				continue
			}
			if dir := filepath.Dir(program); !slices.Contains(dirs, dir) {
				dirs = append(dirs, dir)
			}
		}
	}
	return dirs
}

// version matches "postgres (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)" and
// "postgres (PostgreSQL) 18beta1".
var version = regexp.MustCompile(`\(PostgreSQL\) (\d+)`)

func majorOf(ctx context.Context, dir string) (int, error) {
	if _, err := os.Stat(filepath.Join(dir, "initdb")); err != nil {
		return 0, fmt.Errorf("look for initdb: %w", err)
	}
	out, err := exec.CommandContext(ctx, filepath.Join(dir, "postgres"), "--version").Output()
	if err != nil {
		return 0, fmt.Errorf("ask for the version: %w", err)
	}
	m := version.FindSubmatch(out)
	if m == nil {
		return 0, errors.New("ask for the version: not PostgreSQL")
	}
	return strconv.Atoi(string(m[1]))
}

// Package pyenv gives tests a Python interpreter with upstream's published
// packages, so that they check against the real thing. Only tests and the bench import it.
//
// A virtual environment is made once per set of packages, below the user's
// cache directory, however many test binaries ask for it at the same time.
package pyenv

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// buildTimeout bounds one installation, and the wait for another; the packages are some 250 MB unpacked.
const buildTimeout = 30 * time.Minute

// stamp is the file that says that an environment is complete.
const stamp = ".complete"

// Python is Find for tests: it fails the test, with what to do, where Find
// fails.
func Python(t testing.TB, requirements ...string) string {
	t.Helper()
	python, err := Find(t.Context(), requirements...)
	if err != nil {
		t.Fatalf("pyenv: %v", err)
	}
	return python
}

// Find returns the path of a python executable that has the requirements, such
// as "plantdb-client==0.17.0"; all but exact versions are refused, for a test
// must not change its meaning overnight.
//
// The variable PLANTDB_PYTHON_0_17, named for the first requirement's version,
// overrides it with an executable that must have them all. Else the environment
// is taken from the cache, or made there with python3 -m venv and pip. The error
// says what to do.
func Find(ctx context.Context, requirements ...string) (string, error) {
	name, err := variable(requirements)
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, buildTimeout)
	defer cancel()
	if given := os.Getenv(name); given != "" {
		if err := verify(ctx, given, requirements); err != nil {
			return "", fmt.Errorf("%s=%s: %w", name, given, err)
		}
		return given, nil
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("no place for a virtual environment: %w; set XDG_CACHE_HOME, or %s to a python that has %v", err, name, requirements)
	}
	python, err := cached(ctx, filepath.Join(cache, "plantdb-test"), requirements)
	if err != nil {
		return "", fmt.Errorf("%w; or set %s to a python that has %v", err, name, requirements)
	}
	return python, nil
}

var exact = regexp.MustCompile(`^([A-Za-z0-9][A-Za-z0-9._-]*)==(\d+)\.(\d+)(\.\d+)*$`)

// variable returns the name of the environment variable for the requirements.
func variable(requirements []string) (string, error) {
	if len(requirements) == 0 {
		return "", errors.New("no requirement given")
	}
	for _, r := range requirements {
		if !exact.MatchString(r) {
			return "", fmt.Errorf("requirement %q is not name==version", r)
		}
	}
	m := exact.FindStringSubmatch(requirements[0])
	return "PLANTDB_PYTHON_" + m[2] + "_" + m[3], nil
}

// cached returns the python of the environment below dir that has the
// requirements, and makes it if need be.
func cached(ctx context.Context, dir string, requirements []string) (string, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("make cache: %w", err)
	}
	venv := filepath.Join(dir, "venv-"+strings.ReplaceAll(strings.Join(requirements, "+"), "==", "-"))
	lock, err := os.OpenFile(venv+".lock", os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return "", fmt.Errorf("open lock: %w", err)
	}
	defer func() { _ = lock.Close() }() // which lets the lock go
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return "", fmt.Errorf("lock %s: %w", lock.Name(), err)
	}
	python := filepath.Join(venv, "bin", "python")
	// A complete environment still breaks when its interpreter is removed
	// from the system, so it has to run before it is trusted.
	if _, err := os.Stat(filepath.Join(venv, stamp)); err == nil && verify(ctx, python, requirements) == nil {
		return python, nil
	}
	return python, build(ctx, venv, requirements)
}

// build makes the environment anew.
func build(ctx context.Context, venv string, requirements []string) error {
	if err := os.RemoveAll(venv); err != nil {
		return fmt.Errorf("remove broken environment: %w", err)
	}
	if err := run(ctx, "python3", "-m", "venv", venv); err != nil {
		return fmt.Errorf("make virtual environment (Debian: apt-get install python3-venv): %w", err)
	}
	python := filepath.Join(venv, "bin", "python")
	pip := append([]string{"-m", "pip", "install", "--quiet", "--disable-pip-version-check"}, requirements...)
	if err := run(ctx, python, pip...); err != nil {
		return fmt.Errorf("install %v: %w", requirements, err)
	}
	if err := verify(ctx, python, requirements); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(venv, stamp), nil, 0o644)
}

// installed prints the requirements that the interpreter does not have.
const installed = `
import sys
from importlib.metadata import PackageNotFoundError, version
for requirement in sys.argv[1:]:
    name, want = requirement.split("==")
    try:
        have = version(name)
    except PackageNotFoundError:
        have = "nothing"
    if have != want:
        sys.exit(f"has {have} where {requirement} is wanted")
`

// verify says whether python has the requirements.
func verify(ctx context.Context, python string, requirements []string) error {
	return run(ctx, python, append([]string{"-c", installed}, requirements...)...)
}

// run runs a command; its last words are part of the error.
func run(ctx context.Context, name string, args ...string) error {
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, exec.ErrNotFound) {
		return fmt.Errorf("%s is not to be found: %w", name, err)
	}
	if err != nil {
		said := strings.TrimSpace(string(out))
		return fmt.Errorf("%s: %w: %s", filepath.Base(name), err, said[max(0, len(said)-2000):])
	}
	return nil
}

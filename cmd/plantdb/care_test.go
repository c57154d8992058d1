package main_test

import (
	"bufio"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/romi/plantdb-go/internal/pgtest"
	"github.com/romi/plantdb-go/internal/servertest"
)

// TestStoppedCommandsFail stops commands before they are done. Whoever started them is
// told so by the exit code: a backup that was cut short is none.
func TestStoppedCommandsFail(t *testing.T) {
	t.Parallel()
	home := servertest.Dir(t)
	dir := filepath.Join(home, "tree")
	writeTree(t, dir, bare)
	o := servertest.Options{Env: []string{"DATABASE_URL=" + pgtest.URL(t), "ROMI_DB=" + dir}}
	if got := servertest.Run(t, o, "import", dir); got.Code != 0 {
		t.Fatalf("import = %+v", got)
	}
	// What a check looks at again while it holds the scan.
	writeTree(t, dir, map[string]string{"bare/images/extra.jpg": "x", ".locks/bare.lock": ""})
	f, err := os.Open(filepath.Join(dir, ".locks/bare.lock"))
	if err == nil {
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close() // which lets go of it
	copied := filepath.Join(home, "backup")
	for _, args := range [][]string{{"backup", copied}, {"check"}, {"export", "--all", "--to", filepath.Join(home, "all.zip")}} {
		code, said := stopped(t, append(o.Env, "PLANTDB_LOCK_TIMEOUT=600"), args...)
		if code != 1 || !strings.HasSuffix(said, ": stopped before it was done\n") {
			t.Errorf("%q, stopped, ends with %d and says %s", args, code, said)
		}
	}
	if got := servertest.Run(t, o, "backup", "--verify", copied); got.Code != 1 || !strings.Contains(got.Stderr, "was not finished") {
		t.Errorf("backup --verify = %+v", got)
	}
	if left, _ := filepath.Glob(filepath.Join(home, "*.zip")); len(left) > 0 {
		t.Errorf("an export that was stopped left %q", left)
	}
}

// stopped runs a command until it waits for a scan, stops it, and returns its exit code
// and what it said.
func stopped(t *testing.T, env []string, args ...string) (code int, said string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), servertest.Build(t), args...)
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "TMPDIR=" + os.TempDir(), "HOME=" + t.TempDir()}, env...)
	out, err := cmd.StderrPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	lines := bufio.NewReader(io.TeeReader(out, &all))
	for {
		line, err := lines.ReadString('\n')
		if strings.Contains(line, "waiting for the lock of a scan") {
			break
		}
		if err != nil {
			t.Fatalf("%q ends by itself: %v, %v, %s", args, err, cmd.Wait(), all.String())
		}
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	_, err = io.Copy(io.Discard, lines)
	ended := cmd.Wait()
	if _, exited := errors.AsType[*exec.ExitError](ended); err != nil || ended != nil && !exited {
		t.Fatalf("%q: %v, %v", args, err, ended)
	}
	return cmd.ProcessState.ExitCode(), all.String()
}

// bare is a tree with directories in which nothing lies.
var bare = map[string]string{
	"romidb": "", "bare/files.json": `{"filesets": [{"id": "images", "files": []}]}`, "bare/images/": "", "bare/metadata/": "",
	"tl/timelapse.json": `{"id": "tl"}`, "tl/inner/files.json": `{"filesets": [{"id": "images", "files": []}]}`, "tl/inner/images/": "",
	"tl/inner/metadata/metadata.json": `{"owner": "ann"}`, "tl/inner/metadata/images.json": `{"n": 1}`,
}

func writeTree(t *testing.T, dir string, tree map[string]string) {
	t.Helper()
	for name, content := range tree {
		path := filepath.Join(dir, name)
		err := os.MkdirAll(filepath.Dir(path), 0o755)
		if strings.HasSuffix(name, "/") {
			err = os.MkdirAll(path, 0o755)
		} else if err == nil {
			err = os.WriteFile(path, []byte(content), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// TestCopiesHaveEmptyDirectories backs up, restores and exports scans whose filesets
// have no files: they are there afterwards, and sound, for upstream's programs too.
func TestCopiesHaveEmptyDirectories(t *testing.T) {
	t.Parallel()
	home := servertest.Dir(t)
	dir := filepath.Join(home, "tree")
	writeTree(t, dir, bare)
	if err := os.Chmod(filepath.Join(dir, "bare/images"), 0o775); err != nil {
		t.Fatal(err)
	}
	o := servertest.Options{Env: []string{"DATABASE_URL=" + pgtest.URL(t), "ROMI_DB=" + dir}}
	copied, restored := filepath.Join(home, "backup"), filepath.Join(home, "restored")
	again := servertest.Options{Env: []string{"DATABASE_URL=" + emptyDatabase(t), "ROMI_DB=" + restored}}
	zipped, unpacked, all := filepath.Join(home, "all.zip"), filepath.Join(home, "unpacked"), filepath.Join(home, "all")
	run := func(o servertest.Options, args ...string) {
		t.Helper()
		if got := servertest.Run(t, o, args...); got.Code != 0 {
			t.Errorf("%q = %+v", args, got)
		}
	}
	run(o, "import", dir)
	run(o, "check")
	want := treeOf(t, dir)
	run(o, "backup", copied)
	run(again, "restore", copied)
	run(again, "check")
	run(o, "export", "--all", "--to", all)
	run(o, "export", "--all", "--to", zipped)
	unzip(t, zipped, unpacked)
	for name, tree := range map[string]string{"restored": restored, "exported": all, "unpacked": unpacked} {
		if diff := cmp.Diff(want, treeOf(t, tree)); diff != "" {
			t.Errorf("%s (-tree +%s):\n%s", name, name, diff)
		}
		if name == "unpacked" {
			continue // by a program of its own
		}
		if info, err := os.Stat(filepath.Join(tree, "bare/images")); err != nil {
			t.Errorf("%s: %v", name, err)
		} else if info.Mode().Perm() != 0o775 {
			t.Errorf("%s has a fileset with mode %v", name, info.Mode())
		}
	}
	one, plain := filepath.Join(home, "one.zip"), filepath.Join(home, "plain")
	run(o, "export", "bare", "--to", one)
	unzip(t, one, plain)
	for _, commons := range []string{"plantdb-commons==0.15.1", "plantdb-commons==0.17.0"} {
		if told := toldBy(t, commons, plain); told["bare"] == nil {
			t.Errorf("%s opens %v", commons, told)
		}
	}
	linked := filepath.Join(home, "linked")
	if err := os.Symlink(dir, linked); err != nil {
		t.Fatal(err)
	}
	by := servertest.Options{Env: []string{o.Env[0], "ROMI_DB=" + linked}}
	for _, args := range [][]string{
		{"backup", filepath.Join(dir, "in", "side")}, {"export", "--all", "--to", filepath.Join(dir, "inside")}, {"backup", filepath.Join(linked, "inside")},
	} {
		for name, o := range map[string]servertest.Options{"by itself": o, "by a link": by} {
			if got := servertest.Run(t, o, args...); got.Code != 1 || !strings.Contains(got.Stderr, "inside of the tree") {
				t.Errorf("%q of a tree %s = %+v", args, name, got)
			}
		}
	}
	if diff := cmp.Diff(want, treeOf(t, dir)); diff != "" {
		t.Errorf("the tree (-before +after):\n%s", diff)
	}
}

package main_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/romi/plantdb-go/internal/pyenv"
	"github.com/romi/plantdb-go/internal/servertest"
)

// upstreamWriter is a running outside.py.
type upstreamWriter struct {
	cmd   *exec.Cmd
	lines *bufio.Scanner
}

// startUpstream starts upstream's real code on a tree and returns once it has
// everything in its memory.
func startUpstream(t *testing.T, commons, dir, who string, count int) *upstreamWriter {
	t.Helper()
	w := &upstreamWriter{cmd: exec.CommandContext(t.Context(), pyenv.Python(t, commons), "testdata/outside.py", dir, who, fmt.Sprint(count))}
	// What 0.17 deletes goes to the trash of the desktop.
	w.cmd.Env = append(os.Environ(), "HOME="+t.TempDir(), "PYTHONDONTWRITEBYTECODE=1")
	out, err := w.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	in, err := w.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = in.Close() }) // it may have ended
	if err := w.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w.lines = bufio.NewScanner(out)
	w.lines.Buffer(nil, 1<<20)
	for w.lines.Scan() {
		if w.lines.Text() == "ready" {
			if _, err := in.Write([]byte("go\n")); err != nil {
				t.Fatal(err)
			}
			return w
		}
	}
	t.Fatalf("%s ended before it was ready: %v", commons, w.cmd.Wait())
	return nil
}

// result waits for the end and returns what must be there: path to content.
func (w *upstreamWriter) result(t *testing.T) map[string]string {
	t.Helper()
	last := ""
	for w.lines.Scan() {
		last = w.lines.Text() // before it upstream logs
	}
	if err := w.cmd.Wait(); err != nil {
		t.Fatalf("outside.py = %v, %s", err, last)
	}
	var there map[string]string
	if err := json.Unmarshal([]byte(last), &there); err != nil {
		t.Fatalf("outside.py says %s: %v", last, err)
	}
	return there
}

// TestUpstreamWritesBeside lets upstream's real code write into a tree, from what
// it has in memory, while four clients upload into the same scan and fileset. Nothing
// that was acknowledged to either is lost; in the end server, check and a fresh
// Python program see all of it.
func TestUpstreamWritesBeside(t *testing.T) {
	t.Parallel()
	for _, commons := range []string{
		// 0.14 takes no locks and waits for none: two of its own programs lose each
		// other's files in one scan. It reads what the clients write there, and
		// writes a scan of its own.
		"plantdb-commons==0.14.5",
		"plantdb-commons==0.15.1", "plantdb-commons==0.17.0",
	} {
		t.Run(commons, func(t *testing.T) {
			t.Parallel()
			dir := servertest.Dir(t)
			o := servertest.Options{Env: []string{"ROMI_DB=" + dir, "PLANTDB_SWEEP_INTERVAL=1"}}
			server := servertest.Start(t, o, dir, "--test", "--rate-limits", "off")
			admin, _ := login(t, server, "admin", "admin")
			for _, scan := range []string{"shared", "doomed_py"} {
				admin.makeScan(t, scan, "notes of "+scan)
			}
			folded(t, dir, "shared", "doomed_py")
			python := startUpstream(t, commons, dir, "py", 8)
			var mu sync.Mutex
			there := map[string]string{"shared/images/notes": "notes of shared"}
			var group sync.WaitGroup
			for client := range 4 {
				group.Go(func() {
					for n := range 10 {
						path := fmt.Sprintf("shared/images/c%d_%d", client, n)
						a := admin.upload(t, "/files/"+path, path)
						// Python holds it, or is in the middle of files.json all the time.
						for a.Status == http.StatusLocked || a.Status == http.StatusServiceUnavailable || a.Status == http.StatusUnprocessableEntity {
							a = admin.upload(t, "/files/"+path, path)
						}
						if a.Status != http.StatusCreated {
							t.Errorf("upload %s = %d %s", path, a.Status, a.Text)
							return
						}
						mu.Lock()
						there[path] = path
						mu.Unlock()
					}
				})
			}
			group.Wait()
			maps.Copy(there, python.result(t))
			for path, content := range there {
				for a := (answer{}); a.Status != http.StatusOK || a.Text != content; a = admin.get(t, "/files/"+path) {
					if t.Context().Err() != nil {
						t.Fatalf("GET %s = %d %s, want %q", path, a.Status, a.Text, content)
					}
				}
			}
			for gone := false; !gone; {
				gone = admin.get(t, "/scans/doomed_py").Status == http.StatusNotFound
			}
			// Of what Python deleted the bytes are gone at once, and the rows soon.
			for listed := true; listed; {
				a := admin.get(t, "/filesets/shared/images/files")
				listed = a.Status != http.StatusOK || strings.Contains(a.Text, `"py_2"`) || strings.Contains(a.Text, `"py_6"`)
				if listed && t.Context().Err() != nil {
					t.Fatalf("files of shared/images = %d %s", a.Status, a.Text)
				}
			}
			if a := admin.get(t, "/files/shared/images/py_2"); a.Status != http.StatusNotFound {
				t.Errorf("what Python deleted = %d %s", a.Status, a.Text)
			}
			server.Stop()
			if got := servertest.Run(t, o, "check", "--digests"); got.Code != 0 {
				t.Errorf("check = %+v", got)
			}
			opened(t, commons, dir, treeOf(t, dir), "shared", "of_py")
			if got := listedBy(t, commons, dir); !slices.Equal(got, slices.Sorted(maps.Keys(there))) {
				t.Errorf("%s lists %q, want %q", commons, got, slices.Sorted(maps.Keys(there)))
			}
		})
	}
}

// folded waits until files.json lists the notes of the scans.
func folded(t *testing.T, dir string, scans ...string) {
	t.Helper()
	for _, scan := range scans {
		for {
			raw, err := os.ReadFile(dir + "/" + scan + "/files.json")
			if err == nil && strings.Contains(string(raw), "notes.txt") {
				break
			}
		}
	}
}

// listedBy returns what upstream's real code lists, as scan/fileset/file id.
func listedBy(t *testing.T, commons, dir string) []string {
	t.Helper()
	return idsOf(toldBy(t, commons, dir))
}

func idsOf(told map[string]map[string]string) (paths []string) {
	for _, files := range told {
		for path := range files {
			paths = append(paths, strings.TrimSuffix(path, filepath.Ext(path)))
		}
	}
	slices.Sort(paths)
	return paths
}

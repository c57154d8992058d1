package main_test

import (
	"archive/zip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/romi/plantdb-go/internal/pgtest"
	"github.com/romi/plantdb-go/internal/postgres"
	"github.com/romi/plantdb-go/internal/pyenv"
	"github.com/romi/plantdb-go/internal/servertest"
)

// TestBackupBesideWriters backs up what four clients write to, restores it
// elsewhere, and finds there everything that was acknowledged before the backup
// began, the accounts and the tokens, and nothing that does not fit together.
func TestBackupBesideWriters(t *testing.T) {
	t.Parallel()
	dir, home := servertest.Dir(t), servertest.Dir(t)
	o := servertest.Options{Env: []string{"DATABASE_URL=" + pgtest.URL(t), "ROMI_DB=" + dir}}
	server := servertest.Start(t, o, dir, "--test", "--rate-limits", "off")
	admin, _ := login(t, server, "admin", "admin")
	api := admin.must(t, http.StatusOK, "/auth/token/create-api-token",
		object{"token_exp": 3600, "datasets": object{"*": []string{"READ"}}}).text("api_token")
	var mu sync.Mutex
	written := map[string]string{} // acknowledged, and not touched again
	writing, stop := context.WithCancel(t.Context())
	var group sync.WaitGroup
	ready := make(chan struct{}, 4)
	for w := range 4 {
		scan := fmt.Sprintf("scan%d", w)
		admin.makeScan(t, scan, "notes of "+scan)
		group.Go(func() {
			for n := 0; writing.Err() == nil; n++ {
				path := fmt.Sprintf("/files/%s/images/f%d", scan, n)
				content := strings.Repeat(path, 200)
				if a := admin.upload(t, path, content); a.Status != http.StatusCreated {
					t.Errorf("upload = %d %s", a.Status, a.Text)
					return
				}
				if n%4 == 3 { // it may be in the backup or not
					if a := admin.send(t, http.MethodDelete, path, "", nil); a.Status != http.StatusOK && a.Status != http.StatusNoContent {
						t.Errorf("delete = %d %s", a.Status, a.Text)
						return
					}
					continue
				}
				mu.Lock()
				written[path] = content
				mu.Unlock()
				if n == 20 {
					ready <- struct{}{}
				}
			}
		})
	}
	for range 4 {
		<-ready
	}
	mu.Lock()
	before := make(map[string]string, len(written))
	maps.Copy(before, written)
	mu.Unlock()
	if got := servertest.Run(t, o, "keys", "rotate"); got.Code != 0 {
		t.Fatalf("keys rotate = %+v", got)
	}
	copied := filepath.Join(home, "backup")
	if got := servertest.Run(t, o, "backup", copied); got.Code != 0 {
		t.Fatalf("backup = %+v", got)
	}
	keys := keysOf(t, dir)
	for _, want := range []string{"jwt.key", "webhooks.key"} {
		if keys[want] == "" {
			t.Errorf("the tree has the keys %q, want %s", slices.Sorted(maps.Keys(keys)), want)
		}
	}
	if len(keys) < 3 {
		t.Errorf("the tree has the keys %q, want one that a rotation made", slices.Sorted(maps.Keys(keys)))
	}
	stop()
	group.Wait()
	server.Stop()
	if got := servertest.Run(t, o, "backup", "--verify", copied); got.Code != 0 {
		t.Errorf("backup --verify = %+v", got)
	}
	for name, mode := range map[string]os.FileMode{"tree/.plantdb/jwt.key": 0o600, ".": os.ModeDir | 0o700} {
		if info, err := os.Stat(filepath.Join(copied, name)); err != nil || info.Mode() != mode {
			t.Errorf("%s has mode %v, %v, want %v", name, info.Mode(), err, mode)
		}
	}

	restored := filepath.Join(home, "restored")
	url := emptyDatabase(t)
	again := servertest.Options{Env: []string{"DATABASE_URL=" + url, "ROMI_DB=" + restored}}
	if got := servertest.Run(t, again, "restore", copied); got.Code != 0 {
		t.Fatalf("restore = %+v", got)
	}
	if got := servertest.Run(t, again, "check", "--digests"); got.Code != 0 {
		t.Errorf("check of what was restored = %+v", got)
	}
	if got := keysOf(t, restored); !maps.Equal(got, keys) {
		t.Errorf("restored keys are %q, want %q with the same bytes and modes", slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(keys)))
	}
	second := servertest.Start(t, again, restored, "--test", "--rate-limits", "off")
	reader := caller{second.URL, api} // its key came along
	for path, content := range before {
		a := reader.get(t, path)
		for a.Status == http.StatusServiceUnavailable && t.Context().Err() == nil { // a busy machine
			a = reader.get(t, path)
		}
		if a.Status != http.StatusOK || a.Text != content {
			t.Errorf("restored %s = %d, %d bytes, want %d", path, a.Status, len(a.Text), len(content))
		}
	}
	if a := reader.get(t, "/files/scan0/images/notes"); a.Text != "notes of scan0" {
		t.Errorf("restored notes = %d %q", a.Status, a.Text)
	}
	login(t, second, "admin", "admin")
	second.Stop()

	for name, tt := range map[string]struct {
		dir, url, say string
	}{
		"full tree":     {restored, emptyDatabase(t), "is not empty"},
		"full database": {filepath.Join(home, "third"), url, "the database is not empty"},
	} {
		o := servertest.Options{Env: []string{"DATABASE_URL=" + tt.url, "ROMI_DB=" + tt.dir}}
		if got := servertest.Run(t, o, "restore", copied); got.Code != 1 || !strings.Contains(got.Stderr, tt.say) {
			t.Errorf("restore over a %s = %+v", name, got)
		}
	}
	// A tree without its database is none: a server would begin with empty accounts.
	half := servertest.Options{Env: []string{"DATABASE_URL=" + emptyDatabase(t), "ROMI_DB=" + filepath.Join(home, "third")}}
	refused(t, half)
	if got := servertest.Run(t, o, "backup", copied); got.Code != 1 || !strings.Contains(got.Stderr, "is not empty") {
		t.Errorf("backup over a backup = %+v", got)
	}
	if got := servertest.Run(t, o, "backup", filepath.Join(dir, "inside")); got.Code != 1 || !strings.Contains(got.Stderr, "inside of the tree") {
		t.Errorf("backup into the tree = %+v", got)
	}
	damaged(t, copied, home)
}

// TestBackupOfEverything backs up a tree that has everything at once, and finds all
// of it in what is restored: every byte of scans, timelapses, trash and an upload
// that goes on, and what the accounts and the index say.
func TestBackupOfEverything(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	e := b.prepare(t)
	api := e.must(t, http.StatusOK, "/auth/token/create-api-token", object{"token_exp": 3600, "datasets": object{"*": []string{"READ"}}}).text("api_token")
	e.must(t, http.StatusCreated, "/webhooks", object{"url": "https://lab.example.org/plantdb", "kinds": []string{"scan.purged"}})
	for _, name := range []string{"create a scan in a timelapse", "put a file beside filesets", "tags", "sharing", "metadata of a timelapse", "owner"} {
		i := slices.IndexFunc(everyWrite, func(w write) bool { return w.name == name })
		if a := everyWrite[i].call(t, e); a.Status >= http.StatusBadRequest {
			t.Fatalf("%s = %d %s", name, a.Status, a.Text)
		}
	}
	// A token is used again, and a webhook passes over what it does not want.
	later := regexp.MustCompile(`"(last_used_at|position)":("[^"]*"|null)`)
	look := func(c caller, token caller) map[string]string {
		seen := map[string]string{}
		for _, path := range []string{
			"/scans", "/timelapses", "/timelapses/series", "/timelapses/old", "/trash", "/scans/hidden/visibility", "/scans/hidden/owner", "/scans/kept/sharing",
			"/scans/kept/tags", "/scans/kept/metadata", "/scans/kept/history", "/assets/files/kept/beside.txt", "/filesets/kept/images/files",
			"/files/kept/images/notes/metadata", "/webhooks", "/auth/api-tokens", "/groups", "/users", "/usage",
		} {
			a := c.get(t, path)
			if a.Status != http.StatusOK {
				t.Errorf("GET %s = %d %s", path, a.Status, a.Text)
			}
			seen[path] = later.ReplaceAllString(a.Text, `"$1":"..."`)
		}
		seen["by API token"] = token.get(t, "/files/kept/images/notes").Text
		return seen
	}
	before, told := e.all(t), look(e.caller, caller{e.base, api})
	home := servertest.Dir(t)
	copied, restored, url := filepath.Join(home, "backup"), filepath.Join(home, "restored"), emptyDatabase(t)
	o := servertest.Options{Env: []string{"DATABASE_URL=" + b.database, "ROMI_DB=" + b.dir}}
	again := servertest.Options{Env: []string{"DATABASE_URL=" + url, "ROMI_DB=" + restored}}
	for _, step := range []struct {
		o    servertest.Options
		args []string
	}{{o, []string{"backup", copied}}, {o, []string{"backup", "--verify", copied}}, {again, []string{"restore", copied}}, {again, []string{"check", "--digests"}}} {
		if got := servertest.Run(t, step.o, step.args...); got.Code != 0 {
			t.Fatalf("%q = %+v", step.args, got)
		}
	}
	second := &bench{dir: restored, database: url, server: servertest.Start(t, again, restored, "--test")}
	r := &everything{caller: caller{second.server.URL, e.token}, bench: second, trash: e.trash, pieces: e.pieces}
	if diff := cmp.Diff(before, r.all(t)); diff != "" {
		t.Errorf("what was restored (-original +restored):\n%s", diff)
	}
	// The token of the first server counts on the second: key and session came along.
	if diff := cmp.Diff(told, look(r.caller, caller{r.base, api})); diff != "" {
		t.Errorf("what the server tells of what was restored (-original +restored):\n%s", diff)
	}
	// All of it goes on.
	for _, w := range everyWrite {
		if !slices.Contains([]string{"the last piece", "restore a scan", "restore a timelapse", "restore a file", "restore a fileset", "purge"}, w.name) {
			continue
		}
		if a := w.call(t, r); a.Status >= http.StatusBadRequest {
			t.Errorf("%s of what was restored = %d %s", w.name, a.Status, a.Text)
		}
	}
	if a := r.get(t, "/files/kept/images/pieces_half"); a.Text != "1234567890" {
		t.Errorf("file of the upload that went on = %d %q", a.Status, a.Text)
	}
}

// refused has nobody open a tree that was not restored to its end.
func refused(t *testing.T, o servertest.Options) {
	t.Helper()
	for _, args := range [][]string{{"check"}, {"serve", "--port", "0"}} {
		if got := servertest.Run(t, o, args...); got.Code != 1 || !strings.Contains(got.Stderr, "was not finished") {
			t.Fatalf("%q of a tree that was not restored = %+v", args, got)
		}
	}
}

// emptyDatabase returns the URL of a database without tables.
func emptyDatabase(t *testing.T) string {
	t.Helper()
	url := pgtest.URL(t)
	if err := postgres.MigrateDownTo(t.Context(), url, 0); err != nil {
		t.Fatal(err)
	}
	return url
}

// damaged damages a backup in each of its parts; it is refused.
func damaged(t *testing.T, dir, home string) {
	t.Helper()
	for i, name := range []string{"tree/scan1/images/notes.txt", "tree/scan1/files.json", "database/users", "manifest.jsonl", "backup.json"} {
		path := filepath.Join(dir, name)
		whole, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		bad := append([]byte(nil), whole...)
		bad[len(bad)/2] ^= 1
		if err := os.WriteFile(path, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		if name == "backup.json" { // as one that was not finished
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
		}
		o := servertest.Options{Env: []string{"DATABASE_URL=" + emptyDatabase(t), "ROMI_DB=" + filepath.Join(home, fmt.Sprint("bad", i))}}
		for _, args := range [][]string{{"backup", "--verify", dir}, {"restore", dir}} {
			if got := servertest.Run(t, o, args...); got.Code != 1 || !strings.Contains(got.Stderr, "damaged") && !strings.Contains(got.Stderr, "not finished") {
				t.Errorf("%v with a bad %s = %+v", args, name, got)
			}
		}
		if _, err := os.Stat(filepath.Join(home, fmt.Sprint("bad", i), "romidb")); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("what a bad %s left is a tree: %v", name, err)
		}
		if strings.Contains(name, "/") { // the head is read before anything is written
			refused(t, o)
		}
		if err := os.WriteFile(path, whole, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// TestExport exports scans in both forms: byte for byte, opened by upstream's own
// programs, and adopted by a server again.
func TestExport(t *testing.T) {
	t.Parallel()
	home := servertest.Dir(t)
	dir := filepath.Join(home, "tree")
	o := servertest.Options{Env: []string{"DATABASE_URL=" + pgtest.URL(t), "ROMI_DB=" + dir}}
	for _, args := range [][]string{{"demo", dir}, {"import", dir}} {
		if got := servertest.Run(t, o, args...); got.Code != 0 {
			t.Fatalf("%v = %+v", args, got)
		}
	}
	want := treeOf(t, dir)
	all := filepath.Join(home, "all")
	if got := servertest.Run(t, o, "export", "--all", "--to", all); got.Code != 0 {
		t.Fatalf("export --all = %+v", got)
	}
	if diff := cmp.Diff(want, treeOf(t, all)); diff != "" {
		t.Errorf("export --all (-tree +export):\n%s", diff)
	}
	again := servertest.Options{Env: []string{"DATABASE_URL=" + pgtest.URL(t), "ROMI_DB=" + all}}
	if got := servertest.Run(t, again, "import", all); got.Code != 0 || !strings.HasPrefix(got.Stdout, "8 scans in ") {
		t.Errorf("import of an export = %+v", got)
	}
	if got := servertest.Run(t, again, "check", "--digests"); got.Code != 0 {
		t.Errorf("check of an export = %+v", got)
	}
	two := filepath.Join(home, "two.zip")
	if got := servertest.Run(t, o, "export", "real_plant", "growth_day_28", "--to", two); got.Code != 0 {
		t.Fatalf("export of two = %+v", got)
	}
	only := map[string]string{"romidb": want["romidb"]}
	for name, sum := range want {
		if strings.HasPrefix(name, "real_plant/") || strings.HasPrefix(name, "growth_series/growth_day_28/") || name == "growth_series/timelapse.json" || name == "growth_series/" {
			only[name] = sum
		}
	}
	unpacked := filepath.Join(home, "unpacked")
	unzip(t, two, unpacked)
	got := treeOf(t, unpacked)
	if diff := cmp.Diff(only, got); diff != "" {
		t.Errorf("export of two (-tree +export):\n%s", diff)
	}
	plain := filepath.Join(home, "plain")
	if got := servertest.Run(t, o, "export", "real_plant", "virtual_plant", "--to", plain); got.Code != 0 {
		t.Fatalf("export = %+v", got)
	}
	for _, commons := range []string{"plantdb-commons==0.15.1", "plantdb-commons==0.17.0"} {
		opened(t, commons, plain, want, "real_plant", "virtual_plant")
	}
	for _, args := range [][]string{
		{"nobody", "--to", filepath.Join(home, "none")}, {"--to", filepath.Join(home, "none")}, {"--all"},
		{"--all", "real_plant", "--to", filepath.Join(home, "none")}, {"--all", "--to", all}, {"--all", "--to", two},
		{"--all", "--to", filepath.Join(dir, "inside")},
	} {
		if got := servertest.Run(t, o, append([]string{"export"}, args...)...); got.Code != 1 || got.Stderr == "" {
			t.Errorf("export %q = %+v, want an error", args, got)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(home, ".plantdb-export-*")); len(left) > 0 {
		t.Errorf("exports that failed left %q", left)
	}
}

func unzip(t *testing.T, name, dir string) {
	t.Helper()
	z, err := zip.OpenReader(name)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	for _, f := range z.File {
		if f.FileInfo().IsDir() {
			if err := os.MkdirAll(filepath.Join(dir, filepath.FromSlash(f.Name)), f.Mode().Perm()); err != nil {
				t.Fatal(err)
			}
			continue
		}
		r, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(r)
		path := filepath.Join(dir, filepath.FromSlash(f.Name))
		if err := errors.Join(err, r.Close(), os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, content, 0o644)); err != nil {
			t.Fatal(err)
		}
	}
}

// keysOf returns the files of a tree that hold keys, with modes and bytes.
func keysOf(t *testing.T, dir string) map[string]string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, ".plantdb", "*.key"))
	if err != nil {
		t.Fatal(err)
	}
	keys := map[string]string{}
	for _, name := range names {
		info, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		raw, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		keys[filepath.Base(name)] = fmt.Sprintf("%v %x", info.Mode(), raw)
	}
	return keys
}

// opened lets upstream's own code open a tree, and compares every byte that it
// finds with what treeOf said of the original.
func opened(t *testing.T, commons, dir string, tree map[string]string, scans ...string) {
	t.Helper()
	got := toldBy(t, commons, dir)
	if len(got) != len(scans) {
		t.Errorf("%s opens %d scans, want %q", commons, len(got), scans)
	}
	compareTold(t, commons, got, tree)
	for _, scan := range scans {
		if len(got[scan]) == 0 {
			t.Errorf("%s finds no files in %s", commons, scan)
		}
	}
}

// compareTold compares the bytes that upstream's code read with those of a tree.
func compareTold(t *testing.T, commons string, told map[string]map[string]string, tree map[string]string) {
	t.Helper()
	for _, files := range told {
		for path, sum := range files {
			if sum != tree[path] {
				t.Errorf("%s reads %s as %s, want %s", commons, path, sum, tree[path])
			}
		}
	}
}

// toldBy has upstream's real code open the tree and read every file that it
// finds, and returns of each scan their digests by scan/fileset/file name.
func toldBy(t *testing.T, commons, dir string) map[string]map[string]string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), pyenv.Python(t, commons), "../../internal/fsdb/testdata/tree.py", "tell", dir)
	out, err := cmd.Output()
	if err != nil {
		var said []byte
		if exit, ok := errors.AsType[*exec.ExitError](err); ok {
			said = exit.Stderr
		}
		t.Fatalf("%s: %v\n%s%s", commons, err, out, said)
	}
	said := strings.TrimSpace(string(out))
	var got struct {
		Scans map[string]struct {
			Filesets []struct {
				ID    string
				Files []struct{ Name, SHA256 string }
			}
		}
	}
	if err := json.Unmarshal([]byte(said[strings.LastIndexByte(said, '\n')+1:]), &got); err != nil {
		t.Fatalf("%s: %v\n%s", commons, err, said)
	}
	told := map[string]map[string]string{}
	for scan, s := range got.Scans {
		told[scan] = map[string]string{}
		for _, fs := range s.Filesets {
			for _, f := range fs.Files {
				told[scan][scan+"/"+fs.ID+"/"+f.Name] = f.SHA256
			}
		}
	}
	return told
}

package api_test

import (
	"archive/zip"
	"bytes"
	"errors"
	"io"
	"io/fs"
	"mime"
	"mime/multipart"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/romi/plantdb-go/internal/api"
)

// onDisk returns the files of a scan by their names below it.
func (s *site) onDisk(scan string) map[string]string {
	s.t.Helper()
	files := map[string]string{}
	root := os.DirFS(filepath.Join(s.dir, scan))
	err := fs.WalkDir(root, ".", func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		content, err := fs.ReadFile(root, name)
		files[name] = string(content)
		return err
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return files
}

// unzipped returns the entries of an archive in their order, and their content.
func unzipped(t *testing.T, archive []byte) (names []string, files map[string]string) {
	t.Helper()
	r, err := zip.NewReader(bytes.NewReader(archive), int64(len(archive)))
	if err != nil {
		t.Fatalf("archive of %d bytes: %v", len(archive), err)
	}
	files = map[string]string{}
	for _, f := range r.File {
		c, err := f.Open()
		if err != nil {
			t.Fatalf("open %s: %v", f.Name, err)
		}
		content, err := io.ReadAll(c) // which checks the checksum
		if err != nil || f.Method != zip.Store {
			t.Errorf("entry %s, method %d: %v, want it stored and whole", f.Name, f.Method, err)
		}
		names = append(names, f.Name)
		files[f.Name] = string(content)
	}
	return names, files
}

func (s *site) put(name, content string) {
	s.t.Helper()
	file := filepath.Join(s.dir, name)
	if err := os.MkdirAll(filepath.Dir(file), 0o750); err != nil {
		s.t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

const manifest = "manifest-sha256.txt"

func TestArchive(t *testing.T) {
	t.Parallel()
	s := newAnalyzedSite(t, analyzed)
	s.put(analyzed+"/notes/é\nodd\\name.txt", "a name that sha256sum escapes")
	s.put(analyzed+"/empty.txt", "")
	want := s.onDisk(analyzed)
	// These stay out of it.
	s.put(analyzed+"/webcache/0123.jpeg", "preview")
	s.put(analyzed+"/.hidden", "hidden")
	s.put(analyzed+"/users.json", "{}")
	s.put(analyzed+"/"+manifest, "of another archive")
	s.put("outside.txt", "outside")
	if err := os.Symlink(filepath.Join(s.dir, "outside.txt"), filepath.Join(s.dir, analyzed, "link.txt")); err != nil {
		t.Fatal(err)
	}

	a := s.get("/api/v1/assets/archive/" + analyzed)
	if a.status != http.StatusOK || a.header.Get("Content-Type") != "application/zip" || a.header.Get("Content-Disposition") != "inline; filename="+analyzed+".zip" {
		t.Fatalf("GET archive = %d %v", a.status, a.header)
	}
	names, files := unzipped(t, a.body)
	if last := len(names) - 1; names[last] != manifest || !slices.IsSorted(names[:last]) {
		t.Errorf("entries are %q, want them by name and the manifest last", names)
	}
	lines := files[manifest]
	delete(files, manifest)
	if diff := cmp.Diff(want, files); diff != "" {
		t.Errorf("the archive is not the scan: (-want +got)\n%.2000s", diff)
	}
	if n := strings.Count(lines, "\n"); n != len(want) {
		t.Errorf("the manifest has %d lines, want %d", n, len(want))
	}
	if again := s.get("/api/v1/assets/archive/" + analyzed); !bytes.Equal(again.body, a.body) {
		t.Error("the second archive has other bytes")
	}
	unpacked(t, a.body)
}

// unpacked has Python, which upstream's clients are written in, unpack an
// archive, and sha256sum check it.
func unpacked(t *testing.T, archive []byte) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "a.zip"), archive, 0o600); err != nil {
		t.Fatal(err)
	}
	const script = "import zipfile; z = zipfile.ZipFile('a.zip'); assert z.testzip() is None; z.extractall('.')"
	for _, args := range [][]string{{"python3", "-c", script}, {"sha256sum", "--check", "--strict", "--quiet", manifest}} {
		c := exec.CommandContext(t.Context(), args[0], args[1:]...)
		c.Dir = dir
		if out, err := c.CombinedOutput(); err != nil {
			t.Errorf("%s = %v: %s", args[0], err, out)
		}
	}
}

func testArchiveOfFilesets(t *testing.T, s *site) {
	_, files := unzipped(t, s.get("/api/v1/assets/archive/"+analyzed+"?fileset=images&fileset=CurveSkeleton__TriangleMesh_0393cb5708").body)
	delete(files, manifest)
	want := s.onDisk(analyzed)
	for name := range want {
		top, _, nested := strings.Cut(name, "/")
		if top == "metadata" {
			top, _, _ = strings.Cut(strings.TrimSuffix(strings.TrimPrefix(name, "metadata/"), ".json"), "/")
		}
		if nested && top != "metadata" && top != "images" && top != "CurveSkeleton__TriangleMesh_0393cb5708" {
			delete(want, name)
		}
	}
	if diff := cmp.Diff(want, files); diff != "" || len(files) < 40 {
		t.Errorf("%d files, (-want +got)\n%.2000s", len(files), diff)
	}
}

// Any range of an archive is what the whole has there, in one part or several.
func TestArchiveRanges(t *testing.T) {
	t.Parallel()
	s := newSite(t, api.Config{Rates: api.NoRates})
	const path = "/api/v1/assets/archive/real_plant"
	whole := s.get(path)
	size := len(whole.body)
	for _, r := range []struct {
		spec     string
		from, to int
	}{
		{"0-0", 0, 1}, {"0-", 0, size}, {"31-4095", 31, 4096}, {"-200", size - 200, size}, {"10000-10000", 10000, 10001},
	} {
		a := s.get(path, header{"Range", "bytes=" + r.spec})
		if a.status != http.StatusPartialContent || !bytes.Equal(a.body, whole.body[r.from:r.to]) {
			t.Errorf("range %s = %d, %d bytes, want 206 and those of the whole", r.spec, a.status, len(a.body))
		}
	}
	a := s.get(path, header{"Range", "bytes=5-104,3000-20000,-50"})
	_, params, err := mime.ParseMediaType(a.header.Get("Content-Type"))
	if err != nil {
		t.Fatalf("several ranges = %d %v", a.status, a.header)
	}
	parts := multipart.NewReader(bytes.NewReader(a.body), params["boundary"])
	for _, want := range [][]byte{whole.body[5:105], whole.body[3000:20001], whole.body[size-50:]} {
		p, err := parts.NextPart()
		if err != nil {
			t.Fatalf("next of several ranges: %v", err)
		}
		if got, err := io.ReadAll(p); err != nil || !bytes.Equal(got, want) {
			t.Errorf("part %s = %d bytes, %v, want the %d of the whole", p.Header.Get("Content-Range"), len(got), err, len(want))
		}
	}

	// A download of what has changed since starts anew.
	s.put("real_plant/notes.txt", "new")
	wantProblem(t, "a part of an older version", s.get(path, header{"Range", "bytes=1000-"}, header{"If-Match", whole.header.Get("ETag")}), http.StatusPreconditionFailed, "precondition_failed")
	a = s.get(path, header{"Range", "bytes=1000-"}, header{"If-Range", whole.header.Get("ETag")})
	if a.status != http.StatusOK || a.header.Get("ETag") == whole.header.Get("ETag") {
		t.Errorf("If-Range of an older version = %d, ETag %s, want 200 and another", a.status, a.header.Get("ETag"))
	}
	unpacked(t, a.body)
}

// partly begins a download and calls change once it has got a part of it.
func (s *site) partly(path string, change func()) ([]byte, error) {
	s.t.Helper()
	r, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, s.url+path, http.NoBody)
	if err != nil {
		s.t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close() // Only read.
	first := make([]byte, 1000)
	if _, err := io.ReadFull(resp.Body, first); err != nil {
		s.t.Fatal(err)
	}
	change()
	rest, err := io.ReadAll(resp.Body)
	return append(first, rest...), err
}

// No change of the scan under way makes a broken archive: what is replaced
// stays in it as it was, what is changed in place breaks the connection.
func TestArchiveOfAChangingScan(t *testing.T) {
	t.Parallel()
	const size = 64 << 20 // more than the connection takes at once
	for name, tt := range map[string]struct {
		change func(file string) error
		broken bool
	}{
		"replaced": {change: func(file string) error {
			if err := os.WriteFile(file+".new", []byte("short"), 0o600); err != nil {
				return err
			}
			return os.Rename(file+".new", file)
		}},
		"removed": {change: os.Remove},
		"shrunk":  {change: func(file string) error { return os.Truncate(file, 1<<20) }, broken: true},
		"written": {change: func(file string) error { return errors.Join(os.Truncate(file, size-1), os.Truncate(file, size)) }, broken: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, api.Config{Rates: api.NoRates})
			file := filepath.Join(s.dir, "real_plant", "aaa.bin")
			s.put("real_plant/aaa.bin", "")
			if err := os.Truncate(file, size); err != nil {
				t.Fatal(err)
			}
			archive, err := s.partly("/api/v1/assets/archive/real_plant", func() {
				if err := tt.change(file); err != nil {
					t.Fatal(err)
				}
			})
			if tt.broken {
				if !errors.Is(err, io.ErrUnexpectedEOF) {
					t.Errorf("download = %d bytes, %v, want io.ErrUnexpectedEOF", len(archive), err)
				}
				return
			}
			if err != nil {
				t.Fatalf("download = %v", err)
			}
			if _, files := unzipped(t, archive); len(files["aaa.bin"]) != size {
				t.Errorf("aaa.bin has %d bytes, want the %d it had", len(files["aaa.bin"]), size)
			}
		})
	}
}

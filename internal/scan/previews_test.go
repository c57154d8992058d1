package scan

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"image"
	"image/jpeg"
	"io"
	iofs "io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/romi/plantdb-go/internal/jobs"
	"github.com/romi/plantdb-go/internal/pgtest"
	"github.com/romi/plantdb-go/internal/postgres"
	"github.com/romi/plantdb-go/internal/preview"
)

const cube = "ply\nformat ascii 1.0\nelement vertex 2\nproperty float x\nproperty float y\nproperty float z\nend_header\n0 0 0\n5 5 5\n"

func photo(t *testing.T) string {
	t.Helper()
	var b bytes.Buffer
	if err := jpeg.Encode(&b, image.NewGray(image.Rect(0, 0, 400, 300)), nil); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// ahead is a fixture whose previews are made by jobs.
type ahead struct {
	fixture
	pool  *pgxpool.Pool
	queue *jobs.Queue
	cache *preview.Cache
}

func newAhead(t *testing.T, content ...files) ahead {
	t.Helper()
	pool := pgtest.New(t)
	queue, err := jobs.New(pool, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	cache, err := preview.Open(filepath.Join(t.TempDir(), "previews"), preview.Options{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cache.Close(); err != nil {
			t.Error(err)
		}
	})
	f := ahead{fixtureOn(t, pool, t.TempDir(), content...), pool, queue, cache}
	f.PreviewAhead(queue)
	return f
}

// work does jobs by p until the test ends.
func (f ahead) work(t *testing.T, p Previews) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- f.queue.Run(ctx, jobs.Options{Slots: map[string]int{jobs.Background: 1}}, f.Previewer(p))
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run = %v", err)
		}
	})
}

// states lists the states of the jobs, in order of their insertion.
func (f ahead) states(t *testing.T) []string {
	t.Helper()
	rows, _ := f.pool.Query(t.Context(), "SELECT state::text FROM river.river_job ORDER BY id")
	list, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// finished waits until n jobs are completed and there is no other.
func (f ahead) finished(t *testing.T, n int) {
	t.Helper()
	want := slices.Repeat([]string{"completed"}, n)
	deadline := time.Now().Add(2 * time.Minute)
	for {
		got := f.states(t)
		if slices.Equal(got, want) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("jobs are %q, want %d completed; the log says %s", got, n, f.log)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// made lists what a cache was asked for: the key and the size.
type made struct {
	Previews
	mu   sync.Mutex
	list []string
	full float64
	err  error
	each func() // nil for nothing
}

func (m *made) note(s preview.Source, size string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.list = append(m.list, s.Key+" "+size)
	if m.each != nil {
		m.each()
	}
	return m.err
}

func (m *made) asked() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.list)
}

func (m *made) Image(ctx context.Context, s preview.Source, size int) (*os.File, iofs.FileInfo, error) {
	if err := m.note(s, map[int]string{preview.Thumb: "thumb", preview.Large: "large"}[size]); err != nil {
		return nil, nil, err
	}
	return m.Previews.Image(ctx, s, size)
}

func (m *made) PointCloud(ctx context.Context, s preview.Source, voxel float64) (*os.File, iofs.FileInfo, error) {
	if err := m.note(s, "cloud"); err != nil {
		return nil, nil, err
	}
	return m.Previews.PointCloud(ctx, s, voxel)
}

func (m *made) Room(share float64) bool { return 1-m.full >= share }

func (f ahead) upload(t *testing.T, fileset, id, ext, content string) {
	t.Helper()
	ctx := as(t, admin)
	u, err := f.BeginUpload(ctx, "s", fileset, id)
	if err != nil {
		t.Fatalf("BeginUpload = %v", err)
	}
	defer u.Discard()
	if err := u.Stage(ctx, strings.NewReader(content)); err != nil {
		t.Fatalf("Stage = %v", err)
	}
	if err := u.Commit(ctx, ext, nil); err != nil {
		t.Fatalf("Commit = %v", err)
	}
}

// version is the key that who asks for a preview of the file has.
func (f ahead) version(t *testing.T, fileset, id string) string {
	t.Helper()
	c, err := f.OpenFile(as(t, admin), "s", fileset, id)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	return c.Version
}

func TestPreviewsOfUploadAreMadeAhead(t *testing.T) {
	t.Parallel()
	f := newAhead(t, files{"s/files.json": `{"filesets": [{"id": "images", "files": []}, {"id": "PointCloud_1", "files": []}]}`,
		"s/metadata/metadata.json": "{}", "s/images/": "", "s/PointCloud_1/": ""})
	f.reconcile(t)
	if got := f.states(t); len(got) != 0 {
		t.Errorf("a scan without images asks for previews: %q", got)
	}
	f.upload(t, "images", "a", "jpg", photo(t))
	f.upload(t, "images", "notes", "txt", "no image")
	f.upload(t, "images", "broken", "png", "no image either")
	f.upload(t, "PointCloud_1", "PointCloud", "ply", cube)
	if got := f.states(t); len(got) != 3 {
		t.Errorf("jobs are %q, want one for each of image, broken image and cloud", got)
	}
	m := &made{Previews: f.cache}
	f.work(t, m)
	f.finished(t, 3)
	a, broken, cloud := f.version(t, "images", "a"), f.version(t, "images", "broken"), f.version(t, "PointCloud_1", "PointCloud")
	want := []string{a + " thumb", a + " large", broken + " thumb", cloud + " cloud"}
	got := m.asked()
	slices.Sort(got)
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("made (-want +got):\n%s", diff)
	}
	if strings.Contains(f.log.String(), "level=ERROR") {
		t.Errorf("a file that is no image is logged as an error: %s", f.log)
	}
}

func TestPreviewsOfImportAreMadeAhead(t *testing.T) {
	t.Parallel()
	content := plainScan("s", "{}")
	content["s/images/00000_rgb.jpg"] = photo(t)
	f := newAhead(t, content)
	f.reconcile(t)
	m := &made{Previews: f.cache}
	f.work(t, m)
	f.finished(t, 1)
	want := []string{f.version(t, "images", "00000_rgb") + " thumb", f.version(t, "images", "00001_rgb") + " thumb"}
	if diff := cmp.Diff(want, m.asked()); diff != "" {
		t.Errorf("made (-want +got):\n%s", diff)
	}
	// Changed outside: another version, and so another preview.
	if err := os.WriteFile(filepath.Join(f.dir, "s/images/00000_rgb.jpg"), []byte(photo(t)+"more"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(f.dir, "s/metadata/images/00000_rgb.json"), []byte(`{"now": 1}`), 0o600); err != nil {
		t.Fatal(err)
	}
	f.reconcile(t)
	f.finished(t, 2)
	if now := f.version(t, "images", "00000_rgb") + " thumb"; now == want[0] || !slices.Contains(m.asked(), now) {
		t.Errorf("made %q, want also %q", m.asked(), now)
	}
}

// What takes long is done by one job after another, each of which goes on where the
// one before it stopped.
func TestPreviewsAreMadeInSlices(t *testing.T) {
	t.Parallel()
	scan := files{"s/metadata/metadata.json": "{}", "s/notes/x.txt": "no image",
		"s/files.json": `{"filesets": [{"id": "images", "files": [{"id": "a", "file": "a.jpg"}, {"id": "b", "file": "b.jpg"}, {"id": "c", "file": "c.jpg"}]},
			{"id": "notes", "files": [{"id": "x", "file": "x.txt"}]}]}`}
	for _, id := range []string{"a", "b", "c"} {
		scan["s/images/"+id+".jpg"] = photo(t) + id // other bytes, and so another version
	}
	some := previewArgs{Scan: "s", Fileset: "images", Files: []string{"a", "b", "c"}}
	for name, tt := range map[string]struct {
		args previewArgs
		took time.Duration // by each preview
		jobs int
		want string
	}{
		"a scan at once":       {previewArgs{Scan: "s"}, time.Second, 1, "a thumb, b thumb, c thumb"},
		"a scan, two a job":    {previewArgs{Scan: "s"}, previewSlice/2 + 1, 2, "a thumb, b thumb, c thumb"},
		"a scan, one a job":    {previewArgs{Scan: "s"}, previewSlice, 3, "a thumb, b thumb, c thumb"},
		"a scan that shrank":   {previewArgs{Scan: "s", Done: 7}, time.Second, 1, ""},
		"some files at once":   {some, time.Second, 1, "a thumb, a large, b thumb, b large, c thumb, c large"},
		"some files, one each": {some, previewSlice, 3, "a thumb, a large, b thumb, b large, c thumb, c large"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newAhead(t, scan)
			f.PreviewAhead(nil)
			f.reconcile(t)
			f.PreviewAhead(f.queue)
			var passed atomic.Int64
			began := time.Now()
			f.now = func() time.Time { return began.Add(time.Duration(passed.Load())) }
			m := &made{Previews: f.cache, each: func() { passed.Add(int64(tt.took)) }}
			err := postgres.InTx(t.Context(), f.pool, func(tx pgx.Tx) error { return f.queue.Insert(t.Context(), tx, tt.args) })
			if err != nil {
				t.Fatal(err)
			}
			f.work(t, m)
			f.finished(t, tt.jobs)
			got := strings.Join(m.asked(), ", ")
			for _, id := range []string{"a", "b", "c"} {
				got = strings.ReplaceAll(got, f.version(t, "images", id), id)
			}
			if got != tt.want {
				t.Errorf("made %s, want %s", got, tt.want)
			}
		})
	}
}

// Images that were imported are named by their digest before their previews are
// made, so that a scrub does not make these useless.
func TestPreviewsOfImportKeepDigests(t *testing.T) {
	t.Parallel()
	content := plainScan("s", "{}")
	content["s/images/00000_rgb.jpg"] = photo(t)
	f := newAhead(t, content)
	f.aged(t)
	future := time.Now().Add(time.Hour)
	if err := os.Chtimes(filepath.Join(f.dir, "s/images/00001_rgb.jpg"), future, future); err != nil {
		t.Fatal(err)
	}
	f.reconcile(t)
	m := &made{Previews: f.cache}
	f.work(t, m)
	f.finished(t, 1)
	first, young := f.version(t, "images", "00000_rgb"), f.version(t, "images", "00001_rgb")
	if want := fmt.Sprintf("%x", sha256.Sum256([]byte(photo(t)))); first != want {
		t.Errorf("version of an image = %q, want its digest %s", first, want)
	}
	if len(young) == 2*sha256.Size {
		t.Errorf("version of an image that may still change = %q, want none by its bytes", young)
	}
	if diff := cmp.Diff([]string{first + " thumb", young + " thumb"}, m.asked()); diff != "" {
		t.Errorf("made (-want +got):\n%s", diff)
	}
}

func TestPreviewsLeaveRoomForOthers(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		full float64
		want int
	}{{0.3, 2}, {0.6, 1}, {0.95, 0}} {
		f := newAhead(t, files{"s/files.json": `{"filesets": [{"id": "images", "files": []}]}`, "s/metadata/metadata.json": "{}", "s/images/": ""})
		f.reconcile(t)
		f.upload(t, "images", "a", "jpg", photo(t))
		m := &made{Previews: f.cache, full: tt.full}
		f.work(t, m)
		f.finished(t, 1)
		if got := m.asked(); len(got) != tt.want {
			t.Errorf("with a cache that is %g full %q are made, want %d", tt.full, got, tt.want)
		}
	}
}

// While bytes come, of a file, a piece of one or an archive, a job waits, and it
// knows so by the last of them, and not by when the upload began or ended.
func TestPreviewsWaitForUploads(t *testing.T) {
	t.Parallel()
	f := indexed(t, plainScan("s", `{"owner": "ann"}`))
	ctx := as(t, ann)
	var clock atomic.Int64
	clock.Store(time.Now().UnixNano())
	f.now = func() time.Time { return time.Unix(0, clock.Load()) }
	look := func(what string) io.Reader {
		return readerFunc(func([]byte) (int, error) {
			if last := clock.Add(int64(time.Minute)) - int64(time.Minute); f.uploadedAt.Load() != last {
				t.Errorf("%s: the last bytes came at %d, want %d", what, f.uploadedAt.Load(), last)
			}
			return 0, io.EOF
		})
	}
	// The reader moves the clock on after its bytes were noted.
	coming := func(what, content string) io.Reader {
		clock.Add(int64(time.Hour))
		return io.MultiReader(strings.NewReader(content), look(what))
	}
	u := must[*Upload](t)(f.BeginUpload(ctx, "s", "images", "new"))
	defer u.Discard()
	if err := u.Stage(ctx, coming("a file", "text")); err != nil {
		t.Error(err)
	}
	id := begin(t, f, "pieces", 100)
	if _, err := f.Resume(ctx, id, Piece{Content: coming("a piece", "text")}); err != nil {
		t.Error(err)
	}
	a := must[*ArchiveUpload](t)(f.BeginArchive(ctx, "new"))
	defer a.Discard()
	if err := a.Stage(ctx, coming("an archive", string(scanArchive(t, "{}")))); err != nil {
		t.Error(err)
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

func TestPreviewJobsOnDemandAreDropped(t *testing.T) {
	t.Parallel()
	f := newAhead(t, plainScan("s", "{}"))
	f.reconcile(t)
	f.work(t, nil)
	f.finished(t, 1)
}

func TestPreviewJobOfScanThatWent(t *testing.T) {
	t.Parallel()
	f := newAhead(t, plainScan("s", "{}"))
	f.reconcile(t)
	if err := os.RemoveAll(filepath.Join(f.dir, "s")); err != nil {
		t.Fatal(err)
	}
	f.reconcile(t)
	m := &made{Previews: f.cache}
	f.work(t, m)
	f.finished(t, 1)
	if got := m.asked(); len(got) != 0 {
		t.Errorf("made %q, want nothing", got)
	}
}

// An upload whose transaction fails leaves no job.
func TestPreviewJobGoesWithItsWrite(t *testing.T) {
	t.Parallel()
	f := newAhead(t)
	undo := errors.New("undo")
	err := postgres.InTx(t.Context(), f.pool, func(tx pgx.Tx) error {
		return errors.Join(f.askPreviews(t.Context(), tx, previewArgs{Scan: "s"}, []string{"a.jpg"}), undo)
	})
	if !errors.Is(err, undo) || len(f.states(t)) != 0 {
		t.Errorf("InTx = %v, jobs %q, want none", err, f.states(t))
	}
}

package scan

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/romi/plantdb-go/db"
	"github.com/romi/plantdb-go/internal/actor"
	"github.com/romi/plantdb-go/internal/fault"
	"github.com/romi/plantdb-go/internal/fsdb"
)

func TestUpload(t *testing.T) {
	t.Parallel()
	f := indexed(t, plainScan("s", `{"owner": "ann"}`), plainScan("tl/m", `{"owner": "ann"}`), files{"tl/timelapse.json": `{}`}).clock(noon)
	ctx := as(t, ann)
	for _, tt := range []struct{ scan, file, ext, name string }{
		{"s", "a", "jpg", "a.jpg"}, {"s", "b", ".PLY", "b.ply"}, {"s", "c.d", " .json ", "c.d.json"}, {"m", "a", "Png", "a.png"},
	} {
		if err := upload(ctx, f.Service, tt.scan, "images", tt.file, tt.ext, "content", `{"z": 1, "created": 5}`); err != nil {
			t.Errorf("upload of %s/%s%s = %v", tt.scan, tt.file, tt.ext, err)
			continue
		}
		c := must[*Content](t)(f.OpenFile(ctx, tt.scan, "images", tt.file))
		if c.Name != tt.name || c.Size != 7 {
			t.Errorf("OpenFile(%s) = %s of %d bytes, want %s of 7", tt.file, c.Name, c.Size, tt.name)
		}
		_ = c.Close() // only read
		want := `{"created":` + noonText + `,"created_by":"Ann Other","last_modified":` + noonText + `,"z":1}`
		if got := must[json.RawMessage](t)(f.FileMetadata(ctx, tt.scan, "images", tt.name)); string(got) != want {
			t.Errorf("FileMetadata(%s) = %s, want %s", tt.name, got, want)
		}
	}
	want := []string{"00000_rgb", "00001_rgb", "a", "b", "c.d"}
	if got := must[[]string](t)(f.FileNames(ctx, "s", "images", Query{})); !slices.Equal(got, want) {
		t.Errorf("FileNames() = %v, want %v", got, want)
	}
	before := f.rows(t)
	f.reconcile(t)
	f.expect(t, "reconciled", before)
}

func TestUploadErrors(t *testing.T) {
	t.Parallel()
	f := indexed(t, plainScan("s", `{"owner": "ann"}`), plainScan("hidden", `{"owner": "eve", "visibility": "private"}`))
	f.config.MaxFileBytes = 100
	for _, tt := range []struct {
		a                                           actor.Actor
		scan, fileset, file, ext, content, metadata string
		want                                        error
		msg                                         string
	}{
		{ann, "s", "images", "00000_rgb", "jpg", "x", ``, ErrFileExists, "File id '00000_rgb' already exists in scan/fileset 's/images'!"},
		{ann, "s", "images", "00000_rgb", "png", "x", ``, ErrFileExists, ""}, // whatever its extension
		{ann, "none", "images", "a", "jpg", "x", ``, ErrUnknownScan, ""},
		{ann, "hidden", "images", "a", "jpg", "x", ``, ErrUnknownScan, ""},
		{ann, "s", "none", "a", "jpg", "x", ``, ErrUnknownFileset, "Unknown fileset id 'none' in scan 's'!"},
		{rita, "s", "images", "a", "jpg", "x", ``, ErrForbidden, "User rita does not have required permissions to use create_file"},
		{guest, "s", "images", "a", "jpg", "x", ``, ErrNoActor, ""},
		{ann, "s", "images", "a b", "jpg", "x", ``, fsdb.ErrName, "Invalid file identifier 'a b'!"},
		{ann, "s", "images", "a", "exe", "x", ``, ErrExtension, ""},
		{ann, "s", "images", "a", "", "x", ``, ErrExtension, ""},
		{ann, "s", "images", "a", "../jpg", "x", ``, ErrExtension, ""},
		{ann, "s", "images", "a", "jpg", "", ``, ErrEmptyFile, ""},
		{ann, "s", "images", "a", "txt", "", ``, ErrEmptyFile, ""},
		{ann, "s", "images", "a", "jpg", "x", `[1]`, ErrMetadata, "Metadata must be a dictionary"},
		{ann, "s", "images", "a", "jpg", strings.Repeat("x", 101), ``, fsdb.ErrTooLarge, ""},
	} {
		err := upload(as(t, tt.a), f.Service, tt.scan, tt.fileset, tt.file, tt.ext, tt.content, tt.metadata)
		said, ok := errors.AsType[*fault.Error](err)
		if !errors.Is(err, tt.want) || !ok || tt.msg != "" && said.Msg != tt.msg {
			t.Errorf("upload(%s, %s/%s/%s.%s, %s) = %v, want %v %q", tt.a.Username, tt.scan, tt.fileset, tt.file, tt.ext, tt.metadata, err, tt.want, tt.msg)
		}
	}
	if left := must[[]os.DirEntry](t)(os.ReadDir(filepath.Join(f.dir, ".plantdb/staging"))); len(left) > 0 {
		t.Errorf("%v lies in staging", left)
	}
}

// Four scanners' threads into one fileset: every file arrives, whole and once.
func TestUploadParallel(t *testing.T) {
	t.Parallel()
	f := indexed(t, plainScan("s", `{"owner": "ann"}`))
	var wg sync.WaitGroup
	var mu sync.Mutex
	same := map[error]int{}
	for c := range 4 {
		wg.Go(func() {
			for i := range 10 {
				name := fmt.Sprintf("%d-%05d", c, i)
				if err := upload(as(t, ann), f.Service, "s", "images", name, "jpg", name, `{"channel": "rgb"}`); err != nil {
					t.Errorf("upload of %s = %v", name, err)
				}
			}
			err := upload(as(t, ann), f.Service, "s", "images", "same", "jpg", fmt.Sprint(c), "")
			mu.Lock()
			defer mu.Unlock()
			if err != nil && !errors.Is(err, ErrFileExists) {
				t.Errorf("upload of same = %v, want nil or ErrFileExists", err)
				return
			}
			if err != nil {
				err = ErrFileExists
			}
			same[err]++
		})
	}
	wg.Wait()
	if same[nil] != 1 || same[ErrFileExists] != 3 {
		t.Errorf("uploads of one id ended as %v, want one nil and three ErrFileExists", same)
	}
	names := must[[]string](t)(f.FileNames(as(t, ann), "s", "images", Query{}))
	if len(names) != 43 {
		t.Errorf("%d files, want 43", len(names))
	}
	before := f.rows(t)
	f.reconcile(t)
	f.expect(t, "reconciled", before)
}

// hold keeps the name of a scan locked, as another server's write would.
func hold(t *testing.T, f fixture, name string) (release func()) {
	t.Helper()
	tx := must[pgx.Tx](t)(f.pool.Begin(t.Context()))
	if err := f.q.LockNames(t.Context(), tx, db.LockNamesParams{Names: []string{name}, Timeout: "1000", Holder: "elsewhere:1|create_file|zoe"}); err != nil {
		t.Fatal(err)
	}
	return sync.OnceFunc(func() { _ = tx.Rollback(context.WithoutCancel(t.Context())) }) // it wrote nothing
}

// waitFor polls until the condition, for what another goroutine is about to do.
func waitFor(t *testing.T, what string, condition func() bool) {
	t.Helper()
	deadline := time.Now().Add(2 * time.Minute)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !condition() {
		if time.Now().After(deadline) {
			t.Fatalf("%s never happened", what)
		}
		<-tick.C
	}
}

// A client that goes away takes its file with it only if nobody wrote it, and
// fails none of the others.
// What an upload asks of the database is planned once a connection, whatever
// PostgreSQL thinks of that: to plan it takes as long as to do it.
func TestUploadsArePlannedOnce(t *testing.T) {
	t.Parallel()
	f := fixtureOn(t, oneConnection(t), t.TempDir(), plainScan("s", `{"owner": "ann"}`))
	f.reconcile(t)
	for i := range 20 {
		if err := upload(as(t, ann), f.Service, "s", "images", fmt.Sprint("n", i), "jpg", "bytes", `{"a": 1}`); err != nil {
			t.Fatal(err)
		}
	}
	var generic, custom int
	err := f.pool.QueryRow(t.Context(), `SELECT generic_plans, custom_plans FROM pg_prepared_statements WHERE statement LIKE '-- name: InsertFiles %'`).
		Scan(&generic, &custom)
	if err != nil || generic != 20 || custom != 0 {
		t.Errorf("InsertFiles was done %d times by a plan that was there, and %d times planned anew, %v; want 20 and 0", generic, custom, err)
	}
	var mode string
	if err := f.pool.QueryRow(t.Context(), `SHOW plan_cache_mode`).Scan(&mode); err != nil || mode != "auto" {
		t.Errorf("after it plan_cache_mode is %s, %v", mode, err)
	}
}

func TestUploadCanceled(t *testing.T) {
	t.Parallel()
	f := indexed(t, plainScan("s", `{"owner": "ann"}`))
	release := hold(t, f, "s")
	defer release()
	canceled, cancel := context.WithCancel(as(t, ann))
	errs := make(chan error, 4)
	queued := func(n int) func() bool {
		return func() bool {
			f.uploads.mu.Lock()
			defer f.uploads.mu.Unlock()
			queue, running := f.uploads.waiting[uploadKey{"s", "images"}]
			return running && len(queue) == n
		}
	}
	go func() { errs <- upload(canceled, f.Service, "s", "images", "left", "jpg", "x", "") }()
	waitFor(t, "the first batch", queued(0)) // taken, and waiting for the lock
	for i := range 3 {
		go func() { errs <- upload(as(t, ann), f.Service, "s", "images", fmt.Sprint(i), "jpg", "x", "") }()
	}
	waitFor(t, "the others' queue", queued(3))
	cancel()
	if err := <-errs; !errors.Is(err, context.Canceled) {
		t.Errorf("upload of who left = %v, want context.Canceled", err)
	}
	release()
	for range 3 {
		if err := <-errs; err != nil {
			t.Errorf("upload of who stayed = %v", err)
		}
	}
	want := []string{"00000_rgb", "00001_rgb", "left", "0", "1", "2"}
	got := must[[]string](t)(f.FileNames(as(t, ann), "s", "images", Query{}))
	slices.Sort(got[3:])
	if !slices.Equal(got, want) {
		t.Errorf("FileNames() = %v, want %v: it was complete", got, want)
	}
}

// Every write says that the scan is busy when another holds it for too long.
func TestBusy(t *testing.T) {
	t.Parallel()
	f := indexed(t, plainScan("s", `{"owner": "ann"}`), files{"tl/timelapse.json": `{}`})
	f.config.LockTimeout = 50 * time.Millisecond
	files{"s/metadata/metadata.json": `{"owner": "ann", "n": 1}`}.write(t, f.dir) // so that a refresh has something to read
	ctx, u := as(t, ann), Update{Metadata: json.RawMessage(`{"a": 1}`)}
	for _, name := range []string{"s", "new", "tl", "newtl"} {
		defer hold(t, f, name)()
	}
	for what, call := range map[string]func() error{
		"Create":             func() error { return f.Create(ctx, "new", nil) },
		"Create in a series": func() error { return f.Create(ctx, "x", json.RawMessage(`{"timelapse": {"id": "tl"}}`)) },
		"CreateFileset":      func() error { return f.CreateFileset(ctx, "s", "x", nil) },
		"CreateTimelapse":    func() error { _, err := f.CreateTimelapse(ctx, "newtl", nil); return err },
		"SetMetadata":        func() error { _, err := f.SetMetadata(ctx, "s", u); return err },
		"SetFilesetMetadata": func() error { _, err := f.SetFilesetMetadata(ctx, "s", "images", u); return err },
		"SetFileMetadata":    func() error { _, err := f.SetFileMetadata(ctx, "s", "images", "00000_rgb", u); return err },
		"upload":             func() error { return upload(ctx, f.Service, "s", "images", "x", "jpg", "x", "") },
		"RefreshScan":        func() error { return f.RefreshScan(ctx, "s") },
	} {
		err := call()
		said, ok := errors.AsType[*fault.Error](err)
		if !errors.Is(err, ErrBusy) || !ok || said.RetryAfter <= 0 {
			t.Errorf("%s of a held scan = %v, want ErrBusy", what, err)
			continue
		}
		if what == "upload" && said.Msg != "Could not acquire exclusive lock for scan s within 0.1 seconds" {
			t.Errorf("%s says %q", what, said.Msg)
		}
	}
	// Readers wait for nobody.
	if _, err := f.Info(ctx, "s"); err != nil {
		t.Errorf("Info of a held scan = %v", err)
	}
}

// Who may not write any more when the bytes are there, writes nothing.
func TestUploadAfterTheScanChangedHands(t *testing.T) {
	t.Parallel()
	f := indexed(t, plainScan("s", `{"owner": "ann"}`))
	up := must[*Upload](t)(f.BeginUpload(as(t, bob), "s", "images", "x"))
	if err := up.Stage(t.Context(), strings.NewReader("x")); err != nil {
		t.Fatal(err)
	}
	files{"s/metadata/metadata.json": `{"owner": "ann", "visibility": "private"}`}.write(t, f.dir)
	f.reconcile(t)
	if err := up.Commit(t.Context(), "jpg", nil); !errors.Is(err, ErrUnknownScan) {
		t.Errorf("Commit() = %v, want ErrUnknownScan", err)
	}
	if _, err := os.Stat(filepath.Join(f.dir, "s/images/x.jpg")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the file is there: %v", err)
	}
}

package scan

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/romi/plantdb-go/internal/actor"
)

// indexLists returns the ids that a text of files.json lists in its first fileset.
func indexLists(t *testing.T, text string) (ids []string) {
	t.Helper()
	var index struct {
		Filesets []struct {
			Files []struct {
				ID string `json:"id"`
			} `json:"files"`
		} `json:"filesets"`
	}
	if err := json.Unmarshal([]byte(text), &index); err != nil {
		t.Fatal(err)
	}
	for _, f := range index.Filesets[0].Files {
		ids = append(ids, f.ID)
	}
	return ids
}

// TestFilesIndexFollows uploads by several clients at once and waits for
// files.json to list it all, in the order of the index, before and after the
// end of who keeps it.
func TestFilesIndexFollows(t *testing.T) {
	t.Parallel()
	f := indexed(t, plainScan("s", `{"owner": "ann"}`))
	work, stop := context.WithCancel(actor.NewContext(t.Context(), actor.System()))
	ended := make(chan error, 1)
	go func() { ended <- f.KeepFolded(work) }()
	uploads := func(prefix string) {
		var wg sync.WaitGroup
		for client := range 4 {
			wg.Go(func() {
				for n := range 10 {
					id := fmt.Sprintf("%s_%d_%d", prefix, client, n)
					if err := upload(as(t, ann), f.Service, "s", "images", id, "txt", id, "{}"); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
	}
	order := func() string {
		names, err := f.FileNames(as(t, ann), "s", "images", Query{})
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprint(names)
	}
	uploads("first")
	for fmt.Sprint(indexLists(t, f.read(t, "s/files.json"))) != order() {
		select {
		case <-t.Context().Done():
			t.Fatal("files.json does not follow")
		case <-time.After(10 * time.Millisecond):
		}
	}
	stop()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Fatalf("KeepFolded = %v", err)
	}
	uploads("second")
	if got := indexLists(t, f.read(t, "s/files.json")); len(got) != len(strings.Fields(order()))-40 {
		t.Errorf("files.json has %d files although nobody keeps it, the index %d", len(got), len(strings.Fields(order())))
	}
	if err := f.FoldAll(t.Context(), time.Minute); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(indexLists(t, f.read(t, "s/files.json"))); got != order() {
		t.Errorf("after FoldAll files.json lists %s, want %s", got, order())
	}
	if all, err := f.tree.Journals(t.Context()); len(all) > 0 || err != nil {
		t.Errorf("after FoldAll there are journals: %v, %v", all, err)
	}
	if done := f.reconcile(t); done.Broken > 0 || done.Removed > 0 {
		t.Errorf("a reconcile finds %+v", done)
	}
}

// TestPendingIsRead looks at an upload that files.json does not list yet by
// every way that gives out files.json, and after a crash.
func TestPendingIsRead(t *testing.T) {
	t.Parallel()
	pending := func(t *testing.T) fixture {
		f := indexed(t, plainScan("s", `{"owner": "ann"}`))
		if err := upload(as(t, ann), f.Service, "s", "images", "new", "txt", "content", "{}"); err != nil {
			t.Fatal(err)
		}
		if strings.Contains(f.read(t, "s/files.json"), "new") {
			t.Fatal("files.json lists the upload already")
		}
		return f
	}
	has := func(t *testing.T, text string) {
		if got := indexLists(t, text); got[len(got)-1] != "new" {
			t.Errorf("files.json lists %v, which lacks the upload", got)
		}
	}
	t.Run("asset", func(t *testing.T) {
		t.Parallel()
		f := pending(t)
		c := must[*Content](t)(f.OpenAsset(as(t, ann), "s/files.json"))
		defer c.Close()
		has(t, string(must[[]byte](t)(io.ReadAll(c))))
	})
	t.Run("archive", func(t *testing.T) {
		t.Parallel()
		f := pending(t)
		a := must[*Archive](t)(NewArchives(f.Service).Open(as(t, ann), "s", nil))
		defer a.Close(context.WithoutCancel(t.Context()))
		var out bytes.Buffer
		if err := a.WriteRange(t.Context(), &out, 0, a.Size()); err != nil {
			t.Fatal(err)
		}
		z := must[*zip.Reader](t)(zip.NewReader(bytes.NewReader(out.Bytes()), int64(out.Len())))
		file := must[io.ReadCloser](t)(z.Open("files.json"))
		has(t, string(must[[]byte](t)(io.ReadAll(file))))
	})
	t.Run("crash", func(t *testing.T) {
		t.Parallel()
		f := pending(t)
		if _, err := f.pool.Exec(t.Context(), "DELETE FROM files WHERE name = 'new'"); err != nil {
			t.Fatal(err)
		}
		again := fixtureOn(t, f.pool, f.dir)
		again.reconcile(t)
		if _, err := again.FileMetadata(as(t, ann), "s", "images", "new"); err != nil {
			t.Errorf("after a reconcile the upload is gone: %v", err)
		}
		has2 := must[[]byte](t)(io.ReadAll(must[*Content](t)(again.OpenFile(as(t, ann), "s", "images", "new"))))
		if string(has2) != "content" {
			t.Errorf("the upload holds %q", has2)
		}
	})
}

// However many scans programs hold, and for however long, the files.json of all others
// follows, when a server starts, while it runs and when it stops; that of those follows
// once they are let go.
func TestHeldScansKeepNoOtherUnfolded(t *testing.T) {
	t.Parallel()
	for when, fold := range map[string]func(context.Context, *Service) error{
		"start": func(ctx context.Context, s *Service) error { return s.FoldAll(ctx, 0) },
		"work":  func(ctx context.Context, s *Service) error { return s.KeepFolded(ctx) },
		"stop":  func(ctx context.Context, s *Service) error { return s.FoldAll(ctx, time.Hour) },
	} {
		t.Run(when, func(t *testing.T) {
			t.Parallel()
			f := indexed(t)
			f.config.LockTimeout = time.Hour
			var names []string
			for i := range 3 * foldsAtOnce {
				names = append(names, fmt.Sprintf("held%02d", i))
			}
			names = append(names, "other") // the last in every order
			for _, name := range names {
				plainScan(name, `{"owner": "ann"}`).write(t, f.dir)
			}
			f.reconcile(t)
			lists := func(name string) bool { return slices.Contains(indexLists(t, f.read(t, name+"/files.json")), "new") }
			var programs []func()
			for _, name := range names {
				if err := upload(as(t, ann), f.Service, name, "images", "new", "txt", "content", "{}"); err != nil {
					t.Fatal(err)
				}
				if name != "other" {
					programs = append(programs, program(t, f, name))
				}
			}
			work, stop := context.WithCancel(actor.NewContext(t.Context(), actor.System()))
			ended := make(chan error, 1)
			go func() { ended <- fold(work, f.Service) }()
			waitFor(t, "the fold of a scan that nobody holds", func() bool { return lists("other") })
			for _, name := range names[:len(programs)] {
				if lists(name) {
					t.Errorf("files.json of %s was written while a program held it", name)
				}
			}
			if when == "start" {
				if err := <-ended; !errors.Is(err, errHeld) {
					t.Errorf("FoldAll = %v, want the scans that are held", err)
				}
				go func() { ended <- f.KeepFolded(work) }() // as the server that started
			}
			for _, release := range programs {
				release()
			}
			waitFor(t, "the fold of the scans that were held", func() bool {
				return !slices.ContainsFunc(names, func(name string) bool { return !lists(name) })
			})
			stop()
			if err := <-ended; err != nil && !errors.Is(err, context.Canceled) {
				t.Errorf("it ended with %v", err)
			}
		})
	}
}

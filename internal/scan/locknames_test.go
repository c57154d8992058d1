package scan

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// A write that names what is not there, or what nothing can be called, is refused
// before its lock is taken: no file is left in .locks under such a name.
func TestNoLockOfWhatIsNotThere(t *testing.T) {
	t.Parallel()
	f := indexed(t, plainScan("s", `{"owner": "ann"}`), plainScan("tl/in", `{"owner": "ann"}`), files{"tl/timelapse.json": `{"owner": "ann", "scans": ["in"]}`})
	ctx := as(t, ann)
	gone := must[TrashEntry](t)(f.DeleteFile(ctx, "s", "images", "00001_rgb", Match{}))
	change := Update{Metadata: json.RawMessage(`{"a": 1}`)}
	calls := map[string]func(ctx context.Context, id string) error{
		"metadata of a scan": func(ctx context.Context, id string) error { _, err := f.SetMetadata(ctx, id, change); return err },
		"metadata of a fileset": func(ctx context.Context, id string) error {
			_, err := f.SetFilesetMetadata(ctx, "s", id, change)
			return err
		},
		"metadata of a file": func(ctx context.Context, id string) error {
			_, err := f.SetFileMetadata(ctx, "s", "images", id, change)
			return err
		},
		"metadata of a file of": func(ctx context.Context, id string) error {
			_, err := f.SetFileMetadata(ctx, "s", id, "00000_rgb", change)
			return err
		},
		"metadata of a timelapse": func(ctx context.Context, id string) error {
			_, err := f.SetTimelapseMetadata(ctx, id, change)
			return err
		},
		"delete a scan": func(ctx context.Context, id string) error { _, err := f.DeleteScan(ctx, id, Match{}); return err },
		"delete a fileset": func(ctx context.Context, id string) error {
			_, err := f.DeleteFileset(ctx, "s", id, Match{})
			return err
		},
		"delete a file": func(ctx context.Context, id string) error {
			_, err := f.DeleteFile(ctx, "s", "images", id, Match{})
			return err
		},
		"delete a file of": func(ctx context.Context, id string) error {
			_, err := f.DeleteFile(ctx, "s", id, "00000_rgb", Match{})
			return err
		},
		"delete a timelapse": func(ctx context.Context, id string) error {
			_, err := f.DeleteTimelapse(ctx, id, true, Match{})
			return err
		},
		"create a fileset in": func(ctx context.Context, id string) error { return f.CreateFileset(ctx, id, "new", nil) },
		"upload into": func(ctx context.Context, id string) error {
			return upload(ctx, f.Service, id, "images", "n", "txt", "bytes", "")
		},
		"upload into a fileset": func(ctx context.Context, id string) error {
			return upload(ctx, f.Service, "s", id, "n", "txt", "bytes", "")
		},
		"put a file into": func(ctx context.Context, id string) error { return putRaw(ctx, f.Service, id, "new.csv", "a,b") },
		"begin pieces": func(ctx context.Context, id string) error {
			n := newUpload("n", 5)
			n.Fileset = id
			_, err := f.CreateResumable(ctx, n)
			return err
		},
		"visibility": func(ctx context.Context, id string) error {
			_, err := f.SetVisibility(ctx, id, Private, Match{})
			return err
		},
		"sharing": func(ctx context.Context, id string) error {
			_, err := f.SetSharing(ctx, id, []string{"lab"}, Match{})
			return err
		},
		"owner": func(ctx context.Context, id string) error { _, err := f.SetOwner(ctx, id, "bob", Match{}); return err },
		"tags": func(ctx context.Context, id string) error {
			_, _, err := f.SetTags(ctx, id, []string{"a"}, Match{})
			return err
		},
		"migrated metadata": func(ctx context.Context, id string) error { _, err := f.MigrateMetadata(ctx, id, false); return err },
		"batch": func(ctx context.Context, id string) error {
			_, err := f.Batch(ctx, []BatchOp{{Op: BatchTag, Scan: "s", Tags: []string{"a"}}, {Op: BatchTag, Scan: id, Tags: []string{"a"}}})
			return err
		},
		"create in a timelapse": func(ctx context.Context, id string) error {
			if id == "" {
				return ErrUnknownTimelapse // it stands for none
			}
			metadata, err := json.Marshal(map[string]any{"timelapse": map[string]string{"id": id}})
			if err != nil {
				return err
			}
			return f.Create(ctx, "n", metadata)
		},
	}
	creating := map[string]func(ctx context.Context, id string) error{ // of what is not there, and may be called so
		"create":             func(ctx context.Context, id string) error { return f.Create(ctx, id, nil) },
		"create a timelapse": func(ctx context.Context, id string) error { _, err := f.CreateTimelapse(ctx, id, nil); return err },
		"create a fileset":   func(ctx context.Context, id string) error { return f.CreateFileset(ctx, "s", id, nil) },
		"upload": func(ctx context.Context, id string) error {
			return upload(ctx, f.Service, "s", "images", id, "txt", "bytes", "")
		},
		"archive":    func(ctx context.Context, id string) error { _, err := f.BeginArchive(ctx, id); return err },
		"restore as": func(ctx context.Context, id string) error { _, err := f.Restore(ctx, gone.ID, id); return err },
	}
	malformed := []string{"..", ".hidden", "a b", "a/b", "a/../../b", "nul\x00", "\xff", strings.Repeat("x", 300), "é"}
	for name, call := range calls {
		for _, id := range append([]string{"", "absent"}, malformed...) {
			f.wantNoLock(t, fmt.Sprintf("%s %q", name, id), func() error { return call(ctx, id) })
		}
	}
	for name, call := range creating {
		for _, id := range malformed {
			f.wantNoLock(t, fmt.Sprintf("%s %q", name, id), func() error { return call(ctx, id) })
		}
	}
}

// wantNoLock fails the test unless a call is refused and leaves no other lock files
// than were there but those of the scan s and its fileset.
func (f fixture) wantNoLock(t *testing.T, what string, call func() error) {
	t.Helper()
	locks := func() []string {
		var list []string
		for _, e := range must[[]os.DirEntry](t)(os.ReadDir(filepath.Join(f.dir, ".locks"))) {
			if name := e.Name(); name != "s.lock" && name != "s_images.lock" {
				list = append(list, name)
			}
		}
		return list
	}
	before := locks()
	if err := call(); err == nil {
		t.Errorf("%s works", what)
	}
	if diff := cmp.Diff(before, locks()); diff != "" {
		t.Errorf("%s leaves a lock (-before +after):\n%s", what, diff)
	}
}

package scan

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/romi/plantdb-go/internal/actor"
)

func TestOpenAsset(t *testing.T) {
	t.Parallel()
	f := indexed(t, plainScan("s", `{"owner": "ann"}`), plainScan("tl/m", `{}`), plainScan("hidden", `{"owner": "ann", "visibility": "private"}`),
		plainScan("tl/hiddenm", `{"owner": "ann", "visibility": "private"}`), plainScan("unindexed", `{}`),
		files{
			"tl/timelapse.json": `{}`, "um/timelapse.json": `{}`, "users.json": "[]", "groups.json": "{}", "s/users.json": "[]", "s/scan.toml": "toml",
			"s/.hidden/x": "", "s/deep/er/file.txt": "deep", "configs/c.toml": "c", "plain.txt": "root",
		})
	if err := os.Symlink("/etc/passwd", filepath.Join(f.dir, "s/link.txt")); err != nil {
		t.Fatal(err)
	}
	if _, err := f.pool.Exec(t.Context(), "DELETE FROM scans WHERE name = 'unindexed'"); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		a    actor.Actor
		path string
		want string // content; empty: ErrNoAsset
	}{
		{guest, "s/scan.toml", "toml"},
		{guest, "s/metadata/metadata.json", `{"owner": "ann"}`},
		{guest, "s/images/00000_rgb.jpg", "first image"},
		{guest, "s/images/00000_rgb", "first image"}, // by its id
		{guest, "s/deep/er/file.txt", "deep"},
		{guest, "m/images/00001_rgb", "second"},
		{guest, "m/images/00001_rgb.jpg", "second"},
		{guest, "tl/m/images/00001_rgb.jpg", "second"},
		{guest, "tl/m/images/00001_rgb", "second"},
		{ann, "hidden/images/00000_rgb", "first image"},
		{ann, "tl/hiddenm/images/00000_rgb", "first image"},
		{guest, "hidden/images/00000_rgb", ""},
		{guest, "hidden/images/00000_rgb.jpg", ""},
		{guest, "tl/hiddenm/images/00000_rgb.jpg", ""},
		{guest, "hiddenm/metadata/metadata.json", ""},
		{guest, "um/m/images/00001_rgb", ""}, // of another timelapse
		{guest, "s/m/images/00001_rgb", ""},
		{guest, "unindexed/images/00000_rgb.jpg", ""},
		{guest, "", ""}, {guest, "/", ""}, {guest, "s", ""}, {guest, "s/", ""}, {guest, "s/images", ""}, {guest, "s/images/", ""},
		{guest, "tl", ""}, {guest, "tl/", ""}, {guest, "tl/timelapse.json", ""}, {guest, "tl/m", ""}, {guest, "tl/m/", ""},
		{guest, "users.json", ""}, {guest, "groups.json", ""}, {guest, "romidb", ""}, {guest, "plain.txt", ""}, {guest, "configs/c.toml", ""},
		{guest, "s/users.json", ""}, {guest, "s/.hidden/x", ""}, {guest, ".plantdb/staging", ""},
		{guest, "s/../users.json", ""}, {guest, "s/../hidden/images/00000_rgb.jpg", ""}, {guest, "../s/scan.toml", ""},
		{guest, "s/images/../../hidden/images/00000_rgb.jpg", ""}, {guest, "tl/../hidden/files.json", ""}, {guest, "tl/m/../hiddenm/files.json", ""},
		{guest, "s//scan.toml", ""}, {guest, "./s/scan.toml", ""}, {guest, "s/./scan.toml", ""}, {guest, "/s/scan.toml", ""},
		{guest, "s/link.txt", ""}, {guest, "s/images/none", ""}, {guest, "s/none/00000_rgb", ""},
		{guest, "s\x00/scan.toml", ""}, {guest, "s/sc\x00an.toml", ""}, {guest, "s/images/\xff", ""}, {guest, "tl/\xff/x", ""},
		{admin, "users.json", ""}, {admin, "s/../users.json", ""},
	} {
		c, err := f.OpenAsset(as(t, tt.a), tt.path)
		if tt.want == "" {
			if !errors.Is(err, ErrNoAsset) || c != nil {
				t.Errorf("OpenAsset(%s, %q) = %v, %v, want ErrNoAsset", tt.a.Username, tt.path, c, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("OpenAsset(%s, %q) = %v, want %q", tt.a.Username, tt.path, err, tt.want)
			continue
		}
		if got := string(must[[]byte](t)(io.ReadAll(c))); got != tt.want || int64(len(got)) != c.Size {
			t.Errorf("OpenAsset(%s, %q) holds %q of %d bytes, want %q", tt.a.Username, tt.path, got, c.Size, tt.want)
		}
		_ = c.Close() // only read
	}
	if _, err := f.OpenAsset(as(t, scoped(ann, "x", actor.Read)), "s/scan.toml"); !errors.Is(err, ErrForbidden) {
		t.Errorf("OpenAsset by a token for others = %v, want ErrForbidden", err)
	}
}

func TestOpenFile(t *testing.T) {
	t.Parallel()
	f := indexed(t, plainScan("s", `{}`), plainScan("tl/m", `{}`), files{"tl/timelapse.json": `{}`})
	ctx := as(t, guest)
	for _, path := range [][3]string{{"s", "images", "00000_rgb"}, {"s", "images", "00000_rgb.jpg"}, {"m", "images", "00000_rgb"}} {
		c := must[*Content](t)(f.OpenFile(ctx, path[0], path[1], path[2]))
		again := must[*os.File](t)(c.Again(ctx))
		if got := string(must[[]byte](t)(io.ReadAll(again))); got != "first image" || c.Name != "00000_rgb.jpg" {
			t.Errorf("OpenFile(%v) = %s with %q", path, c.Name, got)
		}
		_, _ = again.Close(), c.Close() // only read
	}
	for _, tt := range []struct {
		path [3]string
		want error
	}{
		{[3]string{"none", "images", "x"}, ErrUnknownScan},
		{[3]string{"s", "none", "x"}, ErrUnknownFileset},
		{[3]string{"s", "images", "x"}, ErrUnknownFile},
		{[3]string{"s", "images", "../../users.json"}, ErrUnknownFile},
		{[3]string{"s\x00", "images", "x"}, ErrUnknownScan},
		{[3]string{"s", "\xff", "x"}, ErrUnknownFileset},
		{[3]string{"s", "images", "\x00"}, ErrUnknownFile},
	} {
		if _, err := f.OpenFile(ctx, tt.path[0], tt.path[1], tt.path[2]); !errors.Is(err, tt.want) {
			t.Errorf("OpenFile(%q) = %v, want %v", tt.path, err, tt.want)
		}
	}
	c := must[*Content](t)(f.OpenFile(ctx, "s", "images", "00000_rgb"))
	defer c.Close() // Only read.
	files{"s/images/00000_rgb.jpg": "another image"}.write(t, f.dir)
	if _, err := c.Again(ctx); !errors.Is(err, ErrChanged) {
		t.Errorf("Again() of a replaced file = %v, want ErrChanged", err)
	}
	if other := must[*Content](t)(f.OpenFile(ctx, "s", "images", "00000_rgb")); other.Version == c.Version {
		t.Errorf("Version of other bytes = %q, as before", other.Version)
	}
	f.remove(t, "s/images/00000_rgb.jpg")
	if _, err := f.OpenFile(ctx, "s", "images", "00000_rgb"); !errors.Is(err, ErrUnknownFile) {
		t.Errorf("OpenFile of a file that went = %v, want ErrUnknownFile", err)
	}
}

// A file has one version, by which path it is asked for: the digest of the index
// for as long as it is the file that was hashed, and never after that.
func TestVersionsByPath(t *testing.T) {
	t.Parallel()
	f := indexed(t, plainScan("s", `{"owner": "ann"}`), plainScan("tl/m", `{"owner": "ann"}`), files{"tl/timelapse.json": `{"scans": ["m"]}`})
	ctx := as(t, ann)
	for _, name := range []string{"s", "m"} {
		if err := upload(ctx, f.Service, name, "images", "new", "jpg", "its bytes", ""); err != nil {
			t.Fatal(err)
		}
		// The name of this file is the id of that one.
		if err := upload(ctx, f.Service, name, "images", "new.jpg", "txt", "others", ""); err != nil {
			t.Fatal(err)
		}
	}
	version := func(c *Content, err error) string {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		_ = c.Close() // only read
		return c.Version
	}
	want := fmt.Sprintf("%x", sha256.Sum256([]byte("its bytes")))
	check := func(what string, same bool) {
		t.Helper()
		for name, paths := range map[string][]string{
			"s": {"s/images/new.jpg", "s/images/new"}, "m": {"m/images/new.jpg", "tl/m/images/new.jpg", "tl/m/images/new"},
		} {
			byID := version(f.OpenFile(ctx, name, "images", "new"))
			if (byID == want) != same {
				t.Errorf("%s: version of %s = %q, the digest of the bytes: %v, want %v", what, name, byID, !same, same)
			}
			for _, path := range paths {
				if got := version(f.OpenAsset(ctx, path)); got != byID {
					t.Errorf("%s: version of %s = %q, want %q as by its id", what, path, got, byID)
				}
			}
		}
	}
	check("after the upload", true)
	files{"s/images/new.jpg": "sti bytes", "tl/m/images/new.jpg": "sti bytes"}.write(t, f.dir)
	later := time.Now().Add(time.Second)
	for _, file := range []string{"s/images/new.jpg", "tl/m/images/new.jpg"} {
		if err := os.Chtimes(filepath.Join(f.dir, file), later, later); err != nil {
			t.Fatal(err)
		}
	}
	check("after another program wrote as many bytes", false)
}

// A private scan shows nowhere: no reading method answers for it, or says
// anything that it does not say of a scan that is not there.
func TestPrivateIsUnknownEverywhere(t *testing.T) {
	t.Parallel()
	f := indexed(t, plainScan("p", `{"owner": "ann", "visibility": "private", "sharing": ["lab"]}`),
		plainScan("tl/q", `{"owner": "ann", "visibility": "private", "timelapse": {"id": "tl"}}`), files{"tl/timelapse.json": `{"scans": ["q"]}`})
	u := Update{Metadata: []byte(`{"a": 1}`)}
	one := map[string]func(ctx context.Context, name string) error{
		"Info":            func(ctx context.Context, n string) error { _, err := f.Info(ctx, n); return err },
		"Metadata":        func(ctx context.Context, n string) error { _, err := f.Metadata(ctx, n); return err },
		"FilesetNames":    func(ctx context.Context, n string) error { _, err := f.FilesetNames(ctx, n, Query{}); return err },
		"FilesetMetadata": func(ctx context.Context, n string) error { _, err := f.FilesetMetadata(ctx, n, "images"); return err },
		"FileNames": func(ctx context.Context, n string) error {
			_, err := f.FileNames(ctx, n, "images", Query{})
			return err
		},
		"FileMetadata": func(ctx context.Context, n string) error {
			_, err := f.FileMetadata(ctx, n, "images", "00000_rgb")
			return err
		},
		"OpenFile": func(ctx context.Context, n string) error {
			_, err := f.OpenFile(ctx, n, "images", "00000_rgb")
			return err
		},
		"OpenAsset":     func(ctx context.Context, n string) error { _, err := f.OpenAsset(ctx, n+"/files.json"); return err },
		"RefreshScan":   f.RefreshScan,
		"CreateFileset": func(ctx context.Context, n string) error { return f.CreateFileset(ctx, n, "x", nil) },
		"SetMetadata":   func(ctx context.Context, n string) error { _, err := f.SetMetadata(ctx, n, u); return err },
		"SetFilesetMetadata": func(ctx context.Context, n string) error {
			_, err := f.SetFilesetMetadata(ctx, n, "images", u)
			return err
		},
		"SetFileMetadata": func(ctx context.Context, n string) error {
			_, err := f.SetFileMetadata(ctx, n, "images", "00000_rgb", u)
			return err
		},
		"BeginUpload": func(ctx context.Context, n string) error { _, err := f.BeginUpload(ctx, n, "images", "x"); return err },
	}
	words := must[Filter](t)(ParseFilter("ann", false))
	lists := map[string]func(ctx context.Context) (int, error){
		"Names": func(ctx context.Context) (int, error) { l, err := f.Names(ctx, Query{}); return len(l), err },
		"Names filtered": func(ctx context.Context) (int, error) {
			l, err := f.Names(ctx, Query{Filter: words})
			return len(l), err
		},
		"Names sorted": func(ctx context.Context) (int, error) { l, err := f.Names(ctx, Query{Sort: byDue}); return len(l), err },
		"Names of series": func(ctx context.Context) (int, error) {
			l, err := f.Names(ctx, Query{Timelapse: "tl"})
			return 2 * len(l), err
		},
		"Infos": func(ctx context.Context) (int, error) {
			l, err := allInfos(ctx, f.Service, Query{})
			return len(l), err
		},
		"Infos filtered": func(ctx context.Context) (int, error) {
			l, err := allInfos(ctx, f.Service, Query{Filter: words})
			return len(l), err
		},
		"Timelapse": func(ctx context.Context) (int, error) {
			tl, err := f.Timelapse(ctx, "tl")
			return len(tl.Scans) + tl.Counts.Scans, err
		},
		"TimelapseScans": func(ctx context.Context) (int, error) {
			l, err := f.TimelapseScans(ctx, "tl", Query{})
			return 2 * len(l), err
		},
	}
	for _, a := range []actor.Actor{guest, rita, bob, nobody, scoped(bob, "*", actor.Read, actor.Write)} {
		for what, call := range one {
			for _, name := range []string{"p", "q"} {
				err, absent := call(as(t, a), name), call(as(t, a), "absent")
				if err == nil || absent == nil || err.Error() != strings.ReplaceAll(absent.Error(), "absent", name) {
					t.Errorf("%s(%s, %s) = %v, want what it says of an absent one: %v", what, a.Username, name, err, absent)
				}
			}
		}
		for what, list := range lists {
			if n, err := list(as(t, a)); err != nil || n != 0 {
				t.Errorf("%s(%s) shows %d, %v, want none", what, a.Username, n, err)
			}
		}
	}
	for what, list := range lists {
		if n, err := list(as(t, ann)); err != nil || n != 2 {
			t.Errorf("%s(ann) shows %d, %v, want both", what, n, err)
		}
	}
	for what, call := range one {
		if err := call(as(t, ann), "p"); err != nil {
			t.Errorf("%s(ann, p) = %v", what, err)
		}
		// The lab may read, and write, what is shared with it.
		if err := call(as(t, lars), "p"); err != nil && what != "CreateFileset" { // ann has made it
			t.Errorf("%s(lars, p) = %v", what, err)
		}
	}
}

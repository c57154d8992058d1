package fsdb

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

func TestReadMetadata(t *testing.T) {
	t.Parallel()
	tree := newTree(t, legacy().under("s"), files{"s/metadata/PointCloud_1_0/PointCloud.json": "{\"a\":", "out.json": "{}"})
	link("../../out.json", "metadata/Masks.json")(t, filepath.Join(tree.Dir(), "s"))
	s := Loc{Scan: "s"}
	for name, tt := range map[string]struct {
		read func() (json.RawMessage, error)
		want string
		err  error
	}{
		"scan":         {func() (json.RawMessage, error) { return tree.ReadScanMetadata(ctx, s) }, `{"owner":"ann","object":{"species":"Arabidopsis"}}`, nil},
		"missing scan": {func() (json.RawMessage, error) { return tree.ReadScanMetadata(ctx, Loc{Scan: "nope"}) }, "", ErrNotFound},
		"fileset":      {func() (json.RawMessage, error) { return tree.ReadFilesetMetadata(ctx, s, "images") }, `{"workspace":{"x":[0,1]}}`, nil},
		"none yet":     {func() (json.RawMessage, error) { return tree.ReadFilesetMetadata(ctx, s, "PointCloud_1_0") }, `{}`, nil},
		"no name":      {func() (json.RawMessage, error) { return tree.ReadFilesetMetadata(ctx, s, "../x") }, "", ErrNotFound},
		"file":         {func() (json.RawMessage, error) { return tree.ReadFileMetadata(ctx, s, "images", "00000_rgb") }, `{"channel":"rgb","n":null}`, nil},
		"torn":         {func() (json.RawMessage, error) { return tree.ReadFileMetadata(ctx, s, "PointCloud_1_0", "PointCloud") }, "", ErrBroken},
		"no file name": {func() (json.RawMessage, error) { return tree.ReadFileMetadata(ctx, s, "images", "..") }, "", ErrNotFound},
	} {
		if got, err := tt.read(); string(got) != tt.want || !errors.Is(err, tt.err) {
			t.Errorf("%s: %s, %v, want %s, %v", name, got, err, tt.want, tt.err)
		}
	}
	if got, err := tree.ReadFilesetMetadata(ctx, s, "Masks"); !errors.Is(err, ErrBroken) {
		t.Errorf("ReadFilesetMetadata(a link out of the scan) = %s, %v, want ErrBroken", got, err)
	}
	canceled, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := tree.ReadScanMetadata(canceled, s); !errors.Is(err, context.Canceled) {
		t.Errorf("ReadScanMetadata(canceled) = %v, want context.Canceled", err)
	}
}

// A Python program that changes metadata empties the file and writes it anew.
// Who is about to change it, too, waits for that.
func TestReadMetadataMeanwhileWritten(t *testing.T) {
	t.Parallel()
	tree := newTree(t, legacy().under("s"))
	path := filepath.Join(tree.Dir(), "s", "metadata", "images.json")
	for _, half := range []string{"", `{"a": [1, `} {
		if err := os.WriteFile(path, []byte(half), 0o600); err != nil {
			t.Fatal(err)
		}
		const whole = `{"a":[1,2]}`
		time.AfterFunc(20*time.Millisecond, func() {
			if err := os.WriteFile(path, []byte(whole), 0o600); err != nil {
				t.Error(err)
			}
		})
		got, err := tree.ReadFilesetMetadata(ctx, Loc{Scan: "s"}, "images")
		if string(got) != whole || err != nil {
			t.Errorf("ReadFilesetMetadata(%q that becomes whole) = %s, %v, want %s", half, got, err, whole)
		}
	}
}

// TestStagedModified holds that a row written from the staged content says the
// same as one read from the tree later.
func TestStagedModified(t *testing.T) {
	t.Parallel()
	tree := newTree(t, legacy().under("s"))
	content := stage(t, tree, "x")
	if err := tree.ReplaceFile(ctx, Loc{Scan: "s"}, "images", "00000_rgb", content); err != nil {
		t.Fatal(err)
	}
	info := must[os.FileInfo](t)(os.Stat(filepath.Join(tree.Dir(), "s/images/00000_rgb.jpg")))
	if !content.Modified().Equal(info.ModTime()) {
		t.Errorf("Modified() = %v, the file has %v", content.Modified(), info.ModTime())
	}
}

func TestSignerDamage(t *testing.T) {
	t.Parallel()
	s := newSigner()
	before := s.sum.Sum(nil)
	if err := s.damage(syscall.EACCES); err != nil || string(s.sum.Sum(nil)) == string(before) {
		t.Errorf("damage(EACCES) = %v, want it in the signature", err)
	}
	if err := s.damage(syscall.EMFILE); !errors.Is(err, syscall.EMFILE) {
		t.Errorf("damage(EMFILE) = %v, want it back: it says nothing about the scan", err)
	}
}

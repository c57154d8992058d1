package main_test

import (
	"bytes"
	"errors"
	"image"
	"image/png"
	"net/http"
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

// envDisk makes this test binary the one that may mount, and names the
// database to use.
const envDisk = "PLANTDB_TEST_DISK"

// TestDiskFull serves a tree on a file system of 8 MiB. Mounting one takes
// root, so anybody else runs the test again as the root of a name space of
// their own. Where the kernel forbids that too, it is left to package fsdb to
// hold that a full disk is this error and leaves nothing behind.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	url, again := os.LookupEnv(envDisk)
	if !again {
		url = pgtest.URL(t)
	}
	dir := servertest.Dir(t)
	switch err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=8m"); {
	case err == nil:
	case errors.Is(err, syscall.EPERM) && !again:
		becomeRoot(t, url)
		return
	default:
		t.Fatalf("mount a small file system: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Errorf("unmount %s: %v", dir, err)
		}
	})
	testDiskFull(t, benchIn(t, dir, url))
}

// becomeRoot runs the test in a name space in which it may mount.
func becomeRoot(t *testing.T, url string) {
	t.Helper()
	if err := exec.CommandContext(t.Context(), "unshare", "-Urm", "true").Run(); err != nil {
		t.Logf("neither root nor allowed to have a name space of our own (%v): only fsdb's tests see a full disk", err)
		return
	}
	again := exec.CommandContext(t.Context(), "unshare", "-Urm", os.Args[0], "-test.run=^TestDiskFull$", "-test.count=1")
	again.Env = append(os.Environ(), envDisk+"="+url)
	if said, err := again.CombinedOutput(); err != nil {
		t.Errorf("as root of a name space: %v\n%s", err, said)
	}
}

func testDiskFull(t *testing.T, b *bench) {
	t.Helper()
	admin := b.callers["admin"]
	var photo bytes.Buffer
	if err := png.Encode(&photo, image.NewGray(image.Rect(0, 0, 640, 480))); err != nil {
		t.Fatal(err)
	}
	contentType, body := form(t, photo.String(), "ext", "png")
	if a := admin.send(t, http.MethodPost, "/files/kept/images/picture", contentType, body); a.Status != http.StatusCreated {
		t.Fatalf("upload = %d %s", a.Status, a.Text)
	}
	const thumbnail = "/assets/image/kept/images/picture?size=thumb"
	if a := admin.get(t, thumbnail); a.Status != http.StatusOK {
		t.Fatalf("thumbnail = %d %s", a.Status, a.Text)
	}
	before := treeOf(t, b.dir)
	checkProblem(t, admin.upload(t, "/files/kept/images/large", strings.Repeat("x", 16<<20)), http.StatusInsufficientStorage, "no_space")
	if diff := cmp.Diff(before, treeOf(t, b.dir)); diff != "" {
		t.Errorf("upload that filled the disk changed the tree (-before +after):\n%s", diff)
	}

	filler := fill(t, filepath.Join(b.dir, ".plantdb"))
	for name, call := range map[string]func() answer{
		"create a scan":      func() answer { return admin.post(t, "/scans/new", object{}) },
		"create a fileset":   func() answer { return admin.post(t, "/filesets/kept/new", object{}) },
		"create a timelapse": func() answer { return admin.post(t, "/timelapses", object{"id": "new"}) },
		"upload":             func() answer { return admin.upload(t, "/files/kept/images/new", "bytes") },
		"metadata of a scan": func() answer { return admin.post(t, "/scans/kept/metadata", object{"metadata": object{"a": 1}}) },
		"metadata of a set": func() answer {
			return admin.post(t, "/filesets/kept/images/metadata", object{"metadata": object{"a": 1}})
		},
		"metadata of a file": func() answer {
			return admin.post(t, "/files/kept/images/notes/metadata", object{"metadata": object{"a": 1}})
		},
		"scan in a timelapse": func() answer {
			return admin.post(t, "/scans/new", object{"metadata": object{"timelapse": object{"id": "series"}}})
		},
		"upload of much":       func() answer { return admin.upload(t, "/files/kept/images/large", strings.Repeat("x", 16<<20)) },
		"another small upload": func() answer { return admin.upload(t, "/files/kept/images/new", "b") },
	} {
		t.Run(name, func(t *testing.T) { checkProblem(t, call(), http.StatusInsufficientStorage, "no_space") })
	}
	if a := admin.get(t, "/files/kept/images/notes"); a.Text != "some notes" {
		t.Errorf("file of a full disk = %d %s", a.Status, a.Text)
	}
	if a := admin.get(t, thumbnail); a.Status != http.StatusOK {
		t.Errorf("thumbnail on a full disk = %d %s", a.Status, a.Text)
	}
	if a := admin.get(t, "/assets/image/kept/images/picture?size=99"); a.Status != http.StatusOK || len(a.Text) == 0 {
		t.Errorf("thumbnail that cannot be kept on a full disk = %d %s", a.Status, a.Text)
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, treeOf(t, b.dir)); diff != "" {
		t.Errorf("calls on a full disk changed the tree (-before +after):\n%s", diff)
	}
	admin.must(t, http.StatusCreated, "/filesets/kept/new", object{})
	admin.makeScan(t, "new", "some notes")
	if a := admin.get(t, "/scans"); a.Text != "[\"kept\",\"new\"]\n" {
		t.Errorf("scans once there is space = %s", a.Text)
	}
}

// fill writes a file in dir that leaves no space and returns its path.
func fill(t *testing.T, dir string) string {
	t.Helper()
	f, err := os.CreateTemp(dir, "filler")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }() // what counts is that the disk is full
	for block := make([]byte, 1<<20); len(block) > 0; {
		if _, err := f.Write(block); errors.Is(err, syscall.ENOSPC) {
			block = block[:len(block)/2]
		} else if err != nil {
			t.Fatal(err)
		}
	}
	return f.Name()
}

package main_test

import (
	"bytes"
	"errors"
	"fmt"
	"image"
	"image/png"
	"io"
	"mime/multipart"
	"net/http"
	"net/textproto"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/romi/plantdb-go/internal/pgtest"
	"github.com/romi/plantdb-go/internal/servertest"
)

// envDisk makes this test binary the one that may mount, and names the
// database to use.
const envDisk = "PLANTDB_TEST_DISK"

// TestDiskFull serves a tree on a file system of 8 MiB. Where it cannot be
// mounted it is left to package fsdb to hold that a full disk is this error and
// leaves nothing behind.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	onSmallDisk(t, "8m", func(dir, url string) { testDiskFull(t, benchIn(t, dir, url)) }, func(string) {})
}

// TestDiskFullOfDatabase serves a tree whose private PostgreSQL lies on the same
// disk, as it does where no DATABASE_URL is set, and fills the disk under both:
// what needs no room works on, what needs some is refused by name, PostgreSQL comes
// back when it had to give up, and nothing that was acknowledged is lost.
func TestDiskFullOfDatabase(t *testing.T) {
	t.Parallel()
	onSmallDisk(t, "160m", func(dir, _ string) { testDiskFullOfDatabase(t, benchIn(t, dir, "")) }, func(string) {})
}

// onSmallDisk runs fn with a directory that is a file system of that size, and a
// database. Mounting one takes root, so anybody else runs the test again as the
// root of a name space of their own; where the kernel forbids that too, without
// is run in its place.
func onSmallDisk(t *testing.T, size string, fn func(dir, url string), without func(url string)) {
	t.Helper()
	url, again := os.LookupEnv(envDisk)
	if !again {
		url = pgtest.URL(t)
	}
	dir := servertest.Dir(t)
	switch err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "mode=0711,size="+size); {
	case err == nil:
	case errors.Is(err, syscall.EPERM) && !again:
		becomeRoot(t, url, without)
		return
	default:
		t.Fatalf("mount a small file system: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Errorf("unmount %s: %v", dir, err)
		}
	})
	fn(dir, url)
}

// becomeRoot runs the test in a name space in which it may mount.
func becomeRoot(t *testing.T, url string, without func(url string)) {
	t.Helper()
	if err := exec.CommandContext(t.Context(), "unshare", "-Urm", "true").Run(); err != nil {
		t.Logf("neither root nor allowed to have a name space of our own (%v): no file system can be mounted", err)
		without(url)
		return
	}
	again := exec.CommandContext(t.Context(), "unshare", "-Urm", os.Args[0], "-test.run=^"+t.Name()+"$", "-test.count=1")
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
	b.folded(t, "picture")
	before := treeOf(t, b.dir)
	checkProblem(t, admin.upload(t, "/files/kept/images/large", strings.Repeat("x", 16<<20)), http.StatusInsufficientStorage, "no_space")
	if diff := cmp.Diff(before, treeOf(t, b.dir)); diff != "" {
		t.Errorf("upload that filled the disk changed the tree (-before +after):\n%s", diff)
	}

	all := b.prepare(t)
	all.busyAll(t)
	filler := servertest.Fill(t, filepath.Join(b.dir, ".plantdb"))
	for name, size := range map[string]int{"large": 16 << 20, "small": 1} {
		checkProblem(t, admin.upload(t, "/files/kept/images/"+name, strings.Repeat("x", size)), http.StatusInsufficientStorage, "no_space")
	}
	done := all.refuseAll(t, func(w write) bool { return w.roomless }, "507 no_space")
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
	all.writeAll(t, done)
	all.tidy(t)
	if got := servertest.Run(t, servertest.Options{Env: []string{"ROMI_DB=" + b.dir, "DATABASE_URL=" + b.database}}, "check", "--digests"); got.Code != 0 {
		t.Errorf("check afterwards finds\n%s%s", got.Stdout, got.Stderr)
	}
	b.server.Stop()
	opened(t, "plantdb-commons==0.17.0", b.dir, treeOf(t, b.dir), "gone", "kept", "new", "unpacked")
}

func testDiskFullOfDatabase(t *testing.T, b *bench) {
	t.Helper()
	admin := b.callers["admin"]
	const uploads = 20
	for n := range uploads {
		if a := admin.upload(t, fmt.Sprint("/files/kept/images/before", n), fmt.Sprint("bytes ", n)); a.Status != http.StatusCreated {
			t.Fatalf("upload = %d %s", a.Status, a.Text)
		}
	}
	all := b.prepare(t)
	filler := servertest.Fill(t, filepath.Join(b.dir, ".plantdb"))
	checkProblem(t, admin.upload(t, "/files/kept/images/large", strings.Repeat("x", 1<<20)), http.StatusInsufficientStorage, "no_space")
	// PostgreSQL makes room now and then, and deletions do.
	done := map[string]bool{}
	all.tryAll(t, done, "507 no_space", "503 database_full")
	// Each session is a row: at some point their table has no room.
	for full := false; !full; {
		a := caller{base: b.server.URL}.post(t, "/auth/login", object{"username": "reader", "password": "reader-pass"})
		if full = a.Status != http.StatusOK; full {
			checkProblem(t, a, http.StatusServiceUnavailable, "database_full")
		}
	}
	for n := range uploads {
		if a := admin.get(t, fmt.Sprint("/files/kept/images/before", n)); a.Text != fmt.Sprint("bytes ", n) {
			t.Errorf("file %d of a full disk = %d %s", n, a.Status, a.Text)
		}
	}
	// Its log of changes has no room either, and PostgreSQL gives up.
	b.writeMuchLog(t)
	if a := admin.get(t, "/files/kept/images/notes"); a.Status != http.StatusOK && a.Status != http.StatusServiceUnavailable {
		t.Errorf("without PostgreSQL = %d %s", a.Status, a.Text)
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	a := admin.upload(t, "/files/kept/images/last", "bytes")
	for a.Status == http.StatusServiceUnavailable || a.Status == http.StatusInsufficientStorage {
		a = admin.upload(t, "/files/kept/images/last", "bytes")
	}
	if a.Status != http.StatusCreated {
		t.Errorf("upload once there is room = %d %s", a.Status, a.Text)
	}
	all.tryAll(t, done)
	all.tidy(t)
	for n := range uploads {
		if a := admin.get(t, fmt.Sprint("/files/kept/images/before", n)); a.Text != fmt.Sprint("bytes ", n) {
			t.Errorf("file %d once there is room = %d %s", n, a.Status, a.Text)
		}
	}
	if got := servertest.Run(t, servertest.Options{Env: []string{"ROMI_DB=" + b.dir, "DATABASE_URL="}}, "check", "--digests"); got.Code != 0 {
		t.Errorf("check afterwards finds\n%s%s", got.Stdout, got.Stderr)
	}
	b.server.Stop()
	opened(t, "plantdb-commons==0.17.0", b.dir, treeOf(t, b.dir), "gone", "kept", "new", "unpacked")
}

// writeMuchLog makes the private PostgreSQL write more than its log has room for.
func (b *bench) writeMuchLog(t *testing.T) {
	t.Helper()
	home := filepath.Join(b.dir, ".plantdb/postgres")
	password, err := os.ReadFile(filepath.Join(home, "password"))
	if err != nil {
		t.Fatal(err)
	}
	conn, err := pgx.Connect(t.Context(), fmt.Sprintf("host=%s/run user=plantdb password=%s dbname=plantdb", home, strings.TrimSpace(string(password))))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(t.Context()) }() // lost already
	for err == nil {
		_, err = conn.Exec(t.Context(), "SELECT pg_logical_emit_message(true, 'filler', repeat('x', 4000000))")
	}
}

// TestDiskReadOnly has the disk of a running server become read-only, as a file
// system does that found an error of its own, and writable again. Meanwhile
// every write is a 503 that says so, and all that was acknowledged can be read;
// afterwards all works, without a start.
func TestDiskReadOnly(t *testing.T) {
	t.Parallel()
	onSmallDisk(t, "8m", func(dir, url string) {
		testDiskReadOnly(t, benchIn(t, dir, url), func(readOnly bool) { remount(t, dir, readOnly) })
	}, func(url string) { // who is not root is kept out by the permissions of directories
		dir := servertest.Dir(t)
		testDiskReadOnly(t, benchIn(t, dir, url), func(readOnly bool) { permit(t, dir, readOnly) })
	})
}

func remount(t *testing.T, dir string, readOnly bool) {
	t.Helper()
	flags := uintptr(syscall.MS_REMOUNT)
	if readOnly {
		flags |= syscall.MS_RDONLY
	}
	eventually(t, "the file system is mounted anew", func() string {
		if err := syscall.Mount("tmpfs", dir, "tmpfs", flags, "size=8m"); err != nil {
			return err.Error() // something is open for writing yet
		}
		return ""
	})
}

// permit takes the right to change directories and files away, or gives it back.
func permit(t *testing.T, dir string, readOnly bool) {
	t.Helper()
	change := func(path string) {
		info, err := os.Lstat(path)
		if err != nil {
			t.Fatal(err)
		}
		mode := info.Mode().Perm() | 0o200
		if readOnly {
			mode &^= 0o222
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && d.Type()&os.ModeSymlink == 0 {
			change(path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func testDiskReadOnly(t *testing.T, b *bench, set func(readOnly bool)) {
	t.Helper()
	admin := b.callers["admin"]
	for _, name := range []string{"before", "another"} {
		if a := admin.upload(t, "/files/kept/images/"+name, "the bytes of "+name); a.Status != http.StatusCreated {
			t.Fatalf("upload = %d %s", a.Status, a.Text)
		}
	}
	deleted := admin.send(t, http.MethodDelete, "/files/kept/images/before", "", nil)
	entry, _ := deleted.Body["trash"].(map[string]any)
	id, _ := entry["id"].(string)
	if deleted.Status != http.StatusOK || id == "" {
		t.Fatalf("delete = %d %s", deleted.Status, deleted.Text)
	}
	all := b.prepare(t)
	scans := admin.get(t, "/scans").Text
	index, err := os.ReadFile(filepath.Join(b.dir, "kept/files.json"))
	if err != nil {
		t.Fatal(err)
	}
	before := treeOf(t, b.dir)
	set(true)
	t.Cleanup(func() { set(false) }) // so that it can be removed
	all.refuseAll(t, func(write) bool { return false }, "503 read_only")
	for path, want := range map[string]string{
		"/files/kept/images/notes": "some notes", "/files/kept/images/another": "the bytes of another", "/scans": scans,
		"/assets/files/kept/files.json": string(index),
	} {
		if a := admin.get(t, path); a.Status != http.StatusOK || a.Text != want {
			t.Errorf("GET %s on a read-only disk = %d %s, want %s", path, a.Status, a.Text, want)
		}
	}
	for _, path := range []string{"/health", "/trash", "/scans/kept", "/locks", "/refresh", "/assets/archive/kept"} {
		if a := admin.get(t, path); a.Status != http.StatusOK {
			t.Errorf("GET %s on a read-only disk = %d %s", path, a.Status, a.Text)
		}
	}
	login(t, b.server, "admin", "admin")
	if diff := cmp.Diff(before, treeOf(t, b.dir)); diff != "" {
		t.Errorf("calls on a read-only disk changed the tree (-before +after):\n%s", diff)
	}
	o := servertest.Options{Env: []string{"ROMI_DB=" + b.dir, "DATABASE_URL=" + b.database}}
	if got := servertest.Run(t, o, "check"); got.Code != 0 {
		t.Errorf("check of a read-only tree finds\n%s%s", got.Stdout, got.Stderr)
	}
	set(false)
	if a := admin.post(t, "/trash/"+id+"/restore", object{}); a.Status != http.StatusOK {
		t.Errorf("restore once the disk is writable = %d %s", a.Status, a.Text)
	}
	all.writeAll(t, nil)
	if a := admin.get(t, "/files/kept/images/before"); a.Text != "the bytes of before" {
		t.Errorf("the restored file = %d %s", a.Status, a.Text)
	}
	if got := servertest.Run(t, o, "check", "--digests"); got.Code != 0 {
		t.Errorf("check afterwards finds\n%s%s", got.Stdout, got.Stderr)
	}
}

// sendArchive sends the archive of a scan.
func (c caller) sendArchive(t *testing.T, scan, archive string) answer {
	t.Helper()
	var body bytes.Buffer
	w := multipart.NewWriter(&body)
	part, err := w.CreatePart(textproto.MIMEHeader{
		"Content-Disposition": {`form-data; name="zip_file"; filename="scan.zip"`}, "Content-Type": {"application/zip"},
	})
	if err == nil {
		_, err = io.WriteString(part, archive)
	}
	if err := errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	return c.send(t, http.MethodPost, "/assets/archive/"+scan, w.FormDataContentType(), &body)
}

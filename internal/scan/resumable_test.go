package scan

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/romi/plantdb-go/internal/actor"
	"github.com/romi/plantdb-go/internal/fsdb"
	"github.com/romi/plantdb-go/internal/pgtest"
)

func newUpload(file string, size int) NewResumable {
	return NewResumable{
		Scan: "s", Fileset: "images", File: file, Extension: ".PNG", Size: int64(size),
		Metadata: json.RawMessage(`{"channel":"rgb"}`), Described: "as it came",
	}
}

func begin(t *testing.T, f fixture, file string, size int) uuid.UUID {
	t.Helper()
	return must[Resumable](t)(f.CreateResumable(as(t, ann), newUpload(file, size))).ID
}

func piece(at int, content string) Piece {
	return Piece{At: int64(at), Content: strings.NewReader(content)}
}

// checked is a first piece that must have that SHA-256.
func checked(content io.Reader, want []byte) Piece {
	sum := sha256.New()
	return Piece{Content: io.TeeReader(content, sum), Check: func() error {
		if !bytes.Equal(sum.Sum(nil), want) {
			return ErrChecksum
		}
		return nil
	}}
}

// left returns what lies below .plantdb but the cache.
func (f fixture) left(t *testing.T) []string {
	t.Helper()
	var names []string
	for _, dir := range []string{"staging", "uploads"} {
		entries, err := os.ReadDir(filepath.Join(f.dir, ".plantdb", dir))
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		for _, e := range entries {
			names = append(names, dir+"/"+e.Name())
		}
	}
	return names
}

// broken reads some bytes and then fails, as a connection that is cut.
type broken struct {
	r io.Reader
}

var errCut = errors.New("cut")

func (b broken) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	if errors.Is(err, io.EOF) {
		err = errCut
	}
	return n, err
}

func TestResumable(t *testing.T) {
	t.Parallel()
	f := indexed(t, plainScan("s", `{"owner":"ann"}`))
	const text = "the bytes of a file that comes in pieces"
	id := begin(t, f, "new", len(text))
	for at := 0; at < len(text); at += 7 {
		got := must[Resumable](t)(f.Resumable(as(t, ann), id))
		if got.Received != int64(at) || got.Finished || got.Described != "as it came" {
			t.Fatalf("Resumable = %+v, want %d received", got, at)
		}
		if sum, want := must[[]byte](t)(got.SHA256()), sha256.Sum256([]byte(text[:at])); !bytes.Equal(sum, want[:]) {
			t.Fatalf("SHA256 after %d bytes = %x, want %x", at, sum, want)
		}
		end := min(at+7, len(text))
		got, err := f.Resume(as(t, ann), id, piece(at, text[at:end]))
		if err != nil || got.Received != int64(end) || got.Finished != (end == len(text)) {
			t.Fatalf("Resume at %d = %+v, %v", at, got, err)
		}
	}
	if got := f.read(t, "s/images/new.png"); got != text {
		t.Errorf("the file holds %q, want %q", got, text)
	}
	file := must[*Content](t)(f.OpenFile(as(t, ann), "s", "images", "new"))
	if err := file.Close(); err != nil {
		t.Error(err)
	}
	if want := fmt.Sprintf("%x", sha256.Sum256([]byte(text))); file.Version != want {
		t.Errorf("version = %s, want the digest %s", file.Version, want)
	}
	if shown := decode(t, must[json.RawMessage](t)(f.FileMetadata(as(t, ann), "s", "images", "new"))); shown["channel"] != "rgb" || shown["created_by"] != "Ann Other" {
		t.Errorf("metadata = %v", shown)
	}
	// Whoever lost the answer gets it again.
	for range 2 {
		if got, err := f.Resume(as(t, ann), id, piece(len(text), "")); err != nil || !got.Finished {
			t.Errorf("the last piece again = %+v, %v, want finished", got, err)
		}
		if got, err := f.Resumable(as(t, ann), id); err != nil || !got.Finished || got.Received != int64(len(text)) || fmt.Sprintf("%x", must[[]byte](t)(got.SHA256())) != fmt.Sprintf("%x", sha256.Sum256([]byte(text))) {
			t.Errorf("Resumable of a finished one = %+v, %v", got, err)
		}
	}
	if left := f.left(t); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
	if err := f.EndResumable(as(t, ann), id); err != nil {
		t.Errorf("EndResumable of a finished one = %v", err)
	}
	if got := f.read(t, "s/images/new.png"); got != text {
		t.Error("ending the upload took the file away")
	}
}

func TestResumableRefuses(t *testing.T) {
	t.Parallel()
	f := indexed(t, plainScan("s", `{"owner":"ann"}`), plainScan("hidden", `{"owner":"bob","visibility":"private"}`))
	with := func(change func(*NewResumable)) NewResumable {
		n := newUpload("new", 10)
		change(&n)
		return n
	}
	for name, tt := range map[string]struct {
		a    actor.Actor
		n    NewResumable
		want error
	}{
		"guest":         {guest, newUpload("new", 10), ErrNoActor},
		"a reader":      {rita, newUpload("new", 10), ErrForbidden},
		"hidden":        {ann, with(func(n *NewResumable) { n.Scan = "hidden" }), ErrUnknownScan},
		"no fileset":    {ann, with(func(n *NewResumable) { n.Fileset = "nope" }), ErrUnknownFileset},
		"there":         {ann, newUpload("00000_rgb", 10), ErrFileExists},
		"a bad name":    {ann, newUpload("a b", 10), fsdb.ErrName},
		"extension":     {ann, with(func(n *NewResumable) { n.Extension = "exe" }), ErrExtension},
		"metadata":      {ann, with(func(n *NewResumable) { n.Metadata = json.RawMessage(`[1]`) }), ErrMetadata},
		"empty":         {ann, newUpload("new", 0), ErrEmptyFile},
		"too large":     {ann, with(func(n *NewResumable) { n.Size = 8<<30 + 1 }), fsdb.ErrTooLarge},
		"less than one": {ann, newUpload("new", -1), ErrEmptyFile},
	} {
		if _, err := f.CreateResumable(as(t, tt.a), tt.n); !errors.Is(err, tt.want) {
			t.Errorf("%s: CreateResumable = %v, want %v", name, err, tt.want)
		}
	}
	if left := f.left(t); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
	id := begin(t, f, "new", 10)
	for name, tt := range map[string]struct {
		a     actor.Actor
		id    uuid.UUID
		piece Piece
		want  error
	}{
		"another's":      {bob, id, piece(0, "x"), ErrUnknownUpload},
		"guest":          {guest, id, piece(0, "x"), ErrUnknownUpload},
		"unknown":        {ann, uuid.New(), piece(0, "x"), ErrUnknownUpload},
		"ahead":          {ann, id, piece(1, "x"), ErrUploadOffset},
		"too long":       {ann, id, piece(0, "01234567890"), ErrUploadTooLong},
		"a checksum":     {ann, id, checked(strings.NewReader("01234"), []byte("no")), ErrChecksum},
		"a cut checksum": {ann, id, checked(broken{strings.NewReader("01234")}, []byte("no")), errCut},
	} {
		if _, err := f.Resume(as(t, tt.a), tt.id, tt.piece); !errors.Is(err, tt.want) {
			t.Errorf("%s: Resume = %v, want %v", name, err, tt.want)
		}
		if got := must[Resumable](t)(f.Resumable(as(t, ann), id)); got.Received != 0 {
			t.Errorf("%s: %d bytes were taken all the same", name, got.Received)
		}
	}
	if _, err := f.Resumable(as(t, bob), id); !errors.Is(err, ErrUnknownUpload) {
		t.Errorf("Resumable of another's = %v, want ErrUnknownUpload", err)
	}
	if err := f.EndResumable(as(t, bob), id); !errors.Is(err, ErrUnknownUpload) {
		t.Errorf("EndResumable of another's = %v, want ErrUnknownUpload", err)
	}
	sum := sha256.Sum256([]byte("0123456789"))
	if got, err := f.Resume(as(t, ann), id, checked(strings.NewReader("0123456789"), sum[:])); err != nil || !got.Finished {
		t.Errorf("Resume with a right checksum = %+v, %v", got, err)
	}
}

// A connection that is cut at any byte loses nothing that came before it.
func TestResumableCut(t *testing.T) {
	t.Parallel()
	f := indexed(t, plainScan("s", `{"owner":"ann"}`))
	content := make([]byte, 700_000)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(content) // never fails
	chance := rand.New(rand.NewPCG(1, 2))
	id := begin(t, f, "new", len(content))
	for cuts := 0; ; cuts++ {
		at := int(must[Resumable](t)(f.Resumable(as(t, ann), id)).Received)
		end := min(len(content), at+1+chance.IntN(100_000))
		if cuts > 5 {
			end = len(content)
		}
		ctx, cancel := context.WithCancel(as(t, ann))
		if end < len(content) {
			_, err := f.Resume(ctx, id, Piece{At: int64(at), Content: broken{bytes.NewReader(content[at:end])}})
			if !errors.Is(err, errCut) {
				t.Errorf("Resume of what is cut = %v, want the cut", err)
			}
			cancel()
			continue
		}
		got, err := f.Resume(ctx, id, Piece{At: int64(at), Content: bytes.NewReader(content[at:])})
		cancel()
		if err != nil || !got.Finished {
			t.Fatalf("Resume to the end = %+v, %v", got, err)
		}
		break
	}
	if got := f.read(t, "s/images/new.png"); got != string(content) {
		t.Error("the file is not what was sent")
	}
	if left := f.left(t); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

// Of two that write at once one does.
func TestResumableAtOnce(t *testing.T) {
	t.Parallel()
	f := indexed(t, plainScan("s", `{"owner":"ann"}`))
	id := begin(t, f, "new", 10)
	r, w := io.Pipe()
	done := make(chan error, 1)
	go func() {
		_, err := f.Resume(as(t, ann), id, Piece{Content: r})
		done <- err
	}()
	if _, err := io.WriteString(w, "01234"); err != nil { // it is being read: the lock is held
		t.Fatal(err)
	}
	for name, fn := range map[string]func() error{
		"Resume":       func() error { _, err := f.Resume(as(t, ann), id, piece(0, "0123456789")); return err },
		"EndResumable": func() error { return f.EndResumable(as(t, ann), id) },
	} {
		if err := fn(); !errors.Is(err, ErrUploadBusy) {
			t.Errorf("%s beside another = %v, want ErrUploadBusy", name, err)
		}
	}
	if _, err := f.Resumable(as(t, ann), id); err != nil {
		t.Errorf("Resumable beside another = %v", err)
	}
	if _, err := io.WriteString(w, "56789"); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(w.Close(), <-done); err != nil {
		t.Fatal(err)
	}
	if got := f.read(t, "s/images/new.png"); got != "0123456789" {
		t.Errorf("the file holds %q", got)
	}

	id = begin(t, f, "many", 10)
	var group sync.WaitGroup
	errs := make([]error, 8)
	for i := range errs {
		group.Go(func() { _, errs[i] = f.Resume(as(t, ann), id, piece(0, "abcdefghij")) })
	}
	group.Wait()
	taken := 0
	for _, err := range errs {
		switch {
		case err == nil:
			taken++
		case !errors.Is(err, ErrUploadOffset) && !errors.Is(err, ErrUploadBusy):
			t.Errorf("one of many = %v, want it refused", err)
		}
	}
	if taken != 1 || f.read(t, "s/images/many.png") != "abcdefghij" {
		t.Errorf("%d of 8 were taken, want 1", taken)
	}
}

// An upload whose last step fails keeps its bytes, and is tried again by the
// next who asks; one whose server ended between the file and its row is known
// by its bytes.
func TestResumableFinishesLater(t *testing.T) {
	t.Parallel()
	f := indexed(t, plainScan("s", `{"owner":"ann"}`))
	id, other := begin(t, f, "new", 5), begin(t, f, "new", 5)
	path := filepath.Join(f.dir, "s/files.json")
	index := f.read(t, "s/files.json")
	if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Resume(as(t, ann), id, piece(0, "abcde")); !errors.Is(err, fsdb.ErrBroken) {
		t.Fatalf("Resume into a broken scan = %v, want ErrBroken", err)
	}
	if _, err := f.Resumable(as(t, ann), id); !errors.Is(err, fsdb.ErrBroken) {
		t.Errorf("Resumable = %v, want ErrBroken again: it must not look finished", err)
	}
	if err := os.WriteFile(path, []byte(index), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := f.Resumable(as(t, ann), id); err != nil || !got.Finished {
		t.Fatalf("Resumable once the scan is mended = %+v, %v, want finished", got, err)
	}
	// The same bytes: as if its own first attempt had made the file.
	if got, err := f.Resume(as(t, ann), other, piece(0, "abcde")); err != nil || !got.Finished {
		t.Errorf("Resume of what is there = %+v, %v, want finished", got, err)
	}
	if left := f.left(t); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
	third := NewResumable{Scan: "s", Fileset: "images", File: "third", Extension: "png", Size: 5}
	a := must[Resumable](t)(f.CreateResumable(as(t, ann), third)).ID
	b := must[Resumable](t)(f.CreateResumable(as(t, ann), third)).ID
	if _, err := f.Resume(as(t, ann), a, piece(0, "abcde")); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Resume(as(t, ann), b, piece(0, "fghij")); !errors.Is(err, ErrFileExists) {
		t.Errorf("Resume to other bytes of the same id = %v, want ErrFileExists", err)
	}
	if err := f.EndResumable(as(t, ann), b); err != nil {
		t.Errorf("EndResumable = %v", err)
	}
	// The same bytes with other metadata, or of somebody else, are another file: to say
	// that it is there would lose what was said of it.
	otherwise := newUpload("said", 5)
	otherwise.Metadata = json.RawMessage(`{"channel":"depth"}`)
	first := begin(t, f, "said", 5)
	c := must[Resumable](t)(f.CreateResumable(as(t, ann), otherwise)).ID
	d := must[Resumable](t)(f.CreateResumable(as(t, bob), newUpload("said", 5))).ID
	if _, err := f.Resume(as(t, ann), first, piece(0, "abcde")); err != nil {
		t.Fatal(err)
	}
	for who, id := range map[string]uuid.UUID{"ann": c, "bob": d} {
		ctx := as(t, map[string]actor.Actor{"ann": ann, "bob": bob}[who])
		if _, err := f.Resume(ctx, id, piece(0, "abcde")); !errors.Is(err, ErrFileExists) {
			t.Errorf("Resume by %s to a file with other metadata = %v, want ErrFileExists", who, err)
		}
		if err := f.EndResumable(ctx, id); err != nil {
			t.Errorf("EndResumable by %s = %v", who, err)
		}
	}
	if left := f.left(t); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

// Who lost the right meanwhile cannot finish.
func TestResumableAsksAgain(t *testing.T) {
	t.Parallel()
	f := indexed(t, plainScan("s", `{"owner":"bob","sharing":["lab"]}`))
	id := must[Resumable](t)(f.CreateResumable(as(t, lars), newUpload("new", 5))).ID
	if _, err := f.SetSharing(as(t, bob), "s", nil, Match{}); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Resume(as(t, lars), id, piece(0, "abcde")); !errors.Is(err, ErrForbidden) {
		t.Errorf("Resume to the end = %v, want ErrForbidden", err)
	}
	if _, err := os.Stat(filepath.Join(f.dir, "s/images/new.png")); !os.IsNotExist(err) {
		t.Errorf("the file is there: %v", err)
	}
}

// An upload whose bytes cannot be had is said, and keeps no other from its end.
func TestSweepOfUploadsGoesOn(t *testing.T) {
	t.Parallel()
	f := indexed(t, plainScan("s", `{"owner":"ann"}`))
	var ids []uuid.UUID
	for _, name := range []string{"a", "b", "c"} {
		ids = append(ids, begin(t, f, name, 10))
	}
	// A directory stands for a file that the disk cannot open.
	bad := filepath.Join(f.dir, ".plantdb/uploads", ids[1].String())
	if err := errors.Join(os.Remove(bad), os.Mkdir(bad, 0o700)); err != nil {
		t.Fatal(err)
	}
	system := as(t, actor.System())
	must[int](t)(f.SweepResumables(system)) // so that the clock is known
	later := time.Now()
	f.now = func() time.Time { return later }
	end := later.Add(f.config.UploadExpiry - time.Minute)
	for ; later.Before(end); later = later.Add(time.Hour) {
		must[int](t)(f.SweepResumables(system))
	}
	later = end.Add(2 * time.Minute)
	n, err := f.SweepResumables(system)
	if n != 2 || err == nil || !strings.Contains(err.Error(), ids[1].String()) {
		t.Errorf("SweepResumables = %d, %v, want 2, and an error of the other", n, err)
	}
}

func TestResumableExpires(t *testing.T) {
	t.Parallel()
	f := indexed(t, plainScan("s", `{"owner":"ann"}`))
	old, kept := begin(t, f, "old", 10), begin(t, f, "kept", 10)
	ctx := as(t, actor.System())
	end := time.Now().Add(f.config.UploadExpiry - time.Minute)
	later := time.Now()
	f.now = func() time.Time { return later }
	for ; later.Before(end); later = later.Add(time.Hour) {
		if n, err := f.SweepResumables(ctx); n != 0 || err != nil {
			t.Errorf("SweepResumables before the end = %d, %v, want 0", n, err)
		}
	}
	later = end
	if _, err := f.Resume(as(t, ann), kept, piece(0, "01234")); err != nil { // which slides its end
		t.Fatal(err)
	}
	if n, err := f.SweepResumables(ctx); n != 0 || err != nil {
		t.Errorf("SweepResumables before the end = %d, %v, want 0", n, err)
	}
	later = later.Add(2 * time.Minute)
	if _, err := f.Resumable(as(t, ann), old); !errors.Is(err, ErrUnknownUpload) {
		t.Errorf("Resumable of one that expired = %v, want ErrUnknownUpload", err)
	}
	orphan := uuid.NewString()
	name := filepath.Join(f.dir, ".plantdb/uploads", orphan)
	if err := os.WriteFile(name, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	young := filepath.Join(f.dir, ".plantdb/uploads", uuid.NewString())
	if err := os.WriteFile(young, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	then := time.Now().Add(-3 * time.Hour)
	if err := os.Chtimes(name, then, then); err != nil {
		t.Fatal(err)
	}
	if n, err := f.SweepResumables(ctx); n != 2 || err != nil {
		t.Errorf("SweepResumables = %d, %v, want 2", n, err)
	}
	if left := f.left(t); len(left) != 2 {
		t.Errorf("left: %v, want the upload that goes on and the young bytes", left)
	}
	if got, err := f.Resume(as(t, ann), kept, piece(5, "56789")); err != nil || !got.Finished {
		t.Errorf("Resume of the one that goes on = %+v, %v", got, err)
	}
}

// beforeQuery does something once, before the first query that has this text.
type beforeQuery struct {
	*pgxpool.Pool
	text string
	do   func()
}

func (b *beforeQuery) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	if b.do != nil && strings.Contains(sql, b.text) {
		do := b.do
		b.do = nil
		do()
	}
	return b.Pool.Query(ctx, sql, args...)
}

// A piece that ends after a sweep found its upload expired is kept: its bytes were
// acknowledged.
func TestResumableGoesOnWhileItExpires(t *testing.T) {
	t.Parallel()
	pool := &beforeQuery{Pool: pgtest.New(t), text: "ListKnownUploads"} // which comes after the expired ones were listed
	f := fixtureOn(t, pool, t.TempDir(), plainScan("s", `{"owner":"ann"}`))
	f.reconcile(t)
	id, old := begin(t, f, "new", 10), begin(t, f, "old", 10)
	var now atomic.Pointer[time.Time]
	at := func(when time.Time) { now.Store(&when) }
	at(time.Now())
	f.now = func() time.Time { return *now.Load() }
	for end := now.Load().Add(f.config.UploadExpiry - time.Minute); now.Load().Before(end); at(now.Load().Add(time.Hour)) {
		if n, err := f.SweepResumables(as(t, actor.System())); n != 0 || err != nil {
			t.Fatalf("SweepResumables before the end = %d, %v, want 0", n, err)
		}
	}
	r, w := io.Pipe()
	done := make(chan error, 1)
	at(time.Now().Add(f.config.UploadExpiry - time.Minute))
	go func() {
		_, err := f.Resume(as(t, ann), id, Piece{Content: r})
		done <- err
	}()
	if _, err := io.WriteString(w, "01234"); err != nil { // it is being read
		t.Fatal(err)
	}
	at(time.Now().Add(f.config.UploadExpiry + time.Minute))
	pool.do = func() {
		if err := errors.Join(w.Close(), <-done); err != nil {
			t.Errorf("Resume beside a sweep = %v", err)
		}
	}
	if n, err := f.SweepResumables(as(t, actor.System())); n != 1 || err != nil || pool.do != nil {
		t.Errorf("SweepResumables = %d, %v, want the other one", n, err)
	}
	if _, err := f.Resumable(as(t, ann), old); !errors.Is(err, ErrUnknownUpload) {
		t.Errorf("Resumable of one that expired = %v, want ErrUnknownUpload", err)
	}
	if got, err := f.Resume(as(t, ann), id, piece(5, "56789")); err != nil || !got.Finished {
		t.Errorf("Resume of the one that went on = %+v, %v", got, err)
	}
	if got := f.read(t, "s/images/new.png"); got != "0123456789" {
		t.Errorf("the file holds %q", got)
	}
}

func TestResumablesAreBounded(t *testing.T) {
	t.Parallel()
	f := indexed(t, plainScan("s", `{"owner":"ann"}`))
	_, err := f.pool.Exec(t.Context(), `INSERT INTO uploads (id, username, scan, fileset, file, extension, document, described, size, created_at, expires_at)
		SELECT gen_random_uuid(), 'ann', 's', 'images', n::text, '.png', '{}', '', 5, now(), now() + interval '1 hour' FROM generate_series(1, $1) AS n`, maxOpenUploads)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.CreateResumable(as(t, ann), newUpload("new", 5)); !errors.Is(err, ErrTooManyUploads) {
		t.Errorf("CreateResumable of one more = %v, want ErrTooManyUploads", err)
	}
	if _, err := f.CreateResumable(as(t, bob), newUpload("new", 5)); err != nil {
		t.Errorf("CreateResumable by another = %v", err)
	}
}

// An upload whose bytes are fewer than were acknowledged, as in a backup that was made
// while they came, ends: its client is told that there is none and begins anew.
func TestUploadThatLostBytesEnds(t *testing.T) {
	t.Parallel()
	f := indexed(t, plainScan("s", `{"owner": "ann"}`))
	ctx := as(t, ann)
	for name, content := range map[string]string{"half": "12345", "whole": "1234567890"} {
		id := begin(t, f, name, 10)
		if _, err := f.Resume(ctx, id, piece(0, "12345")); err != nil {
			t.Fatal(err)
		}
		if name == "whole" { // and the last step is to come
			if _, err := f.pool.Exec(t.Context(), `UPDATE uploads SET received = size WHERE id = $1`, id); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Truncate(filepath.Join(f.dir, ".plantdb/uploads", id.String()), 3); err != nil {
			t.Fatal(err)
		}
		var err error
		if name == "whole" {
			_, err = f.Resumable(ctx, id)
		} else {
			_, err = f.Resume(ctx, id, piece(len(content), "67890"))
		}
		if !errors.Is(err, ErrUnknownUpload) {
			t.Errorf("%s: going on = %v, want ErrUnknownUpload", name, err)
		}
		if r, err := f.Resumable(ctx, id); !errors.Is(err, ErrUnknownUpload) {
			t.Errorf("%s: Resumable() = %+v, %v, want ErrUnknownUpload", name, r, err)
		}
	}
	if left := f.left(t); len(left) > 0 {
		t.Errorf("left are %q", left)
	}
}

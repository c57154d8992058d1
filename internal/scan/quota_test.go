package scan

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/romi/plantdb-go/internal/actor"
)

// limitedFixture is a tree with a scan of ann's, who is in the group lab with
// lars, and these quotas.
func limitedFixture(t *testing.T, quotas ...Quota) fixture {
	t.Helper()
	f := indexed(t, plainScan("s", `{"owner":"ann"}`), plainScan("other", `{"owner":"lars"}`), plainScan("free", `{"owner":"bob"}`))
	for i, name := range []string{"ann", "lars", "bob"} {
		_, err := f.pool.Exec(t.Context(), `INSERT INTO users (id, username, fullname, password_hash, roles) VALUES ($1, $2, $2, '*', '{contributor}')`,
			uuid.UUID{15: byte(i + 1)}, name)
		if err != nil {
			t.Fatal(err)
		}
	}
	_, err := f.pool.Exec(t.Context(), `WITH g AS (INSERT INTO groups (id, name, created_by) VALUES (gen_random_uuid(), 'lab', 'admin') RETURNING id)
		INSERT INTO group_members (group_id, user_id) SELECT g.id, u.id FROM g, users u WHERE u.username IN ('ann', 'lars')`)
	if err != nil {
		t.Fatal(err)
	}
	for _, q := range quotas {
		if _, err := f.SetQuota(as(t, admin), q); err != nil {
			t.Fatal(err)
		}
	}
	return f
}

// charged is upload with the size said before.
func charged(ctx context.Context, s *Service, scan, file, content string, said int64) error {
	up, err := s.BeginUpload(ctx, scan, "images", file)
	if err != nil {
		return err
	}
	defer up.Discard()
	if err := up.Expect(ctx, said); err != nil {
		return err
	}
	if err := up.Stage(ctx, strings.NewReader(content)); err != nil {
		return err
	}
	return up.Commit(ctx, "png", nil)
}

func (f fixture) usage(t *testing.T) Usage {
	t.Helper()
	u, err := f.Usage(as(t, admin), "ann")
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// plainScan has two files of 11 and 6 bytes.
const plainBytes, plainFiles = 17, 2

func TestQuota(t *testing.T) {
	t.Parallel()
	f := limitedFixture(t, Quota{Kind: UserQuota, Name: "ann", MaxBytes: new(int64(plainBytes + 10))})
	if err := charged(as(t, ann), f.Service, "s", "a", "0123456789A", 11); !errors.Is(err, ErrQuota) {
		t.Errorf("an upload that does not fit = %v, want ErrQuota", err)
	}
	// Nor one that says less than it brings, or nothing.
	for _, said := range []int64{5, -1} {
		if err := charged(as(t, ann), f.Service, "s", "a", "0123456789A", said); !errors.Is(err, ErrQuota) {
			t.Errorf("an upload of 11 bytes that says %d = %v, want ErrQuota", said, err)
		}
	}
	if got := f.usage(t); got.Reserved != (Amount{}) || got.Held != (Amount{plainBytes, plainFiles}) {
		t.Errorf("usage after refusals = %+v, want nothing reserved", got)
	}
	// The scan's owner pays, whoever brings it.
	if err := charged(as(t, bob), f.Service, "s", "a", "0123456789A", 11); !errors.Is(err, ErrQuota) {
		t.Errorf("an upload into ann's scan by bob = %v, want ErrQuota", err)
	}
	if err := charged(as(t, ann), f.Service, "free", "a", "0123456789A", 11); err != nil {
		t.Errorf("an upload into bob's scan by ann = %v", err)
	}
	for _, said := range []int64{5, -1} {
		if err := charged(as(t, ann), f.Service, "s", fmt.Sprintf("fits%d", said), "01234", said); err != nil {
			t.Errorf("an upload that fits = %v", err)
		}
	}
	got := f.usage(t)
	if got.Held != (Amount{plainBytes + 10, plainFiles + 2}) || got.Reserved != (Amount{}) || len(got.Quotas) != 1 || got.Quotas[0].Bytes != plainBytes+10 {
		t.Errorf("usage = %+v, want it full", got)
	}
	err := charged(as(t, ann), f.Service, "s", "b", "0", 1)
	if !errors.Is(err, ErrQuota) || !strings.Contains(err.Error(), "The quota of user 'ann' is 27 bytes, of which 27 are used: 1 more do not fit.") {
		t.Errorf("one byte more = %v, want it to say what is used", err)
	}
	// What is in the trash counts until it is purged.
	e, err := f.DeleteFile(as(t, ann), "s", "images", "fits5", Match{})
	if err != nil {
		t.Fatal(err)
	}
	if err := charged(as(t, ann), f.Service, "s", "b", "0", 1); !errors.Is(err, ErrQuota) {
		t.Errorf("with a file in the trash = %v, want ErrQuota still", err)
	}
	if got := f.usage(t); got.Trash != (Amount{5, 1}) {
		t.Errorf("usage = %+v, want 5 bytes in the trash", got)
	}
	if err := f.Purge(as(t, admin), e.ID); err != nil {
		t.Fatal(err)
	}
	if err := charged(as(t, ann), f.Service, "s", "b", "0", 1); err != nil {
		t.Errorf("once it is purged = %v", err)
	}
	if err := f.DeleteQuota(as(t, admin), UserQuota, "ann"); err != nil {
		t.Fatal(err)
	}
	if err := charged(as(t, ann), f.Service, "s", "c", "0123456789A", 11); err != nil {
		t.Errorf("without a quota = %v", err)
	}
}

// Who goes away once all bytes are there leaves a file that is on its way: the room
// for it stays taken until it counts by itself.
func TestQuotaOfWhatIsLeft(t *testing.T) {
	t.Parallel()
	f := limitedFixture(t, Quota{Kind: UserQuota, Name: "ann", MaxBytes: new(int64(plainBytes + 10))})
	release := hold(t, f, "s") // so that the first waits
	ctx, leave := context.WithCancel(as(t, ann))
	up := must[*Upload](t)(f.BeginUpload(ctx, "s", "images", "left"))
	if err := errors.Join(up.Expect(ctx, 10), up.Stage(ctx, strings.NewReader("0123456789"))); err != nil {
		t.Fatal(err)
	}
	leave()
	if err := up.Commit(ctx, "png", nil); !errors.Is(err, context.Canceled) {
		t.Errorf("Commit of who leaves = %v", err)
	}
	up.Discard()
	if err := charged(as(t, ann), f.Service, "s", "second", "0123456789", 10); !errors.Is(err, ErrQuota) {
		t.Errorf("another one meanwhile = %v, want ErrQuota", err)
	}
	release()
	want := Amount{plainBytes + 10, plainFiles + 1}
	deadline := time.Now().Add(2 * time.Minute)
	for got := f.usage(t); got.Held != want || got.Reserved != (Amount{}); got = f.usage(t) {
		if time.Now().After(deadline) {
			t.Fatalf("usage = %+v, want %+v held and nothing reserved", got, want)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func TestQuotaOfFilesAndGroups(t *testing.T) {
	t.Parallel()
	f := limitedFixture(t, Quota{Kind: GroupQuota, Name: "lab", MaxFiles: new(int64(2*plainFiles + 2))})
	for i, scan := range []string{"s", "other"} {
		if err := charged(as(t, admin), f.Service, scan, "a", "x", 1); err != nil {
			t.Errorf("upload %d = %v", i, err)
		}
	}
	for _, scan := range []string{"s", "other"} {
		err := charged(as(t, admin), f.Service, scan, "b", "x", 1)
		if !errors.Is(err, ErrQuota) || !strings.Contains(err.Error(), "group 'lab' is 6 files") {
			t.Errorf("an upload beyond the group's quota into %s = %v, want ErrQuota", scan, err)
		}
	}
	if err := charged(as(t, bob), f.Service, "free", "b", "x", 1); err != nil {
		t.Errorf("an upload by who is in no group = %v", err)
	}
}

// A scan goes to somebody else only if it fits there.
func TestQuotaOfNewOwners(t *testing.T) {
	t.Parallel()
	f := limitedFixture(t,
		Quota{Kind: UserQuota, Name: "bob", MaxBytes: new(int64(2*plainBytes - 1))},
		Quota{Kind: UserQuota, Name: "lars", MaxFiles: new(int64(2 * plainFiles))},
		Quota{Kind: GroupQuota, Name: "lab", MaxBytes: new(int64(2 * plainBytes))})
	_, err := f.SetOwner(as(t, admin), "s", "bob", Match{})
	if !errors.Is(err, ErrQuota) || !strings.Contains(err.Error(), "user 'bob' is 33 bytes, of which 17 are used: 17 more do not fit") {
		t.Errorf("a scan that does not fit = %v, want ErrQuota", err)
	}
	if a := must[VersionedAccess](t)(f.Access(as(t, admin), "s")); a.Owner == nil || *a.Owner != "ann" {
		t.Errorf("Access() after the refusal = %+v, want that of ann", a)
	}
	if got := f.read(t, "s/metadata/metadata.json"); !strings.Contains(got, `"ann"`) {
		t.Errorf("metadata on the disk after the refusal = %s", got)
	}
	// The group of both is full, and has the scan already; ann keeps hers.
	must[VersionedAccess](t)(f.SetOwner(as(t, ann), "s", "ann", Match{}))
	must[VersionedAccess](t)(f.SetOwner(as(t, ann), "s", "lars", Match{}))
	if _, err := f.SetOwner(as(t, admin), "free", "lars", Match{}); !errors.Is(err, ErrQuota) || !strings.Contains(err.Error(), "'lars' is 4 files") {
		t.Errorf("a third scan for lars = %v, want ErrQuota by his files", err)
	}
	if _, err := f.SetOwner(as(t, admin), "free", "ann", Match{}); !errors.Is(err, ErrQuota) || !strings.Contains(err.Error(), "group 'lab'") {
		t.Errorf("a scan from outside into a full group = %v, want ErrQuota", err)
	}
	if _, err := f.SetQuota(as(t, admin), Quota{Kind: UserQuota, Name: "bob", MaxBytes: new(int64(2 * plainBytes))}); err != nil {
		t.Fatal(err)
	}
	// Two at once, of which one fits.
	var wg sync.WaitGroup
	var given, refused atomic.Int32
	for _, scan := range []string{"s", "other"} {
		wg.Go(func() {
			switch _, err := f.SetOwner(as(t, admin), scan, "bob", Match{}); {
			case err == nil:
				given.Add(1)
			case errors.Is(err, ErrQuota):
				refused.Add(1)
			default:
				t.Errorf("SetOwner(%s) = %v", scan, err)
			}
		})
	}
	if wg.Wait(); given.Load() != 1 || refused.Load() != 1 {
		t.Errorf("%d given and %d refused, want one of each", given.Load(), refused.Load())
	}
}

// Bytes that were on their way when their scan was given away fit into the quotas of
// the new owner, too, or make no file: else somebody's room could be filled by others.
func TestQuotaOfWhatIsGivenAwayMeanwhile(t *testing.T) {
	t.Parallel()
	f := limitedFixture(t, Quota{Kind: UserQuota, Name: "bob", MaxBytes: new(int64(3*plainBytes + 14))}, Quota{Kind: GroupQuota, Name: "lab", MaxBytes: new(int64(1000))})
	ctx := as(t, admin)
	stage := func(file string) *Upload {
		t.Helper()
		up := must[*Upload](t)(f.BeginUpload(ctx, "s", "images", file))
		t.Cleanup(up.Discard)
		if err := errors.Join(up.Expect(ctx, 10), up.Stage(ctx, strings.NewReader("0123456789"))); err != nil {
			t.Fatal(err)
		}
		return up
	}
	one, two := stage("one"), stage("two")
	pieces := must[Resumable](t)(f.CreateResumable(ctx, newUpload("pieces", 10))).ID
	beside := must[*RawUpload](t)(f.BeginRaw(ctx, "s", "notes.txt"))
	t.Cleanup(beside.Discard)
	if err := errors.Join(beside.Expect(ctx, 10), beside.Stage(ctx, strings.NewReader("0123456789"))); err != nil {
		t.Fatal(err)
	}
	for _, scan := range []string{"s", "other"} {
		must[VersionedAccess](t)(f.SetOwner(ctx, scan, "bob", Match{}))
	}
	if err := one.Commit(ctx, "png", nil); err != nil { // 14 bytes are free
		t.Errorf("a file that fits = %v", err)
	}
	if err := two.Commit(ctx, "png", nil); !errors.Is(err, ErrQuota) || !strings.Contains(err.Error(), "user 'bob' is 65 bytes, of which 61 are used: 10 more do not fit") {
		t.Errorf("a file that does not fit = %v, want ErrQuota", err)
	}
	if err := beside.CommitRaw(ctx); !errors.Is(err, ErrQuota) {
		t.Errorf("a file beside the filesets that does not fit = %v, want ErrQuota", err)
	}
	if _, err := f.Resume(ctx, pieces, piece(0, "0123456789")); !errors.Is(err, ErrQuota) {
		t.Errorf("an upload in pieces that does not fit = %v, want ErrQuota", err)
	}
	if got := must[[]string](t)(f.FileNames(ctx, "s", "images", Query{})); fmt.Sprint(got) != "[00000_rgb 00001_rgb one]" {
		t.Errorf("files = %v", got)
	}
	if u := must[Usage](t)(f.Usage(ctx, "bob")); u.Held.Bytes != 3*plainBytes+10 {
		t.Errorf("bob holds %d bytes, want %d", u.Held.Bytes, 3*plainBytes+10)
	}
	// Once there is room the bytes that came are not lost.
	if _, err := f.SetQuota(ctx, Quota{Kind: UserQuota, Name: "bob", MaxBytes: new(int64(1000))}); err != nil {
		t.Fatal(err)
	}
	if got, err := f.Resumable(ctx, pieces); err != nil || !got.Finished {
		t.Errorf("the upload in pieces once it fits = %+v, %v, want finished", got, err)
	}
}

// Many at once, on two servers, never go over.
func TestQuotaAtOnce(t *testing.T) {
	t.Parallel()
	f := limitedFixture(t, Quota{Kind: UserQuota, Name: "ann", MaxBytes: new(int64(plainBytes + 50))}, Quota{Kind: GroupQuota, Name: "lab", MaxFiles: new(int64(1000))})
	second := New(f.pool, f.tree, groupList{"lab"}, f.config, f.Service.log)
	var group sync.WaitGroup
	errs := make([]error, 20)
	for i := range errs {
		s := []*Service{f.Service, second}[i%2]
		group.Go(func() { errs[i] = charged(as(t, ann), s, "s", fmt.Sprintf("f%02d", i), "0123456789", 10) })
	}
	group.Wait()
	for _, err := range errs {
		if err != nil && !errors.Is(err, ErrQuota) {
			t.Errorf("upload = %v", err)
		}
	}
	got := f.usage(t)
	if got.Held.Bytes > plainBytes+50 || got.Reserved != (Amount{}) {
		t.Errorf("usage = %+v, want no more than %d bytes", got, plainBytes+50)
	}
	// Room that was counted twice for a moment is there again.
	for i := 0; f.usage(t).Held.Bytes < plainBytes+50; i++ {
		if err := charged(as(t, ann), f.Service, "s", fmt.Sprintf("g%02d", i), "0123456789", 10); err != nil {
			t.Fatalf("upload of what fits = %v", err)
		}
	}
}

// An upload in pieces counts from its beginning, until it is in its fileset or
// ends; an archive before it is unpacked.
func TestQuotaOfResumablesAndArchives(t *testing.T) {
	t.Parallel()
	f := limitedFixture(t, Quota{Kind: UserQuota, Name: "ann", MaxBytes: new(int64(1000)), MaxFiles: new(int64(8))})
	if _, err := f.CreateResumable(as(t, ann), newUpload("big", 990)); !errors.Is(err, ErrQuota) {
		t.Errorf("CreateResumable = %v, want ErrQuota", err)
	}
	if left := f.left(t); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
	id, dropped := begin(t, f, "a", 10), begin(t, f, "b", 20)
	if got := f.usage(t); got.Reserved != (Amount{30, 2}) {
		t.Errorf("reserved = %+v, want 30 bytes of 2 files", got.Reserved)
	}
	if _, err := f.Resume(as(t, ann), id, piece(0, "0123456789")); err != nil {
		t.Fatal(err)
	}
	if err := f.EndResumable(as(t, ann), dropped); err != nil {
		t.Fatal(err)
	}
	if got := f.usage(t); got.Reserved != (Amount{}) || got.Held != (Amount{plainBytes + 10, plainFiles + 1}) {
		t.Errorf("usage afterwards = %+v", got)
	}
	expect := func(name string, archive []byte, want error) {
		t.Helper()
		up, err := f.BeginArchive(as(t, ann), name)
		if err != nil {
			t.Fatal(err)
		}
		defer up.Discard()
		if err = up.Expect(as(t, ann), int64(len(archive))); err == nil {
			if err = up.Stage(as(t, ann), strings.NewReader(string(archive))); err == nil {
				_, err = up.Commit(as(t, ann))
			}
		}
		if !errors.Is(err, want) {
			t.Errorf("archive %s = %v, want %v", name, err, want)
		}
	}
	content := files{"files.json": `{"filesets":[{"id":"images","files":[{"id":"a","file":"a.png"}]}]}`, "metadata/metadata.json": "{}", "images/a.png": "x"}
	expect("small", zipped(t, content), nil)
	content["images/zeros.png"] = strings.Repeat("0", 990) // small when packed
	expect("large", zipped(t, content), ErrQuota)
	if got := f.usage(t); got.Reserved != (Amount{}) {
		t.Errorf("reserved after the archives = %+v, want nothing", got.Reserved)
	}
}

// What a killed server had reserved counts for a quarter of an hour.
func TestReservationsExpire(t *testing.T) {
	t.Parallel()
	f := limitedFixture(t, Quota{Kind: UserQuota, Name: "ann", MaxBytes: new(int64(100))})
	up, err := f.BeginUpload(as(t, ann), "s", "images", "lost")
	if err != nil {
		t.Fatal(err)
	}
	if err := up.Expect(as(t, ann), 80); err != nil { // and nobody discards it
		t.Fatal(err)
	}
	if err := charged(as(t, ann), f.Service, "s", "a", "0123456789", 10); !errors.Is(err, ErrQuota) {
		t.Errorf("beside what is reserved = %v, want ErrQuota", err)
	}
	later := time.Now().Add(reservedFor + time.Second)
	f.now = func() time.Time { return later }
	if err := charged(as(t, ann), f.Service, "s", "a", "0123456789", 10); err != nil {
		t.Errorf("once it has expired = %v", err)
	}
	if _, err := f.SweepResumables(as(t, actor.System())); err != nil {
		t.Fatal(err)
	}
	var n int
	if err := f.pool.QueryRow(t.Context(), "SELECT count(*) FROM reservations").Scan(&n); err != nil || n != 0 {
		t.Errorf("%d reservations are left, %v, want none", n, err)
	}
}

func TestQuotasAreForAdministrators(t *testing.T) {
	t.Parallel()
	f := limitedFixture(t, Quota{Kind: GroupQuota, Name: "lab", MaxBytes: new(int64(5))})
	q := Quota{Kind: UserQuota, Name: "ann", MaxBytes: new(int64(5))}
	for name, tt := range map[string]struct {
		a    actor.Actor
		want error
	}{"ann": {ann, ErrForbidden}, "guest": {guest, ErrNoActor}, "a token": {scoped(admin, "*", actor.Read, actor.Write), ErrForbidden}} {
		if _, err := f.SetQuota(as(t, tt.a), q); !errors.Is(err, tt.want) {
			t.Errorf("SetQuota by %s = %v, want %v", name, err, tt.want)
		}
		if err := f.DeleteQuota(as(t, tt.a), GroupQuota, "lab"); !errors.Is(err, tt.want) {
			t.Errorf("DeleteQuota by %s = %v, want %v", name, err, tt.want)
		}
		if _, err := f.Quotas(as(t, tt.a)); !errors.Is(err, tt.want) {
			t.Errorf("Quotas by %s = %v, want %v", name, err, tt.want)
		}
		if _, err := f.Usage(as(t, tt.a), "bob"); !errors.Is(err, tt.want) {
			t.Errorf("Usage of bob by %s = %v, want %v", name, err, tt.want)
		}
	}
	if u, err := f.Usage(as(t, ann), ""); err != nil || u.Username != "ann" || len(u.Quotas) != 1 || u.Quotas[0].Bytes != 2*plainBytes {
		t.Errorf("Usage of oneself = %+v, %v, want the group's quota in it", u, err)
	}
	for _, bad := range []Quota{{Kind: UserQuota, Name: "ann"}, {Kind: UserQuota, Name: "ann", MaxFiles: new(int64(-1))}} {
		if _, err := f.SetQuota(as(t, admin), bad); !errors.Is(err, ErrQuotaBounds) {
			t.Errorf("SetQuota(%v) = %v, want ErrQuotaBounds", bad, err)
		}
	}
	for _, unknown := range []Quota{{Kind: UserQuota, Name: "nobody", MaxFiles: new(int64(1))}, {Kind: GroupQuota, Name: "ann", MaxFiles: new(int64(1))}, {Kind: UserQuota, Name: "\x00", MaxFiles: new(int64(1))}} {
		if _, err := f.SetQuota(as(t, admin), unknown); !errors.Is(err, ErrUnknownQuota) {
			t.Errorf("SetQuota(%q) = %v, want ErrUnknownQuota", unknown.Name, err)
		}
		if err := f.DeleteQuota(as(t, admin), unknown.Kind, unknown.Name); !errors.Is(err, ErrUnknownQuota) {
			t.Errorf("DeleteQuota(%q) = %v, want ErrUnknownQuota", unknown.Name, err)
		}
	}
	if _, err := f.SetQuota(as(t, admin), q); err != nil {
		t.Fatal(err)
	}
	if got, err := f.Quotas(as(t, admin)); err != nil || len(got) != 2 || got[0].Name != "ann" || *got[0].MaxBytes != 5 || got[1].Kind != GroupQuota {
		t.Errorf("Quotas = %+v, %v", got, err)
	}
}

// What lies in a scan beside the files that it lists counts, however it came, goes
// into the trash with the scan or the fileset, and comes back.
func TestQuotaBesideFilesets(t *testing.T) {
	t.Parallel()
	f := limitedFixture(t, Quota{Kind: UserQuota, Name: "ann", MaxBytes: new(int64(plainBytes + 1000)), MaxFiles: new(int64(plainFiles + 3))},
		Quota{Kind: UserQuota, Name: "bob", MaxBytes: new(int64(2*plainBytes + 900))})
	ctx := as(t, ann)
	holds := func(what string, bytes, files int64) {
		t.Helper()
		if got := f.usage(t); got.Held != (Amount{bytes, files}) || got.Reserved != (Amount{}) || got.Quotas[0].Bytes != bytes+got.Trash.Bytes {
			t.Errorf("%s: usage = %+v, want %d bytes of %d files", what, got, bytes, files)
		}
	}
	big := strings.Repeat("x", 900)
	if err := putRaw(ctx, f.Service, "s", "notes/big.bin", big); err != nil {
		t.Fatal(err)
	}
	if err := putRaw(ctx, f.Service, "s", "notes/more.bin", big); !errors.Is(err, ErrQuota) {
		t.Errorf("a second file of 900 bytes = %v, want ErrQuota", err)
	}
	holds("one file of 900 bytes", plainBytes+900, plainFiles+1)
	if err := charged(ctx, f.Service, "s", "beyond", big, 900); !errors.Is(err, ErrQuota) {
		t.Errorf("an upload beside them = %v, want ErrQuota", err)
	}
	if err := putRaw(ctx, f.Service, "s", "notes/big.bin", "small"); err != nil {
		t.Fatal(err)
	}
	holds("a small one in its place", plainBytes+5, plainFiles+1)
	for i := range 2 {
		if err := putRaw(ctx, f.Service, "s", fmt.Sprintf("n%d", i), "x"); err != nil {
			t.Fatal(err)
		}
	}
	if err := putRaw(ctx, f.Service, "s", "n2", "x"); !errors.Is(err, ErrQuota) {
		t.Errorf("a file too many = %v, want ErrQuota", err)
	}
	holds("three small ones", plainBytes+7, plainFiles+3)
	// As other programs leave it, with what is none of it.
	files{"s/pipeline.toml": big, "s/.hidden": big, "s/webcache/a.jpeg": big, "s/metadata/images.json.bak": "x"}.write(t, f.dir)
	f.reconcile(t)
	holds("what came from outside", plainBytes+7+900+1, plainFiles+5)
	if _, err := f.SetOwner(as(t, admin), "s", "bob", Match{}); !errors.Is(err, ErrQuota) {
		t.Errorf("a scan for who has no room for all of it = %v, want ErrQuota", err)
	}
	e, err := f.DeleteScan(ctx, "s", Match{})
	if err != nil {
		t.Fatal(err)
	}
	if got := f.usage(t); got.Held != (Amount{}) || got.Trash != (Amount{plainBytes + 908, plainFiles + 5}) || e.Bytes != plainBytes+908 {
		t.Errorf("usage = %+v, want all of the scan in the trash", got)
	}
	if _, err := f.Restore(ctx, e.ID, ""); err != nil {
		t.Fatal(err)
	}
	holds("restored", plainBytes+908, plainFiles+5)
}

func TestQuotaOfWhatArchivesHaveBeside(t *testing.T) {
	t.Parallel()
	f := limitedFixture(t, Quota{Kind: UserQuota, Name: "ann", MaxBytes: new(int64(plainBytes + 2000))})
	ctx := as(t, ann)
	big := strings.Repeat("x", 900)
	archive := zipped(t, files{
		"files.json":             `{"filesets":[{"id":"images","files":[{"id":"a","file":"a.png"}]}]}`,
		"metadata/metadata.json": "{}", "images/a.png": "x", "images/unlisted.bin": big, "notes/big.bin": big,
	})
	bring := func(name string) error {
		up, err := f.BeginArchive(ctx, name)
		if err != nil {
			return err
		}
		defer up.Discard()
		if err := errors.Join(up.Expect(ctx, int64(len(archive))), up.Stage(ctx, bytes.NewReader(archive))); err != nil {
			return err
		}
		_, err = up.Commit(ctx)
		return err
	}
	if err := bring("packed"); err != nil {
		t.Fatal(err)
	}
	if got := f.usage(t); got.Held != (Amount{plainBytes + 1801, plainFiles + 3}) || got.Reserved != (Amount{}) {
		t.Errorf("usage = %+v, want all that the archive had but files.json and metadata", got)
	}
	if err := bring("again"); !errors.Is(err, ErrQuota) {
		t.Errorf("a second archive = %v, want ErrQuota", err)
	}
	e, err := f.DeleteFileset(ctx, "packed", "images", Match{})
	if err != nil || e.Bytes != 901 || e.Files != 2 {
		t.Errorf("DeleteFileset() = %+v, %v, want all 901 bytes of its directory", e, err)
	}
	f.reconcile(t)
	if got := f.usage(t); got.Held != (Amount{plainBytes + 900, plainFiles + 1}) || got.Trash != (Amount{901, 2}) {
		t.Errorf("usage = %+v, want the fileset in the trash and the rest where it was", got)
	}
}

package scan

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/romi/plantdb-go/internal/actor"
	"github.com/romi/plantdb-go/internal/observe"
	"github.com/romi/plantdb-go/internal/pgtest"
)

// outbox returns the events that are there, in order, one line each:
// kind who:token request timelapse|scan/fileset/file detail.
func (f fixture) outbox(t testing.TB) []string {
	t.Helper()
	rows, err := f.pool.Query(t.Context(), `
		SELECT concat_ws(' ', kind, coalesce(username, '-') || ':' || coalesce(token_kind, '-'), request_id,
			coalesce(timelapse || '|', '') || concat_ws('/', scan, fileset, file), (detail - 'sha256')::text)
		FROM scan_events ORDER BY seq`)
	if err != nil {
		t.Fatal(err)
	}
	lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	return lines
}

// wantOutbox fails the test unless exactly these events are there since from.
func (f fixture) wantOutbox(t testing.TB, from int, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, append([]string(nil), f.outbox(t)[from:]...)); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}

// Each write leaves its event, with who did it by what token in which request,
// and one that is refused leaves none.
func TestWritesRecordEvents(t *testing.T) {
	t.Parallel()
	f := indexed(t, plainScan("s", `{"owner": "ann", "x": 1, "y": 2}`), files{"tl/timelapse.json": `{}`})
	f.wantOutbox(t, 0)
	session, token := ann, scoped(ann, "*", actor.Read, actor.Write, actor.Create)
	session.SessionID = uuid.New()
	ctx := observe.WithRequestID(as(t, session), "request-1")
	try := func(err error) {
		t.Helper()
		if err != nil {
			t.Error(err)
		}
	}
	try(f.Create(ctx, "n", json.RawMessage(`{"timelapse": {"id": "tl"}}`)))
	try(f.CreateFileset(as(t, token), "n", "images", nil))
	try(upload(ctx, f.Service, "n", "images", "a", "jpg", "12345", ""))
	_, err := f.SetMetadata(as(t, actor.System()), "s", Update{Metadata: json.RawMessage(`{"x": 2, "z": 1}`), Replace: true})
	try(err)
	_, err = f.SetFilesetMetadata(ctx, "n", "images", Update{Metadata: json.RawMessage(`{"k": 1}`)})
	try(err)
	_, err = f.SetFileMetadata(ctx, "n", "images", "a", Update{Metadata: json.RawMessage(`{"k": 1}`)})
	try(err)
	_, err = f.CreateTimelapse(ctx, "tl2", nil)
	try(err)

	refuse := func(err, want error) {
		t.Helper()
		if !errors.Is(err, want) {
			t.Errorf("a call to be refused = %v, want %v", err, want)
		}
	}
	refuse(f.Create(ctx, "n", nil), ErrScanExists)
	refuse(f.CreateFileset(ctx, "n", "images", nil), ErrFilesetExists)
	refuse(upload(ctx, f.Service, "n", "images", "a", "jpg", "12345", ""), ErrFileExists)
	refuse(f.Create(as(t, rita), "g", nil), ErrForbidden)
	_, err = f.SetMetadata(ctx, "s", Update{Metadata: json.RawMessage(`{"owner": "bob"}`)}) // nothing that may be changed
	try(err)

	want := []string{
		`scan.created ann:session request-1 tl|n`,
		`timelapse.owner ann:session request-1 tl| {"owner": "ann"}`, // which had none
		`fileset.created ann:api_token  tl|n/images`,
		`file.created ann:session request-1 tl|n/images/a {"size": 5, "filename": "a.jpg"}`,
		`scan.metadata system:system  s {"set": ["x", "z"], "removed": ["y"]}`,
		`fileset.metadata ann:session request-1 tl|n/images {"set": ["k"]}`,
		`file.metadata ann:session request-1 tl|n/images/a {"set": ["k"]}`,
		`timelapse.created ann:session request-1 tl2|`,
	}
	f.wantOutbox(t, 0, want...)
	f.reconcile(t) // nothing was changed outside
	f.wantOutbox(t, 0, want...)
	var named int
	err = f.pool.QueryRow(t.Context(), `SELECT count(*) FROM scan_events e JOIN scans s ON s.id = e.scan_id AND s.name = e.scan`).Scan(&named)
	if err != nil || named != 6 {
		t.Errorf("%d events name their scan by its id (%v), want 6", named, err)
	}
}

// The first index of a tree is not an event; what a later one finds is, once a
// scan however many files it has.
func TestOutsideEditsRecordEvents(t *testing.T) {
	t.Parallel()
	f := indexed(t, plainScan("s", `{"owner": "ann", "x": 1}`), plainScan("gone", `{"owner": "ann"}`), plainScan("same", `{}`),
		plainScan("tl/m", `{}`), files{"tl/timelapse.json": `{}`, "old/timelapse.json": `{}`})
	f.reconcile(t)
	f.wantOutbox(t, 0)

	plainScan("new", `{}`).write(t, f.dir)
	files{
		"s/files.json": `{"filesets": [{"id": "images", "files": [
			{"id": "00000_rgb", "file": "00000_rgb.jpg"}, {"id": "more", "file": "more.jpg"}]}, {"id": "other", "files": []}]}`,
		"s/images/more.jpg":        "more",
		"s/images/00000_rgb.jpg":   "other bytes",
		"s/metadata/metadata.json": `{"owner": "ann", "x": 2}`,
		"tl/timelapse.json":        `{"metadata": {"k": 1}}`,
		"late/timelapse.json":      `{}`,
		"s/other/":                 "",
	}.write(t, f.dir)
	for _, dir := range []string{"gone", "old"} {
		if err := os.RemoveAll(filepath.Join(f.dir, dir)); err != nil {
			t.Fatal(err)
		}
	}
	f.reconcile(t)
	got := f.outbox(t)
	slices.Sort(got)
	want := []string{
		`scan.changed -:-  s {"set": ["x"], "files": {"added": 1, "changed": 1, "removed": 1}, "filesets": {"added": 1, "changed": 0, "removed": 0}}`,
		`scan.created -:-  new`,
		`scan.deleted -:-  gone`,
		`timelapse.changed -:-  tl| {"set": ["k"]}`,
		`timelapse.created -:-  late|`,
		`timelapse.deleted -:-  old|`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	var access string
	err := f.pool.QueryRow(t.Context(), `SELECT access::text FROM scan_events WHERE kind = 'scan.deleted'`).Scan(&access)
	if want := `{"owner": "ann", "sharing": [], "visibility": "public"}`; err != nil || access != want {
		t.Errorf("access kept with a scan that is gone = %s, %v, want %s", access, err, want)
	}
	if err := f.RefreshScan(observe.WithRequestID(as(t, ann), "by-ann"), "s"); err != nil {
		t.Error(err)
	}
	f.wantOutbox(t, len(want))
	// Who asks for a refresh did not change the scan.
	files{"s/metadata/metadata.json": `{"owner": "ann", "x": 3}`}.write(t, f.dir)
	if err := f.RefreshScan(observe.WithRequestID(as(t, ann), "by-ann"), "s"); err != nil {
		t.Error(err)
	}
	f.wantOutbox(t, len(want), `scan.changed -:- by-ann s {"set": ["x"]}`)
}

// A first index that was cut short goes on without an event for each file.
func TestFirstIndexCutShort(t *testing.T) {
	t.Parallel()
	f := indexed(t, plainScan("a", `{}`))
	for i := range 5 {
		plainScan(fmt.Sprintf("b%d", i), `{}`).write(t, f.dir)
	}
	f.reconcile(t)
	if got := f.outbox(t); len(got) != 5 || !strings.HasPrefix(got[0], "scan.created -:-") {
		t.Errorf("events = %q, want one scan.created for each of five scans", got)
	}
}

// What was made with an API token by a call whose transaction was lost has the
// token's id, whether a reconcile finds it or the same call comes again.
func TestFoundChangesNameTheirToken(t *testing.T) {
	t.Parallel()
	for _, again := range []bool{false, true} {
		pool := &losing{Pool: pgtest.New(t)}
		f := fixtureOn(t, pool, t.TempDir(), plainScan("s", `{"owner": "ann"}`))
		f.reconcile(t)
		token := scoped(ann, "*", actor.Read, actor.Write, actor.Create)
		token.TokenID = uuid.New()
		for _, call := range []func() error{
			func() error { return f.Create(as(t, token), "n", nil) },
			func() error { return f.CreateFileset(as(t, token), "s", "new", nil) },
			func() error { return upload(as(t, token), f.Service, "s", "images", "up", "jpg", "12345", "") },
		} {
			pool.lose.Store(1)
			if err := call(); !errors.Is(err, errLost) {
				t.Fatalf("a call whose transaction is lost = %v, want %v", err, errLost)
			}
			if again {
				if err := call(); err != nil {
					t.Errorf("the same call again = %v", err)
				}
			}
		}
		f.reconcile(t)
		var events, named int
		err := f.pool.QueryRow(t.Context(), `SELECT count(*), count(*) FILTER (WHERE token_id = $1 AND token_kind = 'api_token')
			FROM scan_events WHERE kind IN ('scan.created', 'fileset.created', 'file.created')`, token.TokenID).Scan(&events, &named)
		if err != nil || events != 3 || named != 3 {
			t.Errorf("%d of %d events name the token (%v), want 3 of 3", named, events, err)
		}
	}
}

// An event is there exactly if its change is: none of a transaction that was
// lost, and one of the call that is made again and finds what lies on disk.
func TestLostTransactionRecordsOnce(t *testing.T) {
	t.Parallel()
	pool := &losing{Pool: pgtest.New(t)}
	f := fixtureOn(t, pool, t.TempDir(), plainScan("s", `{"owner": "ann"}`))
	f.reconcile(t)
	for _, call := range []struct {
		do   func() error
		want string
	}{
		{func() error { return f.Create(as(t, ann), "n", nil) }, `scan.created ann:none  n`},
		{func() error { return f.CreateFileset(as(t, ann), "s", "new", nil) }, `fileset.created ann:none  s/new`},
		{func() error { return upload(as(t, ann), f.Service, "s", "images", "up", "jpg", "12345", "") }, `file.created ann:none  s/images/up {"size": 5, "filename": "up.jpg"}`},
		{func() error { _, err := f.CreateTimelapse(as(t, ann), "tl", nil); return err }, `timelapse.created ann:none  tl|`},
	} {
		before := len(f.outbox(t))
		pool.lose.Store(1)
		if err := call.do(); !errors.Is(err, errLost) {
			t.Fatalf("%s: the first call = %v, want %v", call.want, err, errLost)
		}
		f.wantOutbox(t, before)
		if err := call.do(); err != nil {
			t.Errorf("%s: the second call = %v", call.want, err)
		}
		f.wantOutbox(t, before, call.want)
	}
	// Who comes with other bytes is refused, and the lost ones are told of as
	// those of who sent them.
	pool.lose.Store(1)
	before := len(f.outbox(t))
	if err := upload(as(t, ann), f.Service, "s", "images", "x", "jpg", "hers", ""); !errors.Is(err, errLost) {
		t.Fatal(err)
	}
	if err := upload(as(t, bob), f.Service, "s", "images", "x", "jpg", "his", ""); !errors.Is(err, ErrFileExists) {
		t.Error(err)
	}
	f.wantOutbox(t, before, `file.created ann:none  s/images/x {"size": 4, "filename": "x.jpg"}`)
}

// Files that are written together keep each its uploader and request.
func TestBatchRecordsEachUploader(t *testing.T) {
	t.Parallel()
	f := indexed(t, plainScan("s", `{"owner": "ann", "sharing": ["lab"]}`))
	var batch []pending
	for i, who := range []actor.Actor{ann, lars, bob} {
		up := must[*Upload](t)(f.BeginUpload(as(t, who), "s", "images", fmt.Sprint("f", i)))
		if err := up.Stage(t.Context(), strings.NewReader("bytes")); err != nil {
			t.Fatal(err)
		}
		p := pending{actor: who, by: originOf(observe.WithRequestID(as(t, who), fmt.Sprint("request-", i))), done: make(chan error, 1)}
		p.file.ID, p.file.Name, p.file.Content, p.file.Metadata = up.file, up.file+".jpg", up.staged, empty
		batch = append(batch, p)
	}
	if got := errors.Join(f.flushFiles(t.Context(), uploadKey{"s", "images"}, batch)...); got != nil {
		t.Fatal(got)
	}
	f.wantOutbox(t, 0,
		`file.created ann:none request-0 s/images/f0 {"size": 5, "filename": "f0.jpg"}`,
		`file.created lars:none request-1 s/images/f1 {"size": 5, "filename": "f1.jpg"}`,
		`file.created bob:none request-2 s/images/f2 {"size": 5, "filename": "f2.jpg"}`)
}

// What a stranger can make long or strange is bounded.
func TestEventDetailIsBounded(t *testing.T) {
	t.Parallel()
	f := indexed(t, plainScan("s", `{"owner": "ann"}`))
	var object strings.Builder
	for i := range 3000 {
		fmt.Fprintf(&object, `,"%04d%s\u0000":1`, i, strings.Repeat("k", 300))
	}
	_, err := f.SetMetadata(observe.WithRequestID(as(t, ann), strings.Repeat("r", 5000)), "s", Update{Metadata: json.RawMessage("{" + object.String()[1:] + "}")})
	if err != nil {
		t.Fatal(err)
	}
	got := f.outbox(t)
	if len(got) != 1 || len(got[0]) > 8000 || strings.Count(got[0], "kkk") == 0 {
		t.Errorf("event of 3,000 long keys = %d lines of %d bytes, want one of at most 8,000", len(got), len(strings.Join(got, "")))
	}
}

// Metadata that images lend to their scan is no edit from outside.
func TestNewImagesFillScan(t *testing.T) {
	t.Parallel()
	f := indexed(t, plainScan("s", `{"owner": "ann"}`))
	ctx := as(t, ann)
	if err := f.Create(ctx, "n", nil); err != nil {
		t.Fatal(err)
	}
	if err := f.CreateFileset(ctx, "n", "images", json.RawMessage(`{"object": {"species": "Arabidopsis thaliana"}}`)); err != nil {
		t.Fatal(err)
	}
	if got := must[json.RawMessage](t)(f.Metadata(ctx, "n")); !strings.Contains(string(got), "Arabidopsis") {
		t.Errorf("Metadata() = %s, want the species that the images tell", got)
	}
	before := len(f.outbox(t))
	f.reconcile(t)
	f.wantOutbox(t, before)
}

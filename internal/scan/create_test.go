package scan

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/romi/plantdb-go/internal/actor"
	"github.com/romi/plantdb-go/internal/fault"
	"github.com/romi/plantdb-go/internal/fsdb"
)

// clock makes the service's time stand still.
func (f fixture) clock(now time.Time) fixture {
	f.now = func() time.Time { return now }
	return f
}

func TestCreate(t *testing.T) {
	t.Parallel()
	f := indexed(t, files{"tl/timelapse.json": `{"id": "tl", "scans": ["x"], "extra": 1}`}).clock(noon)
	ctx := as(t, ann)
	for name, metadata := range map[string]string{
		"plain": ``, "null": `null`, "full": `{"z": {"b": 1}, "owner": "eve", "sharing": "lab", "visibility": "private"}`,
		"inside": `{"timelapse": {"id": "tl", "index": 1}}`, "a.b_c-1": `{}`, "_x": `{}`,
	} {
		if err := f.Create(ctx, name, json.RawMessage(metadata)); err != nil {
			t.Errorf("Create(%q, %s) = %v", name, metadata, err)
		}
	}
	stamps := `"created":` + noonText + `,"created_by":"Ann Other","last_modified":` + noonText + `,"owner":"ann"`
	for name, want := range map[string]string{
		"plain": "{" + stamps + "}", "null": "{" + stamps + "}",
		"full":   "{" + stamps + `,"sharing":["lab"],"visibility":"private","z":{"b":1}}`,
		"inside": "{" + stamps + `,"timelapse":{"id":"tl","index":1}}`,
	} {
		if got := must[json.RawMessage](t)(f.Metadata(ctx, name)); string(got) != want {
			t.Errorf("Metadata(%s) = %s, want %s", name, got, want)
		}
	}
	if got, want := f.read(t, "tl/inside/files.json"), "{\n    \"filesets\": []\n}"; got != want {
		t.Errorf("files.json = %q, want %q", got, want)
	}
	if got := f.read(t, "tl/timelapse.json"); !strings.Contains(got, `"inside"`) || !strings.Contains(got, `"extra": 1`) || !strings.Contains(got, `"owner": "ann"`) {
		t.Errorf("timelapse.json = %s, want the scan and the first owner registered", got)
	}
	before := f.rows(t)
	if done := f.reconcile(t); done.Read != 6 || done.Removed != 0 {
		t.Errorf("Reconcile() = %+v, want the six read", done)
	}
	if diff := cmp.Diff(before, f.rows(t)); diff != "" {
		t.Errorf("rows of the calls and rows of the tree:\n%s", diff)
	}
}

func TestCreateErrors(t *testing.T) {
	t.Parallel()
	f := indexed(t, plainScan("taken", `{}`), plainScan("tl/member", `{}`), files{"tl/timelapse.json": `{"owner": "eve"}`, "a_file": "", "dir/": ""})
	for _, tt := range []struct {
		a              actor.Actor
		name, metadata string
		want           error
		msg            string
	}{
		{rita, "x", ``, ErrForbidden, "User rita does not have required permissions to use create_scan"},
		{guest, "x", ``, ErrNoActor, "No authenticated user!"},
		{scoped(ann, "y*", actor.Create), "x", ``, ErrForbidden, "Token from User ann does not have required permissions to use create_scan"},
		{ann, "taken", ``, ErrScanExists, "Scan id 'taken' already exists!"},
		{ann, "member", ``, ErrScanExists, "Scan id 'member' already exists!"},
		{ann, "tl", ``, ErrScanExists, "Scan id 'tl' already exists!"},
		{ann, "a_file", ``, ErrScanExists, "Scan id 'a_file' already exists!"},
		{ann, "dir", ``, ErrScanExists, "Scan id 'dir' already exists!"},
		{ann, "bad name", ``, fsdb.ErrName, "Invalid scan identifier 'bad name'!"},
		{ann, "../x", ``, fsdb.ErrName, "Invalid scan identifier '../x'!"},
		{ann, "", ``, fsdb.ErrName, "Invalid scan identifier ''!"},
		{ann, "a\x00", ``, fsdb.ErrName, "Invalid scan identifier 'a\x00'!"},
		{ann, "info", ``, fsdb.ErrReserved, "Invalid scan identifier 'info'! The name is reserved."},
		{ann, "x", `[]`, ErrMetadata, ""},
		{ann, "x", `{"a":}`, ErrMetadata, ""},
		{ann, "x", "{\"a\": \"\xff\"}", ErrMetadata, ""},
		{ann, "x", `{"visibility": "secret"}`, ErrMetadata, "Visibility must be 'public' or 'private'"},
		{ann, "x", `{"study": 5}`, ErrBiology, "Invalid biological metadata: 'study' must be an object"},
		{ann, "x", `{"sharing": 5}`, ErrSharing, "Sharing field must be a list of group names"},
		{ann, "x", `{"sharing": [5]}`, ErrSharing, "Sharing field must be a list of group names"},
		{ann, "x", `{"sharing": ["lab", "none"]}`, ErrSharing, "One or more sharing groups do not exist"},
		{ann, "x", `{"sharing": "lab\u0000"}`, ErrSharing, "One or more sharing groups do not exist"},
		{ann, "x", `{"timelapse": {"id": "none"}}`, ErrUnknownTimelapse, "Unknown timelapse id 'none'!"},
		{ann, "x", `{"timelapse": {"id": "taken"}}`, ErrUnknownTimelapse, "Unknown timelapse id 'taken'!"},
		{ann, "x", `{"timelapse": {"id": "t\u0000"}}`, ErrUnknownTimelapse, "Unknown timelapse id 't\x00'!"},
		{scoped(ann, "x", actor.Create, actor.Write), "x", `{"timelapse": {"id": "tl"}}`, ErrForbidden, "Token from User ann does not have required permissions to use create_scan"},
	} {
		err := f.Create(as(t, tt.a), tt.name, json.RawMessage(tt.metadata))
		if !errors.Is(err, tt.want) {
			t.Errorf("Create(%s, %q, %s) = %v, want %v", tt.a.Username, tt.name, tt.metadata, err, tt.want)
			continue
		}
		if said, ok := errors.AsType[*fault.Error](err); tt.msg != "" && (!ok || said.Msg != tt.msg) {
			t.Errorf("Create(%s, %q, %s) says %q, want %q", tt.a.Username, tt.name, tt.metadata, said.Msg, tt.msg)
		}
	}
	if got := must[[]string](t)(f.Names(as(t, admin), Query{})); !slices.Equal(got, []string{"member", "taken"}) {
		t.Errorf("Names() = %v, want those that were there", got)
	}
}

// Of many who make one scan, exactly one does.
func TestCreateRace(t *testing.T) {
	t.Parallel()
	f := indexed(t, files{"tl/timelapse.json": `{}`})
	for round, metadata := range []string{``, `{"timelapse": {"id": "tl"}}`} {
		name := fmt.Sprintf("s%d", round)
		errs := make(chan error, 8)
		for range 8 {
			go func() { errs <- f.Create(as(t, ann), name, json.RawMessage(metadata)) }()
		}
		made := 0
		for range 8 {
			switch err := <-errs; {
			case err == nil:
				made++
			case !errors.Is(err, ErrScanExists):
				t.Errorf("Create() = %v, want nil or ErrScanExists", err)
			}
		}
		if made != 1 {
			t.Errorf("round %d: %d creations succeeded, want one", round, made)
		}
	}
}

// Two that want each other's name as timelapse lock both names in one order.
func TestCreateCrosswise(t *testing.T) {
	t.Parallel()
	f := indexed(t, files{"x/timelapse.json": `{}`, "y/timelapse.json": `{}`})
	began := time.Now()
	var wg sync.WaitGroup
	for range 20 {
		for _, pair := range [][2]string{{"x", "y"}, {"y", "x"}} {
			wg.Go(func() {
				err := f.Create(as(t, ann), pair[0], json.RawMessage(fmt.Sprintf(`{"timelapse": {"id": %q}}`, pair[1])))
				if !errors.Is(err, ErrScanExists) {
					t.Errorf("Create(%s in %s) = %v, want ErrScanExists", pair[0], pair[1], err)
				}
			})
		}
	}
	wg.Wait()
	var deadlocks int
	if err := f.pool.QueryRow(t.Context(), "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()").Scan(&deadlocks); err != nil || deadlocks > 0 {
		t.Errorf("%d deadlocks, %v, in %v", deadlocks, err, time.Since(began))
	}
}

func TestCreateFileset(t *testing.T) {
	t.Parallel()
	f := indexed(t, plainScan("s", `{"owner": "ann"}`), plainScan("tl/m", `{"owner": "ann"}`), files{"tl/timelapse.json": `{}`}).clock(noon)
	ctx := as(t, ann)
	for _, scan := range []string{"s", "m"} {
		if err := f.CreateFileset(ctx, scan, "PointCloud_1.0", json.RawMessage(`{"task": 1, "owner": "x"}`)); err != nil {
			t.Errorf("CreateFileset(%s) = %v", scan, err)
		}
		want := `{"created":` + noonText + `,"created_by":"Ann Other","last_modified":` + noonText + `,"owner":"x","task":1}`
		if got := must[json.RawMessage](t)(f.FilesetMetadata(ctx, scan, "PointCloud_1.0")); string(got) != want {
			t.Errorf("FilesetMetadata() = %s, want %s", got, want)
		}
		if got := must[[]string](t)(f.FilesetNames(ctx, scan, Query{})); !slices.Equal(got, []string{"images", "PointCloud_1.0"}) {
			t.Errorf("FilesetNames() = %v", got)
		}
	}
	for _, tt := range []struct {
		a                       actor.Actor
		scan, fileset, metadata string
		want                    error
		msg                     string
	}{
		{ann, "s", "images", ``, ErrFilesetExists, "Fileset id 'images' already exists in scan 's'!"},
		{ann, "none", "x", ``, ErrUnknownScan, "Unknown scan id 'none'!"},
		{rita, "s", "x", ``, ErrForbidden, "User rita does not have required permissions to use create_fileset"},
		{ann, "s", "metadata", ``, fsdb.ErrReserved, "Invalid fileset identifier 'metadata'! The name is reserved."},
		{ann, "s", "a/b", ``, fsdb.ErrName, "Invalid fileset identifier 'a/b'!"},
		{ann, "s", "x", `5`, ErrMetadata, "Metadata must be a dictionary"},
	} {
		err := f.CreateFileset(as(t, tt.a), tt.scan, tt.fileset, json.RawMessage(tt.metadata))
		if said, ok := errors.AsType[*fault.Error](err); !errors.Is(err, tt.want) || !ok || said.Msg != tt.msg {
			t.Errorf("CreateFileset(%s, %s, %s) = %v, want %v %q", tt.a.Username, tt.scan, tt.fileset, err, tt.want, tt.msg)
		}
	}
	errs := make(chan error, 8)
	for range 8 {
		go func() { errs <- f.CreateFileset(ctx, "s", "raced", nil) }()
	}
	made := 0
	for range 8 {
		switch err := <-errs; {
		case err == nil:
			made++
		case !errors.Is(err, ErrFilesetExists):
			t.Errorf("CreateFileset() = %v, want nil or ErrFilesetExists", err)
		}
	}
	if made != 1 {
		t.Errorf("%d creations succeeded, want one", made)
	}
}

func TestCreateTimelapse(t *testing.T) {
	t.Parallel()
	f := indexed(t, plainScan("s", `{}`), files{"dir/": ""}).clock(noon)
	tl := must[Timelapse](t)(f.CreateTimelapse(as(t, ann), "tl", json.RawMessage(`{"p": "q", "owner": "eve"}`)))
	want := Timelapse{
		ID: "tl", CreatedAt: strings.Trim(noonText, `"`), Owner: &ann.Username, Scans: []string{},
		Metadata: json.RawMessage(`{"p":"q","owner":"eve","last_modified":` + noonText + `}`),
	}
	if diff := cmp.Diff(want, tl); diff != "" {
		t.Errorf("CreateTimelapse() (-want +got):\n%s", diff)
	}
	for _, name := range []string{"b", "a", "c"} {
		if err := f.Create(as(t, bob), name, json.RawMessage(fmt.Sprintf(`{"timelapse": {"id": "tl", "scheduled": "2026-0%d"}, "visibility": %q}`,
			9-name[0]+'a', map[string]string{"a": Public, "b": Public, "c": Private}[name]))); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		a          actor.Actor
		order, due []string
	}{
		{bob, []string{"b", "a", "c"}, []string{"c", "b", "a"}},
		{guest, []string{"b", "a"}, []string{"b", "a"}}, // and not the private one
		{scoped(bob, "a", actor.Read), []string{"a"}, []string{"a"}},
	} {
		got := must[Timelapse](t)(f.Timelapse(as(t, tt.a), "tl"))
		if !slices.Equal(got.Scans, tt.order) || got.Counts.Scans != len(tt.order) {
			t.Errorf("Timelapse(%s) has %v, %d, want %v", tt.a.Username, got.Scans, got.Counts.Scans, tt.order)
		}
		if got := must[[]string](t)(f.TimelapseScans(as(t, tt.a), "tl", Query{})); !slices.Equal(got, tt.due) {
			t.Errorf("TimelapseScans(%s) = %v, want %v", tt.a.Username, got, tt.due)
		}
	}
	for _, tt := range []struct {
		a              actor.Actor
		name, metadata string
		want           error
	}{
		{ann, "tl", ``, ErrTimelapseExists}, {ann, "s", ``, ErrTimelapseExists}, {ann, "dir", ``, ErrTimelapseExists},
		{ann, "a.b", ``, fsdb.ErrName}, {ann, "_a", ``, fsdb.ErrName}, {ann, "configs", ``, fsdb.ErrReserved},
		{rita, "x", ``, ErrForbidden}, {guest, "x", ``, ErrNoActor}, {ann, "x", `[]`, ErrMetadata},
	} {
		if _, err := f.CreateTimelapse(as(t, tt.a), tt.name, json.RawMessage(tt.metadata)); !errors.Is(err, tt.want) {
			t.Errorf("CreateTimelapse(%s, %q) = %v, want %v", tt.a.Username, tt.name, err, tt.want)
		}
	}
	for _, name := range []string{"none", "s", "a\x00", "\xff"} {
		if _, err := f.Timelapse(as(t, ann), name); !errors.Is(err, ErrUnknownTimelapse) {
			t.Errorf("Timelapse(%q) = %v, want ErrUnknownTimelapse", name, err)
		}
		if _, err := f.TimelapseScans(as(t, ann), name, Query{}); !errors.Is(err, ErrUnknownTimelapse) {
			t.Errorf("TimelapseScans(%q) = %v, want ErrUnknownTimelapse", name, err)
		}
		if got, err := f.Names(as(t, ann), Query{Timelapse: name}); err != nil || got == nil || len(got) != 0 {
			t.Errorf("Names of timelapse %q = %v, %v, want an empty list", name, got, err)
		}
	}
}

// A fileset that another program took away can be made anew before a reconcile
// has seen that it went, whether files.json still lists it or not.
func TestCreateFilesetOfWhatIsGone(t *testing.T) {
	t.Parallel()
	for name, gone := range map[string]func(t *testing.T, f fixture){
		"its directory": func(*testing.T, fixture) {},
		"its entry as well": func(t *testing.T, f fixture) {
			t.Helper()
			files{"s/files.json": `{"filesets": []}`}.write(t, f.dir)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := indexed(t, plainScan("s", `{"owner": "ann"}`))
			f.remove(t, "s/images")
			gone(t, f)
			if err := f.CreateFileset(as(t, ann), "s", "images", json.RawMessage(`{"made": "anew"}`)); err != nil {
				t.Fatalf("CreateFileset() = %v", err)
			}
			if got := f.outbox(t); !slices.Contains(got, "fileset.created ann:none  s/images") {
				t.Errorf("events = %q, want one that ann made the fileset", got)
			}
			if err := upload(as(t, ann), f.Service, "s", "images", "new", "jpg", "12345", ""); err != nil {
				t.Fatalf("upload into it = %v", err)
			}
			known := f.rows(t)
			f.reconcile(t)
			f.expect(t, "a reconcile", known)
		})
	}
}

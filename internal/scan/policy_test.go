package scan

import (
	"context"
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	gotoken "go/token"
	"io"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/romi/plantdb-go/internal/actor"
	"github.com/romi/plantdb-go/internal/pgtest"
)

// The kinds of scans that policy tells apart.
func kinds() map[string]Access {
	owner, other := "ann", "eve"
	return map[string]Access{
		"ann's public":        {Name: "s", Owner: &owner, Visibility: Public},
		"ann's private":       {Name: "s", Owner: &owner, Visibility: Private},
		"eve's public":        {Name: "s", Owner: &other, Visibility: Public},
		"eve's private":       {Name: "s", Owner: &other, Visibility: Private},
		"lab's public":        {Name: "s", Owner: &other, Sharing: []string{"farm", "lab"}, Visibility: Public},
		"lab's private":       {Name: "s", Owner: &other, Sharing: []string{"lab"}, Visibility: Private},
		"nobody's public":     {Name: "s", Visibility: Public},
		"nobody's private":    {Name: "s", Visibility: Private},
		"the guest's public":  {Name: "s", Owner: &guest.Username, Visibility: Public},
		"the guest's private": {Name: "s", Owner: &guest.Username, Visibility: Private},
	}
}

// What each operation asks for, as auth.md has it and independent of the code:
// See, Read, Write, Delete, Create on the scan; the Owner's or an administrator's;
// an Administrator; the server itself, or who is at its machine (T).
var asks = map[string]byte{
	opReload: 's', opRead: 'r',
	opCreateFileset: 'w', opCreateFile: 'w', opSetMetadata: 'w', opAddToTimelapse: 'w',
	opDeleteScan: 'd', opDeleteFileset: 'd', opDeleteFile: 'd', opDeleteTimelapse: 'd', opRestore: 'd', opPurge: 'd',
	opSetVisibility: 'd', opSetSharing: 'd', opSetOwner: 'd',
	opCreateScan: 'c', opCreateTimelapse: 'c',
	opUsage:      'o',
	opListQuotas: 'a', opSetQuota: 'a', opScrub: 'a', opRelay: 'a',
	opBatch: 't', opCheck: 't', opCopy: 't', opKeepTrash: 't', opListAll: 't',
}

// Every role, operation and kind of scan: a cell has the letters of what an
// actor may do to a scan of that kind, the rest of the letters are refused.
func TestPolicy(t *testing.T) {
	t.Parallel()
	ritaOwns := rita
	ritaOwns.Username = "ann" // a reader who owns a scan
	leader := bob
	leader.Groups = []string{"farm", "lab"}
	const ownPublic, ownPrivate, labPublic, labPrivate = "ann's public", "ann's private", "lab's public", "lab's private"
	// What is not named is public, or private, and somebody else's.
	for _, tt := range []struct {
		who             string
		a               actor.Actor
		public, private string
		cells           map[string]string
	}{
		{"admin", admin, "srwdcoa", "srwdcoa", nil},
		{"system", actor.System(), "srwdcoat", "srwdcoat", nil},
		{"nobody", nobody, "", "", nil},
		{"guest", guest, "sr", "", nil},
		{"reader", rita, "sr", "", nil},
		{"reader and owner", ritaOwns, "sr", "", map[string]string{ownPublic: "srwdo", ownPrivate: "srwdo"}},
		{"reader and member", lars, "sr", "", map[string]string{labPublic: "srw", labPrivate: "srw"}},
		{"contributor", bob, "srwc", "c", nil},
		{"contributor and owner", ann, "srwc", "c", map[string]string{ownPublic: "srwdco", ownPrivate: "srwdco"}},
		{"contributor and member", leader, "srwc", "c", map[string]string{labPublic: "srwc", labPrivate: "srwc"}},
		// A token narrows what may be done, not what its owner may know.
		{"owner's token to read", scoped(ann, "s", actor.Read), "sr", "", map[string]string{ownPublic: "sro", ownPrivate: "sro"}},
		{"owner's token to write", scoped(ann, "s*", actor.Read, actor.Write), "srw", "", map[string]string{ownPublic: "srwo", ownPrivate: "srwo"}},
		{"owner's token for all", scoped(ann, "s*", actor.Read, actor.Write, actor.Create, actor.Delete), "srwc", "c", map[string]string{ownPublic: "srwdco", ownPrivate: "srwdco"}},
		{"owner's token for others", scoped(ann, "other", actor.Read, actor.Write, actor.Create, actor.Delete), "s", "", map[string]string{ownPublic: "so", ownPrivate: "so"}},
		{"reader's token for all", scoped(rita, "*", actor.Read, actor.Write, actor.Create, actor.Delete), "sr", "", nil},
		{"member's token to write", scoped(lars, "*", actor.Write), "s", "", map[string]string{labPublic: "sw", labPrivate: "sw"}},
		{"admin's token to read", scoped(admin, "*", actor.Read), "sr", "sr", nil},
		{"admin's token for all", scoped(admin, "*", actor.Read, actor.Write, actor.Create, actor.Delete), "srwdc", "srwdc", nil},
	} {
		for kind, access := range kinds() {
			want, ok := tt.cells[kind]
			switch {
			case ok:
			case strings.HasSuffix(kind, "private"):
				want = tt.private
			default:
				want = tt.public
			}
			for op, letter := range asks {
				allowed := strings.IndexByte(want, letter) >= 0
				if got := may(tt.a, op, access); got != allowed {
					t.Errorf("%s may %s %s scan: %t, want %t", tt.who, op, kind, got, allowed)
				}
				if !strings.ContainsRune("srwd", rune(letter)) {
					continue // is not asked of a scan that is there
				}
				var refusal error
				switch {
				case allowed:
				case !strings.Contains(want, "s"):
					refusal = ErrUnknownScan
				case tt.a.Guest && op != opRead:
					refusal = ErrNoActor
				default:
					refusal = ErrForbidden
				}
				if err := require(tt.a, access, op); !errors.Is(err, refusal) {
					t.Errorf("%s is told of %s %s scan: %v, want %v", tt.who, op, kind, err, refusal)
				}
			}
		}
	}
}

// Every operation of the package has its line in the matrix and in the test,
// and what has none is refused to everybody.
func TestMatrixIsComplete(t *testing.T) {
	t.Parallel()
	for op := range matrix {
		if asks[op] == 0 {
			t.Errorf("TestPolicy does not walk %s", op)
		}
	}
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	operations := 0
	for _, file := range files {
		parsed, err := parser.ParseFile(gotoken.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(parsed, func(n ast.Node) bool {
			spec, ok := n.(*ast.ValueSpec)
			if !ok || !strings.HasPrefix(spec.Names[0].Name, "op") || len(spec.Values) != 1 {
				return true
			}
			literal, ok := spec.Values[0].(*ast.BasicLit)
			if !ok || literal.Kind != gotoken.STRING {
				return true
			}
			operations++
			if op := strings.Trim(literal.Value, `"`); matrix[op] == nil || asks[op] == 0 {
				t.Errorf("%s (%s) has no line in the matrix or none in TestPolicy", spec.Names[0], op)
			}
			return true
		})
	}
	if operations != len(matrix) {
		t.Errorf("the package names %d operations, the matrix %d", operations, len(matrix))
	}
	for _, a := range []actor.Actor{admin, actor.System()} {
		if may(a, "fly", Access{Name: "s", Visibility: Public}) {
			t.Errorf("%s may do what has no line", a.Username)
		}
	}
}

func TestCanCreate(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		who  string
		a    actor.Actor
		want bool
	}{
		{"nobody", nobody, false},
		{"guest", guest, false},
		{"guest with a role", actor.Actor{Username: "guest", Guest: true, Roles: []actor.Role{actor.Admin}}, false},
		{"reader", rita, false},
		{"contributor", ann, true},
		{"admin", admin, true},
		{"token to create", scoped(ann, "ds_*", actor.Create), true},
		{"token to write", scoped(ann, "ds_*", actor.Write, actor.Read), false},
		{"token elsewhere", scoped(ann, "xs_*", actor.Create), false},
		{"reader's token", scoped(rita, "*", actor.Create), false},
	} {
		if got := CanCreate(tt.a, Access{Name: "ds_1"}); got != tt.want {
			t.Errorf("CanCreate(%s) = %v, want %v", tt.who, got, tt.want)
		}
	}
}

// What is refused, and in which words.
func TestRequire(t *testing.T) {
	t.Parallel()
	eve := "eve"
	public, private := Access{"s", &eve, nil, Public}, Access{"s", &eve, nil, Private}
	for _, tt := range []struct {
		who    string
		a      actor.Actor
		s      Access
		op     string
		target error
		msg    string
	}{
		{"guest", guest, public, opRead, nil, ""},
		{"guest", guest, public, opSetMetadata, ErrNoActor, "No authenticated user!"},
		{"guest", guest, private, opSetMetadata, ErrUnknownScan, "Unknown scan id 's'!"},
		{"reader", rita, public, opCreateFile, ErrForbidden, "User rita does not have required permissions to use create_file"},
		{"token", scoped(ann, "x", actor.Write), public, opSetMetadata, ErrForbidden, "Token from User ann does not have required permissions to use set_metadata"},
		{"token", scoped(ann, "x", actor.Read), public, opRead, ErrForbidden, "Token from User ann does not have required permissions to use read"},
		{"contributor", bob, private, opRead, ErrUnknownScan, "Unknown scan id 's'!"},
	} {
		err := require(tt.a, tt.s, tt.op)
		if !errors.Is(err, tt.target) || err != nil && err.Error() != tt.msg {
			t.Errorf("require(%s, %s, %s) = %v, want %v %q", tt.who, tt.s.Visibility, tt.op, err, tt.target, tt.msg)
		}
	}
}

// The lists show by SQL what policy shows by Go.
func TestSightIsCanSee(t *testing.T) {
	t.Parallel()
	tx := pgtest.Tx(t)
	name := rapid.SampledFrom([]string{"ann", "bob", "guest", ""})
	group := rapid.SliceOfN(rapid.SampledFrom([]string{"lab", "farm", ""}), 0, 2)
	rapid.Check(t, func(rt *rapid.T) {
		a := actor.Actor{
			Username: name.Draw(rt, "username"), Groups: group.Draw(rt, "groups"), Guest: rapid.Bool().Draw(rt, "guest"),
			Roles: rapid.SliceOfN(rapid.SampledFrom([]actor.Role{actor.Reader, actor.Contributor, actor.Admin, "root"}), 0, 2).Draw(rt, "roles"),
		}
		s := Access{Name: "s", Sharing: append([]string{}, group.Draw(rt, "sharing")...), Visibility: rapid.SampledFrom([]string{Public, Private}).Draw(rt, "visibility")}
		if owner := name.Draw(rt, "owner"); owner != "" { // the index keeps no empty one
			s.Owner = &owner
		}
		may := sightOf(a)
		var listed bool
		err := tx.QueryRow(t.Context(), `SELECT coalesce($1 = ANY($2::text[]) OR $3::text = $4 OR $5::text[] && $6::text[], false)`,
			s.Visibility, may.visibilities, s.Owner, may.username, s.Sharing, may.groups).Scan(&listed)
		if err != nil {
			rt.Fatal(err)
		}
		if want := CanSee(a, s); listed != want {
			rt.Fatalf("the lists show %+v to %+v: %v, want %v", s, a, listed, want)
		}
	})
}

// Every exported method refuses a context in which nobody acts, but for those
// that say otherwise. A method that is added is called here by itself.
func TestNoActorNoAnswer(t *testing.T) {
	t.Parallel()
	f := indexed(t, plainScan("s", `{"owner": "ann"}`), files{"tl/timelapse.json": `{"id": "tl"}`})
	exempt := []string{"AwaitUploads", "Count", "EventKeeper", "FeedEvents", "FoldAll", "KeepFolded", "KeepIndexed", "ListenOn", "MaxFileBytes", "OnProgress", "PreviewAhead", "Previewer", "Reconcile", "Scrubbed", "Scrubber", "TrashKeeper", "Watching"}
	service := reflect.ValueOf(f.Service)
	checked := 0
	for i := range service.NumMethod() {
		name := service.Type().Method(i).Name
		if slices.Contains(exempt, name) {
			continue
		}
		err := callWithout(t, service.Method(i), name)
		if !errors.Is(err, ErrNoActor) {
			t.Errorf("%s without an actor = %v, want ErrNoActor", name, err)
		}
		checked++
	}
	if checked < 15 {
		t.Errorf("checked %d methods, want all", checked)
	}
	up := must[*Upload](t)(f.BeginUpload(as(t, ann), "s", "images", "x"))
	up.Discard()
}

// callWithout calls a method with plausible arguments in a context without an
// actor and returns its error.
func callWithout(t *testing.T, method reflect.Value, name string) error {
	t.Helper()
	var args []reflect.Value
	texts := []string{"s", "images", "00000_rgb"}
	for in := range method.Type().Ins() {
		switch {
		case in == reflect.TypeFor[context.Context]():
			args = append(args, reflect.ValueOf(t.Context()))
		case in == reflect.TypeFor[io.Reader]():
			args = append(args, reflect.ValueOf(strings.NewReader("x")))
		case in == reflect.TypeFor[json.RawMessage]():
			args = append(args, reflect.ValueOf(json.RawMessage("{}")))
		case in == reflect.TypeFor[Update]():
			args = append(args, reflect.ValueOf(Update{Metadata: json.RawMessage(`{"a": 1}`)}))
		case in.Kind() == reflect.String:
			text := texts[0]
			if strings.Contains(name, "Timelapse") {
				text = "tl"
			}
			if strings.Contains(name, "Asset") {
				text = "s/files.json"
			}
			texts = append(texts[1:], "x")
			args = append(args, reflect.ValueOf(text))
		default:
			args = append(args, reflect.Zero(in))
		}
	}
	results := method.Call(args)
	err, ok := reflect.TypeAssert[error](results[len(results)-1])
	if !ok {
		return nil
	}
	return err
}

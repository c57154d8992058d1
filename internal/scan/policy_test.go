package scan

import (
	"context"
	"encoding/json"
	"errors"
	"io"
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

// Each cell says what an actor may do with a scan: see it, read it, write to it.
func TestPolicy(t *testing.T) {
	t.Parallel()
	annReads := scoped(ann, "s", actor.Read)
	annWrites := scoped(ann, "s*", actor.Read, actor.Write, actor.Delete)
	annElsewhere := scoped(ann, "other", actor.Read, actor.Write)
	adminReads := scoped(admin, "*", actor.Read)
	ritaOwns := rita
	ritaOwns.Username = "ann" // a reader who owns a scan
	for _, tt := range []struct {
		who   string
		a     actor.Actor
		want  map[string]string // kind -> "srw", with - for what is not allowed
		other string
	}{
		{"admin", admin, nil, "srw"},
		{"system", actor.System(), nil, "srw"},
		{"nobody", nobody, nil, "---"},
		{"guest", guest, map[string]string{
			"ann's private": "---", "eve's private": "---", "lab's private": "---", "nobody's private": "---", "the guest's private": "---",
		}, "sr-"},
		{"reader", rita, map[string]string{
			"ann's private": "---", "eve's private": "---", "lab's private": "---", "nobody's private": "---", "the guest's private": "---",
		}, "sr-"},
		{"reader and owner", ritaOwns, map[string]string{
			"ann's public": "srw", "ann's private": "srw",
			"eve's private": "---", "lab's private": "---", "nobody's private": "---", "the guest's private": "---",
		}, "sr-"},
		{"contributor and owner", ann, map[string]string{
			"eve's private": "---", "lab's private": "---", "nobody's private": "---", "the guest's private": "---",
		}, "srw"},
		{"contributor", bob, map[string]string{
			"ann's private": "---", "eve's private": "---", "lab's private": "---", "nobody's private": "---", "the guest's private": "---",
		}, "srw"},
		{"member", lars, map[string]string{
			"lab's public": "srw", "lab's private": "srw",
			"ann's private": "---", "eve's private": "---", "nobody's private": "---", "the guest's private": "---",
		}, "sr-"},
		{"owner's token to read", annReads, map[string]string{
			"eve's private": "---", "lab's private": "---", "nobody's private": "---", "the guest's private": "---",
		}, "sr-"},
		{"owner's token to write", annWrites, map[string]string{
			"eve's private": "---", "lab's private": "---", "nobody's private": "---", "the guest's private": "---",
		}, "srw"},
		{"owner's token for others", annElsewhere, map[string]string{
			"eve's private": "---", "lab's private": "---", "nobody's private": "---", "the guest's private": "---",
		}, "s--"},
		{"admin's token to read", adminReads, nil, "sr-"},
	} {
		for kind, access := range kinds() {
			want, ok := tt.want[kind]
			if !ok {
				want = tt.other
			}
			got := ""
			for i, allowed := range []rule{CanSee, CanRead, CanWrite} {
				if allowed(tt.a, access) {
					got += "srw"[i : i+1]
				} else {
					got += "-"
				}
			}
			if got != want {
				t.Errorf("%s on %s scan: %s, want %s", tt.who, kind, got, want)
			}
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
		if got := CanCreate(tt.a, "ds_1"); got != tt.want {
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
		may    rule
		target error
		msg    string
	}{
		{"guest", guest, public, opRead, CanRead, nil, ""},
		{"guest", guest, public, opSetMetadata, CanWrite, ErrNoActor, "No authenticated user!"},
		{"guest", guest, private, opSetMetadata, CanWrite, ErrUnknownScan, "Unknown scan id 's'!"},
		{"reader", rita, public, opCreateFile, CanWrite, ErrForbidden, "User rita does not have required permissions to use create_file"},
		{"token", scoped(ann, "x", actor.Write), public, opSetMetadata, CanWrite, ErrForbidden, "Token from User ann does not have required permissions to use set_metadata"},
		{"token", scoped(ann, "x", actor.Read), public, opRead, CanRead, ErrForbidden, "Token from User ann does not have required permissions to use read"},
		{"contributor", bob, private, opRead, CanRead, ErrUnknownScan, "Unknown scan id 's'!"},
	} {
		err := require(tt.a, tt.s, tt.op, tt.may)
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
	exempt := []string{"Count", "EventKeeper", "FeedEvents", "FoldAll", "KeepFolded", "KeepIndexed", "ListenOn", "MaxFileBytes", "OnProgress", "PreviewAhead", "Previewer", "Reconcile", "Scrubbed", "Scrubber", "TrashKeeper", "Watching"}
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

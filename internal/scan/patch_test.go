package scan

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/romi/plantdb-go/internal/actor"
)

// The examples of RFC 7396, appendix A, whose target is an object.
func TestMergePatch(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ target, patch, want string }{
		{`{"a":"b"}`, `{"a":"c"}`, `{"a":"c"}`},
		{`{"a":"b"}`, `{"b":"c"}`, `{"a":"b","b":"c"}`},
		{`{"a":"b"}`, `{"a":null}`, `{}`},
		{`{"a":"b","b":"c"}`, `{"a":null}`, `{"b":"c"}`},
		{`{"a":["b"]}`, `{"a":"c"}`, `{"a":"c"}`},
		{`{"a":"c"}`, `{"a":["b"]}`, `{"a":["b"]}`},
		{`{"a":{"b":"c"}}`, `{"a":{"b":"d","c":null}}`, `{"a":{"b":"d"}}`},
		{`{"a":[{"b":"c"}]}`, `{"a":[1]}`, `{"a":[1]}`},
		{`["a","b"]`, `["c","d"]`, `["c","d"]`},
		{`{"a":"b"}`, `["c"]`, `["c"]`},
		{`{"e":null}`, `{"a":1}`, `{"e":null,"a":1}`},
		{`[1,2]`, `{"a":"b","c":null}`, `{"a":"b"}`},
		{`{}`, `{"a":{"bb":{"ccc":null}}}`, `{"a":{"bb":{}}}`},
		{`{"n":12345678901234567890.5}`, `{"m":1e400}`, `{"n":12345678901234567890.5,"m":1e400}`},
	} {
		got, err := mergePatch(json.RawMessage(tt.target), json.RawMessage(tt.patch))
		if err != nil || string(got) != tt.want {
			t.Errorf("mergePatch(%s, %s) = %s, %v, want %s", tt.target, tt.patch, got, err, tt.want)
		}
	}
}

// A patch of a scan: protected keys stay, the timelapse keeps its id, and what
// is shown from the images is what is patched.
func TestPatchMetadata(t *testing.T) {
	t.Parallel()
	ctx := as(t, ann)
	for _, tt := range []struct {
		scan, patch, want string // what is shown, but for last_modified
		err               error
	}{
		{"s", `{"a": {"b": null, "c": 3}, "x": null}`, `{"a":{"c":3},"object":{"species":"A","plant":"1"},"owner":"ann"}`, nil},
		{"s", `{"object": {"plant": "2"}}`, `{"a":{"b":1},"object":{"species":"A","plant":"2"},"owner":"ann","x":1}`, nil},
		{"s", `{"owner": null, "sharing": ["lab"], "visibility": "private", "created": 1, "y": 2}`, `{"a":{"b":1},"object":{"species":"A","plant":"1"},"owner":"ann","x":1,"y":2}`, nil},
		{"s", `{"timelapse": {"id": "tl"}}`, ``, ErrMemberElsewhere},
		{"s", `{"study": {"title": 5}, "biologicalMaterial": {"ageDays": "old"}}`, ``, ErrBiology},
		{"s", `[1]`, ``, ErrMetadata},
		{"s", ``, ``, ErrMetadata},
		{"m", `{"timelapse": null}`, `{"timelapse":{"id":"tl"}}`, nil},
		{"m", `{"timelapse": {"id": "other", "index": null, "n": 1}}`, `{"timelapse":{"id":"tl","n":1}}`, nil},
		{"m", `{"timelapse": 5, "z": 1}`, `{"timelapse":{"id":"tl","index":2},"z":1}`, nil},
	} {
		f := indexed(t, plainScan("s", `{"a": {"b": 1}, "owner": "ann", "x": 1}`), files{"s/metadata/images.json": `{"object": {"species": "A", "plant": "1"}}`},
			plainScan("tl/m", `{"timelapse": {"id": "tl", "index": 2}}`), files{"tl/timelapse.json": `{"id": "tl"}`})
		got, err := f.SetMetadata(ctx, tt.scan, Update{Metadata: json.RawMessage(tt.patch), Patch: true})
		if !errors.Is(err, tt.err) {
			t.Errorf("patch %s by %s = %v, want %v", tt.scan, tt.patch, err, tt.err)
		}
		if err != nil {
			continue
		}
		shown := decode(t, got)
		delete(shown, "last_modified")
		delete(shown, "acquisition_date")
		delete(shown, "hardware")
		if tt.scan == "m" {
			delete(shown, "object")
		}
		if fmt.Sprint(shown) != fmt.Sprint(decode(t, json.RawMessage(tt.want))) {
			t.Errorf("patch %s by %s shows %v, want %s", tt.scan, tt.patch, shown, tt.want)
		}
		if again := must[json.RawMessage](t)(f.Metadata(ctx, tt.scan)); string(again) != string(got) {
			t.Errorf("Metadata() = %s, and the patch answered %s", again, got)
		}
	}
}

// Of eight writers that read the same version one wins, and no change is lost.
func TestConditionalWrites(t *testing.T) {
	t.Parallel()
	f := indexed(t, plainScan("s", `{"owner": "ann", "n": 0, "b": {"z": 1, "a": 2}}`), files{"tl/timelapse.json": `{"id": "tl", "owner": "ann"}`})
	other := fixtureOn(t, f.pool, f.dir) // another server
	ctx := as(t, ann)
	type write func(s *Service, u Update) error
	for what, w := range map[string]struct {
		version func() string
		write   write
	}{
		"scan": {
			func() string { return Version(must[json.RawMessage](t)(f.Metadata(ctx, "s"))) },
			func(s *Service, u Update) error { _, err := s.SetMetadata(ctx, "s", u); return err },
		},
		"fileset": {
			func() string { return Version(must[json.RawMessage](t)(f.FilesetMetadata(ctx, "s", "images"))) },
			func(s *Service, u Update) error { _, err := s.SetFilesetMetadata(ctx, "s", "images", u); return err },
		},
		"file": {
			func() string {
				return Version(must[json.RawMessage](t)(f.FileMetadata(ctx, "s", "images", "00000_rgb")))
			},
			func(s *Service, u Update) error {
				_, err := s.SetFileMetadata(ctx, "s", "images", "00000_rgb", u)
				return err
			},
		},
		"timelapse": {
			func() string { return must[string](t)(must[Timelapse](t)(f.Timelapse(ctx, "tl")).Version()) },
			func(s *Service, u Update) error { _, err := s.SetTimelapseMetadata(ctx, "tl", u); return err },
		},
	} {
		version := w.version()
		for _, patch := range []bool{false, true} {
			var wg sync.WaitGroup
			errs := make([]error, 8)
			for i := range errs {
				wg.Go(func() {
					u := Update{Metadata: json.RawMessage(fmt.Sprintf(`{"n": %d, "patch": %v}`, i, patch)), Patch: patch, Match: Match{Versions: []string{version}}}
					errs[i] = w.write([]*Service{f.Service, other.Service}[i%2], u)
				})
			}
			wg.Wait()
			won := 0
			for _, err := range errs {
				if err == nil {
					won++
				} else if !errors.Is(err, ErrPrecondition) {
					t.Errorf("%s: a loser gets %v, want ErrPrecondition", what, err)
				}
			}
			if won != 1 {
				t.Errorf("%s: %d of eight conditional writes succeeded, want 1", what, won)
			}
			if version = w.version(); version == "" {
				t.Fatal("no version")
			}
		}
		if err := w.write(f.Service, Update{Metadata: json.RawMessage(`{"n": 99}`), Match: Match{Any: true}}); err != nil {
			t.Errorf("%s: a write with * = %v", what, err)
		}
	}
}

func TestSetTimelapseMetadata(t *testing.T) {
	t.Parallel()
	f := indexed(t, files{"tl/timelapse.json": `{"id": "tl", "owner": "ann", "x": 1, "metadata": {"a": {"b": 1}, "z": 1}}`, "bad/timelapse.json": "{"})
	annReader := rita
	annReader.Username = "ann"
	for _, tt := range []struct {
		a    actor.Actor
		name string
		u    Update
		want string
		err  error
	}{
		{guest, "tl", Update{Metadata: json.RawMessage(`{"k": 1}`)}, "", ErrNoActor},
		{rita, "tl", Update{Metadata: json.RawMessage(`{"k": 1}`)}, "", ErrForbidden},
		{scoped(ann, "tl", actor.Read), "tl", Update{Metadata: json.RawMessage(`{"k": 1}`)}, "", ErrForbidden},
		{ann, "none", Update{Metadata: json.RawMessage(`{"k": 1}`)}, "", ErrUnknownTimelapse},
		{ann, "tl", Update{Metadata: json.RawMessage(`5`)}, "", ErrMetadata},
		{annReader, "tl", Update{Metadata: json.RawMessage(`{"k": 1}`)}, `{"a":{"b":1},"z":1,"k":1`, nil},
		{bob, "tl", Update{Metadata: json.RawMessage(`{"a": {"c": 2}, "z": null}`), Patch: true}, `{"a":{"b":1,"c":2},"k":1`, nil},
		{bob, "tl", Update{Metadata: json.RawMessage(`{"only": 1}`), Replace: true}, `{"only":1`, nil},
	} {
		got, err := f.SetTimelapseMetadata(as(t, tt.a), tt.name, tt.u)
		if !errors.Is(err, tt.err) {
			t.Errorf("SetTimelapseMetadata(%s, %s by %s) = %v, want %v", tt.name, tt.u.Metadata, tt.a.Username, err, tt.err)
		}
		if shown := strings.ReplaceAll(string(got.Metadata), " ", ""); err == nil && !strings.HasPrefix(strings.Replace(shown, lastModified(shown), "", 1), tt.want) {
			t.Errorf("%s by %s shows %s, want %s...", tt.u.Metadata, tt.a.Username, shown, tt.want)
		}
	}
	if marker := f.read(t, "tl/timelapse.json"); !strings.Contains(marker, `"x": 1`) || !strings.Contains(marker, `"only": 1`) {
		t.Errorf("the marker is %s", marker)
	}
}

// lastModified is the member that every change sets.
func lastModified(shown string) string {
	i := strings.Index(shown, `,"last_modified"`)
	if i < 0 {
		return ""
	}
	return shown[i:min(len(shown), i+len(`,"last_modified":"2026-03-30T12:00:00.123456"`))]
}

package scan

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/romi/plantdb-go/internal/fsdb/meta"
)

var noon = time.Date(2026, time.March, 30, 12, 0, 0, 123456789, time.Local)

const noonText = `"2026-03-30T12:00:00.123456"`

func TestTimestamp(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		in   time.Time
		want string
	}{
		{noon, "2026-03-30T12:00:00.123456"},
		{time.Date(2026, 1, 2, 3, 4, 5, 0, time.Local), "2026-01-02T03:04:05.000000"}, // Python's isoformat would drop the zeros; both are read
		{noon.In(time.FixedZone("far", 7*3600)), "2026-03-30T12:00:00.123456"},
	} {
		if got := timestamp(tt.in); got != tt.want {
			t.Errorf("timestamp(%v) = %q, want %q", tt.in, got, tt.want)
		}
	}
}

func TestStamp(t *testing.T) {
	t.Parallel()
	const sent = `{"a": {"b": 1}, "owner": "eve", "created": "once", "last_modified": 5, "Owner": "eve"}`
	part, err := stamp(json.RawMessage(sent), ann, noon)
	if want := `{"a":{"b":1},"owner":"eve","created":` + noonText + `,"last_modified":` + noonText + `,"Owner":"eve","created_by":"Ann Other"}`; err != nil || string(part) != want {
		t.Errorf("stamp() = %s, %v, want %s", part, err, want)
	}
	scan, err := stampScan(json.RawMessage(sent), ann, noon)
	if want := `{"a":{"b":1},"owner":"ann","created":` + noonText + `,"last_modified":` + noonText + `,"Owner":"eve","created_by":"Ann Other"}`; err != nil || string(scan) != want {
		t.Errorf("stampScan() = %s, %v, want %s", scan, err, want)
	}
	if access := accessOf("s", scan); access.Owner == nil || *access.Owner != "ann" {
		t.Errorf("owner of %s = %v, want ann", scan, access.Owner)
	}
}

func TestUpdateApply(t *testing.T) {
	t.Parallel()
	const old = `{"a": {"b": 1, "c": 2}, "created": "c", "created_by": "Ann", "last_modified": "l", "owner": "ann", "sharing": ["lab"], "visibility": "private"}`
	const inside = `{"n": 1, "owner": "ann", "timelapse": {"id": "tl", "index": 3}}`
	for _, tt := range []struct {
		name, old, sent string
		replace         bool
		want            string // of a scan; empty: nothing is written
	}{
		{
			"merge", old, `{"a": {"b": 9}, "z": null}`, false,
			`{"a":{"b":9},"created":"c","created_by":"Ann","last_modified":NOW,"owner":"ann","sharing":["lab"],"visibility":"private","z":null}`,
		},
		{"protected alone", old, `{"owner": "eve", "sharing": [], "created": 1, "created_by": 2, "visibility": "public"}`, false, ""},
		{"nothing", old, `{}`, false, ""},
		{
			"protected besides", old, `{"owner": "eve", "x": 1}`, false,
			`{"a":{"b":1,"c":2},"created":"c","created_by":"Ann","last_modified":NOW,"owner":"ann","sharing":["lab"],"visibility":"private","x":1}`,
		},
		{
			"own last_modified", old, `{"last_modified": "never"}`, false,
			`{"a":{"b":1,"c":2},"created":"c","created_by":"Ann","last_modified":NOW,"owner":"ann","sharing":["lab"],"visibility":"private"}`,
		},
		{
			"another spelling", old, `{"Owner": "eve"}`, false,
			`{"a":{"b":1,"c":2},"created":"c","created_by":"Ann","last_modified":NOW,"owner":"ann","sharing":["lab"],"visibility":"private","Owner":"eve"}`,
		},
		{
			"replace", old, `{"x": 1, "owner": "eve"}`, true,
			`{"created":"c","created_by":"Ann","owner":"ann","sharing":["lab"],"visibility":"private","x":1,"last_modified":NOW}`,
		},
		{
			"replace by nothing", old, `{}`, true,
			`{"created":"c","created_by":"Ann","owner":"ann","sharing":["lab"],"visibility":"private","last_modified":NOW}`,
		},
		{"a key twice", `{}`, `{"x": 1, "x": 2}`, false, `{"x":2,"last_modified":NOW}`},
		{"large numbers", `{}`, `{"x": 12345678901234567890, "y": 1.50}`, false, `{"x":12345678901234567890,"y":1.50,"last_modified":NOW}`},
		{
			"timelapse of a member", inside, `{"timelapse": {"id": "other", "index": 4}}`, false,
			`{"n":1,"owner":"ann","timelapse":{"id":"tl","index":4},"last_modified":NOW}`,
		},
		{"timelapse that is none", inside, `{"timelapse": "other"}`, false, ""},
		{"timelapse null", inside, `{"timelapse": null}`, false, ""},
		{
			"replace keeps the timelapse", inside, `{"x": 1}`, true,
			`{"owner":"ann","x":1,"timelapse":{"id":"tl"},"last_modified":NOW}`,
		},
		{
			"replace with a timelapse", inside, `{"timelapse": {"index": 9}}`, true,
			`{"owner":"ann","timelapse":{"index":9,"id":"tl"},"last_modified":NOW}`,
		},
		{
			"replace with no timelapse", inside, `{"timelapse": 5}`, true,
			`{"owner":"ann","timelapse":{"id":"tl"},"last_modified":NOW}`,
		},
		{"timelapse without id, outside", `{}`, `{"timelapse": {"index": 1}}`, false, `{"timelapse":{"index":1},"last_modified":NOW}`},
	} {
		updated, changed, err := Update{Metadata: json.RawMessage(tt.sent), Replace: tt.replace}.applyToScan(json.RawMessage(tt.old), json.RawMessage(tt.old), noon)
		want := strings.ReplaceAll(tt.want, "NOW", noonText)
		if want == "" {
			if err != nil || changed || string(updated) != tt.old {
				t.Errorf("%s: apply(%s) = %s, %v, %v, want no change", tt.name, tt.sent, updated, changed, err)
			}
			continue
		}
		if err != nil || !changed || string(updated) != want {
			t.Errorf("%s: apply(%s) = %s, %v, %v, want %s", tt.name, tt.sent, updated, changed, err, want)
		}
	}
}

// To a fileset or file, timelapse and visibility are keys like any other.
func TestUpdateApplyToPart(t *testing.T) {
	t.Parallel()
	u := Update{Metadata: json.RawMessage(`{"timelapse": {"id": "x"}, "visibility": "rgb", "owner": "eve", "created_by": "eve"}`)}
	updated, changed, err := u.applyToPart(json.RawMessage(`{"created_by": "Ann"}`), noon)
	want := `{"created_by":"Ann","timelapse":{"id":"x"},"visibility":"rgb","last_modified":` + noonText + `}`
	if err != nil || !changed || string(updated) != want {
		t.Errorf("applyToPart() = %s, %v, %v, want %s", updated, changed, err, want)
	}
}

func TestUpdateApplyErrors(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		sent string
		want error
	}{
		{`[]`, ErrMetadata}, {`"x"`, ErrMetadata}, {``, ErrMetadata}, {`{"a": }`, ErrMetadata},
		{`{"timelapse": {"id": "tl"}}`, ErrMemberElsewhere},
		{`{"timelapse": {"id": ""}}`, ErrMemberElsewhere},
	} {
		for _, replace := range []bool{false, true} {
			if _, _, err := (Update{Metadata: json.RawMessage(tt.sent), Replace: replace}).applyToScan(json.RawMessage(`{}`), json.RawMessage(`{}`), noon); !errors.Is(err, tt.want) {
				t.Errorf("apply(%s, replace %v) = %v, want %v", tt.sent, replace, err, tt.want)
			}
		}
	}
}

func TestSameBut(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		a, b string
		want bool
	}{
		{`{"x": 1, "created": 1, "last_modified": 2}`, `{"last_modified": 9, "x": 1}`, true},
		{`{"x": {"b": 1, "a": 2}}`, `{"x": {"a": 2, "b": 1}}`, true},
		{`{"x": 1}`, `{"x": 2}`, false},
		{`{"x": 1}`, `{}`, false},
		{`{"created_by": "a"}`, `{"created_by": "b"}`, false},
		{`[]`, `[]`, false},
	} {
		if got := sameBut(json.RawMessage(tt.a), json.RawMessage(tt.b)); got != tt.want {
			t.Errorf("sameBut(%s, %s) = %v, want %v", tt.a, tt.b, got, tt.want)
		}
	}
}

// What a write keeps in the index is what a reader of the tree will find.
func TestOnDisk(t *testing.T) {
	t.Parallel()
	got, err := onDisk(json.RawMessage(`{"b": "é\u00e9\u0000", "a": 1.50, "b2": {"y": 1, "x": []}}`))
	want := `{"a":1.50,"b":"\u00e9\u00e9\u0000","b2":{"x":[],"y":1}}`
	if err != nil || string(got) != want {
		t.Errorf("onDisk() = %s, %v, want %s", got, err, want)
	}
	text, err := meta.Sorted(got)
	if err != nil {
		t.Fatal(err)
	}
	if read, _, err := meta.Read(text); err != nil || string(read) != want {
		t.Errorf("read again: %s, %v, want %s", read, err, want)
	}
	if _, err := onDisk(json.RawMessage(`[]`)); !errors.Is(err, ErrMetadata) {
		t.Errorf("onDisk([]) = %v, want ErrMetadata", err)
	}
}

func TestAccessOf(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ metadata, want string }{
		{`{}`, "- [] public"},
		{`{"owner": "ann", "sharing": "lab", "visibility": "private"}`, "ann [lab] private"},
		{`{"owner": "", "sharing": ["lab", 5, "farm"], "visibility": "secret"}`, "- [lab farm] public"},
		{`{"owner": 5, "sharing": {"lab": true}, "visibility": null}`, "- [] public"},
		// Only the keys by the letter count: others may be set by who may write.
		{`{"owner": "ann", "Owner": "eve", "OWNER": "eve", "SHARING": "eves", "Visibility": "private"}`, "ann [] public"},
		{`{"Owner": "eve", "Visibility": "private"}`, "- [] public"},
		{`{"owner": "ann\u0000", "sharing": ["la\u0000b"]}`, "ann\uFFFD [la\uFFFDb] public"}, // and not ann's
		{`{"owner": "` + strings.Repeat("x", 256) + `"}`, "- [] public"},
		{`[]`, "- [] public"},
	} {
		a := accessOf("s", json.RawMessage(tt.metadata))
		owner := "-"
		if a.Owner != nil {
			owner = *a.Owner
		}
		if got := fmt.Sprint(owner, " ", a.Sharing, " ", a.Visibility); got != tt.want {
			t.Errorf("accessOf(%.80s) = %s, want %s", tt.metadata, got, tt.want)
		}
	}
}

package meta_test

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/romi/plantdb-go/internal/fsdb/meta"
)

func TestRead(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		in, want string
		nulls    int
	}{
		{`{}`, `{}`, 0},
		{" {\n \"b\": 1, \"a\" : [ 1 , {} ] }\n", `{"b":1,"a":[1,{}]}`, 0},
		{"\uFEFF{\"a\":1}", `{"a":1}`, 0},
		{`{"a": NaN, "b": [Infinity, -Infinity, -1]}`, `{"a":null,"b":[null,null,-1]}`, 3},
		{`{"a":1,"b":2,"a":3}`, `{"a":3,"b":2}`, 0},
		{`{"é":1,"\u00e9":2}`, `{"\u00e9":2}`, 0},
		{`{"x":{"k":1,"k":{"k":1,"k":2}}}`, `{"x":{"k":{"k":2}}}`, 0},
		{`{"n":[12345678901234567890,1.50,-0,1E+2,0.1e-7]}`, `{"n":[12345678901234567890,1.50,-0,1E+2,0.1e-7]}`, 0},
		{`{"s":"\ud83c\udf31 \\ \/ \b\f\n\r\t\""}`, `{"s":"\ud83c\udf31 \\ \/ \b\f\n\r\t\""}`, 0},
		{deep(meta.MaxDepth), deep(meta.MaxDepth), 0},
	} {
		raw, nulls, err := meta.Read([]byte(tt.in))
		if string(raw) != tt.want || nulls != tt.nulls || err != nil {
			t.Errorf("Read(%.60q) = %s, %d, %v, want %s, %d", tt.in, raw, nulls, err, tt.want, tt.nulls)
		}
	}
}

// deep returns an object that nests n levels.
func deep(n int) string {
	return `{"a":` + strings.Repeat("[", n-1) + strings.Repeat("]", n-1) + "}"
}

// What nests too deep is told apart from what is broken, whoever reads it.
func TestDepth(t *testing.T) {
	t.Parallel()
	brackets := strings.Repeat("[{", meta.MaxDepth)
	for in, want := range map[string]bool{
		deep(meta.MaxDepth):                   false,
		deep(meta.MaxDepth + 1):               true,
		deep(100_000):                         true,
		brackets:                              true,
		`{"a":"` + brackets + `"}`:            false,
		`{"a":"\"` + brackets + `","b":"\\"}`: false,
		`{"a":"\\",` + brackets:               true,
		strings.Repeat("[]", meta.MaxDepth+1): false,
	} {
		if got := meta.Deep([]byte(in)); got != want {
			t.Errorf("Deep(%.60q) = %v, want %v", in, got, want)
		}
	}
	for _, n := range []int{meta.MaxDepth + 1, 100_000} {
		if raw, _, err := meta.Read([]byte(deep(n))); !errors.Is(err, meta.ErrTooDeep) {
			t.Errorf("Read of %d levels = %.60s, %v, want ErrTooDeep", n, raw, err)
		}
	}
}

func TestReadRefuses(t *testing.T) {
	t.Parallel()
	for _, in := range []string{
		"", "null", "[]", `"{}"`, "{", "{}{}", "{} x", `{"a"}`, `{"a":}`, `{"a":1,}`, `{,}`, `{a:1}`, `{'a':1}`, `{"a":[1,]}`, `{"a":[1 2]}`,
		`{"a":01}`, `{"a":1.}`, `{"a":.5}`, `{"a":1e}`, `{"a":+1}`, `{"a":-}`, `{"a":nan}`, `{"a":-Inf}`, `{"a":tru}`, `{"a":"`, `{"a":"\`, `{"a":"\x"}`,
		`{"a":"\u12"}`, `{"a":"\u12g4"}`, "{\"a\":\"\n\"}", "{\"a\":\"\xff\"}", "{\"a\":\x00}",
		`{"a":"\ud800"}`, `{"a":"\ud800x12345"}`, `{"a":"\ud800\u0041"}`, `{"a":"\udc00\ud800"}`, `{"\ud800":1}`,
		`{"a":"` + strings.Repeat("x", meta.MaxBytes) + `"}`,
	} {
		if raw, _, err := meta.Read([]byte(in)); !errors.Is(err, meta.ErrInvalid) {
			t.Errorf("Read(%.60q) = %.60s, %v, want ErrInvalid", in, raw, err)
		}
	}
	if _, err := meta.Sorted(json.RawMessage(`{"a":NaN}`)); !errors.Is(err, meta.ErrInvalid) {
		t.Errorf("Sorted(NaN) = %v, want ErrInvalid: only a file may hold it", err)
	}
}

func TestObject(t *testing.T) {
	t.Parallel()
	raw := json.RawMessage(` {"b": {"x" : 1}, "a\u00e9": [1, 2], "b": "last"}`)
	want := []meta.Member{{Name: "b", Value: json.RawMessage(`"last"`)}, {Name: "aé", Value: json.RawMessage(`[1,2]`)}}
	got, err := meta.Object(raw)
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Fatalf("Object(%s), %v (-want +got):\n%s", raw, err, diff)
	}
	if joined := string(meta.Join(got)); joined != `{"b":"last","a\u00e9":[1,2]}` {
		t.Errorf("Join(Object(%s)) = %s", raw, joined)
	}
	if v := meta.Get(got, "missing"); v != nil {
		t.Errorf("Get(missing) = %s, want nil", v)
	}
	got = meta.Set(meta.Set(got, "b", json.RawMessage("1")), "c", json.RawMessage("2"))
	if joined := string(meta.Join(got)); joined != `{"b":1,"a\u00e9":[1,2],"c":2}` {
		t.Errorf("Join after Set = %s", joined)
	}
}

func TestText(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]string{`"a\u00e9\n"`: "aé\n", `""`: "", `1`: "-", `null`: "-", ``: "-", `{}`: "-"} {
		got, ok := meta.Text(json.RawMessage(raw))
		if !ok {
			got = "-"
		}
		if got != want {
			t.Errorf("Text(%s) = %q, %t, want %q", raw, got, ok, want)
		}
	}
}

func TestMerge(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		old, update, want string
		protected         []string
	}{
		{`{}`, `{}`, `{}`, nil},
		{`{"a":1,"b":2}`, `{"c":3,"a":{"x":1}}`, `{"a":{"x":1},"b":2,"c":3}`, nil},
		{`{"object":{"family":"UFO","size":"big"}}`, `{"object":{"size":"small"}}`, `{"object":{"size":"small"}}`, nil},
		{`{"a":1}`, `{"a":null,"b":null}`, `{"a":null,"b":null}`, nil},
		{`{"owner":"ann"}`, `{"owner":"eve","sharing":["x"],"z":1}`, `{"owner":"ann","z":1}`, []string{"owner", "sharing"}},
		{`{"n":12345678901234567890}`, `{"x":1.10}`, `{"n":12345678901234567890,"x":1.10}`, nil},
	} {
		got, err := meta.Merge(json.RawMessage(tt.old), json.RawMessage(tt.update), tt.protected)
		if string(got) != tt.want || err != nil {
			t.Errorf("Merge(%s, %s) = %s, %v, want %s", tt.old, tt.update, got, err, tt.want)
		}
	}
	for _, bad := range [][2]string{{`[]`, `{}`}, {`{}`, `1`}, {`{}`, ``}} {
		if got, err := meta.Merge(json.RawMessage(bad[0]), json.RawMessage(bad[1]), nil); !errors.Is(err, meta.ErrInvalid) {
			t.Errorf("Merge(%s, %s) = %s, %v, want ErrInvalid", bad[0], bad[1], got, err)
		}
	}
}

func TestPythonForm(t *testing.T) {
	t.Parallel()
	raw := json.RawMessage(`{"b":[1,{"z":[],"y":{}}],"a":"é🌱\u007f\"\\\b\f\n\r\t\u0001/","b2":{"d":1.0,"c":null}}`)
	sorted := `{
    "a": "\u00e9\ud83c\udf31\u007f\"\\\b\f\n\r\t\u0001/",
    "b": [
        1,
        {
            "y": {},
            "z": []
        }
    ],
    "b2": {
        "c": null,
        "d": 1.0
    }
}`
	if got, err := meta.Sorted(raw); string(got) != sorted || err != nil {
		t.Errorf("Sorted(%s) = %s, %v, want %s", raw, got, err, sorted)
	}
	ordered := "{\n    \"b\": {\n        \"z\": 1,\n        \"a\": 2\n    },\n    \"a\": []\n}"
	if got, err := meta.Ordered(json.RawMessage(`{"b":{"z":1,"a":2},"a":[]}`)); string(got) != ordered || err != nil {
		t.Errorf("Ordered = %s, %v, want %s", got, err, ordered)
	}
	if got, err := meta.Sorted(json.RawMessage(" {} ")); string(got) != "{}" || err != nil {
		t.Errorf("Sorted({}) = %s, %v, want {}", got, err)
	}
}

func FuzzRead(f *testing.F) {
	for _, s := range []string{`{}`, `{"a":[1,NaN,"\ud83c\udf31"],"b":{"c":-0.5e3},"a":null}`, `{"é":"\u00e9","\u00e9":1}`, `{"a":{"b":1,"b":{"a":2,"a":3}}}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		raw, nulls, err := meta.Read(data)
		var std map[string]any
		if err != nil {
			return
		}
		if err := json.Unmarshal(raw, &std); err != nil {
			t.Fatalf("Read(%q) = %s, which encoding/json refuses: %v", data, raw, err)
		}
		var given map[string]any
		if nulls == 0 && json.Unmarshal([]byte(strings.TrimPrefix(string(data), "\uFEFF")), &given) == nil && !reflect.DeepEqual(std, given) {
			t.Fatalf("Read(%q) = %s says something else", data, raw)
		}
		sorted, err := meta.Sorted(raw)
		if err != nil {
			t.Fatalf("Sorted(%s) = %v", raw, err)
		}
		if again, err := meta.Sorted(sorted); string(again) != string(sorted) || err != nil {
			t.Fatalf("Sorted is not stable: %s, then %s, %v", sorted, again, err)
		}
		members, err := meta.Object(raw)
		if err != nil {
			t.Fatalf("Object(%s) = %v", raw, err)
		}
		if back, err := meta.Sorted(meta.Join(members)); string(back) != string(sorted) || err != nil {
			t.Fatalf("Join(Object(%s)) = %s, %v", raw, back, err)
		}
	})
}

func FuzzMerge(f *testing.F) {
	f.Add([]byte(`{"a":1,"b":{}}`), []byte(`{"b":[],"c":null}`))
	f.Fuzz(func(t *testing.T, old, update []byte) {
		merged, err := meta.Merge(old, update, []string{"owner"})
		if err != nil {
			return
		}
		a, _ := meta.Object(old)
		b, _ := meta.Object(update)
		got, err := meta.Object(merged)
		if err != nil || len(got) < len(a) {
			t.Fatalf("Merge(%s, %s) = %s, %v", old, update, merged, err)
		}
		for i := range a {
			if got[i].Name != a[i].Name {
				t.Fatalf("Merge(%s, %s) = %s: key %q moved", old, update, merged, a[i].Name)
			}
		}
		for _, m := range b {
			if m.Name != "owner" && string(meta.Get(got, m.Name)) != string(m.Value) {
				t.Fatalf("Merge(%s, %s) = %s: %q is not set", old, update, merged, m.Name)
			}
		}
	})
}

func BenchmarkSorted(b *testing.B) {
	raw := json.RawMessage(`{"channel":"rgb","shot_id":"00000","approximate_pose":[1.5,2.5,3.5,0.1,0.2],"colmap_camera":{"camera_model":{"model":"OPENCV","width":1440,"params":[1,2,3]},"rotmat":[[1,0,0],[0,1,0],[0,0,1]],"tvec":[1,2,3]},"owner":"admin"}`)
	b.SetBytes(int64(len(raw)))
	for b.Loop() {
		if _, err := meta.Sorted(raw); err != nil {
			b.Fatal(err)
		}
	}
}

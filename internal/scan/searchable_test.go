package scan

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"pgregory.net/rapid"

	"github.com/romi/plantdb-go/internal/fsdb/meta"
	"github.com/romi/plantdb-go/internal/pgtest"
)

func TestSearchable(t *testing.T) {
	t.Parallel()
	tx := pgtest.Tx(t)
	digits := strings.Repeat("9", 2000)
	for _, tt := range []struct{ in, want string }{
		{`{"a": 1.50, "b": "x"}`, `{"a": 1.50, "b": "x"}`}, // as it is
		{`{"a": "\u0000"}`, `{"a":"` + substitute + `"}`},
		{`{"x\u0000y": {"\u0000": ["\u0000"]}}`, `{"x` + substitute + `y":{"` + substitute + `":["` + substitute + `"]}}`},
		{`{"a": "\ud800"}`, `{"a":"` + substitute + `"}`},
		{`{"a": "\ud83c\udf31"}`, `{"a":"🌱"}`},
		{`{"a": "\\u0000"}`, `{"a":"\\u0000"}`}, // a backslash and a word
		{`{"a": 1e400}`, `{"a":null}`},
		{`{"a": -1E+999999999}`, `{"a":null}`},
		{`{"a": 1e-999999999}`, `{"a":0}`},
		{`{"a": 1e5}`, `{"a":100000}`},
		{`{"a": ` + digits + `}`, `{"a":null}`},
		{`{"a": "` + digits + `"}`, `{"a":"` + digits + `"}`},
		{`{"a": 0.` + digits + `}`, `{"a":null}`},
		{`{"a": 12345678901234567890123}`, `{"a": 12345678901234567890123}`},
		{`no JSON \u0000`, `{}`},
	} {
		got := string(searchable(json.RawMessage(tt.in)))
		if got != tt.want {
			t.Errorf("searchable(%.60s) = %.60s, want %.60s", tt.in, got, tt.want)
		}
		if err := insertable(t, tx, json.RawMessage(got)); err != nil {
			t.Errorf("jsonb of searchable(%.60s): %v", tt.in, err)
		}
	}
}

// insertable says whether PostgreSQL takes raw, without spoiling the
// transaction.
func insertable(t testing.TB, tx pgx.Tx, raw json.RawMessage) error {
	t.Helper()
	sub, err := tx.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = sub.Rollback(t.Context()) }() // nothing is to stay
	var kind string
	return sub.QueryRow(t.Context(), "SELECT jsonb_typeof($1::jsonb)", raw).Scan(&kind)
}

// Whatever the tree's reader lets pass can be stored, as json and as jsonb.
func TestSearchableIsInsertable(t *testing.T) {
	t.Parallel()
	tx := pgtest.Tx(t)
	token := rapid.SampledFrom([]string{
		`"\u0000"`, `"\ud83c\udf31"`, `"\\u0000"`, `"\\\u0000"`, `"x"`, `"é"`, `1`, `-0`, `1e5`, `1E400`, `1e-400`, `0.1e+309`,
		`9` + strings.Repeat("0", 1200), `0.` + strings.Repeat("1", 1200), `1e131072`, `1e-16384`, `123456789e300`, `null`, `true`, `[]`, `{}`,
		`1.7976931348623157e308`, `5e-324`, `NaN`, `-Infinity`,
	})
	rapid.Check(t, func(rt *rapid.T) {
		var b strings.Builder
		b.WriteString("{")
		for i := range rapid.IntRange(0, 5).Draw(rt, "members") {
			if i > 0 {
				b.WriteString(",")
			}
			key := rapid.SampledFrom([]string{`"a"`, `"\u0000"`, `"a\u0000"`, `"1e5"`}).Draw(rt, "key")
			b.WriteString(key + ":[" + token.Draw(rt, "x") + `,{"k":` + token.Draw(rt, "y") + "}]")
		}
		b.WriteString("}")
		read, _, err := meta.Read([]byte(b.String()))
		if err != nil {
			rt.Fatalf("Read(%s) = %v", b.String(), err)
		}
		if err := insertable(t, tx, searchable(read)); err != nil {
			rt.Fatalf("jsonb of searchable(%s): %v", read, err)
		}
		var back string
		if err := tx.QueryRow(t.Context(), "SELECT $1::json::text", read).Scan(&back); err != nil || back != string(read) {
			rt.Fatalf("json of %s = %s, %v", read, back, err)
		}
	})
}

func FuzzSearchable(f *testing.F) {
	f.Add([]byte(`{"a": "\u0000", "b": [1e400, "\ud800"]}`))
	f.Add([]byte(`{"1e5\u0000": {"x": -1E-99999}}`))
	tx := pgtest.Tx(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		read, _, err := meta.Read(data)
		if err != nil {
			return
		}
		if err := insertable(t, tx, searchable(read)); err != nil {
			t.Errorf("jsonb of searchable(%s): %v", read, err)
		}
	})
}

func TestCleanText(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"ann": "ann", "": "", "ann\x00": "ann" + substitute, "\xff": substitute, "\x00\x01": substitute + "\x01",
	} {
		if got := cleanText(in); got != want {
			t.Errorf("cleanText(%q) = %q, want %q", in, got, want)
		}
		if in == want != storable(in) {
			t.Errorf("storable(%q) = %v, want %v", in, storable(in), in == want)
		}
	}
}

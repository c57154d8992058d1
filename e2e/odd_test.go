package e2e

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/romi/plantdb-go/internal/contract"
)

// odd is a request that no client should send, beside what the walk adds: the
// token of who asks unless a line names one, and the length of the body.
type odd struct {
	what   string
	method string            // that of the operation unless given
	places map[string]string // of the path, where they are others
	apart  bool              // the path may be that of something else then
	query  string
	lines  []string
	body   string
	cut    bool // nothing comes after what is sent, though it says so
	plain  bool // net/http refuses it itself, in plain text
}

// TestOddInputIsNamed sends to every operation of accounts, sessions, tokens and
// keys, in both documents, bodies, cookies, headers, queries and names as no client
// should: as nobody, as a reader and as an administrator. Each refusal has a message
// and a code that the document lists for its status, none is a failure of the server,
// none tells how it is made, and nothing of the secrets in them is kept or logged.
func TestOddInputIsNamed(t *testing.T) {
	t.Parallel()
	key, setting := newKey()
	s := newSite(t, "JWT_SECRET_KEY="+setting, "LOGIN_MAX_ATTEMPTS=0")
	sv := s.start()
	admin := sv.login(s.admin())
	sv.user("rita", "reader")
	sv.user("target", "reader")
	sv.post("/groups", admin.access, map[string]any{"name": "lab", "members": []string{"rita"}}).want(t, "create group", http.StatusCreated)
	before := s.accounts()

	var list []operation
	for _, op := range append(sv.operations("openapi.json"), sv.operations("openapi-legacy.json")...) {
		if slices.ContainsFunc(op.Tags, func(tag string) bool { return tag == "auth" || tag == "users" || tag == "groups" }) {
			list = append(list, op)
		}
	}
	// What is deleted is gone for the rest.
	late := func(op operation) string {
		return strconv.FormatBool(op.method == http.MethodDelete) + op.template + op.method
	}
	slices.SortFunc(list, func(a, b operation) int { return strings.Compare(late(a), late(b)) })
	if len(list) < 45 {
		t.Errorf("the documents have %d operations of accounts; this looks at the wrong places", len(list))
	}
	documents := contract.Held(t, nil).Documents
	header := part(t, admin.access, 0)
	walks := make([]*oddWalk, 3)
	for i, user := range []string{"", "rita", adminName} {
		walks[i] = &oddWalk{
			server: sv, turn: i, user: user, header: header, key: key, documents: documents, secret: newPassword(), done: map[string]int{},
			wire: wire{address: strings.TrimPrefix(sv.URL, "http://")},
		}
		s.seen.add(walks[i].secret)
	}
	began := time.Now()
	together(len(walks), func(i int) {
		for n, op := range list {
			walks[i].walk(n, op)
		}
		walks[i].wire.close()
	})
	sent, want := 0, before
	for _, w := range walks {
		sent += w.sent
		want.users += w.done["register-user"] - w.done["delete-user"]
		want.groups += w.done["create-group"] - w.done["delete-group"]
		want.tokens += w.done["create-api-token"]
	}
	t.Logf("%d requests to %d operations in %s", sent, len(list), time.Since(began))
	if sent < 4_000 {
		t.Errorf("%d requests were sent; this looks at the wrong places", sent)
	}
	if got := s.accounts(); got != want {
		t.Errorf("there are %+v, want %+v by what was answered with success", got, want)
	}
	sv.get("/health", "").want(t, "health after all of them", http.StatusOK)
	sv.login(person{"rita", s.seen.password("rita")})
	for line := range strings.Lines(s.logs()) {
		if strings.Contains(line, `"level":"ERROR"`) || strings.Contains(line, "panic") {
			t.Errorf("the log has %.500s", line)
			break
		}
	}
}

// accounts counts what the operations of accounts make.
type accounts struct{ users, groups, tokens int }

func (s *site) accounts() accounts {
	s.t.Helper()
	return accounts{
		one[int](s, "SELECT count(*) FROM users"), one[int](s, "SELECT count(*) FROM groups"), one[int](s, "SELECT count(*) FROM api_tokens"),
	}
}

// oddWalk is one who asks.
type oddWalk struct {
	*server

	turn      int
	user      string // empty is nobody
	header    object // of good tokens
	key       []byte
	documents *contract.Documents
	wire      wire
	secret    string // stands in what is sent, and must stand nowhere else

	access, refresh, csrf string // of a session that lives, unless nobody
	sent, told            int
	done                  map[string]int // successes, by operation
}

// open opens a session, without the hash that a login costs.
func (w *oddWalk) open() {
	if w.user == "" {
		return
	}
	ctx, cancel := soon(w.t)
	defer cancel()
	var sid, jti string
	err := w.site.db.QueryRow(ctx, `INSERT INTO sessions (id, user_id, created_at, last_seen_at, expires_at, absolute_expires_at)
		SELECT gen_random_uuid(), id, now(), now(), now() + interval '1 hour', now() + interval '1 hour' FROM users WHERE username = $1
		RETURNING id::text, gen_random_uuid()::text`, w.user).Scan(&sid, &jti)
	if err != nil {
		w.t.Errorf("open a session of %s: %v", w.user, err)
		return
	}
	now := time.Now().Unix()
	w.csrf = "csrf-of-" + jti
	claims := object{
		"iss": "plantdb-api", "aud": "plantdb-client", "sub": w.user, "iat": now, "exp": now + 3600,
		"jti": jti, "sid": sid, "type": "access", "csrf": w.csrf,
	}
	w.access = forge(w.t, w.header, claims, hs512(w.key))
	w.refresh = forge(w.t, w.header, claims.with("type", "refresh"), hs512(w.key))
}

// walk tries the operation. All three together send it each body and each name of
// its path, and every second of what any operation may get, another half to the next
// one.
func (w *oddWalk) walk(n int, op operation) {
	w.open()
	w.site.seen.add(w.access, w.refresh)
	anywhere := slices.Concat(w.headers(), w.cookies(), w.queries(op), methods())
	var paths []odd
	for _, p := range op.Parameters {
		if p.In == "path" {
			paths = append(paths, names(p.Name)...)
		}
	}
	list := slices.Concat(w.share(anywhere, n, 6), w.share(paths, n, 3))
	if w.user == "" {
		list = append(list, broken()...)
	}
	small := w.small(op)
	for _, o := range list {
		if o.body = small; small != "" {
			o.lines = append(slices.Clip(o.lines), asJSON)
		}
		w.try(op, o)
	}
	for _, o := range w.share(w.bodies(op), n, 3) {
		w.try(op, o)
	}
}

// share is one of so many parts of a list, and of the next operation's list the next.
func (w *oddWalk) share(list []odd, n, of int) (mine []odd) {
	slices.SortFunc(list, func(a, b odd) int { return strings.Compare(a.what, b.what) })
	for i := (w.turn + n) % of; i < len(list); i += of {
		mine = append(mine, list[i])
	}
	return mine
}

const (
	asJSON = "Content-Type: application/json"
	asForm = "Content-Type: application/x-www-form-urlencoded"
)

// small is a body that means something, but makes nobody hash a password.
func (w *oddWalk) small(op operation) string {
	switch {
	case len(op.properties) == 0:
		return ""
	case slices.ContainsFunc(slices.Collect(maps.Values(op.properties)), func(p property) bool { return p.Format == "password" }):
		return "{}"
	}
	return w.good(op).text()
}

// members are the members of an object in JSON, in order.
type members [][2]string

func (f members) text() string {
	var all []string
	for _, m := range f {
		all = append(all, strconv.Quote(m[0])+":"+m[1])
	}
	return "{" + strings.Join(all, ",") + "}"
}

// with returns a copy in which one member has other JSON.
func (f members) with(name, value string) members {
	f = slices.Clone(f)
	for i := range f {
		if f[i][0] == name {
			f[i][1] = value
		}
	}
	return f
}

// good is the example of the document, the secrets in which are ours.
func (w *oddWalk) good(op operation) (f members) {
	for _, m := range op.RequestBody.Content {
		var example map[string]json.RawMessage
		_ = json.Unmarshal(m.Example, &example) // where there is none, the next line has all
		for _, name := range slices.Sorted(maps.Keys(op.properties)) {
			value := string(example[name])
			switch {
			case op.properties[name].Format == "password", name == "secret", strings.HasSuffix(name, "token"):
				value = strconv.Quote(w.secret)
			case value == "":
				continue
			}
			f = append(f, [2]string{name, value})
		}
		if len(f) > 0 {
			return f
		}
	}
	return members{}
}

// bodies are what the operation may be sent, or if it takes no body, some all
// the same.
func (w *oddWalk) bodies(op operation) (list []odd) {
	add := func(what, body string, lines ...string) {
		list = append(list, odd{what: what, body: body, lines: lines})
	}
	cut := func(what, body string, lines ...string) {
		list = append(list, odd{what: what, body: body, lines: append(lines, asJSON), cut: true})
	}
	good := w.good(op)
	text := good.text()
	const over = 1<<20 + 100 // the bound of a body, and more
	add("unfinished JSON", `{"a":`, asJSON)
	add("a body over the bound", `{"a":"`+strings.Repeat("x", over)+`"}`, asJSON)
	cut("a chunk that breaks off", "ffff\r\n"+text, "Transfer-Encoding: chunked")
	cut("a body that breaks off", text, "Content-Length: "+strconv.Itoa(len(text)+100))
	cut("a chunk of no size", "zz\r\n"+text+"\r\n0\r\n\r\n", "Transfer-Encoding: chunked")
	if len(op.properties) == 0 {
		return list
	}
	deep := func(open, end string) string { return strings.Repeat(open, 50_000) + "1" + strings.Repeat(end, 50_000) }
	for what, body := range map[string]string{
		"nothing": "", "null": "null", "a list": "[]", "a list of objects": "[" + text + "]", "a text": `"text"`, "a number": "7", "true": "true", "no members": "{}",
		"deep lists": deep("[", "]"), "deep objects": deep(`{"a":`, "}"), "two objects": text + text, "a comma at the end": strings.TrimSuffix(text, "}") + ",}",
		"single quotes": strings.ReplaceAll(text, `"`, "'"), "a comment": "/* */" + text, "NaN": `{"a":NaN}`, "a byte order mark": "\ufeff" + text,
		"NUL": "\x00", "NUL at the end": text + "\x00", "a name that is no UTF-8": "{\"\xff\":1}", "UTF-16": "\xff\xfe{\x00}\x00",
		"a name of nothing": `{"":1}`, "names of Python and JavaScript": `{"__class__":1,"__proto__":{"admin":true},"constructor":{"prototype":{}}}`,
		"one more member": strings.Replace(text, "{", `{"more":[{"a":null}],`, 1), "names in capitals": `{"USERNAME":[],"PASSWORD":{},"TOKEN":7,"NAME":[]}`,
		"white space": " \t\r\n", "a huge number": `{"a":` + strings.Repeat("9", 100_000) + "}", "half a surrogate": `{"a":"\ud800"}`, "half an escape": `{"a":"\u12`,
	} {
		add(what, body, asJSON)
	}
	for _, name := range slices.Sorted(maps.Keys(op.properties)) {
		base := good
		if !slices.ContainsFunc(good, func(m [2]string) bool { return m[0] == name }) {
			base = append(slices.Clone(good), [2]string{name, "null"})
		}
		for _, value := range []string{
			"null", "true", "0", "-1", "1.5", "1e999", "123456789012345678901234567890", `""`, `" "`, "[]", "{}", "[null]", `{"":null}`, `[["` + w.secret + `"]]`,
			`{"` + w.secret + `":1}`, `"a\u0000b"`, `"\ud800"`, "\"\xff\xfe\"", "\"a\x00b\"", `"a\r\nSet-Cookie: a=b"`, `"../../etc/passwd"`, `"'; DROP TABLE users; --"`,
			`"` + strings.Repeat("é", 50_000) + `"`, "[" + strings.Repeat(`"x",`, 10_000) + `"x"]`,
		} {
			add(name+" is "+value[:min(len(value), 30)], base.with(name, value).text(), asJSON)
		}
		add(name+" twice, the first wrong", base.with(name, `7,"`+name+`":"x"`).text(), asJSON)
		add(name+" twice, the last wrong", base.with(name, `"x","`+name+`":{}`).text(), asJSON)
	}
	for _, value := range []string{
		"text/plain", "text/json", "application/xml", "multipart/form-data", "multipart/form-data; boundary=", "application/json; charset=utf-16", `application/json; charset="`,
		"application/json;;;=", "APPLICATION/JSON", "application/problem+json", "*/*", "application", "/", ";", "application/json, text/plain", "application/\xff", strings.Repeat("application/json;", 600),
	} {
		add("as "+value[:min(len(value), 40)], text, "Content-Type: "+value)
	}
	add("of no type", text)
	add("of two types", text, asJSON, "Content-Type: text/plain")
	for _, form := range []string{"", "token", "token=%zz", "token=a&token=b", "=&=&;", "token=%00", "token=%ff", "token=" + w.secret + ";x", "username=" + w.secret, strings.Repeat("a=b&", 10_000)} {
		add("a form of "+form[:min(len(form), 30)], form, asForm)
	}
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	_, _ = io.WriteString(z, text) // into memory
	_ = z.Close()
	for _, coding := range []string{"gzip", "GZIP", "br", "gzip, gzip", "deflate", "x\xff", ",", "identity, identity"} {
		add("in the coding "+coding, packed.String(), asJSON, "Content-Encoding: "+coding)
	}
	return list
}

// headers are those of any operation. Where none is Authorization the token of who
// asks goes along.
func (w *oddWalk) headers() (list []odd) {
	add := func(what string, lines ...string) { list = append(list, odd{what: what, lines: lines}) }
	for what, value := range map[string]string{
		"nothing": "", "a scheme alone": "Bearer", "a scheme and a blank": "Bearer ", "a scheme in small letters": "bearer " + w.secret, "a tab": "Bearer\t" + w.secret,
		"two blanks": "Bearer  " + w.secret, "two tokens": "Bearer " + w.secret + " " + w.secret, "two values": "Bearer " + w.secret + ", Bearer " + w.secret,
		"a comma first": ", Bearer " + w.secret, "Basic": "Basic " + base64.StdEncoding.EncodeToString([]byte("admin:"+w.secret)), "Basic of nothing": "Basic",
		"Digest": `Digest username="admin", response="` + w.secret + `"`, "no scheme": w.secret, "no UTF-8": "Bearer \xff\xfe" + w.secret, "dots": "Bearer ..", "more dots": "Bearer a.b.c.d",
		"None": "Bearer None", "undefined": "Bearer undefined", "an escape": "Bearer %00%0d%0a", "quotes": `Bearer "` + w.secret + `"`, "a long one": "Bearer " + strings.Repeat("A", 60_000),
		"one over the bound of a head": "Bearer " + strings.Repeat("A", 70_000), "half a token": "Bearer " + w.access[:len(w.access)/2], "a token and its end": "Bearer " + w.access + ".x",
		"a long scheme": strings.Repeat("B", 9000) + " x",
	} {
		add("Authorization of "+what, "Authorization: "+value)
	}
	add("two headers of Authorization", "Authorization: Bearer "+w.secret, "Authorization: Bearer "+w.secret)
	add("Authorization and an empty one", "Authorization: Bearer "+w.access, "Authorization:")
	add("Authorization and Basic", "Authorization: Bearer "+w.access, "Authorization: Basic "+w.secret)
	long := strings.Repeat("x", 10_000)
	for _, line := range []string{
		"X-CSRF-TOKEN: " + w.secret, "Accept: text/html", "Accept: */*;q=x,,;", "Accept: \xff", "Accept-Encoding: gzip;q=nonsense", "Accept-Language: " + long, "X-Request-Id: " + long,
		"X-Request-Id: \xff", "User-Agent: \xff\x80" + long, "User-Agent:", "Origin: null", "Origin: \xff", "Referer: " + long, "X-Forwarded-For: ,,, nowhere", "X-Forwarded-Prefix: //elsewhere.example",
		"Forwarded: for=\"", "X-HTTP-Method-Override: DELETE", `If-Match: "`, "If-None-Match: *", "If-Modified-Since: yesterday", "Range: bytes=9-1", "Tus-Resumable: 9", "Upgrade: h2c", "Prefer: " + long,
	} {
		add(line[:min(len(line), 40)], line)
	}
	return list
}

// cookies are those of any operation, without the token of who asks but where they
// have it.
func (w *oddWalk) cookies() (list []odd) {
	const access, refresh, none = "access_token_cookie=", "refresh_token_cookie=", "Authorization:"
	add := func(what string, lines ...string) {
		list = append(list, odd{what: "cookies: " + what, lines: append(lines, none)})
	}
	for what, value := range map[string]string{
		"nothing": "", "signs": ";;;=;,", "no value": "access_token_cookie", "an empty value": access, "garbage": access + w.secret, "two": access + w.secret + "; " + access + "b",
		"in quotes": access + `"` + w.secret + `"`, "no name": "=" + w.secret, "a long one": access + strings.Repeat("A", 60_000), "over the bound": access + strings.Repeat("A", 70_000),
		"many": strings.Repeat("a=b; ", 9_000), "no UTF-8": access + "\xff\xfe", "blanks": " " + access + " a b ", "no refresh token": refresh, "garbage to refresh": refresh + w.secret,
		"two to refresh": refresh + w.secret + "; " + refresh + "b", "garbage of both": access + w.secret + "; " + refresh + w.secret, "null": access + "null; " + refresh + "None",
		"a name in capitals": "ACCESS_TOKEN_COOKIE=" + w.secret,
	} {
		add(what, "Cookie: "+value)
	}
	add("two headers", "Cookie: "+access+w.secret, "Cookie: "+access+w.secret)
	add("garbage, and CSRF", "Cookie: "+access+w.secret+"; "+refresh+w.secret, "X-CSRF-TOKEN: "+w.secret)
	if w.user == "" {
		return list
	}
	both := "Cookie: " + access + w.access + "; " + refresh + w.refresh
	add("good ones without CSRF", both)
	add("good ones with an empty CSRF", both, "X-CSRF-TOKEN:")
	add("good ones with another CSRF", both, "X-CSRF-TOKEN: "+w.secret)
	add("good ones with CSRF twice", both, "X-CSRF-TOKEN: "+w.secret, "X-CSRF-TOKEN: "+w.csrf)
	add("good ones with CSRF as a cookie", both+"; csrf_access_token="+w.csrf)
	add("the good one twice", "Cookie: "+access+w.access+"; "+access+w.access, "X-CSRF-TOKEN: "+w.csrf)
	add("the good one in the place of the other", "Cookie: "+refresh+w.access, "X-CSRF-TOKEN: "+w.csrf)
	list = append(list, odd{what: "cookies: the good one beside the header", lines: []string{"Cookie: " + access + w.access, "X-CSRF-TOKEN: " + w.csrf}})
	return list
}

// queries are of the parameters that the operation has, of a token, and of one
// that it does not have.
func (w *oddWalk) queries(op operation) (list []odd) {
	add := func(query string) { list = append(list, odd{what: "?" + query[:min(len(query), 40)], query: query}) }
	for _, query := range []string{"token=" + w.secret, "token=" + w.secret + "&token=b", "&&==&;", "%zz", "%00=%ff", "access_token=" + w.secret, strings.Repeat("a=b&", 5_000)} {
		add(query)
	}
	for _, p := range op.Parameters {
		if p.In != "query" {
			continue
		}
		for _, value := range []string{
			"", "%00", "a%00b", "%ff", "%zz", "-1", "0", "1.5", "99999999999999999999", "NaN", "null", "[]", "%7B%7D", "true", "yes", "%20", ";", "%0d%0a", strings.Repeat("x", 10_000),
			"a&" + p.Name + "=b", "..%2F..", "%F0%9F%8C%B1",
		} {
			add(p.Name + "=" + value)
		}
		add(p.Name + "[]=a&" + p.Name + "[b]=c")
	}
	return list
}

func methods() (list []odd) {
	for _, method := range []string{"HEAD", "OPTIONS", "TRACE", "PROPFIND", "get", "PATCH"} {
		list = append(list, odd{what: "by " + method, method: method})
	}
	return list
}

// names are what may stand in a place of the path.
func names(place string) (list []odd) {
	for _, value := range []string{
		"%00", "a%00b", "%ff", "%c0%ae%c0%ae", "..", ".", "%2e%2e", "..%2f..%2fetc%2fpasswd", "a%2Fb", "%2F", "%5C", strings.Repeat("a", 10_000), "%25", "%2500", "%0d%0aX-Odd:%20yes", "%20", "%09",
		"%E2%80%AE", "*", "'%20OR%201=1", "%F0%9F%8C%B1", "-", "null", "%7B%7D", "%ef%bb%bfadmin", "a;b", "a%3Fb", "a%23b", "0", "-1", "",
	} {
		list = append(list, odd{
			what: place + " is " + value[:min(len(value), 40)], places: map[string]string{place: value},
			apart: strings.Trim(value, ".") == "" || value == "%2F" || value == "%2e%2e",
		})
	}
	return list
}

// broken are requests that are none: net/http refuses them before anything of
// ours sees them.
func broken() []odd {
	return []odd{
		{what: "a bad escape", query: "", places: map[string]string{"": "%zz"}, plain: true},
		{what: "NUL in a header", lines: []string{"Authorization: Bearer a\x00b"}, plain: true},
		{what: "a header without a colon", lines: []string{"Authorization"}, plain: true},
		{what: "a blank in the name of a header", lines: []string{"Author ization: x"}, plain: true},
		{what: "two lengths", lines: []string{"Content-Length: 1", "Content-Length: 2"}, plain: true},
		{what: "a length below zero", lines: []string{"Content-Length: -1"}, plain: true},
		{what: "two hosts", lines: []string{"Host: elsewhere.example"}, plain: true},
		{what: "an expectation", lines: []string{"Expect: nonsense"}, plain: true},
		{what: "a head of 300 kB", lines: []string{"X-Long: " + strings.Repeat("x", 300_000)}, plain: true},
	}
}

// inside is what an answer must not have: texts of Go, of its packages, of
// PostgreSQL, and places on the disk.
var inside = regexp.MustCompile(`goroutine |\.go:\d|panic|runtime error|json: |strconv\.|invalid character|SQLSTATE|pgx|/internal/|/usr/|/home/|/root/|/tmp/`)

// try sends one request and looks at its answer.
func (w *oddWalk) try(op operation, o odd) {
	method, target := op.method, op.template
	if o.method != "" {
		method = o.method
	}
	for _, p := range op.Parameters {
		if p.In != "path" {
			continue
		}
		value, ok := o.places[p.Name]
		if !ok {
			value = w.place(p.Name)
		}
		target = strings.Replace(target, "{"+p.Name+"}", value, 1)
	}
	target += o.places[""]
	if o.query != "" {
		target += "?" + o.query
	}
	lines := o.lines
	if w.user != "" && !has(lines, "Authorization:") {
		lines = append(slices.Clip(lines), "Authorization: Bearer "+w.access)
	}
	ctx, cancel := soon(w.t)
	defer cancel()
	a, err := w.wire.send(ctx, method, target, lines, o.body, o.cut)
	w.sent++
	if err == nil {
		err = w.judge(op, o, method, target, a)
	}
	if err != nil {
		if w.told++; w.told <= 20 {
			w.t.Errorf("%s %s as %q, %s: %v", op.method, op.template, w.user, o.what, err)
		}
	}
	if a.status < http.StatusMultipleChoices && a.status != 0 && method != http.MethodGet || a.text("code") == "session_ended" {
		w.open() // what was meant to work may have ended the session
	}
	if a.status < http.StatusMultipleChoices && method == op.method {
		w.done[strings.TrimSuffix(op.ID, "-015")]++
	}
}

// place is what stands in the path when nothing is wrong with it.
func (w *oddWalk) place(name string) string {
	switch {
	case name == "username" && w.user == "rita":
		return "rita"
	case name == "username":
		return "target"
	case name == "group":
		return "lab"
	case name == "id":
		return "01890a5d-ac96-774b-bcce-b302099a8057"
	}
	return "x"
}

// judge says what is wrong with an answer.
func (w *oddWalk) judge(op operation, o odd, method, target string, a answer) error {
	switch {
	case a.status >= http.StatusInternalServerError:
		return fmt.Errorf("%s, want no failure of the server", a)
	case w.user == "" && len(op.Security) > 0 && !op.optional() && method == op.method && a.status < http.StatusMultipleChoices:
		return fmt.Errorf("%s, want it refused", a)
	case a.header.Get("X-Odd") != "":
		return fmt.Errorf("%s with a header of the request's", a)
	case strings.Contains(string(a.body), w.secret):
		return fmt.Errorf("%d repeats a secret", a.status)
	case inside.Match(a.body) || strings.Contains(string(a.body), w.site.dir):
		return fmt.Errorf("%s tells how it is made", a)
	case a.status < http.StatusBadRequest && a.status >= http.StatusMultipleChoices:
		if to := a.header.Get("Location"); !strings.HasPrefix(to, "/") || strings.HasPrefix(to, "//") {
			return fmt.Errorf("%d to %q, want no other site", a.status, to)
		}
		return nil
	case method == http.MethodHead, o.plain && strings.HasPrefix(a.header.Get("Content-Type"), "text/plain"), o.plain && len(a.body) == 0:
		return nil
	case a.status >= http.StatusBadRequest && (a.text("message") == "" || a.text("error") != a.text("message") || a.text("code") == ""):
		return fmt.Errorf("%s, want message, error and code", a)
	}
	if o.apart {
		return nil
	}
	u, err := url.ParseRequestURI(target)
	if err != nil {
		return fmt.Errorf("%s to an address that is none: %w", a, err)
	}
	return w.documents.Check(&http.Request{Method: method, URL: u}, a.status, a.header, a.body)
}

func has(lines []string, name string) bool {
	return slices.ContainsFunc(lines, func(l string) bool { return strings.HasPrefix(l, name) })
}

// wire is a connection on which requests go as they are written.
type wire struct {
	address string
	conn    net.Conn
	in      *bufio.Reader
}

func (w *wire) close() {
	if w.conn != nil {
		_ = w.conn.Close() // nothing more is read
	}
	w.conn = nil
}

// send writes a request and reads its answer. A connection that the server has
// closed is replaced by another.
func (w *wire) send(ctx context.Context, method, target string, lines []string, body string, cut bool) (answer, error) {
	var head strings.Builder
	fmt.Fprintf(&head, "%s %s HTTP/1.1\r\nHost: plantdb.example\r\n", method, target)
	for _, line := range lines {
		head.WriteString(line + "\r\n")
	}
	if !has(lines, "Content-Length:") && !has(lines, "Transfer-Encoding:") {
		fmt.Fprintf(&head, "Content-Length: %d\r\n", len(body))
	}
	text := head.String() + "\r\n" + body
	for {
		kept := w.conn != nil
		a, err := w.ask(ctx, method, text, cut)
		if err != nil || cut {
			w.close()
		}
		if err == nil || !kept {
			return a, err
		}
	}
}

func (w *wire) ask(ctx context.Context, method, text string, cut bool) (answer, error) {
	if w.conn == nil {
		var d net.Dialer
		conn, err := d.DialContext(ctx, "tcp", w.address)
		if err != nil {
			return answer{}, err
		}
		w.conn, w.in = conn, bufio.NewReader(conn)
	}
	if err := w.conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return answer{}, err
	}
	_, written := io.WriteString(w.conn, text) // it may be refused before its end
	if cut {
		_ = w.conn.(*net.TCPConn).CloseWrite() // what is wrong with it shows below
	}
	res, err := http.ReadResponse(w.in, &http.Request{Method: method})
	if err != nil {
		return answer{}, fmt.Errorf("no answer: %w", errors.Join(err, written))
	}
	defer res.Body.Close()
	a := answer{status: res.StatusCode, header: res.Header}
	if a.body, err = io.ReadAll(res.Body); err != nil {
		return a, err
	}
	if res.Close || written != nil {
		w.close()
	}
	return a, nil
}

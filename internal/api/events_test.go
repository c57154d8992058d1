package api_test

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/romi/plantdb-go/internal/api"
)

// message is a server-sent event.
type message struct{ id, event, data string }

func (m message) json(t *testing.T) map[string]any {
	t.Helper()
	var v map[string]any
	if err := json.Unmarshal([]byte(m.data), &v); err != nil {
		t.Fatalf("data of event %+v: %v", m, err)
	}
	return v
}

// stream is a connection that is sent events.
type stream struct {
	t      *testing.T
	events chan message // closed at the end of the stream
	close  func()
}

func (s *site) stream(path string, headers ...header) *stream {
	s.t.Helper()
	ctx, cancel := context.WithCancel(s.t.Context())
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url+path, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, h := range headers {
		r.Header.Add(h.name, h.value)
	}
	resp, err := http.DefaultClient.Do(r) //nolint:bodyclose // Who reads the stream closes it.
	if err != nil {
		s.t.Fatalf("GET %s: %v", path, err)
	}
	if ct := resp.Header.Get("Content-Type"); resp.StatusCode != http.StatusOK || ct != "text/event-stream" {
		s.t.Fatalf("GET %s = %d %s, want a stream of events", path, resp.StatusCode, ct)
	}
	out := &stream{s.t, make(chan message, 1000), cancel}
	s.t.Cleanup(cancel)
	go func() {
		defer close(out.events)
		defer func() { _ = resp.Body.Close() }()
		var m message
		for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
			name, value, _ := strings.Cut(lines.Text(), ": ")
			switch name {
			case "id":
				m.id = value
			case "event":
				m.event = value
			case "data":
				m.data = value
			case "":
				if m.event != "" {
					out.events <- m
				}
				m = message{}
			}
		}
	}()
	return out
}

// next returns the next event; ok is false at the end of the stream.
func (s *stream) next() (m message, ok bool) {
	s.t.Helper()
	select {
	case m, ok = <-s.events:
		return m, ok
	case <-time.After(5 * time.Minute):
		s.t.Fatal("no event came")
		panic("unreachable")
	}
}

// want takes one event for each of kinds and returns the last one.
func (s *stream) want(kinds ...string) (m message) {
	s.t.Helper()
	for _, kind := range kinds {
		var ok bool
		if m, ok = s.next(); !ok || m.event != kind {
			s.t.Fatalf("next event = %+v, want %s", m, kind)
		}
	}
	return m
}

// wantEnd takes the last event, and waits for the end of the stream.
func (s *stream) wantEnd(code string) {
	s.t.Helper()
	m := s.want("end")
	if got := m.json(s.t)["code"]; got != code {
		s.t.Errorf("the stream ends with %v, want %s", got, code)
	}
	if m, ok := s.next(); ok {
		s.t.Errorf("after the end there is %+v", m)
	}
}

func (s *site) create(token string, names ...string) {
	s.t.Helper()
	for _, name := range names {
		body := `{}`
		if strings.HasPrefix(name, "private") {
			body = `{"metadata": {"visibility": "private"}}`
		}
		s.made(s.do(http.MethodPost, "/api/v1/scans/"+name, body, bearer(token), asJSON))
	}
}

var (
	wantsJSON   = header{"Accept", "application/json"}
	wantsStream = header{"Accept", "text/event-stream"}
)

// What is done is told as it is done, to who may read it, and who comes again
// misses nothing.
func TestEventsAreForWhoMayRead(t *testing.T) {
	t.Parallel()
	s := newSite(t, api.Config{Rates: api.NoRates})
	carol, _ := s.login("carol")
	rita, _ := s.login("rita")
	hers, others := s.stream("/api/v1/events", bearer(carol)), s.stream("/api/v1/events", bearer(rita), wantsStream)
	if ready := hers.want("ready"); ready.id == "" {
		t.Error("the first event has no id to go on from")
	}
	others.want("ready")
	created := s.stream("/api/v1/events?kind=scan.created&scan=private_2", bearer(carol))
	created.want("ready")
	s.create(carol, "a", "private_1", "private_2", "b")
	s.made(s.do(http.MethodPost, "/api/v1/filesets/private_2/images", "", bearer(carol), asJSON))
	s.create(carol, "c")

	first := hers.want("scan.created")
	hers.want("scan.created", "scan.created", "scan.created", "fileset.created", "scan.created")
	seen := []string{}
	for range 3 {
		seen = append(seen, others.want("scan.created").json(t)["scan"].(string))
	}
	if want := []string{"a", "b", "c"}; !slices.Equal(seen, want) {
		t.Errorf("a reader is told of %q, want %q", seen, want)
	}
	e := created.want("scan.created")
	v := e.json(t)
	if v["scan"] != "private_2" || v["user"] != "carol" || v["token"] != "session" || v["request"] == "" || v["position"] != e.id || v["id"] == e.id {
		t.Errorf("event = %s", e.data)
	}
	hers.close()

	// Again from where the connection broke, and from the beginning.
	again := s.stream("/api/v1/events", bearer(carol), header{"Last-Event-ID", first.id})
	again.want("ready", "scan.created", "scan.created", "scan.created", "fileset.created", "scan.created")
	s.stream("/api/v1/events?after=0&kind=scan.created", bearer(rita)).want("ready", "scan.created", "scan.created", "scan.created")

	for _, tt := range []struct{ query, want string }{
		{"", "a b c"}, {"?limit=1", "a b c"}, {"?scan=b", "b"}, {"?scan=private_1", ""}, {"?after=now", ""}, {"?after=" + first.id, "b c"},
		{"?kind=fileset.created,scan.deleted", ""}, {"?kind=scan.created,scan.deleted", "a b c"},
	} {
		if got := strings.Join(s.listed("/api/v1/events"+tt.query, bearer(rita)), " "); got != tt.want {
			t.Errorf("GET /events%s as a list = %q, want %q", tt.query, got, tt.want)
		}
	}
	for _, after := range []string{"x", "-1", "1", "1-1-1", "1-%00"} {
		for _, accept := range []header{wantsJSON, wantsStream} {
			wantProblem(t, "GET /events?after="+after, s.do(http.MethodGet, "/api/v1/events?after="+after, "", bearer(rita), accept), http.StatusBadRequest, "bad_event_id")
		}
	}
	wantProblem(t, "a list from a place that never was",
		s.do(http.MethodGet, "/api/v1/events?after=999999999999999-1", "", bearer(rita), wantsJSON), http.StatusGone, "events_gone")
	reset := s.stream("/api/v1/events?after=999999999999999-1&kind=scan.created", bearer(rita))
	if m := reset.want("reset"); m.json(t)["code"] != "events_gone" {
		t.Errorf("a stream from a place that never was begins with %s", m.data)
	}
	reset.want("scan.created", "scan.created", "scan.created")
}

// listed follows the pages of a list, and returns the scans of its events.
func (s *site) listed(path string, headers ...header) []string {
	s.t.Helper()
	var scans []string
	sep := "?"
	if strings.Contains(path, "?") {
		sep = "&"
	}
	next := path
	for range 100 {
		a := s.do(http.MethodGet, next, "", append(headers, wantsJSON)...)
		var page struct {
			Events []struct{ Scan string }
			Next   string
			More   bool
		}
		if err := json.Unmarshal(a.body, &page); err != nil || a.status != http.StatusOK {
			s.t.Fatalf("GET %s = %d %s", next, a.status, a.body)
		}
		for _, e := range page.Events {
			scans = append(scans, e.Scan)
		}
		if !page.More {
			return scans
		}
		base, query, _ := strings.Cut(path, "?")
		query = strings.ReplaceAll(query, "after=", "was=")
		next = base + "?" + query + sep + "after=" + page.Next
	}
	s.t.Fatal("the pages have no end")
	return nil
}

// A stream ends with the session or token that it was opened by.
func TestStreamEndsWithItsToken(t *testing.T) {
	t.Parallel()
	s := newSite(t, api.Config{Rates: api.NoRates})
	admin, _ := s.login("admin")
	session, _ := s.login("carol")
	other, _ := s.login("carol")
	made := s.do(http.MethodPost, "/api/v1/auth/token/create-api-token", `{"token_exp":3600,"datasets":{"a*":["read"]}}`, bearer(other), asJSON).json(t)["api_token"].(string)
	bySession, byToken, kept := s.stream("/api/v1/events", bearer(session)), s.stream("/api/v1/events", bearer(made)), s.stream("/api/v1/events", bearer(other))
	for _, c := range []*stream{bySession, byToken, kept} {
		c.want("ready")
	}
	s.create(admin, "b", "a")
	bySession.want("scan.created", "scan.created")
	if got := byToken.want("scan.created").json(t)["scan"]; got != "a" {
		t.Errorf("a token for a* is told of %v", got)
	}
	if a := s.do(http.MethodPost, "/api/v1/auth/logout", "", bearer(session)); a.status != http.StatusOK {
		t.Fatalf("logout = %d %s", a.status, a.body)
	}
	bySession.wantEnd("session_ended")
	if a := s.do(http.MethodPost, "/api/v1/auth/revoke", `{"token":"`+made+`"}`, bearer(other), asJSON); a.status != http.StatusOK {
		t.Fatalf("revoke = %d %s", a.status, a.body)
	}
	byToken.wantEnd("token_revoked")
	kept.want("scan.created", "scan.created")
	if a := s.do(http.MethodPatch, "/api/v1/users/carol", `{"active":false}`, bearer(admin), asJSON); a.status != http.StatusOK {
		t.Fatalf("switch off a user = %d %s", a.status, a.body)
	}
	if m := kept.want("end"); m.data == "" {
		t.Error("the stream of a user who is switched off ends without a word")
	}
	wantProblem(t, "GET /events without a token", s.do(http.MethodGet, "/api/v1/events", ""), http.StatusUnauthorized, "token_missing")
}

// One who does not read is cut, and those who read go on; one user has only so
// many streams.
func TestStreamOfWhoDoesNotRead(t *testing.T) {
	t.Parallel()
	s := newSite(t, api.Config{Rates: api.NoRates})
	carol, _ := s.login("carol")
	for range 9 {
		s.stream("/api/v1/events", bearer(carol)).want("ready")
	}
	reads := s.stream("/api/v1/events?kind=scan.created", bearer(carol))
	reads.want("ready")
	full := s.do(http.MethodGet, "/api/v1/events", "", bearer(carol))
	wantProblem(t, "an eleventh stream", full, http.StatusTooManyRequests, "too_many_streams")
	if full.header.Get("Retry-After") == "" {
		t.Error("the refusal does not say when to come again")
	}
	// 60 MB are more than the buffers of a connection take.
	_, err := s.pool.Exec(t.Context(), `INSERT INTO scan_events (id, kind, timelapse, detail)
		SELECT gen_random_uuid(), 'timelapse.changed', 'tl', jsonb_build_object('filename', repeat('x', 15000)) FROM generate_series(1, 4000)`)
	if err != nil {
		t.Fatal(err)
	}
	// Nine clients stop after their first thousand; the tenth reads nothing.
	reads.close()
	var stuck *http.Response
	for deadline := time.Now().Add(5 * time.Minute); ; time.Sleep(10 * time.Millisecond) {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.url+"/api/v1/events?after=0", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+carol)
		if stuck, err = http.DefaultClient.Do(r); err != nil {
			t.Fatal(err)
		}
		if stuck.StatusCode == http.StatusOK {
			break
		}
		_ = stuck.Body.Close()
		if time.Now().After(deadline) {
			t.Fatalf("the place of a stream that was closed is not free: %d", stuck.StatusCode)
		}
	}
	defer func() { _ = stuck.Body.Close() }()
	for deadline := time.Now().Add(5 * time.Minute); ; time.Sleep(50 * time.Millisecond) {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.url+"/api/v1/events", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+carol)
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode == http.StatusOK {
			return // one that did not read was cut
		}
		if time.Now().After(deadline) {
			t.Fatal("a stream that is not read is kept")
		}
	}
}

// counting is a client's connection that counts what is written to it at once.
type counting struct {
	header  http.Header
	largest int
	text    int // bytes
	enough  func(written int)
}

// Header implements http.ResponseWriter.
func (c *counting) Header() http.Header { return c.header }

// WriteHeader implements http.ResponseWriter.
func (c *counting) WriteHeader(int) {}

// Write implements http.ResponseWriter.
func (c *counting) Write(b []byte) (int, error) {
	c.largest = max(c.largest, len(b))
	c.text += len(b)
	c.enough(c.text)
	return len(b), nil
}

// Flush implements http.Flusher.
func (c *counting) Flush() {}

// Who comes after much was done is sent it in small pieces, each with its own time
// to be read: on a slow line one that reads all the time is not cut, and a stream
// holds little memory.
func TestStreamSendsPieces(t *testing.T) {
	t.Parallel()
	s := newSite(t, api.Config{Rates: api.NoRates})
	carol, _ := s.login("carol")
	const events, size = 400, 15_000
	_, err := s.pool.Exec(t.Context(), `INSERT INTO scan_events (id, kind, timelapse, detail)
		SELECT gen_random_uuid(), 'timelapse.changed', 'tl', jsonb_build_object('filename', repeat('x', $1)) FROM generate_series(1, $2)`, size, events)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	r := httptest.NewRequestWithContext(ctx, http.MethodGet, "/api/v1/events?after=0", nil)
	r.Header.Set("Authorization", "Bearer "+carol)
	w := &counting{header: http.Header{}, enough: func(written int) {
		if written >= events*size {
			cancel()
		}
	}}
	s.handler.ServeHTTP(w, r)
	if w.text < events*size || w.largest > 100_000 {
		t.Errorf("a stream is sent %d bytes, at most %d at once, want %d and at most 100,000", w.text, w.largest, events*size)
	}
}

// TestStreamOutlivesTheTimesOfTheServer lets a request that came after the
// stream wait for its body until the time for that is over, and write until the
// time for that is over: the same times have then ended for the stream as well.
func TestStreamOutlivesTheTimesOfTheServer(t *testing.T) {
	t.Parallel()
	s := newSite(t, api.Config{Rates: api.NoRates})
	carol, _ := s.login("carol")
	mux := http.NewServeMux()
	mux.Handle("/", s.handler)
	mux.HandleFunc("POST /late", func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.ReadAll(r.Body); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("read a body that does not come = %v, want the end of ReadTimeout", err)
		}
		for {
			_, err := w.Write([]byte("x"))
			if err = cmp.Or(err, http.NewResponseController(w).Flush()); err != nil {
				return
			}
		}
	})
	server := httptest.NewUnstartedServer(mux)
	server.Config.ReadTimeout, server.Config.WriteTimeout = 5*time.Second, 8*time.Second
	server.Start()
	t.Cleanup(server.Close)
	hurried := *s
	hurried.url = server.URL
	events := hurried.stream("/api/v1/events", bearer(carol))
	t.Cleanup(events.close) // before the server waits for it
	events.want("ready")

	late, err := new(net.Dialer).DialContext(t.Context(), "tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = late.Close() }() // only read
	if _, err := io.WriteString(late, "POST /late HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, late); err != nil {
		t.Fatal(err)
	}
	s.create(carol, "afterwards")
	if got := events.want("scan.created").json(t)["scan"]; got != "afterwards" {
		t.Errorf("the event after the times of the server is of %v", got)
	}
}

// Who asks for the head of a stream is answered and done: the connection takes the
// next request, and no place among the streams is held.
func TestHeadOfStream(t *testing.T) {
	t.Parallel()
	s := newSite(t, api.Config{Rates: api.NoRates})
	carol, _ := s.login("carol")
	transport := &http.Transport{MaxConnsPerHost: 1} // the second request goes on the connection of the first
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: time.Minute}
	ask := func(method, path string) (status int, contentType string) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), method, s.url+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+carol)
		resp, err := client.Do(r)
		if err != nil {
			t.Fatalf("%s %s = %v", method, path, err)
		}
		defer func() { _ = resp.Body.Close() }() // there is none, or only read
		if _, err := io.Copy(io.Discard, resp.Body); err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, resp.Header.Get("Content-Type")
	}
	for range 12 { // more than a user may have
		if status, contentType := ask(http.MethodHead, "/api/v1/events"); status != http.StatusOK || contentType != "text/event-stream" {
			t.Fatalf("HEAD /events = %d %s, want that of a stream", status, contentType)
		}
		if status, _ := ask(http.MethodGet, "/api/v1/scans"); status != http.StatusOK {
			t.Errorf("the next request = %d", status)
		}
	}
}

// What a scan that becomes public and private again tells who follows: what is done
// while they may read it.
func TestStreamFollowsVisibility(t *testing.T) {
	t.Parallel()
	s := newSite(t, api.Config{Rates: api.NoRates})
	carol, _ := s.login("carol")
	rita, _ := s.login("rita")
	events := s.stream("/api/v1/events", bearer(rita))
	events.want("ready")
	set := func(visibility string) {
		t.Helper()
		if a := s.do(http.MethodPut, "/api/v1/scans/private_v/visibility", `{"visibility":"`+visibility+`"}`, bearer(carol), asJSON); a.status != http.StatusOK {
			t.Fatalf("PUT = %d %s", a.status, a.body)
		}
	}
	fileset := func(name string) {
		t.Helper()
		s.made(s.do(http.MethodPost, "/api/v1/filesets/private_v/"+name, "", bearer(carol), asJSON))
	}
	s.create(carol, "private_v")
	fileset("hidden")
	s.create(carol, "before")
	if got := events.want("scan.created").json(t)["scan"]; got != "before" {
		t.Errorf("of a private scan a reader is told %v", got)
	}
	set("public")
	events.want("scan.visibility")
	fileset("seen")
	if got := events.want("fileset.created").json(t)["fileset"]; got != "seen" {
		t.Errorf("once it is public a reader is told of %v", got)
	}
	set("private")
	fileset("hidden_again")
	s.create(carol, "after")
	if got := events.want("scan.created").json(t)["scan"]; got != "after" {
		t.Errorf("of a scan that is private again a reader is told %v", got)
	}
	if got := s.listed("/api/v1/events?kind=scan.visibility,fileset.created", bearer(rita)); len(got) != 0 {
		t.Errorf("of a scan that is private again a list tells %q", got)
	}
}

// TestStreamBeats waits for a sign of life of a stream on which nothing comes that
// was asked for. Its id spares who comes again what was passed over.
func TestStreamBeats(t *testing.T) {
	t.Parallel()
	s := newSite(t, api.Config{Rates: api.NoRates})
	carol, _ := s.login("carol")
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.url+"/api/v1/events?kind=scan.deleted", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+carol)
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }() // only read
	lines := bufio.NewScanner(resp.Body)
	var first, beaten string
	for beat := false; beaten == "" && lines.Scan(); {
		switch id, isID := strings.CutPrefix(lines.Text(), "id: "); {
		case lines.Text() == ": beat":
			beat = true
		case isID && beat:
			beaten = id
		case isID:
			first = id
			s.create(carol, "a", "b") // which is not asked for
		case strings.HasPrefix(lines.Text(), "event: ") && lines.Text() != "event: ready":
			t.Errorf("the stream tells %s", lines.Text())
		}
	}
	if beaten == "" || first == "" {
		t.Fatalf("the stream ends without a beat: %v", lines.Err())
	}
	if got := s.listed("/api/v1/events?after="+first, bearer(carol)); !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("after the beginning there are %q", got)
	}
	if got := s.listed("/api/v1/events?after="+beaten, bearer(carol)); len(got) != 0 {
		t.Errorf("after the id of the beat, %s, there are %q, want nothing", beaten, got)
	}
}

// The history of a scan comes in pages, the latest first.
func TestHistoryOverHTTP(t *testing.T) {
	t.Parallel()
	s := newSite(t, api.Config{Rates: api.NoRates, Prefix: "/plantdb"})
	carol, _ := s.login("carol")
	s.create(carol, "h")
	for range 3 {
		for _, v := range []string{"private", "public"} {
			if a := s.do(http.MethodPut, "/api/v1/scans/h/visibility", `{"visibility":"`+v+`"}`, bearer(carol), asJSON); a.status != http.StatusOK {
				t.Fatalf("PUT = %d %s", a.status, a.body)
			}
		}
	}
	all, _ := s.following("/plantdb/api/v1/scans/h/history?limit=2", "events", bearer(carol))
	if len(all) != 7 || len(slices.Compact(slices.Sorted(slices.Values(all)))) != 7 {
		t.Errorf("pages of the history have %d events, want 7, each once: %q", len(all), all)
	}
	some, _ := s.following("/plantdb/api/v1/scans/h/history?kind=scan.visibility&limit=4", "events", bearer(carol))
	if !slices.Equal(some, all[:6]) {
		t.Errorf("history of one kind = %q, want %q", some, all[:6])
	}
	wantProblem(t, "a history from nowhere", s.do(http.MethodGet, "/api/v1/scans/h/history?after=x", "", bearer(carol)), http.StatusBadRequest, "bad_cursor")
	wantProblem(t, "a page that is too long", s.do(http.MethodGet, "/api/v1/scans/h/history?limit=1001", "", bearer(carol)), http.StatusBadRequest, "invalid_request")
	wantProblem(t, "the history of no scan", s.do(http.MethodGet, "/api/v1/scans/none/history", "", bearer(carol)), http.StatusNotFound, "unknown_scan")
	wantProblem(t, "a history without a token", s.do(http.MethodGet, "/api/v1/scans/h/history", ""), http.StatusUnauthorized, "token_missing")
}

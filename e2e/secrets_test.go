package e2e

import (
	"context"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
)

// token is a JWT wherever it stands.
var token = regexp.MustCompile(`eyJ[\w-]+\.[\w-]+\.[\w-]*`)

// fields are the members of a JSON text whose values are secret.
var fields = regexp.MustCompile(`"(?:password|current_password|new_password|secret)"\s*:\s*"([^"]+)"`)

// secrets is every secret that went to or came from the servers of a site.
type secrets struct {
	mu        sync.Mutex
	passwords map[string]string // by user
	seen      map[string]struct{}
}

// shortest is the length from which on a text does not occur by chance.
const shortest = 12

func newSecrets() *secrets {
	return &secrets{passwords: map[string]string{}, seen: map[string]struct{}{}}
}

// password returns the password that an account is made with.
func (s *secrets) password(user string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.passwords[user] == "" {
		s.passwords[user] = newPassword()
		s.seen[s.passwords[user]] = struct{}{}
	}
	return s.passwords[user]
}

// tell is for a secret that is meant to be read.
func (s *secrets) tell(secret string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.seen, secret)
}

func (s *secrets) add(texts ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, text := range texts {
		// Of a JWT the signature is the secret: without it the rest is void.
		if i := strings.LastIndexByte(text, '.'); strings.HasPrefix(text, "eyJ") && i >= 0 {
			text = text[i+1:]
		}
		if len(text) >= shortest {
			s.seen[text] = struct{}{}
		}
	}
}

// addFrom adds the tokens and secret members of a text.
func (s *secrets) addFrom(text string) {
	s.add(token.FindAllString(text, -1)...)
	for _, m := range fields.FindAllStringSubmatch(text, -1) {
		s.add(m[1])
	}
}

func (s *secrets) request(r *http.Request, body []byte) {
	_, bearer, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	s.add(bearer, r.Header.Get("X-Csrf-Token"))
	s.addFrom(r.URL.RawQuery + " " + r.Header.Get("Cookie") + " " + string(body))
}

func (s *secrets) answer(a answer) {
	s.addFrom(string(a.body))
	for _, line := range a.header.Values("Set-Cookie") {
		c, err := http.ParseSetCookie(line)
		if err == nil {
			s.add(c.Value)
		}
	}
}

// settings adds the secrets of an environment.
func (s *secrets) settings(env []string) {
	for _, e := range env {
		name, value, _ := strings.Cut(e, "=")
		switch name {
		case "PLANTDB_ADMIN_PASSWORD":
			s.add(value)
		case "JWT_SECRET_KEY", "JWT_PREVIOUS_KEYS":
			for key := range strings.SplitSeq(value, ",") {
				if !strings.HasPrefix(key, "file:") {
					s.add(strings.TrimPrefix(key, "hex:"))
				}
			}
		case "DATABASE_URL":
			if u, err := url.Parse(value); err == nil && u.User != nil {
				password, _ := u.User.Password()
				s.add(password)
			}
		}
	}
}

// in returns how many different secrets stand in the text.
func (s *secrets) in(text string) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for secret := range s.seen {
		if strings.Contains(text, secret) {
			n++
		}
	}
	return n
}

func (s *secrets) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.seen)
}

// searchForSecrets fails the test when a log or a table holds a secret. What
// stands there is not printed: the log of the test is kept, too.
func (s *site) searchForSecrets() {
	if n := s.seen.in(s.logs()); n > 0 {
		s.t.Errorf("the logs hold %d of the %d secrets of this test", n, s.seen.count())
	}
	for table, text := range s.tables() {
		if n := s.seen.in(text); n > 0 {
			s.t.Errorf("the table %s holds %d of the %d secrets of this test", table, n, s.seen.count())
		}
	}
}

// tables returns every row of every table as text, whatever its columns are.
func (s *site) tables() map[string]string {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	rows, err := s.db.Query(ctx, `SELECT quote_ident(schemaname) || '.' || quote_ident(tablename) FROM pg_tables
		WHERE schemaname NOT IN ('pg_catalog', 'information_schema')`)
	if err != nil {
		s.t.Fatalf("list tables: %v", err)
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		s.t.Fatalf("list tables: %v", err)
	}
	tables := map[string]string{}
	for _, name := range names {
		rows, err := s.db.Query(ctx, "SELECT t::text FROM "+name+" t")
		if err != nil {
			s.t.Fatalf("read table %s: %v", name, err)
		}
		lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			s.t.Fatalf("read table %s: %v", name, err)
		}
		tables[name] = strings.Join(lines, "\n")
	}
	return tables
}

// TestSecretsAreNeitherLoggedNorStored sends secrets in every way there is, and
// where they do not belong; that the search finds what is there is proven on
// texts that must be there. Every other test of this package ends with it too.
func TestSecretsAreNeitherLoggedNorStored(t *testing.T) {
	t.Parallel()
	s := newSite(t, "TOKEN_LOCATIONS=headers,cookies,query,json", "JWT_SECRET_KEY=a pass-phrase that nobody may read")
	sv := s.start()
	alice := sv.user("alice", "contributor")
	p := sv.login(alice)
	sv.get("/auth/profile?token="+p.access, "")
	sv.post("/auth/token/validation", "", map[string]any{"access_token": p.access}).want(t, "token in the body", http.StatusOK)
	p = sv.refresh(p.refresh)
	sv.call(request{method: http.MethodGet, path: "/auth/token/mandatory", token: p.access}).want(t, "token to be looked at", http.StatusOK)
	sv.post("/auth/token/create-api-token", p.access, map[string]any{"token_exp": 60, "datasets": map[string]any{"*": []string{"read"}}}).
		want(t, "API token", http.StatusOK)
	secret := sv.post("/users/alice/password-reset", sv.login(s.admin()).access, nil).want(t, "password reset", http.StatusOK).text("secret")
	sv.post("/auth/password-reset", "", map[string]any{"secret": secret, "new_password": newPassword()}).want(t, "redeem", http.StatusOK)

	// Misplaced and malformed, each with a secret of its own.
	sv.call(loginOf(person{"alice", newPassword()})).want(t, "wrong password", http.StatusUnauthorized)
	sv.post("/auth/login", "", map[string]any{"username": "alice", "password": []string{newPassword()}})
	typed := newPassword()
	s.seen.add(typed, strings.ToLower(typed)) // names are compared, and would be kept, in lower case
	for range 4 {                             // the lockout counts them, and writes to the log
		sv.call(loginOf(person{typed, newPassword()})).want(t, "password as name", http.StatusUnauthorized)
	}
	sv.post("/auth/register", sv.login(s.admin()).access, map[string]any{"username": "two words", "fullname": "x", "password": newPassword()})
	sv.call(request{method: http.MethodGet, path: "/auth/profile", token: newPassword()}).want(t, "password as token", http.StatusUnauthorized)
	sv.call(request{method: http.MethodPost, path: "/auth/login", header: http.Header{"Content-Type": {"text/plain"}},
		body: map[string]any{"username": "alice", "password": newPassword()}})

	if n := s.seen.count(); n < 15 {
		t.Errorf("%d secrets were collected, want those of all calls above", n)
	}
	known := newSecrets()
	known.add("/api/v1/auth/token/validation")
	if known.in(s.logs()) != 1 {
		t.Error("the search of the logs does not find the path of a request")
	}
	known = newSecrets()
	known.add("$argon2id$v=19$")
	users := func(found []string, name, text string) []string {
		if known.in(text) == 1 {
			return append(found, name)
		}
		return found
	}
	var found []string
	for name, text := range s.tables() {
		found = users(found, name, text)
	}
	if !slices.Equal(found, []string{"public.users"}) {
		t.Errorf("the search finds hashes in %v, want them in public.users alone", found)
	}
}

package main_test

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/romi/plantdb-go/internal/pgtest"
	"github.com/romi/plantdb-go/internal/servertest"
)

// setupSecret is how the banner shows the one of a first start.
var setupSecret = regexp.MustCompile(`with this secret: (\S+)`)

// TestSecretsStayOut goes through logins, refreshes and API tokens, good and
// bad, and then looks for what was sent and given in the log, in every column
// of every table and in every file below the tree.
func TestSecretsStayOut(t *testing.T) {
	t.Parallel()
	const adminPassword, newPassword, wrongPassword = "adm1n-of-the-day", "n3w-p4ss-w0rd", "wr0ng-p4ss-w0rd"
	url, dir := pgtest.URL(t), servertest.Dir(t)
	o := servertest.Options{Env: []string{"DATABASE_URL=" + url, "TOKEN_LOCATIONS=headers,query", "WEBHOOK_NETWORKS=127.0.0.0/8"}}
	first := servertest.Start(t, o, dir, "--log-level", "debug")
	setup := setupSecret.FindStringSubmatch(first.Stdout())
	if setup == nil {
		t.Fatalf("the first start shows no secret: %s", first.Stdout())
	}
	first.Stop()
	o.Env = append(o.Env, "PLANTDB_ADMIN_PASSWORD="+adminPassword)
	s := servertest.Start(t, o, dir, "--log-level", "debug")

	secrets := []string{setup[1], adminPassword, newPassword, wrongPassword}
	secrets = append(secrets, useTokens(t, s, adminPassword, newPassword, wrongPassword)...)
	s.Stop()

	// The banner tells the secret of the first start; nothing else is to.
	search(t, "log of the first start", first.Stderr(), secrets)
	search(t, "output", s.Stdout()+s.Stderr(), secrets)
	searchTables(t, url, secrets)
	searchFiles(t, dir, secrets)
}

// useTokens makes accounts and tokens, uses and misuses them, and returns all
// that nobody else may know.
func useTokens(t *testing.T, s *servertest.Server, adminPassword, newPassword, wrongPassword string) (secrets []string) {
	t.Helper()
	admin, tokens := login(t, s, "admin", adminPassword)
	anybody := caller{base: s.URL}
	admin.must(t, http.StatusCreated, "/auth/register", object{"username": "ann", "fullname": "Ann", "password": newPassword})
	anybody.must(t, http.StatusUnauthorized, "/auth/login", object{"username": "ann", "password": wrongPassword})
	anybody.must(t, http.StatusBadRequest, "/auth/login", []string{wrongPassword})
	api := admin.must(t, http.StatusOK, "/auth/token/create-api-token",
		object{"token_exp": 60, "datasets": object{"*": []string{"READ"}}}).text("api_token")
	hook := admin.must(t, http.StatusCreated, "/webhooks", object{"url": "http://127.0.0.1:1/"})
	id := hook.Body["webhook"].(map[string]any)["id"].(string)
	next := admin.must(t, http.StatusOK, "/webhooks/"+id+"/secret", nil)
	admin.must(t, http.StatusOK, "/webhooks/"+id+"/test", nil)
	if a := admin.get(t, "/webhooks"); strings.Contains(a.Text, "whsec_") {
		t.Errorf("a list of webhooks tells a secret: %s", a.Text)
	}
	second := anybody.must(t, http.StatusOK, "/auth/token/refresh", object{"refresh_token": tokens.refresh})
	third := anybody.must(t, http.StatusOK, "/auth/token/refresh", object{"refresh_token": second.text("refresh_token")})
	secrets = []string{
		tokens.access, tokens.refresh, api, second.text("access_token"), second.text("refresh_token"),
		third.text("access_token"), third.text("refresh_token"),
	}
	for _, token := range secrets {
		for _, c := range []caller{{s.URL, token}, {s.URL, token + "x"}} {
			if a := c.get(t, "/scans"); strings.Contains(a.Text, token) {
				t.Errorf("answer repeats a token: %s", a.Text)
			}
			c.get(t, "/no/such/path")
			c.post(t, "/auth/token/validation", nil)
			anybody.post(t, "/auth/token/refresh", object{"refresh_token": c.token})
		}
		anybody.get(t, "/scans?token="+token)
	}
	ann, _ := login(t, s, "ann", newPassword)
	ann.must(t, http.StatusOK, "/auth/logout", nil)
	for _, a := range []answer{hook, next} {
		secrets = append(secrets, a.text("secret"), strings.TrimPrefix(a.text("secret"), "whsec_"))
	}
	return append(secrets, ann.token)
}

// forms are the spellings that a secret may have been stored in. Of a token
// the signature is what nobody else can make.
func forms(secret string) []string {
	raw := []byte(secret)
	forms := []string{secret, hex.EncodeToString(raw), base64.StdEncoding.EncodeToString(raw), base64.RawURLEncoding.EncodeToString(raw)}
	if i := strings.LastIndexByte(secret, '.'); i >= 0 {
		signature := secret[i+1:]
		forms = append(forms, signature, hex.EncodeToString([]byte(signature)))
		if bits, err := base64.RawURLEncoding.DecodeString(signature); err == nil {
			forms = append(forms, hex.EncodeToString(bits), string(bits))
		}
	}
	return forms
}

func search(t *testing.T, where, text string, secrets []string) {
	t.Helper()
	for i, secret := range secrets {
		for _, form := range forms(secret) {
			if at := strings.Index(text, form); at >= 0 {
				t.Errorf("%s has secret %d: ...%q", where, i, text[max(0, at-100):at])
			}
		}
	}
}

// searchTables reads every row of every table of ours as text, in which bytes
// are hexadecimal.
func searchTables(t *testing.T, url string, secrets []string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(t.Context()) }() // only read
	rows, err := conn.Query(t.Context(), `SELECT format('%I.%I', table_schema, table_name) FROM information_schema.tables
		WHERE table_schema NOT IN ('pg_catalog', 'information_schema') AND table_type = 'BASE TABLE'`)
	if err != nil {
		t.Fatal(err)
	}
	tables, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	full := map[string]bool{}
	for _, table := range tables {
		rows, err := conn.Query(t.Context(), fmt.Sprintf("SELECT row::text FROM %s AS row", table))
		if err != nil {
			t.Fatalf("read %s: %v", table, err)
		}
		lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			t.Fatalf("read %s: %v", table, err)
		}
		full[table] = len(lines) > 0
		search(t, "table "+table, strings.Join(lines, "\n"), secrets)
	}
	// An empty table would prove nothing.
	for _, table := range []string{"users", "sessions", "refresh_tokens", "api_tokens", "revoked_tokens", "auth_events", "webhooks"} {
		if !full["public."+table] {
			t.Errorf("table %s has no rows among %v", table, full)
		}
	}
}

func searchFiles(t *testing.T, dir string, secrets []string) {
	t.Helper()
	err := fs.WalkDir(os.DirFS(dir), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := os.ReadFile(filepath.Join(dir, path))
		search(t, "file "+path, string(content), secrets)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

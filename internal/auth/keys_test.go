package auth

import (
	"bytes"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/romi/plantdb-go/internal/pgtest"
	"github.com/romi/plantdb-go/tokenauth"
)

func openRoot(t *testing.T, dir string) *os.Root {
	t.Helper()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = root.Close() })
	return root
}

// sign gives a token by which two keyrings can be compared.
func sign(t *testing.T, k *tokenauth.Keyring) string {
	t.Helper()
	raw, err := k.Sign(tokenauth.Claims{ID: "a", Subject: "b", Type: tokenauth.API, IssuedAt: time.Unix(1, 0), ExpiresAt: time.Unix(1<<32, 0)})
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func TestLoadKeys(t *testing.T) {
	t.Parallel()
	pool := pgtest.New(t)
	dir := t.TempDir()
	root := openRoot(t, dir)
	quiet := slog.New(slog.DiscardHandler)
	load := func(k KeySettings) (*tokenauth.Keyring, error) {
		keys, err := LoadKeys(t.Context(), pool, root, k, quiet)
		if err != nil {
			return nil, err
		}
		return keys.Ring, nil
	}
	raw := bytes.Repeat([]byte{7}, tokenauth.MinSecret)
	private := ed25519.NewKeyFromSeed(raw[:32])
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	file := func(name, text string) string {
		p := filepath.Join(dir, name)
		if err := os.WriteFile(p, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return "file:" + p
	}
	hexKey := "hex:" + hex.EncodeToString(raw)
	same := []string{hexKey, "base64:" + base64.StdEncoding.EncodeToString(raw), file("key", hexKey+"\n")}
	var want string
	for _, secret := range same {
		ring, err := load(KeySettings{Secret: secret})
		if err != nil {
			t.Fatalf("LoadKeys(%.8s) = %v", secret, err)
		}
		if got := sign(t, ring); want == "" {
			want = got
		} else if got != want {
			t.Errorf("LoadKeys(%.8s) is another key", secret)
		}
	}
	for name, bad := range map[string]string{
		"short": "hex:00ff", "no hex": "hex:zz", "no base64": "base64:!", "no file": "file:" + filepath.Join(dir, "none"),
		"empty file": file("empty", "\n"), "PEM": file("pem", "-----BEGIN JUNK-----"), "large": file("large", strings.Repeat("a", maxKeyFile+1)),
	} {
		if _, err := load(KeySettings{Secret: bad}); err == nil {
			t.Errorf("%s: LoadKeys = nil, want an error", name)
		} else if strings.Contains(err.Error(), "00ff") {
			t.Errorf("%s: LoadKeys = %v, which tells the key", name, err)
		}
	}

	// Rotation: what the old key signed still verifies.
	ed := file("ed.pem", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})))
	ring, err := load(KeySettings{Secret: ed, Previous: []string{hexKey, " a pass-phrase of before", ""}})
	if err != nil {
		t.Fatal(err)
	}
	v := tokenauth.Verifier{Keys: ring}
	for name, token := range map[string]string{"old": want, "new": sign(t, ring)} {
		if _, err := v.Verify(t.Context(), token, tokenauth.API); err != nil {
			t.Errorf("Verify(%s key) = %v, want nil", name, err)
		}
	}
	rows := map[string]int{"active": 1, "verifying": 2, "salt": 1, "retired": 0}
	for status, n := range rows {
		var got int
		if err := pool.QueryRow(t.Context(), "SELECT count(*) FROM signing_keys WHERE status = $1", status).Scan(&got); err != nil || got != n {
			t.Errorf("signing_keys %s = %d, %v, want %d", status, got, err, n)
		}
	}
	if _, err = load(KeySettings{Secret: ed}); err != nil {
		t.Fatal(err)
	}
	var retired int
	if err := pool.QueryRow(t.Context(), "SELECT count(*) FROM signing_keys WHERE status = 'retired' AND retired_at IS NOT NULL").Scan(&retired); err != nil || retired != 2 {
		t.Errorf("retired keys = %d, %v, want 2", retired, err)
	}
}

// Replicas that start at once with one pass-phrase sign alike, and so does a
// later start; another database has another salt.
func TestPassPhrase(t *testing.T) {
	t.Parallel()
	pool := pgtest.New(t)
	tokens := make([]string, 3)
	phrase := KeySettings{Secret: "correct horse battery staple"}
	for _, err := range together(len(tokens), func(i int) error {
		keys, err := LoadKeys(t.Context(), pool, nil, phrase, slog.New(slog.DiscardHandler))
		if err == nil {
			tokens[i] = sign(t, keys.Ring)
		}
		return err
	}) {
		wantErr(t, "LoadKeys at once", err, nil)
	}
	if tokens[0] != tokens[1] || tokens[1] != tokens[2] {
		t.Error("replicas with one pass-phrase sign differently")
	}
	other, err := LoadKeys(t.Context(), pgtest.New(t), nil, phrase, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if sign(t, other.Ring) == tokens[0] {
		t.Error("two databases have one salt")
	}
}

func TestKeyOfTheTreeIsMadeOnce(t *testing.T) {
	t.Parallel()
	pool := pgtest.New(t)
	dir := t.TempDir()
	tokens := make([]string, 6)
	for _, err := range together(len(tokens), func(i int) error {
		keys, err := LoadKeys(t.Context(), pool, openRoot(t, dir), KeySettings{}, slog.New(slog.DiscardHandler))
		if err == nil {
			tokens[i] = sign(t, keys.Ring)
		}
		return err
	}) {
		wantErr(t, "LoadKeys at once", err, nil)
	}
	for _, token := range tokens {
		if token != tokens[0] {
			t.Error("servers that start at once sign with different keys")
		}
	}
	if left := keyFiles(t, dir); !slices.Equal(left, []string{"jwt.key"}) {
		t.Errorf("key files = %v, want one", left)
	}
}

// keyFiles returns the names of the files beside the key, and holds that
// nobody else can read them.
func keyFiles(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(dir, keyDir))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || info.Mode() != 0o600 {
			t.Errorf("%s = %v, %v, want mode 0600", e.Name(), info.Mode(), err)
		}
		names = append(names, e.Name())
	}
	return names
}

func TestNothingSecretIsStored(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.service(t)
	register(t, s, "alice")
	p := login(t, s, "alice")
	next, err := s.Refresh(t.Context(), p.Refresh)
	if err != nil {
		t.Fatal(err)
	}
	api, _, err := s.CreateAPIToken(as(t, s, next), uuid.NewString(), time.Hour, map[string][]string{"*": {"read"}})
	if err != nil {
		t.Fatal(err)
	}
	var dump strings.Builder
	for _, table := range []string{"users", "sessions", "refresh_tokens", "revoked_tokens", "api_tokens", "signing_keys", "one_time_links", "auth_events", "login_attempts"} {
		var text string
		if err := w.pool.QueryRow(t.Context(), "SELECT coalesce(string_agg(x::text, E'\n'), '') FROM "+table+" x").Scan(&text); err != nil {
			t.Fatal(err)
		}
		dump.WriteString(text)
	}
	if !strings.Contains(dump.String(), "alice") {
		t.Fatal("the dump is empty")
	}
	for _, secret := range []string{password, p.Access, p.Refresh, next.Access, next.Refresh, api} {
		signature := secret[strings.LastIndex(secret, ".")+1:]
		if strings.Contains(dump.String(), signature) {
			t.Errorf("the tables hold %.20s...", signature)
		}
	}
}

// Whatever pass-phrase signed before can verify afterwards. One that would be
// read as another in the list is told of as long as it signs.
func TestPassPhraseOfBefore(t *testing.T) {
	t.Parallel()
	pool := pgtest.New(t)
	for secret, listed := range map[string]string{
		"correct horse battery staple":   "correct horse battery staple",
		"correct, horse battery staple":  "",
		" correct horse battery staple":  "",
		"correct horse battery staple\n": "",
		"phrase:correct horse battery":   "",
		"phräse with umlauts and \xff":   "phräse with umlauts and \xff",
	} {
		var log strings.Builder
		told := slog.New(slog.NewTextHandler(&log, nil))
		signing, err := LoadKeys(t.Context(), pool, nil, KeySettings{Secret: secret}, told)
		if err != nil {
			t.Fatalf("LoadKeys(%q) = %v", secret, err)
		}
		warned := strings.Contains(log.String(), "JWT_PREVIOUS_KEYS")
		if warned != (listed == "") || strings.Contains(log.String(), strings.TrimSpace(secret)) {
			t.Errorf("LoadKeys(%q) logs %s, want a word on JWT_PREVIOUS_KEYS = %v, and not the pass-phrase", secret, &log, listed == "")
		}
		// As the environment has it.
		coded := "phrase:" + base64.StdEncoding.EncodeToString([]byte(secret))
		for _, text := range []string{coded, listed} {
			if text == "" {
				continue
			}
			list := strings.Split("hex:"+strings.Repeat("ab", tokenauth.MinSecret)+", "+text, ",")
			keys, err := LoadKeys(t.Context(), pool, nil, KeySettings{Secret: "the pass-phrase of afterwards", Previous: list}, told)
			if err != nil {
				t.Fatalf("LoadKeys(%q before) = %v", text, err)
			}
			v := tokenauth.Verifier{Keys: keys.Ring}
			if _, err := v.Verify(t.Context(), sign(t, signing.Ring), tokenauth.API); err != nil {
				t.Errorf("Verify(what %q signed, with %q before) = %v, want nil", secret, text, err)
			}
		}
	}
	for _, bad := range []string{"phrase:", "phrase:!", "phrase:correct horse"} {
		_, err := LoadKeys(t.Context(), pool, nil, KeySettings{Secret: "the pass-phrase of afterwards", Previous: []string{bad}}, slog.New(slog.DiscardHandler))
		if err == nil || strings.Contains(err.Error(), "horse") {
			t.Errorf("LoadKeys(%q before) = %v, want an error without the phrase", bad, err)
		}
	}
}

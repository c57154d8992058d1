package auth

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/romi/plantdb-go/db"
	"github.com/romi/plantdb-go/internal/pgtest"
	"github.com/romi/plantdb-go/tokenauth"
)

// orchard is a tree with servers on it.
type orchard struct {
	*world
	dir string
}

func newOrchard(t *testing.T) *orchard { return &orchard{newWorld(t), t.TempDir()} }

func (o *orchard) tree(t *testing.T) *keyTree {
	return newKeyTree(&keyLoader{db: o.pool, q: db.New(), log: slog.New(slog.DiscardHandler)}, openRoot(t, o.dir))
}

// server is one more replica, as `plantdb serve` makes it.
func (o *orchard) server(t *testing.T, k KeySettings) *Service {
	t.Helper()
	keys, err := LoadKeys(t.Context(), o.pool, openRoot(t, o.dir), k, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatalf("LoadKeys = %v", err)
	}
	s := New(o.pool, keys.Ring, config(), slog.New(slog.DiscardHandler), WithNotifications(o.pool), WithRotation(keys))
	s.actors.keep = 0
	if err := s.Load(t.Context()); err != nil {
		t.Fatalf("Load = %v", err)
	}
	return s
}

func atOnce(context.Context) bool { return true }

// rotate is RotateKey without the wait for servers that were not asked to look.
func (o *orchard) rotate(t *testing.T) string {
	t.Helper()
	kid, err := o.tree(t).rotate(t.Context(), HS512, atOnce)
	if err != nil {
		t.Fatalf("rotate = %v", err)
	}
	return kid
}

func (o *orchard) status(t *testing.T) map[string]string {
	t.Helper()
	keys, err := SigningKeys(t.Context(), o.pool)
	if err != nil {
		t.Fatal(err)
	}
	m := map[string]string{}
	for _, k := range keys {
		m[k.ID] = k.Status
	}
	return m
}

// kid returns the id of the key that signs.
func (o *orchard) kid(t *testing.T) string {
	t.Helper()
	signing, _, err := o.tree(t).read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return signing.ID()
}

// A rotation is seen by running servers, loses no token, and retiring the old
// key ends its tokens.
func TestRotation(t *testing.T) {
	t.Parallel()
	o := newOrchard(t)
	here, there := o.server(t, KeySettings{}), o.server(t, KeySettings{})
	run(t, here)
	run(t, there)
	register(t, here, "alice")
	before := login(t, here, "alice")
	old := o.kid(t)
	kid := o.rotate(t)
	if kid == old {
		t.Fatal("rotate kept the key")
	}
	signs := func(s *Service) bool { return strings.Contains(decodeHeader(t, sign(t, s.keys)), kid) }
	eventually(t, "both servers sign with the new key", func() bool { return signs(here) && signs(there) })
	for name, s := range map[string]*Service{"here": here, "there": there} {
		if _, err := s.Verifier().Verify(t.Context(), before.Access, tokenauth.Access); err != nil {
			t.Errorf("%s: Verify(token of the old key) = %v, want nil", name, err)
		}
	}
	after, err := there.Refresh(t.Context(), before.Refresh)
	if err != nil || !strings.Contains(decodeHeader(t, after.Refresh), kid) {
		t.Fatalf("Refresh(token of the old key) = %v, want one of the new key", err)
	}
	if after.AccessClaims.CSRF == before.AccessClaims.CSRF || after.AccessClaims.CSRF == "" {
		t.Error("the new pair has no csrf value of its own")
	}
	if got, want := o.status(t), map[string]string{old: keyVerifying, kid: keyActive}; !maps.Equal(got, want) {
		t.Errorf("keys = %v, want %v", got, want)
	}
	if got, want := keyFiles(t, o.dir), []string{"jwt-" + old + ".key", "jwt.key"}; !slices.Equal(got, want) {
		t.Errorf("key files = %v, want %v", got, want)
	}

	tree := o.tree(t)
	wantErr(t, "retire(signing key)", tree.retire(t.Context(), kid), ErrKeySigns)
	wantErr(t, "retire(path)", tree.retire(t.Context(), "../jwt"), ErrKeyUnknown)
	wantErr(t, "retire(old)", tree.retire(t.Context(), old), nil)
	wantErr(t, "retire(old) again", tree.retire(t.Context(), old), ErrKeyUnknown)
	eventually(t, "the old key is refused", func() bool {
		_, err := here.Verifier().Verify(t.Context(), before.Access, tokenauth.Access)
		_, err2 := there.Verifier().Verify(t.Context(), before.Access, tokenauth.Access)
		return errors.Is(err, tokenauth.ErrUnknownKey) && errors.Is(err2, tokenauth.ErrUnknownKey)
	})
	if _, err := there.Refresh(t.Context(), after.Refresh); err != nil {
		t.Errorf("Refresh(token of the new key) = %v, want nil", err)
	}
	if got := o.status(t)[old]; got != keyRetired {
		t.Errorf("status of the old key = %s, want retired", got)
	}
	wantEvent(t, o.world, "system", eventKeyRotate)
	wantEvent(t, o.world, "system", eventKeyRetire)
}

// Servers learn of a key before anything is signed with it.
func TestKeyIsPublishedBeforeItSigns(t *testing.T) {
	t.Parallel()
	o := newOrchard(t)
	s := o.server(t, KeySettings{})
	run(t, s)
	old := o.kid(t)
	kid, err := o.tree(t).rotate(t.Context(), HS512, func(ctx context.Context) bool {
		signing, verifying, err := o.tree(t).read(ctx)
		if err != nil || signing.ID() != old || len(verifying) != 1 || o.status(t)[old] != keyActive {
			t.Errorf("keys = %v and %v, %v, %v, want the old one that signs for now, and another", signing, verifying, err, o.status(t))
			return false
		}
		ring, err := tokenauth.NewKeyring(verifying[0])
		if err != nil {
			t.Error(err)
			return false
		}
		v, token := tokenauth.Verifier{Keys: s.keys}, sign(t, ring)
		eventually(t, "the server takes what the new key signs", func() bool {
			_, err := v.Verify(ctx, token, tokenauth.API)
			return err == nil
		})
		return true
	})
	if err != nil || o.kid(t) != kid || kid == old {
		t.Errorf("rotate = %s, %v, want another key that signs", kid, err)
	}
}

func TestRotationsAtOnce(t *testing.T) {
	t.Parallel()
	o := newOrchard(t)
	s := o.server(t, KeySettings{})
	before := sign(t, s.keys)
	for _, err := range together(4, func(int) error {
		_, err := o.tree(t).rotate(t.Context(), HS512, atOnce)
		return err
	}) {
		wantErr(t, "rotate at once", err, nil)
	}
	active := 0
	for _, status := range o.status(t) {
		if status == keyActive {
			active++
		}
	}
	if n := len(o.status(t)); n != 5 || active != 1 || len(keyFiles(t, o.dir)) != 5 {
		t.Errorf("keys = %d, of which %d sign, files %v, want 5, 1, 5", n, active, keyFiles(t, o.dir))
	}
	keys, err := LoadKeys(t.Context(), o.pool, openRoot(t, o.dir), KeySettings{}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	v := tokenauth.Verifier{Keys: keys.Ring}
	if _, err := v.Verify(t.Context(), before, tokenauth.API); err != nil {
		t.Errorf("after a restart: Verify(token of the first key) = %v, want nil", err)
	}
}

// A crash in the middle of a rotation leaves a tree that works and that can be
// rotated.
func TestRotationIsCrashSafe(t *testing.T) {
	t.Parallel()
	o := newOrchard(t)
	first := sign(t, o.server(t, KeySettings{}).keys)
	tree, old := o.tree(t), o.kid(t)
	key, err := tree.publish(HS512) // and no word in the table
	if err != nil {
		t.Fatal(err)
	}
	if err := tree.root.Link(keyFile, verifyingFile(old)); err != nil { // the first step of activate
		t.Fatal(err)
	}
	s := o.server(t, KeySettings{})
	if got := o.kid(t); got != old {
		t.Errorf("signing key = %s, want %s still", got, old)
	}
	if o.status(t)[key.ID()] != keyVerifying {
		t.Errorf("keys = %v, want the published one to verify", o.status(t))
	}
	if err := tree.activate(key.ID(), old); err != nil { // without the table
		t.Fatal(err)
	}
	kid := o.rotate(t)
	if o.kid(t) != kid || len(o.status(t)) != 3 {
		t.Errorf("after another rotation %s signs of %v, want %s of 3", o.kid(t), o.status(t), kid)
	}
	v := tokenauth.Verifier{Keys: s.keys}
	if _, err := v.Verify(t.Context(), first, tokenauth.API); err != nil {
		t.Errorf("Verify(token of the first key) = %v, want nil", err)
	}
}

func TestEdDSAKeyOfTheTree(t *testing.T) {
	t.Parallel()
	o := newOrchard(t)
	old := o.server(t, KeySettings{})
	token := sign(t, old.keys)
	if set := old.JWKS(); string(set) != `{"keys":[]}` {
		t.Errorf("JWKS with HS512 = %s, want none", set)
	}
	s := o.server(t, KeySettings{Algorithm: EdDSA})
	var set struct{ Keys []map[string]string }
	if err := json.Unmarshal(s.JWKS(), &set); err != nil || len(set.Keys) != 1 || set.Keys[0]["kid"] != o.kid(t) || set.Keys[0]["d"] != "" {
		t.Errorf("JWKS = %s, %v, want the public key %s", s.JWKS(), err, o.kid(t))
	}
	v := tokenauth.Verifier{Keys: s.keys}
	if _, err := v.Verify(t.Context(), token, tokenauth.API); err != nil {
		t.Errorf("Verify(token of the HS512 key) = %v, want nil", err)
	}
	register(t, s, "alice")
	pair := login(t, s, "alice")
	if pair.AccessClaims.CSRF == "" || !strings.Contains(decodeHeader(t, pair.Access), EdDSA) {
		t.Errorf("header of an access token = %s, want EdDSA", decodeHeader(t, pair.Access))
	}
	if text, err := os.ReadFile(filepath.Join(o.dir, keyFile)); err != nil || !strings.HasPrefix(string(text), "-----BEGIN PRIVATE KEY-----") {
		t.Errorf("key file = %.20s, %v, want PEM", text, err)
	}
	again := o.server(t, KeySettings{Algorithm: EdDSA})
	if _, err := again.Verifier().Verify(t.Context(), pair.Access, tokenauth.Access); err != nil {
		t.Errorf("after a restart: Verify = %v, want nil", err)
	}
}

// decodeHeader returns the JSON of a token's header.
func decodeHeader(t *testing.T, raw string) string {
	t.Helper()
	head, _, _ := strings.Cut(raw, ".")
	text, err := base64.RawURLEncoding.DecodeString(head)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestKeysOfTheSettings(t *testing.T) {
	t.Parallel()
	o := newOrchard(t)
	secret := KeySettings{Secret: "hex:" + strings.Repeat("ab", tokenauth.MinSecret)}
	quiet := slog.New(slog.DiscardHandler)
	root := openRoot(t, o.dir)
	_, err := RotateKey(t.Context(), o.pool, root, KeySettings{}, quiet)
	wantErr(t, "RotateKey before the first start", err, ErrKeyUnknown)
	o.server(t, secret)
	_, err = RotateKey(t.Context(), o.pool, root, secret, quiet)
	wantErr(t, "RotateKey with JWT_SECRET_KEY", err, ErrKeysInSettings)
	_, err = RotateKey(t.Context(), o.pool, root, KeySettings{}, quiet)
	wantErr(t, "RotateKey beside servers with JWT_SECRET_KEY", err, ErrKeysInSettings)
	wantErr(t, "RetireKey with JWT_SECRET_KEY", RetireKey(t.Context(), o.pool, root, secret, "x", quiet), ErrKeysInSettings)
	if _, err := root.Stat(keyFile); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the tree has a key nobody uses: %v", err)
	}
	_, err = LoadKeys(t.Context(), o.pool, root, KeySettings{Secret: secret.Secret, Algorithm: EdDSA}, quiet)
	if err == nil || strings.Contains(err.Error(), "abab") {
		t.Errorf("LoadKeys(EdDSA with an HMAC secret) = %v, want an error without the key", err)
	}

	// From the settings to the tree: the old secret verifies as long as it is set.
	s := o.server(t, KeySettings{Previous: []string{secret.Secret}})
	keys, err := LoadKeys(t.Context(), pgtest.New(t), nil, secret, quiet)
	if err != nil {
		t.Fatal(err)
	}
	run(t, s)
	kid := o.rotate(t)
	eventually(t, "the server signs with the new key", func() bool { return strings.Contains(decodeHeader(t, sign(t, s.keys)), kid) })
	v := tokenauth.Verifier{Keys: s.keys}
	if _, err := v.Verify(t.Context(), sign(t, keys.Ring), tokenauth.API); err != nil {
		t.Errorf("Verify(token of JWT_PREVIOUS_KEYS after a rotation) = %v, want nil", err)
	}
}

func TestTooManyKeys(t *testing.T) {
	t.Parallel()
	o := newOrchard(t)
	o.server(t, KeySettings{})
	tree := o.tree(t)
	for range maxTreeKeys - 1 {
		if _, err := tree.publish(HS512); err != nil {
			t.Fatal(err)
		}
	}
	_, err := tree.rotate(t.Context(), HS512, atOnce)
	wantErr(t, "rotate", err, ErrTooManyKeys)
}

// A key that cannot be read stops nothing: the servers go on with those of
// before, and take the change once they can.
func TestUnreadableKey(t *testing.T) {
	t.Parallel()
	o := newOrchard(t)
	s := o.server(t, KeySettings{})
	before := o.kid(t)
	bad := filepath.Join(o.dir, verifyingFile("bad"))
	kid := o.rotate(t)
	if err := os.WriteFile(bad, []byte("hex:00"), 0o600); err != nil {
		t.Fatal(err)
	}
	wantErr(t, "Load with a bad key", s.Load(t.Context()), nil)
	if got := decodeHeader(t, sign(t, s.keys)); !strings.Contains(got, before) {
		t.Errorf("signing key = %s, want %s of before", got, before)
	}
	if err := os.Remove(bad); err != nil {
		t.Fatal(err)
	}
	wantErr(t, "Load", s.Load(t.Context()), nil)
	if got := decodeHeader(t, sign(t, s.keys)); !strings.Contains(got, kid) {
		t.Errorf("signing key = %s, want %s", got, kid)
	}
}

// What root makes on the command line belongs to whom the tree's keys belong
// to, for the server has to read it.
func TestKeyBelongsToTheServer(t *testing.T) {
	t.Parallel()
	o := newOrchard(t)
	o.server(t, KeySettings{})
	owner := os.Geteuid()
	if owner == 0 {
		owner = 65534
		if err := os.Chown(filepath.Join(o.dir, keyDir), owner, owner); err != nil {
			t.Fatal(err)
		}
	}
	o.rotate(t)
	info, err := os.Stat(filepath.Join(o.dir, keyFile))
	if err != nil {
		t.Fatal(err)
	}
	if stat, ok := info.Sys().(*syscall.Stat_t); !ok || int(stat.Uid) != owner {
		t.Errorf("owner of the new key = %v, want %d", info.Sys(), owner)
	}
}

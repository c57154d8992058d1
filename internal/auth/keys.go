package auth

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/jackc/pgx/v5"
	"golang.org/x/crypto/argon2"

	"github.com/romi/plantdb-go/db"
	"github.com/romi/plantdb-go/internal/postgres"
	"github.com/romi/plantdb-go/tokenauth"
)

// Algorithms that tokens can be signed with, as JWT names them.
const (
	HS512 = "HS512"
	EdDSA = "EdDSA"
)

// The states of a key in signing_keys.
const (
	keyActive    = "active"    // signs and verifies
	keyVerifying = "verifying" // verifies
	keyRetired   = "retired"
)

const (
	// maxKeyFile bounds a key file, in bytes.
	maxKeyFile = 64 << 10
	// shortPhrase is below what anybody should use; it is said in the log.
	shortPhrase = 16
)

// stretch makes a key of a pass-phrase. Its numbers are part of what a
// pass-phrase means: changed, every token in circulation would die. They are
// those that RFC 9106 recommends where memory is scarce.
func stretch(phrase string, salt []byte) []byte {
	return argon2.IDKey([]byte(phrase), salt, 3, 64<<10, 4, tokenauth.MinSecret)
}

// KeySettings say where the signing keys come from.
type KeySettings struct {
	// Secret is a pass-phrase, base64:..., hex:... or file:PATH; the file holds
	// one of the first three or an Ed25519 key in PEM. Empty: the tree keeps
	// its keys itself, in .plantdb, made when they are first needed.
	Secret string
	// Previous are keys that verify and do not sign, in the same forms, without
	// the spaces around them; or phrase: and a pass-phrase in base64, for one
	// that could not stand in such a list otherwise.
	Previous []string
	// Algorithm is HS512 or EdDSA: of the keys that the tree keeps. A Secret
	// has its own; that it is none for EdDSA when that is asked for is an
	// error. Empty is HS512.
	Algorithm string
}

func (k KeySettings) algorithm() string {
	if k.Algorithm == "" {
		return HS512
	}
	return k.Algorithm
}

// Keys are the signing keys of a server. Where the tree keeps them, a Service
// made with WithRotation follows what RotateKey and RetireKey do to them.
type Keys struct {
	// Ring signs and verifies.
	Ring *tokenauth.Keyring

	previous []tokenauth.Key // of the settings
	tree     *keyTree        // nil with a Secret
	// The states of the table for which the files were read, and could not be.
	seen, failed string
}

// LoadKeys returns the keys that the settings describe and records which are
// in use in the table signing_keys. A pass-phrase gives the same key on every
// replica of a database: its salt is stored with the first, whichever that is.
// A tree whose key is for another algorithm than the settings ask for gets a
// new one, as by RotateKey. The root must stay open as long as the Keys are in
// use. The text of an error holds no part of a key.
func LoadKeys(ctx context.Context, pool postgres.DB, root *os.Root, k KeySettings, log *slog.Logger) (*Keys, error) {
	l := &keyLoader{db: pool, q: db.New(), log: log}
	keys := &Keys{}
	var err error
	if keys.previous, err = l.previous(ctx, k.Previous); err != nil {
		return nil, err
	}
	if k.Secret == "" {
		log.InfoContext(ctx, "JWT_SECRET_KEY is not set, signing with the key of this tree", slog.String("file", keyFile))
		return keys, keys.loadTree(ctx, newKeyTree(l, root), k.algorithm())
	}
	signing, err := l.key(ctx, k.Secret)
	if err != nil {
		return nil, fmt.Errorf("read JWT_SECRET_KEY: %w", err)
	}
	if unlisted(k.Secret) {
		log.WarnContext(ctx, "the pass-phrase of JWT_SECRET_KEY has a comma, spaces around it, or begins with "+phraseForm+
			": in JWT_PREVIOUS_KEYS, write it as "+phraseForm+" and its base64, or every session ends when the key is changed")
	}
	if k.Algorithm == EdDSA && signing.Algorithm() != EdDSA {
		return nil, errors.New("JWT_ALGORITHM is EdDSA, and the key of JWT_SECRET_KEY is for HS512: give an Ed25519 key in PEM by file:PATH")
	}
	if keys.Ring, err = tokenauth.NewKeyring(signing, keys.previous...); err != nil {
		return nil, err
	}
	return keys, l.inLock(ctx, func(tx pgx.Tx) error { return l.record(ctx, tx, signing, keys.previous) })
}

type keyLoader struct {
	db  postgres.DB
	q   *db.Queries
	log *slog.Logger
}

// inLock runs fn while nobody else changes keys or writes down which are in use.
func (l *keyLoader) inLock(ctx context.Context, fn func(tx pgx.Tx) error) error {
	return postgres.InTx(ctx, l.db, func(tx pgx.Tx) error {
		if err := l.q.LockKeys(ctx, tx); err != nil {
			return fmt.Errorf("lock signing keys: %w", err)
		}
		return fn(tx)
	})
}

// phraseForm begins a pass-phrase in base64, among the keys that only verify.
const phraseForm = "phrase:"

// unlisted says whether a secret is a pass-phrase that would be read as
// another, or as several, in the list of the keys that only verify.
func unlisted(secret string) bool {
	for _, form := range []string{"file:", "base64:", "hex:", "-----BEGIN "} {
		if strings.HasPrefix(secret, form) {
			return false
		}
	}
	return strings.Contains(secret, ",") || strings.TrimSpace(secret) != secret || strings.HasPrefix(secret, phraseForm)
}

// previous reads the keys that are only to verify.
func (l *keyLoader) previous(ctx context.Context, list []string) ([]tokenauth.Key, error) {
	var keys []tokenauth.Key
	for i, text := range list {
		if text = strings.TrimSpace(text); text == "" {
			continue
		}
		key, err := l.previousKey(ctx, text)
		if err != nil {
			return nil, fmt.Errorf("read key %d of JWT_PREVIOUS_KEYS: %w", i+1, err)
		}
		keys = append(keys, key)
	}
	return keys, nil
}

func (l *keyLoader) previousKey(ctx context.Context, text string) (tokenauth.Key, error) {
	coded, ok := strings.CutPrefix(text, phraseForm)
	if !ok {
		return l.key(ctx, text)
	}
	phrase, err := base64.StdEncoding.DecodeString(coded)
	if err != nil || len(phrase) == 0 {
		return tokenauth.Key{}, errors.New("what follows phrase: is not a pass-phrase in base64")
	}
	return l.phraseKey(ctx, string(phrase))
}

func (l *keyLoader) key(ctx context.Context, text string) (tokenauth.Key, error) {
	if file, ok := strings.CutPrefix(text, "file:"); ok {
		var err error
		if text, err = readKeyFile(file); err != nil {
			return tokenauth.Key{}, err
		}
	}
	switch {
	case strings.HasPrefix(text, "base64:"):
		raw, err := base64.StdEncoding.DecodeString(text[len("base64:"):])
		if err != nil {
			return tokenauth.Key{}, errors.New("what follows base64: is not base64")
		}
		return tokenauth.NewHMACKey(raw)
	case strings.HasPrefix(text, "hex:"):
		raw, err := hex.DecodeString(text[len("hex:"):])
		if err != nil {
			return tokenauth.Key{}, errors.New("what follows hex: is not hexadecimal")
		}
		return tokenauth.NewHMACKey(raw)
	case strings.HasPrefix(text, "-----BEGIN "):
		return pemKey([]byte(text))
	case text == "":
		return tokenauth.Key{}, errors.New("the key is empty")
	}
	return l.phraseKey(ctx, text)
}

// phraseKey stretches a pass-phrase with the salt of the database.
func (l *keyLoader) phraseKey(ctx context.Context, phrase string) (tokenauth.Key, error) {
	if len(phrase) < shortPhrase {
		l.log.WarnContext(ctx, "the pass-phrase of a signing key is short", slog.Int("bytes_advised", shortPhrase))
	}
	salt := make([]byte, 32)
	_, _ = rand.Read(salt) // never fails, since Go 1.24
	if err := l.q.InsertSalt(ctx, l.db, salt); err != nil {
		return tokenauth.Key{}, fmt.Errorf("store salt: %w", err)
	}
	salt, err := l.q.GetSalt(ctx, l.db) // ours, or that of who was first
	if err != nil {
		return tokenauth.Key{}, fmt.Errorf("read salt: %w", err)
	}
	return tokenauth.NewHMACKey(stretch(phrase, salt))
}

// record writes down which keys are in use, and that no others are.
func (l *keyLoader) record(ctx context.Context, tx pgx.Tx, signing tokenauth.Key, verifying []tokenauth.Key) error {
	kept := []string{signing.ID()}
	for _, k := range verifying {
		kept = append(kept, k.ID())
	}
	if err := l.q.RetireOtherKeys(ctx, tx, kept); err != nil {
		return fmt.Errorf("retire signing keys: %w", err)
	}
	return l.recordInUse(ctx, tx, signing, verifying)
}

// recordInUse writes down which keys are in use and leaves the others.
func (l *keyLoader) recordInUse(ctx context.Context, tx pgx.Tx, signing tokenauth.Key, verifying []tokenauth.Key) error {
	for _, k := range verifying {
		if err := l.q.RecordKey(ctx, tx, k.ID(), k.Algorithm(), keyVerifying); err != nil {
			return fmt.Errorf("record verifying key: %w", err)
		}
	}
	// Last, should the same key be among the others.
	if err := l.q.RecordKey(ctx, tx, signing.ID(), signing.Algorithm(), keyActive); err != nil {
		return fmt.Errorf("record signing key: %w", err)
	}
	return nil
}

// pemKey reads an Ed25519 key: a private one (PKCS #8) signs and verifies, a
// public one verifies.
func pemKey(text []byte) (tokenauth.Key, error) {
	block, _ := pem.Decode(text)
	if block == nil {
		return tokenauth.Key{}, errors.New("not PEM")
	}
	if private, err := x509.ParsePKCS8PrivateKey(block.Bytes); err == nil {
		if ed, ok := private.(ed25519.PrivateKey); ok {
			return tokenauth.NewEd25519Key(ed)
		}
	}
	if public, err := x509.ParsePKIXPublicKey(block.Bytes); err == nil {
		if ed, ok := public.(ed25519.PublicKey); ok {
			return tokenauth.NewEd25519PublicKey(ed)
		}
	}
	return tokenauth.Key{}, errors.New("the PEM block is no Ed25519 key")
}

// readKeyFile reads a file that the settings name, wherever it is.
func readKeyFile(name string) (string, error) {
	dir, err := os.OpenRoot(filepath.Dir(name))
	if err != nil {
		return "", fmt.Errorf("open directory of key file: %w", err)
	}
	defer dir.Close() // nothing was written
	return readText(dir, filepath.Base(name))
}

func readText(root *os.Root, name string) (string, error) {
	f, err := root.Open(name)
	if err != nil {
		return "", fmt.Errorf("open key file: %w", err)
	}
	defer f.Close() // nothing was written
	data, err := io.ReadAll(io.LimitReader(f, maxKeyFile+1))
	if err != nil {
		return "", fmt.Errorf("read key file: %w", err)
	}
	if len(data) > maxKeyFile {
		return "", fmt.Errorf("key file has more than %d bytes", maxKeyFile)
	}
	return string(bytes.TrimSpace(data)), nil
}

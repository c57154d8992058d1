package auth

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	_ "embed" // the common passwords
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/bcrypt"
)

// passwordLimit is the longest password that is taken, in bytes.
const passwordLimit = 1024

// noPassword stands for the hash of an account nobody can log in to.
const noPassword = "*"

//go:embed common_passwords.txt
var commonPasswords string

// checkPassword says which rule a new password breaks, if any.
func (c Config) checkPassword(password string) error {
	switch {
	case password == "":
		return ErrMissingFields
	case len(password) > passwordLimit:
		return ErrPassword.With("A password has at most %d bytes", passwordLimit)
	case !utf8.ValidString(password):
		return ErrPassword.With("A password is text in UTF-8")
	case utf8.RuneCountInString(password) < c.PasswordMinLength:
		return ErrPassword.With("A password has at least %d characters", c.PasswordMinLength)
	case c.PasswordMinLength > 1 && monotonous(password):
		return ErrPassword.With("A password is more than one character again and again, and more than white space")
	case c.PasswordMinLength > 1 && slices.Contains(strings.Fields(commonPasswords), strings.ToLower(password)):
		return ErrPassword.With("This password is among the first that anybody would try")
	}
	return nil
}

// monotonous says whether a password is one character repeated, or white space.
func monotonous(password string) bool {
	first, _ := utf8.DecodeRuneInString(password)
	return strings.Trim(password, string(first)) == "" || strings.TrimSpace(password) == ""
}

// HashParams are the parameters of Argon2id (RFC 9106).
type HashParams struct {
	Memory  uint32 // KiB
	Time    uint32 // passes
	Threads uint8  // lanes
}

// The most that a stored hash may ask for. Upstream's own are 64 and 100 MiB.
const (
	maxHashMemory  = 256 << 10 // KiB
	maxHashTime    = 16
	maxHashThreads = 16
	saltSize       = 16
	keySize        = 32
)

// phc is a hash in the form of the PHC string format,
// $argon2id$v=19$m=19456,t=2,p=1$salt$key.
type phc struct {
	HashParams
	salt, key []byte
}

var errPHC = errors.New("not an Argon2id hash within bounds")

// parsePHC reads a stored hash. One that would take more memory or time than
// the bounds above is an error, so that no row can exhaust the server.
func parsePHC(s string) (phc, error) {
	if len(s) > 512 {
		return phc{}, errPHC
	}
	parts := strings.Split(s, "$")
	if len(parts) != 6 || parts[0] != "" || parts[1] != "argon2id" || parts[2] != "v="+strconv.Itoa(argon2.Version) {
		return phc{}, errPHC
	}
	var h phc
	var err error
	if h.HashParams, err = parseParams(parts[3]); err != nil {
		return phc{}, err
	}
	if h.salt, err = base64.RawStdEncoding.Strict().DecodeString(parts[4]); err != nil || len(h.salt) < 8 || len(h.salt) > 64 {
		return phc{}, errPHC
	}
	if h.key, err = base64.RawStdEncoding.Strict().DecodeString(parts[5]); err != nil || len(h.key) < 16 || len(h.key) > 64 {
		return phc{}, errPHC
	}
	return h, nil
}

// maxBcryptCost is the most that a stored hash of bcrypt may ask for: about a
// second. PlantDB 0.14 made them with 12.
const maxBcryptCost = 14

// isBcrypt says whether s is a hash of bcrypt within bounds, as PlantDB 0.14
// stored; the next login replaces it by one of Argon2id.
func isBcrypt(s string) bool {
	if len(s) != 60 {
		return false
	}
	cost, err := bcrypt.Cost([]byte(s))
	return err == nil && cost <= maxBcryptCost
}

// parseParams reads m=..,t=..,p=.. in this order, as the format demands.
func parseParams(s string) (HashParams, error) {
	var n [3]uint64
	fields := strings.Split(s, ",")
	if len(fields) != len(n) {
		return HashParams{}, errPHC
	}
	for i, name := range []string{"m=", "t=", "p="} {
		digits, ok := strings.CutPrefix(fields[i], name)
		v, err := strconv.ParseUint(digits, 10, 32)
		// No leading zero, no sign: one hash, one spelling.
		if !ok || err != nil || strconv.FormatUint(v, 10) != digits {
			return HashParams{}, errPHC
		}
		n[i] = v
	}
	if n[0] > maxHashMemory || n[1] < 1 || n[1] > maxHashTime || n[2] < 1 || n[2] > maxHashThreads || n[0] < 8*n[2] {
		return HashParams{}, errPHC
	}
	return HashParams{Memory: uint32(n[0]), Time: uint32(n[1]), Threads: uint8(n[2])}, nil //nolint:gosec // They were just bounded.
}

// String returns the form that parsePHC reads.
func (h phc) String() string {
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, h.Memory, h.Time, h.Threads,
		base64.RawStdEncoding.EncodeToString(h.salt), base64.RawStdEncoding.EncodeToString(h.key))
}

func (p HashParams) derive(password string, salt []byte, size int) []byte {
	return argon2.IDKey([]byte(password), salt, p.Time, p.Memory, p.Threads, uint32(size)) //nolint:gosec // The length of a hash: some tens of bytes.
}

// hasher bounds how many hashes are made at once, which bounds their memory,
// and how many wait, which bounds the time anybody waits.
type hasher struct {
	params HashParams
	slots  chan struct{}
	places chan struct{} // those at work and those who wait
}

func newHasher(p HashParams, atOnce, queue int) *hasher {
	atOnce = max(atOnce, 1)
	return &hasher{params: p, slots: make(chan struct{}, atOnce), places: make(chan struct{}, atOnce+max(queue, 0))}
}

// do runs f in one of the slots. It returns ErrBusy at once when too many
// wait, and the context's error when the caller has gone.
func (h *hasher) do(ctx context.Context, f func()) error {
	select {
	case h.places <- struct{}{}:
		defer func() { <-h.places }()
	default:
		return ErrBusy.After(2 * time.Second)
	}
	select {
	case h.slots <- struct{}{}:
		defer func() { <-h.slots }()
	case <-ctx.Done():
		return fmt.Errorf("wait to hash a password: %w", ctx.Err())
	}
	f()
	return nil
}

// hash returns the hash to store for a new password.
func (h *hasher) hash(ctx context.Context, password string) (string, error) {
	made := phc{HashParams: h.params, salt: make([]byte, saltSize)}
	_, _ = rand.Read(made.salt) // never fails, since Go 1.24
	err := h.do(ctx, func() { made.key = h.params.derive(password, made.salt, keySize) })
	if err != nil {
		return "", err
	}
	return made.String(), nil
}

// verify says whether the password is that of the stored hash, and whether the
// hash should be made anew. A hash that cannot be read, as that of nobody or of
// the guest, costs the same and is nobody's.
func (h *hasher) verify(ctx context.Context, stored, password string) (right, stale bool, err error) {
	if isBcrypt(stored) {
		err = h.do(ctx, func() { right = bcrypt.CompareHashAndPassword([]byte(stored), []byte(password)) == nil })
		return right, true, err
	}
	want, parseErr := parsePHC(stored)
	if parseErr != nil {
		want = phc{HashParams: h.params, salt: make([]byte, saltSize), key: make([]byte, keySize)}
	}
	var got []byte
	if err = h.do(ctx, func() { got = want.derive(password, want.salt, len(want.key)) }); err != nil {
		return false, false, err
	}
	right = subtle.ConstantTimeCompare(got, want.key) == 1 && parseErr == nil
	return right, want.HashParams != h.params, nil
}

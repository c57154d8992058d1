package auth

import (
	"slices"
	"strings"
	"testing"
)

// upstreamHash is what argon2-cffi made of "password" with upstream's
// parameters.
const (
	upstreamPassword = "password"
	upstreamHash     = "$argon2id$v=19$m=65536,t=3,p=4$E4RvelaaDrrNHhJAcbui1A$if3s9xt85kvHsgVYWcurGiz4xLOcuYg4Gz73uVvDoYM"
)

func TestPasswordRules(t *testing.T) {
	t.Parallel()
	strict, test := config(), config(func(c *Config) { c.PasswordMinLength = 1 })
	for _, tt := range []struct {
		c        Config
		password string
		want     error
	}{
		{strict, "leaves of grass", nil},
		{strict, "Blätter!", nil},
		{strict, strings.Repeat("xy", 512), nil},
		{strict, "", ErrMissingFields},
		{strict, "sieben7", ErrPassword},
		{strict, "Password123", ErrPassword},
		{strict, strings.Repeat("x", 1025), ErrPassword},
		{strict, "not UTF-8 \xff", ErrPassword},
		{test, "a", nil},
		{test, "password", nil},
		{test, "", ErrMissingFields},
		{test, strings.Repeat("x", 1025), ErrPassword},
	} {
		wantErr(t, "checkPassword("+tt.password+")", tt.c.checkPassword(tt.password), tt.want)
	}
}

func TestCommonPasswordsAreLowerCase(t *testing.T) {
	t.Parallel()
	for p := range strings.FieldsSeq(commonPasswords) {
		if p != strings.ToLower(p) {
			t.Errorf("%q is not lower case and would never match", p)
		}
	}
}

func TestHashAndVerify(t *testing.T) {
	t.Parallel()
	h := newHasher(config().Hash, 2, 2)
	stored, err := h.hash(t.Context(), password)
	if err != nil {
		t.Fatal(err)
	}
	again, err := h.hash(t.Context(), password)
	if err != nil || stored == again {
		t.Errorf("two hashes of one password = %s, %s, %v, want two salts", stored, again, err)
	}
	for _, tt := range []struct {
		name, stored, password string
		right, stale           bool
	}{
		{"right", stored, password, true, false},
		{"wrong", stored, "other", false, false},
		{"upstream's", upstreamHash, upstreamPassword, true, true},
		{"upstream's, wrong", upstreamHash, "other", false, true},
		{"nobody's", noPassword, "*", false, false},
		{"unknown user", "", "", false, false},
		{"too dear", "$argon2id$v=19$m=4194304,t=3,p=4$c29tZXNhbHQ$AAAAAAAAAAAAAAAAAAAAAAAAAAA", "", false, false},
	} {
		right, stale, err := h.verify(t.Context(), tt.stored, tt.password)
		if right != tt.right || stale != tt.stale || err != nil {
			t.Errorf("%s: verify = %t, %t, %v, want %t, %t", tt.name, right, stale, err, tt.right, tt.stale)
		}
	}
}

func TestParsePHC(t *testing.T) {
	t.Parallel()
	const salt, key = "c29tZXNhbHQ", "AAAAAAAAAAAAAAAAAAAAAA"
	for s, ok := range map[string]bool{
		"$argon2id$v=19$m=19456,t=2,p=1$" + salt + "$" + key:   true,
		"$argon2id$v=19$m=65536,t=3,p=4$" + salt + "$" + key:   true,
		"$argon2id$v=19$m=102400,t=2,p=8$" + salt + "$" + key:  true,
		"$argon2id$v=19$m=262145,t=2,p=1$" + salt + "$" + key:  false,
		"$argon2id$v=19$m=19456,t=17,p=1$" + salt + "$" + key:  false,
		"$argon2id$v=19$m=19456,t=0,p=1$" + salt + "$" + key:   false,
		"$argon2id$v=19$m=19456,t=2,p=0$" + salt + "$" + key:   false,
		"$argon2id$v=19$m=19456,t=2,p=256$" + salt + "$" + key: false,
		"$argon2id$v=19$m=8,t=2,p=2$" + salt + "$" + key:       false,
		"$argon2id$v=19$m=+8,t=2,p=1$" + salt + "$" + key:      false,
		"$argon2id$v=16$m=19456,t=2,p=1$" + salt + "$" + key:   false,
		"$argon2i$v=19$m=19456,t=2,p=1$" + salt + "$" + key:    false,
		"$argon2id$v=19$t=2,m=19456,p=1$" + salt + "$" + key:   false,
		"$argon2id$v=19$m=19456,t=2,p=1$" + salt + "$AAAA":     false,
		"$argon2id$v=19$m=19456,t=2,p=1$AAAA$" + key:           false,
		"$argon2id$v=19$m=19456,t=2,p=1$" + salt + "=$" + key:  false,
		"*": false, "": false, "$$$$$": false,
	} {
		if _, err := parsePHC(s); (err == nil) != ok {
			t.Errorf("parsePHC(%q) = %v, want ok %t", s, err, ok)
		}
	}
}

func FuzzParsePHC(f *testing.F) {
	f.Add(upstreamHash)
	f.Add("$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ$AAAAAAAAAAAAAAAAAAAAAA")
	f.Add("*")
	f.Fuzz(func(t *testing.T, s string) {
		h, err := parsePHC(s)
		if err != nil {
			return
		}
		if h.Memory > maxHashMemory || h.Time < 1 || h.Time > maxHashTime || h.Threads < 1 || h.Threads > maxHashThreads {
			t.Errorf("parsePHC(%q) = %+v, out of bounds", s, h.HashParams)
		}
		if h.String() != s {
			t.Errorf("parsePHC(%q).String() = %q", s, h.String())
		}
		again, err := parsePHC(h.String())
		if err != nil || again.HashParams != h.HashParams || !slices.Equal(again.key, h.key) {
			t.Errorf("parsePHC(%q) = %+v, %v, want %+v", h.String(), again, err, h)
		}
	})
}

func BenchmarkHash(b *testing.B) {
	h := newHasher(Default().Hash, 1, 1)
	for b.Loop() {
		if _, err := h.hash(b.Context(), password); err != nil {
			b.Fatal(err)
		}
	}
}

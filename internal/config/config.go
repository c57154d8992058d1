// Package config holds the settings of the server: their names, defaults and
// forms, from environment variables and flags. It knows what each setting
// means, not how it is used.
package config

import (
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caarlos0/env/v11"
	"github.com/spf13/pflag"
)

// Config is every setting. A variable of the environment sets it, the flag of
// the same meaning wins.
type Config struct {
	Root        string `env:"ROMI_DB" envDefault:"./plantdb-data"`
	DatabaseURL string `env:"DATABASE_URL"`
	Host        string `env:"PLANTDB_HOST" envDefault:"127.0.0.1"`
	Port        int    `env:"PLANTDB_PORT" envDefault:"5000"`
	Prefix      string `env:"PLANTDB_API_PREFIX"`

	JWTSecret       string   `env:"JWT_SECRET_KEY"`
	JWTPrevious     []string `env:"JWT_PREVIOUS_KEYS"`
	JWTAlgorithm    string   `env:"JWT_ALGORITHM" envDefault:"HS512"`
	TokenLocations  []string `env:"TOKEN_LOCATIONS" envDefault:"headers,cookies"`
	SessionTimeout  Seconds  `env:"SESSION_TIMEOUT" envDefault:"900"`
	RefreshTimeout  Seconds  `env:"REFRESH_TIMEOUT" envDefault:"86400"`
	AbsoluteTimeout Seconds  `env:"SESSION_ABSOLUTE_TIMEOUT" envDefault:"30d"`
	RefreshGrace    Seconds  `env:"REFRESH_GRACE" envDefault:"10"`
	MaxSessions     int      `env:"MAX_SESSION" envDefault:"10"`
	SessionPolicy   string   `env:"MAX_SESSION_POLICY" envDefault:"evict"`
	Leeway          Seconds  `env:"JWT_LEEWAY" envDefault:"2"`

	LoginAttempts     int     `env:"LOGIN_MAX_ATTEMPTS" envDefault:"3"`
	LoginLockout      Seconds `env:"LOGIN_LOCKOUT" envDefault:"900"`
	PasswordMinLength int     `env:"PASSWORD_MIN_LENGTH"`
	RateLimits        string  `env:"PLANTDB_RATE_LIMITS" envDefault:"default"`
	Guest             Switch  `env:"PLANTDB_GUEST" envDefault:"on"`
	UsernameCheck     Switch  `env:"PLANTDB_USERNAME_CHECK" envDefault:"on"`
	CleanupInterval   Seconds `env:"PLANTDB_CLEANUP_INTERVAL" envDefault:"60"`
	TrustedProxies    CIDRs   `env:"TRUSTED_PROXIES"`
	LegacyWriter      string  `env:"LEGACY_WRITER"`

	AdminPassword     string `env:"PLANTDB_ADMIN_PASSWORD"`
	AdminPasswordFile string `env:"PLANTDB_ADMIN_PASSWORD_FILE"`

	TrashRetention Seconds `env:"TRASH_RETENTION" envDefault:"30d"`
	ScrubRate      Bytes   `env:"SCRUB_RATE" envDefault:"0"`
	WatchLimit     int     `env:"PLANTDB_WATCH_LIMIT" envDefault:"32768"`
	SweepInterval  Seconds `env:"PLANTDB_SWEEP_INTERVAL" envDefault:"60"`
	EventRetention Seconds `env:"EVENT_RETENTION" envDefault:"365d"`

	WebhookNetworks CIDRs `env:"WEBHOOK_NETWORKS"`

	MaxUpload      Bytes    `env:"PLANTDB_MAX_UPLOAD" envDefault:"8GiB"`
	FileExtensions []string `env:"PLANTDB_FILE_EXTENSIONS"`
	UploadExpiry   Seconds  `env:"UPLOAD_EXPIRY" envDefault:"24h"`
	ArchiveBytes   Bytes    `env:"PLANTDB_ARCHIVE_MAX_SIZE" envDefault:"64GiB"`
	ArchiveEntries int      `env:"PLANTDB_ARCHIVE_MAX_ENTRIES" envDefault:"100000"`
	ArchiveRatio   int      `env:"PLANTDB_ARCHIVE_MAX_RATIO" envDefault:"200"`
	ArchiveDepth   int      `env:"PLANTDB_ARCHIVE_MAX_DEPTH" envDefault:"16"`

	FileLocks    Switch  `env:"PLANTDB_FILE_LOCKS" envDefault:"on"`
	LockTimeout  Seconds `env:"PLANTDB_LOCK_TIMEOUT" envDefault:"4"`
	StopTimeout  Seconds `env:"PLANTDB_STOP_TIMEOUT" envDefault:"30"`
	PreviewCache Bytes   `env:"PLANTDB_PREVIEW_CACHE" envDefault:"2GiB"`
	Previews     string  `env:"PLANTDB_PREVIEWS" envDefault:"ahead"`
	LogLevel     string  `env:"PLANTDB_LOG_LEVEL" envDefault:"info"`

	// Only flags: what is asked for once, not set.
	Test             bool `env:"-"`
	Demo             bool `env:"-"`
	DownloadPostgres bool `env:"-"`
}

// PreviewsAhead is the Previews that makes them before anybody asks.
const PreviewsAhead = "ahead"

// FromEnv reads the settings that getenv knows and the defaults of the others.
func FromEnv(getenv func(string) string) (Config, error) {
	vars := map[string]string{}
	for _, p := range append(fieldNames(), "API_PREFIX") {
		if v := getenv(p); v != "" {
			vars[p] = v
		}
	}
	// 0.17 has another name for it; the older one wins.
	if vars["PLANTDB_API_PREFIX"] == "" {
		vars["PLANTDB_API_PREFIX"] = vars["API_PREFIX"]
	}
	c, err := env.ParseAsWithOptions[Config](env.Options{Environment: vars})
	if bad, ok := errors.AsType[env.ParseError](err); ok {
		return c, badSetting(bad)
	}
	if err != nil {
		return c, fmt.Errorf("read settings: %w", err)
	}
	return c, nil
}

// ShortestPassword is the least length of a password, in characters: what was
// set, also in test mode, and if nothing was, 8, or 1 in test mode.
func (c *Config) ShortestPassword() int {
	switch {
	case c.PasswordMinLength > 0:
		return c.PasswordMinLength
	case c.Test:
		return 1
	default:
		return 8
	}
}

// badSetting names the variable where the parser names the field.
func badSetting(bad env.ParseError) error {
	field, _ := reflect.TypeFor[Config]().FieldByName(bad.Name)
	if _, ok := errors.AsType[*strconv.NumError](bad.Err); ok {
		return fmt.Errorf("setting %s must be a whole number", field.Tag.Get("env"))
	}
	return fmt.Errorf("setting %s: %w", field.Tag.Get("env"), bad.Err)
}

func fieldNames() []string {
	params, err := env.GetFieldParams(&Config{})
	if err != nil { // only for a struct it cannot read
		panic(err)
	}
	names := make([]string, 0, len(params))
	for _, p := range params {
		names = append(names, p.Key)
	}
	return names
}

// TreeFlags adds the flags that every command on a tree has.
func (c *Config) TreeFlags(f *pflag.FlagSet) {
	f.StringVarP(&c.Root, "db-path", "d", c.Root, "directory of the scan tree (ROMI_DB)")
	f.StringVar(&c.DatabaseURL, "database-url", c.DatabaseURL, "PostgreSQL to use; empty: a private one below the tree (DATABASE_URL)")
	f.BoolVar(&c.DownloadPostgres, "download-postgres", false, "fetch PostgreSQL when none is installed")
	f.StringVar(&c.LogLevel, "log-level", c.LogLevel, "debug, info, warn or error (PLANTDB_LOG_LEVEL)")
	// What the environment holds is a secret; help shows defaults.
	f.Lookup("database-url").DefValue = ""
}

// KeyFlags adds the flag that says what keys the tree makes.
func (c *Config) KeyFlags(f *pflag.FlagSet) {
	f.StringVar(&c.JWTAlgorithm, "jwt-algorithm", c.JWTAlgorithm, "HS512 or EdDSA, of the keys that the tree makes itself (JWT_ALGORITHM)")
}

// ServeFlags adds the flags of the server.
func (c *Config) ServeFlags(f *pflag.FlagSet) {
	f.StringVar(&c.Host, "host", c.Host, "address to listen on (PLANTDB_HOST)")
	f.IntVar(&c.Port, "port", c.Port, "port to listen on; 0 takes a free one (PLANTDB_PORT)")
	f.StringVar(&c.Prefix, "api-prefix", c.Prefix, "deploy prefix, such as /plantdb (PLANTDB_API_PREFIX)")
	f.StringVar(&c.JWTSecret, "jwt-secret-key", c.JWTSecret, "pass-phrase, base64:, hex: or file: key; empty: one is made and kept (JWT_SECRET_KEY)")
	f.StringSliceVar(&c.JWTPrevious, "jwt-previous-keys", c.JWTPrevious, "keys that still verify (JWT_PREVIOUS_KEYS)")
	c.KeyFlags(f)
	f.StringSliceVar(&c.TokenLocations, "token-locations", c.TokenLocations, "where tokens are looked for: headers, cookies, query, json (TOKEN_LOCATIONS)")
	f.Var(&c.SessionTimeout, "session-timeout", "life of an access token (SESSION_TIMEOUT)")
	f.Var(&c.RefreshTimeout, "refresh-timeout", "life of a refresh token, which a refresh slides (REFRESH_TIMEOUT)")
	f.Var(&c.AbsoluteTimeout, "session-absolute-timeout", "end of a session whatever happens (SESSION_ABSOLUTE_TIMEOUT)")
	f.Var(&c.RefreshGrace, "refresh-grace", "how long a used refresh token still gets the current pair (REFRESH_GRACE)")
	f.IntVar(&c.MaxSessions, "max-session", c.MaxSessions, "live sessions per user (MAX_SESSION)")
	f.StringVar(&c.SessionPolicy, "max-session-policy", c.SessionPolicy, "evict or reject (MAX_SESSION_POLICY)")
	f.Var(&c.Leeway, "jwt-leeway", "how far clocks may be apart (JWT_LEEWAY)")
	f.IntVar(&c.LoginAttempts, "login-max-attempts", c.LoginAttempts, "failed logins that lock an account for a network (LOGIN_MAX_ATTEMPTS)")
	f.Var(&c.LoginLockout, "login-lockout", "how long it is locked (LOGIN_LOCKOUT)")
	f.IntVar(&c.PasswordMinLength, "password-min-length", c.PasswordMinLength, "shortest password, in characters, to 1024; 0: 8, or 1 with --test (PASSWORD_MIN_LENGTH)")
	f.StringVar(&c.RateLimits, "rate-limits", c.RateLimits, "default, upstream or off (PLANTDB_RATE_LIMITS)")
	f.Var(&c.Guest, "guest", "requests without a token act as guest: on or off (PLANTDB_GUEST)")
	f.Var(&c.UsernameCheck, "username-check", "everybody may ask whether a user exists: on or off (PLANTDB_USERNAME_CHECK)")
	f.Var(&c.CleanupInterval, "cleanup-interval", "how often expired rows are swept (PLANTDB_CLEANUP_INTERVAL)")
	f.StringVar(&c.LegacyWriter, "legacy-writer", c.LegacyWriter, "user as whom clients of 0.14, which know no tokens, write; empty: nobody (LEGACY_WRITER)")
	f.Var(&c.TrustedProxies, "trusted-proxies", "CIDRs whose X-Forwarded-For is believed (TRUSTED_PROXIES)")
	f.Var(&c.TrashRetention, "trash-retention", "how long what was deleted can be restored; 0: until it is purged by hand (TRASH_RETENTION)")
	f.Var(&c.EventRetention, "event-retention", "how long events and the history of scans are kept; 0: for ever (EVENT_RETENTION)")
	f.Var(&c.WebhookNetworks, "webhook-networks", "CIDRs to which webhooks may be sent beside the public internet, also without TLS (WEBHOOK_NETWORKS)")
	f.Var(&c.ScrubRate, "scrub-rate", "how much a second is read in the background to compare files with their digests, such as 5MB; 0: nothing (SCRUB_RATE)")
	f.IntVar(&c.WatchLimit, "watch-limit", c.WatchLimit, "most directories that are watched for what other programs write into the tree; 0: none (PLANTDB_WATCH_LIMIT)")
	f.Var(&c.SweepInterval, "sweep-interval", "how often the whole tree is compared with its index; 0: only at the start and when asked (PLANTDB_SWEEP_INTERVAL)")
	f.Var(&c.MaxUpload, "max-upload", "largest file that is taken (PLANTDB_MAX_UPLOAD)")
	f.StringSliceVar(&c.FileExtensions, "file-extensions", c.FileExtensions, "further extensions that uploaded files may have, by commas, such as las,e57 (PLANTDB_FILE_EXTENSIONS)")
	f.Var(&c.UploadExpiry, "upload-expiry", "how long an upload in pieces may stand still before it is dropped (UPLOAD_EXPIRY)")
	f.Var(&c.ArchiveBytes, "archive-max-size", "largest archive that is taken, and most that it may hold (PLANTDB_ARCHIVE_MAX_SIZE)")
	f.IntVar(&c.ArchiveEntries, "archive-max-entries", c.ArchiveEntries, "most files and directories of an archive (PLANTDB_ARCHIVE_MAX_ENTRIES)")
	f.IntVar(&c.ArchiveRatio, "archive-max-ratio", c.ArchiveRatio, "how many times its own size an archive may hold (PLANTDB_ARCHIVE_MAX_RATIO)")
	f.IntVar(&c.ArchiveDepth, "archive-max-depth", c.ArchiveDepth, "how deep the directories of an archive may nest (PLANTDB_ARCHIVE_MAX_DEPTH)")
	f.Var(&c.FileLocks, "file-locks", "writes also take the file locks of Python programs on the same tree: on or off (PLANTDB_FILE_LOCKS)")
	f.Var(&c.LockTimeout, "lock-timeout", "how long a write waits for another one of the same scan; Python clients wait five seconds for an answer (PLANTDB_LOCK_TIMEOUT)")
	f.Var(&c.StopTimeout, "stop-timeout", "how long requests may run on when the server is told to stop; then they are cut off (PLANTDB_STOP_TIMEOUT)")
	f.Var(&c.PreviewCache, "preview-cache", "bound of the cache of previews (PLANTDB_PREVIEW_CACHE)")
	f.StringVar(&c.Previews, "previews", c.Previews, "ahead: made after an upload or import, before anybody asks; or on-demand (PLANTDB_PREVIEWS)")
	f.BoolVar(&c.Test, "test", false, "make the users admin/admin and guest/guest: never on a network")
	f.BoolVar(&c.Demo, "demo", false, "fill an empty tree with sample scans")
	// As the URL of the database in TreeFlags.
	f.Lookup("jwt-secret-key").DefValue = ""
	f.Lookup("jwt-previous-keys").DefValue = "[]"
}

// Check names the first setting that makes no sense, in one sentence.
func (c *Config) Check() error {
	for _, s := range []struct {
		name string
		ok   bool
		want string
	}{
		{"PLANTDB_PORT", c.Port >= 0 && c.Port <= 65535, "a port"},
		{"PLANTDB_API_PREFIX", c.Prefix == "" || strings.HasPrefix(c.Prefix, "/") && !strings.ContainsAny(c.Prefix, "?#{} "), "a path such as /plantdb"},
		{"JWT_ALGORITHM", c.JWTAlgorithm == "HS512" || c.JWTAlgorithm == "EdDSA", "HS512 or EdDSA"},
		{"SESSION_TIMEOUT", c.SessionTimeout > 0, "positive"},
		{"REFRESH_TIMEOUT", c.RefreshTimeout > 0, "positive"},
		{"SESSION_ABSOLUTE_TIMEOUT", c.AbsoluteTimeout > 0, "positive"},
		{"REFRESH_GRACE", c.RefreshGrace >= 0, "zero or more"},
		{"MAX_SESSION", c.MaxSessions >= 1, "at least 1"},
		{"MAX_SESSION_POLICY", c.SessionPolicy == "evict" || c.SessionPolicy == "reject", "evict or reject"},
		{"JWT_LEEWAY", c.Leeway >= 0, "zero or more"},
		{"LOGIN_MAX_ATTEMPTS", c.LoginAttempts >= 0, "zero or more"},
		{"PASSWORD_MIN_LENGTH", c.PasswordMinLength >= 0 && c.PasswordMinLength <= 1024, "from 0 to 1024"},
		{"PLANTDB_RATE_LIMITS", c.RateLimits == "default" || c.RateLimits == "upstream" || c.RateLimits == "off", "default, upstream or off"},
		{"PLANTDB_CLEANUP_INTERVAL", c.CleanupInterval > 0, "positive"},
		{"PLANTDB_WATCH_LIMIT", c.WatchLimit >= 0 && c.WatchLimit <= 1<<20, "from 0 to 1048576"},
		{"PLANTDB_SWEEP_INTERVAL", c.SweepInterval >= 0, "zero or more"},
		{"TRASH_RETENTION", c.TrashRetention >= 0, "zero or more"},
		{"EVENT_RETENTION", c.EventRetention >= 0, "zero or more"},
		{"PLANTDB_MAX_UPLOAD", c.MaxUpload > 0, "positive"},
		{"PLANTDB_FILE_EXTENSIONS", !slices.ContainsFunc(c.FileExtensions, noExtension), "extensions of letters and digits by commas, such as las,e57"},
		{"UPLOAD_EXPIRY", c.UploadExpiry > 0, "positive"},
		{"PLANTDB_ARCHIVE_MAX_SIZE", c.ArchiveBytes > 0, "positive"},
		{"PLANTDB_ARCHIVE_MAX_ENTRIES", c.ArchiveEntries >= 1 && c.ArchiveEntries <= 1_000_000, "from 1 to 1000000"},
		{"PLANTDB_ARCHIVE_MAX_RATIO", c.ArchiveRatio >= 1, "at least 1"},
		{"PLANTDB_ARCHIVE_MAX_DEPTH", c.ArchiveDepth >= 2 && c.ArchiveDepth <= 16, "from 2 to 16"},
		{"PLANTDB_LOCK_TIMEOUT", time.Duration(c.LockTimeout) >= 100*time.Millisecond && time.Duration(c.LockTimeout) <= 5*time.Minute, "from 0.1 to 300 seconds"},
		{"PLANTDB_STOP_TIMEOUT", c.StopTimeout >= 0 && time.Duration(c.StopTimeout) <= time.Hour, "from 0 to 3600 seconds"},
		{"PLANTDB_PREVIEWS", c.Previews == PreviewsAhead || c.Previews == "on-demand", "ahead or on-demand"},
	} {
		if !s.ok {
			return fmt.Errorf("setting %s must be %s", s.name, s.want)
		}
	}
	c.Prefix = strings.TrimRight(c.Prefix, "/")
	return nil
}

// noExtension says whether this is nothing that a file could be called after a dot.
func noExtension(text string) bool {
	text = strings.TrimPrefix(strings.TrimSpace(text), ".")
	return text == "" || len(text) > 16 || strings.Trim(strings.ToLower(text), "abcdefghijklmnopqrstuvwxyz0123456789") != ""
}

// Seconds is a duration that plain numbers give in seconds, as upstream's
// variables do; 15m, 24h and 30d are understood too.
type Seconds time.Duration

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *Seconds) UnmarshalText(text []byte) error { return s.Set(string(text)) }

// Set implements pflag.Value.
func (s *Seconds) Set(text string) error {
	if n, err := strconv.ParseFloat(text, 64); err == nil {
		text = strconv.FormatFloat(n, 'f', -1, 64) + "s"
	}
	if days, ok := strings.CutSuffix(text, "d"); ok {
		n, err := strconv.ParseFloat(days, 64)
		if err != nil {
			return fmt.Errorf("%q is no duration", text)
		}
		text = strconv.FormatFloat(n*24, 'f', -1, 64) + "h"
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		return fmt.Errorf("%q is no duration: give seconds, or such as 15m, 24h, 30d", text)
	}
	*s = Seconds(d)
	return nil
}

// String implements pflag.Value.
func (s *Seconds) String() string { return time.Duration(*s).String() }

// Type implements pflag.Value.
func (*Seconds) Type() string { return "seconds" }

// Switch is on or off.
type Switch bool

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *Switch) UnmarshalText(text []byte) error { return s.Set(string(text)) }

// Set implements pflag.Value.
func (s *Switch) Set(text string) error {
	switch strings.ToLower(text) {
	case "on", "true", "1", "yes":
		*s = true
	case "off", "false", "0", "no":
		*s = false
	default:
		return fmt.Errorf("%q is neither on nor off", text)
	}
	return nil
}

// String implements pflag.Value.
func (s *Switch) String() string {
	if *s {
		return "on"
	}
	return "off"
}

// Type implements pflag.Value.
func (*Switch) Type() string { return "on|off" }

// Bytes is an amount of bytes, such as 512MiB or 8GiB; a plain number is bytes.
type Bytes int64

var units = []struct {
	name string
	size int64
}{{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"TiB", 1 << 40}, {"kB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"TB", 1e12}, {"B", 1}}

// UnmarshalText implements encoding.TextUnmarshaler.
func (b *Bytes) UnmarshalText(text []byte) error { return b.Set(string(text)) }

// Set implements pflag.Value.
func (b *Bytes) Set(text string) error {
	unit := int64(1)
	number := text
	for _, u := range units {
		if rest, ok := strings.CutSuffix(text, u.name); ok {
			unit, number = u.size, strings.TrimSpace(rest)
			break
		}
	}
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil || n < 0 || n > (1<<62)/unit {
		return fmt.Errorf("%q is no amount of bytes: give such as 512MiB or 8GiB", text)
	}
	*b = Bytes(n * unit)
	return nil
}

// String implements pflag.Value.
func (b *Bytes) String() string {
	for _, u := range []int{2, 1, 0} {
		if n := int64(*b); n > 0 && n%units[u].size == 0 {
			return strconv.FormatInt(n/units[u].size, 10) + units[u].name
		}
	}
	return strconv.FormatInt(int64(*b), 10)
}

// Type implements pflag.Value.
func (*Bytes) Type() string { return "bytes" }

// CIDRs is a list of networks.
type CIDRs []netip.Prefix

// UnmarshalText implements encoding.TextUnmarshaler.
func (c *CIDRs) UnmarshalText(text []byte) error { return c.Set(string(text)) }

// Set implements pflag.Value. A lone address is a network of one.
func (c *CIDRs) Set(text string) error {
	*c = nil
	for part := range strings.SplitSeq(text, ",") {
		part = strings.TrimSpace(part)
		if part == "" {
			continue
		}
		if address, err := netip.ParseAddr(part); err == nil {
			*c = append(*c, netip.PrefixFrom(address, address.BitLen()))
			continue
		}
		prefix, err := netip.ParsePrefix(part)
		if err != nil {
			return fmt.Errorf("%q is no network: give such as 10.0.0.0/8", part)
		}
		*c = append(*c, prefix.Masked())
	}
	return nil
}

// String implements pflag.Value.
func (c *CIDRs) String() string {
	parts := make([]string, len(*c))
	for i, p := range *c {
		parts[i] = p.String()
	}
	return strings.Join(parts, ",")
}

// Type implements pflag.Value.
func (*CIDRs) Type() string { return "CIDRs" }

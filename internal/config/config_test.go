package config_test

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"

	"github.com/romi/plantdb-go/internal/config"
)

func from(t *testing.T, vars map[string]string) config.Config {
	t.Helper()
	c, err := config.FromEnv(func(name string) string { return vars[name] })
	if err != nil {
		t.Fatalf("FromEnv(%v) = %v", vars, err)
	}
	return c
}

func TestFromEnv(t *testing.T) {
	t.Parallel()
	defaults := from(t, nil)
	if defaults.Root != "./plantdb-data" || defaults.Port != 5000 || time.Duration(defaults.AbsoluteTimeout) != 30*24*time.Hour || !defaults.Guest {
		t.Errorf("FromEnv() = %+v, want the documented defaults", defaults)
	}
	// Python clients wait five seconds for an answer.
	if wait := time.Duration(defaults.LockTimeout); wait <= 0 || wait >= 5*time.Second {
		t.Errorf("a write waits %s for another one, want less than clients do", wait)
	}
	c := from(t, map[string]string{
		"SESSION_TIMEOUT": "2", "REFRESH_TIMEOUT": "15m", "PLANTDB_GUEST": "off", "API_PREFIX": "/plantdb",
		"JWT_PREVIOUS_KEYS": "a,b", "TRUSTED_PROXIES": "10.1.2.3/8, ::1", "PLANTDB_MAX_UPLOAD": "512MiB",
	})
	got := []any{time.Duration(c.SessionTimeout), time.Duration(c.RefreshTimeout), bool(c.Guest), c.Prefix, c.JWTPrevious, c.TrustedProxies.String(), int64(c.MaxUpload)}
	want := []any{2 * time.Second, 15 * time.Minute, false, "/plantdb", []string{"a", "b"}, "10.0.0.0/8,::1/128", int64(512 << 20)}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("FromEnv: (-want +got)\n%s", diff)
	}
	if c := from(t, map[string]string{"API_PREFIX": "/new", "PLANTDB_API_PREFIX": "/old"}); c.Prefix != "/old" {
		t.Errorf("prefix with both names = %q, want the older name's", c.Prefix)
	}
}

// Test mode takes any password, unless a length was asked for.
func TestShortestPassword(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		set  string
		test bool
		want int
	}{{"", false, 8}, {"", true, 1}, {"12", false, 12}, {"12", true, 12}, {"8", true, 8}, {"1", false, 1}} {
		c := from(t, map[string]string{"PASSWORD_MIN_LENGTH": tt.set})
		c.Test = tt.test
		if got := c.ShortestPassword(); got != tt.want {
			t.Errorf("PASSWORD_MIN_LENGTH=%q, test mode %t: %d, want %d", tt.set, tt.test, got, tt.want)
		}
	}
}

func TestBadSettings(t *testing.T) {
	t.Parallel()
	for name, value := range map[string]string{
		"SESSION_TIMEOUT": "soon", "PLANTDB_GUEST": "maybe", "TRUSTED_PROXIES": "10.0.0.0/99", "PLANTDB_MAX_UPLOAD": "-1", "PLANTDB_PORT": "x",
	} {
		if c, err := config.FromEnv(func(n string) string {
			if n == name {
				return value
			}
			return ""
		}); err == nil {
			t.Errorf("FromEnv(%s=%s) = %+v, want an error", name, value, c)
		}
	}
	for name, value := range map[string]string{
		"SESSION_TIMEOUT": "0", "MAX_SESSION_POLICY": "shout", "PLANTDB_API_PREFIX": "plantdb", "PASSWORD_MIN_LENGTH": "2000", "PLANTDB_RATE_LIMITS": "some", "JWT_ALGORITHM": "none",
		"PLANTDB_LOCK_TIMEOUT": "0.01", "PLANTDB_STOP_TIMEOUT": "2h", "PLANTDB_FILE_EXTENSIONS": "las,../x",
	} {
		c := from(t, map[string]string{name: value})
		if err := c.Check(); err == nil {
			t.Errorf("Check with %s=%s = nil, want an error", name, value)
		}
	}
}

// Every setting is a flag of the server as well, whose help names the variable; but
// for the administrator's password, which has no place on a command line.
func TestEverySettingIsAFlag(t *testing.T) {
	t.Parallel()
	c := from(t, nil)
	f := pflag.NewFlagSet("serve", pflag.ContinueOnError)
	c.TreeFlags(f)
	c.ServeFlags(f)
	var help strings.Builder
	f.VisitAll(func(flag *pflag.Flag) { help.WriteString(flag.Usage + "\n") })
	settings := 0
	for field := range reflect.TypeFor[config.Config]().Fields() {
		name := field.Tag.Get("env")
		if name == "-" || strings.HasPrefix(name, "PLANTDB_ADMIN_PASSWORD") {
			continue
		}
		settings++
		if !strings.Contains(help.String(), "("+name+")\n") {
			t.Errorf("no flag sets %s", name)
		}
	}
	if settings < 40 {
		t.Errorf("there are %d settings; this looks at the wrong places", settings)
	}
}

func TestFlagsWin(t *testing.T) {
	t.Parallel()
	c := from(t, map[string]string{"PLANTDB_PORT": "1", "SESSION_TIMEOUT": "5"})
	f := pflag.NewFlagSet("serve", pflag.ContinueOnError)
	c.TreeFlags(f)
	c.ServeFlags(f)
	if err := f.Parse([]string{"--port", "2", "--guest", "off", "--trusted-proxies", "127.0.0.1"}); err != nil {
		t.Fatal(err)
	}
	if c.Port != 2 || c.Guest || time.Duration(c.SessionTimeout) != 5*time.Second || c.TrustedProxies.String() != "127.0.0.1/32" {
		t.Errorf("after flags: port %d, guest %v, session %s, proxies %s", c.Port, c.Guest, c.SessionTimeout.String(), c.TrustedProxies.String())
	}
}

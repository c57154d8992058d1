package main_test

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/romi/plantdb-go/internal/pgtest"
	"github.com/romi/plantdb-go/internal/servertest"
)

// console runs commands on one tree.
type console struct {
	t    *testing.T
	dir  string
	env  []string
	last servertest.Result
}

func newConsole(t *testing.T) *console {
	t.Helper()
	return &console{t: t, dir: servertest.Dir(t), env: []string{"DATABASE_URL=" + pgtest.URL(t), "PLANTDB_LOG_LEVEL=error"}}
}

// run runs a command with a line of input and returns what it says, of an
// error too.
func (c *console) run(stdin string, args ...string) string {
	c.t.Helper()
	o := servertest.Options{Env: append(c.env, "ROMI_DB="+c.dir), Stdin: strings.NewReader(stdin)}
	c.last = servertest.Run(c.t, o, args...)
	return c.last.Stdout + c.last.Stderr
}

// words is text with every run of white space as one space.
func words(text string) string { return strings.Join(strings.Fields(text), " ") }

func (c *console) want(want, stdin string, args ...string) {
	c.t.Helper()
	if got := words(c.run(stdin, args...)); got != want {
		c.t.Errorf("plantdb %s = %q, want %q", strings.Join(args, " "), got, want)
	}
	if failed := strings.Contains(want, "plantdb: "); failed != (c.last.Code != 0) {
		c.t.Errorf("plantdb %s: exit code %d", strings.Join(args, " "), c.last.Code)
	}
}

func TestUserCommands(t *testing.T) {
	t.Parallel()
	c := newConsole(t)
	s := servertest.Start(t, servertest.Options{Env: c.env}, c.dir)
	c.want("user ann created, admin", "correct-horse\n", "user", "create", "ann", "--admin")
	c.want("user bob created, reader", "correct-horse\n", "user", "create", "bob")
	bob, _ := login(t, s, "bob", "correct-horse")

	c.want("user bob is now contributor", "", "user", "set-role", "Bob", "contributor")
	c.want("plantdb: A role is one of reader, contributor, admin", "", "user", "set-role", "bob", "king")
	c.want("plantdb: User 'zed' not found", "", "user", "set-role", "zed", "admin")
	c.want("plantdb: The last active administrator cannot be removed", "", "user", "set-role", "ann", "reader")
	c.want("plantdb: The last active administrator cannot be removed", "", "user", "deactivate", "ann")
	c.want("plantdb: The last active administrator cannot be removed", "", "user", "delete", "ann")
	c.want("plantdb: The guest user cannot be changed in this way", "x\n", "user", "passwd", "guest")

	c.want("password of bob set", "battery-staple\n", "user", "passwd", "bob")
	eventually(t, "the session of before", func() string { return alive(t, bob) })
	bob, _ = login(t, s, "bob", "battery-staple")
	c.want("plantdb: A password has at least 8 characters", "short\n", "user", "passwd", "bob")
	c.want("plantdb: User 'zed' not found", "battery-staple\n", "user", "passwd", "zed")

	c.want("user bob cannot log in any more", "", "user", "deactivate", "bob")
	eventually(t, "the session of a user who is not active", func() string { return alive(t, bob) })
	c.want("user bob can log in", "", "user", "activate", "bob")
	login(t, s, "bob", "battery-staple")

	nobody := caller{base: s.URL}
	for range 3 {
		nobody.must(t, http.StatusUnauthorized, "/auth/login", object{"username": "bob", "password": "wrong"})
	}
	nobody.must(t, http.StatusUnauthorized, "/auth/login", object{"username": "bob", "password": "battery-staple"})
	c.want("user bob is not locked", "", "user", "unlock", "bob")
	login(t, s, "bob", "battery-staple")

	secret, _, _ := strings.Cut(c.run("", "user", "reset-link", "bob"), "\n")
	nobody.must(t, http.StatusOK, "/auth/password-reset", object{"secret": secret, "new_password": "chosen by bob"})
	login(t, s, "bob", "chosen by bob")
	c.want("user bob deleted", "", "user", "delete", "bob")
	c.want("plantdb: User 'bob' not found", "", "user", "delete", "bob")
}

// alive complains of a token that still works.
func alive(t *testing.T, c caller) string {
	t.Helper()
	if a := c.get(t, "/auth/profile"); a.Status != http.StatusUnauthorized {
		return "answered with " + http.StatusText(a.Status)
	}
	return ""
}

// TestQuotaCommands sets quotas beside a server, which keeps to them.
func TestQuotaCommands(t *testing.T) {
	t.Parallel()
	c := newConsole(t)
	s := servertest.Start(t, servertest.Options{Env: c.env}, c.dir)
	c.want("user ann created, contributor", "correct-horse\n", "user", "create", "ann", "--role", "contributor")
	c.want("group lab created, 1 members", "", "group", "create", "lab", "ann")
	c.want("KIND NAME BYTES FILES", "", "quota", "list")
	c.want("plantdb: give --bytes, --files or both", "", "quota", "set", "ann")
	c.want("plantdb: There is no such user, group or quota.", "", "quota", "set", "zed", "--files", "1")
	c.want("plantdb: There is no such user, group or quota.", "", "quota", "set", "ann", "--group", "--files", "1")
	c.want("plantdb: A quota bounds bytes, files or both, by zero or more.", "", "quota", "set", "ann", "--files", "-1")
	if said := c.run("", "quota", "set", "ann", "--bytes", "many"); c.last.Code == 0 || !strings.Contains(said, `"many" is no amount of bytes: give such as 512MiB`) {
		t.Errorf("quota set of many bytes = %d, %s", c.last.Code, said)
	}
	c.want("quota set: user ann: 1048576 bytes", "", "quota", "set", "Ann", "--bytes", "1MiB")
	c.want("quota set: group lab: 2000 bytes: 1 files", "", "quota", "set", "lab", "--group", "--bytes", "2kB", "--files", "1")
	c.want("KIND NAME BYTES FILES user ann 1048576 - group lab 2000 1", "", "quota", "list")

	ann, _ := login(t, s, "ann", "correct-horse")
	eventually(t, "the quota at the server", func() string {
		a := ann.get(t, "/usage")
		if quotas, ok := a.Body["quotas"].([]any); !ok || len(quotas) != 2 {
			return fmt.Sprintf("usage is %v", a.Body)
		}
		return ""
	})
	ann.makeScan(t, "hers", "some notes") // one file of 10 bytes
	c.want("WHAT BYTES OF FILES OF scans 10 1 trash 0 0 uploads 0 0 quota of user ann 10 1048576 1 - quota of group lab 10 2000 1 1", "", "quota", "usage", "ANN")
	if a := ann.upload(t, "/files/hers/images/second", "more notes"); a.Status != http.StatusRequestEntityTooLarge || a.Body["code"] != "quota_exceeded" {
		t.Errorf("a file beyond the quota of the group = %d %v, want 413 quota_exceeded", a.Status, a.Body)
	}
	c.want("quota of group lab removed", "", "quota", "remove", "lab", "--group")
	c.want("plantdb: There is no such user, group or quota.", "", "quota", "remove", "lab", "--group")
	eventually(t, "the end of the quota at the server", func() string {
		if a := ann.upload(t, "/files/hers/images/second", "more notes"); a.Status != http.StatusCreated {
			return fmt.Sprintf("it answers %d %v", a.Status, a.Body)
		}
		return ""
	})
	c.want("quota of user ann removed", "", "quota", "remove", "ann")
	c.want("KIND NAME BYTES FILES", "", "quota", "list")
}

func TestGroupCommands(t *testing.T) {
	t.Parallel()
	c := newConsole(t)
	c.want("user ann created, reader", "correct-horse\n", "user", "create", "ann")
	c.want("user bob created, reader", "correct-horse\n", "user", "create", "bob")
	c.want("group lab created, 1 members", "", "group", "create", "lab", "Ann", "--description", "The lab")
	c.want("plantdb: Group 'lab' already exists", "", "group", "create", "lab")
	c.want("plantdb: User 'zed' not found", "", "group", "create", "other", "zed")
	c.want("user bob added to group lab", "", "group", "add", "lab", "bob")
	c.want("GROUP MEMBERS DESCRIPTION lab ann,bob The lab", "", "group", "list")
	c.want("user ann removed from group lab plantdb: User 'zed' is not in group 'lab'", "", "group", "remove", "lab", "ann", "zed")
	c.want("plantdb: Group not found", "", "group", "add", "other", "ann")
	c.want("group lab deleted", "", "group", "delete", "lab")
	c.want("plantdb: Group not found", "", "group", "delete", "lab")
	c.want("GROUP MEMBERS DESCRIPTION", "", "group", "list")
}

var kids = regexp.MustCompile(`(?m)^(\S+) +(HS512|EdDSA) +(active|verifying|retired)`)

func publicKeys(t *testing.T, s *servertest.Server) answer {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL+"/.well-known/jwks.json", nil)
	if err != nil {
		t.Fatal(err)
	}
	return do(t, r)
}

// TestKeyCommands rotates the key under two servers: sessions go on, and end
// with the key.
func TestKeyCommands(t *testing.T) {
	t.Parallel()
	c := newConsole(t)
	c.want("KID ALGORITHM STATUS SINCE RETIRED", "", "keys", "list")
	c.want("plantdb: This tree has no key yet: the first start of the server makes it", "", "keys", "rotate")
	c.env = append(c.env, "PLANTDB_ADMIN_PASSWORD=correct-horse")
	one := servertest.Start(t, servertest.Options{Env: c.env}, c.dir)
	two := servertest.Start(t, servertest.Options{Env: c.env}, c.dir)
	before, pair := login(t, one, "admin", "correct-horse")
	if a := publicKeys(t, one); a.Status != http.StatusNotFound {
		t.Errorf("jwks.json with HS512 = %d, want 404", a.Status)
	}
	old := kids.FindStringSubmatch(c.run("", "keys", "list"))[1]
	kid := strings.Fields(c.run("", "keys", "rotate", "--jwt-algorithm", "EdDSA"))[1]
	c.want("plantdb: This key signs; rotate first", "", "keys", "retire", kid)
	elsewhere := caller{base: two.URL, token: before.token}
	if a := elsewhere.get(t, "/auth/profile"); a.Status != http.StatusOK {
		t.Errorf("a token of before at the other server = %d %s, want 200", a.Status, a.Text)
	}
	for name, s := range map[string]*servertest.Server{"one": one, "two": two} {
		eventually(t, "keys of server "+name, func() string {
			if a := publicKeys(t, s); !strings.Contains(a.Text, kid) {
				return a.Text
			}
			return ""
		})
	}
	// A server knows a key before it signs by it.
	var after string
	eventually(t, "tokens of the new key", func() string {
		a := elsewhere.must(t, http.StatusOK, "/auth/token/refresh", object{"refresh_token": pair.refresh})
		after, pair.refresh = a.text("access_token"), a.text("refresh_token")
		head, err := base64.RawURLEncoding.DecodeString(strings.Split(after, ".")[0])
		if err != nil || !strings.Contains(string(head), kid) {
			return fmt.Sprintf("head %s, %v", head, err)
		}
		return ""
	})
	c.want("key "+old+" retired", "", "keys", "retire", old)
	c.want("plantdb: This tree keeps no key of that kid; a key of JWT_PREVIOUS_KEYS is retired by taking it out there", "", "keys", "retire", old)
	eventually(t, "a token of the retired key", func() string { return alive(t, before) })
	if a := (caller{base: one.URL, token: after}).get(t, "/auth/profile"); a.Status != http.StatusOK {
		t.Errorf("a token of the new key = %d %s, want 200", a.Status, a.Text)
	}
	var states []string
	for _, m := range kids.FindAllStringSubmatch(c.run("", "keys", "list"), -1) {
		states = append(states, m[1]+" "+m[2]+" "+m[3])
	}
	if diff := cmp.Diff([]string{old + " HS512 retired", kid + " EdDSA active"}, states); diff != "" {
		t.Errorf("keys list (-want +got):\n%s", diff)
	}
	c.env = append(c.env, "JWT_SECRET_KEY=correct horse battery staple")
	if got := c.run("", "keys", "rotate"); c.last.Code != 1 || !strings.Contains(got, "JWT_PREVIOUS_KEYS") || strings.Contains(got, "staple") {
		t.Errorf("keys rotate with JWT_SECRET_KEY = %d %s, want what to set instead", c.last.Code, got)
	}
}

const upstreamUsers = `[
 {"username":"admin","fullname":"PlantDB Admin","roles":["admin"],"created_at":"2026-01-02T03:04:05.678901","is_active":true,
  "password_hash":"$argon2id$v=19$m=65536,t=3,p=4$TFe3/vNmQzSedTwZDEanEg$c9xkOP2Lo4/FGTYv5KwGkW7030iv1H2YfvewYqgtp1M"},
 {"username":"Alice","fullname":"Alice A.","roles":["contributor"],"created_at":"2026-01-02T03:04:05",
  "password_hash":"$argon2id$v=19$m=102400,t=2,p=8$RultYqrXgp2b6hos2VmY1Q$25XeJVVnEOY+AeKMM0AMY2x2ASYiiEk3bHS7O8fvLfA"}
]`

// TestImportUsers takes the accounts of a tree of upstream over, once it was
// told to.
func TestImportUsers(t *testing.T) {
	t.Parallel()
	c := newConsole(t)
	if got := c.run("", "import", "--users", "--dry-run", c.dir); c.last.Code != 1 || !strings.HasSuffix(got, " has neither users.json nor groups.json\n") {
		t.Errorf("import without accounts = %d %q, want that there are none", c.last.Code, got)
	}
	for name, text := range map[string]string{
		"users.json":  upstreamUsers,
		"groups.json": `{"lab":{"name":"lab","users":["alice"],"created_at":"2026-01-02T03:04:05","created_by":"admin"}}`,
	} {
		if err := os.WriteFile(filepath.Join(c.dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	const hint = "those of users.json are not taken over yet: plantdb import "
	first := servertest.Start(t, servertest.Options{Env: c.env}, c.dir)
	if !strings.Contains(first.Stdout(), hint) {
		t.Errorf("banner before the import: %s, want a hint", first.Stdout())
	}
	const note = `note: user "admin": has upstream's first password, which is not taken over; a password has to be set `
	const done = "2 users imported, 0 there already; 1 groups with 1 members imported, 0 there already; 1 notes"
	dry := words(c.run("", "import", "--users", "--dry-run", c.dir))
	if !strings.HasPrefix(dry, "dry run: 0 scans and 0 timelapses in ") || !strings.HasSuffix(dry, note+"dry run: "+done) {
		t.Errorf("import --dry-run = %q", dry)
	}
	if got := words(c.run("", "user", "list")); strings.Contains(got, "alice") {
		t.Errorf("users after a dry run = %q", got)
	}
	if got := words(c.run("", "import", "--users", c.dir)); !strings.HasSuffix(got, " "+note+done) {
		t.Errorf("import = %q, want %q at its end", got, note+done)
	}
	login(t, first, "alice", "leaves of grass")
	(caller{base: first.URL}).must(t, http.StatusUnauthorized, "/auth/login", object{"username": "admin", "password": "admin"})
	c.want("password of admin set", "correct-horse\n", "user", "passwd", "admin")
	login(t, first, "admin", "correct-horse")
	if second := servertest.Start(t, servertest.Options{Env: c.env}, c.dir); strings.Contains(second.Stdout(), hint) {
		t.Errorf("banner after the import still has a hint: %s", second.Stdout())
	}
}

// Package fuzzapi holds the built server against its own document, with requests
// that Schemathesis makes up from it: good ones, bad ones, and sequences.
package fuzzapi

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/romi/plantdb-go/internal/pgtest"
	"github.com/romi/plantdb-go/internal/pyenv"
	"github.com/romi/plantdb-go/internal/servertest"
)

// Hypothesis is pinned, too: the same seed makes other requests in another one.
var requirements = []string{"schemathesis==4.32.5", "hypothesis==6.170.17"}

// limit is when a run is given up; FUZZ_EXAMPLES of some hundred take an hour.
const limit = 3 * time.Hour

// password is that of all accounts.
const password = "orchid-trellis-9"

func TestMain(m *testing.M) { os.Exit(servertest.Main(m)) }

// account is what hooks.py logs in with.
type account struct {
	Username string `json:"username"`
	Password string `json:"password"`
}

// actor is who asks: by a token, as one of two accounts, or as nobody.
type actor struct {
	Token    string    `json:"token,omitempty"`
	Accounts []account `json:"accounts,omitempty"`
}

// unreached are operations that an administrator's requests never succeed in,
// and why: they need what cannot be made up.
var unreached = map[string]string{
	"refresh-token":         "a refresh token",
	"redeem-password-reset": "a secret that was handed over",
	"complete-setup":        "the secret of a first start",
	"change-password":       "the password that is",
	"get-keys":              "a server that signs with a key pair",
	"resume-upload":         "the checksum of what is sent",
}

// mayMiss is how many others requests may miss by chance; over the older paths
// these are also what a contributor may not do, and point clouds by their files.
var mayMiss = map[string]int{"admin": 10, "older paths, contributor": 12}

// The documents that a server has of itself.
const (
	current = "/openapi.json"
	older   = "/openapi-legacy.json"
)

// TestSchemathesis runs all checks as every role, and over the older paths as
// two. What a check leaves out stands with its reason in schemathesis.toml and
// hooks.py. FUZZ_EXAMPLES (2) is how many requests each phase makes up for an
// operation, FUZZ_SEED (1) which.
func TestSchemathesis(t *testing.T) {
	t.Parallel()
	python := pyenv.Python(t, requirements...)
	for _, tt := range []struct{ name, document, role string }{
		{"anonymous", current, "anonymous"},
		{"apitoken", current, "apitoken"},
		{"reader", current, "reader"},
		{"contributor", current, "contributor"},
		{"admin", current, "admin"},
		{"older paths, anonymous", older, "anonymous"},
		{"older paths, contributor", older, "contributor"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			// A server of its own: what others change must not change what is asked.
			server := servertest.Start(t, servertest.Options{Env: []string{"DATABASE_URL=" + pgtest.URL(t)}}, servertest.Dir(t), "--test", "--demo",
				"--rate-limits", "off", "--max-session", "10000", "--login-max-attempts", "1000000")
			operations := operationsOf(t, server.URL+tt.document)
			seen := fuzz(t, python, server.URL, tt.document, newActor(t, server.URL, tt.role))
			var missed []string
			for _, op := range operations {
				if len(seen[op]) == 0 {
					t.Errorf("%s was never called", op)
				}
				if _, known := unreached[op]; !known && !succeeded(seen[op]) {
					missed = append(missed, op)
				}
			}
			if n, held := mayMiss[tt.name]; held && len(missed) > n {
				t.Errorf("%d operations never succeeded, so that little is known of their answers: %q", len(missed), missed)
			}
		})
	}
}

// newActor makes who asks, carol, whom hooks.py changes in its place, and two
// groups of all of them.
func newActor(t *testing.T, url, role string) (a actor) {
	t.Helper()
	admin := login(t, url, "admin", "admin")
	register(t, url, admin, "carol", "reader")
	register(t, url, admin, "dora", "reader")
	members := []string{"carol"}
	switch role {
	case "anonymous":
	case "apitoken":
		a.Token = apiToken(t, url, admin)
	default:
		for _, name := range []string{"fuzz-1", "fuzz-2"} {
			register(t, url, admin, name, role)
			a.Accounts = append(a.Accounts, account{name, password})
			members = append(members, name)
		}
	}
	for _, name := range []string{"phenotyping", "greenhouse"} {
		call(t, http.MethodPost, url+"/api/v1/groups", admin, map[string]any{"name": name, "members": members}, nil)
	}
	return a
}

func succeeded(statuses map[string]int) bool {
	for status := range statuses {
		if status[0] == '2' {
			return true
		}
	}
	return false
}

// fuzz runs Schemathesis and returns how often each operation gave each status.
func fuzz(t *testing.T, python, url, document string, a actor) map[string]map[string]int {
	t.Helper()
	dir := t.TempDir()
	counts := filepath.Join(dir, "seen.json")
	who, err := json.Marshal(a)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(filepath.Dir(python), "st"), "--no-color", "--config-file", "schemathesis.toml",
		"run", url+document, "--max-examples", cmp.Or(os.Getenv("FUZZ_EXAMPLES"), "2"), "--seed", cmp.Or(os.Getenv("FUZZ_SEED"), "1"))
	cmd.Env = append(os.Environ(), "FUZZ_SERVER="+url, "FUZZ_ACTOR="+string(who), "FUZZ_SEEN="+counts)
	said, err := cmd.CombinedOutput()
	if err != nil {
		_, findings, _ := bytes.Cut(said, []byte("\n====")) // what comes before is progress
		t.Errorf("schemathesis: %v\n%s", err, cmp.Or(string(findings), string(said)))
	}
	var seen map[string]map[string]int
	text, err := os.ReadFile(counts)
	if err == nil {
		err = json.Unmarshal(text, &seen)
	}
	if err != nil {
		t.Fatalf("schemathesis: no counts: %v\n%s", err, said)
	}
	return seen
}

// operationsOf are the ids of all operations of the document at url.
func operationsOf(t *testing.T, url string) []string {
	t.Helper()
	var doc struct {
		Paths map[string]map[string]struct {
			OperationID string `json:"operationId"`
		} `json:"paths"`
	}
	call(t, http.MethodGet, url, "", nil, &doc)
	var ids []string
	for _, item := range doc.Paths {
		for _, op := range item {
			ids = append(ids, op.OperationID)
		}
	}
	if len(ids) == 0 {
		t.Fatal("the document has no operation")
	}
	slices.Sort(ids)
	return ids
}

func login(t *testing.T, url, username, password string) string {
	t.Helper()
	var answer struct {
		Token string `json:"access_token"`
	}
	call(t, http.MethodPost, url+"/api/v1/auth/login", "", account{username, password}, &answer)
	return answer.Token
}

func register(t *testing.T, url, token, username, role string) {
	t.Helper()
	call(t, http.MethodPost, url+"/api/v1/auth/register", token, map[string]string{
		"username": username, "fullname": "A fuzzer", "password": password, "role": role,
	}, nil)
}

func apiToken(t *testing.T, url, token string) string {
	t.Helper()
	var answer struct {
		Token string `json:"api_token"`
	}
	call(t, http.MethodPost, url+"/api/v1/auth/token/create-api-token", token, map[string]any{
		"token_exp": 86400, "datasets": map[string][]string{"*": {"read", "write", "create", "delete"}},
	}, &answer)
	return answer.Token
}

// call makes a call that must succeed.
func call(t *testing.T, method, url, token string, body, answer any) {
	t.Helper()
	var text bytes.Buffer
	if err := json.NewEncoder(&text).Encode(body); err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), method, url, &text)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatalf("%s %s: %v", method, url, err)
	}
	defer res.Body.Close()
	if res.StatusCode >= http.StatusBadRequest {
		t.Fatalf("%s %s = %s", method, strings.TrimPrefix(url, "http://"), res.Status)
	}
	if answer == nil {
		return
	}
	if err := json.NewDecoder(res.Body).Decode(answer); err != nil {
		t.Fatalf("%s %s: read the answer: %v", method, url, err)
	}
}

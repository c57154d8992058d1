package conformance

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/romi/plantdb-go/internal/pgtest"
	"github.com/romi/plantdb-go/internal/servertest"
)

// Guides are run block by block in one shell, as their reader would. What a
// block prints lies in the file said for the check that follows it; has wants a
// text in it, refused a status and code of a call.
const guideShell = `
set -E
trap 'echo "failed: $BASH_COMMAND" >&2; cat said >&2' ERR
: > said
has() { grep -qF -- "$1" said || { echo "it does not say $1" >&2; false; }; }
refused() {
  local status=$1 code=$2; shift 2
  local got=$(command curl -sS -o refusal.json -w '%{http_code}' "$@")
  [ "$got" = "$status" ] && grep -qF "\"code\":\"$code\"" refusal.json || { echo "not $status $code, but $got: $(cat refusal.json)" >&2; false; }
}
`

// guide returns the commands of a file of docs, each block followed by its
// check, of which there has to be one for each.
func guide(t *testing.T, blocks []block, checks []string) string {
	t.Helper()
	if len(blocks) != len(checks) {
		t.Fatalf("the guide has %d blocks of commands, and %d are checked", len(blocks), len(checks))
	}
	var script strings.Builder
	script.WriteString(guideShell)
	for i, b := range blocks {
		fmt.Fprintf(&script, "{\n%s} > said\n%s\n", b.code, checks[i])
	}
	return script.String()
}

// commandsOf returns the blocks of a guide that a shell runs.
func commandsOf(t *testing.T, name string) []block {
	t.Helper()
	return slices.DeleteFunc(blocksOf(t, filepath.Join("..", "docs", name)), func(b block) bool { return b.language != "sh" })
}

// TestManagingGuide runs docs/managing-scans.md.
func TestManagingGuide(t *testing.T) {
	t.Parallel()
	env := []string{"DATABASE_URL=" + pgtest.URL(t), "PLANTDB_ADMIN_PASSWORD=" + adminPassword}
	tree, dir := servertest.Dir(t), t.TempDir()
	server := servertest.Start(t, servertest.Options{Env: env}, tree, "--demo")
	for _, b := range blocksOf(t, filepath.Join("..", "docs", "managing-scans.md")) {
		if b.language == "json" {
			write(t, filepath.Join(dir, "bad_biology.json"), b.code)
		}
	}
	checks := []string{
		`asked=(-H "Authorization: Bearer $TOKEN" -H 'Content-Type: application/json')
curl -sS $URL/api/v1/auth/login -H 'Content-Type: application/json' -d "{\"username\": \"admin\", \"password\": \"$PASSWORD\"}" > pair.json
TOKEN=$(member access_token < pair.json)
asked=(-H "Authorization: Bearer $TOKEN" -H 'Content-Type: application/json')
api $URL/api/v1/groups -d '{"name": "phenotyping"}' > said
api $URL/api/v1/auth/register -d "{\"username\": \"alice\", \"fullname\": \"Alice Martin\", \"password\": \"$PASSWORD\"}" > said
api -X POST $URL/api/v1/scans/old_plant > said
api $URL/api/v1/scans/real_plant/metadata -d '{"metadata": {"draft": true, "study": {"identifier": "S1"}}}' > said`,

		// Change metadata.
		`has '"title":"Drought"'; has '"identifier":"S1"'
[ -z "$(sed -n /draft/p said)" ]`,
		`has '"note":"watered"'
refused 412 precondition_failed "${asked[@]}" -X PATCH -H "If-Match: $etag" $URL/api/v1/scans/real_plant/metadata -d '{"note": "dry"}'
refused 400 bad_biology "${asked[@]}" $URL/api/v1/scans/real_plant/metadata -d '{"metadata": {"note": "dry", "study": {"title": 1}, "biologicalMaterial": {"ageDays": "x"}}}'
python3 -c 'import json; said = json.load(open("refusal.json")); want = json.load(open("bad_biology.json")); assert said | want == said, said'
refused 400 bad_biology "${asked[@]}" $URL/api/v1/scans/odd -d '{"metadata": {"observedVariable": {"scale": []}}}'
api $URL/api/v1/scans/real_plant/metadata > said
has '"note":"watered"'; has '"title":"Drought"'
api $URL/api/v1/filesets/real_plant/images/metadata -d '{"metadata": {"study": 1}}' > said`,

		// Timelapses.
		`has '"id":"bench_7"'; has '"id":"bench_7_a"'; has '"id":"bench_7_b"'
[ -f "$TREE/bench_7/bench_7_a/files.json" ]
refused 404 unknown_timelapse "${asked[@]}" $URL/api/v1/scans/odd -d '{"metadata": {"timelapse": {"id": "odd"}}}'
refused 409 scan_exists "${asked[@]}" $URL/api/v1/scans/bench_7 -d '{}'
refused 409 timelapse_exists "${asked[@]}" $URL/api/v1/timelapses -d '{"id": "bench_7_a"}'`,
		`has '"bench_7","growth_series"'; has '"note":"every second morning"'; has '"scans":["bench_7_a","bench_7_b"]'
[ "$(tail -n 2 said | tr -d '\n')" = '["bench_7_a","bench_7_b"]["bench_7_b","bench_7_a"]' ]`,
		`has '"note":"every other morning"'; has '"index":0'
api -X POST $URL/api/v1/scans/bench_7_c -d '{"metadata": {"timelapse": {"id": "bench_7", "index": 9}}}' > said
api -X POST $URL/api/v1/scans/bench_7_d -d '{"metadata": {"timelapse": {"id": "bench_7", "index": 10, "scheduled": "2026-09-07T10:00:00Z"}}}' > said
api -X POST $URL/api/v1/scans/bench_7_e -d '{"metadata": {"timelapse": {"id": "bench_7", "index": 2, "scheduled": "2026-09-07T10:00:00Z"}}}' > said
api -X POST $URL/api/v1/scans/bench_7_f -d '{"metadata": {"timelapse": {"id": "bench_7", "scheduled": 2026, "index": "no number"}}}' > said
api $URL/api/v1/timelapses/bench_7/scans > said
has '["bench_7_f","bench_7_c","bench_7_b","bench_7_a","bench_7_e","bench_7_d"]'
refused 400 timelapse_fixed "${asked[@]}" -X PATCH $URL/api/v1/scans/old_plant/metadata -d '{"timelapse": {"id": "bench_7"}}'
api -X PATCH $URL/api/v1/scans/bench_7_a/metadata -d '{"timelapse": {"id": "growth_series"}}' > said
has '"id":"bench_7"'`,

		// Private, shared, handed over.
		`has '"visibility":"private"'; has '"phenotyping"'; has '"owner":"alice"'
refused 404 unknown_scan $URL/api/v1/scans/real_plant
[ -f "$TREE/real_plant/.plantdb.json" ]`,

		// Many at once.
		`[ "$(grep -c '"code":"done"' said)" = 6 ]
refused 404 unknown_scan "${asked[@]}" $URL/api/v1/scans/old_plant`,
		`has '"greenhouse"'`,

		// Delete and restore.
		`has '"kind":"file"'; has '"kind":"fileset"'
refused 404 unknown_scan "${asked[@]}" $URL/api/v1/scans/real_plant
refused 404 unknown_timelapse "${asked[@]}" $URL/api/v1/timelapses/growth_series`,
		`has "\"id\":\"$ID\""
api $URL/api/v1/scans/real_plant > said`,
		`refused 404 unknown_trash_entry "${asked[@]}" -X DELETE $URL/api/v1/trash/$ID
refused 404 unknown_scan "${asked[@]}" $URL/api/v1/scans/another_name`,
	}
	tourShell(t, guide(t, commandsOf(t, "managing-scans.md"), checks), dir, []string{
		"URL=" + server.URL, "TREE=" + tree, "PASSWORD=" + adminPassword, "TOKEN=",
	})
}

// TestAuthenticationGuide runs docs/authentication.md. The secret of the set-up
// counts before there is an administrator, so that this block is the first; those
// that start a server have one of their own.
func TestAuthenticationGuide(t *testing.T) {
	t.Parallel()
	const password = "trellis-orchid-7"
	tree, dir := servertest.Dir(t), t.TempDir()
	env := []string{"DATABASE_URL=" + pgtest.URL(t), "ROMI_DB=" + tree}
	server := servertest.Start(t, servertest.Options{Env: env}, tree)
	secret := regexp.MustCompile(`with this secret: (\S+)\n`).FindStringSubmatch(server.Stdout())
	if secret == nil {
		t.Fatal("a first start prints no secret to set up with")
	}
	fill := strings.NewReplacer("http://localhost:5000", server.URL, `"secret": "…"`, `"secret": "`+secret[1]+`"`, "…", password,
		"retire KID", `retire "$KID"`)
	var blocks, serving []block
	for _, b := range commandsOf(t, "authentication.md") {
		b.code = fill.Replace(b.code)
		switch {
		case strings.Contains(b.code, "plantdb serve"):
			serving = append(serving, b)
		case strings.Contains(b.code, "/auth/setup"):
			blocks = slices.Insert(blocks, 1, b)
		default:
			blocks = append(blocks, b)
		}
	}
	const profile = ` $API/auth/profile -H "Authorization: Bearer $ACCESS"` + "\n"
	const again = `curl -sS $API/auth/login -H "$JSON" -d '{"username": "alice", "password": "` + password + `"}' > pair.json
ACCESS=$(member access_token < pair.json) REFRESH=$(member refresh_token < pair.json)
`
	checks := []string{
		`login() { command curl -sS --fail $API/auth/login -H "$JSON" -d "{\"username\": \"$1\", \"password\": \"${2-` + password + `}\"}" | member access_token; }
sessions() { curl -sS $API/$1/sessions -H "Authorization: Bearer $2" | python3 -c 'import json, sys; print(*(s["id"] for s in json.load(sys.stdin)["sessions"] if not s["current"]))'; }
plantdb() { "$PLANTDB" "$@" <<< ` + password + `; }`,
		// Set up, and who else is spoken of.
		`has '"username":"alice"'; has '"admin"'
{ plantdb user create boss --admin; plantdb user create carol; } > said
ADMIN=$(login boss)`,
		// Log in, refresh.
		`has '"username":"alice"'; OLD=$ACCESS`,
		`curl -sS` + profile + `refused 401 token_revoked $API/auth/profile -H "Authorization: Bearer $OLD"
OTHER=$(login alice); ID=$(sessions auth $ACCESS); THIRD=$(login alice)`,
		// Sessions, and logging out.
		`has '"current": true'
for ended in $OTHER $THIRD; do refused 401 session_ended $API/auth/profile -H "Authorization: Bearer $ended"; done
curl -sS` + profile,
		`refused 401 session_ended` + profile + again,
		`refused 401 session_ended` + profile + again + `plantdb user create bob > said
BOB=$(login bob); ID=$(sessions users/bob $ADMIN); OTHER=$(login bob)`,
		`has '"last_seen_at"'; has '"address": "127.0.0.1"'; has '"ended":1'
for ended in $BOB $OTHER; do refused 401 session_ended $API/auth/profile -H "Authorization: Bearer $ended"; done
BOB=$(login bob); ID=$(sessions auth $(login alice) | tr ' ' '\n' | head -n 1)
refused 403 forbidden $API/users/alice/sessions -H "Authorization: Bearer $BOB"
refused 404 session_not_found -X DELETE $API/auth/sessions/$ID -H "Authorization: Bearer $BOB"
curl -sS $API/users/bob/sessions -H "Authorization: Bearer $BOB" > said
plantdb user delete bob > said`,
		`has '"found":false'; has '"found":true,"location":"headers"'; has 'Logout successful'
refused 401 token_missing $API/auth/token/mandatory
refused 401 session_ended` + profile + again,
		// API tokens; introspect and revoke.
		`ROBOT=$(cat said)
curl -sS $API/auth/profile -H "Authorization: Bearer $ROBOT" > said
refused 403 forbidden $API/auth/api-tokens -H "Authorization: Bearer $ROBOT"`,
		`has '"active":true'
refused 401 session_ended` + profile + again,
		// Users.
		`has 'user bob deleted'; has 'group lab deleted'; has 'good once, until'`,
		`has '"roles":["contributor"]'; has '"active":false'; has '"active":true'
OTHER=$(login alice)`,
		`curl -sS` + profile + `refused 401 session_ended $API/auth/profile -H "Authorization: Bearer $OTHER"
refused 401 invalid_credentials $API/auth/login -H "$JSON" -d '{"username": "alice", "password": "` + password + `"}'
login alice 'a new pass-phrase' > said`,
		`BOB=$(login bob)`,
		`has '"username":"bob"'
refused 401 session_ended $API/auth/profile -H "Authorization: Bearer $BOB"
login bob 'a new pass-phrase' > said
refused 404 link_not_valid $API/auth/password-reset -H "$JSON" -d "{\"secret\": \"$SECRET\", \"new_password\": \"another pass-phrase\"}"
KID=$(plantdb keys list | tail -n 1 | cut -d ' ' -f 1)`,
		// Keys.
		`has 'signs now'; has "key $KID retired"
for i in $(seq 200); do # servers read their keys every few seconds
  command curl -sS --fail -o /dev/null $API/auth/profile -H "Authorization: Bearer $ADMIN" 2> /dev/null || break; sleep 0.2
done
refused 401 token_unknown_key $API/auth/profile -H "Authorization: Bearer $ADMIN"
curl -sS $API/auth/profile -H "Authorization: Bearer $(login boss)" > said`,
	}
	tourShell(t, guide(t, blocks, checks), dir, append(env, "PLANTDB="+servertest.Build(t)))
	if len(serving) != 2 {
		t.Fatalf("%d blocks start a server, want 2", len(serving))
	}
	testGuideKeys(t, serving[0].code, serving[1].code)
}

// testGuideKeys starts the two servers of the guide: one with a new pass-phrase
// beside the old one, one with a key of its own.
func testGuideKeys(t *testing.T, rotate, generate string) {
	t.Helper()
	const old = "an old phrase, with a comma and more"
	tree, dir := servertest.Dir(t), t.TempDir()
	env := []string{"DATABASE_URL=" + pgtest.URL(t)}
	// serve starts a server with the settings that the commands give it.
	serve := func(commands string) *servertest.Server {
		t.Helper()
		tourShell(t, guideShell+"plantdb() { env | grep ^JWT_ > serve.env; }\n"+commands, dir, []string{"OLD_PASS_PHRASE=" + old})
		given, err := os.ReadFile(filepath.Join(dir, "serve.env"))
		if err != nil {
			t.Fatal(err)
		}
		settings := append(slices.Clone(env), strings.Split(strings.TrimSpace(string(given)), "\n")...)
		return servertest.Start(t, servertest.Options{Env: settings}, tree, "--test")
	}
	first := servertest.Start(t, servertest.Options{Env: append(slices.Clone(env), "JWT_SECRET_KEY="+old)}, tree, "--test")
	login := `curl -sS $URL/api/v1/auth/login -H 'Content-Type: application/json' -d '{"username": "admin", "password": "admin"}' | sed 's/.*"access_token":"\([^"]*\)".*/\1/' > token`
	tourShell(t, login, dir, []string{"URL=" + first.URL})
	first.Stop()

	second := serve(rotate)
	tourShell(t, `curl -sS $URL/api/v1/auth/profile -H "Authorization: Bearer $(cat token)"`, dir, []string{"URL=" + second.URL})
	second.Stop()

	before, after, found := strings.Cut(generate, "plantdb serve\n")
	if !found {
		t.Fatalf("the guide starts no server in %s", generate)
	}
	third := serve(before + "plantdb serve\n")
	asked := regexp.MustCompile(`http://[^/]+`).ReplaceAllString(after, third.URL)
	tourShell(t, guideShell+"{\n"+asked+"} > said\nhas '\"crv\":\"Ed25519\"'", dir, nil)
}

// TestReportingGuide runs the commands of docs/sql-reporting.md on a server with a
// private PostgreSQL; its queries are run by package report. What psql is told is
// kept, and connects: who does so reads the views and no table.
func TestReportingGuide(t *testing.T) {
	t.Parallel()
	tree, dir := servertest.Dir(t), t.TempDir()
	server := servertest.Start(t, servertest.Options{Env: []string{"PLANTDB_ADMIN_PASSWORD=" + adminPassword}}, tree)
	blocks := commandsOf(t, "sql-reporting.md")
	for i := range blocks {
		blocks[i].code = strings.ReplaceAll(blocks[i].code, "/data/plantdb/", tree+"/")
	}
	login := `curl -sS ` + server.URL + `/api/v1/auth/login -H 'Content-Type: application/json' -d '{"username": "admin", "password": "` + adminPassword + `"}' > /dev/null
plantdb() { "$PLANTDB" "$@"; }
psql() { printf '%s\n' "$PGPASSWORD" "$PGOPTIONS" "$@" > "$HOME/psql"; }
`
	checks := []string{
		`has 'admin'; has 'SUCCEEDED'; has 'SESSION STATE'; grep -q ^owner, storage.csv`,
		`cd "$HOME"`,
	}
	tourShell(t, login+guide(t, blocks, checks), dir, []string{"PLANTDB=" + servertest.Build(t), "ROMI_DB=" + tree})
	told, err := os.ReadFile(filepath.Join(dir, "psql"))
	if err != nil {
		t.Fatal(err)
	}
	said := strings.Split(strings.TrimSpace(string(told)), "\n")
	if len(said) != 9 || said[2] != "-h" || said[4] != "-p" || said[6] != "-U" {
		t.Fatalf("psql is told %q, want -h, -p, -U and a database", said[2:])
	}
	config, err := pgx.ParseConfig("")
	if err != nil {
		t.Fatal(err)
	}
	port, err := strconv.ParseUint(said[5], 10, 16)
	if err != nil {
		t.Fatal(err)
	}
	config.Password, config.RuntimeParams["options"] = said[0], said[1]
	config.Host, config.Port, config.User, config.Database = said[3], uint16(port), said[7], said[8]
	config.TLSConfig, config.Fallbacks = nil, nil
	conn, err := pgx.ConnectConfig(t.Context(), config)
	if err != nil {
		t.Fatalf("connect as the guide says: %v", err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(t.Context())) }() // the database goes anyway
	var who string
	if err := conn.QueryRow(t.Context(), "SELECT username FROM report_active_sessions").Scan(&who); err != nil || who != "admin" {
		t.Errorf("who is logged in = %q, %v, want admin", who, err)
	}
	if _, err := conn.Exec(t.Context(), "SELECT password_hash FROM users"); err == nil {
		t.Error("who connects as the guide says reads hashes of passwords")
	}
}

// TestUploadsGuide runs docs/uploads.md; the other server to which it takes a scan
// is the same one, which gets it under another name. tus-js-client, of which the
// guide has a block too, is run by package e2e/tus.
func TestUploadsGuide(t *testing.T) {
	t.Parallel()
	tree, dir := servertest.Dir(t), t.TempDir()
	env := []string{"DATABASE_URL=" + pgtest.URL(t), "PLANTDB_ADMIN_PASSWORD=" + adminPassword, "ROMI_DB=" + tree}
	server := servertest.Start(t, servertest.Options{Env: env}, tree, "--demo")
	blocks := commandsOf(t, "uploads.md")
	for i := range blocks {
		blocks[i].code = strings.ReplaceAll(blocks[i].code, "$OTHER/api/v1/assets/archive/night_1", "$URL/api/v1/assets/archive/night_2")
	}
	const fresh = `api -X DELETE $URL/api/v1/files/real_plant/images/00000_rgb > said` + "\n"
	checks := []string{
		`plantdb() { "$PLANTDB" "$@"; }
curl() { case " $* " in *" -f"*) command curl "$@" ;; *) command curl --fail-with-body "$@" ;; esac; }
curl -sS $URL/api/v1/auth/login -H 'Content-Type: application/json' -d "{\"username\": \"admin\", \"password\": \"$PASSWORD\"}" > pair.json
TOKEN=$(sed 's/.*"access_token":"\([^"]*\)".*/\1/' pair.json)
api() { curl -sS -H "Authorization: Bearer $TOKEN" -H 'Content-Type: application/json' "$@"; }
curl -sS $URL/api/v1/files/real_plant/images/00000_rgb > 00000_rgb.jpg
api -X POST $URL/api/v1/scans/night_1 > said
api -X POST $URL/api/v1/filesets/night_1/images > said
curl -sS -H "Authorization: Bearer $TOKEN" $URL/api/v1/files/night_1/images/one -F ext=txt -F file=@00000_rgb.jpg > said
api $URL/api/v1/groups -d '{"name": "phenotyping"}' > said
api $URL/api/v1/auth/register -d "{\"username\": \"carol\", \"fullname\": \"Carol\", \"password\": \"$PASSWORD\"}" > said
echo 'watered twice' > notes.txt
` + fresh,

		// One request, with a digest, and what is there when the answer was lost.
		`has '"id":"00000_rgb"'
refused 409 file_exists -H "Authorization: Bearer $TOKEN" $URL/api/v1/files/real_plant/images/00000_rgb -F ext=jpg -F file=@00000_rgb.jpg
api $URL/api/v1/files/real_plant/images/00000_rgb/metadata > said
has '"channel":"rgb"'
` + fresh + `refused 400 digest_mismatch -H "Authorization: Bearer $TOKEN" $URL/api/v1/files/real_plant/images/00000_rgb \
  -F ext=jpg -F "file=@00000_rgb.jpg;headers=\"Content-Digest: sha-256=:$(openssl dgst -sha256 -binary notes.txt | base64):\""`,
		`has '"id":"00000_rgb"'
cmp <(curl -sS $URL/api/v1/files/real_plant/images/00000_rgb) 00000_rgb.jpg`,
		`[ "$(grep -i '^etag' said | cut -d '"' -f 2)" = "$(tail -n 1 said | cut -d ' ' -f 1)" ]`,

		// Archives.
		`has '"images/one.txt"'
curl -sS $URL/api/v1/files/night_2/images/one | cmp - 00000_rgb.jpg`,
		// Files beside the filesets.
		`has 'watered twice'; cmp "$TREE/real_plant/notes.txt" notes.txt
refused 400 name_reserved -H "Authorization: Bearer $TOKEN" -H 'Content-Disposition: attachment' -H 'X-File-Path: files.json' --data-binary @notes.txt $URL/files/real_plant`,
		// Quotas.
		`has '536870912000'; has '200000'; api $URL/api/v1/quotas > said
has '"carol"'; has '"phenotyping"'`,
	}
	blocks = slices.Insert(blocks, 0, block{"sh", ":\n"})
	tourShell(t, guide(t, blocks, checks), dir, append(env, "URL="+server.URL, "TREE="+tree, "PASSWORD="+adminPassword, "PLANTDB="+servertest.Build(t)))
}

// TestEventsGuide runs docs/events.md: its commands, and its receiver of a message
// that the server sends.
func TestEventsGuide(t *testing.T) {
	t.Parallel()
	type message struct {
		Headers map[string]string `json:"headers"`
		Body    string            `json:"body"`
	}
	messages := make(chan message, 10)
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		m := message{map[string]string{}, string(body)}
		for _, name := range []string{"webhook-id", "webhook-timestamp", "webhook-signature"} {
			m.Headers[name] = r.Header.Get(name)
		}
		messages <- m
	}))
	t.Cleanup(receiver.Close)
	tree, dir := servertest.Dir(t), t.TempDir()
	env := []string{"DATABASE_URL=" + pgtest.URL(t), "PLANTDB_ADMIN_PASSWORD=" + adminPassword, "WEBHOOK_NETWORKS=127.0.0.0/8"}
	server := servertest.Start(t, servertest.Options{Env: env}, tree, "--demo")
	blocks := commandsOf(t, "events.md")
	for i := range blocks {
		blocks[i].code = strings.NewReplacer("curl -N ", "follow ", "https://lab.example.org/plantdb", receiver.URL).Replace(blocks[i].code)
	}
	checks := []string{
		`curl -sS $PLANTDB/api/v1/auth/login -H 'Content-Type: application/json' -d "{\"username\": \"admin\", \"password\": \"$PASSWORD\"}" > pair.json
TOKEN=$(sed 's/.*"access_token":"\([^"]*\)".*/\1/' pair.json) ADMIN=$TOKEN
api() { curl -sS -H "Authorization: Bearer $TOKEN" -H 'Content-Type: application/json' "$@"; }
follow() { command curl -sS -N "$@" > stream & FOLLOWER=$!; }
comes() { for i in $(seq 600); do grep -qF -- "$1" stream && return; sleep 0.1; done; echo "the stream has no $1" >&2; cat stream >&2; false; }`,
		// Following.
		`comes 'event: ready'
api -X POST $PLANTDB/api/v1/scans/told > said
comes 'event: scan.created'; comes '"scan":"told"'
kill $FOLLOWER; wait $FOLLOWER || true
NEXT=$(grep -B 2 -A 2 'event: ready' stream | sed -n 's/^id: *//p' | head -n 1)`,
		`has '"kind":"scan.created"'; has '"scan":"told"'; has '"next":"'; has '"more":false'`,
		// Webhooks.
		`has '"secret":"whsec_'; cp said webhook.json
ID=$(python3 -c 'import json; print(json.load(open("webhook.json"))["webhook"]["id"])')
api -X POST $PLANTDB/api/v1/webhooks/$ID/test > said
api $PLANTDB/api/v1/webhooks/$ID/deliveries > said
api -X PATCH $PLANTDB/api/v1/webhooks/$ID -d '{"kinds": ["scan.created"]}' > said
has '"scan.created"'`,
	}
	blocks = slices.Insert(blocks, 0, block{"sh", ":\n"})
	tourShell(t, guide(t, blocks, checks), dir, []string{"PLANTDB=" + server.URL, "PASSWORD=" + adminPassword})
	if t.Failed() {
		return
	}
	sent, err := json.Marshal(<-messages)
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "message.json"), string(sent))
	ran := 0
	for _, b := range blocksOf(t, filepath.Join("..", "docs", "events.md")) {
		if b.language != "python" {
			continue
		}
		ran++
		write(t, filepath.Join(dir, "receiver.py"), b.code+`
import json
secret, sent = json.load(open("webhook.json"))["secret"], json.load(open("message.json"))
body = sent["body"].encode()
assert json.loads(body)["type"] == "webhook.test", body
assert good(secret, sent["headers"], body)
assert not good(secret, sent["headers"], body + b" ")
assert not good("whsec_" + base64.b64encode(b"another").decode(), sent["headers"], body)
`)
		tourShell(t, "python3 receiver.py", dir, nil)
	}
	if ran != 1 {
		t.Errorf("the guide has %d blocks of Python, want the receiver", ran)
	}
}

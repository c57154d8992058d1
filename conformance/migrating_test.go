package conformance

import (
	"bytes"
	"image"
	"image/jpeg"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	plantdb "github.com/romi/plantdb-go/client"
	"github.com/romi/plantdb-go/internal/pgtest"
	"github.com/romi/plantdb-go/internal/pyenv"
	"github.com/romi/plantdb-go/internal/servertest"
	plantdbapi "github.com/romi/plantdb-go/openapi/clients/go"
)

// alicePassword is that of a reader, whom upstream's server makes.
const alicePassword = "trellis-orchid-7"

// migration does the commands of docs/migrating.md, in order, on one tree.
type migration struct {
	t     *testing.T
	tree  string
	env   []string
	photo []byte

	ours   *servertest.Server
	theirs *pyenv.Server
	ran    []string
	serves int
	// set are the variables of the reader's shell.
	set map[string]string
}

// TestMigrating runs docs/migrating.md: a tree that upstream's server 0.17 has
// made is tried, moved to ours, written, and given back; upstream's server reads
// from it what ours has written, and writes, and ours takes that in again. Only
// addresses, the place of the tree and a password are put in. TestGoingBack is
// about all that can lie in a tree that is given back, and the other generations.
func TestMigrating(t *testing.T) {
	t.Parallel()
	m := &migration{t: t, tree: filepath.Join(servertest.Dir(t), "plants")}
	m.must("make the tree", os.Mkdir(m.tree, 0o700))
	m.set = map[string]string{"$ROMI_DB": m.tree}
	m.env = []string{"DATABASE_URL=" + pgtest.URL(t), "ROMI_DB=" + m.tree}
	m.photo = photo(t)
	write(t, filepath.Join(m.tree, "romidb"), "")

	m.theirs = pyenv.Serve(t, nil, "--db-path", m.tree)
	c := m.as(m.theirs.URL, "admin", "admin")
	made, err := c.API().RegisterUserWithResponse(t.Context(), plantdbapi.Registration{Username: "alice", Fullname: "Alice Martin", Password: alicePassword})
	m.must("make alice", err)
	if made.StatusCode() != http.StatusCreated {
		t.Fatalf("make alice = %s %s", made.Status(), made.Body)
	}
	m.fill(c, "before")

	// The first commands run beside the old server, which goes on.
	for _, b := range blocksOf(t, filepath.Join("..", "docs", "migrating.md")) {
		switch b.language {
		case "python":
			m.set["back.py"] = write(t, filepath.Join(t.TempDir(), "back.py"), b.code)
		case "sh":
			for line := range strings.Lines(b.code) {
				m.run(line)
			}
		default:
			t.Errorf("the guide has a block of %q, which nothing runs", b.language)
		}
	}
	want := []string{
		"export", "import --dry-run", "import", "serve --port 5001",
		"import", "user passwd admin", "serve --host 0.0.0.0 --port 5000",
		"trash list", "trash restore", "kill", "back.py 0.17", "fsdb_rest_api",
		"kill", "back.py forward", "serve --host 0.0.0.0 --port 5000",
	}
	if !slices.Equal(m.ran, want) {
		t.Fatalf("the guide runs %q, want %q", m.ran, want)
	}
}

// photo is an image as a scanner's.
func photo(t *testing.T) []byte {
	t.Helper()
	var photo bytes.Buffer
	if err := jpeg.Encode(&photo, image.NewGray(image.Rect(0, 0, 400, 300)), nil); err != nil {
		t.Fatal(err)
	}
	return photo.Bytes()
}

func (m *migration) must(what string, err error) {
	m.t.Helper()
	if err != nil {
		m.t.Fatalf("%s: %v", what, err)
	}
}

// run does a line of the guide, and what the text says to do at that point.
func (m *migration) run(line string) {
	m.t.Helper()
	line, _, _ = strings.Cut(line, " # ")
	words := strings.Fields(line)
	for i, word := range words {
		for name, value := range m.set {
			words[i] = strings.Replace(words[i], name, value, 1)
		}
		if strings.Contains(words[i], "$") && words[0] != "kill" {
			m.t.Errorf("nothing sets %s", word)
		}
	}
	switch {
	case len(words) == 0:
	case words[0] == "export":
		m.ran = append(m.ran, "export")
	case words[0] == "kill":
		m.ran = append(m.ran, "kill")
		m.kill()
	case words[0] == "python3":
		m.ran = append(m.ran, "back.py "+words[2])
		program(m.t, m.tree, words...)
	case words[0] == "fsdb_rest_api":
		m.ran = append(m.ran, "fsdb_rest_api")
		m.theirs = pyenv.Serve(m.t, nil, words[1:]...)
		m.given()
	case words[0] == "plantdb" && words[1] == "serve":
		m.ran = append(m.ran, strings.Join(words[1:], " "))
		m.serve()
	case words[0] == "plantdb" && words[1] == "import":
		m.imported(words[1:])
	case words[0] == "plantdb" && words[1] == "trash":
		m.ran = append(m.ran, strings.Join(words[1:3], " "))
		if id := entry.FindStringSubmatch(m.command(words[1:]).Stdout); id != nil {
			m.set["$ID"] = id[1]
		}
	case words[0] == "plantdb":
		m.ran = append(m.ran, strings.Join(words[1:], " "))
		m.command(words[1:])
	default:
		m.t.Errorf("nothing runs %q", line)
	}
}

// entry is a scan in what plantdb trash list prints.
var entry = regexp.MustCompile(`(?m)^(\S+) +scan `)

// kill stops the server that runs.
func (m *migration) kill() {
	if m.ours != nil {
		m.ours.Stop()
		m.ours = nil
		return
	}
	m.theirs.Stop()
}

// key asks the Python server for the key that signs, without an account.
func (m *migration) key() int {
	m.t.Helper()
	r, err := http.NewRequestWithContext(m.t.Context(), http.MethodGet, m.theirs.URL+"/api/v1/assets/files/.plantdb/jwt.key", nil)
	m.must("ask for the key", err)
	resp, err := http.DefaultClient.Do(r)
	m.must("ask for the key", err)
	m.must("ask for the key", resp.Body.Close())
	return resp.StatusCode
}

// given looks at what the Python server has of the tree that is given back: what
// ours has written, and the account with its old password. It writes on.
func (m *migration) given() {
	m.t.Helper()
	back := m.as(m.theirs.URL, "alice", alicePassword)
	for _, scan := range []string{"before", "after", "restored"} {
		m.holds(back, scan)
	}
	var changed struct{ Seen string }
	if err := back.Metadata(m.t.Context(), plantdb.Path{Scan: "before"}, &changed); err != nil || changed.Seen != "by both" {
		m.t.Errorf("what ours has changed of an older scan is %+v, %v", changed, err)
	}
	m.fill(m.as(m.theirs.URL, "admin", "admin"), "meanwhile")
	if key := m.key(); key != http.StatusNotFound {
		m.t.Errorf("the Python server gives the key that signs as %d", key)
	}
}

func (m *migration) command(words []string) servertest.Result {
	m.t.Helper()
	r := servertest.Run(m.t, servertest.Options{Env: m.env, Stdin: strings.NewReader(adminPassword + "\n")}, words...)
	if r.Code != 0 {
		m.t.Fatalf("plantdb %s = %d: %s%s", strings.Join(words, " "), r.Code, r.Stdout, r.Stderr)
	}
	return r
}

func (m *migration) imported(words []string) {
	m.t.Helper()
	if m.ours != nil { // the second time both servers are stopped
		m.ours.Stop()
		m.theirs.Stop()
		m.ours = nil
	}
	dry := slices.Contains(words, "--dry-run")
	if r := m.command(words); dry {
		m.ran = append(m.ran, "import --dry-run")
		for _, said := range []string{"1 scans", "3 users imported", `user "admin": has upstream's first password`} {
			if !strings.Contains(r.Stdout+r.Stderr, said) {
				m.t.Errorf("the dry run says %s%s, want %q in it", r.Stdout, r.Stderr, said)
			}
		}
	} else {
		m.ran = append(m.ran, "import")
	}
}

// adminPassword is asked for when the account of the administrator is taken over.
const adminPassword = "a long enough pass-phrase"

// serve starts ours: the first time beside the Python server, to be looked at; the
// second time in its place, to be written; the third time after it.
func (m *migration) serve() {
	m.t.Helper()
	m.serves++
	m.ours = servertest.Start(m.t, servertest.Options{Env: m.env}, m.tree)
	alice := m.as(m.ours.URL, "alice", alicePassword)
	m.holds(alice, "before")
	switch m.serves {
	case 1:
		// As the guide warns.
		if key := m.key(); key != http.StatusOK {
			m.t.Errorf("the Python server gives the key that signs as %d", key)
		}
	case 2:
		admin := m.as(m.ours.URL, "admin", adminPassword)
		m.fill(admin, "after")
		m.must("change what upstream made", admin.SetMetadata(m.t.Context(), plantdb.Path{Scan: "before"}, map[string]any{"seen": "by both"}))
		m.fill(admin, "restored")
		m.must("delete a scan", admin.Delete(m.t.Context(), plantdb.Path{Scan: "restored"}))
	case 3:
		for _, scan := range []string{"after", "restored", "meanwhile"} {
			m.holds(alice, scan)
		}
	}
}

func (m *migration) as(url, username, password string) *plantdb.Client {
	m.t.Helper()
	c, err := plantdb.New(url)
	m.must("New", err)
	m.must("log in as "+username, c.Login(m.t.Context(), username, password))
	return c
}

// fill makes a scan with an image, and metadata of each.
func (m *migration) fill(c *plantdb.Client, scan string) {
	m.t.Helper()
	ctx := m.t.Context()
	images := plantdb.Path{Scan: scan, Fileset: "images"}
	picture := plantdb.Path{Scan: scan, Fileset: "images", File: "00000_rgb"}
	m.must("create "+scan, c.Create(ctx, plantdb.Path{Scan: scan}, map[string]any{"object": map[string]any{"species": "Mirabilis jalapa " + scan}}))
	m.must("create its fileset", c.Create(ctx, images, map[string]any{"channels": []string{"rgb"}}))
	m.must("upload its image", c.Upload(ctx, picture, "jpg", bytes.NewReader(m.photo), map[string]any{"shot_id": "7"}))
}

// holds reads back what fill has made.
func (m *migration) holds(c *plantdb.Client, scan string) {
	m.t.Helper()
	ctx := m.t.Context()
	var ids []string
	for id, err := range c.Scans(ctx, plantdb.Query{}) {
		m.must("list scans", err)
		ids = append(ids, id)
	}
	if !slices.Contains(ids, scan) {
		m.t.Fatalf("the scans are %q, want %s among them", ids, scan)
	}
	var of struct {
		Object struct{ Species string }
		Owner  string
	}
	m.must("read metadata of "+scan, c.Metadata(ctx, plantdb.Path{Scan: scan}, &of))
	if of.Object.Species != "Mirabilis jalapa "+scan || of.Owner != "admin" {
		m.t.Errorf("the metadata of %s are %+v", scan, of)
	}
	picture := plantdb.Path{Scan: scan, Fileset: "images", File: "00000_rgb"}
	var file struct {
		ShotID string `json:"shot_id"`
	}
	m.must("read metadata of the image of "+scan, c.Metadata(ctx, picture, &file))
	if file.ShotID != "7" {
		m.t.Errorf("the metadata of the image of %s are %+v", scan, file)
	}
	var content bytes.Buffer
	_, err := c.Download(ctx, picture, &content)
	m.must("download the image of "+scan, err)
	if !bytes.Equal(content.Bytes(), m.photo) {
		m.t.Errorf("the image of %s has %d bytes, want the %d that were uploaded", scan, content.Len(), len(m.photo))
	}
	content.Reset()
	if _, err := c.Image(ctx, picture, "thumb", &content); err != nil || !bytes.HasPrefix(content.Bytes(), []byte("\xff\xd8")) {
		m.t.Errorf("the thumbnail of %s = %d bytes, %v", scan, content.Len(), err)
	}
}

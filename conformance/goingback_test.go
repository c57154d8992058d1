package conformance

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime/multipart"
	"net/http"
	"net/textproto"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	plantdb "github.com/romi/plantdb-go/client"
	"github.com/romi/plantdb-go/internal/pyenv"
	"github.com/romi/plantdb-go/internal/servertest"
)

// generation is one of upstream's, to which a lab goes back.
type generation struct {
	// name is what docs/migrating.md calls it.
	name string
	// packages are its client and what programs use; server and tree are how its
	// server is started.
	packages, server []string
	tree             string
	// account gives the administrator a password: he is taken over without one.
	account []string
}

var (
	packages14  = []string{"plantdb-server==0.14.5", "plantdb-client==0.14.5", "plantdb-commons==0.14.5", "networkx==3.2.1"}
	packages15  = []string{"plantdb-server==0.15.1", "plantdb-client==0.15.1", "plantdb-commons==0.15.1", "networkx==3.2.1"}
	packages17  = []string{"plantdb-client==0.17.0", "plantdb-commons==0.17.0", "pybase64==1.4.1", "networkx==3.2.1"}
	generations = []generation{
		{"0.14", packages14, packages14, "--db_location", []string{"user", "create", "admin", "--admin"}},
		{"0.15", packages15, packages15, "--db_location", []string{"user", "passwd", "admin"}},
		{"0.17", packages17, []string{"plantdb-server==0.17.0", "plantdb-commons==0.17.0"}, "--db-path", []string{"user", "passwd", "admin"}},
	}
)

// seen is what there is at a path of a scan, fileset or file.
type seen struct {
	Metadata map[string]any `json:"metadata"`
	SHA256   string         `json:"sha256"`
}

// TestGoingBack takes a tree that upstream's real code has made, with an account,
// writes by the server all that it can make, kills it, does what
// docs/migrating.md says, and lets that code read all of it and write, as a
// program and as a server with its client; then the server takes the tree again,
// and has all of it.
func TestGoingBack(t *testing.T) {
	t.Parallel()
	for _, g := range generations {
		t.Run(g.name, func(t *testing.T) {
			t.Parallel()
			b := newGoingBack(t, g)
			b.fill()
			left := b.settle()
			b.back(g.name)
			told := b.told()
			if object := told["migrated"].Metadata["object"]; g.name != "0.17" && !gocmp.Equal(object, map[string]any{"species": "Zea mays"}) {
				t.Errorf("%s, which knows no MIAPPE, finds the object of a migrated scan as %v", g.name, object)
			}
			b.compare("what "+g.name+" finds", told, forAll(left))
			theirs := pyenv.ServeBy(t, g.server, nil, g.tree, b.tree)
			b.run(pyenv.Python(t, g.packages...), "going_back.py", "ask", theirs.URL)
			theirs.Stop()
			b.python("write")
			written := b.told()
			for _, path := range []string{"by_client/images/one", "by_python/images/one", "plain/images/by_python", "night_1/images/by_python"} {
				if _, ok := written[path]; !ok {
					t.Errorf("%s lost %s, which it has written", g.name, path)
				}
			}
			b.back("forward")
			maps.Copy(written, forSome(left))
			b.forward(written)
		})
	}
}

type goingBack struct {
	t           *testing.T
	generation  generation
	tree, aside string
	env         []string
	server      *servertest.Server
	admin       *plantdb.Client
	photo       []byte
	large       []byte
	unfinished  string
}

// newGoingBack has upstream make a tree and ours take it over, as the guide says.
func newGoingBack(t *testing.T, g generation) *goingBack {
	t.Helper()
	dir := servertest.Dir(t)
	b := &goingBack{
		t: t, generation: g, tree: filepath.Join(dir, "plants"), aside: filepath.Join(dir, "aside"),
		photo: photo(t), large: bytes.Repeat([]byte("a large file\n"), 40_000),
	}
	if err := os.Mkdir(b.tree, 0o711); err != nil { // PostgreSQL below it may be run by another account
		t.Fatal(err)
	}
	b.env = []string{"ROMI_DB=" + b.tree}
	b.python("make")
	b.command("", "import", b.tree, "--users")
	b.command(adminPassword, g.account...)
	b.serve()
	return b
}

func (b *goingBack) must(what string, err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatalf("%s: %v", what, err)
	}
}

// serve starts the server, where alice logs in with her password of old.
func (b *goingBack) serve() {
	b.t.Helper()
	b.server = servertest.Start(b.t, servertest.Options{Env: b.env}, b.tree)
	_, err := b.as("alice", alicePassword).Scan(b.t.Context(), "before")
	b.must("read, as alice, what Python has made", err)
	b.admin = b.as("admin", adminPassword)
}

func (b *goingBack) as(name, password string) *plantdb.Client {
	b.t.Helper()
	c, err := plantdb.New(b.server.URL)
	b.must("New", err)
	b.must("log in as "+name, c.Login(b.t.Context(), name, password))
	return c
}

func (b *goingBack) command(stdin string, words ...string) servertest.Result {
	b.t.Helper()
	r := servertest.Run(b.t, servertest.Options{Env: b.env, Stdin: strings.NewReader(stdin + "\n")}, words...)
	if r.Code != 0 {
		b.t.Fatalf("plantdb %s = %d: %s%s", strings.Join(words, " "), r.Code, r.Stdout, r.Stderr)
	}
	return r
}

// python runs going_back.py, and returns what it says.
func (b *goingBack) python(what string) string {
	b.t.Helper()
	return b.run(pyenv.Python(b.t, b.generation.packages...), "going_back.py", what, b.tree, alicePassword)
}

// run runs a program without a terminal, at which 0.15 would ask.
func (b *goingBack) run(words ...string) string {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, words[0], words[1:]...)
	// What 0.17 deletes goes to the trash of the desktop.
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + b.t.TempDir(), "PYTHONDONTWRITEBYTECODE=1", "NO_PROXY=*"}
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		b.t.Fatalf("%q = %v: %s%s", words[1:], err, out, said.String())
	}
	return string(out)
}

// told is what upstream finds.
func (b *goingBack) told() map[string]seen {
	b.t.Helper()
	said := strings.TrimSpace(b.python("look"))
	var told map[string]seen
	if err := json.Unmarshal([]byte(said[strings.LastIndexByte(said, '\n')+1:]), &told); err != nil {
		b.t.Fatalf("going_back.py says %s: %v", said, err)
	}
	return told
}

// fill writes all that the server can make.
func (b *goingBack) fill() {
	b.t.Helper()
	ctx, c, api := b.t.Context(), b.admin, b.admin.API()
	older := map[string]any{"object": map[string]any{"species": "Nicotiana tabacum", "plant_id": "p7"}, "hardware": map[string]any{"camera": "v2"}}
	newer := map[string]any{
		"study":              map[string]any{"identifier": "S1", "growthFacility": map[string]any{"name": "greenhouse 3"}},
		"biologicalMaterial": map[string]any{"ageDays": 12.5, "organism": map[string]any{"genus": "Zea"}}, "note": "10 µm – 🌱",
	}
	b.scan("plain", older)
	b.scan("with.dots", newer)
	b.scan("migrated", map[string]any{"object": map[string]any{"species": "Zea mays"}})
	b.command("", "migrate-metadata", "--scan", "migrated")
	b.scan("gone", newer)
	b.scan("hidden", older)
	b.accepted(api.SetScanVisibilityWithBodyWithResponse(ctx, "hidden", nil, "application/json", strings.NewReader(`{"visibility": "private"}`)))
	b.accepted(api.CreateTimelapseWithBodyWithResponse(ctx, "application/json", strings.NewReader(`{"id": "bench_7", "metadata": {"note": "nightly"}}`)))
	b.scan("night_1", map[string]any{"timelapse": map[string]any{"id": "bench_7", "index": 0, "scheduled": "2026-09-03T10:00:00Z"}, "object": older["object"]})
	b.scan("night_2", map[string]any{"timelapse": map[string]any{"id": "bench_7", "index": 1, "scheduled": "2026-09-05T10:00:00Z"}, "visibility": "private"})

	output := plantdb.Path{Scan: "plain", Fileset: "PointCloud_1_0"}
	b.must("create a fileset", c.Create(ctx, output, map[string]any{"task": "PointCloud"}))
	output.File = "PointCloud"
	b.must("upload in pieces", c.Upload(ctx, output, "ply", bytes.NewReader(b.large), map[string]any{"points": 3}, plantdb.InPieces(100_000)))
	var archive bytes.Buffer
	_, err := c.Archive(ctx, "plain", &archive)
	b.must("download an archive", err)
	kind, form := b.zipForm(archive.Bytes())
	b.accepted(api.CreateScanFromArchiveWithBodyWithResponse(ctx, "copied", nil, kind, form))

	wrong := plantdb.Path{Scan: "plain", Fileset: "images", File: "wrong"}
	b.must("upload a file", c.Upload(ctx, wrong, "jpg", bytes.NewReader(b.photo), nil))
	b.must("delete it", c.Delete(ctx, wrong))
	b.must("change metadata", c.SetMetadata(ctx, plantdb.Path{Scan: "before"}, map[string]any{"season": 3, "study": newer["study"]}))
	b.must("delete a scan", c.Delete(ctx, plantdb.Path{Scan: "gone"}))
	id := regexp.MustCompile(`(?m)^(\S+) +scan +gone `).FindStringSubmatch(b.command("", "trash", "list").Stdout)
	if id == nil {
		b.t.Fatal("the trash does not list the scan")
	}
	b.command("", "trash", "restore", id[1])
	b.unfinished, err = c.BeginUpload(ctx, plantdb.Path{Scan: "plain", Fileset: "images", File: "unfinished"}, "npy", int64(len(b.large)), nil)
	b.must("begin an upload", err)
}

// scan makes a scan with two images.
func (b *goingBack) scan(id string, metadata map[string]any) {
	b.t.Helper()
	ctx := b.t.Context()
	b.must("create "+id, b.admin.Create(ctx, plantdb.Path{Scan: id}, metadata))
	b.must("create its fileset", b.admin.Create(ctx, plantdb.Path{Scan: id, Fileset: "images"}, map[string]any{"channels": []any{"rgb"}}))
	for i := range 2 {
		image := plantdb.Path{Scan: id, Fileset: "images", File: fmt.Sprintf("%05d_rgb", i)}
		b.must("upload its image", b.admin.Upload(ctx, image, "jpg", bytes.NewReader(b.photo), map[string]any{"shot_id": i, "pose": []any{1.5, nil}}))
	}
}

// accepted wants a success of the generated client.
func (b *goingBack) accepted(a interface {
	Status() string
	StatusCode() int
}, err error) {
	b.t.Helper()
	b.must("ask", err)
	if a.StatusCode() >= http.StatusBadRequest {
		b.t.Fatalf("%T = %s", a, a.Status())
	}
}

// zipForm is the form of an upload of an archive.
func (b *goingBack) zipForm(archive []byte) (kind string, form io.Reader) {
	b.t.Helper()
	var body bytes.Buffer
	w := multipart.NewWriter(&body)
	part, err := w.CreatePart(textproto.MIMEHeader{
		"Content-Disposition": {`form-data; name="zip_file"; filename="scan.zip"`}, "Content-Type": {"application/zip"},
	})
	b.must("write a form", err)
	_, err = part.Write(archive)
	b.must("write a form", errors.Join(err, w.Close()))
	return w.FormDataContentType(), &body
}

// settle kills the server right after an upload, starts and stops it once more,
// and returns what there was then.
func (b *goingBack) settle() map[string]seen {
	b.t.Helper()
	last := plantdb.Path{Scan: "plain", Fileset: "images", File: "last"}
	b.must("upload", b.admin.Upload(b.t.Context(), last, "jpg", bytes.NewReader(b.photo), nil))
	b.server.Kill()
	b.serve()
	left := b.ours()
	if _, ok := left[last.String()]; !ok {
		b.t.Errorf("%s was acknowledged and is not there", last)
	}
	b.server.Stop()
	return left
}

// ours is all that the server finds.
func (b *goingBack) ours() map[string]seen {
	b.t.Helper()
	ctx, c, all := b.t.Context(), b.admin, map[string]seen{}
	at := func(p plantdb.Path) {
		b.t.Helper()
		var s seen
		b.must("read metadata of "+p.String(), c.Metadata(ctx, p, &s.Metadata))
		if p.File != "" {
			sum := sha256.New()
			_, err := c.Download(ctx, p, sum)
			b.must("download "+p.String(), err)
			s.SHA256 = fmt.Sprintf("%x", sum.Sum(nil))
		}
		all[p.String()] = s
	}
	for id, err := range c.Scans(ctx, plantdb.Query{}) {
		b.must("list scans", err)
		at(plantdb.Path{Scan: id})
		filesets, err := c.Filesets(ctx, id)
		b.must("list filesets", err)
		for _, fileset := range filesets {
			at(plantdb.Path{Scan: id, Fileset: fileset})
			files, err := c.Files(ctx, id, fileset)
			b.must("list files", err)
			for _, file := range files {
				at(plantdb.Path{Scan: id, Fileset: fileset, File: file})
			}
		}
	}
	return all
}

// private are the scans that Python must not get.
var private = []string{"hidden", "night_2"}

func isPrivate(path string) bool {
	scan, _, _ := strings.Cut(path, "/")
	return slices.Contains(private, scan)
}

func forAll(all map[string]seen) map[string]seen {
	all = maps.Clone(all)
	maps.DeleteFunc(all, func(path string, _ seen) bool { return isPrivate(path) })
	return all
}

func forSome(all map[string]seen) map[string]seen {
	all = maps.Clone(all)
	maps.DeleteFunc(all, func(path string, _ seen) bool { return !isPrivate(path) })
	return all
}

// back runs the program of the guide.
func (b *goingBack) back(where string) {
	b.t.Helper()
	name := filepath.Join(b.t.TempDir(), "back.py")
	write(b.t, name, backProgram(b.t))
	b.run("python3", name, where, b.tree, b.aside)
}

func backProgram(t *testing.T) string {
	t.Helper()
	for _, block := range blocksOf(t, filepath.Join("..", "docs", "migrating.md")) {
		if block.language == "python" {
			return block.code
		}
	}
	t.Fatal("the guide has no program")
	return ""
}

// forward starts the server again, which has what was there, what Python has
// written and what it must not see, and the rest of its own.
func (b *goingBack) forward(want map[string]seen) {
	b.t.Helper()
	ctx := b.t.Context()
	b.serve()
	b.compare("the server, after that,", b.ours(), want)
	timelapse, err := b.admin.API().ListTimelapseScansWithResponse(ctx, "bench_7", nil)
	if err != nil || strings.TrimSpace(string(timelapse.Body)) != `["night_1","night_2"]` {
		b.t.Errorf("the scans of the timelapse = %s, %v", timelapse.Body, err)
	}
	nobody, err := plantdb.New(b.server.URL)
	b.must("New", err)
	for _, scan := range private {
		if _, err := nobody.Scan(ctx, scan); !errors.Is(err, plantdb.ErrNotFound) {
			b.t.Errorf("%s for nobody = %v, want it hidden", scan, err)
		}
	}
	if said := b.command("", "trash", "list").Stdout; !strings.Contains(said, "plain/images/wrong") {
		b.t.Errorf("the trash has lost a file: %s", said)
	}
	b.must("go on with an upload", b.admin.ResumeUpload(ctx, b.unfinished, bytes.NewReader(b.large)))
	if said := b.command("", "check", "--digests"); strings.Contains(said.Stdout, "!") {
		b.t.Errorf("check says %s", said.Stdout)
	}
}

func (b *goingBack) compare(what string, got, want map[string]seen) {
	b.t.Helper()
	if diff := gocmp.Diff(alike(want), alike(got)); diff != "" {
		b.t.Errorf("%s (-as it should be +as it is):\n%s", what, diff)
	}
}

// alike leaves out what upstream puts into metadata that has nothing there,
// the copies for it in the metadata of the images, and where a scan lay.
func alike(all map[string]seen) map[string]seen {
	same := map[string]seen{}
	for path, s := range all {
		s.Metadata = maps.Clone(s.Metadata)
		for _, key := range []string{"object", "hardware", "acquisition_date"} {
			empty, isObject := s.Metadata[key].(map[string]any)
			if s.Metadata[key] == nil || isObject && len(empty) == 0 || strings.HasSuffix(path, "/images") || path == "migrated" {
				delete(s.Metadata, key)
			}
		}
		if in, ok := s.Metadata["timelapse"].(map[string]any); ok && in["of"] != nil {
			in = maps.Clone(in)
			in["id"] = in["of"]
			delete(in, "of")
			s.Metadata["timelapse"] = in
		}
		same[path] = s
	}
	return same
}

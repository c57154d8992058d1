package conformance

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
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
	"github.com/romi/plantdb-go/tokenauth"
)

// clientLimit bounds one step: an installation that fetches packages, or a
// program.
const clientLimit = 20 * time.Minute

// clients are those of openapi/clients that generate.sh makes and that have
// packages of their own.
var clients = map[string]client{
	"python": {"python", "plantdb_api", []string{
		"openapi/clients/python/elsewhere.py", "openapi/clients/python/no_answer.py", "openapi/clients/python/whole.py",
	}, installPython},
	"typescript": {"ts", "src", []string{
		"openapi/clients/typescript/elsewhere.ts", "openapi/clients/typescript/broken.ts",
		"openapi/clients/typescript/openapi-ts.config.mjs", "tools/openapi-ts/package-lock.json",
	}, installTypeScript},
	"java": {"java", "src/main/java", []string{"openapi/clients/java/templates", "openapi/clients/java/overloads.awk"}, installJava},
}

type client struct {
	fence string // the language of a block in Markdown
	// generated is the directory, below that of the language, that
	// generate.sh writes.
	generated string
	// inputs are what it is made of, beside the document and generate.sh.
	inputs []string
	// install installs the client with its packages into dir, where it has
	// been copied to, and returns what runs a program there.
	install func(t *testing.T, dir string) runner
}

// runner knows how programs of a language are started: the journey, but for its
// arguments, and a piece of code, which gets the frame that its language wants.
type runner struct {
	journey []string
	snippet func(t *testing.T, name, code string) []string
}

// TestClients installs each generated client, does the journey of a program
// with it, what its README begins with, and the tour of docs/api.md. Each
// language has a built server of its own: what one makes and whose sessions it
// ends is nothing to another.
func TestClients(t *testing.T) {
	t.Parallel()
	made := servertest.Dir(t)
	if r := servertest.Run(t, servertest.Options{}, "demo", made); r.Code != 0 {
		t.Fatalf("demo = %d %s", r.Code, r.Stderr)
	}
	full, code := fullServer(t)
	expired := expiredToken(t)
	journey := func(t *testing.T, dir, url, name string, command ...string) {
		t.Helper()
		elsewhere := httptest.NewServer(strangers(t, url))
		t.Cleanup(elsewhere.Close)
		program(t, dir, append(command, url, "journey_"+name, elsewhere.URL, full, code, expired)...)
	}
	for language, c := range clients {
		t.Run(language, func(t *testing.T) {
			t.Parallel()
			source := filepath.Join("..", "openapi", "clients", language)
			dir := t.TempDir()
			if err := os.CopyFS(dir, os.DirFS(source)); err != nil {
				t.Fatalf("copy the client: %v", err)
			}
			run := c.install(t, dir)
			url := copied(t, made)
			journey(t, dir, url, language, run.journey...)
			readme(t, run, dir, language, url)
			tourAPI(t, run, dir, c.fence, url)
		})
	}
	t.Run("go, generated", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		built := filepath.Join(dir, "journey")
		program(t, ".", "go", "build", "-buildvcs=false", "-o", built, "../openapi/clients/go/tests")
		url := copied(t, made)
		journey(t, dir, url, "go", built)
		readme(t, goProgram(t, dir), dir, "go", url)
	})
	for language, snippet := range map[string]func(*testing.T, string) runner{"sh": shell, "go": goProgram} {
		t.Run(language, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			tourAPI(t, snippet(t, dir), dir, language, copied(t, made))
		})
	}
}

// copied serves a copy of a tree and returns its URL.
func copied(t *testing.T, tree string) string {
	t.Helper()
	dir := servertest.Dir(t)
	if err := os.CopyFS(dir, os.DirFS(tree)); err != nil {
		t.Fatalf("copy the samples: %v", err)
	}
	env := []string{"DATABASE_URL=" + pgtest.URL(t), "PLANTDB_PREVIEWS=on-demand", "JWT_SECRET_KEY=hex:" + hex.EncodeToString(signingKey)}
	return servertest.Start(t, servertest.Options{Env: env}, dir, "--test").URL
}

// signingKey is that of all servers of copied.
var signingKey = bytes.Repeat([]byte{7}, 64)

// expiredToken is an access token of such a server whose time was over a minute ago.
func expiredToken(t *testing.T) string {
	t.Helper()
	key, err := tokenauth.NewHMACKey(signingKey)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := tokenauth.NewKeyring(key)
	if err != nil {
		t.Fatal(err)
	}
	token, err := keys.Sign(tokenauth.Claims{
		ID: "01890a5d-ac96-774b-bcce-b302099a8057", Subject: "admin", Issuer: "plantdb-api", Audience: "plantdb-client",
		SessionID: "01890a5d-ac96-774b-bcce-b302099a8057", Type: tokenauth.Access,
		IssuedAt: time.Now().Add(-time.Hour), ExpiresAt: time.Now().Add(-time.Minute),
	})
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// readme runs the lines that the README of a client begins with.
func readme(t *testing.T, run runner, dir, language, url string) {
	t.Helper()
	code := blocksOf(t, filepath.Join("..", "openapi", "clients", language, "README.md"))[0].code
	said := program(t, dir, run.snippet(t, "readme", filled(code, url, "readme_"+language))...)
	// A refusal would be printed, and begins with a status or a code.
	if !strings.HasPrefix(said, "[") || !strings.Contains(said, "readme_"+language) {
		t.Errorf("the README's lines print %q, want a list with the scan that they made", said)
	}
}

// tourAPI runs the blocks of a language in docs/api.md as one program, in dir.
func tourAPI(t *testing.T, run runner, dir, language, url string) {
	t.Helper()
	photo := sample(t, url+"/api/v1/files/real_plant/images/00000_rgb")
	var code strings.Builder
	tasks := 0
	for _, b := range blocksOf(t, filepath.Join("..", "docs", "api.md")) {
		if b.language == language {
			code.WriteString(b.code)
			tasks++
		}
	}
	if tasks != 11 {
		t.Errorf("docs/api.md has %d tasks in %s, want 11", tasks, language)
	}
	write(t, filepath.Join(dir, "plant.jpg"), string(photo))
	said := program(t, dir, run.snippet(t, "tour", filled(code.String(), url, "tour_"+language))...)
	for _, want := range []string{"real_plant_analyzed", "00000_rgb", "watered", "unknown_scan", "scan.created"} {
		if !strings.Contains(said, want) {
			t.Errorf("the tour in %s prints %s, want %s in it", language, said, want)
		}
	}
	if back, err := os.ReadFile(filepath.Join(dir, "back.jpg")); err != nil || !bytes.Equal(back, photo) {
		t.Errorf("the tour in %s: %d bytes came back (%v), want the %d of plant.jpg", language, len(back), err, len(photo))
	}
	if thumb, err := os.ReadFile(filepath.Join(dir, "thumb.jpg")); err != nil || len(thumb) == 0 || len(thumb) >= len(photo) {
		t.Errorf("the tour in %s: a thumbnail of %d bytes (%v), want less than the %d of plant.jpg", language, len(thumb), err, len(photo))
	}
}

// filled puts the server, the account of the test mode and a scan of its own
// into the code of a document.
func filled(code, url, scan string) string {
	return strings.NewReplacer("http://localhost:5000", url, "alice", "admin", "…", "admin", "my_plant", scan).Replace(code)
}

// blocksOf returns the code of a Markdown file, of which there has to be some.
func blocksOf(t *testing.T, file string) []block {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	blocks := blocksIn(string(text))
	if len(blocks) == 0 {
		t.Fatalf("%s has no code", file)
	}
	return blocks
}

// sample fetches a public file.
func sample(t *testing.T, url string) []byte {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }() // read to its end
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("GET %s = %d, %v", url, resp.StatusCode, err)
	}
	return body
}

// program runs a command in dir, which has to succeed, and returns what it
// prints.
func program(t *testing.T, dir string, command ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), clientLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Dir = dir
	// Programs that ask the server meet no proxy of the environment; those
	// that install know where packages come from.
	cmd.Env = append(os.Environ(), "PYTHONDONTWRITEBYTECODE=1", "NO_PROXY=127.0.0.1", "no_proxy=127.0.0.1")
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s = %v\n%s%s", strings.Join(command, " "), err, stdout.String(), stderr.String())
	}
	return stdout.String()
}

func installPython(t *testing.T, dir string) runner {
	t.Helper()
	python := pyenv.Python(t, "pydantic==2.14.4", "urllib3==2.8.0", "python-dateutil==2.8.2", "typing-extensions==4.16.0", "setuptools==84.2.1")
	packages := filepath.Join(dir, "packages")
	program(t, dir, python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
		"--no-index", "--no-build-isolation", "--no-deps", "--target", packages, dir)
	// The copy beside it is not to be found in its place.
	if err := os.RemoveAll(filepath.Join(dir, "plantdb_api")); err != nil {
		t.Fatal(err)
	}
	command := []string{"env", "PYTHONPATH=" + packages, python}
	return runner{
		journey: append(slices.Clip(command), "tests/journey.py"),
		snippet: func(t *testing.T, name, code string) []string {
			return append(slices.Clip(command), write(t, filepath.Join(dir, name+".py"), code))
		},
	}
}

func installTypeScript(t *testing.T, dir string) runner {
	t.Helper()
	program(t, dir, "npm", "ci", "--silent")
	compile := func(t *testing.T) { program(t, dir, "npx", "--no-install", "tsc", "-p", "tests") }
	compile(t)
	return runner{
		journey: []string{"node", "tests/out/journey.js"},
		snippet: func(t *testing.T, name, code string) []string {
			write(t, filepath.Join(dir, "tests", name+".ts"), code)
			compile(t)
			return []string{"node", "tests/out/" + name + ".js"}
		},
	}
}

func installJava(t *testing.T, dir string) runner {
	t.Helper()
	program(t, dir, "mvn", "-q", "-B", "compile", "dependency:copy-dependencies", "-DincludeScope=runtime")
	command := []string{"java", "-cp", "target/classes:target/dependency/*"}
	const frame = `import io.github.romi.plantdb.*;
import io.github.romi.plantdb.api.*;
import io.github.romi.plantdb.api.ScansApi.*;
import io.github.romi.plantdb.model.*;
import java.io.*;
import java.nio.file.*;
import java.util.*;

public class %s {
  public static void main(String[] args) throws Exception {
%s
  }
}
`
	return runner{
		journey: append(slices.Clip(command), "tests/Journey.java"),
		snippet: func(t *testing.T, name, code string) []string {
			return append(slices.Clip(command), write(t, filepath.Join(dir, name+".java"), fmt.Sprintf(frame, name, code)))
		},
	}
}

func shell(_ *testing.T, dir string) runner {
	return runner{snippet: func(t *testing.T, name, code string) []string {
		return []string{"bash", "-euo", "pipefail", write(t, filepath.Join(dir, name+".sh"), code)}
	}}
}

func goProgram(_ *testing.T, dir string) runner {
	const frame = `package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/http"
	"os"

	"github.com/romi/plantdb-go/client"
	plantdbapi "github.com/romi/plantdb-go/openapi/clients/go"
)

// What one program needs, the other does not.
var (
	ctx = context.Background()
	_   = client.New
	_   = plantdbapi.NewClient
	_   = errors.Is
	_   = os.Open
	_   = http.Get
)

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func main() {
%s
}
`
	return runner{snippet: func(t *testing.T, name, code string) []string {
		source, built := write(t, filepath.Join(dir, name+".go"), fmt.Sprintf(frame, code)), filepath.Join(dir, name)
		program(t, ".", "go", "build", "-buildvcs=false", "-o", built, source) // here, for the module
		return []string{built}
	}}
}

// write writes a file and returns its path.
func write(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestClientsAreFresh holds that the clients belong to the document, without
// the generators: GENERATED.sum has the digests of what generate.sh read and
// wrote.
func TestClientsAreFresh(t *testing.T) {
	t.Parallel()
	top := os.DirFS("..")
	for language, c := range clients {
		dir := "openapi/clients/" + language
		want, err := fs.ReadFile(top, dir+"/GENERATED.sum")
		if err != nil {
			t.Fatal(err)
		}
		var got strings.Builder
		for _, input := range append([]string{"openapi/openapi-clients.yaml", "openapi/clients/generate.sh"}, c.inputs...) {
			fmt.Fprintf(&got, "%s  %s\n", digest(t, top, ".", input), input)
		}
		fmt.Fprintf(&got, "%s  %s\n", digest(t, top, dir, c.generated), c.generated)
		if got.String() != string(want) {
			t.Errorf("%s is stale, run make clients: its GENERATED.sum has\n%s, want\n%s", dir, want, got.String())
		}
	}
}

// digest is that of a file, or the digest of the digests of all files below a
// directory, which are named from dir on.
func digest(t *testing.T, tree fs.FS, dir, name string) string {
	t.Helper()
	sub, err := fs.Sub(tree, dir)
	if err != nil {
		t.Fatal(err)
	}
	var files []string
	err = fs.WalkDir(sub, name, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			files = append(files, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(files)
	all := sha256.New()
	for _, path := range files {
		content, err := fs.ReadFile(sub, path)
		if err != nil {
			t.Fatal(err)
		}
		if path == name {
			return fmt.Sprintf("%x", sha256.Sum256(content))
		}
		fmt.Fprintf(all, "%x  %s\n", sha256.Sum256(content), path)
	}
	return fmt.Sprintf("%x", all.Sum(nil))
}

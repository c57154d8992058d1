package conformance

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/romi/plantdb-go/internal/pyenv"
	"github.com/romi/plantdb-go/internal/servertest"
)

// clientLimit bounds one step: an installation that fetches packages, or a
// program.
const clientLimit = 5 * time.Minute

// clients are those of openapi/clients that generate.sh makes and that have
// packages of their own.
var clients = map[string]client{
	"python":     {"plantdb_api", installPython},
	"typescript": {"src", installTypeScript},
	"java":       {"src/main/java", installJava},
}

type client struct {
	// generated is the directory, below that of the language, that
	// generate.sh writes.
	generated string
	// install installs the client with its packages into dir, where it has
	// been copied to, and returns what runs a program there.
	install func(t *testing.T, dir string) runner
}

// runner returns how a program is started. A program whose language has a
// frame for statements that stand alone is given as such statements.
type runner struct {
	journey []string                                       // the command, but for its arguments
	snippet func(t *testing.T, name, code string) []string // the command for a piece of code
}

// TestClients installs each generated client, does the journey of a program
// with it, and what its README and docs/api.md begin with, all on the built
// server.
func TestClients(t *testing.T) {
	t.Parallel()
	server := servertest.Start(t, servertest.Options{}, servertest.Dir(t), "--test", "--demo")
	for language, c := range clients {
		t.Run(language, func(t *testing.T) {
			t.Parallel()
			source := filepath.Join("..", "openapi", "clients", language)
			dir := t.TempDir()
			if err := os.CopyFS(dir, os.DirFS(source)); err != nil {
				t.Fatalf("copy the client: %v", err)
			}
			run := c.install(t, dir)
			program(t, dir, append(run.journey, server.URL, "journey_"+language)...)

			text, err := os.ReadFile(filepath.Join(source, "README.md"))
			if err != nil {
				t.Fatal(err)
			}
			readme := blocksIn(string(text))
			if len(readme) == 0 {
				t.Fatalf("README.md of %s has no code", language)
			}
			fill := strings.NewReplacer("http://localhost:5000", server.URL, "alice", "admin", "…", "admin", "my_plant", "readme_"+language)
			said := program(t, dir, run.snippet(t, "readme", fill.Replace(readme[0].code))...)
			if got := strings.TrimSpace(said); !strings.Contains(got, "readme_"+language) || strings.Contains(got, "\n") {
				t.Errorf("the README's lines print %q, want a list with the scan that they made", got)
			}
		})
	}
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
		for _, input := range []string{"openapi/openapi-clients.yaml", "openapi/clients/generate.sh"} {
			fmt.Fprintf(&got, "%s  %s\n", digest(t, top, input), input)
		}
		fmt.Fprintf(&got, "%s  %s\n", digestAll(t, top, dir, c.generated), c.generated)
		if got.String() != string(want) {
			t.Errorf("%s is stale, run make clients: its GENERATED.sum has\n%s, want\n%s", dir, want, got.String())
		}
	}
}

func digest(t *testing.T, tree fs.FS, name string) string {
	t.Helper()
	content, err := fs.ReadFile(tree, name)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%x", sha256.Sum256(content))
}

// digestAll is the digest of the digests of all files below a directory, which
// are named from dir on.
func digestAll(t *testing.T, tree fs.FS, dir, below string) string {
	t.Helper()
	sub, err := fs.Sub(tree, dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	err = fs.WalkDir(sub, below, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			names = append(names, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(names)
	sums := sha256.New()
	for _, name := range names {
		fmt.Fprintf(sums, "%s  %s\n", digest(t, sub, name), name)
	}
	return fmt.Sprintf("%x", sums.Sum(nil))
}

package tokenauth_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// A module that is not ours imports the package, and with it nothing that is
// internal to the server.
func TestStrangerImports(t *testing.T) {
	t.Parallel()
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	copied := map[string]string{"go.sum": filepath.Join(root, "go.sum"), "main.go": "testdata/stranger/main.go"}
	for name, from := range copied {
		text, err := os.ReadFile(from)
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), text, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	// It wants of other modules what ours wants, which is there already.
	module, err := os.ReadFile(filepath.Join(root, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	const ours = "github.com/romi/plantdb-go"
	theirs := strings.Replace(string(module), "module "+ours, "module example.org/shop", 1)
	theirs += fmt.Sprintf("\nrequire %s v0.0.0\n\nreplace %s => %s\n", ours, ours, root)
	if err := os.WriteFile(filepath.Join(dir, "go.mod"), []byte(theirs), 0o600); err != nil {
		t.Fatal(err)
	}
	run := func(args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "go", args...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "GOFLAGS=-mod=mod -trimpath", "GOPROXY=off", "GOWORK=off")
		var said strings.Builder
		cmd.Stderr = &said
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("go %s = %v\n%s", strings.Join(args, " "), err, said.String())
		}
		return string(out)
	}
	want := "401 false\n401 false\n200 true\n200 true\n401 false\n401 false\n"
	if got := run("run", "."); got != want {
		t.Errorf("the service prints\n%s\nwant\n%s", got, want)
	}
	for name := range strings.Lines(run("list", "-deps", ".")) {
		if strings.HasPrefix(name, ours) && !strings.HasPrefix(name, ours+"/tokenauth") {
			t.Errorf("it comes with %s", name)
		}
	}
}

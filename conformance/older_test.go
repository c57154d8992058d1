package conformance

import (
	"context"
	"os"
	"os/exec"
	"testing"

	"github.com/romi/plantdb-go/internal/pyenv"
	"github.com/romi/plantdb-go/internal/servertest"
)

// TestClient015 makes every public call of plantdb-client 0.15.1, whose paths
// lie at the root.
func TestClient015(t *testing.T) {
	t.Parallel()
	python := pyenv.Python(t, packages15...)
	runOlder(t, python, "client_0_15.py")
}

// TestClient014 makes every public call of plantdb-client 0.14.5, which knows
// no tokens and so needs a legacy writer.
func TestClient014(t *testing.T) {
	t.Parallel()
	python := pyenv.Python(t, packages14...)
	runOlder(t, python, "client_0_14.py", "LEGACY_WRITER=admin")
}

// runOlder runs a script on two servers that share a tree; the second lies
// behind a deploy prefix.
func runOlder(t *testing.T, python, name string, env ...string) {
	t.Helper()
	tree := servertest.Dir(t)
	plain := servertest.Start(t, servertest.Options{Env: env}, tree, "--test", "--demo")
	prefixed := servertest.Start(t, servertest.Options{Env: append(env, "PLANTDB_API_PREFIX=/plantdb")}, tree, "--test")

	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	script := exec.CommandContext(ctx, python, name, tree, plain.URL, prefixed.URL)
	// A proxy or a prefix of the environment would lead the client elsewhere.
	script.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "PYTHONDONTWRITEBYTECODE=1", "NO_PROXY=*"}
	said, err := script.CombinedOutput()
	t.Logf("%s", said)
	if err != nil {
		t.Errorf("%s = %v; the table above says which call is not as it should be", name, err)
	}
}

// Package conformance runs the published Python client against the built
// server. The checks themselves are Python, see client_0_17.py, whose table
// says call by call what works and what comes later.
package conformance

import (
	"context"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/romi/plantdb-go/internal/pyenv"
	"github.com/romi/plantdb-go/internal/servertest"
)

// limit bounds the run of one script.
const limit = 20 * time.Minute

func TestMain(m *testing.M) { os.Exit(servertest.Main(m)) }

// TestClient017 makes every public call of plantdb-client 0.17.0. The servers
// share a tree: one has default settings, the other gives access tokens for
// four seconds and lies behind a deploy prefix.
func TestClient017(t *testing.T) {
	t.Parallel()
	// The client names no version of plantdb-commons, and uses the other two
	// without naming them at all.
	python := pyenv.Python(t, packages17...)
	tree := servertest.Dir(t)
	plain := servertest.Start(t, servertest.Options{}, tree, "--test", "--demo")
	short := servertest.Start(t, servertest.Options{
		Env: []string{"SESSION_TIMEOUT=4", "JWT_LEEWAY=0", "PLANTDB_API_PREFIX=/plantdb"},
	}, tree, "--test")

	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	script := exec.CommandContext(ctx, python, "client_0_17.py", tree, plain.URL, short.URL)
	// A proxy or a prefix of the environment would lead the client elsewhere.
	script.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "PYTHONDONTWRITEBYTECODE=1", "NO_PROXY=*"}
	said, err := script.CombinedOutput()
	t.Logf("%s", said)
	if err != nil {
		t.Errorf("client_0_17.py = %v; the table above says which call is not as it should be", err)
	}
}

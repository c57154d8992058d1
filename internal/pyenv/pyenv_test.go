package pyenv

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

func TestVariable(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ requirement, want string }{
		{"plantdb-client==0.17.0", "PLANTDB_PYTHON_0_17"},
		{"plantdb-commons==0.15.1", "PLANTDB_PYTHON_0_15"},
		{"plantdb-commons", ""},
		{"plantdb-commons>=0.15", ""},
		{"plantdb-commons==0.15.*", ""},
		{"--index-url==0.1", ""},
		{"git+https://example.org/x", ""},
	} {
		got, err := variable([]string{tt.requirement})
		if got != tt.want || (err != nil) != (tt.want == "") {
			t.Errorf("variable(%q) = %q, %v, want %q", tt.requirement, got, err, tt.want)
		}
	}
	if got, err := variable(nil); err == nil {
		t.Errorf("variable() = %q, want an error", got)
	}
}

// TestCached makes an environment out of what every environment has, pip, so
// that nothing is fetched.
func TestCached(t *testing.T) {
	t.Parallel()
	ctx, dir := context.Background(), t.TempDir()
	out, err := exec.CommandContext(ctx, "python3", "-c", "import ensurepip; print(ensurepip.version())").Output()
	if err != nil {
		t.Fatal(err)
	}
	pip := []string{"pip==" + strings.TrimSpace(string(out))}
	var wg sync.WaitGroup
	pythons := make([]string, 3)
	for i := range pythons {
		wg.Go(func() {
			var err error
			if pythons[i], err = cached(ctx, dir, pip); err != nil {
				t.Errorf("cached(%v) = %v", pip, err)
			}
		})
	}
	wg.Wait()
	if pythons[0] != pythons[2] || verify(ctx, pythons[0], pip) != nil {
		t.Errorf("cached(%v) = %v, want one environment that has it", pip, pythons)
	}
	// One that was cut short is made anew.
	venv := filepath.Dir(filepath.Dir(pythons[0]))
	if err := os.Remove(filepath.Join(venv, stamp)); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(pythons[0]); err != nil {
		t.Fatal(err)
	}
	if python, err := cached(ctx, dir, pip); err != nil || verify(ctx, python, pip) != nil {
		t.Errorf("cached(cut short) = %q, %v", python, err)
	}
	if err := verify(ctx, pythons[0], []string{"pip==0.0.1"}); err == nil || !strings.Contains(err.Error(), "pip==0.0.1 is wanted") {
		t.Errorf("verify(pip==0.0.1) = %v, want the difference", err)
	}
	if err := verify(ctx, pythons[0], []string{"no-such-package==1.0"}); err == nil || !strings.Contains(err.Error(), "has nothing") {
		t.Errorf("verify(no-such-package) = %v, want the lack", err)
	}
}

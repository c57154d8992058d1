package plantdbapi_test

import (
	"crypto/sha256"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var write = flag.Bool("write", false, "write GENERATED.sum instead of comparing with it")

// TestSum holds that the client belongs to the document, without the
// generator: GENERATED.sum has the digest of all that it read and wrote when
// `make gen` ran last. `make lint` runs the generator itself.
func TestSum(t *testing.T) {
	t.Parallel()
	const file = "GENERATED.sum"
	var lines strings.Builder
	for _, name := range []string{"../../../tools/oapi-codegen.mod", "../../openapi-3.0.yaml", "oapi-codegen.yaml", "overlay.yaml", "plantdb.gen.go"} {
		content, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&lines, "%x  %s\n", sha256.Sum256(content), name)
	}
	got := lines.String()
	if *write {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("openapi/clients/go is stale; run make gen (-%s +files):\n%s", file, diff)
	}
}

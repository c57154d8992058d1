package api_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/romi/plantdb-go/openapi/compat"
)

// A client that was made from a released document still works. What was
// released in error can only be taken back with the next major version, by
// removing the document that promised it.
func TestReleasedClients(t *testing.T) {
	t.Parallel()
	released, err := filepath.Glob(filepath.Join("..", "..", "openapi", "released", "*.json"))
	if err != nil || len(released) == 0 {
		t.Fatalf("openapi/released holds %v (%v), want the documents of releases", released, err)
	}
	var now []byte
	for _, d := range documents() {
		if d.Name == "openapi.json" {
			now = d.Content
		}
	}
	for _, file := range released {
		then, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		breaks, err := compat.Breaks(then, now)
		if err != nil {
			t.Fatalf("Breaks(%s) = %v", file, err)
		}
		for _, b := range breaks {
			t.Errorf("breaks clients of %s: %s", filepath.Base(file), b)
		}
	}
}

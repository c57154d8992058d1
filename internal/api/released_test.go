package api_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"

	"github.com/romi/plantdb-go/openapi/compat"
)

// A client that was made from a released document still works, be it from that
// of the older paths or from that which the generators read. What was released
// in error can only be taken back with the next major version, by removing the
// documents that promised it.
func TestReleasedClients(t *testing.T) {
	t.Parallel()
	now := map[string][]byte{}
	for _, d := range documents() {
		now[d.Name] = d.Content
	}
	for _, version := range releases(t) {
		for _, name := range []string{"openapi.json", "openapi-legacy.json", "openapi-clients.json"} {
			then, err := os.ReadFile(filepath.Join(releasedDir, version, name))
			if err != nil {
				t.Errorf("read what %s released: %v; run make release-openapi VERSION=%s", version, err, version)
				continue
			}
			breaks, err := compat.Breaks(then, now[name])
			if err != nil {
				t.Fatalf("Breaks(%s of %s) = %v", name, version, err)
			}
			for _, b := range breaks {
				t.Errorf("breaks clients of %s (%s): %s", version, name, b)
			}
		}
	}
}

var (
	releasedDir = filepath.Join("..", "..", "openapi", "released")
	heading     = regexp.MustCompile(`(?m)^## v?([0-9]+\.[0-9]+\.[0-9]+)`)
)

// releases are the versions whose documents are kept, and those of the
// changelog of the same major version, whose documents have to be.
func releases(t *testing.T) []string {
	t.Helper()
	kept, err := os.ReadDir(releasedDir)
	if err != nil || len(kept) == 0 {
		t.Fatalf("openapi/released holds %v (%v), want the documents of releases", kept, err)
	}
	var list []string
	for _, d := range kept {
		list = append(list, d.Name())
	}
	changes, err := os.ReadFile(filepath.Join("..", "..", "CHANGELOG.md"))
	if err != nil {
		t.Fatal(err)
	}
	return slices.Compact(slices.Sorted(slices.Values(append(list, published(changes)...))))
}

// published are the versions of a changelog that share the major version of the
// newest.
func published(changelog []byte) (list []string) {
	major := ""
	for _, m := range heading.FindAllSubmatch(changelog, -1) {
		version := string(m[1])
		if of := regexp.MustCompile(`^[0-9]+`).FindString(version); major == "" || of == major {
			major = of
			list = append(list, version)
		}
	}
	return list
}

// Whoever releases a version and forgets its documents is told so.
func TestReleasesOfTheChangelog(t *testing.T) {
	t.Parallel()
	got := published([]byte("# Changelog\n\n## Unreleased\n\n## 1.1.0 - 2027-01-02\n\n## v1.0.0\n\n## 0.9.0\n"))
	if want := []string{"1.1.0", "1.0.0"}; !slices.Equal(got, want) {
		t.Errorf("published = %v, want %v", got, want)
	}
}

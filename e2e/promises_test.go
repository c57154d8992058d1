package e2e

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestEveryPromiseHasItsTest holds that the tests which SECURITY.md names are
// there, here or where the line says.
func TestEveryPromiseHasItsTest(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join("..", "SECURITY.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, part, _ := strings.Cut(string(text), "\n## What is promised")
	part, _, _ = strings.Cut(part, "\n## ")
	tests, places := regexp.MustCompile("`(Test\\w+)`"), regexp.MustCompile("`((?:cmd|conformance|e2e|internal)/[\\w/]+)`")
	promises, named := 0, 0
	for line := range strings.Lines(part) {
		if !strings.HasPrefix(line, "| ") || strings.HasPrefix(line, "| promise |") {
			continue
		}
		promises++
		there := sourceOf(t, "../e2e")
		for _, place := range places.FindAllStringSubmatch(line, -1) {
			there += sourceOf(t, "../"+place[1])
		}
		names := tests.FindAllStringSubmatch(line, -1)
		named += len(names)
		for _, name := range names {
			if !strings.Contains(there, "\nfunc "+name[1]+"(") {
				t.Errorf("SECURITY.md names %s, which is not there: %.100s", name[1], line)
			}
		}
		if len(names) == 0 {
			t.Errorf("SECURITY.md names no test of %.100s", line)
		}
	}
	if promises < 30 || named < 60 {
		t.Errorf("SECURITY.md has %d promises and %d tests of them; this looks at the wrong places", promises, named)
	}
}

// sourceOf returns the tests of a directory.
func sourceOf(t *testing.T, dir string) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
	if err != nil || len(files) == 0 {
		t.Fatalf("tests of %s: %d, %v", dir, len(files), err)
	}
	var all strings.Builder
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		all.Write(text)
	}
	return all.String()
}

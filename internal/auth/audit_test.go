package auth

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Every kind of event stands in the guide for who reads them, and some test
// wants one that was recorded.
func TestEveryKindOfEventIsTold(t *testing.T) {
	t.Parallel()
	read := func(pattern string) (all string) {
		t.Helper()
		names, err := filepath.Glob(pattern)
		if err != nil || len(names) == 0 {
			t.Fatalf("%s: %d files, %v", pattern, len(names), err)
		}
		for _, name := range names {
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			all += string(text)
		}
		return all
	}
	guide, tests := read("../../docs/sql-reporting.md"), read("*_test.go")+read("../../e2e/*_test.go")
	kinds := regexp.MustCompile(`(?m)^\t(event\w+) += "(\w+)"$`).FindAllStringSubmatch(read("audit.go"), -1)
	if len(kinds) < 23 {
		t.Fatalf("found %d kinds of event, want all", len(kinds))
	}
	// What other packages record of who may do what beside accounts.
	access := regexp.MustCompile(`(?:RecordAccess|changeQuota)\([^"\n]*"(\w+)"`).FindAllStringSubmatch(read("../scan/*.go")+read("../webhook/*.go"), -1)
	for _, c := range regexp.MustCompile(`Change\{Kind: Scan(\w+),`).FindAllStringSubmatch(read("../scan/access.go"), -1) {
		access = append(access, []string{"", "scan_" + strings.ToLower(c[1])})
	}
	if len(access) < 10 {
		t.Fatalf("found %d kinds of other packages, want all", len(access))
	}
	told := func(kind string) {
		t.Helper()
		if !regexp.MustCompile(`[ \n]` + kind + `[,.;]`).MatchString(guide) {
			t.Errorf("docs/sql-reporting.md does not tell of %s", kind)
		}
	}
	for _, k := range access {
		told(k[1])
	}
	for _, k := range kinds {
		name, kind := k[1], k[2]
		told(kind)
		if !strings.Contains(tests, name) && !strings.Contains(tests, `"`+kind+`"`) && !strings.Contains(tests, "'"+kind+"'") {
			t.Errorf("no test wants an event %s", kind)
		}
	}
}

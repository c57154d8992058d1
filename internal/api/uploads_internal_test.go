package api

import (
	"errors"
	"strings"
	"testing"

	"github.com/romi/plantdb-go/internal/fault"
)

// FuzzUploadMetadata: whatever the headers say, they are refused by name or
// name a file.
func FuzzUploadMetadata(f *testing.F) {
	for _, text := range []string{
		"", ",", "scan", "scan eA==", "scan eA==,fileset eA==,filename YS5wbmc=", "scan eA==,scan eA==", "scan\teA==",
		"scan eA==,fileset eA==,filename Li5cLi5cYS5wbmc=,metadata ew==", "scan eA==,fileset eA==,filename Lw==",
	} {
		f.Add("5", text)
	}
	f.Add("-1", "")
	f.Fuzz(func(t *testing.T, size, text string) {
		n, err := newResumable(size, text)
		if err == nil && (n.Scan == "" || n.Fileset == "" || n.File == "" || n.Size < 0) {
			t.Errorf("newResumable(%q, %q) = %+v", size, text, n)
		}
		if _, named := errors.AsType[*fault.Error](err); err != nil && !named {
			t.Errorf("newResumable(%q, %q) = %v, which has no name", size, text, err)
		}
		if err == nil && strings.Contains(n.Extension, "/") && !strings.Contains(text, "ext ") {
			t.Errorf("newResumable(%q, %q) has the extension %q", size, text, n.Extension)
		}
	})
}

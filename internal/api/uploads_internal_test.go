package api

import (
	"encoding/base64"
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

// FuzzUploadPiece: whatever the headers of a piece say, they are refused by name,
// or are an offset in digits and a checksum that some body has.
func FuzzUploadPiece(f *testing.F) {
	const sum = "Kq5sNclPz7QV2+lfQIuc6R7oRu0="
	for _, pair := range [][2]string{
		{"0", ""}, {"5", "sha1 " + sum}, {"9223372036854775807", "sha1 " + sum}, {"9223372036854775808", ""}, {"-1", ""}, {"+1", ""}, {"", "sha1"},
		{"1_0", "sha1 "}, {"0x1", "sha256 " + sum}, {" 1", "md5 " + sum}, {"1 ", "sha1  " + sum}, {"01", "SHA1 " + sum}, {"1e3", "sha1 " + sum[:27]},
		{"٣", "sha512 " + sum + "\n"}, {"1,2", "sha1 " + sum + ",sha1 " + sum},
	} {
		f.Add(pair[0], pair[1])
	}
	f.Fuzz(func(t *testing.T, offset, checksum string) {
		at, ok := tusNumber(offset)
		if digits := strings.Trim(offset, "0123456789") == "" && offset != ""; ok && (!digits || at < 0) || !ok && digits && len(offset) < 19 {
			t.Errorf("tusNumber(%q) = %d, %v", offset, at, ok)
		}
		piece, err := TusChecksum{checksum}.piece(at, &tusPiece{content: strings.NewReader("")})
		if _, named := errors.AsType[*fault.Error](err); err != nil && !named {
			t.Errorf("piece(%q) = %v, which has no name", checksum, err)
		}
		switch {
		case err != nil:
		case checksum == "":
			if piece.Check != nil {
				t.Error("a piece without a checksum is compared with one")
			}
		default:
			name, text, _ := strings.Cut(checksum, " ")
			want, err := base64.StdEncoding.DecodeString(text)
			if err != nil || len(want) != map[string]int{"sha1": 20, "sha256": 32, "sha512": 64}[name] || piece.Check == nil {
				t.Errorf("piece(%q) compares with %d bytes, %v", checksum, len(want), err)
			}
		}
	})
}

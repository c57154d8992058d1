package api_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"image/jpeg"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/romi/plantdb-go/internal/api"
)

var red, green, blue, white = color.RGBA{R: 200, A: 255}, color.RGBA{G: 200, A: 255}, color.RGBA{B: 200, A: 255}, color.RGBA{R: 250, G: 250, B: 250, A: 255}

// plate is a JPEG of one colour.
func plate(t *testing.T, c color.Color) []byte {
	t.Helper()
	img := image.NewRGBA(image.Rect(0, 0, 320, 240))
	draw.Draw(img, img.Bounds(), image.NewUniform(c), image.Point{}, draw.Src)
	var out bytes.Buffer
	if err := jpeg.Encode(&out, img, nil); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// An image that took the place of another one is what its thumbnail shows, and
// nobody is told that the old one is still good, whoever put it there.
func TestThumbnailsOfChangedImages(t *testing.T) {
	t.Parallel()
	s := newSite(t, api.Config{Rates: api.NoRates})
	carol, _ := s.login("carol")
	s.made(s.do(http.MethodPost, "/api/v1/scans/plates", "", bearer(carol)))
	s.made(s.do(http.MethodPost, "/api/v1/filesets/plates/images", "", bearer(carol)))
	const file = "/api/v1/files/plates/images/plate"
	onDisk := filepath.Join(s.dir, "plates", "images", "plate.jpg")
	old := map[string]string{} // ETags by path
	for _, change := range []struct {
		what string
		to   color.RGBA
		do   func(image []byte)
	}{
		{"an upload", red, func(image []byte) { s.made(s.upload(file, carol, image, map[string]string{"ext": "jpg"})) }},
		{"a deletion and an upload", green, func(image []byte) {
			if a := s.do(http.MethodDelete, file, "", bearer(carol)); a.status >= http.StatusBadRequest {
				t.Fatalf("DELETE = %d %s", a.status, a.body)
			}
			s.made(s.upload(file, carol, image, map[string]string{"ext": "jpg"}))
		}},
		{"another program, in place", white, func(image []byte) { write(t, onDisk, image) }},
		{"another program, by a rename", blue, func(image []byte) {
			write(t, onDisk+".new", image)
			if err := os.Rename(onDisk+".new", onDisk); err != nil {
				t.Fatal(err)
			}
		}},
		{"another program, and a reload", green, func(image []byte) { write(t, onDisk, image); s.refresh() }},
	} {
		content := plate(t, change.to)
		change.do(content)
		for path, picture := range map[string]func(answer) []byte{
			"/api/v1/assets/image/plates/images/plate":             func(a answer) []byte { return a.body },
			"/api/v1/assets/image/plates/images/plate?size=orig":   func(a answer) []byte { return a.body },
			"/api/v1/assets/image/plates/images/plate?as_base64=1": func(a answer) []byte { return fromText(t, a) },
			"/api/v1/assets/files/plates/images/plate.jpg":         func(a answer) []byte { return a.body },
			"/api/v1/assets/image/plates/images/plate?size=20":     func(a answer) []byte { return a.body },
			file: func(a answer) []byte { return a.body },
		} {
			a := s.get(path, header{"If-None-Match", old[path]})
			if a.status != http.StatusOK {
				t.Fatalf("after %s: GET %s with the old ETag = %d %s, want 200", change.what, path, a.status, a.body)
			}
			img, err := jpeg.Decode(bytes.NewReader(picture(a)))
			if err != nil {
				t.Fatalf("after %s: GET %s: %v", change.what, path, err)
			}
			if got := middle(img); !near(got, change.to) {
				t.Errorf("after %s: GET %s shows %v, want %v", change.what, path, got, change.to)
			}
			old[path] = a.header.Get("ETag")
		}
		if by, at := old[file], old["/api/v1/assets/files/plates/images/plate.jpg"]; by != at {
			t.Errorf("after %s: ETag %s by the file's id and %s by its path", change.what, by, at)
		}
	}
}

// Two files of one size and one time, as programs that unpack leave them, change
// places: nobody is shown one for the other, whoever knew which digest.
func TestSwappedFiles(t *testing.T) {
	t.Parallel()
	s := newSite(t, api.Config{Rates: api.NoRates})
	carol, _ := s.login("carol")
	s.made(s.do(http.MethodPost, "/api/v1/scans/plates", "", bearer(carol)))
	s.made(s.do(http.MethodPost, "/api/v1/filesets/plates/images", "", bearer(carol)))
	contents := map[string][2][]byte{ // by the name of the first, and of what took the place of it
		"images/1.jpg": {plate(t, red), plate(t, blue)}, "images/1.npy": {[]byte("first"), []byte("other")}, "notes/1.txt": {[]byte("one"), []byte("two")},
	}
	then := time.Now().Add(-time.Hour).Truncate(time.Second)
	second := func(name string) string { return strings.Replace(name, "/1.", "/2.", 1) }
	onDisk := func(name string) string { return filepath.Join(s.dir, "plates", filepath.FromSlash(name)) }
	for name, pair := range contents {
		longest := max(len(pair[0]), len(pair[1]))
		for i, file := range []string{name, second(name)} {
			pair[i] = append(pair[i], make([]byte, longest-len(pair[i]))...)
			if ext := path.Ext(name); ext != ".txt" {
				id := strings.TrimPrefix(strings.TrimSuffix(file, ext), "images/") + ext[1:]
				s.made(s.upload("/api/v1/files/plates/images/"+id, carol, pair[i], map[string]string{"ext": ext[1:]}))
				continue
			}
			s.put("plates/"+file, string(pair[i]))
		}
		contents[name] = pair
	}
	names := func(name string) string { // an id is in a fileset once
		if ext := path.Ext(name); ext != ".txt" {
			return strings.TrimSuffix(name, ext) + ext[1:] + ext
		}
		return name
	}
	for name := range contents {
		for _, file := range []string{name, second(name)} {
			if err := os.Chtimes(onDisk(names(file)), then, then); err != nil {
				t.Fatal(err)
			}
		}
	}
	s.refresh()
	archived := func() map[string]string {
		a := s.get("/api/v1/assets/archive/plates")
		if a.status != http.StatusOK {
			t.Fatalf("GET archive = %d %s", a.status, a.body)
		}
		_, files := unzipped(t, a.body)
		return files
	}
	assets := map[string]string{ // path to name
		"/api/v1/assets/image/plates/images/1jpg": "images/1.jpg", "/api/v1/assets/image/plates/images/1jpg?size=orig": "images/1.jpg",
		"/api/v1/assets/files/plates/images/1npy.npy": "images/1.npy", "/api/v1/assets/files/plates/notes/1.txt": "notes/1.txt",
	}
	old := map[string]string{}
	indexed := true
	for turn, refresh := range []bool{true, false, false} {
		for asset, name := range assets {
			a := s.get(asset, header{"If-None-Match", old[asset]})
			want := contents[name][turn%2]
			if a.status != http.StatusOK {
				t.Fatalf("turn %d: GET %s with the old ETag = %d %s, want 200", turn, asset, a.status, a.body)
			}
			if strings.HasSuffix(asset, "/1jpg") {
				img, err := jpeg.Decode(bytes.NewReader(a.body))
				if err != nil {
					t.Fatal(err)
				}
				if got := middle(img); !near(got, []color.RGBA{red, blue}[turn%2]) {
					t.Errorf("turn %d: GET %s shows %v", turn, asset, got)
				}
			} else if !bytes.Equal(a.body, want) {
				t.Errorf("turn %d: GET %s has other bytes", turn, asset)
			}
			old[asset] = a.header.Get("ETag")
		}
		files := archived() // which hashes what lacks a digest
		for name, pair := range contents {
			for i, file := range []string{name, second(name)} {
				line := fmt.Sprintf("%x  %s\n", sha256.Sum256(pair[(i+turn)%2]), names(file))
				if !strings.Contains(files[manifest], line) {
					t.Errorf("turn %d: the manifest lacks %s%s", turn, line, files[manifest])
				}
			}
		}
		for asset, name := range assets { // what is listed is hashed now, if it was indexed
			tag := s.get(asset).header.Get("ETag")
			digest := fmt.Sprintf("\"%x\"", sha256.Sum256(contents[name][turn%2]))
			listed := strings.HasPrefix(name, "images/") && !strings.HasSuffix(asset, "/1jpg")
			if want := listed && indexed; (tag == digest) != want {
				t.Errorf("turn %d: GET %s has ETag %s, want it the digest: %t", turn, asset, tag, want)
			}
			old[asset] = tag
		}
		for name := range contents {
			first, other := onDisk(names(name)), onDisk(names(second(name)))
			if err := errors.Join(os.Rename(first, first+"~"), os.Rename(other, first), os.Rename(first+"~", other)); err != nil {
				t.Fatal(err)
			}
		}
		if indexed = refresh; refresh {
			s.refresh()
		}
	}
}

// Who has the current version, or has to have another one, is told so before
// anything is made for that.
func TestConditionsBeforeMaking(t *testing.T) {
	t.Parallel()
	s := newAnalyzedSite(t, analyzed)
	made := func() (files []string) {
		for _, pattern := range []string{"*", "*/*"} {
			found, err := filepath.Glob(filepath.Join(s.dir, ".plantdb", "cache", pattern))
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range found {
				if info, err := os.Stat(f); err == nil && info.Mode().IsRegular() {
					files = append(files, f)
				}
			}
		}
		return files
	}
	const image = "/api/v1/assets/image/" + analyzed + "/images/00000_rgb"
	for _, path := range []string{
		image, image + "?size=333", image + "?size=32&as_base64=true", "/api/v1/assets/pointcloud/" + analyzed + "?size=9",
		"/api/v1/assets/mesh/" + analyzed + "?size=9", "/api/v1/assets/pointcloud/" + analyzed + "?size=11&coords=true",
	} {
		whole := s.get(path)
		files := made()
		if whole.status != http.StatusOK || len(files) == 0 {
			t.Fatalf("GET %s = %d %s, %d files made, want some", path, whole.status, whole.body, len(files))
		}
		for _, f := range files {
			if err := os.Remove(f); err != nil {
				t.Fatal(err)
			}
		}
		for _, tt := range []struct {
			condition header
			status    int
		}{
			{header{"If-None-Match", whole.header.Get("ETag")}, http.StatusNotModified}, {header{"If-Match", `"other"`}, http.StatusPreconditionFailed},
			{header{"If-Modified-Since", time.Now().Add(time.Hour).UTC().Format(http.TimeFormat)}, http.StatusNotModified},
		} {
			a := s.get(path, tt.condition)
			if a.status != tt.status || len(made()) > 0 {
				t.Errorf("GET %s with %s = %d, %d files made, want %d and none", path, tt.condition.name, a.status, len(made()), tt.status)
			}
		}
		if again := s.get(path); again.status != http.StatusOK || !bytes.Equal(again.body, whole.body) || again.header.Get("ETag") != whole.header.Get("ETag") {
			t.Errorf("GET %s again = %d, want the same", path, again.status)
		}
	}
}

func write(t *testing.T, file string, content []byte) {
	t.Helper()
	if err := os.WriteFile(file, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

func fromText(t *testing.T, a answer) []byte {
	t.Helper()
	var sent struct{ Image string }
	if err := json.Unmarshal(a.body, &sent); err != nil {
		t.Fatal(err)
	}
	picture, err := base64.StdEncoding.DecodeString(sent.Image)
	if err != nil {
		t.Fatal(err)
	}
	return picture
}

func middle(img image.Image) color.RGBA {
	b := img.Bounds()
	return color.RGBAModel.Convert(img.At((b.Min.X+b.Max.X)/2, (b.Min.Y+b.Max.Y)/2)).(color.RGBA)
}

func near(a, b color.RGBA) bool {
	off := func(x, y uint8) bool { return max(x, y)-min(x, y) > 8 }
	return !off(a.R, b.R) && !off(a.G, b.G) && !off(a.B, b.B)
}

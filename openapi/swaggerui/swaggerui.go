// Package swaggerui serves Swagger UI, the page on which a person reads the
// API's document and tries its calls, from files embedded in the binary. It
// knows one thing of the server around it: that the document stands beside the
// directory that the page is mounted on, as ../openapi-3.0.json.
//
// dist/ holds files of the npm package swagger-ui-dist as published, VERSION
// says which and update.sh renews them. The page, init.js and page.css are
// our own.
package swaggerui

import (
	"embed"
	"fmt"
	"io/fs"
	"net/http"
	"path"
	"strings"

	"github.com/romi/plantdb-go/internal/static"
)

//go:embed index.html init.js page.css VERSION dist
var files embed.FS

// policy lets the page load and ask its own server only. Swagger UI draws its
// icons from data: addresses, and shows an image that a call answered with
// from a blob: address.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; " +
	"connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// asset is one file, ready to be sent.
type asset struct {
	*static.Content
	name string
	// pinned files change only with the version of Swagger UI.
	pinned bool
}

// Handler returns a handler of GET and HEAD for the page and its files. It
// expects the path below the directory that it is mounted on, and serves the
// page there:
//
//	mux.Handle("/docs/", http.StripPrefix("/docs/", swaggerui.Handler()))
//
// Every answer carries a Content-Security-Policy under which the page loads
// nothing from elsewhere and runs no inline script.
func Handler() http.Handler {
	version, assets := load()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			h.Set("Allow", "GET, HEAD")
			http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
			return
		}
		a, ok := assets[strings.TrimPrefix(r.URL.Path, "/")]
		if !ok {
			http.NotFound(w, r)
			return
		}
		h.Set("Cache-Control", "no-cache")
		if a.pinned && r.URL.Query().Get("v") == version {
			// This address never means other bytes.
			h.Set("Cache-Control", "public, max-age=31536000, immutable")
		}
		a.ServeHTTP(w, r)
	})
}

// load returns the version of Swagger UI and its files by the path they are
// asked by. It panics where the binary was built without them, which no input
// can bring about.
func load() (version string, assets map[string]asset) {
	assets = make(map[string]asset)
	for _, dir := range []string{".", "dist"} {
		entries, err := fs.ReadDir(files, dir)
		if err != nil {
			panic(fmt.Sprintf("read embedded %s: %v", dir, err))
		}
		for _, e := range entries {
			if e.IsDir() {
				continue
			}
			a := read(path.Join(dir, e.Name()))
			a.pinned = dir == "dist"
			assets[a.name] = a
		}
	}
	assets[""] = assets["index.html"]
	first, _, _ := strings.Cut(string(assets["VERSION"].Bytes()), "\n")
	_, version, _ = strings.Cut(first, " ")
	return version, assets
}

func read(name string) asset {
	content, err := fs.ReadFile(files, name)
	if err != nil {
		panic(fmt.Sprintf("read embedded %s: %v", name, err))
	}
	// By table and not by the system's mime.types, which may lack or alter them.
	contentType, ok := map[string]string{
		".css":  "text/css; charset=utf-8",
		".html": "text/html; charset=utf-8",
		".js":   "text/javascript; charset=utf-8",
		".png":  "image/png",
	}[path.Ext(name)]
	if !ok {
		contentType = "text/plain; charset=utf-8"
	}
	return asset{Content: static.New(contentType, func() []byte { return content }), name: path.Base(name)}
}

package client_test

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"testing"
	"time"

	"github.com/romi/plantdb-go/client"
	"github.com/romi/plantdb-go/internal/pyenv"
)

// TestUpstream is the journey on the Python server, which sends no codes, knows
// no pages and no where, and reads filters from the body of a GET.
func TestUpstream(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	// Access tokens live for some seconds.
	url := pyenv.Serve(t, []string{"SESSION_TIMEOUT=3", "MAX_SESSION=100"}, "--test", "--empty").URL
	c := stranger(t, url)
	if h, err := c.Health(ctx); err != nil || h.Status != "healthy" {
		t.Fatalf("Health = %+v, %v", h, err)
	}
	scan, other := client.Path{Scan: "plant_1"}, client.Path{Scan: "plant_2"}
	says(t, "Create without a login", c.Create(ctx, scan, nil), client.ErrUnauthorized, "log in")
	says(t, "Login with a wrong password", c.Login(ctx, "admin", "wrong"), client.ErrUnauthorized)
	must(t, "Login", c.Login(ctx, "admin", "admin"))

	must(t, "Create", c.Create(ctx, scan, map[string]any{"journey": "one"}))
	must(t, "Create", c.Create(ctx, other, map[string]any{"journey": "two"}))
	says(t, "Create again", c.Create(ctx, scan, nil), client.ErrConflict, "already exists")
	images := client.Path{Scan: "plant_1", Fileset: "images"}
	must(t, "Create", c.Create(ctx, images, nil))
	picture := client.Path{Scan: "plant_1", Fileset: "images", File: "00000_rgb"}
	content := photo(t)
	must(t, "Upload", c.Upload(ctx, picture, "jpg", bytes.NewReader(content), map[string]any{"shot_id": "0"}))
	must(t, "Upload from a pipe", c.Upload(ctx, client.Path{Scan: "plant_1", Fileset: "images", File: "00001_rgb"}, "jpg", io.MultiReader(bytes.NewReader(content)), nil))
	large := client.Path{Scan: "plant_1", Fileset: "images", File: "00002_rgb"}
	must(t, "Upload of what pieces are made of elsewhere", c.Upload(ctx, large, "jpg", bytes.NewReader(content), nil, client.InPieces(1000)))
	_, err := c.BeginUpload(ctx, large, "jpg", 1000, nil)
	says(t, "BeginUpload", err, client.ErrUnsupported, "no uploads in pieces", "renew the server")
	says(t, "Upload again", c.Upload(ctx, picture, "jpg", bytes.NewReader(content), nil), client.ErrConflict)

	for name, tt := range map[string]struct {
		query client.Query
		want  []string
	}{
		"all":    {client.Query{}, []string{"plant_1", "plant_2"}},
		"filter": {client.Query{Filter: map[string]any{"journey": "two"}}, []string{"plant_2"}},
		"fuzzy":  {client.Query{Filter: map[string]any{"journey": "o.*"}, Fuzzy: true}, []string{"plant_1"}},
	} {
		ids, err := collect(c.Scans(ctx, tt.query))
		if slices.Sort(ids); err != nil || !slices.Equal(ids, tt.want) {
			t.Errorf("Scans by %s = %v, %v, want %v", name, ids, err, tt.want)
		}
	}
	_, err = collect(c.Scans(ctx, client.Query{Where: `journey = "one"`}))
	says(t, "Scans by where", err, client.ErrUnsupported, "renew the server")
	says(t, "Events", follow(ctx, c, client.EventQuery{}, 1).err, client.ErrUnsupported, "tells no events", "renew the server")
	infos, err := collect(c.ScanInfos(ctx, client.Query{Filter: map[string]any{"journey": "one"}}))
	if err != nil || len(infos) != 1 || infos[0].ID != "plant_1" {
		t.Errorf("ScanInfos = %+v, %v", infos, err)
	}
	if l, err := c.Files(ctx, "plant_1", "images"); err != nil || !slices.Equal(l, []string{"00000_rgb", "00001_rgb", "00002_rgb"}) {
		t.Errorf("Files = %v, %v", l, err)
	}
	for _, p := range []client.Path{scan, images, picture} {
		must(t, "SetMetadata", c.SetMetadata(ctx, p, map[string]any{"quality": "good"}))
		var m struct{ Quality string }
		if err := c.Metadata(ctx, p, &m); err != nil || m.Quality != "good" {
			t.Errorf("Metadata(%s) = %+v, %v", p, m, err)
		}
	}
	var got bytes.Buffer
	at, err := c.Download(ctx, picture, &got)
	if err != nil || got.Len() == 0 || at.ETag == "" {
		t.Fatalf("Download = %+v, %v", at, err)
	}
	whole := bytes.Clone(got.Bytes())
	got.Truncate(1000)
	if at, err = c.ResumeDownload(ctx, picture, &got, client.Progress{Bytes: 1000, ETag: at.ETag}); err != nil || !bytes.Equal(got.Bytes(), whole) {
		t.Errorf("ResumeDownload = %+v, %v", at, err)
	}
	got.Reset()
	if _, err := c.Image(ctx, picture, "thumb", &got); err != nil || !bytes.HasPrefix(got.Bytes(), []byte("\xff\xd8")) {
		t.Errorf("Image = %d bytes, %v", got.Len(), err)
	}

	// It stays logged in when the token's three seconds are over.
	before := c.Tokens()
	time.Sleep(3500 * time.Millisecond) // the life of an access token
	must(t, "SetMetadata later", c.SetMetadata(ctx, scan, map[string]any{"quality": "better"}))
	if c.Tokens() == before {
		t.Error("the tokens have not been refreshed")
	}

	guest := stranger(t, url)
	must(t, "Login as guest", guest.Login(ctx, "guest", "guest"))
	says(t, "SetMetadata as guest", guest.SetMetadata(ctx, scan, map[string]any{"quality": "bad"}), client.ErrForbidden, "ask the owner")
	_, err = c.Scan(ctx, "no_such_scan")
	says(t, "Scan", err, client.ErrNotFound, "no_such_scan")
	must(t, "Logout", c.Logout(ctx))
	if err := c.Create(ctx, client.Path{Scan: "plant_3"}, nil); !errors.Is(err, client.ErrUnauthorized) {
		t.Errorf("Create after the logout = %v, want ErrUnauthorized", err)
	}
}

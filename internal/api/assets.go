package api

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"net/http"
	"os"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/romi/plantdb-go/internal/fsdb"
	"github.com/romi/plantdb-go/internal/preview"
	"github.com/romi/plantdb-go/internal/scan"
)

const tagAssets = "assets"

type imageQuery struct {
	FilePath
	Size     string `query:"size" doc:"thumb (150 pixels, the default), large (1500), orig, or the longest side in pixels, 16 to 4096." example:"thumb"`
	AsBase64 string `query:"as_base64" doc:"true, 1 or yes: the image as text in a JSON object." example:"true"`
}

type base64Image struct {
	ContentType string `json:"content-type" doc:"Media type of the image." example:"image/jpeg"`
	Image       string `json:"image" contentEncoding:"base64" doc:"The image in base64, at most 64 MiB before it."`
}

func (s *server) registerAssets() {
	register(s, route{
		id: "get-asset", method: http.MethodGet, path: "/assets/files/{path}", tag: tagAssets, security: optional, needs: toRead, rate: rateRead, rest: true,
		faults:  []error{scan.ErrNoAsset},
		summary: "Download any file of a scan",
		doc:     "By its path, which begins with the id of the scan or of its timelapse. The last part may lack its extension. " + aboutParts,
		errors:  []int{http.StatusNotFound, http.StatusForbidden}, responses: fileResponses(),
	}, func(ctx context.Context, in *struct {
		Path string `path:"path" doc:"Path below the tree." example:"real_plant/metadata/metadata.json"`
		Parts
	}) (*download, error) {
		return s.download(s.scans.OpenAsset(ctx, in.Path))
	})
	register(s, route{
		id: "get-image", method: http.MethodGet, path: "/assets/image/{scan_id}/{fileset_id}/{file_id}", tag: tagAssets,
		faults: []error{
			preview.ErrDamagedImage, preview.ErrImageTooLarge, preview.ErrBadSize, preview.ErrClosed, errTextTooLarge, scan.ErrChanged,
			fsdb.ErrNoSpace,
		},
		security: optional, needs: toRead, rate: rateImage, summary: "Look at an image",
		doc:    "The image itself, or a JPEG of it that fits into the size: aspect kept, never enlarged, upright.",
		errors: []int{http.StatusNotFound, http.StatusForbidden, http.StatusUnprocessableEntity}, responses: s.imageResponses(),
	}, s.getImage)
}

func (s *server) imageResponses() map[string]*huma.Response {
	responses := fileResponses()
	ok := responses["200"]
	delete(ok.Content, unnamed)
	ok.Description = "The image, a JPEG unless size=orig asks for the file itself; with as_base64 as text in a JSON object."
	ok.Content["image/jpeg"] = &huma.MediaType{Schema: &huma.Schema{Type: huma.TypeString, Format: "binary"}}
	ok.Content["application/json"] = &huma.MediaType{Schema: s.schema(base64Type, "Base64Image")}
	return responses
}

func (s *server) getImage(ctx context.Context, in *imageQuery) (*download, error) {
	size, original, err := preview.ImageSize(in.Size)
	if err != nil {
		return nil, err
	}
	c, err := s.scans.OpenFile(ctx, in.Scan, in.Fileset, in.File)
	if err != nil {
		return nil, err
	}
	shown := itself(c)
	if !original {
		shown = s.thumbnail(c, size)
	}
	if isTrue(strings.ToLower(in.AsBase64)) {
		return s.asBase64(shown)
	}
	send := s.made(shown).Body
	return &download{func(ctx huma.Context) {
		ctx.SetHeader("X-Content-Encoding", "binary")
		send(ctx)
	}}, nil
}

// thumbnail is the preview of c.
func (s *server) thumbnail(c *scan.Content, size int) likeness {
	return likeness{
		Content: c, name: strings.TrimSuffix(c.Name, extension(c.Name)) + ".jpeg", form: fmt.Sprintf("%s %d", preview.Version, size),
		make: func(ctx context.Context) (*os.File, iofs.FileInfo, error) {
			return s.previews.Image(ctx, source(ctx, c), size)
		},
	}
}

func extension(name string) string {
	if i := strings.LastIndexByte(name, '.'); i > 0 {
		return name[i:]
	}
	return ""
}

// maxBase64 bounds what is sent as text, for it has to be held in memory.
const maxBase64 = 64 << 20

// asBase64 sends l as text, and closes it. No preview is over the bound.
func (s *server) asBase64(l likeness) (*download, error) {
	if l.make == nil && l.Size > maxBase64 {
		return nil, errors.Join(errTextTooLarge, l.Close())
	}
	return s.jsonOf(l, "base64", func(_ context.Context, c *scan.Content, w http.ResponseWriter, r *http.Request) error {
		image, err := io.ReadAll(io.LimitReader(c.File, maxBase64))
		if err != nil {
			return fmt.Errorf("read image: %w", err)
		}
		var text bytes.Buffer
		if err := jsonFormat.Marshal(&text, base64Image{typeOf(c.Name), base64.StdEncoding.EncodeToString(image)}); err != nil {
			return fmt.Errorf("write image as text: %w", err)
		}
		w.Header().Set("X-Content-Encoding", "base64")
		serveContent(&rangeErrors{ResponseWriter: w}, r, c.Modified, bytes.NewReader(text.Bytes()))
		return nil
	}), nil
}

package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/romi/plantdb-go/internal/formdata"
	"github.com/romi/plantdb-go/internal/ply"
	"github.com/romi/plantdb-go/internal/scan"
)

// registerDifferent says what answers the older paths whose input or answer is
// not that of their successor.
func (s *server) registerDifferent() {
	s.registerOlderLogin()
	s.registerOlderInfos()
	s.registerOlderModels()
	s.registerOlderWrites()
	s.registerRawUpload()
}

// olderLogin is the answer of 0.15 with what 0.14 had instead.
type olderLogin struct {
	Message       string     `json:"message"`
	Authenticated bool       `json:"authenticated"`
	Fullname      string     `json:"fullname"`
	User          publicUser `json:"user"`
	AccessToken   string     `json:"access_token,omitempty" doc:"Send it as Authorization: Bearer."`
	RefreshToken  string     `json:"refresh_token,omitempty" doc:"Good once, for the next pair of tokens."`
}

func (s *server) registerOlderLogin() {
	registerOlder(s, "login-015", route{
		tag: tagAuth, security: public, rate: rateLogin, summary: "Log in",
		errors: []int{http.StatusBadRequest, http.StatusUnauthorized, http.StatusConflict, http.StatusUnsupportedMediaType, http.StatusRequestEntityTooLarge},
	}, func(ctx context.Context, in *loginInput) (*withCookies[olderLogin], error) {
		out, err := s.login(ctx, in)
		if err != nil {
			return nil, err
		}
		b := out.Body
		return &withCookies[olderLogin]{out.Cookies, olderLogin{b.Message, true, b.User.Fullname, b.User, b.AccessToken, b.RefreshToken}}, nil
	})
	refresh := s.routes["refresh-token"]
	refresh.faults = []error{errMissingRefresh}
	registerOlder(s, "refresh-token-015", refresh, s.refreshToken)
}

// scansShape says in which shape the list of scans is asked for: the old
// plant-3d-explorer, which alone sends filterQuery to it (be it empty), reads
// objects; Python clients read ids.
type scansShape struct{ objects bool }

// Resolve implements huma.Resolver.
func (q *scansShape) Resolve(ctx huma.Context) []error {
	u := ctx.URL()
	q.objects = u.Query().Has("filterQuery")
	return nil
}

type olderListInput struct {
	ListQuery
	Shape scansShape
}

func (s *server) registerOlderInfos() {
	infoSchema := s.legacy.OpenAPI().Components.Schemas.Schema(infoType, true, "ScanInfo")
	infos := &huma.Schema{Type: huma.TypeArray, Items: infoSchema}
	ids := &huma.Schema{Type: huma.TypeArray, Items: &huma.Schema{Type: huma.TypeString}}

	registerOlder(s, "list-scans-015", route{
		tag: tagScans, security: optional, rate: rateList, summary: "List scan ids",
		doc:    "Their ids; with filterQuery, be it empty, their scan-info objects.",
		errors: []int{http.StatusBadRequest},
		responses: answers("Ids or scan-info objects.", map[string]*huma.Schema{
			"application/json": {AnyOf: []*huma.Schema{ids, infos}},
		}),
	}, func(ctx context.Context, in *olderListInput) (*rawReply, error) {
		if in.Shape.objects {
			return s.olderInfos(ctx, in)
		}
		q, err := in.query()
		if err != nil {
			return nil, err
		}
		answer, err := namesOf(ctx, s, &in.SearchQuery, q, s.scans.Names, s.scans.ScanPage, asTheyAre)
		if err != nil {
			return nil, err
		}
		// The connection is what can fail, and nobody is left to tell.
		return &rawReply{"application/json", func(ctx huma.Context) {
			answer.set(ctx)
			_ = jsonFormat.Marshal(ctx.BodyWriter(), answer.Body)
		}}, nil
	})
	registerOlder(s, "list-scan-infos-015", route{
		tag: tagScans, security: optional, rate: rateRead, summary: "List scans at a glance", errors: []int{http.StatusBadRequest},
		responses: answers("Scan-info objects.", map[string]*huma.Schema{"application/json": infos}),
	}, s.olderInfos)
	oneInfo := answers("The scan-info object.", map[string]*huma.Schema{"application/json": infoSchema})
	registerOlder(s, "get-scan-015", route{
		tag: tagScans, security: optional, needs: toRead, rate: rateRead, summary: "Read a scan at a glance",
		errors: []int{http.StatusNotFound, http.StatusForbidden}, responses: oneInfo,
	}, func(ctx context.Context, in *ScanPath) (*rawReply, error) {
		info, err := s.scans.Info(ctx, in.Scan)
		return rawJSON(scan.OlderInfo(info), err)
	})
	registerOlder(s, "get-scan-014", route{
		tag: tagScans, security: optional, needs: toRead, rate: rateRead, summary: "Read all that the explorer shows of a scan",
		doc:    "The scan-info object with the skeleton and the measures in data, angles in radians.",
		errors: []int{http.StatusNotFound, http.StatusForbidden}, responses: oneInfo,
	}, func(ctx context.Context, in *ScanPath) (*rawReply, error) {
		return rawJSON(s.scans.Detail(ctx, in.Scan))
	})
}

func rawJSON(text json.RawMessage, err error) (*rawReply, error) {
	if err != nil {
		return nil, err
	}
	return &rawReply{"application/json", func(ctx huma.Context) { writeAll(ctx, ascii(text), newline) }}, nil
}

func (s *server) olderInfos(ctx context.Context, in *olderListInput) (*rawReply, error) {
	return s.infosOf(ctx, &in.ListQuery, scan.OlderInfo)
}

type olderModelInput struct {
	FilePath
	ModelQuery
}

// registerOlderModels adds the models by fileset and file: any PLY file.
func (s *server) registerOlderModels() {
	for _, m := range []struct {
		id      string
		summary string
		schema  *huma.Schema
		send    func(*scan.Content, ModelQuery) (*download, error)
	}{
		{"get-pointcloud-015", "Download a point cloud", s.points(), s.pointCloud},
		{"get-ground-truth-015", "Download a point cloud", s.points(), s.pointCloud},
		{"get-mesh-015", "Download a mesh", s.triangles(), s.mesh},
	} {
		registerOlder(s, m.id, route{
			tag: tagAssets, security: optional, needs: toRead, rate: rateModel, summary: m.summary, doc: "Any PLY file, by fileset and file.",
			errors: modelErrors, responses: modelResponses(m.schema),
		}, func(ctx context.Context, in *olderModelInput) (*download, error) {
			c, err := s.scans.OpenFile(ctx, in.Scan, in.Fileset, in.File)
			if err != nil {
				return nil, err
			}
			if err := isPLY(c); err != nil {
				return nil, errors.Join(err, c.Close())
			}
			return m.send(c, in.ModelQuery)
		})
	}
}

// isPLY looks at how a file begins; ply.ErrDamaged unless it is PLY.
func isPLY(c *scan.Content) error {
	begin := make([]byte, len("ply\n"))
	if _, err := c.ReadAt(begin, 0); err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read the beginning of %q: %w", c.Name, err)
	}
	if string(begin) != "ply\n" && string(begin) != "ply\r" {
		return ply.ErrDamaged
	}
	return nil
}

type olderScan struct {
	Name     string `json:"name" doc:"Id of the scan."`
	Metadata Object `json:"metadata,omitempty" doc:"Metadata of the scan."`
}

type olderFileset struct {
	Fileset  string `json:"fileset_id" doc:"Id of the fileset."`
	Scan     string `json:"scan_id" doc:"Id of the scan."`
	Metadata Object `json:"metadata,omitempty" doc:"Metadata of the fileset."`
}

// createdScan is 0.14's answer by the path of a scan.
type createdScan struct {
	Message string `json:"message"`
	ScanID  string `json:"scan_id" doc:"Scan id."`
}

// lacks answers that a body lacks something.
func lacks(what string) error {
	return errMissingFields.With("%s", what)
}

func (s *server) registerOlderWrites() {
	failures := []int{
		http.StatusForbidden, http.StatusNotFound, http.StatusConflict, http.StatusRequestEntityTooLarge, http.StatusLocked, http.StatusInsufficientStorage,
	}
	registerOlder(s, "create-scan-014", route{
		tag: tagScans, security: required, needs: toCreate, rate: rateCreate, summary: "Create a scan", status: http.StatusCreated, errors: failures,
	}, func(ctx context.Context, in *struct {
		ScanPath
		Payload Lenient[newScan]
	}) (*reply[createdScan], error) {
		err := s.scans.Create(ctx, in.Scan, json.RawMessage(in.Payload.Value.Metadata))
		return replyOf(createdScan{"Scan created successfully", in.Scan}, err)
	})
	registerOlder(s, "create-named-scan-014", route{
		tag: tagScans, security: required, needs: toCreate, rate: rateCreate, summary: "Create a scan", status: http.StatusCreated, errors: failures,
		faults: []error{errMissingFields},
	}, func(ctx context.Context, in *struct{ Payload Lenient[olderScan] }) (*reply[created], error) {
		b := in.Payload.Value
		switch {
		case b.Name == "" && len(b.Metadata) == 0:
			return nil, lacks("No input data provided")
		case b.Name == "":
			return nil, lacks("Name is required")
		}
		err := s.scans.Create(ctx, b.Name, json.RawMessage(b.Metadata))
		return replyOf(created{fmt.Sprintf("Scan '%s' created successfully.", b.Name), b.Name}, err)
	})
	registerOlder(s, "create-fileset-014", route{
		tag: tagFilesets, security: required, needs: toWrite, rate: rateFileset, summary: "Create a fileset", status: http.StatusCreated, errors: failures,
		faults: []error{errMissingFields, scan.ErrUnknownScan},
	}, func(ctx context.Context, in *struct{ Payload Lenient[olderFileset] }) (*reply[created], error) {
		b := in.Payload.Value
		switch {
		case b.Fileset == "" && b.Scan == "" && len(b.Metadata) == 0:
			return nil, lacks("No input data provided")
		case b.Fileset == "":
			return nil, lacks("Name is required")
		case b.Scan == "":
			return nil, lacks("Scan ID is required")
		}
		err := s.scans.CreateFileset(ctx, b.Scan, b.Fileset, json.RawMessage(b.Metadata))
		return replyOf(created{fmt.Sprintf("Fileset '%s' created successfully in '%s'.", b.Fileset, b.Scan), b.Fileset}, err)
	})
	registerOlder(s, "create-file-014", route{
		tag: tagFiles, security: required, needs: toWrite, summary: "Upload a file", status: http.StatusCreated, errors: failures,
		faults: []error{errMissingFields, scan.ErrUnknownScan, scan.ErrUnknownFileset},
		doc:    "In the form, scan_id, fileset_id and file_id come before the file, which is written as it comes.",
	}, s.createOlderFile)
}

// olderFilePart is a form that names the file in fields.
type olderFilePart struct{ filePart }

// document describes the form.
func (p *olderFilePart) document(schemas huma.Registry, operation string) *huma.RequestBody {
	body := p.filePart.document(schemas, operation)
	form := body.Content["multipart/form-data"].Schema
	for name, what := range map[string]string{"scan_id": "scan", "fileset_id": "fileset", "file_id": "file"} {
		form.Properties[name] = &huma.Schema{Type: huma.TypeString, Description: "Id of the " + what + "."}
	}
	form.Required = append(form.Required, "scan_id", "fileset_id", "file_id")
	return body
}

// olderUpload is what has come of such a form.
type olderUpload struct {
	form
	scan, fileset, id string
	length            int64
	up                *scan.Upload
}

func (s *server) createOlderFile(ctx context.Context, in *struct {
	DigestHeaders
	Form olderFilePart
}) (*reply[created], error) {
	u := olderUpload{length: in.Form.length}
	defer func() {
		if u.up != nil {
			u.up.Discard()
		}
	}()
	if err := s.receiveOlder(ctx, &in.Form.filePart, &u); err != nil {
		return nil, err
	}
	if err := u.check(); err != nil {
		return nil, err
	}
	metadata, err := u.object()
	if err != nil {
		return nil, err
	}
	err = u.up.Commit(ctx, u.ext, metadata)
	ext := strings.TrimPrefix(strings.ToLower(strings.TrimSpace(u.ext)), ".")
	return replyOf(created{fmt.Sprintf("File '%s.%s' created and written successfully in fileset '%s'.", u.id, ext, u.fileset), u.id}, err)
}

func (s *server) receiveOlder(ctx context.Context, form *filePart, u *olderUpload) error {
	for {
		part, err := nextPart(form.reader)
		if errors.Is(err, io.EOF) {
			return form.end()
		}
		if err != nil {
			return err
		}
		texts := map[string]*string{
			"scan_id": &u.scan, "fileset_id": &u.fileset, "file_id": &u.id, "ext": &u.ext, "metadata": &u.metadata,
		}
		if text, ok := texts[part.Name]; ok {
			*text, err = field(part)
		} else if part.Name == "file" {
			err = s.stageOlder(ctx, part, u)
		}
		if err != nil {
			return err
		}
	}
}

// stageOlder takes the bytes once it is known that they may be written.
func (s *server) stageOlder(ctx context.Context, part *formdata.Part, u *olderUpload) (err error) {
	if u.file {
		return errInvalid.With("More than one file provided")
	}
	var missing []string
	for _, f := range []struct{ name, value string }{{"file_id", u.id}, {"scan_id", u.scan}, {"fileset_id", u.fileset}} {
		if f.value == "" {
			missing = append(missing, f.name)
		}
	}
	if len(missing) > 0 {
		return lacks("Missing before the file: " + strings.Join(missing, ", "))
	}
	if u.up, err = s.scans.BeginUpload(ctx, u.scan, u.fileset, u.id); err != nil {
		return err
	}
	u.file = true
	if err := u.up.Expect(ctx, u.length); err != nil {
		return err
	}
	return stage(ctx, part, u.up)
}

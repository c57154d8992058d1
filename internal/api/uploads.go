package api

import (
	"bytes"
	"context"
	"crypto/sha1" //nolint:gosec // tus wants it for checksums of what was lost on the way, not against anybody.
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"hash"
	"io"
	"net/http"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"github.com/google/uuid"

	"github.com/romi/plantdb-go/internal/fault"
	"github.com/romi/plantdb-go/internal/fsdb"
	"github.com/romi/plantdb-go/internal/scan"
)

const tagUploads = "uploads"

// What there is of the protocol of tus.io.
const (
	tusVersion    = "1.0.0"
	tusExtensions = "creation,creation-with-upload,checksum,expiration,termination"
	tusBody       = "application/offset+octet-stream"
	tusAlgorithms = "sha1,sha256,sha512"
	uploadsPath   = base + "/uploads"
)

// tusSums are the checksums that a piece may come with.
var tusSums = map[string]func() hash.Hash{"sha1": sha1.New, "sha256": sha256.New, "sha512": sha512.New}

var (
	errTusVersion  = fault.New(fault.Precondition, "tus_version", "Tus-Resumable must be 1.0.0.")
	errTusLength   = fault.New(fault.Invalid, "upload_length", "Upload-Length must be the size of the file in bytes.")
	errTusMetadata = fault.New(fault.Invalid, "upload_metadata", "Upload-Metadata must name scan, fileset and file or filename, each with its value in Base64.")
	errTusOffset   = fault.New(fault.Invalid, "upload_offset", "Upload-Offset must say where the bytes begin.")
	errTusChecksum = fault.New(fault.Invalid, "upload_checksum", "Upload-Checksum must be sha1, sha256 or sha512 and the checksum in Base64.")
	errTusBody     = fault.New(fault.Unsupported, "unsupported_media_type", "The body must be "+tusBody+".")
)

// tus adds to the answers of the paths of uploads what the protocol wants of
// each of them, and understands requests whose method a proxy does not know.
func (s *server) tus(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != uploadsPath && !strings.HasPrefix(r.URL.Path, uploadsPath+"/") {
			next.ServeHTTP(w, r)
			return
		}
		h := w.Header()
		h.Set("Tus-Resumable", tusVersion)
		if r.Method == http.MethodOptions {
			h.Set("Tus-Version", tusVersion)
			h.Set("Tus-Extension", tusExtensions)
			h.Set("Tus-Max-Size", strconv.FormatInt(s.scans.MaxFileBytes(), 10))
			h.Set("Tus-Checksum-Algorithm", tusAlgorithms)
		}
		meant := r.Header.Get("X-HTTP-Method-Override")
		if r.Method == http.MethodPost && slices.Contains([]string{http.MethodPatch, http.MethodDelete, http.MethodHead}, meant) {
			clone := *r
			clone.Method = meant
			r = &clone
		}
		next.ServeHTTP(w, r)
	})
}

// TusHeader is what every request of the protocol says. It is exported for
// Huma, which fills embedded structs only then.
type TusHeader struct {
	Version string `header:"Tus-Resumable" doc:"Version of the protocol: 1.0.0." example:"1.0.0"`
}

func (t TusHeader) check() error {
	if t.Version == tusVersion {
		return nil
	}
	p := faultProblem(errTusVersion)
	p.headers.Set("Tus-Version", tusVersion)
	return p
}

// UploadPath names an upload. It is exported for Huma.
type UploadPath struct {
	ID uuid.UUID `path:"id" format:"uuid" doc:"Id of the upload."`
}

// tusPiece is a body that is read as it comes.
type tusPiece struct {
	contentType string
	length      int64 // -1 where it was not said
	content     io.Reader
	digests     digests // of the body
}

// Resolve takes the body away from Huma.
func (b *tusPiece) Resolve(ctx huma.Context) []error {
	r, w := humago.Unwrap(ctx)
	r.Body = &patientBody{ReadCloser: r.Body, control: http.NewResponseController(w)}
	var err error
	if b.digests, err = digestsOf(r.Header); err != nil {
		return []error{err}
	}
	b.contentType, b.length, b.content = r.Header.Get("Content-Type"), r.ContentLength, b.digests.reader(&sourceReader{r.Body})
	return nil
}

// document describes the body.
func (*tusPiece) document(huma.Registry, string) *huma.RequestBody {
	return &huma.RequestBody{Content: map[string]*huma.MediaType{tusBody: {
		Schema: &huma.Schema{Type: huma.TypeString, Format: "binary", Description: "The bytes from Upload-Offset on."},
	}}}
}

// TusChecksum is the checksum of a piece. It is exported for Huma.
type TusChecksum struct {
	Checksum string `header:"Upload-Checksum" doc:"Checksum of the body: sha1, sha256 or sha512, a space, and its bytes in Base64." example:"sha1 Kq5sNclPz7QV2+lfQIuc6R7oRu0="`
}

// piece is the body at an offset, with its checksum and digests.
func (c TusChecksum) piece(at int64, body *tusPiece) (scan.Piece, error) {
	piece := scan.Piece{At: at, Content: body.content}
	if len(body.digests) > 0 {
		piece.Check = body.digests.check
	}
	if c.Checksum == "" {
		return piece, nil
	}
	name, text, _ := strings.Cut(c.Checksum, " ")
	newSum, known := tusSums[name]
	want, err := base64.StdEncoding.DecodeString(text)
	if !known || err != nil {
		return piece, errTusChecksum
	}
	sum := newSum()
	if len(want) != sum.Size() {
		return piece, errTusChecksum // of no body
	}
	piece.Content = io.TeeReader(piece.Content, sum)
	piece.Check = func() error {
		if !bytes.Equal(sum.Sum(nil), want) {
			return scan.ErrChecksum
		}
		return body.digests.check()
	}
	return piece, nil
}

// uploadState says how far an upload is.
type uploadState struct {
	ID       uuid.UUID `json:"id" format:"uuid" doc:"Id of the upload."`
	Scan     string    `json:"scan" doc:"The scan that the file is for."`
	Fileset  string    `json:"fileset" doc:"The fileset that the file is for."`
	File     string    `json:"file" doc:"Id of the file."`
	Offset   int64     `json:"offset" doc:"Bytes that are on the disk for good."`
	SHA256   string    `json:"sha256" doc:"SHA-256 of the bytes before offset, in hexadecimal: who goes on with a file sees whether it begins with them." pattern:"^[0-9a-f]{64}$"`
	Length   int64     `json:"length" doc:"Bytes that the file will have."`
	Expires  time.Time `json:"expires_at" doc:"When the upload is dropped if nothing comes."`
	Finished bool      `json:"finished" doc:"Whether the file is in its fileset."`
}

// UploadHead are the headers that say how far an upload is. It is exported for
// Huma.
type UploadHead struct {
	Offset  int64  `header:"Upload-Offset" doc:"Bytes that are on the disk for good."`
	Expires string `header:"Upload-Expires" doc:"When the upload is dropped if nothing comes."`
}

func headOf(r scan.Resumable) UploadHead {
	return UploadHead{r.Received, r.Expires.UTC().Format(http.TimeFormat)}
}

type uploadCreated struct {
	Location string `header:"Location" doc:"Where the upload goes on."`
	UploadHead
}

type uploadShown struct {
	UploadHead
	Length   int64  `header:"Upload-Length" doc:"Bytes that the file will have."`
	Metadata string `header:"Upload-Metadata" doc:"As the upload was begun with."`
	Cache    string `header:"Cache-Control" doc:"no-store"`
	Body     uploadState
}

// finishFaults are those of the last piece, which makes the file.
var finishFaults = []error{
	scan.ErrUnknownScan, scan.ErrUnknownFileset, scan.ErrExtension, scan.ErrEmptyFile, scan.ErrMetadata, scan.ErrFileExists, scan.ErrQuota, fsdb.ErrName, fsdb.ErrReserved, fsdb.ErrBroken,
}

const aboutTus = "This is the protocol of tus.io 1.0.0, for which there are clients in many languages; OPTIONS tells what of it there is. "

func (s *server) registerUploads() {
	failures := []int{
		http.StatusForbidden, http.StatusNotFound, http.StatusConflict, http.StatusRequestEntityTooLarge, http.StatusLocked, http.StatusInsufficientStorage,
	}
	register(s, route{
		id: "create-upload", method: http.MethodPost, path: "/uploads", tag: tagUploads, security: required, needs: toWrite, status: http.StatusCreated,
		must: []string{"Tus-Resumable", "Upload-Length", "Upload-Metadata"},
		faults: slices.Concat(finishFaults, []error{
			errTusVersion, errTusLength, errTusMetadata, errTusChecksum, errTusBody, errFormMetadata, errBrokenUpload,
			scan.ErrChecksum, errDigest, errDigestMismatch, scan.ErrUploadTooLong, scan.ErrTooManyUploads,
		}),
		summary: "Begin an upload that can be resumed",
		doc: aboutTus + "Upload-Metadata names the scan, fileset and file, ext or filename, and the metadata of the file as JSON. " +
			"Refused at once is what would be refused in the end. The body may hold the first bytes.",
		errors: failures,
	}, s.createUpload)
	register(s, route{
		id: "get-upload", method: http.MethodGet, path: "/uploads/{id}", tag: tagUploads, security: required, must: []string{"Tus-Resumable"},
		faults:  slices.Concat(finishFaults, []error{errTusVersion, scan.ErrUnknownUpload, scan.ErrUploadBusy, fsdb.ErrReadOnly, fsdb.ErrNoFileLocks}),
		summary: "Ask how far an upload is",
		doc: aboutTus + "Clients ask by HEAD. The bytes before Upload-Offset survive a power cut. " +
			"Where all bytes are there and the last step failed, it is tried again. Only who began an upload may ask.",
		errors: failures,
	}, s.getUpload)
	register(s, route{
		id: "resume-upload", method: http.MethodPatch, path: "/uploads/{id}", tag: tagUploads, security: required, needs: toWrite, status: http.StatusNoContent,
		must: []string{"Tus-Resumable", "Upload-Offset"},
		faults: slices.Concat(finishFaults, []error{
			errTusVersion, errTusOffset, errTusChecksum, errTusBody, errBrokenUpload,
			scan.ErrUnknownUpload, scan.ErrUploadBusy, scan.ErrUploadOffset, scan.ErrUploadTooLong, scan.ErrChecksum, errDigest, errDigestMismatch,
		}),
		summary: "Send bytes of an upload",
		doc: aboutTus + "The bytes must begin where the upload is. Those that came before a connection broke are kept, but for a body with a checksum or digest. " +
			"The last ones make the file: once the answer is there, it is in its fileset and survives a power cut.",
		errors: failures,
	}, s.resumeUpload)
	register(s, route{
		id: "end-upload", method: http.MethodDelete, path: "/uploads/{id}", tag: tagUploads, security: required, must: []string{"Tus-Resumable"},
		faults:  []error{errTusVersion, scan.ErrUnknownUpload, scan.ErrUploadBusy},
		summary: "Drop an upload", doc: aboutTus + "Its bytes are removed; the file of a finished upload stays.",
	}, func(ctx context.Context, in *struct {
		TusHeader
		UploadPath
	}) (*struct{}, error) {
		if err := in.check(); err != nil {
			return nil, err
		}
		return nil, s.scans.EndResumable(ctx, in.ID)
	})
}

func (s *server) createUpload(ctx context.Context, in *struct {
	TusHeader
	TusChecksum
	BodyDigests
	Length   string `header:"Upload-Length" doc:"Bytes that the file will have." example:"104857600"`
	Metadata string `header:"Upload-Metadata" doc:"Pairs of a name and its value in Base64, by commas: scan, fileset, file, ext or filename, metadata." example:"scan cmVhbF9wbGFudA==,fileset aW1hZ2Vz,filename MDAwMDBfcmdiLmpwZw=="`
	Piece    tusPiece
}) (*uploadCreated, error) {
	if err := in.check(); err != nil {
		return nil, err
	}
	n, err := newResumable(in.Length, in.Metadata)
	if err != nil {
		return nil, err
	}
	with := in.Piece.length > 0 || in.Piece.length < 0 && in.Piece.contentType != ""
	if with && in.Piece.contentType != tusBody {
		return nil, errTusBody
	}
	if !with {
		if err := in.Piece.digests.check(); err != nil { // of no body
			return nil, err
		}
	}
	piece, err := in.piece(0, &in.Piece)
	if err != nil {
		return nil, err
	}
	up, err := s.scans.CreateResumable(ctx, n)
	if err != nil {
		return nil, err
	}
	if with {
		got, err := s.scans.Resume(ctx, up.ID, piece)
		if err != nil {
			return nil, errors.Join(err, s.forgetUpload(ctx, up.ID))
		}
		up = got
	}
	return &uploadCreated{s.config.Prefix + uploadsPath + "/" + up.ID.String(), headOf(up)}, nil
}

// forgetUpload drops an upload whose client will never know of it.
func (s *server) forgetUpload(ctx context.Context, id uuid.UUID) error {
	err := s.scans.EndResumable(context.WithoutCancel(ctx), id)
	if errors.Is(err, scan.ErrUnknownUpload) {
		return nil
	}
	return err
}

func (s *server) getUpload(ctx context.Context, in *struct {
	TusHeader
	UploadPath
}) (*uploadShown, error) {
	if err := in.check(); err != nil {
		return nil, err
	}
	r, err := s.scans.Resumable(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	sum, err := r.SHA256()
	if err != nil {
		return nil, err
	}
	return &uploadShown{
		headOf(r), r.Size, r.Described, "no-store",
		uploadState{r.ID, r.Scan, r.Fileset, r.File, r.Received, hex.EncodeToString(sum), r.Size, r.Expires, r.Finished},
	}, nil
}

func (s *server) resumeUpload(ctx context.Context, in *struct {
	TusHeader
	TusChecksum
	BodyDigests
	UploadPath
	Offset string `header:"Upload-Offset" doc:"Where the bytes begin: where the upload is." example:"1048576"`
	Piece  tusPiece
}) (*UploadHead, error) {
	if err := in.check(); err != nil {
		return nil, err
	}
	at, ok := tusNumber(in.Offset)
	if !ok {
		return nil, errTusOffset
	}
	if in.Piece.contentType != tusBody {
		return nil, errTusBody
	}
	piece, err := in.piece(at, &in.Piece)
	if err != nil {
		return nil, err
	}
	r, err := s.scans.Resume(ctx, in.ID, piece)
	if err != nil {
		return nil, err
	}
	head := headOf(r)
	return &head, nil
}

// newResumable reads what an upload is to make.
func newResumable(length, described string) (scan.NewResumable, error) {
	n := scan.NewResumable{Described: described}
	var ok bool
	if n.Size, ok = tusNumber(length); !ok {
		return n, errTusLength
	}
	values, err := tusMetadata(described)
	if err != nil {
		return n, err
	}
	n.Scan, n.Fileset, n.File, n.Extension = values["scan"], values["fileset"], values["file"], values["ext"]
	filename := path.Base(strings.ReplaceAll(values["filename"], `\`, "/"))
	if n.Extension == "" {
		n.Extension = path.Ext(filename)
	}
	if n.File == "" && values["filename"] != "" {
		n.File = strings.TrimSuffix(filename, path.Ext(filename))
	}
	if n.Scan == "" || n.Fileset == "" || n.File == "" {
		return n, errTusMetadata
	}
	if text := strings.TrimSpace(values["metadata"]); text != "" {
		if !json.Valid([]byte(text)) {
			return n, broken([]byte(text), errFormMetadata)
		}
		n.Metadata = json.RawMessage(text)
	}
	return n, nil
}

// tusNumber reads a number of bytes: digits, without a sign.
func tusNumber(text string) (int64, bool) {
	n, err := strconv.ParseUint(text, 10, 63)
	return int64(n), err == nil
}

// tusMetadata decodes the header Upload-Metadata, which is kept as it came and so
// must be text.
func tusMetadata(text string) (map[string]string, error) {
	if !utf8.ValidString(text) {
		return nil, errTusMetadata
	}
	values := map[string]string{}
	for pair := range strings.SplitSeq(text, ",") {
		name, encoded, _ := strings.Cut(strings.TrimSpace(pair), " ")
		if name == "" {
			continue
		}
		value, err := base64.StdEncoding.DecodeString(strings.TrimSpace(encoded))
		if _, twice := values[name]; err != nil || twice {
			return nil, errTusMetadata
		}
		values[name] = string(value)
	}
	return values, nil
}

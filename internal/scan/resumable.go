package scan

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/google/uuid"

	"github.com/romi/plantdb-go/db"
	"github.com/romi/plantdb-go/internal/fault"
	"github.com/romi/plantdb-go/internal/fsdb"
)

// The failures of uploads that come in pieces.
var (
	ErrUnknownUpload  = fsdb.ErrNoPartial
	ErrUploadBusy     = fsdb.ErrPartialBusy
	ErrUploadOffset   = fault.New(fault.Conflict, "offset_mismatch", "The upload goes on at byte 1048576.")
	ErrUploadTooLong  = fault.New(fault.TooLarge, "upload_too_long", "More bytes came than the upload was to have.")
	ErrChecksum       = fault.New(fault.Invalid, "checksum_mismatch", "The bytes are not those of the checksum.")
	ErrTooManyUploads = fault.New(fault.TooMany, "too_many_uploads", "You have more than 1000 uploads that are not finished: finish or end some.")
)

const (
	// maxOpenUploads bounds the uploads that a user has begun and not finished.
	maxOpenUploads = 1000
	// A piece is acknowledged in steps, so that a server that is killed loses
	// little: whichever comes first.
	stepBytes = 32 << 20
	stepTime  = 10 * time.Second
	// busyWait is how long the writer before may take to notice that its
	// client is gone.
	busyWait = time.Second
	busyStep = 20 * time.Millisecond
	// finishTime bounds the last step of an upload, whose client may be gone.
	finishTime = time.Minute
	// orphanTime is how old bytes must be that no row tells of.
	orphanTime = 2 * time.Hour
	// sweepBatch is how many uploads one sweep ends.
	sweepBatch = 1000
)

// NewResumable is the file that an upload in pieces is to make.
type NewResumable struct {
	Scan, Fileset, File string
	Extension           string
	Metadata            json.RawMessage
	Size                int64
	// Described is what the client called all this, and gets back.
	Described string
}

// Resumable is how far an upload in pieces is.
type Resumable struct {
	ID                  uuid.UUID
	Scan, Fileset, File string
	Described           string
	Size, Received      int64 // Received are durable
	Expires             time.Time
	Finished            bool // the file is in its fileset

	digest []byte // the state of the SHA-256 of what was received
}

// SHA256 returns that of the bytes that were received.
func (r Resumable) SHA256() ([]byte, error) {
	sum, err := fsdb.SumSoFar(r.digest)
	if err != nil {
		return nil, fmt.Errorf("digest of upload %s: %w", r.ID, err)
	}
	return sum, nil
}

// Piece is some bytes of an upload.
type Piece struct {
	At      int64
	Content io.Reader
	// Check says, once all of Content was read, whether it is what was meant;
	// nil where nobody can say, and the bytes are kept as they come.
	Check func() error
}

// CreateResumable begins an upload of the actor's that comes in pieces. It
// checks all that BeginUpload and Upload.Commit would refuse. Errors: those of
// BeginUpload, ErrExtension, ErrMetadata, ErrEmptyFile, fsdb.ErrTooLarge,
// ErrQuota, ErrTooManyUploads, fsdb.ErrNoSpace; after an error nothing was begun.
func (s *Service) CreateResumable(ctx context.Context, n NewResumable) (Resumable, error) {
	up, err := s.BeginUpload(ctx, n.Scan, n.Fileset, n.File)
	if err != nil {
		return Resumable{}, err
	}
	if n.Extension, err = s.extension(n.Extension); err != nil {
		return Resumable{}, err
	}
	if n.Metadata, err = objectOrEmpty(n.Metadata); err != nil {
		return Resumable{}, err
	}
	switch {
	case n.Size <= 0:
		return Resumable{}, ErrEmptyFile
	case n.Size > s.config.MaxFileBytes:
		return Resumable{}, fsdb.ErrTooLarge.With("the content is larger than %d bytes", s.config.MaxFileBytes)
	}
	now := s.now()
	open, err := s.q.CountUploads(ctx, s.pool, up.actor.Username, now)
	if err != nil {
		return Resumable{}, fmt.Errorf("count uploads of %q: %w", up.actor.Username, err)
	}
	if open >= maxOpenUploads {
		return Resumable{}, ErrTooManyUploads
	}
	id := newID()
	held, err := s.reserve(ctx, id, up.owner, Amount{n.Size, 1}, s.config.UploadExpiry)
	if err != nil {
		return Resumable{}, err
	}
	made := false
	defer func() {
		if !made {
			held.release(ctx)
		}
	}()
	// The bytes first: what no row tells of is swept, a row without them is
	// an upload that cannot go on.
	if err := s.tree.CreatePartial(ctx, id.String()); err != nil {
		return Resumable{}, err
	}
	arg := db.InsertUploadParams{
		ID: id, Username: up.actor.Username, Scan: n.Scan, Fileset: n.Fileset, File: n.File, Extension: n.Extension,
		Document: n.Metadata, Described: n.Described, Size: n.Size, CreatedAt: now, ExpiresAt: now.Add(s.config.UploadExpiry),
	}
	if err := s.q.InsertUpload(ctx, s.pool, arg); err != nil {
		return Resumable{}, errors.Join(fmt.Errorf("insert upload: %w", err), s.tree.RemovePartial(id.String()))
	}
	made = true // and what is held ends with the upload
	return Resumable{
		ID: id, Scan: n.Scan, Fileset: n.Fileset, File: n.File, Described: n.Described, Size: n.Size, Expires: arg.ExpiresAt,
	}, nil
}

// Resumable returns how far an upload of the actor's is. One that has all its
// bytes and whose file could not be made is tried again. Errors: ErrNoActor,
// ErrUnknownUpload, and for such a one ErrUploadBusy, those of BeginUpload and of
// Upload.Commit.
func (s *Service) Resumable(ctx context.Context, id uuid.UUID) (Resumable, error) {
	r, err := s.upload(ctx, id)
	if err != nil {
		return Resumable{}, err
	}
	if r.Finished || r.Received < r.Size {
		return shownUpload(r), nil
	}
	return s.writing(ctx, id, func(r *db.GetUploadRow, p *fsdb.Partial) error {
		if r.Finished {
			return nil
		}
		if err := s.goOn(ctx, r, p); err != nil {
			return err
		}
		return s.finish(ctx, r, p)
	})
}

// Resume takes a piece of an upload of the actor's, which must begin where the
// upload is. The last piece makes the file. Bytes that came before the content
// broke off are kept, but for a piece with a Check, which is taken whole or not at
// all. Where several write to an upload at once, on whatever server, one
// does and the others are refused.
//
// Errors: ErrNoActor, ErrUnknownUpload, ErrUnknownScan, ErrForbidden,
// ErrUploadOffset, ErrUploadBusy, ErrUploadTooLong, fsdb.ErrNoSpace, that of the piece's Check; of the last piece those of
// BeginUpload and Upload.Commit, after which the bytes are still there and
// Resumable tries again. An error of the content is wrapped.
func (s *Service) Resume(ctx context.Context, id uuid.UUID, piece Piece) (Resumable, error) {
	return s.writing(ctx, id, func(r *db.GetUploadRow, p *fsdb.Partial) error {
		if piece.At != r.Received {
			return ErrUploadOffset.With("The upload goes on at byte %d.", r.Received)
		}
		if r.Finished {
			return nil // the answer was lost
		}
		if _, _, err := s.open(ctx, s.pool, r.Scan, opCreateFile); err != nil {
			return err // what was allowed when it began
		}
		if err := s.goOn(ctx, r, p); err != nil {
			return err
		}
		if err := s.receive(ctx, r, p, piece); err != nil || r.Received < r.Size {
			return err
		}
		return s.finish(ctx, r, p)
	})
}

// EndResumable drops an upload of the actor's; the file of one that is finished
// stays. Errors: ErrNoActor, ErrUnknownUpload, ErrUploadBusy.
func (s *Service) EndResumable(ctx context.Context, id uuid.UUID) error {
	_, err := s.writing(ctx, id, func(r *db.GetUploadRow, _ *fsdb.Partial) error { return s.drop(ctx, r.ID) })
	return err
}

// goOn has the next piece go where the upload is. One that has lost bytes, as in a
// backup that was made while they came, ends: its client is told so, and begins anew.
func (s *Service) goOn(ctx context.Context, r *db.GetUploadRow, p *fsdb.Partial) error {
	err := p.Continue(r.Received, r.Digest)
	if errors.Is(err, ErrUnknownUpload) {
		s.log.WarnContext(ctx, "an upload has lost bytes and ends", slog.String("upload", r.ID.String()), slog.Any("err", err))
		err = errors.Join(err, s.drop(ctx, r.ID))
	}
	return err
}

// drop forgets an upload that the caller writes to.
func (s *Service) drop(ctx context.Context, id uuid.UUID) error {
	if err := s.q.DeleteUpload(ctx, s.pool, id); err != nil {
		return fmt.Errorf("delete upload %s: %w", id, err)
	}
	return s.tree.RemovePartial(id.String())
}

// upload finds an upload of the actor's.
func (s *Service) upload(ctx context.Context, id uuid.UUID) (db.GetUploadRow, error) {
	a, err := acting(ctx)
	if err != nil {
		return db.GetUploadRow{}, err
	}
	r, err := s.q.GetUpload(ctx, s.pool, id, s.now(), unlooked(s.config.UploadExpiry).Seconds())
	if err != nil {
		return r, notFound(err, ErrUnknownUpload, "find upload %s", id)
	}
	if a.Guest || r.Username != a.Username {
		return r, ErrUnknownUpload
	}
	return r, nil
}

func shownUpload(r db.GetUploadRow) Resumable {
	return Resumable{
		ID: r.ID, Scan: r.Scan, Fileset: r.Fileset, File: r.File, Described: r.Described,
		Size: r.Size, Received: r.Received, Expires: r.ExpiresAt, Finished: r.Finished, digest: r.Digest,
	}
}

// writing runs fn as the one writer of an upload of the actor's. fn is called
// without its bytes where these are gone because it is finished.
func (s *Service) writing(ctx context.Context, id uuid.UUID, fn func(*db.GetUploadRow, *fsdb.Partial) error) (Resumable, error) {
	if _, err := s.upload(ctx, id); err != nil {
		return Resumable{}, err
	}
	p, err := s.openPartial(ctx, id)
	if err != nil && !errors.Is(err, ErrUnknownUpload) {
		return Resumable{}, err
	}
	if p != nil {
		defer p.Close()
	}
	r, err := s.upload(ctx, id) // as the writer before left it
	if err != nil {
		return Resumable{}, err
	}
	if p == nil && !r.Finished {
		return Resumable{}, ErrUnknownUpload
	}
	err = fn(&r, p)
	return shownUpload(r), err
}

// openPartial waits a moment for the writer before.
func (s *Service) openPartial(ctx context.Context, id uuid.UUID) (*fsdb.Partial, error) {
	for deadline := time.Now().Add(busyWait); ; {
		p, err := s.tree.OpenPartial(id.String())
		if !errors.Is(err, ErrUploadBusy) || time.Now().After(deadline) {
			return p, err
		}
		timer := time.NewTimer(busyStep)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil, ctx.Err()
		}
	}
}

// receive takes a piece as it comes, and acknowledges it step by step.
func (s *Service) receive(ctx context.Context, r *db.GetUploadRow, p *fsdb.Partial, piece Piece) error {
	// What is there is kept although its client is gone.
	kept := context.WithoutCancel(ctx)
	var keep func(at int64, state []byte) error
	if piece.Check == nil {
		keep = func(at int64, state []byte) error { return s.advance(kept, r, at, state) }
	}
	content := &uploadLimit{s.uploading(contextReader{ctx, piece.Content}), r.Size - r.Received}
	broke, err := p.Receive(content, stepBytes, stepTime, keep)
	switch {
	case err != nil:
		return err
	case errors.Is(broke, ErrUploadTooLong), broke != nil && piece.Check != nil:
		return broke
	case piece.Check != nil:
		if err := piece.Check(); err != nil {
			return err
		}
	}
	at, state, err := p.Sync()
	if err == nil {
		err = s.advance(kept, r, at, state)
	}
	return errors.Join(broke, err)
}

// uploadLimit refuses what comes behind the end of an upload.
type uploadLimit struct {
	content io.Reader
	left    int64
}

// Read implements io.Reader.
func (l *uploadLimit) Read(p []byte) (int, error) {
	n, err := l.content.Read(p[:min(int64(len(p)), l.left+1)])
	if int64(n) > l.left {
		return 0, ErrUploadTooLong
	}
	l.left -= int64(n)
	return n, err
}

// advance acknowledges what is durable.
func (s *Service) advance(ctx context.Context, r *db.GetUploadRow, at int64, state []byte) error {
	if at == r.Received {
		return nil
	}
	expires := s.now().Add(s.config.UploadExpiry)
	n, err := s.q.AdvanceUpload(ctx, s.pool, db.AdvanceUploadParams{ID: r.ID, Before: r.Received, Received: at, Digest: state, ExpiresAt: expires})
	if err != nil {
		return fmt.Errorf("advance upload %s: %w", r.ID, err)
	}
	if n == 0 {
		return ErrUnknownUpload
	}
	r.Received, r.Digest, r.ExpiresAt = at, state, expires
	return nil
}

// finish makes the file of an upload that has all its bytes.
func (s *Service) finish(ctx context.Context, r *db.GetUploadRow, p *fsdb.Partial) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), finishTime)
	defer cancel()
	staged, err := p.Stage()
	if err != nil {
		return err
	}
	up, err := s.BeginUpload(ctx, r.Scan, r.Fileset, r.File)
	switch {
	case err == nil:
		up.staged, up.paid = staged, charge{r.Charged, r.ID}
		defer up.Discard()
		err = up.Commit(ctx, r.Extension, r.Document)
	case errors.Is(err, ErrFileExists):
		err = s.finished(ctx, r, staged, err)
		_ = staged.Discard() // the sweep of staging finds what could not be removed
	default:
		_ = staged.Discard() // as above
	}
	if err != nil {
		return err
	}
	if err := s.q.FinishUpload(ctx, s.pool, s.now(), r.ID); err != nil {
		return fmt.Errorf("finish upload %s: %w", r.ID, err)
	}
	r.Finished = true
	return s.tree.RemovePartial(r.ID.String())
}

// finished says whether the file that is there is that of the upload, whose
// answer was lost or whose server was killed, by its bytes and metadata: nil, or the
// refusal.
func (s *Service) finished(ctx context.Context, r *db.GetUploadRow, staged *fsdb.Staged, refusal error) error {
	scan, a, err := s.open(ctx, s.pool, r.Scan, opCreateFile)
	if err != nil {
		return err
	}
	metadata, err := stamp(r.Document, a, s.now())
	if err != nil {
		return badMetadata(err)
	}
	fs, err := s.fileset(ctx, s.pool, scan, r.Fileset)
	if err != nil {
		return err
	}
	there, err := s.holds(ctx, scan.loc(), fs.Name, fsdb.NewFile{ID: r.File, Name: r.File + r.Extension, Content: staged, Metadata: metadata})
	if err == nil && !there {
		err = refusal
	}
	return err
}

// SweepResumables ends uploads that nobody went on with until they expired,
// removes bytes that belong to none, and forgets what was reserved for uploads
// whose server was killed. It acts for the server itself.
func (s *Service) SweepResumables(ctx context.Context) (ended int, err error) {
	if _, err := acting(ctx); err != nil {
		return 0, err
	}
	until, err := s.lookAtClock(ctx, clockUploads, s.config.UploadExpiry)
	if err != nil {
		return 0, err
	}
	if err := s.q.SweepReservations(ctx, s.pool, until); err != nil {
		return 0, fmt.Errorf("sweep reservations: %w", err)
	}
	expired, err := s.q.ListExpiredUploads(ctx, s.pool, until, sweepBatch)
	if err != nil {
		return 0, fmt.Errorf("list expired uploads: %w", err)
	}
	orphans, err := s.orphans(ctx)
	if err != nil {
		return 0, err
	}
	// One that cannot be ended keeps no other.
	for _, id := range append(expired, orphans...) {
		dropped, fault := s.endExpired(ctx, id)
		if dropped {
			ended++
		}
		if err = errors.Join(err, fault); ctx.Err() != nil {
			break
		}
	}
	return ended, err
}

// endExpired drops an upload unless somebody writes to it.
func (s *Service) endExpired(ctx context.Context, id uuid.UUID) (dropped bool, err error) {
	p, err := s.tree.OpenPartial(id.String())
	switch {
	case err == nil:
		defer p.Close()
	case errors.Is(err, ErrUploadBusy):
		return false, nil
	case !errors.Is(err, ErrUnknownUpload):
		return false, err
	}
	return s.dropExpired(ctx, id)
}

// dropExpired drops an upload that nobody writes to, but for one that went on since
// it was found expired: what was acknowledged meanwhile stays.
func (s *Service) dropExpired(ctx context.Context, id uuid.UUID) (dropped bool, err error) {
	_, err = s.q.GetUpload(ctx, s.pool, id, s.now(), unlooked(s.config.UploadExpiry).Seconds())
	if err == nil {
		return false, nil
	}
	if err := notFound(err, nil, "find upload %s", id); err != nil {
		return false, err
	}
	return true, s.drop(ctx, id)
}

// orphans are the ids of bytes that no row tells of: their server was killed
// before the row was made, or after it was deleted.
func (s *Service) orphans(ctx context.Context) ([]uuid.UUID, error) {
	names, err := s.tree.Partials(orphanTime)
	if err != nil {
		return nil, err
	}
	var ids []uuid.UUID
	for _, name := range names {
		if id, err := uuid.Parse(name); err == nil && id.String() == name {
			ids = append(ids, id)
		}
	}
	known, err := s.q.ListKnownUploads(ctx, s.pool, ids)
	if err != nil {
		return nil, fmt.Errorf("list uploads: %w", err)
	}
	have := map[uuid.UUID]bool{}
	for _, id := range known {
		have[id] = true
	}
	orphans := ids[:0]
	for _, id := range ids {
		if !have[id] {
			orphans = append(orphans, id)
		}
	}
	return orphans, nil
}

// MaxFileBytes is the largest file that an upload may make.
func (s *Service) MaxFileBytes() int64 { return s.config.MaxFileBytes }

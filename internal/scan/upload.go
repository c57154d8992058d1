package scan

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/romi/plantdb-go/db"
	"github.com/romi/plantdb-go/internal/actor"
	"github.com/romi/plantdb-go/internal/fault"
	"github.com/romi/plantdb-go/internal/fsdb"
)

// Upload is a file on its way into a fileset. Either Commit or Discard ends it.
type Upload struct {
	s                   *Service
	actor               actor.Actor
	scan, fileset, file string
	owner               *string // of the scan, for whom it counts
	paid                charge
	staged              *fsdb.Staged
	held                *reservation
}

// BeginUpload checks all that can be known before the bytes are taken: that
// the fileset is there, that the actor may write, that the id is allowed and
// free. Errors: those of finding the scan, ErrForbidden, ErrUnknownFileset,
// fsdb.ErrBroken, fsdb.ErrName, ErrFileExists.
func (s *Service) BeginUpload(ctx context.Context, name, fileset, file string) (*Upload, error) {
	a, err := acting(ctx)
	if err != nil {
		return nil, err
	}
	got, err := s.lookUp(ctx, opCreateFile, name, fileset, file, false)
	switch {
	case errors.Is(err, ErrUnknownFileset):
		return nil, lacks(got.scan, fileset)
	case err != nil && !errors.Is(err, ErrUnknownFile):
		return nil, err
	}
	if bad := fsdb.CheckName(fsdb.FileName, file); bad != nil {
		return nil, bad
	}
	if err == nil && got.file == file { // and not only a file name
		// Its bytes will tell whether it is the same upload.
		doubted, err := s.doubted(a, name, fileset, file)
		if err != nil {
			return nil, err
		}
		if !doubted {
			return nil, fileExists(name, fileset, file)
		}
	}
	return &Upload{s: s, actor: a, scan: name, fileset: fileset, file: file, owner: got.scan.Owner, paid: charge{owner: got.scan.Owner}}, nil
}

// Expect takes room in the quotas of the scan's owner for so many bytes, less
// than none where nobody knows, before they come. It is called once, before
// Stage; ErrQuota if they do not fit.
func (u *Upload) Expect(ctx context.Context, size int64) (err error) {
	u.held, err = u.s.reserve(ctx, newID(), u.owner, Amount{max(size, 0), 1}, reservedFor)
	if u.held != nil {
		u.paid.held = u.held.id
	}
	return err
}

// Stage takes the bytes, once, with flat memory. They lie in the tree when it
// returns, but no reader sees them yet; for the last of them Commit may have to
// wait for the disk.
func (u *Upload) Stage(ctx context.Context, content io.Reader) error {
	staged, err := u.s.tree.Stage(ctx, u.held.reading(ctx, u.s.uploading(content)), u.s.config.MaxFileBytes)
	if err != nil {
		return err
	}
	u.staged = staged
	return nil
}

// Discard drops what was staged; after Commit it only lets go of the room that
// was held for it, for the file counts by itself.
func (u *Upload) Discard() {
	u.held.release(context.Background())
	u.held = nil
	if u.staged != nil {
		_ = u.staged.Discard() // the sweep of staging finds what could not be removed
		u.staged = nil
	}
}

// Commit makes the staged bytes the file <id><ext> of the fileset; Stage comes
// before it. When it returns nil, file and metadata survive a power cut; a
// reader sees all of them or none. Uploads into one fileset at the same time
// share their lock, their syncs and their transaction.
//
// Errors: ErrExtension, ErrMetadata, ErrEmptyFile (what upstream's client sends
// when it repeats an upload after a refresh: it has read its file to the end), ErrFileExists,
// ErrBusy, ErrForbidden, ErrQuota where the scan was given away meanwhile,
// fsdb.ErrName, fsdb.ErrBroken, and those of finding the fileset; with these nothing of the file is there. After any other error it
// may be, and the same upload again makes it or finds it, and returns nil.
func (u *Upload) Commit(ctx context.Context, ext string, metadata json.RawMessage) error {
	ext, err := u.s.extension(ext)
	if err != nil {
		return err
	}
	if metadata, err = objectOrEmpty(metadata); err != nil {
		return err
	}
	if u.staged.Size() == 0 {
		return ErrEmptyFile
	}
	if metadata, err = stamp(metadata, u.actor, u.s.now()); err != nil {
		return badMetadata(err)
	}
	file := fsdb.NewFile{ID: u.file, Name: u.file + ext, Content: u.staged, Metadata: metadata}
	u.staged = nil // the batch's from here on
	left, err := u.s.uploads.submit(ctx, uploadKey{u.scan, u.fileset}, u.actor, file, u.paid)
	if left != nil && u.held != nil {
		// It is written all the same, and does not count by itself before.
		held := u.held
		u.held = nil
		go func() {
			if err := <-left; err != nil { // there is nobody to be told
				u.s.log.InfoContext(ctx, "upload whose client went away was refused", slog.String("scan", u.scan), slog.Any("err", err))
			}
			held.release(context.WithoutCancel(ctx))
		}()
	}
	return err
}

// storedExtension is ext in its stored form: lower case with a dot.
func storedExtension(ext string) string {
	return "." + strings.TrimPrefix(strings.ToLower(strings.TrimSpace(ext)), ".")
}

// extension returns ext in its stored form, if files may end in it.
func (s *Service) extension(ext string) (string, error) {
	ext = storedExtension(ext)
	if !slices.Contains(s.config.Extensions, ext) {
		return "", ErrExtension.With("Invalid file extension. Must be one of: %s", strings.Join(s.config.Extensions, ", "))
	}
	return ext, nil
}

// flushFiles writes one batch into its fileset and answers for each file.
func (s *Service) flushFiles(ctx context.Context, key uploadKey, batch []pending) []error {
	answers := make([]error, len(batch))
	err := s.locked(ctx, opCreateFile, func(ctx context.Context, tx *writing) error {
		r, fs, err := s.writable(ctx, tx, key.scan, key.fileset)
		if err != nil {
			return err
		}
		return s.addFiles(ctx, tx, r, fs, batch, answers)
	}, key.scan, key.scan+"/"+key.fileset)
	for i, p := range batch {
		if err != nil {
			answers[i] = err
		}
		_ = p.file.Content.Discard() // does nothing for what was taken; the sweep of staging finds the rest
	}
	return answers
}

// addFiles adds those of the batch whose uploaders still may write, first to
// the tree, and says in answers what became of each.
func (s *Service) addFiles(ctx context.Context, tx *writing, r row, fs db.GetFilesetRow, batch []pending, answers []error) error {
	var files []fsdb.NewFile
	var place []int  // of each file in the batch
	var moved Amount // of those that somebody else's quotas had counted
	for i, p := range batch {
		// The scan may have changed hands while the bytes came.
		if answers[i] = require(p.actor, r.Access, opCreateFile); answers[i] != nil {
			continue
		}
		var err error
		if moved, err = s.roomForMoved(ctx, tx, r, p.paid, moved, p.file.Content.Size()); err != nil {
			if !errors.Is(err, ErrQuota) {
				return err
			}
			answers[i] = err
			continue
		}
		files, place = append(files, p.file), append(place, i)
	}
	// The rows are written while the disk syncs, and committed after it.
	var inserted error
	refused, named, err := s.tree.AddFilesWhile(ctx, r.loc(), fs.Name, files, func(refused []error) {
		var added []pending
		for i, cause := range refused {
			if cause == nil {
				added = append(added, batch[place[i]])
			}
		}
		// A panic here would leave behind in the tree what it has not told of yet.
		inserted = fault.Guard(func() error { return s.insertFiles(ctx, tx, r, fs, added) })
	})
	if errors.Is(err, fsdb.ErrNotFound) {
		return unknownFileset(r.Name, fs.Name)
	}
	if err != nil {
		return err
	}
	tx.waits = append(tx.waits, named)
	s.folds.soon(r.loc())
	var added []fsdb.NewFile
	var made []creation
	for i, cause := range refused {
		if cause == nil {
			added, made = append(added, files[i]), append(made, created(batch[place[i]].by, r.Name, fs.Name, files[i].ID))
		}
	}
	if len(added) > 0 {
		tx.did(func(ctx context.Context) error { return s.tree.WithdrawFiles(ctx, r.loc(), fs.Name, added) }, made...)
	}
	if inserted != nil {
		return inserted
	}
	var doubtful []pending
	for i, cause := range refused {
		if errors.Is(cause, fsdb.ErrFileExists) {
			cause = fileExists(r.Name, fs.Name, files[i].ID)
			doubtful = append(doubtful, batch[place[i]])
		}
		answers[place[i]] = cause
	}
	known, err := s.adoptFiles(ctx, tx, r, fs, doubtful)
	if err != nil {
		return err
	}
	for i, p := range batch {
		if errors.Is(answers[i], ErrFileExists) && known[p.file.Content] {
			answers[i] = nil
			tx.found(created(p.by, r.Name, fs.Name, p.file.ID))
		}
	}
	return nil
}

// adoptFiles looks at files that the tree has already. Those that the index
// does not have came from outside, or of an upload whose transaction failed:
// it takes them in, and returns which of the contents are the bytes that lie
// there, for these uploads have what they want. So do those that are in doubt.
func (s *Service) adoptFiles(ctx context.Context, tx pgx.Tx, r row, fs db.GetFilesetRow, batch []pending) (there map[*fsdb.Staged]bool, err error) {
	batch, err = s.unindexed(ctx, tx, r, fs, batch)
	if err != nil || len(batch) == 0 {
		return nil, err
	}
	_, found, err := s.adopt(ctx, tx, r)
	if err != nil {
		return nil, err
	}
	there = map[*fsdb.Staged]bool{}
	var changes []Change
	for _, p := range batch {
		f := p.file
		got, err := s.file(ctx, tx, r, fs, f.ID)
		if errors.Is(err, ErrUnknownFile) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if got.Name != f.ID || got.Filename != f.Name {
			continue // the name is another file's
		}
		if there[f.Content], err = s.holds(ctx, r.loc(), fs.Name, f); err != nil {
			return nil, err
		}
		switch {
		case !there[f.Content], found.tells(fs.Name, f.ID):
		case found.added[filePath{fs.Name, f.ID}]:
			found.Detail.Files = found.Detail.Files.less()
			changes = append(changes, fileCreated(r, fs, p))
		default:
			if err := s.tellFound(ctx, tx, fileCreated(r, fs, p)); err != nil {
				return nil, err
			}
		}
	}
	return there, s.record(ctx, tx, append(changes, found.worth()...)...)
}

// unindexed returns the first of each id that the index does not have, or that
// its uploader may have put there before.
func (s *Service) unindexed(ctx context.Context, tx pgx.Tx, r row, fs db.GetFilesetRow, batch []pending) (without []pending, err error) {
	for _, p := range batch {
		got, err := s.file(ctx, tx, r, fs, p.file.ID)
		if err != nil && !errors.Is(err, ErrUnknownFile) {
			return nil, err
		}
		known := err == nil && got.Name == p.file.ID
		if known {
			doubted, err := s.doubted(p.actor, r.Name, fs.Name, p.file.ID)
			if err != nil {
				return nil, err
			}
			known = !doubted
		}
		twice := slices.ContainsFunc(without, func(o pending) bool { return o.file.ID == p.file.ID })
		if !known && !twice {
			without = append(without, p)
		}
	}
	return without, nil
}

// holds says whether the tree has these bytes under this name, with metadata that
// the same request gives.
func (s *Service) holds(ctx context.Context, loc fsdb.Loc, fileset string, f fsdb.NewFile) (bool, error) {
	file, stat, err := s.tree.OpenFile(ctx, loc, fileset, f.Name)
	if errors.Is(err, fsdb.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer file.Close() // Only read.
	if stat.Size() != f.Content.Size() {
		return false, nil
	}
	sum := sha256.New()
	if _, err := io.Copy(sum, file); err != nil {
		return false, fmt.Errorf("read file %q of fileset %q of scan %q: %w", f.Name, fileset, loc.Dir(), err)
	}
	if want := f.Content.SHA256(); !bytes.Equal(sum.Sum(nil), want[:]) {
		return false, nil
	}
	metadata, err := s.tree.ReadFileMetadata(ctx, loc, fileset, f.ID)
	if errors.Is(err, fsdb.ErrBroken) || errors.Is(err, fsdb.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return sameBut(metadata, f.Metadata), nil
}

func (s *Service) insertFiles(ctx context.Context, tx pgx.Tx, r row, fs db.GetFilesetRow, batch []pending) error {
	if len(batch) == 0 {
		return nil
	}
	arg := db.InsertFilesParams{FilesetID: fs.ID, Fileset: fs.Name, ScanID: r.id, ChangedAt: s.now()}
	for i, p := range batch {
		f := p.file
		digest := f.Content.SHA256()
		metadata, err := onDisk(f.Metadata)
		if err != nil {
			return err
		}
		arg.Ids = append(arg.Ids, newID())
		arg.Ordinals = append(arg.Ordinals, int32(i+1)) // at most maxBatch
		arg.Names = append(arg.Names, f.ID)
		arg.Filenames = append(arg.Filenames, f.Name)
		arg.Sizes = append(arg.Sizes, f.Content.Size())
		arg.Modified = append(arg.Modified, f.Content.Modified())
		arg.Inodes = append(arg.Inodes, rowInode(f.Content.Inode()))
		arg.Sha256s = append(arg.Sha256s, digest[:])
		arg.Documents = append(arg.Documents, string(metadata))
		arg.Metadatas = append(arg.Metadatas, string(searchable(metadata)))
		arg.EventIds = append(arg.EventIds, newID())
		arg.Usernames = append(arg.Usernames, p.by.username)
		arg.TokenKinds = append(arg.TokenKinds, p.by.token)
		arg.TokenIds = append(arg.TokenIds, p.by.tokenID)
		arg.RequestIds = append(arg.RequestIds, p.by.request)
	}
	if err := s.q.InsertFiles(ctx, tx, arg); err != nil {
		return fmt.Errorf("insert files of scan %q: %w", r.Name, err)
	}
	s.feed.written()
	s.uploadedAt.Store(s.now().UnixNano())
	return s.askPreviews(ctx, tx, previewArgs{Scan: r.Name, Fileset: fs.Name, Files: arg.Names}, arg.Filenames)
}

// fileCreated is the event that InsertFiles writes by itself.
func fileCreated(r row, fs db.GetFilesetRow, p pending) Change {
	size, digest := p.file.Content.Size(), p.file.Content.SHA256()
	return Change{
		Kind: FileCreated, Scan: r.Name, Fileset: fs.Name, File: p.file.ID, by: &p.by,
		Detail: Detail{Filename: p.file.Name, Size: &size, SHA256: hex.EncodeToString(digest[:])},
	}
}

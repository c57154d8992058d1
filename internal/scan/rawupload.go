package scan

import (
	"context"
	"encoding/hex"

	"github.com/romi/plantdb-go/internal/fsdb"
)

// RawUpload is a file on its way to a path of a scan, where files.json does not
// list it. CommitRaw or Discard ends it.
type RawUpload struct {
	Upload

	path string
}

// BeginRaw checks all that can be known before the bytes are taken: that the
// scan is there, that the actor may write and what the path looks like. Errors:
// those of finding the scan, ErrForbidden, fsdb.ErrName, fsdb.ErrReserved.
func (s *Service) BeginRaw(ctx context.Context, name, path string) (*RawUpload, error) {
	r, a, err := s.open(ctx, s.pool, name, opCreateFile)
	if err != nil {
		return nil, err
	}
	if err := fsdb.CheckRawPath(path); err != nil {
		return nil, err
	}
	return &RawUpload{Upload: Upload{s: s, actor: a, scan: name, owner: r.Owner, paid: charge{owner: r.Owner}}, path: path}, nil
}

// CommitRaw puts the staged bytes at their path, in place of what lies there.
// When it returns nil they survive a power cut, and the scan was read again,
// for the file may be one that counts, such as measures.json. Errors: those of
// BeginRaw and fsdb.PutRaw, ErrBusy, ErrQuota where the scan was given away meanwhile.
func (u *RawUpload) CommitRaw(ctx context.Context) error {
	size, digest := u.staged.Size(), u.staged.SHA256()
	var was *fsdb.Replaced
	err := u.s.locked(ctx, opCreateFile, func(ctx context.Context, tx *writing) error {
		r, err := u.s.scan(ctx, tx, u.scan)
		if err != nil {
			return err
		}
		// The scan may have changed hands while the bytes came.
		if err := require(u.actor, r.Access, opCreateFile); err != nil {
			return err
		}
		if _, err := u.s.roomForMoved(ctx, tx, r, u.paid, Amount{}, size); err != nil {
			return err
		}
		if was, err = u.s.tree.PutRaw(ctx, r.loc(), u.path, u.staged); err != nil {
			return err
		}
		tx.did(was.PutBack)
		_, found, err := u.s.adopt(ctx, tx, r)
		if err != nil {
			return err
		}
		stored := Change{Kind: FileStored, Scan: r.Name, Detail: Detail{Filename: u.path, Size: &size, SHA256: hex.EncodeToString(digest[:])}}
		return u.s.record(ctx, tx, append([]Change{stored}, found.worth()...)...)
	}, u.scan)
	if was != nil {
		was.Forget()
	}
	return err
}

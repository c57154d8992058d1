package scan

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	iofs "io/fs"
	"time"

	"github.com/google/uuid"

	"github.com/romi/plantdb-go/db"
	"github.com/romi/plantdb-go/internal/fsdb"
)

// restless is well above the steps in which file systems count time: a file that
// has only just changed may change again without its time showing it.
const restless = time.Second

// fileVersion tells the bytes of a file from those that it had, or that another file
// had in its place, before, on one filesystem. The inode is what a rename takes along:
// files that were unpacked or copied together share sizes and times. It is no time of
// change, which each link to a file and each change of its rights moves: a nightly
// copy by links would have all of the tree hashed again each night. What it does not
// see is a rewrite in place that puts the time back; only reading the bytes does.
type fileVersion struct {
	inode          uint64
	size, modified int64 // bytes, and nanoseconds since 1970
}

func versionOf(info iofs.FileInfo) fileVersion {
	return fileVersion{fsdb.InodeOf(info), info.Size(), info.ModTime().UnixNano()}
}

func listedVersion(f fsdb.ListedFile) fileVersion {
	return fileVersion{f.Inode, f.Size, f.Modified.UnixNano()}
}

// digest is the SHA-256 of a file as the index has it, nil where it is not known,
// and of which version of the file.
type digest struct {
	file     uuid.UUID // its row
	size     int64
	modified time.Time
	inode    *int64 // nil in a row of an older program
	sha256   []byte
}

// rowInode is an inode as a row holds it: the bits count, not the sign.
func rowInode(inode uint64) int64 { return int64(inode) } //nolint:gosec // see above

// digests returns what the index knows of the files of a scan, by their name
// below it.
func (s *Service) digests(ctx context.Context, r row) (map[string]digest, error) {
	rows, err := s.q.ListFileDigests(ctx, s.pool, r.id)
	if err != nil {
		return nil, fmt.Errorf("list digests of scan %q: %w", r.Name, err)
	}
	known := make(map[string]digest, len(rows))
	for _, f := range rows {
		known[f.Fileset+"/"+f.Filename] = digest{f.ID, f.Size, f.ModifiedAt, f.Inode, f.Sha256}
	}
	return known, nil
}

// is says whether v is the version of d, whose time was cut to microseconds.
func (d digest) is(v fileVersion) bool {
	return d.size == v.size && d.modified.Equal(time.Unix(0, v.modified).Truncate(time.Microsecond)) &&
		(d.inode == nil || *d.inode == rowInode(v.inode))
}

// of returns the digest if it is that of v.
func (d digest) of(v fileVersion) []byte {
	if d.is(v) {
		return d.sha256
	}
	return nil
}

// with is d of the version whose bytes were read.
func (d digest) with(v fileVersion, sha256 []byte) digest {
	inode := rowInode(v.inode)
	d.inode, d.sha256 = &inode, sha256
	return d
}

// keepDigests puts digests that were computed (see with) into the index, for versions
// that had none. One of a file that has changed meanwhile is dropped, and one whose row
// somebody else changes now.
func keepDigests(ctx context.Context, q *db.Queries, to db.DBTX, computed ...digest) error {
	if len(computed) == 0 {
		return nil
	}
	var p db.KeepDigestsParams
	for _, d := range computed {
		p.Ids, p.Sizes = append(p.Ids, d.file), append(p.Sizes, d.size)
		p.Modified, p.Inodes = append(p.Modified, d.modified), append(p.Inodes, *d.inode)
		p.Sha256s = append(p.Sha256s, d.sha256)
	}
	if err := q.KeepDigests(ctx, to, p); err != nil {
		return fmt.Errorf("keep digests of %d files: %w", len(computed), err)
	}
	return nil
}

// TrustRestored keeps the digests of a tree and an index that were restored of one
// backup, which compared all bytes: the next reconcile takes the files for those of
// their rows where name, size and time are the same, but in scans that were indexed
// after the backup began, whose files it may have copied before. Errors: ErrNoActor,
// ErrForbidden for who may not check the tree.
func (s *Service) TrustRestored(ctx context.Context, began time.Time) error {
	a, err := acting(ctx)
	if err != nil {
		return err
	}
	if !may(a, opCheck, Access{}) {
		return forbidden(a, opCheck)
	}
	if err := s.q.TrustRestored(ctx, s.pool, began); err != nil {
		return fmt.Errorf("keep the digests of a restored tree: %w", err)
	}
	return nil
}

// hash names c by the digest of its bytes if the index has none of them, and
// keeps it there. A file that has only just changed is let rest.
func (s *Service) hash(ctx context.Context, c *Content) error {
	if c.undigested == nil || time.Since(c.Modified) <= restless {
		return nil
	}
	h := sha256.New()
	if _, err := io.Copy(h, contextReader{ctx, io.NewSectionReader(c.File, 0, c.Size)}); err != nil {
		return fmt.Errorf("hash %q: %w", c.Name, err)
	}
	stat, err := c.Stat()
	if err != nil {
		return fmt.Errorf("hash %q: %w", c.Name, err)
	}
	if versionOf(stat) != c.version {
		return ErrChanged
	}
	d := c.undigested.with(c.version, h.Sum(nil))
	if err := keepDigests(ctx, s.q, s.pool, d); err != nil {
		return err
	}
	c.named(d)
	return nil
}

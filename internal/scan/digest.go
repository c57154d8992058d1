package scan

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"time"

	"github.com/google/uuid"

	"github.com/romi/plantdb-go/db"
)

// restless is well above the steps in which file systems count time: a file that
// has only just changed may change again without its time showing it.
const restless = time.Second

// digest is the SHA-256 of a file as the index has it, nil where it is not known,
// and of which version of the file.
type digest struct {
	file     uuid.UUID // its row
	size     int64
	modified time.Time
	sha256   []byte
}

// digests returns what the index knows of the files of a scan, by their name
// below it.
func (s *Service) digests(ctx context.Context, r row) (map[string]digest, error) {
	rows, err := s.q.ListFileDigests(ctx, s.pool, r.id)
	if err != nil {
		return nil, fmt.Errorf("list digests of scan %q: %w", r.Name, err)
	}
	known := make(map[string]digest, len(rows))
	for _, f := range rows {
		known[f.Fileset+"/"+f.Filename] = digest{f.ID, f.Size, f.ModifiedAt, f.Sha256}
	}
	return known, nil
}

// is says whether a file of this size and time is the version of d.
func (d digest) is(size int64, modified time.Time) bool {
	return d.size == size && d.modified.Equal(modified.Truncate(time.Microsecond))
}

// of returns the digest if it is that of a file of this size and time.
func (d digest) of(size int64, modified time.Time) []byte {
	if d.is(size, modified) {
		return d.sha256
	}
	return nil
}

// keepDigests puts digests that were computed into the index, for versions that
// had none. One of a file that has changed meanwhile is dropped, and one whose row
// somebody else changes now.
func keepDigests(ctx context.Context, q *db.Queries, to db.DBTX, computed ...digest) error {
	if len(computed) == 0 {
		return nil
	}
	var p db.KeepDigestsParams
	for _, d := range computed {
		p.Ids, p.Sizes = append(p.Ids, d.file), append(p.Sizes, d.size)
		p.Modified, p.Sha256s = append(p.Modified, d.modified), append(p.Sha256s, d.sha256)
	}
	if err := q.KeepDigests(ctx, to, p); err != nil {
		return fmt.Errorf("keep digests of %d files: %w", len(computed), err)
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
	if stat.Size() != c.Size || !stat.ModTime().Equal(c.Modified) {
		return ErrChanged
	}
	d := *c.undigested
	d.sha256 = h.Sum(nil)
	if err := keepDigests(ctx, s.q, s.pool, d); err != nil {
		return err
	}
	c.named(d)
	return nil
}

package scan

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"

	"github.com/google/uuid"

	"github.com/romi/plantdb-go/db"
	"github.com/romi/plantdb-go/internal/fsdb"
)

// digests reads the files of a scan that are as they were when they were
// indexed, and returns those whose bytes are not.
func (c *checker) digests(ctx context.Context, e fsdb.Entry, files []fsdb.ListedFile, k known) ([]badFile, error) {
	dir, err := c.tree.OpenScanDir(ctx, e.Loc)
	if err != nil {
		return nil, missing(err)
	}
	defer dir.Close() // Only read.
	var bad []badFile
	for _, f := range files {
		one, err := c.digestsOf(ctx, dir, e, f, k)
		if err != nil {
			return bad, err
		}
		bad = append(bad, one...)
	}
	return bad, nil
}

// digestsOf is digests for one file.
func (c *checker) digestsOf(ctx context.Context, dir *fsdb.ScanDir, e fsdb.Entry, f fsdb.ListedFile, k known) ([]badFile, error) {
	r, ok := k.files[filePath{cleanText(f.Fileset), cleanText(f.ID)}]
	if !ok || !unchangedSince(f, r) {
		return nil, nil // that is told by itself
	}
	detail, kind, err := c.digest(ctx, dir, f, r)
	if err != nil || detail == "" {
		return nil, err
	}
	return []badFile{{c.finding(e, kind, f.Fileset, f.ID, detail), r}}, nil
}

// digest reads one file, compares it with the digest of its row, and keeps the
// digest, and of which inode it is, where that is not known yet. detail is empty if the file is as it should be.
func (c *checker) digest(ctx context.Context, dir *fsdb.ScanDir, f fsdb.ListedFile, r db.ListCheckedFilesRow) (detail string, kind FindingKind, err error) {
	sum, info, err := dir.Digest(ctx, f.Fileset+"/"+f.Name, c.pace)
	switch {
	case ctx.Err() != nil:
		return "", "", ctx.Err()
	case errors.Is(err, errPace):
		return "", "", err
	case errors.Is(err, fsdb.ErrNotFound):
		return "", "", nil // gone meanwhile
	case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE), errors.Is(err, syscall.ENOMEM):
		return "", "", err
	case err != nil:
		return "the disk does not give it: " + lastOf(err), Unreadable, nil
	case versionOf(info) != listedVersion(f):
		return "", "", nil // changed meanwhile
	case len(r.Sha256) > 0 && !bytes.Equal(r.Sha256, sum[:]):
		return fmt.Sprintf("SHA-256 is %x, was %x, and size, time and inode are the same", sum, r.Sha256), DigestDiffers, nil
	case len(r.Sha256) == 0 || r.Inode == nil:
		return "", "", c.keepDigest(ctx, r, versionOf(info), sum[:])
	default:
		return "", "", nil
	}
}

func (c *checker) keepDigest(ctx context.Context, r db.ListCheckedFilesRow, v fileVersion, sum []byte) error {
	if !c.o.Record || r.ID == uuid.Nil {
		return nil
	}
	return keepDigests(ctx, c.q, c.pool, checkedDigest(r).with(v, sum))
}

// errPace says that there is no time left to read so slowly, which is no fault of
// a file.
var errPace = errors.New("wait for more bytes to be allowed")

// pace waits until n more bytes may be read.
func (c *checker) pace(ctx context.Context, n int) error {
	c.read.Add(int64(n))
	if c.limit == nil {
		return nil
	}
	if err := c.limit.WaitN(ctx, n); err != nil {
		return fmt.Errorf("%w: %w", errPace, err)
	}
	return nil
}

// lastOf is the cause of an error, without the paths before it.
func lastOf(err error) string {
	text := err.Error()
	if i := strings.LastIndex(text, ": "); i >= 0 {
		return text[i+2:]
	}
	return text
}

// claim says to the previews which of them are of files that there are.
func (c *checker) claim(e fsdb.Entry, files []fsdb.ListedFile, k known) {
	if c.o.Previews == nil {
		return
	}
	for _, f := range files {
		if !isImage(f.Name) && !strings.HasSuffix(f.Name, ".ply") {
			continue
		}
		where := strings.Join([]string{e.Loc.Scan, f.Fileset, f.Name}, "/")
		c.o.Previews.Claim(f.Name, contentVersion(where, listedVersion(f)))
		if r, ok := k.files[filePath{f.Fileset, f.ID}]; ok && len(r.Sha256) > 0 && unchangedSince(f, r) {
			c.o.Previews.Claim(f.Name, fmt.Sprintf("%x", r.Sha256))
		}
	}
}

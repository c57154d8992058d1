package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

const (
	uploadBytes = 136_000
	// maxUploads bounds the disk that a figure takes.
	maxUploads = 2000
	// A fileset is as large as that of a usual scan; then comes the next.
	uploadsPerFileset = 100
)

// uploadsOf measures uploads of some clients into one fileset; atLeast is a
// goal for their rate.
func uploadsOf(clients int, atLeast float64) func(context.Context, *bench) ([]result, error) {
	return func(ctx context.Context, b *bench) ([]result, error) {
		s, err := b.sampleSite(ctx)
		if err != nil {
			return nil, err
		}
		content := bytes.Repeat([]byte("plant"), uploadBytes/5)
		scan := func(n int) string { return fmt.Sprintf("upload%d_%d", clients, n/uploadsPerFileset) }
		for n := 0; n < maxUploads; n += uploadsPerFileset {
			if err := s.makeFileset(ctx, scan(n)); err != nil {
				return nil, err
			}
		}
		ours := &load{clients: clients, most: maxUploads, do: func(ctx context.Context, j job) error {
			return s.admin.upload(ctx, scan(j.number), fileID(j.number), newForm(".jpg", shotMetadata(j.number, photoCount)), content)
		}}
		limit, err := b.bareUploads(ctx, s, clients, content)
		if err != nil {
			return nil, err
		}
		rates, err := b.rates(ctx, ours, limit)
		if err != nil {
			return nil, err
		}
		return []result{{
			what: fmt.Sprintf("upload of %d kB, durable, %d at once", uploadBytes/1000, clients), unit: perSecond,
			ours: rates[0], limit: rates[1], goals: []goal{share(0.7), value(atLeast)},
			limitIs: "the same bytes, fsyncs, renames and commit by a bare program, a fileset each",
		}}, nil
	}
}

func fileID(n int) string { return fmt.Sprintf("%06d_rgb", n) }

// largeUploads is how many large files are uploaded at most, which bounds the
// disk that the figure takes.
const largeUploads = 4

// uploadLarge uploads large files to a server that did nothing before, so that
// its memory tells of them alone.
func uploadLarge(ctx context.Context, b *bench) ([]result, error) {
	const scan = "large"
	s, err := b.openSite(ctx, "large")
	if err != nil {
		return nil, err
	}
	if err := s.makeFileset(ctx, scan); err != nil {
		return nil, err
	}
	before, err := peakMemory(s.server.cmd.Process.Pid)
	if err != nil {
		return nil, err
	}
	ours := &load{clients: 1, most: largeUploads, do: func(ctx context.Context, j job) error {
		return s.admin.uploadFrom(ctx, scan, fileID(j.number), newForm(".ply", object{}), newPattern(b.large), b.large)
	}}
	limit := &load{clients: 1, most: largeUploads, do: func(context.Context, job) error {
		return writeDurably(filepath.Join(b.dir, "copy"), newPattern(b.large))
	}}
	rates, err := b.rates(ctx, ours, limit)
	if err != nil {
		return nil, err
	}
	after, err := peakMemory(s.server.cmd.Process.Pid)
	if err != nil {
		return nil, err
	}
	mb := float64(b.large) / 1e6
	return []result{{
		what: fmt.Sprintf("upload of %.0f MB, durable, 1 client", mb), unit: megabytesPerSecond, ours: rates[0] * mb, limit: rates[1] * mb,
		goals: []goal{share(1 / 1.3)}, limitIs: "writing the same and fsync",
	}, {
		what: "  memory of the server grows by", unit: megabytes, ours: after - before, goals: []goal{value(20)},
		limitIs: "above its peak before, which was " + megabytes.format(before),
	}}, nil
}

// pattern is some bytes again and again.
type pattern struct{ block []byte }

func newPattern(size int64) io.Reader {
	return io.LimitReader(pattern{bytes.Repeat([]byte("0123456789abcdef"), 1<<14)}, size)
}

// Read implements io.Reader.
func (p pattern) Read(b []byte) (int, error) { return copy(b, p.block), nil }

// writeDurably makes a file of all that r has and returns once it would
// survive a power cut.
func writeDurably(name string, r io.Reader) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	buffer := make([]byte, 1<<18)
	_, err = io.CopyBuffer(struct{ io.Writer }{f}, r, buffer)
	return errors.Join(err, f.Sync(), f.Close())
}

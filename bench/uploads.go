package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"time"
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

const (
	// flatFiles go into one fileset; the first and the last flatShare of them
	// are compared, after some that warm everything up.
	flatFiles  = 10_000
	flatShare  = 500
	flatWarmup = 10
	flatBytes  = 4_000
)

// uploadFlat fills one fileset by four clients.
func uploadFlat(ctx context.Context, b *bench) ([]result, error) {
	const scan = "flat"
	s, err := b.sampleSite(ctx)
	if err != nil {
		return nil, err
	}
	if err := s.makeFileset(ctx, scan); err != nil {
		return nil, err
	}
	content := bytes.Repeat([]byte("plant"), flatBytes/5)
	put := func(ctx context.Context, j job) error {
		return s.admin.upload(ctx, scan, fileID(j.number), newForm(".jpg", shotMetadata(j.number, photoCount)), content)
	}
	all := &load{clients: 4, do: put}
	each := map[int64]float64{} // by the number of the last file, in ms
	for _, until := range []int64{flatWarmup, flatWarmup + flatShare, flatFiles - flatShare, flatFiles} {
		from := all.begun.Load()
		if from > 0 { // each client has taken a number that it did not use
			from = all.most
			all.begun.Store(from)
		}
		all.most = until
		t, err := all.run(ctx, startTime)
		if err != nil {
			return nil, err
		}
		each[until] = millisEach(t.rate())
	}
	return []result{{
		what: fmt.Sprintf("a file of %d kB beside 9,750 others, 4 clients", flatBytes/1000), unit: millis,
		ours: each[flatFiles], limit: each[flatWarmup+flatShare], goals: []goal{share(1 / 1.2)},
		limitIs: "the same beside 260 others",
	}}, nil
}

// largeUploads is how many large files are uploaded at most, which bounds the
// disk that the figure takes.
const largeUploads = 8

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
	bare, err := b.bare(ctx, s)
	if err != nil {
		return nil, err
	}
	before, err := peakMemory(s.server.cmd.Process.Pid)
	if err != nil {
		return nil, err
	}
	put := func(ctx context.Context, j job) error {
		return s.admin.uploadFrom(ctx, scan, fileID(j.number), newForm(".ply", object{}), newPattern(b.large), b.large)
	}
	ours := &load{clients: 1, most: largeUploads, do: put}
	copies := &load{clients: 1, most: largeUploads, do: func(context.Context, job) error {
		return writeDurably(filepath.Join(b.dir, "copy"), newPattern(b.large))
	}}
	posts := &load{clients: 1, most: largeUploads, do: func(ctx context.Context, _ job) error {
		_, err := bare.call(ctx, request{method: http.MethodPost, path: barePut + "large", body: newPattern(b.large), size: b.large})
		return err
	}}
	rates, err := b.rates(ctx, ours, copies, posts)
	if err != nil {
		return nil, err
	}
	after, err := peakMemory(s.server.cmd.Process.Pid)
	if err != nil {
		return nil, err
	}
	waits, err := s.healthUnderUploads(ctx, &load{clients: 4, most: 8, do: func(ctx context.Context, j job) error {
		return put(ctx, job{j.client, largeUploads + j.number})
	}})
	if err != nil {
		return nil, err
	}
	mb := float64(b.large) / 1e6
	return []result{{
		what: fmt.Sprintf("upload of %.0f MB, durable, 1 client", mb), unit: megabytesPerSecond, ours: rates[0] * mb, limit: rates[1] * mb,
		goals: []goal{share(1 / 1.3)}, limitIs: "writing the same and fsync",
	}, {
		what: "  the same", unit: megabytesPerSecond, ours: rates[0] * mb, limit: rates[2] * mb,
		limitIs: "net/http and nothing else: body, SHA-256, fsync",
	}, {
		what: "  memory of the server grows by", unit: megabytes, ours: after - before, goals: []goal{value(20)},
		limitIs: "above its peak before, which was " + megabytes.format(before),
	}, {
		what: "  slowest health while 4 are uploaded at once", unit: millis, ours: waits[len(waits)-1].Seconds() * 1000, goals: []goal{value(50)},
	}}, nil
}

// healthUnderUploads returns how long health took while l ran, sorted.
func (s *site) healthUnderUploads(ctx context.Context, l *load) (waits []time.Duration, err error) {
	done := make(chan struct{})
	var failed error
	go func() {
		defer close(done)
		_, failed = l.run(ctx, startTime)
	}()
	waits, err = s.healthUntil(ctx, done)
	<-done
	return waits, errors.Join(err, failed)
}

// pattern is some bytes again and again. They are of all values, as those of
// images and binary point clouds are: who looks for a boundary in them passes
// text that has none of its bytes at another speed.
type pattern struct{ block []byte }

func newPattern(size int64) io.Reader {
	block := make([]byte, 1<<18)
	_, _ = rand.NewChaCha8([32]byte{}).Read(block) // it never fails
	return io.LimitReader(pattern{block}, size)
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

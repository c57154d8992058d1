package main

import (
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"mime/multipart"
	"net/http"
	"net/textproto"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	archivePhotos     = 60
	archivePhotoBytes = 1_030_000
	// maxArchives bounds the disk that the figure takes.
	maxArchives = 12
	// archiveSyncs is how many files the bare program writes at once.
	archiveSyncs = 16
	// coldArchives is how many scans are asked for once.
	coldArchives = 9
)

// uploadArchives measures archives of a usual scan, each made a scan of its
// own; the bare program unpacks the same from a file and syncs it.
func uploadArchives(ctx context.Context, b *bench) ([]result, error) {
	s, err := b.openSite(ctx, "archives")
	if err != nil {
		return nil, err
	}
	archive, err := photoArchive()
	if err != nil {
		return nil, err
	}
	body, contentType, err := archiveForm(archive)
	if err != nil {
		return nil, err
	}
	file := filepath.Join(b.dir, "archive.zip")
	if err := os.WriteFile(file, archive, 0o600); err != nil {
		return nil, fmt.Errorf("write archive: %w", err)
	}
	before, err := peakMemory(s.server.cmd.Process.Pid)
	if err != nil {
		return nil, err
	}
	ours := &load{clients: 1, most: maxArchives, do: func(ctx context.Context, j job) error {
		_, err := s.admin.call(ctx, request{
			method: http.MethodPost, path: fmt.Sprintf("%s/assets/archive/archived_%d", api, j.number), contentType: contentType,
			body: bytes.NewReader(body), size: int64(len(body)),
		})
		return err
	}}
	limit := &load{clients: 1, most: maxArchives, do: func(_ context.Context, j job) error {
		return unpackDurably(file, filepath.Join(b.dir, fmt.Sprintf("unpacked_%d", j.number)))
	}}
	rates, err := b.rates(ctx, ours, limit)
	if err != nil {
		return nil, err
	}
	after, err := peakMemory(s.server.cmd.Process.Pid)
	if err != nil {
		return nil, err
	}
	mb := float64(len(archive)) / 1e6
	return []result{{
		what: fmt.Sprintf("archive of %.0f MB up, durable, 1 client", mb), unit: megabytesPerSecond, ours: rates[0] * mb, limit: rates[1] * mb,
		goals: []goal{share(1 / 1.5)}, limitIs: "unpacking the same from a file, and fsync",
	}, {
		what: "  memory of the server grows by", unit: megabytes, ours: after - before, goals: []goal{value(20)},
		limitIs: "above its peak before, which was " + megabytes.format(before),
	}}, nil
}

// readArchive measures the archive of a usual scan beside a bare server that
// sends the same bytes from a file.
func readArchive(ctx context.Context, b *bench) ([]result, error) {
	s, bare, err := b.sampleAndBare(ctx)
	if err != nil {
		return nil, err
	}
	archive, err := photoArchive()
	if err != nil {
		return nil, err
	}
	body, contentType, err := archiveForm(archive)
	if err != nil {
		return nil, err
	}
	path := api + "/assets/archive/bench_archive"
	_, err = s.admin.call(ctx, request{
		method: http.MethodPost, path: path, contentType: contentType, body: bytes.NewReader(body), size: int64(len(body)),
	})
	if err != nil {
		return nil, err
	}
	if err := bare.hold("archive.zip", archive); err != nil {
		return nil, err
	}
	began := time.Now()
	if _, err := s.admin.call(ctx, request{method: http.MethodGet, path: path}); err != nil {
		return nil, err
	}
	first := time.Since(began)
	begins := &load{clients: 1, do: func(ctx context.Context, _ job) error { return s.admin.begin(ctx, path) }}
	rates, err := b.rates(ctx, s.admin.calls(1, http.MethodGet, path), bare.calls(1, http.MethodGet, bareFile+"archive.zip"), begins)
	if err != nil {
		return nil, err
	}
	cold, err := b.coldArchive(ctx, archive)
	if err != nil {
		return nil, err
	}
	whole := millisEach(rates[1])
	return []result{{
		what: fmt.Sprintf("archive of %.0f MB down, 1 client", float64(len(archive))/1e6), unit: millis,
		ours: millisEach(rates[0]), limit: whole, goals: []goal{share(1 / 1.3)}, limitIs: "bare http.ServeFile, the same bytes",
	}, {
		what: "  the first time after it was uploaded", unit: millis, ours: first.Seconds() * 1000, limit: whole, limitIs: "the same",
	}, {
		what: "  to its first byte", unit: millis, ours: millisEach(rates[2]), goals: []goal{value(10)},
	}, {
		what: "  to the first byte of one that the server never read", unit: millis, ours: cold.Seconds() * 1000, goals: []goal{value(10)},
		limitIs: fmt.Sprintf("the median of %d scans of a tree that was just indexed", coldArchives),
	}}, nil
}

// coldArchive is how long the first byte of an archive takes of whose files the
// server has read nothing: they lay in the tree when it started.
func (b *bench) coldArchive(ctx context.Context, archive []byte) (time.Duration, error) {
	const name = "cold"
	root := filepath.Join(b.dir, name)
	if err := growTree(ctx, root, 0, 0); err != nil {
		return 0, err
	}
	file := filepath.Join(b.dir, "cold.zip")
	if err := os.WriteFile(file, archive, 0o600); err != nil {
		return 0, fmt.Errorf("write archive: %w", err)
	}
	for n := range coldArchives {
		if err := unpackDurably(file, filepath.Join(root, plantID(n))); err != nil {
			return 0, err
		}
	}
	s, err := b.openSite(ctx, name, "--previews", "on-demand")
	if err != nil {
		return 0, err
	}
	times := make([]time.Duration, coldArchives)
	for n := range times {
		began := time.Now()
		if err := s.admin.begin(ctx, api+"/assets/archive/"+plantID(n)); err != nil {
			return 0, err
		}
		times[n] = time.Since(began)
	}
	slices.Sort(times)
	return times[len(times)/2], nil
}

// photoArchive is the archive of a scan of photos, as the server gives it.
func photoArchive() ([]byte, error) {
	var buf bytes.Buffer
	w := zip.NewWriter(&buf)
	store := func(name string, content []byte) error {
		size := uint64(len(content))
		f, err := w.CreateRaw(&zip.FileHeader{
			Name: name, Method: zip.Store, CRC32: crc32.ChecksumIEEE(content), CompressedSize64: size, UncompressedSize64: size,
		})
		if err == nil {
			_, err = f.Write(content)
		}
		return err
	}
	var listed []string
	chance := rand.NewChaCha8([32]byte{1})
	photo := make([]byte, archivePhotoBytes)
	var errs []error
	for n := range archivePhotos {
		_, _ = chance.Read(photo) // never fails
		id := fileID(n)
		listed = append(listed, fmt.Sprintf(`{"id":%q,"file":%q}`, id, id+".jpg"))
		errs = append(errs, store("images/"+id+".jpg", photo), store("metadata/images/"+id+".json", []byte(`{"channel":"rgb"}`)))
	}
	errs = append(errs,
		store("files.json", []byte(`{"filesets":[{"id":"images","files":[`+strings.Join(listed, ",")+`]}]}`)),
		store("metadata/metadata.json", []byte(`{}`)), w.Close())
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("make archive: %w", err)
	}
	return buf.Bytes(), nil
}

func archiveForm(archive []byte) (body []byte, contentType string, err error) {
	var buf bytes.Buffer
	w := multipart.NewWriter(&buf)
	part, err := w.CreatePart(textproto.MIMEHeader{
		"Content-Disposition": {`form-data; name="zip_file"; filename="scan.zip"`}, "Content-Type": {"application/zip"},
	})
	if err == nil {
		_, err = part.Write(archive)
	}
	if err := errors.Join(err, w.Close()); err != nil {
		return nil, "", fmt.Errorf("make form: %w", err)
	}
	return buf.Bytes(), w.FormDataContentType(), nil
}

// unpackDurably makes a directory of an archive and returns once all of it
// would survive a power cut.
func unpackDurably(archive, dir string) error {
	r, err := zip.OpenReader(archive)
	if err != nil {
		return fmt.Errorf("open archive: %w", err)
	}
	defer r.Close()
	dirs := []string{dir, filepath.Join(dir, "images"), filepath.Join(dir, "metadata"), filepath.Join(dir, "metadata", "images")}
	for _, d := range dirs {
		if err := os.Mkdir(d, 0o700); err != nil {
			return fmt.Errorf("make directory: %w", err)
		}
	}
	var group errgroup.Group
	group.SetLimit(archiveSyncs)
	for _, f := range r.File {
		group.Go(func() error {
			content, err := f.Open()
			if err != nil {
				return err
			}
			return errors.Join(writeDurably(filepath.Join(dir, filepath.FromSlash(f.Name)), io.Reader(content)), content.Close())
		})
	}
	if err := group.Wait(); err != nil {
		return fmt.Errorf("unpack: %w", err)
	}
	for _, d := range append(dirs, filepath.Dir(dir)) {
		if err := syncDir(d); err != nil {
			return fmt.Errorf("sync directory: %w", err)
		}
	}
	return nil
}

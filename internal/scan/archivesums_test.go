package scan

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// withLarge is a scan whose first file by name is a large one, as archives take it.
func withLarge(t *testing.T) (f fixture, archives *Archives, version fileVersion, digest string) {
	t.Helper()
	content := strings.Repeat("large ", 1000)
	f = indexed(t, plainScan("s", `{}`), files{"s/aaa.bin": content, "s/images/00000_rgb.jpg": content}).aged(t)
	f.reconcile(t)
	archives = NewArchives(f.Service)
	archives.large = int64(len(content))
	t.Cleanup(archives.Close)
	info, err := os.Stat(filepath.Join(f.dir, "s/aaa.bin"))
	if err != nil {
		t.Fatal(err)
	}
	return f, archives, versionOf(info), fmt.Sprintf("%x", sha256.Sum256([]byte(content)))
}

// What is small goes out before a large file is read, and what a flight learned of one
// stands in the cache, the manifest and the index.
func TestArchiveOfLargeFiles(t *testing.T) {
	t.Parallel()
	f, archives, version, digest := withLarge(t)
	for range cap(archives.apart.turns) {
		archives.apart.turns <- struct{}{} // nothing large is read
	}
	a := openArchive(t, archives, guest, "s")
	ctx, cancel := context.WithCancel(t.Context())
	var sent bytes.Buffer
	err := a.WriteRange(ctx, writerFunc(func(p []byte) (int, error) {
		if bytes.HasSuffix(p, []byte("{}")) { // metadata/metadata.json, the last of the small ones
			defer cancel()
		}
		return sent.Write(p)
	}), 0, a.Size())
	if !errors.Is(err, context.Canceled) || !bytes.Contains(sent.Bytes(), []byte("metadata/metadata.json")) {
		t.Errorf("WriteRange = %v after %d bytes, want all that is small and context.Canceled", err, sent.Len())
	}
	if archives.apart.of(version) != nil {
		t.Error("a file is summed for somebody who left before it had its turn")
	}
	for range cap(archives.apart.turns) {
		<-archives.apart.turns
	}
	whole, err := write(t, a)
	if err != nil {
		t.Fatalf("WriteRange = %v", err)
	}
	r, err := zip.NewReader(bytes.NewReader(whole), int64(len(whole)))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range r.File {
		names = append(names, e.Name)
		content, err := e.Open() // which compares the CRC
		if err != nil {
			t.Fatal(err)
		}
		var buf bytes.Buffer
		if _, err := buf.ReadFrom(content); err != nil {
			t.Errorf("read %s: %v", e.Name, err)
		}
	}
	if diff := cmp.Diff([]string{"aaa.bin", "images/00000_rgb.jpg", ManifestName}, names[len(names)-3:]); diff != "" || len(names) != 9 {
		t.Errorf("last of %d entries (-want +got):\n%s", len(names), diff)
	}
	if !bytes.Contains(whole, []byte(digest+"  aaa.bin")) {
		t.Error("the manifest has not the digest of the large file")
	}
	if _, ok := archives.sums.Get(version); !ok {
		t.Error("the sums of the large file are not remembered")
	}
	var kept string
	err = f.pool.QueryRow(t.Context(), "SELECT encode(sha256, 'hex') FROM files WHERE name = '00000_rgb'").Scan(&kept)
	if err != nil || kept != digest { // while the archive is still open
		t.Errorf("digest in the index = %s, %v, want %s", kept, err, digest)
	}
}

type writerFunc func([]byte) (int, error)

func (w writerFunc) Write(p []byte) (int, error) { return w(p) }

// Who leaves ends its wait alone: the file is read to the end, once for all who ask.
func TestSumsOutliveTheirAskers(t *testing.T) {
	t.Parallel()
	_, archives, version, _ := withLarge(t)
	release := make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	first, err := archives.apart.join(ctx, version, func() (func(context.Context) (sums, error), error) {
		return func(ctx context.Context) (sums, error) {
			select {
			case <-release:
				return sums{crc: 7}, nil
			case <-ctx.Done():
				return sums{}, ctx.Err()
			}
		}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	a := openArchive(t, archives, guest, "s")
	asked := writerFunc(func(p []byte) (int, error) {
		if bytes.HasSuffix(p, []byte("{}")) { // as above
			cancel() // what comes next is the file that is being read
		}
		return len(p), nil
	})
	if err := a.WriteRange(ctx, asked, 0, a.Size()); !errors.Is(err, context.Canceled) {
		t.Errorf("WriteRange = %v, want context.Canceled", err)
	}
	second, err := archives.apart.join(t.Context(), version, func() (func(context.Context) (sums, error), error) {
		return nil, errors.New("read twice")
	})
	if err != nil || second != first {
		t.Errorf("join = another flight, %v, want that of who left", err)
	}
	close(release)
	<-first.done
	if first.err != nil || first.sums.crc != 7 {
		t.Errorf("flight = %+v, %v, want what it came to", first.sums, first.err)
	}
}

// The end of the server ends what is read, and nothing begins after it.
func TestSumsEndWithTheServer(t *testing.T) {
	t.Parallel()
	s := newSummer()
	begin := func() (func(context.Context) (sums, error), error) {
		return func(ctx context.Context) (sums, error) {
			<-ctx.Done()
			return sums{}, ctx.Err()
		}, nil
	}
	f, err := s.join(t.Context(), fileVersion{inode: 1}, begin)
	if err != nil {
		t.Fatal(err)
	}
	s.close()
	if <-f.done; !errors.Is(f.err, context.Canceled) {
		t.Errorf("flight = %v, want context.Canceled", f.err)
	}
	if _, err := s.join(t.Context(), fileVersion{inode: 2}, begin); !errors.Is(err, context.Canceled) {
		t.Errorf("join after the end = %v, want context.Canceled", err)
	}
	if len(s.turns) != 0 || len(s.flights) != 0 {
		t.Errorf("%d turns and %d flights are left", len(s.turns), len(s.flights))
	}
}

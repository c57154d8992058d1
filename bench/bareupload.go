package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/sync/errgroup"

	"github.com/romi/plantdb-go/db"
	"github.com/romi/plantdb-go/internal/postgres"
)

// bareFileset is what one client of the bare program writes: a fileset of its
// own with rows of its own, so that none waits for another.
type bareFileset struct {
	pool          *pgxpool.Pool
	q             *db.Queries
	dir           string // of the scan
	scan, fileset uuid.UUID
	files         int
	index         []byte // files.json
}

// bareUploads does to disk and database what an upload cannot do without.
func (b *bench) bareUploads(ctx context.Context, s *site, clients int, content []byte) (*load, error) {
	held := make([]*bareFileset, clients)
	for i := range held {
		var err error
		if held[i], err = b.newBareFileset(ctx, s, fmt.Sprintf("bare%d_%d", clients, i)); err != nil {
			return nil, err
		}
	}
	return &load{clients: clients, most: maxUploads, do: func(ctx context.Context, j job) error {
		return held[j.client].put(ctx, j.number, content)
	}}, nil
}

func (b *bench) newBareFileset(ctx context.Context, s *site, name string) (*bareFileset, error) {
	f := &bareFileset{pool: s.pool, q: db.New(), dir: filepath.Join(b.dir, name)}
	for _, dir := range []string{"staging", "images", "metadata/images"} {
		if err := os.MkdirAll(filepath.Join(f.dir, dir), 0o700); err != nil {
			return nil, fmt.Errorf("make directory of the bare program: %w", err)
		}
	}
	if err := s.makeFileset(ctx, name); err != nil {
		return nil, err
	}
	scan, err := f.q.GetScan(ctx, f.pool, name)
	if err != nil {
		return nil, fmt.Errorf("find scan: %w", err)
	}
	fileset, err := f.q.GetFileset(ctx, f.pool, scan.ID, "images")
	if err != nil {
		return nil, fmt.Errorf("find fileset: %w", err)
	}
	f.scan, f.fileset = scan.ID, fileset.ID
	return f, nil
}

// put makes a file and its metadata durable, then files.json, then the rows.
// What does not depend on one another is synced together.
func (f *bareFileset) put(ctx context.Context, n int, content []byte) error {
	id := fileID(n)
	document, err := json.MarshalIndent(shotMetadata(n, photoCount), "", "    ")
	if err != nil {
		return fmt.Errorf("encode metadata: %w", err)
	}
	if f.files++; f.files%uploadsPerFileset == 0 {
		f.index = nil
	}
	f.index = fmt.Appendf(f.index, "                {\n                    \"file\": \"%[1]s.jpg\",\n                    \"id\": \"%[1]s\"\n                },\n", id)
	if err := f.write(id, content, document); err != nil {
		return fmt.Errorf("write file %s: %w", id, err)
	}
	return f.insert(ctx, id, content, document)
}

func (f *bareFileset) write(id string, content, document []byte) error {
	var (
		staged   = filepath.Join(f.dir, "staging", id)
		images   = filepath.Join(f.dir, "images")
		metadata = filepath.Join(f.dir, "metadata", "images")
	)
	err := errors.Join(
		writeDurably(staged+".jpg", bytes.NewReader(content)),
		together(
			func() error { return writeDurably(staged+".json", bytes.NewReader(document)) },
			func() error { return writeDurably(staged+".index", bytes.NewReader(f.index)) },
		),
		os.Rename(staged+".jpg", filepath.Join(images, id+".jpg")),
		os.Rename(staged+".json", filepath.Join(metadata, id+".json")),
		together(
			func() error { return syncDir(images) },
			func() error { return syncDir(metadata) },
			func() error { return syncDir(filepath.Dir(metadata)) },
		),
		os.Rename(staged+".index", filepath.Join(f.dir, "files.json")),
	)
	return errors.Join(err, syncDir(f.dir))
}

func together(fns ...func() error) error {
	var group errgroup.Group
	for _, fn := range fns {
		group.Go(fn)
	}
	return group.Wait()
}

func syncDir(name string) error {
	dir, err := os.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

func (f *bareFileset) insert(ctx context.Context, id string, content, document []byte) error {
	digest := sha256.Sum256(content)
	size, now := int64(len(content)), time.Now()
	return postgres.InTx(ctx, f.pool, func(tx pgx.Tx) error {
		return f.q.InsertFiles(ctx, tx, db.InsertFilesParams{
			ScanID: f.scan, FilesetID: f.fileset, Fileset: "images", ChangedAt: now,
			Ids: []uuid.UUID{newID()}, Ordinals: []int32{1}, Names: []string{id}, Filenames: []string{id + ".jpg"},
			Sizes: []int64{size}, Modified: []time.Time{now}, Sha256s: [][]byte{digest[:]},
			Documents: []string{string(document)}, Metadatas: []string{string(document)},
			EventIds: []uuid.UUID{newID()}, Usernames: []string{"bench"}, TokenKinds: []string{"none"}, RequestIds: []string{id},
		})
	})
}

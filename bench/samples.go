package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	// photoScan is the scan that single reads are of, as large as the
	// scanner's are: one turn around a plant.
	photoScan  = "bench_photos"
	photoCount = 60
)

func photoID(n int) string { return fmt.Sprintf("%05d_rgb", n%photoCount) }

// sampleSite returns the server with the sample scans and photoScan.
func (b *bench) sampleSite(ctx context.Context) (*site, error) {
	return b.samples.get(func() (*site, error) {
		s, err := b.openSite(ctx, "samples", "--demo")
		if err != nil {
			return nil, err
		}
		if err := s.uploadPhotos(ctx); err != nil {
			return nil, err
		}
		return s, s.settle(ctx)
	})
}

// sampleAndBare returns that server and the bare one.
func (b *bench) sampleAndBare(ctx context.Context) (*site, *bareServer, error) {
	s, err := b.sampleSite(ctx)
	if err != nil {
		return nil, nil, err
	}
	bare, err := b.bare(ctx, s)
	return s, bare, err
}

// uploadPhotos makes photoScan as the scanner does.
func (s *site) uploadPhotos(ctx context.Context) error {
	if err := s.makeFileset(ctx, photoScan); err != nil {
		return err
	}
	photo, err := makePhoto()
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(4)
	for n := range photoCount {
		group.Go(func() error {
			own, err := markPhoto(photo, n)
			if err != nil {
				return err
			}
			return s.admin.upload(ctx, photoScan, photoID(n), newForm(".jpg", shotMetadata(n, photoCount)), own)
		})
	}
	return group.Wait()
}

// settle returns once the server has done the work it put off: what is
// measured next is not to share the cores with previews of the samples.
func (s *site) settle(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		var open int
		err := s.pool.QueryRow(ctx, "SELECT count(*) FROM river.river_job WHERE finalized_at IS NULL").Scan(&open)
		if err != nil {
			return fmt.Errorf("count jobs: %w", err)
		}
		if open == 0 {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("wait for %d jobs: %w", open, ctx.Err())
		}
	}
}

// makeFileset makes a scan with an empty fileset called images.
func (s *site) makeFileset(ctx context.Context, scan string) error {
	return errors.Join(
		s.admin.postJSON(ctx, api+"/scans/"+scan, map[string]any{"metadata": scanMetadata(scan)}, nil),
		s.admin.postJSON(ctx, api+"/filesets/"+scan+"/images", map[string]any{"metadata": imagesMetadata()}, nil),
	)
}

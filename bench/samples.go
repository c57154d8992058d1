package main

import (
	"context"
	"errors"
	"fmt"

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
		return s, s.uploadPhotos(ctx)
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

// makeFileset makes a scan with an empty fileset called images.
func (s *site) makeFileset(ctx context.Context, scan string) error {
	return errors.Join(
		s.admin.postJSON(ctx, api+"/scans/"+scan, map[string]any{"metadata": scanMetadata(scan)}, nil),
		s.admin.postJSON(ctx, api+"/filesets/"+scan+"/images", map[string]any{"metadata": imagesMetadata()}, nil),
	)
}

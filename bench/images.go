package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image/jpeg"
	"net/http"
)

func imagePath(n int, size string) string {
	return fmt.Sprintf("%s/assets/image/%s/images/%s?size=%s", api, photoScan, photoID(n), size)
}

func imageRead(ctx context.Context, b *bench) ([]result, error) {
	r := result{what: fmt.Sprintf("image of %d kB, %d clients", photoBytes/1000, b.clients), unit: perSecond, goals: []goal{share(0.6)}}
	return b.besideFiles(ctx, r, photoCount, "orig")
}

func thumbCached(ctx context.Context, b *bench) ([]result, error) {
	r := result{what: fmt.Sprintf("thumbnail cached, %d clients", b.clients), unit: perSecond, goals: []goal{share(0.5)}}
	return b.besideFiles(ctx, r, 8, "thumb")
}

// besideFiles measures reads of some images in turn beside nginx, which sends
// the same files from disk, and a bare server that does so with http.ServeFile.
func (b *bench) besideFiles(ctx context.Context, r result, count int, size string) ([]result, error) {
	s, bare, err := b.sampleAndBare(ctx)
	if err != nil {
		return nil, err
	}
	nginx, err := b.nginx(ctx)
	if err != nil {
		return nil, err
	}
	version, err := nginx.version(ctx)
	if err != nil {
		return nil, err
	}
	name := func(n int) string { return size + photoID(n%count) + ".jpg" }
	for n := range count {
		body, err := s.admin.get(ctx, imagePath(n, size))
		if err != nil {
			return nil, err
		}
		if err := errors.Join(bare.hold(name(n), body), nginx.hold(name(n), body)); err != nil {
			return nil, err
		}
	}
	rates, err := b.rates(ctx,
		s.admin.callsEach(b.clients, http.MethodGet, func(j job) string { return imagePath(j.number%count, size) }),
		nginx.callsEach(b.clients, http.MethodGet, func(j job) string { return "/" + name(j.number) }),
		bare.callsEach(b.clients, http.MethodGet, func(j job) string { return bareFile + name(j.number) }))
	if err != nil {
		return nil, err
	}
	r.ours, r.limit = rates[0], rates[1]
	r.limitIs = version + " with sendfile, the same files; bare http.ServeFile: " + perSecond.format(rates[2])
	return []result{r}, nil
}

// thumbFirst asks for each photo once, one after the other, of a server that
// makes none ahead.
func thumbFirst(ctx context.Context, b *bench) ([]result, error) {
	s, err := b.openSite(ctx, "first", "--previews", "on-demand")
	if err != nil {
		return nil, err
	}
	if err := s.uploadPhotos(ctx); err != nil {
		return nil, err
	}
	photo, err := s.admin.get(ctx, imagePath(0, "orig"))
	if err != nil {
		return nil, err
	}
	ours := s.admin.callsEach(1, http.MethodGet, func(j job) string { return imagePath(j.number, "thumb") })
	ours.most = photoCount
	decode := &load{clients: 1, do: func(context.Context, job) error {
		_, err := jpeg.Decode(bytes.NewReader(photo))
		return err
	}}
	rates, err := b.rates(ctx, ours, decode)
	if err != nil {
		return nil, err
	}
	draft, err := b.pillowThumb(ctx, photo)
	if err != nil {
		return nil, err
	}
	return []result{{
		what: fmt.Sprintf("thumbnail of %dx%d first time, 1 client", photoWidth, photoHeight), unit: millis,
		ours: millisEach(rates[0]), limit: millisEach(rates[1]), goals: []goal{value(20)}, limitIs: "image/jpeg alone, decoding",
	}, {
		what: "  the same", unit: millis, ours: millisEach(rates[0]), limit: draft, goals: []goal{value(10)},
		limitIs: pillow + " in draft mode (libjpeg-turbo), no server",
	}}, nil
}

package main

import (
	"context"
	"fmt"
	"net/http"
	"path/filepath"

	"github.com/romi/plantdb-go/db"
)

func scanRead(ctx context.Context, b *bench) ([]result, error) {
	s, bare, err := b.sampleAndBare(ctx)
	if err != nil {
		return nil, err
	}
	r := result{
		what: fmt.Sprintf("scan info with %d images, %d clients", photoCount, b.clients), unit: perSecond,
		goals: []goal{value(6000), share(0.5)},
	}
	return b.besideMemory(ctx, r, s, bare, b.clients, api+"/scans/"+photoScan)
}

// besideMemory measures a read of a path beside a bare server that has the
// same bytes in memory. What r is of comes from the caller.
func (b *bench) besideMemory(ctx context.Context, r result, s *site, bare *bareServer, clients int, path string) ([]result, error) {
	body, err := s.admin.get(ctx, path)
	if err != nil {
		return nil, err
	}
	name := filepath.Base(path)
	if err := bare.hold(name, body); err != nil {
		return nil, err
	}
	rates, err := b.rates(ctx,
		s.admin.calls(clients, http.MethodGet, path),
		bare.calls(clients, http.MethodGet, bareMemory+name))
	if err != nil {
		return nil, err
	}
	r.ours, r.limit = rates[0], rates[1]
	if r.unit == millis {
		r.ours, r.limit = millisEach(rates[0]), millisEach(rates[1])
	}
	r.limitIs = fmt.Sprintf("bare net/http, the same %d kB from memory", (len(body)+500)/1000)
	return []result{r}, nil
}

func metadataRead(ctx context.Context, b *bench) ([]result, error) {
	return b.besideRow(ctx, "metadata of a scan", api+"/scans/"+photoScan+"/metadata")
}

func idList(ctx context.Context, b *bench) ([]result, error) {
	return b.besideRow(ctx, "list of ids, a few scans", api+"/scans")
}

// besideRow measures a read beside a bare server that makes one query by
// primary key.
func (b *bench) besideRow(ctx context.Context, what, path string) ([]result, error) {
	s, bare, err := b.sampleAndBare(ctx)
	if err != nil {
		return nil, err
	}
	row, err := db.New().GetScan(ctx, s.pool, photoScan)
	if err != nil {
		return nil, fmt.Errorf("find scan: %w", err)
	}
	rates, err := b.rates(ctx,
		s.admin.calls(b.clients, http.MethodGet, path),
		bare.calls(b.clients, http.MethodGet, bareRow+row.ID.String()))
	if err != nil {
		return nil, err
	}
	return []result{{
		what: fmt.Sprintf("%s, %d clients", what, b.clients), unit: perSecond, ours: rates[0], limit: rates[1],
		goals: []goal{share(0.6)}, limitIs: "bare net/http with one query by primary key",
	}}, nil
}

func listThousand(ctx context.Context, b *bench) ([]result, error) {
	r := result{what: fmt.Sprintf("list of 1,000 ids, %d clients", b.clients), unit: perSecond}
	return b.ofThousand(ctx, r, b.clients, api+"/scans")
}

func infoThousand(ctx context.Context, b *bench) ([]result, error) {
	r := result{what: "info of 1,000 scans, 1 client", unit: millis, goals: []goal{value(28)}}
	return b.ofThousand(ctx, r, 1, api+"/scans/info")
}

// infoFiveThousand looks at the server's memory, too: such a list is streamed.
func infoFiveThousand(ctx context.Context, b *bench) ([]result, error) {
	name, err := b.manyTree(ctx)
	if err != nil {
		return nil, err
	}
	s, err := b.openSite(ctx, name, "--previews", "on-demand")
	if err != nil {
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
	r := result{what: fmt.Sprintf("info of %d scans, 1 client", manyScans), unit: millis, goals: []goal{value(110)}}
	results, err := b.besideMemory(ctx, r, s, bare, 1, api+"/scans/info")
	if err != nil {
		return nil, err
	}
	after, err := peakMemory(s.server.cmd.Process.Pid)
	return append(results, result{
		what: "  memory of the server grows by", unit: megabytes, ours: after - before, goals: []goal{value(20)},
		limitIs: "above its peak before, which was " + megabytes.format(before),
	}), err
}

// ofThousand measures a read of a server with a thousand scans.
func (b *bench) ofThousand(ctx context.Context, r result, clients int, path string) ([]result, error) {
	s, err := b.thousandSite(ctx)
	if err != nil {
		return nil, err
	}
	bare, err := b.bare(ctx, s)
	if err != nil {
		return nil, err
	}
	return b.besideMemory(ctx, r, s, bare, clients, path)
}

func (b *bench) thousandSite(ctx context.Context) (*site, error) {
	return b.thousand.get(func() (*site, error) {
		const name = "thousand"
		if err := growTree(ctx, filepath.Join(b.dir, name), 1000, 2); err != nil {
			return nil, err
		}
		return b.openSite(ctx, name)
	})
}

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"

	plantdb "github.com/romi/plantdb-go/client"
)

// micros is for what is too short for millis.
var micros = unit{" µs", true}

// goClientCall measures what the Go client adds to one call over net/http, by
// a server that answers at once.
func goClientCall(ctx context.Context, b *bench) ([]result, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	server := &http.Server{ReadHeaderTimeout: callTime, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"username":"alice","fullname":"Alice Martin","roles":["contributor"],"groups":["phenotyping"]}`)
	})}
	go func() { _ = server.Serve(listener) }()
	b.onClose(server.Close)
	base := "http://" + listener.Addr().String()
	c, err := plantdb.New(base, plantdb.WithToken("a.b.c"))
	if err != nil {
		return nil, err
	}
	bare := newClient(base)
	bare.token = "a.b.c"
	rates, err := b.rates(ctx,
		&load{clients: 1, do: func(ctx context.Context, _ job) error {
			_, err := c.Profile(ctx)
			return err
		}},
		&load{clients: 1, do: func(ctx context.Context, _ job) error {
			body, err := bare.get(ctx, api+"/auth/profile")
			if err != nil {
				return err
			}
			return json.Unmarshal(body, new(plantdb.Profile))
		}})
	if err != nil {
		return nil, err
	}
	return []result{{
		what: "Go client: a call, above net/http", unit: micros, ours: 1000 * (millisEach(rates[0]) - millisEach(rates[1])),
		goals: []goal{value(20)}, limitIs: fmt.Sprintf("a call by net/http takes %.0f µs", 1000*millisEach(rates[1])),
	}}, nil
}

// goClientBytes is the size of the file that the Go client and curl transfer.
const goClientBytes = 100_000_000

// goClientFiles measures a large file both ways beside curl, which does the
// same between the same server and disk.
func goClientFiles(ctx context.Context, b *bench) ([]result, error) {
	s, err := b.sampleSite(ctx)
	if err != nil {
		return nil, err
	}
	c, err := plantdb.New(s.admin.base, plantdb.WithToken(s.admin.token))
	if err != nil {
		return nil, err
	}
	name := filepath.Join(b.dir, "large.ply")
	if err := writeDurably(name, newPattern(goClientBytes)); err != nil {
		return nil, err
	}
	scans := map[string]string{"ours": "goclient_ours", "curl": "goclient_curl"}
	for _, scan := range scans {
		if err := s.makeFileset(ctx, scan); err != nil {
			return nil, err
		}
	}
	curl := func(args ...string) error {
		args = append([]string{"--silent", "--show-error", "--fail", "--header", "Authorization: Bearer " + s.admin.token}, args...)
		if said, err := exec.CommandContext(ctx, "curl", args...).CombinedOutput(); err != nil {
			return fmt.Errorf("curl: %w: %s", err, said)
		}
		return nil
	}
	url := func(n int) string {
		return fmt.Sprintf("%s%s/files/%s/images/%s", s.admin.base, api, scans["curl"], fileID(n))
	}
	path := func(n int) plantdb.Path {
		return plantdb.Path{Scan: scans["ours"], Fileset: "images", File: fileID(n)}
	}
	up, err := b.rates(ctx,
		&load{clients: 1, most: 2 * largeUploads, do: func(ctx context.Context, j job) error {
			return c.UploadFile(ctx, path(j.number), name, nil)
		}},
		&load{clients: 1, most: 2 * largeUploads, do: func(_ context.Context, j job) error {
			return curl("--form", "ext=.ply", "--form", "file=@"+name, "--output", os.DevNull, url(j.number))
		}})
	if err != nil {
		return nil, err
	}
	into := filepath.Join(b.dir, "back.ply")
	down, err := b.rates(ctx,
		&load{clients: 1, do: func(ctx context.Context, _ job) error {
			f, err := os.Create(into)
			if err != nil {
				return err
			}
			_, err = c.Download(ctx, path(0), f)
			return errors.Join(err, f.Close())
		}},
		&load{clients: 1, do: func(context.Context, job) error { return curl("--output", into, url(0)) }})
	if err != nil {
		return nil, err
	}
	const mb = goClientBytes / 1e6
	row := func(what string, rates []float64) result {
		return result{
			what: fmt.Sprintf("Go client: %s of %.0f MB, 1 client", what, mb), unit: megabytesPerSecond, ours: rates[0] * mb, limit: rates[1] * mb,
			goals: []goal{share(1 / 1.1)}, limitIs: "curl, the same file and server",
		}
	}
	return []result{row("upload", up), row("download", down)}, nil
}

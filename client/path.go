package client

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	plantdbapi "github.com/romi/plantdb-go/openapi/clients/go"
)

// Path names a scan, a fileset of it or a file of that: what is left empty is
// not part of the name.
//
//	client.Path{Scan: "plant_42", Fileset: "images", File: "00000_rgb"}
type Path struct{ Scan, Fileset, File string }

// String returns the path with slashes.
func (p Path) String() string {
	switch {
	case p.Fileset == "":
		return p.Scan
	case p.File == "":
		return p.Scan + "/" + p.Fileset
	}
	return p.Scan + "/" + p.Fileset + "/" + p.File
}

// check says whether p names something that URLs can name.
func (p Path) check() error {
	if p.Scan == "" || (p.Fileset == "" && p.File != "") {
		return fmt.Errorf("plantdb: %+v names nothing: a file needs its fileset, and that its scan: %w", p, ErrInvalid)
	}
	return nil
}

// checkFile says whether p names a file.
func (p Path) checkFile(what string) error {
	if err := p.check(); err != nil {
		return err
	}
	if p.File == "" {
		return fmt.Errorf("plantdb: %s %s: no file is named: %w", what, p, ErrInvalid)
	}
	return nil
}

// level is what one kind of thing answers to.
func level[T any](p Path, scan, fileset, file func() T) T {
	switch {
	case p.Fileset == "":
		return scan()
	case p.File == "":
		return fileset()
	}
	return file()
}

type answer struct {
	resp *http.Response
	err  error
}

func answered(resp *http.Response, err error) answer { return answer{resp, err} }

// Scan returns what a list shows of a scan, its images, and which tasks of the
// reconstruction have run.
func (c *Client) Scan(ctx context.Context, id string) (ScanInfo, error) {
	if err := (Path{Scan: id}).check(); err != nil {
		return ScanInfo{}, err
	}
	return decoded[ScanInfo](c.api.GetScan(ctx, id))
}

// Create makes the scan or the fileset that p names, with metadata or nil.
// ErrConflict says that there is one already. A call whose answer was lost is
// repeated, and does not conflict with itself.
func (c *Client) Create(ctx context.Context, p Path, metadata map[string]any) error {
	if err := p.check(); err != nil {
		return err
	}
	if p.File != "" {
		return fmt.Errorf("plantdb: create %s: files are made by Upload: %w", p, ErrInvalid)
	}
	sending, again := repeatable(ctx)
	a := level(p,
		func() answer {
			return answered(c.api.CreateScan(sending, p.Scan, plantdbapi.NewScan{Metadata: metadata}))
		},
		func() answer {
			return answered(c.api.CreateFileset(sending, p.Scan, p.Fileset, plantdbapi.NewFileset{Metadata: metadata}))
		}, nil)
	return again.settle(done(a.resp, a.err), func() bool { return c.hasMetadata(ctx, p, metadata) })
}

// Delete moves what p names into the trash, with all that it holds; see
// restore-trash-entry of [Client.API] for the way back.
func (c *Client) Delete(ctx context.Context, p Path) error {
	if err := p.check(); err != nil {
		return err
	}
	a := level(p,
		func() answer { return answered(c.api.DeleteScan(ctx, p.Scan, nil)) },
		func() answer { return answered(c.api.DeleteFileset(ctx, p.Scan, p.Fileset, nil)) },
		func() answer { return answered(c.api.DeleteFile(ctx, p.Scan, p.Fileset, p.File, nil)) })
	return done(a.resp, a.err)
}

// metadata is the body of answers with metadata.
type metadata struct {
	Metadata json.RawMessage `json:"metadata"`
}

func (m metadata) into(op string, v any) error {
	if v == nil || len(m.Metadata) == 0 {
		return nil
	}
	if err := json.Unmarshal(m.Metadata, v); err != nil {
		return fmt.Errorf("plantdb: %s: metadata is not as the type wants it: %w", op, err)
	}
	return nil
}

// Metadata reads the metadata of what p names into v, a pointer as for
// json.Unmarshal.
func (c *Client) Metadata(ctx context.Context, p Path, v any) error {
	if err := p.check(); err != nil {
		return err
	}
	a := level(p,
		func() answer { return answered(c.api.GetScanMetadata(ctx, p.Scan, nil)) },
		func() answer { return answered(c.api.GetFilesetMetadata(ctx, p.Scan, p.Fileset, nil)) },
		func() answer { return answered(c.api.GetFileMetadata(ctx, p.Scan, p.Fileset, p.File, nil)) })
	m, err := decoded[metadata](a.resp, a.err)
	if err != nil {
		return err
	}
	return m.into("read metadata of "+p.String(), v)
}

// SetMetadata sets keys of the metadata of what p names, and leaves the others;
// objects are replaced whole.
func (c *Client) SetMetadata(ctx context.Context, p Path, keys map[string]any) error {
	if err := p.check(); err != nil {
		return err
	}
	body := plantdbapi.MetadataUpdate{Metadata: keys}
	a := level(p,
		func() answer { return answered(c.api.UpdateScanMetadata(ctx, p.Scan, nil, body)) },
		func() answer { return answered(c.api.UpdateFilesetMetadata(ctx, p.Scan, p.Fileset, nil, body)) },
		func() answer { return answered(c.api.UpdateFileMetadata(ctx, p.Scan, p.Fileset, p.File, nil, body)) })
	return done(a.resp, a.err)
}

// Filesets returns the ids of the filesets of a scan.
func (c *Client) Filesets(ctx context.Context, scan string) ([]string, error) {
	if err := (Path{Scan: scan}).check(); err != nil {
		return nil, err
	}
	l, err := decoded[plantdbapi.FilesetList](c.api.ListFilesets(ctx, scan, nil))
	return l.Filesets, err
}

// Files returns the ids of the files of a fileset.
func (c *Client) Files(ctx context.Context, scan, fileset string) ([]string, error) {
	p := Path{Scan: scan, Fileset: fileset}
	if err := p.check(); err != nil {
		return nil, err
	}
	if fileset == "" {
		return nil, fmt.Errorf("plantdb: list files of %s: no fileset is named: %w", p, ErrInvalid)
	}
	l, err := decoded[plantdbapi.FileList](c.api.ListFiles(ctx, scan, fileset, nil))
	return l.Files, err
}

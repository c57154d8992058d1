package scan

import (
	"context"
	"errors"
	"io"
	iofs "io/fs"
	"log/slog"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/romi/plantdb-go/internal/actor"
	"github.com/romi/plantdb-go/internal/fault"
	"github.com/romi/plantdb-go/internal/fsdb"
	"github.com/romi/plantdb-go/internal/jobs"
	"github.com/romi/plantdb-go/internal/postgres"
	"github.com/romi/plantdb-go/internal/preview"
)

const (
	// previewSlice is how long one job works; the next goes on where it stopped.
	// So the timeout, which all jobs of a server that was killed wait for, or lost the
	// database, need not be that of a scan with thousands of images: it is this, the
	// wait for quiet, and forty seconds for one file.
	previewSlice   = 20 * time.Second
	previewTimeout = previewSlice + quietWithin + 40*time.Second
	// quietFor is how long after the last bytes of an upload nothing is made, so
	// that a scanner gets the machine for itself.
	quietFor = 500 * time.Millisecond
	// quietWithin bounds the wait for that: a job is not put off for ever.
	quietWithin = 30 * time.Second
	// longestPause bounds how long the maker rests after a preview. It rests
	// as long as it worked.
	longestPause = 100 * time.Millisecond
)

// Queue takes jobs in the transaction of a write.
type Queue interface {
	Insert(ctx context.Context, tx pgx.Tx, jobs ...jobs.Args) error
}

// Previews makes previews and keeps them.
type Previews interface {
	Image(ctx context.Context, s preview.Source, size int) (*os.File, iofs.FileInfo, error)
	PointCloud(ctx context.Context, s preview.Source, voxel float64) (*os.File, iofs.FileInfo, error)
	// Room says whether a share of the bound is still free.
	Room(share float64) bool
}

// previewArgs name files whose previews are to be made before anybody asks.
type previewArgs struct {
	Scan    string `json:"scan"`
	Fileset string `json:"fileset,omitempty"`
	// Files are ids; none are all files of the scan, but for those that a job before
	// this one went through.
	Files []string `json:"files,omitempty"`
	Done  int      `json:"done,omitempty"`
}

// Kind implements jobs.Args.
func (previewArgs) Kind() string { return "previews" }

// InsertOpts implements river.JobArgsWithInsertOpts. What was just uploaded is
// looked at before what was imported.
func (a previewArgs) InsertOpts() jobs.InsertOpts {
	priority := 3
	if len(a.Files) == 0 {
		priority = 4
	}
	return jobs.InsertOpts{
		Queue: jobs.Background, Priority: priority, MaxAttempts: 3,
		UniqueOpts: jobs.UniqueOpts{ByArgs: true, ByState: jobs.Unfinished},
	}
}

// PreviewAhead makes every write of files ask for their previews, by a job in
// its transaction. It is called before the service is used.
func (s *Service) PreviewAhead(q Queue) { s.previewQueue = q }

// askPreviews inserts a job for those of the files that have previews.
func (s *Service) askPreviews(ctx context.Context, tx pgx.Tx, args previewArgs, filenames []string) error {
	if s.previewQueue == nil || !slices.ContainsFunc(filenames, hasPreview) {
		return nil
	}
	return s.previewQueue.Insert(ctx, tx, args)
}

func isImage(filename string) bool {
	switch strings.ToLower(path.Ext(filename)) {
	case ".jpg", ".jpeg", ".png", ".tif", ".tiff":
		return true
	}
	return false
}

func isCloud(filename string) bool {
	return filename == TaskPointCloud+".ply" || filename == TaskGroundTruth+".ply"
}

func hasPreview(filename string) bool { return isImage(filename) || isCloud(filename) }

// Previewer does the jobs that PreviewAhead asks for. It rests while files are
// uploaded, works half of the time otherwise, and stops well before the cache
// is full, so that it never takes the place of what somebody looked at. With
// nil it drops the jobs.
func (s *Service) Previewer(p Previews) jobs.Worker {
	return jobs.Work(func(ctx context.Context, job *jobs.Job[previewArgs]) error {
		if p == nil {
			return nil
		}
		m := previewMaker{Service: s, previews: p, began: s.now()}
		rest, err := m.make(actor.NewContext(ctx, actor.System()), job.Args)
		if err != nil || rest == nil {
			return err
		}
		return postgres.InTx(ctx, s.pool, func(tx pgx.Tx) error { return s.previewQueue.Insert(ctx, tx, *rest) })
	}, jobs.Bounds{Timeout: previewTimeout})
}

// previewMaker does one job.
type previewMaker struct {
	*Service
	previews Previews
	began    time.Time
	waited   time.Duration
	worked   bool // something was made, or could not be
}

// over says whether the slice is used up.
func (m *previewMaker) over() bool { return m.now().Sub(m.began) >= previewSlice+m.waited }

// make goes through one file at least and returns what is left after the slice,
// nil if nothing is.
func (m *previewMaker) make(ctx context.Context, a previewArgs) (rest *previewArgs, err error) {
	if len(a.Files) == 0 {
		return m.makeAll(ctx, a)
	}
	for i, file := range a.Files {
		if m.worked && m.over() {
			a.Files = a.Files[i:]
			return &a, nil
		}
		// A new image is likely to be opened, not only listed.
		if err := m.file(ctx, a.Scan, a.Fileset, file, true); err != nil {
			return nil, err
		}
	}
	return nil, nil
}

// makeAll is make for a whole scan.
func (m *previewMaker) makeAll(ctx context.Context, a previewArgs) (rest *previewArgs, err error) {
	r, err := m.scan(ctx, m.pool, a.Scan)
	if errors.Is(err, ErrUnknownScan) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	files, err := m.q.ListScanFiles(ctx, m.pool, r.id)
	if err != nil {
		return nil, err
	}
	for i := max(0, a.Done); i < len(files); i++ {
		if !hasPreview(files[i].Filename) {
			continue
		}
		if m.worked && m.over() {
			a.Done = i
			return &a, nil
		}
		if err := m.file(ctx, a.Scan, files[i].Fileset, files[i].Name, false); err != nil {
			return nil, err
		}
	}
	return nil, nil
}

// file makes the previews of one file. What is no fault of the server (a file
// that went, or is no image) is no error.
func (m *previewMaker) file(ctx context.Context, scan, fileset, file string, large bool) error {
	m.worked = true
	if !m.previews.Room(0.1) {
		return nil
	}
	if err := m.yield(ctx); err != nil {
		return err
	}
	c, err := m.OpenFile(ctx, scan, fileset, file)
	if err == nil {
		err = m.previewsOf(ctx, c, large && m.previews.Room(0.5))
	}
	switch known, ok := errors.AsType[*fault.Error](err); {
	case err == nil, ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, preview.ErrClosed):
		return err
	case ok && known.Kind != fault.Internal, errors.Is(err, fsdb.ErrNotFound):
		m.log.DebugContext(ctx, "no preview made ahead", slog.String("scan", scan), slog.String("fileset", fileset),
			slog.String("file", file), slog.Any("err", err))
		return nil
	default:
		return err
	}
}

// previewsOf closes c.
func (m *previewMaker) previewsOf(ctx context.Context, c *Content, large bool) error {
	defer c.Close() // Only read.
	// What was imported has no digest yet. It is read now anyway, and a preview
	// under its name stays when the scrub comes.
	if err := m.hash(ctx, c); err != nil {
		return err
	}
	source := preview.Source{Key: c.Version, Open: func() (io.ReadSeekCloser, int64, error) {
		f, err := c.Again(context.WithoutCancel(ctx))
		return f, c.Size, err
	}}
	if isCloud(c.Name) {
		return m.one(ctx, func() (*os.File, iofs.FileInfo, error) {
			return m.previews.PointCloud(ctx, source, preview.DefaultVoxel)
		})
	}
	if !isImage(c.Name) {
		return nil
	}
	sizes := []int{preview.Thumb}
	if large {
		sizes = append(sizes, preview.Large)
	}
	for _, size := range sizes {
		if err := m.one(ctx, func() (*os.File, iofs.FileInfo, error) { return m.previews.Image(ctx, source, size) }); err != nil {
			return err
		}
	}
	return nil
}

// one makes a preview, and rests as long as that took.
func (m *previewMaker) one(ctx context.Context, get func() (*os.File, iofs.FileInfo, error)) error {
	began := time.Now()
	f, _, err := get()
	if err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return sleep(ctx, min(time.Since(began), longestPause))
}

// uploading is content that comes: nothing is made meanwhile.
func (s *Service) uploading(content io.Reader) io.Reader { return uploadReader{s, content} }

type uploadReader struct {
	s       *Service
	content io.Reader
}

// Read implements io.Reader.
func (r uploadReader) Read(p []byte) (int, error) {
	n, err := r.content.Read(p)
	r.s.uploadedAt.Store(r.s.now().UnixNano())
	return n, err
}

// yield waits until nothing was uploaded for a moment, but all in all not
// longer than a job may be put off.
func (m *previewMaker) yield(ctx context.Context) error {
	for m.waited < quietWithin {
		quiet := m.now().Sub(time.Unix(0, m.uploadedAt.Load()))
		if quiet >= quietFor || quiet < 0 {
			return nil
		}
		rest := quietFor - quiet
		m.waited += rest
		if err := sleep(ctx, rest); err != nil {
			return err
		}
	}
	return nil
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

package scan

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"os"
	"strings"
	"time"

	"github.com/romi/plantdb-go/internal/fault"
	"github.com/romi/plantdb-go/internal/fsdb"
	"github.com/romi/plantdb-go/internal/fsdb/meta"
)

// The failures of the outputs of tasks.
var (
	ErrNoTask   = fault.New(fault.NotFound, "unknown_task", "No fileset mapped for the task.")
	ErrNoOutput = fault.New(fault.NotFound, "unknown_output", "The output of the task is not there.")
	ErrNoList   = fault.New(fault.NotFound, "unknown_sequence", "The scan has no such sequence.")
	ErrDamaged  = fault.New(fault.Unprocessable, "damaged_json", "The file is not JSON that can be read.")
)

// The tasks of the pipeline whose output has a route of its own; the file has
// the name of its task.
const (
	TaskPointCloud  = "PointCloud"
	TaskGroundTruth = "PointCloudGroundTruth"
	TaskMesh        = "TriangleMesh"
	TaskSkeleton    = "CurveSkeleton"
	TaskMeasures    = "AnglesAndInternodes"
)

// OpenOutput opens what a task made of a scan: the file of the task's name in
// the task's fileset, which is the last whose id up to the first underscore is
// the task's name. Errors: those of finding the scan, ErrNoTask, ErrNoOutput.
func (s *Service) OpenOutput(ctx context.Context, name, task string) (*Content, error) {
	return s.openTaskFile(ctx, name, task, task)
}

func (s *Service) openTaskFile(ctx context.Context, name, task, file string) (*Content, error) {
	r, _, err := s.open(ctx, s.pool, name, opRead)
	if err != nil {
		return nil, err
	}
	filesets, err := s.q.ListFilesets(ctx, s.pool, r.id)
	if err != nil {
		return nil, fmt.Errorf("list filesets of scan %q: %w", r.Name, err)
	}
	var fileset string
	for _, fs := range filesets {
		if of, _, _ := strings.Cut(fs.Name, "_"); of == task {
			fileset = fs.Name
		}
	}
	if fileset == "" {
		return nil, ErrNoTask.With("No fileset mapped for task '%s'.", task)
	}
	c, err := s.OpenFile(ctx, r.Name, fileset, file)
	if errors.Is(err, ErrUnknownFile) || errors.Is(err, ErrUnknownFileset) {
		return nil, ErrNoOutput.With("File '%s/%s' not found.", fileset, file)
	}
	return c, err
}

// Document is JSON out of a scan, in compact form.
type Document struct {
	JSON     json.RawMessage
	Modified time.Time
	Version  string // changes whenever JSON does
}

// Skeleton returns the content of the curve skeleton, {points, lines}. Errors:
// those of OpenOutput, ErrDamaged also for more than meta.MaxBytes.
func (s *Service) Skeleton(ctx context.Context, name string) (Document, error) {
	return s.document(ctx, name, TaskSkeleton, TaskSkeleton)
}

func (s *Service) document(ctx context.Context, name, task, file string) (Document, error) {
	c, err := s.openTaskFile(ctx, name, task, file)
	if err != nil {
		return Document{}, err
	}
	return documentOf(c)
}

// documentOf reads c and closes it.
func documentOf(c *Content) (Document, error) {
	defer c.Close() // Nothing was written to it.
	if c.Size > meta.MaxBytes {
		return Document{}, ErrDamaged.With("The file '%s' is too large to be read.", c.Name)
	}
	data, err := io.ReadAll(io.LimitReader(c.File, meta.MaxBytes))
	if err != nil {
		return Document{}, fmt.Errorf("read %q: %w", c.Name, err)
	}
	raw, _, err := meta.Read(data)
	if err != nil {
		return Document{}, ErrDamaged.With("The file '%s' is not JSON that can be read.", c.Name).Because(err)
	}
	return Document{raw, c.Modified, c.Version}, nil
}

// manualLists are the sequences that a person measured, and their keys in
// measures.json.
var manualLists = []struct{ list, key string }{{"manual_angles", "angles"}, {"manual_internodes", "internodes"}}

// Sequence returns the divergence angles and internodes along the stem: the
// content of AnglesAndInternodes.json, and what was measured by hand, as far
// as measures.json can be read, as manual_angles and manual_internodes. With a
// list it returns the one of that name alone; ErrNoList if there is none, and
// ErrDamaged if the file that should have it cannot be read. Other errors are
// those of Skeleton.
func (s *Service) Sequence(ctx context.Context, name, list string) (Document, error) {
	doc, err := s.document(ctx, name, TaskMeasures, TaskMeasures)
	if err != nil {
		return doc, err
	}
	members, err := meta.Object(doc.JSON)
	if err != nil {
		return doc, fmt.Errorf("read measures of scan %q: %w", name, err)
	}
	manual, err := s.measures(ctx, name)
	switch {
	case errors.Is(err, fsdb.ErrNotFound):
	case errors.Is(err, ErrDamaged) && !strings.HasPrefix(list, "manual_"): // the rest is still good
	case err != nil:
		return doc, err
	}
	for _, m := range manualLists {
		if v, ok := lookup(manual.JSON, m.key); ok {
			members = meta.Set(members, m.list, v)
		}
	}
	doc.Version += "|" + manual.Version + "|" + list
	if manual.Modified.After(doc.Modified) {
		doc.Modified = manual.Modified
	}
	doc.JSON = meta.Join(members)
	if list == "" {
		return doc, nil
	}
	if doc.JSON = meta.Get(members, list); doc.JSON == nil {
		return doc, ErrNoList.With("The scan '%s' has no sequence '%s'.", name, list)
	}
	return doc, nil
}

// measures returns measures.json; fsdb.ErrNotFound if there is none.
func (s *Service) measures(ctx context.Context, name string) (Document, error) {
	r, _, err := s.open(ctx, s.pool, name, opRead)
	if err != nil {
		return Document{}, err
	}
	path := r.loc().Dir() + "/measures.json"
	c, err := openContent(ctx, path, func(ctx context.Context) (*os.File, iofs.FileInfo, error) {
		return s.tree.OpenPath(ctx, path)
	})
	if err != nil {
		return Document{}, err
	}
	return documentOf(c)
}

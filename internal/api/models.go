package api

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"net/http"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/romi/plantdb-go/internal/fsdb"
	"github.com/romi/plantdb-go/internal/ply"
	"github.com/romi/plantdb-go/internal/preview"
	"github.com/romi/plantdb-go/internal/scan"
)

var (
	rateModel    = perMinute{5, 6_000}
	rateSequence = perMinute{60, 60_000}
)

// ModelQuery says how much of a model is sent, and in which form. It is
// exported for Huma, which fills embedded structs only then.
type ModelQuery struct {
	Size   string `query:"size" doc:"preview (a grid of 1.8), orig for the file itself, or the size of the grid in the unit of the file." example:"preview"`
	Coords string `query:"coords" doc:"true, 1 or yes: the coordinates as JSON." example:"true"`
}

type cloudInput struct {
	ScanPath
	ModelQuery
	Type string `query:"type" doc:"gt is the ground truth of a virtual plant; anything else, and the default, the reconstruction." example:"default"`
}

type meshInput struct {
	ScanPath
	ModelQuery
}

type sequenceInput struct {
	ScanPath
	Type string `query:"type" doc:"angles, internodes, fruit_points, manual_angles or manual_internodes for this list alone; anything else, and the default, all." example:"angles"`
}

// sequences are the lists that can be had alone.
var sequences = []string{"angles", "internodes", "fruit_points", "manual_angles", "manual_internodes"}

// modelErrors are what the routes of a scan's outputs can fail with. 422 is for
// a stored file that is not what its name says.
var modelErrors = []int{http.StatusBadRequest, http.StatusNotFound, http.StatusForbidden, http.StatusUnprocessableEntity}

func (s *server) registerModels() {
	register(s, route{
		id: "get-pointcloud", method: http.MethodGet, path: "/assets/pointcloud/{scan_id}", tag: tagAssets, security: optional, needs: toRead, rate: rateModel,
		faults: []error{
			errOutputOfNoScan, scan.ErrNoTask, scan.ErrNoOutput, ply.ErrDamaged, ply.ErrTooLarge, preview.ErrBadSize, preview.ErrClosed,
			scan.ErrChanged, fsdb.ErrNoSpace,
		},
		summary: "Download the point cloud of a scan",
		doc:     "A PLY file with one point for each cell of a grid, or the file itself.",
		errors:  modelErrors, responses: modelResponses(s.points()),
	}, s.getPointCloud)
	register(s, route{
		id: "get-mesh", method: http.MethodGet, path: "/assets/mesh/{scan_id}", tag: tagAssets, security: optional, needs: toRead, rate: rateModel,
		faults: []error{
			errOutputOfNoScan, scan.ErrNoTask, scan.ErrNoOutput, ply.ErrDamaged, ply.ErrTooLarge, preview.ErrBadSize, preview.ErrClosed,
			scan.ErrChanged, fsdb.ErrNoSpace,
		},
		summary: "Download the mesh of a scan",
		doc:     "The PLY file itself unless a size is given: then its vertices are merged on a grid.",
		errors:  modelErrors, responses: modelResponses(s.triangles()),
	}, s.getMesh)
	register(s, route{
		id: "get-skeleton", method: http.MethodGet, path: "/assets/skeleton/{scan_id}", tag: tagAssets, security: optional, needs: toRead, rate: rateModel,
		faults:  []error{errOutputOfNoScan, scan.ErrNoTask, scan.ErrNoOutput, scan.ErrDamaged},
		summary: "Read the curve skeleton of a scan", doc: "Points, and lines between them by their numbers.",
		errors: modelErrors, responses: jsonResponses("The skeleton.", s.named("CurveSkeleton", listsOf("points", "lines"))),
	}, s.getSkeleton)
	register(s, route{
		id: "get-sequence", method: http.MethodGet, path: "/assets/sequence/{scan_id}", tag: tagAssets, security: optional, needs: toRead, rate: rateSequence,
		faults:  []error{errOutputOfNoScan, scan.ErrNoTask, scan.ErrNoOutput, scan.ErrNoList, scan.ErrDamaged},
		summary: "Read the angles and internodes of a scan",
		doc:     "What was measured along the stem, by the pipeline and by hand, as it is stored: the pipeline's angles are in degrees.",
		errors:  modelErrors, responses: jsonResponses("All sequences; with type the one that was asked for.", s.sequences()),
	}, s.getSequence)
}

// listsOf is the schema of an object of lists.
func listsOf(names ...string) *huma.Schema {
	lists := &huma.Schema{Type: huma.TypeObject, AdditionalProperties: true, Properties: map[string]*huma.Schema{}}
	for _, name := range names {
		row := &huma.Schema{Type: huma.TypeArray, Items: &huma.Schema{Type: huma.TypeNumber}}
		lists.Properties[name] = &huma.Schema{Type: huma.TypeArray, Items: row}
	}
	return lists
}

// sequences is the schema of get-sequence: all of them, or one alone.
func (s *server) sequences() *huma.Schema {
	number := &huma.Schema{Type: huma.TypeNumber, Nullable: true}
	numbers := func(doc string) *huma.Schema {
		return &huma.Schema{Type: huma.TypeArray, Nullable: true, Items: number, Description: doc}
	}
	point := &huma.Schema{Type: huma.TypeArray, Items: number}
	fruits := &huma.Schema{
		Type: huma.TypeArray, Nullable: true, Items: &huma.Schema{Type: huma.TypeArray, Items: point},
		Description: "For each fruit the points along it, each x, y and z in the unit of the scan, which is mm.",
	}
	all := &huma.Schema{Type: huma.TypeObject, AdditionalProperties: true, Properties: map[string]*huma.Schema{
		"angles":            numbers("Angle between each organ and the next one up the stem, in degrees; null where none was found."),
		"internodes":        numbers("Length of the stem between them, in mm; null where none was found."),
		"fruit_points":      fruits,
		"manual_angles":     numbers("The angles as a person measured them, as they are stored; only where the scan has measures.json."),
		"manual_internodes": numbers("The internodes as a person measured them, in mm; only where the scan has measures.json."),
	}}
	return &huma.Schema{AnyOf: []*huma.Schema{
		s.named("Sequences", all),
		{Type: huma.TypeArray, Items: number, Description: "With type, the angles or internodes alone."},
		{Type: huma.TypeArray, Items: fruits.Items, Description: "With type, the fruit_points alone."},
	}}
}

// points and triangles are the schemas of models as JSON.
func (s *server) points() *huma.Schema { return s.named("CloudPoints", listsOf("coordinates")) }

func (s *server) triangles() *huma.Schema {
	return s.named("MeshCoordinates", listsOf("triangles", "vertices"))
}

func modelResponses(coordinates *huma.Schema) map[string]*huma.Response {
	responses := fileResponses()
	responses["200"].Description = "The PLY file, or its coordinates."
	responses["200"].Content["application/json"] = &huma.MediaType{Schema: coordinates}
	return responses
}

func jsonResponses(description string, schema *huma.Schema) map[string]*huma.Response {
	responses := fileResponses()
	responses["200"] = answers(description, map[string]*huma.Schema{"application/json": schema})["200"]
	return responses
}

// outputError answers in the words of the surface. Upstream calls an unknown
// scan a bad request on these routes.
func outputError(ctx context.Context, err error, scanID, task string) error {
	status := http.StatusBadRequest
	older := surfaceOf(ctx) != v017
	if older && task == scan.TaskMeasures {
		status = http.StatusNotFound
	}
	switch {
	case errors.Is(err, scan.ErrUnknownScan):
		return newProblem(status, errOutputOfNoScan.Code, fmt.Sprintf("Scan '%s' not found!", scanID))
	case older && errors.Is(err, scan.ErrNoTask):
		return scan.ErrNoTask.With("No '%s' fileset mapped!", task)
	case older && errors.Is(err, scan.ErrNoOutput):
		return scan.ErrNoOutput.With("No '%s' file found!", task)
	}
	return err
}

func (s *server) getPointCloud(ctx context.Context, in *cloudInput) (*download, error) {
	task := scan.TaskPointCloud
	if in.Type == "gt" {
		task = scan.TaskGroundTruth
	}
	c, err := s.scans.OpenOutput(ctx, in.Scan, task)
	if err != nil {
		return nil, outputError(ctx, err, in.Scan, task)
	}
	return s.pointCloud(c, in.ModelQuery)
}

// pointCloud sends c, and closes it.
func (s *server) pointCloud(c *scan.Content, q ModelQuery) (*download, error) {
	if !isNumber(q.Size) && q.Size != "orig" {
		q.Size = "preview" // upstream takes any word for it
	}
	return s.model(c, q, model{s.previews.PointCloud, writePoints})
}

// isNumber says whether a size is one, be it beyond all bounds.
func isNumber(size string) bool {
	_, err := strconv.ParseFloat(size, 64)
	return err == nil || errors.Is(err, strconv.ErrRange)
}

func (s *server) getMesh(ctx context.Context, in *meshInput) (*download, error) {
	c, err := s.scans.OpenOutput(ctx, in.Scan, scan.TaskMesh)
	if err != nil {
		return nil, outputError(ctx, err, in.Scan, scan.TaskMesh)
	}
	return s.mesh(c, in.ModelQuery)
}

// mesh sends c, and closes it.
func (s *server) mesh(c *scan.Content, q ModelQuery) (*download, error) {
	if !isNumber(q.Size) && q.Size != "preview" {
		q.Size = "orig" // as upstream does with any word
	}
	return s.model(c, q, model{s.previews.Mesh, writeMesh})
}

// model is what a kind of model can be turned into.
type model struct {
	thin  func(context.Context, preview.Source, float64) (*os.File, iofs.FileInfo, error)
	write func(*bufio.Writer, *ply.Mesh)
}

func (s *server) model(c *scan.Content, q ModelQuery, m model) (*download, error) {
	voxel, original, err := preview.VoxelSize(q.Size)
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	shown := itself(c)
	if !original {
		shown = thinned(c, m, voxel)
	}
	if isTrue(strings.ToLower(q.Coords)) {
		return s.coordinates(shown, m), nil
	}
	return s.made(shown), nil
}

// thinned is c on a grid.
func thinned(c *scan.Content, m model, voxel float64) likeness {
	return likeness{
		Content: c, name: c.Name, form: fmt.Sprintf("%s voxel %g", preview.Version, voxel),
		make: func(ctx context.Context) (*os.File, iofs.FileInfo, error) { return m.thin(ctx, source(ctx, c), voxel) },
	}
}

// maxCoordinates bounds the models that are sent as JSON, and so the memory for
// one answer: some fifty megabytes.
const maxCoordinates = 2_000_000

// errCoordinates tells what to do instead.
var errCoordinates = ply.ErrTooLarge.With("The model has more than %d points or triangles; ask for a larger grid, or for the file.", maxCoordinates)

// coordinates sends l as JSON, and closes it.
func (s *server) coordinates(l likeness, m model) *download {
	return s.jsonOf(l, "coordinates", func(ctx context.Context, c *scan.Content, w http.ResponseWriter, r *http.Request) error {
		read, err := s.readModel(ctx, c)
		if err != nil {
			return err
		}
		w.WriteHeader(http.StatusOK)
		if r.Method == http.MethodHead {
			return nil
		}
		// The connection is what can fail, and then every further write does.
		text := bufio.NewWriterSize(w, 64<<10)
		m.write(text, read)
		_ = text.Flush()
		return nil
	})
}

// readModel reads as many models at a time as there are cores.
func (s *server) readModel(ctx context.Context, c *scan.Content) (*ply.Mesh, error) {
	select {
	case s.models <- struct{}{}:
		defer func() { <-s.models }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	m, err := ply.Read(io.LimitReader(c.File, c.Size), ply.Limits{Points: maxCoordinates, Triangles: maxCoordinates, Size: c.Size})
	if errors.Is(err, ply.ErrTooLarge) {
		return nil, errCoordinates
	}
	if err != nil {
		return nil, fmt.Errorf("read model %q: %w", c.Name, err)
	}
	// Only what is sent is kept for as long as the client takes.
	return &ply.Mesh{Points: m.Points, Triangles: m.Triangles}, nil
}

// modelSlots is how many models are read at a time.
func modelSlots() chan struct{} { return make(chan struct{}, runtime.GOMAXPROCS(0)) }

func writePoints(w *bufio.Writer, m *ply.Mesh) {
	_, _ = w.WriteString(`{"coordinates":`)
	writeRows(w, m.Points)
	_, _ = w.WriteString("}\n")
}

func writeMesh(w *bufio.Writer, m *ply.Mesh) {
	_, _ = w.WriteString(`{"triangles":`)
	writeRows(w, m.Triangles)
	_, _ = w.WriteString(`,"vertices":`)
	writeRows(w, m.Points)
	_, _ = w.WriteString("}\n")
}

// writeRows writes a list of rows without ever holding more than one as text.
func writeRows[T float64 | uint32, R ~[3]T](w *bufio.Writer, rows []R) {
	text := []byte{'['}
	for i, row := range rows {
		if i > 0 {
			text = append(text, ',')
		}
		for k, v := range [3]T(row) {
			text = append(text, "[,,"[k])
			text = strconv.AppendFloat(text, float64(v), 'g', -1, 64)
		}
		_, _ = w.Write(append(text, ']'))
		text = text[:0]
	}
	_, _ = w.Write(append(text, ']'))
}

func (s *server) getSkeleton(ctx context.Context, in *ScanPath) (*download, error) {
	d, err := s.scans.Skeleton(ctx, in.Scan)
	if err != nil {
		return nil, outputError(ctx, err, in.Scan, scan.TaskSkeleton)
	}
	return sendDocument(d, "CurveSkeleton.json"), nil
}

func (s *server) getSequence(ctx context.Context, in *sequenceInput) (*download, error) {
	if !slices.Contains(sequences, in.Type) {
		in.Type = ""
	}
	d, err := s.scans.Sequence(ctx, in.Scan, in.Type)
	if err != nil {
		return nil, outputError(ctx, err, in.Scan, scan.TaskMeasures)
	}
	return sendDocument(d, "AnglesAndInternodes.json"), nil
}

// sendDocument sends JSON with ranges and conditions.
func sendDocument(d scan.Document, name string) *download {
	return &download{func(ctx huma.Context) {
		r, w := humago.Unwrap(ctx)
		fileHeaders(w.Header(), name, d.Version)
		w.Header().Set("Content-Type", "application/json")
		text := append(slices.Clip(ascii(d.JSON)), newline...)
		serveContent(&rangeErrors{ResponseWriter: w}, r, d.Modified, bytes.NewReader(text))
	}}
}

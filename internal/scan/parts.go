package scan

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/google/uuid"

	"github.com/romi/plantdb-go/db"
)

// partKeys are what filesets and files can be ordered by: their place in
// files.json, or their ids.
var partKeys = []string{"position", "id"}

// part is a fileset or file on the way into a page; matches says whether it may
// be in it.
type part struct {
	position int32
	name     string
	matches  bool
}

// place is where a part stands in a list. Positions have digits that sort.
func (o order) placeOf(p part) place {
	if o.key == "id" {
		return place{"", p.name}
	}
	return place{fmt.Sprintf("%010d", p.position), p.name}
}

// recordOf is what a where sees of a part.
func recordOf(r db.PageFilesRow, needs needs) *record {
	rec := &record{
		id: r.Name, filename: r.Filename, bytes: r.Size, document: r.Document,
		created: instant(textAt(r.Document, "created")), lastModified: instant(textAt(r.Document, "last_modified")),
	}
	if needs.text > 0 {
		rec.text = searchText(r.Name, r.Document)
	}
	return rec
}

// FilesetPage returns a page of the ids of a scan's filesets. Errors: those of
// FilesetNames and ScanPage.
func (s *Service) FilesetPage(ctx context.Context, name string, q Query) (Page, error) {
	r, _, err := s.open(ctx, s.pool, name, opRead)
	if err != nil {
		return Page{}, err
	}
	return pageOfParts("filesets of "+r.Name, aFileset, q, func(o order, from place, _ int, fits func(db.PageFilesRow) bool) ([]part, int, error) {
		// A scan has few.
		var parts []part
		var position int32
		err := ran(s.q.ListFilesets(ctx, byRow(s.pool, func(fs db.ListFilesetsRow) {
			parts = append(parts, part{position, fs.Name, fits(db.PageFilesRow{Name: fs.Name, Document: fs.Document})})
			position++
		}), r.id))
		if err != nil {
			return nil, 0, fmt.Errorf("list filesets of scan %q: %w", name, err)
		}
		total := len(parts)
		parts = slices.DeleteFunc(parts, func(p part) bool { return o.compare(o.placeOf(p), from) <= 0 })
		slices.SortFunc(parts, func(a, b part) int { return o.compare(o.placeOf(a), o.placeOf(b)) })
		return parts, total, nil
	}, math.MaxInt)
}

// FilePage is FilesetPage for the files of a fileset.
func (s *Service) FilePage(ctx context.Context, name, fileset string, q Query) (Page, error) {
	fs, err := s.readFileset(ctx, name, fileset)
	if err != nil {
		return Page{}, err
	}
	return pageOfParts("files of "+name+"/"+fs.Name, aFile, q, func(o order, from place, n int, fits func(db.PageFilesRow) bool) ([]part, int, error) {
		var parts []part
		err := s.pageFiles(ctx, byRow(s.pool, func(r db.PageFilesRow) { parts = append(parts, part{r.Position, r.Name, fits(r)}) }), fs.ID, o, from, n)
		if err != nil {
			return nil, 0, fmt.Errorf("list files of fileset %q of scan %q: %w", fileset, name, err)
		}
		total, err := s.q.CountFiles(ctx, s.pool, fs.ID)
		if err != nil {
			return nil, 0, fmt.Errorf("count files of fileset %q of scan %q: %w", fileset, name, err)
		}
		return parts, int(total), nil
	}, maxExamined)
}

func (s *Service) pageFiles(ctx context.Context, tx db.DBTX, fileset uuid.UUID, o order, from place, n int) error {
	position := int64(-1)
	if o.down {
		position = math.MaxInt32
	}
	if digits := strings.TrimLeft(from.key, "0"); from != o.first() && o.key != "id" {
		if digits == "" {
			digits = "0"
		}
		var err error
		if position, err = strconv.ParseInt(digits, 10, 32); err != nil {
			return ErrCursor
		}
	}
	arg := db.PageFilesParams{FilesetID: fileset, Position: int32(position), After: from.name, PageSize: int32(n)} //nolint:gosec // bounded above
	switch o {
	case order{"id", false}:
		return ran(s.q.PageFilesByID(ctx, tx, db.PageFilesByIDParams(arg)))
	case order{"id", true}:
		return ran(s.q.PageFilesByIDDown(ctx, tx, db.PageFilesByIDDownParams(arg)))
	case order{"position", true}:
		return ran(s.q.PageFilesDown(ctx, tx, db.PageFilesDownParams(arg)))
	default:
		return ran(s.q.PageFiles(ctx, tx, arg))
	}
}

// pageOfParts makes a page of what next returns after a place, for each of which it
// asks whether it fits, with how many there are in all, and asks once more while it
// holds too few and has not looked at budget.
func pageOfParts(list string, of subject, q Query,
	next func(o order, from place, n int, fits func(db.PageFilesRow) bool) ([]part, int, error), budget int,
) (Page, error) {
	page := Page{Names: []string{}}
	want, err := q.condition(of)
	if err != nil {
		return page, err
	}
	o, err := parseSort(q.Sort, partKeys)
	if err != nil {
		return page, err
	}
	begins, limit, err := q.begin(list, o)
	if err != nil {
		return page, err
	}
	from := begins.place
	needs := needsOf(want)
	all, _ := want.(allOf)
	begin := from == o.first()
	window := limit + 1
	if len(all) > 0 {
		window = min(budget, maxExamined)
	}
	parts, total, err := next(o, from, window, func(r db.PageFilesRow) bool { return want.holds(recordOf(r, needs)) })
	if err != nil {
		return page, err
	}
	page.Total = total
	more := false
	for _, p := range parts {
		if len(page.Names) == limit {
			more = true
			break
		}
		if p.matches {
			page.Names = append(page.Names, p.name)
		}
		from = o.placeOf(p)
	}
	exhausted := !more && (len(parts) < window || budget == math.MaxInt)
	so := begins.and(len(page.Names), 0)
	if len(all) > 0 {
		page.Total, page.AtLeast = so.least, !begin || !exhausted
	}
	if !exhausted {
		page.Next = cursor(queryDigest(list, q), start{from, anyWay, so})
	}
	return page, nil
}

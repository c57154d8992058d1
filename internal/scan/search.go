package scan

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/romi/plantdb-go/db"
	"github.com/romi/plantdb-go/internal/actor"
	"github.com/romi/plantdb-go/internal/postgres"
)

// Bounds of what one page may cost.
const (
	// MaxLimit is the largest page.
	MaxLimit = 1000
	// defaultLimit is the page of who asks for what comes after one.
	defaultLimit = 100
	// maxFound is how many scans an index may find for them to be looked at
	// all; above it the list is walked along instead.
	maxFound = 1000
	// maxExamined is how many scans a page looks at whose metadata it has to
	// read, maxGlanced how many where a few columns tell.
	maxExamined, maxGlanced = 500, 2000
	// maxCounted is how far a list without a filter is counted.
	maxCounted = 1000
)

// Page is a part of a list.
type Page struct {
	Names []string
	// Next is the After of the next page; empty after the last. A page may
	// hold fewer than were asked for, even none, while there is a next one.
	Next string
	// Total is how many there are in all, or, with AtLeast, how many there are
	// at the least.
	Total   int
	AtLeast bool
}

// order is by what a list is ordered.
type order struct {
	key  string
	down bool
}

// sortKeys are what scans can be ordered by.
var sortKeys = []string{"id", "created", "last_modified", "owner", "species", "size", byDue}

// Sorts are what scans can be ordered by, the default first.
func Sorts() []string { return slices.Clone(sortKeys) }

// PartSorts are what filesets and files can be ordered by.
func PartSorts() []string { return slices.Clone(partKeys) }

// TimelapseSorts are what timelapses can be ordered by.
func TimelapseSorts() []string { return slices.Clone(timelapseKeys) }

// parseSort reads a sort, in which a dash is for the last first.
func parseSort(sort string, keys []string) (order, error) {
	key, down := strings.CutPrefix(sort, "-")
	if key == "" && !down {
		return order{key: keys[0]}, nil
	}
	if !slices.Contains(keys, key) {
		return order{}, ErrSort.With("There is no sort '%s'; there are %s, and each with - before it.", printable(clip(sort, 40)), strings.Join(keys, ", "))
	}
	return order{key, down}, nil
}

// compare orders places by bytes, as the database does.
func (o order) compare(a, b place) int {
	c := cmp.Or(strings.Compare(a.key, b.key), strings.Compare(a.name, b.name))
	if o.down {
		return -c
	}
	return c
}

// first is before all places.
func (o order) first() place {
	if o.down {
		return place{highest, highest}
	}
	return place{}
}

// highest sorts after every text that the index holds.
const highest = "\U0010FFFF\U0010FFFF"

// hit is a scan that a walk has come to.
type hit struct {
	ID   uuid.UUID
	Name string
	Key  string
}

func (h hit) place() place { return place{h.Key, h.Name} }

// hits makes hits of rows, which are all alike.
func hits[R ~struct {
	ID   uuid.UUID
	Name string
	Key  string
}](rows []R, err error) ([]hit, error) {
	list := make([]hit, len(rows))
	for i, r := range rows {
		list[i] = hit(r)
	}
	return list, err
}

// search is one list of scans being made.
type search struct {
	*Service
	actor      actor.Actor
	order      order
	want       condition // nil for all
	index      lookups
	withBroken bool
}

func (s *Service) newSearch(a actor.Actor, q Query, withBroken bool) (*search, error) {
	want, err := q.condition(aScan)
	if err != nil {
		return nil, err
	}
	if q.Timelapse != "" {
		want = allOf{compared{[]string{"timelapse"}, "=", q.Timelapse}, want}
	}
	o, err := parseSort(q.Sort, sortKeys)
	x := &search{Service: s, actor: a, order: o, withBroken: withBroken}
	if all, ok := want.(allOf); !ok || len(all) > 0 {
		x.want = want
		x.index.take(want)
	}
	return x, err
}

// condition returns all that q wants, as one.
func (q Query) condition(of subject) (condition, error) {
	var all allOf
	if len(q.Filter.query) > 0 {
		all = append(all, filtered{Filter{query: q.Filter.query, fuzzy: q.Filter.fuzzy, regex: q.Filter.regex}})
	}
	words := append(slices.Clone(q.Filter.words), strings.Fields(strings.ToLower(q.Text))...)
	if len(q.Text) > maxWhereBytes {
		return nil, ErrFilter.With("q is longer than %d bytes.", maxWhereBytes)
	}
	if len(words) > 0 {
		all = append(all, holding{[]string{"text"}, words})
	}
	if strings.TrimSpace(q.Where) != "" {
		where, err := parseWhere(q.Where, of)
		if err != nil {
			return nil, err
		}
		all = append(all, where)
	}
	return all, nil
}

// collect returns every scan of the list, in its order.
func (x *search) collect(ctx context.Context) ([]hit, error) {
	found, _, _, err := x.run(ctx, x.order.first(), 0)
	return found, err
}

// run returns at most limit scans after a place, all with 0, and where the
// list goes on, if it does.
func (x *search) run(ctx context.Context, from place, limit int) (found []hit, next *place, total Page, err error) {
	if x.index.useful() {
		all, complete, err := x.find(ctx)
		if err != nil {
			return nil, nil, total, err
		}
		if complete {
			return x.ofFound(ctx, all, from, limit)
		}
	}
	return x.walk(ctx, from, limit)
}

// find returns what the index finds; complete is false when that is too much.
func (x *search) find(ctx context.Context) (found []hit, complete bool, err error) {
	may := sightOf(x.actor)
	err = postgres.InTx(ctx, x.pool, func(tx pgx.Tx) error {
		if err := x.q.AvoidTableScans(ctx, tx); err != nil {
			return err
		}
		arg := db.FindScansParams{
			Sort: x.order.key, Visibilities: may.visibilities, Username: may.username, Groups: may.groups, WithBroken: x.withBroken,
			Timelapse: x.index.timelapse, Contains: x.index.contains, Owners: x.index.owners, Species: x.index.species, Size: maxFound + 1,
		}
		if x.index.word != "" {
			indexed, err := x.q.CanFindText(ctx, tx)
			if err != nil {
				return err
			}
			if indexed {
				pattern := "%" + strings.NewReplacer(`\`, `\\`, "%", `\%`, "_", `\_`).Replace(x.index.word) + "%"
				arg.Word = &pattern
			} else if !x.index.withoutWord() {
				return nil
			}
		}
		found, err = hits(x.q.FindScans(ctx, tx, arg))
		complete = len(found) <= maxFound
		return err
	})
	if err != nil {
		return nil, false, fmt.Errorf("find scans: %w", err)
	}
	return found, complete, nil
}

// ofFound makes the page of all that can match.
func (x *search) ofFound(ctx context.Context, all []hit, from place, limit int) (found []hit, next *place, total Page, err error) {
	slices.SortFunc(all, func(a, b hit) int { return x.order.compare(a.place(), b.place()) })
	var matched []hit
	for chunk := range slices.Chunk(all, maxExamined) {
		some, err := x.matching(ctx, chunk)
		if err != nil {
			return nil, nil, total, err
		}
		matched = append(matched, some...)
	}
	total.Total = len(matched)
	for i, h := range matched {
		if x.order.compare(h.place(), from) <= 0 {
			continue
		}
		found = append(found, h)
		if len(found) == limit && i+1 < len(matched) {
			p := h.place()
			return found, &p, total, nil
		}
	}
	return found, nil, total, nil
}

// walk goes along the list until the page is full, all were passed, or enough
// were looked at; without a limit to the end.
func (x *search) walk(ctx context.Context, from place, limit int) (found []hit, next *place, total Page, err error) {
	streams, err := x.streams(ctx)
	if err != nil {
		return nil, nil, total, err
	}
	begin := from == x.order.first()
	window, budget := limit+1, maxGlanced
	switch {
	case x.want != nil && needsOf(x.want).document:
		window, budget = maxExamined/2, maxExamined
	case x.want != nil || limit == 0 || x.actor.Scope != nil:
		window = maxGlanced
	}
	for examined := 0; ; {
		passed, err := x.window(ctx, streams, from, window)
		if err != nil {
			return nil, nil, total, err
		}
		matched, err := x.matching(ctx, passed)
		if err != nil {
			return nil, nil, total, err
		}
		exhausted := len(passed) < window
		if room := limit - len(found); limit > 0 && len(matched) >= room {
			found = append(found, matched[:room]...)
			last := found[len(found)-1].place()
			if !exhausted || passed[len(passed)-1].place() != last {
				next = &last
			}
			total, err = x.total(ctx, len(found)+len(matched)-room, begin && exhausted)
			return found, next, total, err
		}
		found = append(found, matched...)
		if exhausted {
			total, err = x.total(ctx, len(found), begin)
			return found, nil, total, err
		}
		from = passed[len(passed)-1].place()
		if examined += len(passed); limit > 0 && examined >= budget {
			total, err = x.total(ctx, len(found), false)
			return found, &from, total, err
		}
	}
}

// total counts a list of which some were found; all says that these are all.
func (x *search) total(ctx context.Context, found int, all bool) (Page, error) {
	if all {
		return Page{Total: found}, nil
	}
	if x.want != nil || x.actor.Scope != nil {
		return Page{Total: found, AtLeast: true}, nil
	}
	may := sightOf(x.actor)
	n, err := x.q.CountVisibleScans(ctx, x.pool, db.CountVisibleScansParams{
		Public: slices.Contains(may.visibilities, Public), Everything: slices.Contains(may.visibilities, Private),
		WithBroken: x.withBroken, Username: may.username, Groups: may.groups, Size: maxCounted + 1,
	})
	if err != nil {
		return Page{}, fmt.Errorf("count scans: %w", err)
	}
	return Page{Total: min(int(n), maxCounted), AtLeast: n > maxCounted}, nil
}

// matching returns those of the hits that the actor may read and that match.
func (x *search) matching(ctx context.Context, list []hit) ([]hit, error) {
	list = withinScope(x.actor, slices.Clone(list), func(h hit) string { return h.Name })
	if x.want == nil || len(list) == 0 {
		return list, nil
	}
	ids := make([]uuid.UUID, len(list))
	for i, h := range list {
		ids[i] = h.ID
	}
	needs := needsOf(x.want)
	rows, err := x.q.ReadScans(ctx, x.pool, db.ReadScansParams{
		Ids: ids, WithText: needs.text, WithDocument: needs.document, WithTasks: needs.tasks,
	})
	if err != nil {
		return nil, fmt.Errorf("read scans: %w", err)
	}
	matches := make(map[uuid.UUID]bool, len(rows))
	for _, r := range rows {
		matches[r.ID] = x.want.holds(&record{
			id: r.Name, owner: r.Owner, visibility: r.Visibility, timelapse: r.Timelapse, created: r.Created, lastModified: r.LastModified,
			species: r.Species, plant: r.Plant, environment: r.Environment, text: r.Text, tasks: r.Tasks,
			files: int64(r.FileCount), bytes: r.ByteCount, document: r.Document,
		})
	}
	return slices.DeleteFunc(list, func(h hit) bool { return !matches[h.ID] }), nil
}

// ScanPage returns a page of the ids of scans that the actor may read and that
// can be used. Those of an unknown timelapse are none. Errors: ErrFilter,
// ErrWhere, ErrSort, ErrCursor.
func (s *Service) ScanPage(ctx context.Context, q Query) (Page, error) {
	return s.scanPage(ctx, q, false)
}

func (s *Service) scanPage(ctx context.Context, q Query, withBroken bool) (Page, error) {
	a, err := acting(ctx)
	if err != nil {
		return Page{}, err
	}
	x, err := s.newSearch(a, q, withBroken)
	if err != nil {
		return Page{}, err
	}
	from, limit, err := q.begin("scans", x.order)
	if err != nil {
		return Page{}, err
	}
	if !storable(q.Timelapse) {
		return Page{Names: []string{}}, nil
	}
	found, next, page, err := x.run(ctx, from, limit)
	page.Names = namesOf(found)
	if next != nil {
		page.Next = cursor(queryDigest("scans", q), *next)
	}
	return page, err
}

func namesOf(found []hit) []string {
	names := make([]string, len(found))
	for i, h := range found {
		names[i] = h.Name
	}
	return names
}

// begin says where a page begins and how many it may have.
func (q Query) begin(list string, o order) (from place, limit int, err error) {
	if limit = min(q.Limit, MaxLimit); limit <= 0 {
		limit = defaultLimit
	}
	if q.After == "" {
		return o.first(), limit, nil
	}
	from, err = parseCursor(queryDigest(list, q), q.After)
	return from, limit, err
}

// InfoPage is ScanPage with the scan-info objects. Unless something is
// searched for, broken scans are among them.
func (s *Service) InfoPage(ctx context.Context, q Query) (Page, []json.RawMessage, error) {
	page, err := s.scanPage(ctx, q, q.plain())
	if err != nil {
		return page, nil, err
	}
	infos, err := s.infosOf(ctx, page.Names)
	return page, infos, err
}

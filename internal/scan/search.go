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

// Bounds of what one page may have.
const (
	// MaxLimit is the largest page.
	MaxLimit = 1000
	// defaultLimit is the page of who asks for what comes after one.
	defaultLimit = 100
	// maxExamined is how many files a page looks at.
	maxExamined = 500
	// maxCounted is how far a list without a filter is counted.
	maxCounted = 1000
)

// pageBounds are what a page of scans may cost.
type pageBounds struct {
	// found is how many scans an index may find for them to be looked at all;
	// above it the list is walked along instead.
	found int
	// examined is how many scans a page looks at whose metadata it has to
	// read, glanced how many in all.
	examined, glanced int
	// sample is how many tell what to expect of the others.
	sample int
}

var defaultBounds = pageBounds{found: 1000, examined: 400, glanced: 1000, sample: 100}

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
	// What indexes could look up of it: all but the word, and the word.
	Contained, Worded bool
	// Nth is the how manieth of its step a walk came to it.
	Nth int64
	// looked says that its document came along, where that is all that has to be read
	// of what can match, and matches what became of that.
	looked, matches bool
}

func (h hit) place() place { return place{h.Key, h.Name} }

// hits makes hits of rows, which are all alike.
func hits[R ~struct {
	ID        uuid.UUID
	Name      string
	Key       string
	Contained bool
	Worded    bool
	Nth       int64
	Document  json.RawMessage
}](rows []R, err error) ([]hit, error) {
	list := make([]hit, len(rows))
	for i, r := range rows {
		list[i] = hitOf(db.WalkScansByIDRow(r))
	}
	return list, err
}

func hitOf(r db.WalkScansByIDRow) hit {
	return hit{ID: r.ID, Name: r.Name, Key: r.Key, Contained: r.Contained, Worded: r.Worded, Nth: r.Nth}
}

// search is one list of scans being made.
type search struct {
	*Service
	pool       postgres.DB // that of the Service, or a transaction
	actor      actor.Actor
	order      order
	want       condition // nil for all
	needs      needs     // of want
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
	x := &search{Service: s, pool: s.pool, actor: a, order: o, withBroken: withBroken}
	if all, ok := want.(allOf); !ok || len(all) > 0 {
		x.want, x.needs = want, needsOf(want)
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

// collect returns every scan of the list, in its order, as they are at one
// moment: a scan that moves in the order meanwhile is where it was.
func (x *search) collect(ctx context.Context) (found []hit, err error) {
	err = postgres.InTx(ctx, x.pool, func(tx pgx.Tx) error {
		if err := x.q.SeeOneMoment(ctx, tx); err != nil {
			return fmt.Errorf("hold the moment of a list: %w", err)
		}
		then := *x
		then.pool = tx
		got, err := then.run(ctx, start{place: x.order.first(), by: byIndex}, 0)
		found = got.found
		return err
	})
	return found, err
}

// stretch is what there is of a list from a place on.
type stretch struct {
	found   []hit
	next    *start // where the list goes on, if it does
	total   int
	atLeast bool
}

// run returns at most limit scans after a place, all with 0. There are two ways
// to them, which come to the same list. Where indexes find few that can match,
// these are all looked at. Where they find many, or know nothing, it is walked
// along the index of the order until the page is full, or enough were looked
// at. Which it is to be, the first scans of the walk tell: to ask the indexes for
// what nearly all scans have costs as much as there are scans.
func (x *search) run(ctx context.Context, from start, limit int) (stretch, error) {
	if from.by == byIndex && x.index.useful() {
		if got, few, err := x.lookUp(ctx, from.place, limit); few || err != nil {
			return got, err
		}
		from.by = byWalk
	}
	w, err := x.newWalk(ctx, from.place, limit)
	if err != nil {
		return stretch{}, err
	}
	choose := x.index.useful() && from.by == anyWay
	for !w.over() {
		if err := w.step(ctx, choose); err != nil {
			return stretch{}, err
		}
		if !choose || w.exhausted {
			continue
		}
		choose = false
		few, err := w.expectsFew(ctx)
		if err != nil {
			return stretch{}, err
		}
		if few {
			if got, few, err := x.lookUp(ctx, from.place, limit); few || err != nil {
				return got, err
			}
			from.by = byWalk
		}
	}
	return w.stretch(ctx, from)
}

// lookUp makes a page of what indexes find; few is false where that is too much.
func (x *search) lookUp(ctx context.Context, from place, limit int) (got stretch, few bool, err error) {
	all, few, err := x.find(ctx)
	if err == nil && few {
		got, err = x.ofFound(ctx, all, from, limit)
	}
	return got, few, err
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
			Timelapse: x.index.timelapse, Contains: x.index.contains, Owners: x.index.owners, Species: x.index.species,
			Size: int32(x.bounds.found + 1), //nolint:gosec // a bound of ours
		}
		if x.index.word != "" {
			indexed, err := x.q.CanFindText(ctx, tx)
			if err != nil {
				return err
			}
			if indexed {
				arg.Word = x.index.pattern()
			} else if !x.index.withoutWord() {
				return nil
			}
		}
		found, err = hits(x.q.FindScans(ctx, tx, arg))
		complete = len(found) <= x.bounds.found
		return err
	})
	if err != nil {
		return nil, false, fmt.Errorf("find scans: %w", err)
	}
	return found, complete, nil
}

// ofFound makes the page of all that can match.
func (x *search) ofFound(ctx context.Context, all []hit, from place, limit int) (got stretch, err error) {
	slices.SortFunc(all, func(a, b hit) int { return x.order.compare(a.place(), b.place()) })
	var matched []hit
	for chunk := range slices.Chunk(all, x.bounds.examined) {
		some, err := x.matching(ctx, chunk)
		if err != nil {
			return got, err
		}
		matched = append(matched, some...)
	}
	got.total = len(matched)
	for i, h := range matched {
		if x.order.compare(h.place(), from) <= 0 {
			continue
		}
		got.found = append(got.found, h)
		if len(got.found) == limit && i+1 < len(matched) {
			got.next = &start{h.place(), byIndex, soFar{i + 1, len(matched)}}
			break
		}
	}
	return got, nil
}

// total counts a list of which some were found; all says that these are all.
func (x *search) total(ctx context.Context, found int, all bool) (total int, atLeast bool, err error) {
	if all {
		return found, false, nil
	}
	if x.want != nil || x.actor.Scope != nil {
		return found, true, nil
	}
	n, err := x.countVisible(ctx, x.actor, x.withBroken, maxCounted+1)
	if err != nil {
		return 0, false, err
	}
	return min(int(n), maxCounted), n > maxCounted, nil
}

// matching returns those of the hits that the actor may read and that match.
func (x *search) matching(ctx context.Context, list []hit) ([]hit, error) {
	list = withinScope(x.actor, slices.Clone(list), func(h hit) string { return h.Name })
	if x.want == nil {
		return list, nil
	}
	list = slices.DeleteFunc(list, func(h hit) bool { return !h.Contained || !h.Worded })
	if x.index.decides(x.want) {
		return list, nil
	}
	matches := make(map[uuid.UUID]bool, len(list))
	var unread []hit
	for _, h := range list {
		if matches[h.ID] = h.matches; !h.looked {
			unread = append(unread, h)
		}
	}
	err := x.read(ctx, unread, x.needs, func(id uuid.UUID, r *record) { matches[id] = x.want.holds(r) })
	return slices.DeleteFunc(list, func(h hit) bool { return !matches[h.ID] }), err
}

// read calls visit with each scan of the list, in no order.
func (x *search) read(ctx context.Context, list []hit, needs needs, visit func(uuid.UUID, *record)) error {
	if len(list) == 0 {
		return nil
	}
	ids := make([]uuid.UUID, len(list))
	for i, h := range list {
		ids[i] = h.ID
	}
	err := ran(x.q.ReadScans(ctx, byRow(x.pool, func(r db.ReadScansRow) {
		visit(r.ID, &record{
			id: r.Name, owner: r.Owner, visibility: r.Visibility, timelapse: r.Timelapse, created: r.Created, lastModified: r.LastModified,
			species: r.Species, plant: r.Plant, environment: r.Environment, text: r.Text, tasks: r.Tasks,
			files: int64(r.FileCount), bytes: r.ByteCount, document: needs.of(r.Document),
		})
	}), db.ReadScansParams{Ids: ids, TextSize: int32(needs.text), WithDocument: needs.document, WithTasks: needs.tasks}))
	if err != nil {
		return fmt.Errorf("read scans: %w", err)
	}
	return nil
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
	got, err := x.run(ctx, from, limit)
	page := Page{Names: namesOf(got.found), Total: got.total, AtLeast: got.atLeast}
	if got.next != nil {
		page.Next = cursor(queryDigest("scans", q), *got.next)
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
func (q Query) begin(list string, o order) (from start, limit int, err error) {
	if limit = min(q.Limit, MaxLimit); limit <= 0 {
		limit = defaultLimit
	}
	if q.After == "" {
		return start{place: o.first(), by: anyWay}, limit, nil
	}
	from, err = parseCursor(queryDigest(list, q), q.After)
	return from, limit, err
}

// InfoPage is ScanPage with the list of the scan-info objects. Unless something is
// searched for, broken scans are among them.
func (s *Service) InfoPage(ctx context.Context, q Query) (Page, *InfoList, error) {
	page, err := s.scanPage(ctx, q, q.plain())
	if err != nil {
		return page, nil, err
	}
	a, err := acting(ctx)
	if err != nil {
		return page, nil, err
	}
	l := &InfoList{s: s, actor: a, size: mostInfos}
	l.source = l.named(page.Names, func(context.Context) ([]string, error) { return nil, nil })
	return page, l, nil
}

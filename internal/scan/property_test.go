package scan

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"pgregory.net/rapid"

	"github.com/romi/plantdb-go/internal/actor"
	"github.com/romi/plantdb-go/internal/fault"
	"github.com/romi/plantdb-go/internal/fsdb"
	"github.com/romi/plantdb-go/internal/pgtest"
)

// propertyTime is how long TestTree makes programs unless it is told how many:
// go test ./internal/scan -run TestTree -rapid.checks 10000.
const propertyTime = 12 * time.Second

// TestTree runs random programs of several writers on two servers of one tree
// and one database, and holds what comes of them to a model. Each history must
// be linearizable: there is one order of the calls, in which each that ended
// before another began comes first, and by which every answer and all that lies
// on the disk and in the index at the end are as the model has them. So what
// was acknowledged is there, what was refused is not, and of two that follow
// each other the last counts.
//
// In some phases transactions are lost, or their acknowledgement is, and
// servers are restarted under their calls. Then a call without an answer may
// have worked or not, but wholly.
func TestTree(t *testing.T) {
	t.Parallel()
	end := time.Now().Add(propertyTime)
	flag.Visit(func(f *flag.Flag) {
		if strings.HasPrefix(f.Name, "rapid.") {
			end = time.Now().AddDate(1, 0, 0)
		}
	})
	pool := pgtest.New(t)
	var seen treeTally
	rapid.Check(t, func(r *rapid.T) {
		if time.Now().After(end) && !seen.failed {
			return
		}
		seen.failed = true // until it is known to be otherwise
		p := rapid.Custom(drawProgram).Draw(r, "program")
		if err := p.run(t, pool, &seen); err != nil {
			r.Fatalf("%v", err)
		}
		seen.failed = false
	})
	t.Logf("%d programs, %d calls: %d acknowledged, %d refused, %d without an answer", seen.programs, seen.calls, seen.done, seen.refused, seen.unknown)
}

// treeTally counts what programs came to.
type treeTally struct {
	programs, calls, done, refused, unknown int
	failed                                  bool
}

// treeProgram is phases, one after the other; at the end of each everything is
// compared.
type treeProgram []phase

// phase is a list of calls for each of some writers, who work at once.
type phase struct {
	Faults  bool
	Writers []script
}

type script struct {
	Server int
	Calls  []modelOp
}

const propertyServers = 2

// GoString is for rapid, which would tell every field: the history says it.
func (p treeProgram) GoString() string { return fmt.Sprintf("%d phases", len(p)) }

func drawProgram(r *rapid.T) treeProgram {
	p := make(treeProgram, rapid.IntRange(1, 3).Draw(r, "phases"))
	for i := range p {
		p[i].Faults = rapid.IntRange(0, 3).Draw(r, "faults") == 0
		p[i].Writers = make([]script, rapid.IntRange(1, 4).Draw(r, "writers"))
		for j := range p[i].Writers {
			p[i].Writers[j].Server = rapid.IntRange(0, propertyServers-1).Draw(r, "server")
			p[i].Writers[j].Calls = rapid.SliceOfN(rapid.Custom(func(r *rapid.T) modelOp { return drawOp(r, p[i].Faults) }), 1, 6).Draw(r, "calls")
		}
	}
	return p
}

// The kinds of calls, as often as they are here.
var propertyCalls = strings.Split("create scan,create scan,create fileset,create fileset,create fileset,upload,upload,upload,upload,pieces,pieces,"+
	"create timelapse,archive,archive,metadata,metadata,match,fileset metadata,file metadata,timelapse metadata,delete file,delete file,"+
	"delete fileset,delete,delete,delete timelapse,restore,restore,restore,purge,batch,batch,read,files,fold,reconcile,refresh,keep trash,sweep,check,restart", ",")

func drawOp(r *rapid.T, faults bool) modelOp {
	kinds := propertyCalls
	if faults {
		kinds = append(slices.Clip(kinds), "lose", "lose", "lose", "lose", "lose", "lose", "lie", "lie", "lie")
	} else {
		kinds = append(slices.Clip(kinds), "visibility", "owner")
	}
	o := drawNames(r, rapid.SampledFrom(kinds).Draw(r, "do"))
	if o.Do == "batch" {
		lines := []string{"metadata", "tag", "untag", "delete", "visibility"}
		if faults {
			lines = lines[:4]
		}
		for range rapid.IntRange(1, 4).Draw(r, "lines") {
			o.Lines = append(o.Lines, drawNames(r, rapid.SampledFrom(lines).Draw(r, "line")))
		}
	}
	if faults {
		// The effect of a lost transaction shows late, where these have moved
		// what it was about, or who may do it; and a timelapse that only the
		// disk has is no place where a name is looked for.
		switch o.Do {
		case "restore":
			o.As = ""
		case "archive":
			o.Timelapse = ""
		}
	}
	return o
}

func drawNames(r *rapid.T, do string) modelOp {
	pick := func(label string, from ...string) string { return rapid.SampledFrom(from).Draw(r, label) }
	o := modelOp{
		Do: do, Who: pick("who", "ann", "ann", "bob", "admin"), Scan: pick("scan", "s1", "s1", "s2", "s3", "t1"),
		Fileset: pick("fileset", "images", "images", "other"), File: pick("file", "f1", "f2"),
		Metadata: drawMetadata(r), Mode: pick("mode", "merge", "merge", "replace", "patch"),
	}
	switch do {
	case "create scan", "archive":
		o.Timelapse, o.Mode = pick("timelapse", "", "", "t1", "t2"), ""
	case "create timelapse", "timelapse metadata", "delete timelapse":
		o.Timelapse, o.Recursive = pick("timelapse", "t1", "t1", "t2"), rapid.Bool().Draw(r, "recursive")
	case "restore":
		o.As = pick("as", "", "", "", "s4")
		o.Entry = rapid.IntRange(0, 3).Draw(r, "entry")
	case "purge":
		o.Entry = rapid.IntRange(0, 3).Draw(r, "entry")
	case "visibility":
		o.As = pick("visibility", Public, Private)
	case "owner":
		o.As = pick("owner", "ann", "bob")
	case "tag", "untag":
		o.As = pick("tag", "red", "green")
	}
	switch do {
	case "create timelapse", "create fileset", "upload", "pieces":
		o.Mode = "" // they set what there is none of
	}
	return o
}

func drawMetadata(r *rapid.T) map[string]any {
	value := rapid.OneOf(
		rapid.Map(rapid.IntRange(0, 99), func(n int) any { return float64(n) }),
		rapid.Map(rapid.IntRange(0, 9), func(n int) any { return map[string]any{"x": float64(n)} }),
		rapid.Map(rapid.IntRange(0, 9), func(n int) any { return map[string]any{"y": float64(n), "z": "text"} }),
		rapid.Just(any(nil)),
	)
	return rapid.MapOfN(rapid.SampledFrom([]string{"a", "b", "c"}), value, 0, 2).Draw(r, "metadata")
}

// call is one that was made, and what came of it. start and end are of one
// clock for all.
type call struct {
	modelOp
	server     int
	start, end int64
	err        error
	ids        []string // of the entries of the trash that it made
	entry      string   // that it was about
	read       map[string]any
	names      []string
}

// ended says how a call ended: with an answer of that kind, or without one
// that says anything.
func (c *call) ended() (kind fault.Kind, known bool) {
	if c.err == nil {
		return modelOK, true
	}
	f, ok := errors.AsType[*fault.Error](c.err)
	if !ok || f.Kind == fault.Internal {
		return fault.Internal, false
	}
	return f.Kind, true
}

func (c *call) String() string {
	text := fmt.Sprintf("%3d-%3d server %d: %s by %s", c.start, c.end, c.server, c.Do, c.Who)
	for _, field := range []struct{ name, value string }{
		{"scan", c.Scan}, {"fileset", c.Fileset}, {"file", c.File}, {"timelapse", c.Timelapse}, {"as", c.As}, {"mode", c.Mode}, {"entry", c.entry},
		{"made", strings.Join(c.ids, " ")}, {"names", strings.Join(c.names, " ")},
	} {
		if strings.TrimSpace(field.value) != "" {
			text += " " + field.name + "=" + field.value
		}
	}
	if len(c.Metadata) > 0 {
		text += fmt.Sprint(" ", c.Metadata)
	}
	for _, line := range c.Lines {
		text += fmt.Sprintf(" [%s %s %s %s %v]", line.Do, line.Scan, line.As, line.Mode, line.Metadata)
	}
	if c.read != nil {
		text += fmt.Sprint(" answered ", c.read)
	}
	return fmt.Sprintf("%s = %v", text, c.err)
}

// flaky is a database whose next transactions are lost, or whose
// acknowledgements are.
type flaky struct {
	*pgxpool.Pool
	lose, lie atomic.Int32
}

func (f *flaky) Begin(ctx context.Context) (pgx.Tx, error) {
	tx, err := f.Pool.Begin(ctx)
	return flakyTx{tx, f}, err
}

type flakyTx struct {
	pgx.Tx
	of *flaky
}

func (tx flakyTx) Commit(ctx context.Context) error {
	if tx.of.lose.Load() > 0 && tx.of.lose.Add(-1) >= 0 {
		return errors.Join(errLost, tx.Rollback(ctx))
	}
	err := tx.Tx.Commit(ctx)
	if tx.of.lie.Load() > 0 && tx.of.lie.Add(-1) >= 0 {
		return errors.Join(errLost, err)
	}
	return err
}

// propertyServer is one of the servers of a program.
type propertyServer struct {
	pool *flaky
	dir  string

	mu  sync.RWMutex // held by calls for reading
	ctx context.Context
	cut context.CancelFunc
	s   *Service
}

func (p *propertyServer) open() error {
	tree, err := fsdb.Create(p.dir)
	if err != nil {
		return err
	}
	config := DefaultConfig()
	config.LockTimeout = time.Minute
	p.s = New(p.pool, tree, groupList{"lab", "farm"}, config, slog.New(slog.DiscardHandler))
	p.ctx, p.cut = context.WithCancel(context.Background())
	ctx := actor.NewContext(context.Background(), actor.System())
	err = errors.Join(p.s.SettleBatches(ctx), p.s.FoldAll(ctx, time.Minute))
	_, reconciled := p.s.Reconcile(ctx)
	return errors.Join(err, reconciled)
}

// restart ends the server, under its calls or once they have ended, and starts
// another on the same tree.
func (p *propertyServer) restart(cut bool) error {
	if cut {
		p.mu.RLock()
		p.cut()
		p.mu.RUnlock()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cut()
	p.quiet()
	return errors.Join(p.s.tree.Close(), p.open())
}

// quiet returns once nothing of the server runs by itself.
func (p *propertyServer) quiet() {
	_ = p.s.AwaitUploads(context.Background()) // which does not end
}

// trial is a program that runs.
type trial struct {
	t       *testing.T
	dir     string
	pool    *pgxpool.Pool
	servers [propertyServers]*propertyServer
	clock   atomic.Int64
	number  atomic.Int64 // of contents, so that no two are alike

	mu    sync.Mutex
	trash []string
	found []string // by checks beside the writers
	open  []openUpload
}

// openUpload is an upload in pieces whose client got no answer.
type openUpload struct {
	who string
	id  uuid.UUID
}

// people are those who make calls.
var people = map[string]actor.Actor{"ann": ann, "bob": bob, "admin": admin}

func (p treeProgram) run(t *testing.T, pool *pgxpool.Pool, seen *treeTally) error {
	_, err := pool.Exec(t.Context(), "TRUNCATE scans, timelapses, scan_events, trash, uploads, batches, reservations CASCADE")
	if err != nil {
		return err
	}
	tr := &trial{t: t, dir: t.TempDir(), pool: pool}
	for i := range tr.servers {
		tr.servers[i] = &propertyServer{pool: &flaky{Pool: pool}, dir: tr.dir}
		if err := tr.servers[i].open(); err != nil {
			return err
		}
		defer func() { _ = tr.servers[i].s.tree.Close() }() // only what a failed trial left
	}
	worlds := []*modelWorld{newModel()}
	var unanswered []*call
	begin := phase{Writers: []script{{Calls: []modelOp{
		{Do: "create timelapse", Who: "bob", Timelapse: "t1"}, {Do: "create scan", Who: "ann", Scan: "s1"},
		{Do: "create fileset", Who: "ann", Scan: "s1", Fileset: "images"}, {Do: "upload", Who: "ann", Scan: "s1", Fileset: "images", File: "f1"},
		{Do: "create scan", Who: "bob", Scan: "s2", Timelapse: "t1"},
	}}}}
	seen.programs++
	clean := true
	for i, ph := range append([]phase{begin}, p...) {
		history := tr.play(ph)
		seen.calls += len(history)
		for _, c := range history {
			switch kind, known := c.ended(); {
			case !known && !ph.Faults:
				return fmt.Errorf("phase %d: a call failed:\n%s", i, historyText(history))
			case !known:
				seen.unknown++
				unanswered = append(unanswered, c)
			case kind == modelOK:
				seen.done++
			default:
				seen.refused++
			}
		}
		clean = clean && !ph.Faults
		now, err := tr.settle(ph.Faults, clean)
		if err != nil {
			return fmt.Errorf("phase %d: %w\n%s", i, err, historyText(history))
		}
		if !clean {
			now.Events = nil
		}
		x := &orderSearch{calls: history, unanswered: unanswered, loose: ph.Faults, now: now, seen: map[string]bool{}, ends: map[string]*modelWorld{}}
		ends := x.linearize(worlds)
		if len(ends) == 0 {
			return fmt.Errorf("phase %d: no order of the calls explains what is there.\nfrom %s\nto   %s\n%s", i, worlds[0].key(), now.key(), historyText(history))
		}
		worlds = ends
	}
	return nil
}

func historyText(history []*call) string {
	lines := make([]string, 0, len(history))
	for _, c := range history {
		lines = append(lines, c.String())
	}
	return strings.Join(lines, "\n")
}

// play lets the writers of a phase work and returns what they did, by the time
// each call began.
func (tr *trial) play(ph phase) []*call {
	var mu sync.Mutex
	var history []*call
	var group sync.WaitGroup
	for _, w := range ph.Writers {
		group.Go(func() {
			for _, o := range w.Calls {
				c := &call{modelOp: o, server: w.Server, ids: make([]string, max(1, len(o.Lines)))}
				for i := range c.ids {
					c.ids[i] = fmt.Sprintf("?%d", tr.number.Add(1))
				}
				if tr.make(c, ph.Faults) {
					mu.Lock()
					history = append(history, c)
					mu.Unlock()
				}
			}
		})
	}
	group.Wait()
	for _, s := range tr.servers {
		s.pool.lose.Store(0)
		s.pool.lie.Store(0)
		s.quiet()
	}
	slices.SortFunc(history, func(a, b *call) int { return int(a.start - b.start) })
	return history
}

// make makes a call and says whether the model is to be asked about it.
func (tr *trial) make(c *call, faults bool) bool {
	p := tr.servers[c.server]
	if c.Do == "restart" {
		c.err = p.restart(faults)
		return c.err != nil
	}
	p.mu.RLock()
	defer p.mu.RUnlock()
	ctx := actor.NewContext(p.ctx, people[c.Who])
	c.start = tr.clock.Add(1)
	defer func() { c.end = tr.clock.Add(1) }()
	if kept, ours := tr.keep(ctx, p, c); ours {
		return kept
	}
	tr.write(ctx, p.s, c)
	return true
}

// keep does what servers do by themselves. All of it must work, change nothing
// that anybody sees, and find nothing.
func (tr *trial) keep(ctx context.Context, p *propertyServer, c *call) (told, ours bool) {
	system := actor.NewContext(ctx, actor.System())
	switch c.Do {
	case "lose":
		p.pool.lose.Store(1)
	case "lie":
		p.pool.lie.Store(1)
	case "fold":
		c.err = p.s.FoldAll(ctx, time.Minute)
	case "reconcile":
		_, c.err = p.s.Refresh(ctx)
	case "refresh":
		if c.err = p.s.RefreshScan(ctx, c.Scan); errors.Is(c.err, ErrUnknownScan) {
			c.err = nil
		}
	case "keep trash":
		_, c.err = p.s.KeepTrash(system)
	case "sweep":
		_, c.err = p.s.SweepResumables(system)
		_, err := p.s.tree.Sweep(ctx, 2*time.Hour)
		_, locks := p.s.tree.SweepLocks(ctx, 10*time.Minute)
		c.err = errors.Join(c.err, p.s.SettleBatches(system), err, locks)
	case "check":
		_, _, c.err = p.s.Check(system, CheckOptions{Digests: true, Report: func(f Finding) error {
			tr.mu.Lock()
			defer tr.mu.Unlock()
			tr.found = append(tr.found, fmt.Sprintf("%d: %+v", tr.clock.Load(), f))
			return nil
		}})
	default:
		return false, false
	}
	if errors.Is(c.err, context.Canceled) || errors.Is(c.err, errLost) {
		c.err = nil
	}
	return c.err != nil, true
}

// write makes a call of a client's.
func (tr *trial) write(ctx context.Context, s *Service, c *call) {
	u := Update{Metadata: asJSON(c.Metadata), Replace: c.Mode == "replace", Patch: c.Mode == "patch"}
	described := c.Metadata
	if c.Timelapse != "" {
		described = maps.Clone(described)
		if described == nil {
			described = map[string]any{}
		}
		described["timelapse"] = map[string]any{"id": c.Timelapse}
	}
	answer := func(raw json.RawMessage, err error) {
		if c.err = err; err == nil {
			c.read = shownKeys(raw)
		}
	}
	entry := func(e TrashEntry, err error) {
		if c.err = err; err == nil {
			c.ids = []string{tr.remember(e.ID.String())}
		}
	}
	switch c.Do {
	case "create scan":
		c.err = s.Create(ctx, c.Scan, asJSON(described))
	case "create timelapse":
		_, c.err = s.CreateTimelapse(ctx, c.Timelapse, asJSON(c.Metadata))
	case "create fileset":
		c.err = s.CreateFileset(ctx, c.Scan, c.Fileset, asJSON(c.Metadata))
	case "upload":
		c.Content = fmt.Sprint("content ", tr.number.Add(1))
		c.err = upload(ctx, s, c.Scan, c.Fileset, c.File, "txt", c.Content, string(asJSON(c.Metadata)))
	case "pieces":
		c.Content = strings.Repeat(fmt.Sprint("piece ", tr.number.Add(1), " "), 100)
		c.err = tr.pieces(ctx, c)
	case "archive":
		c.Content = fmt.Sprint("archived ", tr.number.Add(1))
		_, c.err = uploadArchive(ctx, s, c.Scan, zipped(tr.t, files{
			"files.json": archivedIndex, "metadata/metadata.json": string(asJSON(described)), "metadata/images.json": `{"b": 2}`,
			"metadata/images/note.json": `{"a": 1}`, "images/note.txt": c.Content,
		}))
	case "metadata":
		answer(s.SetMetadata(ctx, c.Scan, u))
	case "match":
		c.err = tr.match(ctx, s, c, u)
	case "fileset metadata":
		answer(s.SetFilesetMetadata(ctx, c.Scan, c.Fileset, u))
	case "file metadata":
		answer(s.SetFileMetadata(ctx, c.Scan, c.Fileset, c.File, u))
	case "timelapse metadata":
		got, err := s.SetTimelapseMetadata(ctx, c.Timelapse, u)
		answer(got.Metadata, err)
	case "read":
		answer(s.Metadata(ctx, c.Scan))
	case "files":
		c.names, c.err = s.FileNames(ctx, c.Scan, c.Fileset, Query{})
	case "delete":
		entry(s.DeleteScan(ctx, c.Scan, Match{}))
	case "delete fileset":
		entry(s.DeleteFileset(ctx, c.Scan, c.Fileset, Match{}))
	case "delete file":
		entry(s.DeleteFile(ctx, c.Scan, c.Fileset, c.File, Match{}))
	case "delete timelapse":
		entry(s.DeleteTimelapse(ctx, c.Timelapse, c.Recursive, Match{}))
	case "visibility":
		_, c.err = s.SetVisibility(ctx, c.Scan, c.As, Match{})
	case "owner":
		_, c.err = s.SetOwner(ctx, c.Scan, c.As, Match{})
	case "restore", "purge":
		tr.takeBack(ctx, s, c)
	case "batch":
		tr.batch(ctx, s, c)
	default:
		c.err = fmt.Errorf("no call %q", c.Do)
	}
}

func (tr *trial) remember(id string) string {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.trash = append(tr.trash, id)
	return id
}

// archivedIndex is the files.json of every archive, as upstream writes it.
const archivedIndex = `{
    "filesets": [
        {
            "files": [
                {
                    "file": "note.txt",
                    "id": "note"
                }
            ],
            "id": "images"
        }
    ]
}`

// takeBack restores or purges one of the entries that were made last.
func (tr *trial) takeBack(ctx context.Context, s *Service, c *call) {
	tr.mu.Lock()
	id := uuid.Nil
	if n := len(tr.trash); n > 0 {
		id = uuid.MustParse(tr.trash[max(0, n-1-c.Entry)])
	}
	tr.mu.Unlock()
	c.entry = id.String()
	if c.Do == "purge" {
		c.err = s.Purge(ctx, id)
		return
	}
	if e, err := s.TrashEntry(ctx, id); err == nil && e.Kind != string(fsdb.TrashScan) {
		c.As = "" // only scans come back under another name here
	}
	_, c.err = s.Restore(ctx, id, c.As)
}

// pieces uploads a file in two pieces, the second on another server.
func (tr *trial) pieces(ctx context.Context, c *call) error {
	first, second := tr.servers[c.server].s, tr.servers[c.server].s
	if other := tr.servers[(c.server+1)%propertyServers]; other.mu.TryRLock() {
		defer other.mu.RUnlock()
		second = other.s
	}
	n := int64(len(c.Content))
	got, err := first.CreateResumable(ctx, NewResumable{
		Scan: c.Scan, Fileset: c.Fileset, File: c.File, Extension: "txt", Size: n, Metadata: asJSON(c.Metadata),
	})
	if err != nil {
		return err
	}
	half := n / 3
	if _, err = first.Resume(ctx, got.ID, piece(0, c.Content[:half])); err == nil {
		_, err = second.Resume(ctx, got.ID, piece(int(half), c.Content[half:]))
	}
	switch _, answered := errors.AsType[*fault.Error](err); {
	case answered:
		err = errors.Join(err, first.EndResumable(ctx, got.ID))
	case err != nil:
		tr.mu.Lock()
		defer tr.mu.Unlock()
		tr.open = append(tr.open, openUpload{c.Who, got.ID})
	}
	return err
}

// match changes metadata only if they are still what they were when they were
// read, and counts up: no such change may be lost.
func (tr *trial) match(ctx context.Context, s *Service, c *call, u Update) error {
	shown, err := s.Metadata(ctx, c.Scan)
	if err != nil {
		return err
	}
	c.read = shownKeys(shown)
	u.Match = Match{Versions: []string{Version(shown)}}
	_, err = s.SetMetadata(ctx, c.Scan, u)
	return err
}

func (tr *trial) batch(ctx context.Context, s *Service, c *call) {
	ops := make([]BatchOp, len(c.Lines))
	for i, l := range c.Lines {
		ops[i] = BatchOp{Op: l.Do, Scan: l.Scan, Metadata: asJSON(l.Metadata), Replace: l.Mode == "replace", Tags: []string{l.As}, Visibility: l.As}
		if l.Mode == "patch" {
			c.Lines[i].Mode = "merge" // there are no patches in a batch
		}
	}
	results, err := s.Batch(ctx, ops)
	if c.err = err; err != nil {
		return
	}
	for i, r := range results {
		if r.Trash != nil {
			c.ids[i] = tr.remember(r.Trash.ID.String())
		}
	}
}

func asJSON(v map[string]any) json.RawMessage {
	if v == nil {
		return json.RawMessage("{}")
	}
	raw, err := json.Marshal(v)
	if err != nil {
		panic(err) // maps of texts and numbers
	}
	return raw
}

// shownKeys are those of metadata that programs set.
func shownKeys(raw json.RawMessage) map[string]any {
	var all map[string]any
	if json.Unmarshal(raw, &all) != nil {
		return map[string]any{"unreadable": string(raw)}
	}
	maps.DeleteFunc(all, func(key string, _ any) bool { return !slices.Contains([]string{"a", "b", "c", "tags"}, key) })
	return all
}

// fits makes w what it is after c, or returns nil if the call cannot
// have ended as it did at that point.
func (x *orderSearch) fits(c *call, w *modelWorld) *modelWorld {
	kind, known := c.ended()
	if kind == fault.Locked || kind == fault.Unavailable {
		return w
	}
	if known && kind != modelOK && x.loose {
		return w // what a lost transaction left behind may have been in its way
	}
	next := w.clone()
	want := next.do(c.modelOp, c.ids, c.entry)
	switch {
	case !known && want == modelOK:
		return next
	case !known:
		return nil
	case kind == fault.Precondition && c.Do == "match":
		return w
	case kind == modelOK && want == fault.Conflict && x.repeats(c, w):
		return w
	case kind != want:
		return nil
	case kind != modelOK:
		return w
	case c.answers(w, next):
		return next
	}
	return nil
}

// repeats says whether the call asks for what is there, and who made that had no
// answer: then it gets one.
func (x *orderSearch) repeats(c *call, w *modelWorld) bool {
	return w.has(c.modelOp) && slices.ContainsFunc(x.unanswered, func(o *call) bool {
		return o.start < c.end && o.Who == c.Who && slices.Contains(o.makes(), c.makes()[0])
	})
}

// answers says whether what the call was told is so.
func (c *call) answers(before, after *modelWorld) bool {
	switch c.Do {
	case "match":
		return cmp.Equal(c.read, before.Scans[c.Scan].Metadata)
	case "metadata", "read":
		return cmp.Equal(c.read, after.Scans[c.Scan].Metadata)
	case "fileset metadata":
		return cmp.Equal(c.read, after.Scans[c.Scan].Filesets[c.Fileset].Metadata)
	case "file metadata":
		return cmp.Equal(c.read, after.Scans[c.Scan].Filesets[c.Fileset].Files[c.File].Metadata)
	case "timelapse metadata":
		return cmp.Equal(c.read, after.Timelapses[c.Timelapse].Metadata)
	case "files":
		// The list of a fileset that goes between two queries is empty.
		have := slices.Sorted(maps.Keys(after.Scans[c.Scan].Filesets[c.Fileset].Files))
		return len(c.names) == 0 || slices.Equal(have, slices.Sorted(slices.Values(c.names)))
	}
	return true
}

// search looks for orders of calls.
type orderSearch struct {
	calls      []*call
	unanswered []*call // of these and of those before
	loose      bool
	now        *modelWorld
	seen       map[string]bool
	ends       map[string]*modelWorld
}

// linearize returns what the world may be after the calls, of all that it may
// have been before, if that is what is there.
func (x *orderSearch) linearize(from []*modelWorld) []*modelWorld {
	for _, w := range from {
		x.after(w, 0)
	}
	return slices.Collect(maps.Values(x.ends))
}

// after goes on where the calls of the set done have happened.
func (x *orderSearch) after(w *modelWorld, done uint64) {
	key := fmt.Sprint(done, w.key())
	if x.seen[key] {
		return
	}
	x.seen[key] = true
	first, left := int64(math.MaxInt64), false
	for i, c := range x.calls {
		if _, known := c.ended(); known && done&(1<<i) == 0 {
			first, left = min(first, c.end), true
		}
	}
	if !left {
		if end := w.named(x.now); end != nil {
			x.ends[end.key()] = end
		}
	}
	for i, c := range x.calls {
		if done&(1<<i) != 0 || c.start > first {
			continue
		}
		if next := x.fits(c, w); next != nil {
			x.after(next, done|1<<i)
		}
	}
}

// named returns w if it is what is there, with the entries of the trash whose
// calls had no answer under the names that they have.
func (w *modelWorld) named(now *modelWorld) *modelWorld {
	w = w.clone()
	if now.Events == nil {
		w.Events = nil
	}
	for id, e := range w.Trash {
		for other, o := range now.Trash {
			made := other == id || strings.HasPrefix(id, "?") && w.Trash[other] == nil
			// Who deletes what a lost call has deleted gets its entry.
			if by := e.modelEntry; made && now.Events == nil {
				by.DeletedBy = o.DeletedBy
				made, e.DeletedBy = by == o.modelEntry, by.DeletedBy
			}
			if made {
				delete(w.Trash, id)
				w.Trash[other] = e
				break
			}
		}
	}
	bare := w.clone()
	for id, e := range bare.Trash {
		bare.Trash[id] = &modelTrash{modelEntry: e.modelEntry}
	}
	if bare.key() != now.key() {
		return nil
	}
	if w.Events == nil {
		w.Events = map[string]int{}
	}
	return w
}

// settle ends what the phase left half-done, as the next start does, and returns
// what is there: the same by the index and on the disk.
func (tr *trial) settle(faults, clean bool) (*modelWorld, error) {
	s := tr.servers[0].s
	for _, u := range tr.open {
		ctx := actor.NewContext(context.Background(), people[u.who])
		if got, err := s.Resumable(ctx, u.id); err != nil || !got.Finished {
			if err := s.EndResumable(ctx, u.id); err != nil {
				return nil, fmt.Errorf("end upload %s: %w", u.id, err)
			}
		}
	}
	tr.open = nil
	ctx := actor.NewContext(context.Background(), actor.System())
	_, trash := s.KeepTrash(ctx)
	err := errors.Join(s.SettleBatches(ctx), trash, s.FoldAll(ctx, time.Minute))
	_, reconciled := s.Reconcile(ctx)
	if err := errors.Join(err, reconciled); err != nil {
		return nil, err
	}
	if faults {
		if err := tr.mend(ctx, s); err != nil {
			return nil, err
		}
	}
	var found []string
	if !faults {
		found = tr.found
	}
	_, _, err = s.Check(ctx, CheckOptions{Digests: true, Report: func(f Finding) error {
		found = append(found, fmt.Sprintf("%+v", f))
		return nil
	}})
	if err != nil || len(found) > 0 {
		return nil, fmt.Errorf("a check finds %s (%w)", strings.Join(found, "\n"), err)
	}
	tr.found = nil
	now, err := tr.observe(ctx, s)
	if err != nil {
		return nil, err
	}
	return now, tr.compareDisk(now, clean)
}

// mend repairs what calls without an answer may leave: a file that is not
// listed, and its metadata.
func (tr *trial) mend(ctx context.Context, s *Service) error {
	var bad []string
	_, _, err := s.Check(ctx, CheckOptions{Digests: true, Repair: true, Report: func(f Finding) error {
		if f.Kind != FindingKind(fsdb.ExtraFile) && f.Kind != FindingKind(fsdb.OrphanMetadata) {
			bad = append(bad, fmt.Sprintf("%+v", f))
		}
		return nil
	}})
	if len(bad) > 0 {
		err = errors.Join(err, fmt.Errorf("a check after the faults finds %s", strings.Join(bad, "\n")))
	}
	return err
}

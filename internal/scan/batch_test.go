package scan

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/romi/plantdb-go/internal/actor"
	"github.com/romi/plantdb-go/internal/pgtest"
)

// everything is a batch with every kind of change.
func everything() []BatchOp {
	return []BatchOp{
		{Op: BatchMetadata, Scan: "a", Metadata: json.RawMessage(`{"x": 2}`)},
		{Op: BatchTag, Scan: "a", Tags: []string{"red", "green"}},
		{Op: BatchVisibility, Scan: "b", Visibility: Private},
		{Op: BatchShare, Scan: "b", Groups: []string{"lab"}},
		{Op: BatchDelete, Scan: "c"},
		{Op: BatchDelete, Scan: "m"},
		{Op: BatchUntag, Scan: "a", Tags: []string{"red", "none"}},
	}
}

func batchTree() []files {
	return []files{
		plainScan("a", `{"owner": "ann", "x": 1}`), plainScan("b", `{"owner": "ann"}`), plainScan("c", `{"owner": "ann"}`),
		plainScan("tl/m", `{"owner": "ann"}`), {"tl/timelapse.json": `{"id": "tl", "scans": ["m"]}`}, plainScan("foreign", `{"owner": "bob"}`),
	}
}

// onDisk returns all files of the scans.
func (f fixture) filesOnDisk(t testing.TB) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(f.dir, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if d.Name() == ".plantdb" || d.Name() == ".locks" {
				return filepath.SkipDir
			}
			return nil
		}
		name, _ := filepath.Rel(f.dir, path)
		if !strings.HasPrefix(filepath.Base(name), ".") || filepath.Base(name) == ".plantdb.json" {
			all[name] = f.read(t, name)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func (f fixture) nothingPending(t testing.TB) {
	t.Helper()
	ids, err := f.tree.Batches()
	trash, damaged, errTrash := f.tree.TrashEntries(t.Context())
	if err != nil || errTrash != nil || len(ids) > 0 || len(trash) > 0 || len(damaged) > 0 {
		t.Errorf("left: batches %v (%v), trash %v, damaged %v (%v)", ids, err, trash, damaged, errTrash)
	}
}

func TestBatchDoesAll(t *testing.T) {
	t.Parallel()
	f := indexed(t, batchTree()...)
	results, err := f.Batch(as(t, ann), everything())
	if err != nil {
		t.Fatalf("Batch = %v, %v", results, err)
	}
	for i, r := range results {
		if r.Err != nil || (r.Trash != nil) != (everything()[i].Op == BatchDelete) {
			t.Errorf("line %d = %+v", i, r)
		}
	}
	a := decode(t, must[json.RawMessage](t)(f.Metadata(as(t, ann), "a")))
	if fmt.Sprint(a["x"], a["tags"]) != "2 [green]" {
		t.Errorf("metadata of a = %v", a)
	}
	if b := must[VersionedAccess](t)(f.Access(as(t, ann), "b")); b.Visibility != Private || !slices.Equal(b.Sharing, []string{"lab"}) {
		t.Errorf("access of b = %+v", b)
	}
	if got := must[[]string](t)(f.Names(as(t, ann), Query{})); !slices.Equal(got, []string{"a", "b", "foreign"}) {
		t.Errorf("scans = %q", got)
	}
	if got := must[[]string](t)(f.Names(as(t, ann), Query{Where: `metadata.tags = "green"`})); !slices.Equal(got, []string{"a"}) {
		t.Errorf("scans with a tag = %q", got)
	}
	f.wantOutbox(t, 0, `scan.metadata ann:none  a {"set": ["x"]}`, `scan.metadata ann:none  a {"set": ["tags"]}`, `scan.visibility ann:none  b {"visibility": "private"}`,
		`scan.shared ann:none  b {"groups": ["lab"]}`, `scan.deleted ann:none  c`, `scan.deleted ann:none  tl|m`, `scan.metadata ann:none  a {"set": ["tags"]}`)
	for _, i := range []int{4, 5} {
		if _, err := f.Restore(as(t, ann), results[i].Trash.ID, ""); err != nil {
			t.Errorf("restore what a batch deleted = %v", err)
		}
	}
	f.nothingPending(t)
	before := len(f.outbox(t))
	f.reconcile(t)
	f.wantOutbox(t, before)
}

// If one line fails nothing is done, and each says why.
func TestBatchDoesNothing(t *testing.T) {
	t.Parallel()
	f := indexed(t, append(batchTree(), plainScan("odd", `{"owner": "ann", "tags": "text"}`), plainScan("broken", `{"owner": "ann"}`))...)
	before := f.filesOnDisk(t)
	for name, tt := range map[string]struct {
		op   BatchOp
		want error
	}{
		"unknown":          {BatchOp{Op: BatchTag, Scan: "none", Tags: []string{"x"}}, ErrUnknownScan},
		"somebody else's":  {BatchOp{Op: BatchDelete, Scan: "foreign"}, ErrForbidden},
		"deleted before":   {BatchOp{Op: BatchTag, Scan: "c", Tags: []string{"x"}}, ErrUnknownScan},
		"no such group":    {BatchOp{Op: BatchShare, Scan: "a", Groups: []string{"nobodies"}}, ErrSharing},
		"visibility":       {BatchOp{Op: BatchVisibility, Scan: "a", Visibility: "some"}, ErrMetadata},
		"no object":        {BatchOp{Op: BatchMetadata, Scan: "a", Metadata: json.RawMessage(`[]`)}, ErrMetadata},
		"no operation":     {BatchOp{Op: "x", Scan: "a"}, ErrBatchLine},
		"no tags":          {BatchOp{Op: BatchTag, Scan: "a"}, ErrTags},
		"long tag":         {BatchOp{Op: BatchTag, Scan: "a", Tags: []string{strings.Repeat("x", 65)}}, ErrTags},
		"control in a tag": {BatchOp{Op: BatchTag, Scan: "a", Tags: []string{"x\ny"}}, ErrTags},
		"a bad line":       {BatchOp{Err: ErrBatchLine}, ErrBatchLine},
		// Found only when all before it is done.
		"tags that are none": {BatchOp{Op: BatchTag, Scan: "odd", Tags: []string{"x"}}, ErrNoTagList},
	} {
		ops := append(everything(), tt.op)
		results, err := f.Batch(as(t, ann), ops)
		if !errors.Is(err, ErrBatch) || len(results) != len(ops) {
			t.Fatalf("%s: Batch = %v, %v", name, results, err)
		}
		for i, r := range results {
			want := error(ErrNotDone)
			if i == len(ops)-1 {
				want = tt.want
			}
			if !errors.Is(r.Err, want) || r.Trash != nil {
				t.Errorf("%s: line %d = %+v, want %v", name, i, r, want)
			}
		}
		if diff := cmp.Diff(before, f.filesOnDisk(t)); diff != "" {
			t.Errorf("%s: the tree (-before +after):\n%s", name, diff)
		}
		f.nothingPending(t)
	}
	f.wantOutbox(t, 0)
	if got := must[[]string](t)(f.Names(as(t, ann), Query{})); len(got) != 7 {
		t.Errorf("scans = %q", got)
	}
	f.reconcile(t)
	f.wantOutbox(t, 0)
	if _, err := f.Batch(as(t, ann), make([]BatchOp, MaxBatch+1)); !errors.Is(err, ErrBatchTooLarge) {
		t.Errorf("Batch of %d lines = %v", MaxBatch+1, err)
	}
	if _, err := f.Batch(as(t, guest), nil); !errors.Is(err, ErrNoActor) {
		t.Errorf("Batch by the guest = %v", err)
	}
}

// Whichever step a batch ends at, what was not committed is undone: by the next
// start, or by another server that writes one of the scans, whose write stays.
func TestBatchCutShort(t *testing.T) {
	t.Parallel()
	steps := []string{"begun"}
	for i := range everything() {
		steps = append(steps, fmt.Sprintf("line %d", i))
	}
	for _, step := range append(steps, "done", "committed") {
		for _, by := range []string{"start", "writer"} {
			t.Run(step+" by "+by, func(t *testing.T) {
				t.Parallel()
				pool, dir := pgtest.New(t), t.TempDir()
				f := fixtureOn(t, pool, dir, batchTree()...)
				f.reconcile(t)
				before := f.filesOnDisk(t)
				f.atStep = func(at string) {
					if at == step {
						runtime.Goexit() // nothing after it is done, and the transaction ends
					}
				}
				var wg sync.WaitGroup
				wg.Go(func() { _, _ = f.Batch(as(t, ann), everything()) })
				wg.Wait()
				other := fixtureOn(t, pool, dir)
				system := as(t, actor.System())
				if by == "writer" {
					for _, name := range []string{"a", "b"} {
						if _, err := other.SetMetadata(as(t, ann), name, Update{Metadata: json.RawMessage(`{"y": 7}`)}); err != nil {
							t.Fatalf("a write to %s = %v", name, err)
						}
					}
				}
				if err := other.SettleBatches(system); err != nil {
					t.Fatalf("SettleBatches = %v", err)
				}
				if ids, err := other.tree.Batches(); len(ids) > 0 || err != nil {
					t.Errorf("left of batches: %v, %v", ids, err)
				}
				if by == "writer" {
					for _, name := range []string{"a", "b"} {
						if got := other.read(t, name+"/metadata/metadata.json"); !strings.Contains(got, `"y"`) {
							t.Errorf("the write to %s that came after is lost: %s", name, got)
						}
					}
				}
				names := must[[]string](t)(other.Names(as(t, ann), Query{}))
				x := decode(t, must[json.RawMessage](t)(other.Metadata(as(t, ann), "a")))["x"]
				if step == "committed" {
					if !slices.Equal(names, []string{"a", "b", "foreign"}) || fmt.Sprint(x) != "2" {
						t.Errorf("after a batch that was committed: %q, x %v", names, x)
					}
				} else {
					if !slices.Equal(names, []string{"a", "b", "c", "foreign", "m"}) || fmt.Sprint(x) != "1" {
						t.Errorf("after a batch that was undone: %q, x %v", names, x)
					}
					if diff := cmp.Diff(before, other.filesOnDisk(t)); by == "start" && diff != "" {
						t.Errorf("the tree (-before +after):\n%s", diff)
					}
					other.nothingPending(t)
				}
				events := len(other.outbox(t))
				other.reconcile(t)
				other.wantOutbox(t, events)
			})
		}
	}
}

// A commit that is lost on its way leaves all or nothing.
func TestBatchWhoseCommitIsLost(t *testing.T) {
	t.Parallel()
	pool := &losing{Pool: pgtest.New(t)}
	f := fixtureOn(t, pool, t.TempDir(), batchTree()...)
	f.reconcile(t)
	before := f.filesOnDisk(t)
	pool.lose.Store(1)
	if _, err := f.Batch(as(t, ann), everything()); !errors.Is(err, errLost) {
		t.Fatalf("Batch = %v, want %v", err, errLost)
	}
	if diff := cmp.Diff(before, f.filesOnDisk(t)); diff != "" {
		t.Errorf("the tree (-before +after):\n%s", diff)
	}
	f.nothingPending(t)
	if _, err := f.Batch(as(t, ann), everything()); err != nil {
		t.Errorf("the batch again = %v", err)
	}
}

package fsdb

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// steps does the calls one after the other until the power goes, and returns how
// many were acknowledged.
func steps(calls ...func() error) (acknowledged int) {
	for _, call := range calls {
		if call() != nil {
			break
		}
		acknowledged++
	}
	return acknowledged
}

// everyCut has fn run with the power going after each step of it, and for each
// kind of loss, and then look with what was acknowledged. power gives the tree its
// faulty disk from there on, and lose takes what was not synced.
func everyCut(t *testing.T, fn func(t *testing.T, power func(*Tree), lose func(*Tree)) (acknowledged int, look func(acknowledged int))) {
	t.Helper()
	for loss, losing := range losses {
		t.Run(loss, func(t *testing.T) {
			t.Parallel()
			for step := 0; ; step++ {
				var d *faultyDisk
				acknowledged, look := fn(t, func(tree *Tree) {
					d, _ = tree.disk.(*faultyDisk)
					d.calls, d.fail, d.err, d.dead = 0, step, errPower, true
				}, func(tree *Tree) {
					losing(d)
					spareSyncs(tree)
					tree.ledgers.kept = nil // a process that starts anew
				})
				look(acknowledged)
				if len(d.early) > 0 {
					t.Errorf("step %d: got a name before it was synced: %v", step, d.early)
				}
				if t.Failed() {
					t.Fatalf("at step %d", step)
				}
				if d.calls <= step {
					return // the power went after the last step
				}
			}
		})
	}
}

// TestPowerCutPartial cuts the power under an upload in pieces: what was
// acknowledged of it is there, and in the end the whole file is.
func TestPowerCutPartial(t *testing.T) {
	t.Parallel()
	pieces := []string{"the first piece, ", "the second one"}
	everyCut(t, func(t *testing.T, power func(*Tree), lose func(*Tree)) (int, func(int)) {
		tree := newWritable(t)
		var p *Partial
		var at int64
		var digest []byte
		defer func() {
			if p != nil {
				p.Close()
			}
		}()
		piece := func(n int) func() error {
			return func() (err error) {
				if p == nil {
					if p, err = tree.OpenPartial("u"); err != nil {
						return err
					}
				}
				if err := p.Continue(at, digest); err != nil {
					return err
				}
				if err := receiveText(p, pieces[n]); err != nil {
					return err
				}
				now, state, err := p.Sync()
				if err == nil {
					at, digest = now, state // as the database keeps them
				}
				return err
			}
		}
		power(tree)
		acknowledged := steps(
			func() error { return tree.CreatePartial(ctx, "u") },
			piece(0), piece(1),
			func() error { return finish(tree, p) },
			func() error { return tree.RemovePartial("u") },
		)
		lose(tree)
		return acknowledged, func(acknowledged int) {
			partial, err := os.ReadFile(filepath.Join(tree.Dir(), partialsDir, "u"))
			if acknowledged >= 1 && acknowledged < 4 && err != nil {
				t.Errorf("%d calls were acknowledged, and the upload = %v", acknowledged, err)
			}
			if want := strings.Join(pieces[:max(0, min(acknowledged-1, 2))], ""); acknowledged < 4 && !strings.HasPrefix(string(partial), want) {
				t.Errorf("%d calls were acknowledged, and the upload has %q, want %q", acknowledged, partial, want)
			}
			settle(t, tree)
			there := ""
			for _, f := range readScan(t, tree, Loc{Scan: "s"}).Filesets[0].Files {
				if f.ID == "u" {
					there = string(must[[]byte](t)(os.ReadFile(filepath.Join(tree.Dir(), "s/images", f.Name))))
				}
			}
			if acknowledged >= 4 && there == "" || there != "" && there != strings.Join(pieces, "") {
				t.Errorf("%d calls were acknowledged, and the file is %q", acknowledged, there)
			}
		}
	})
}

// finish makes a file of an upload.
func finish(tree *Tree, p *Partial) error {
	content, err := p.Stage()
	if err != nil {
		return err
	}
	batch := []NewFile{{ID: "u", Name: "u.txt", Content: content, Metadata: object(`{}`)}}
	errs, err := tree.AddFiles(ctx, Loc{Scan: "s"}, "images", batch)
	return errors.Join(append(errs, err, discardAll(batch))...)
}

// TestPowerCutBatch cuts the power under a batch, its undoing and its end: one that
// is undone leaves what was there before, also when the undoing was cut short,
// and one that was committed leaves what it did.
func TestPowerCutBatch(t *testing.T) {
	t.Parallel()
	parts := []BatchPart{{Scan: "s"}, {Timelapse: "tl"}, {Timelapse: "tl", Scan: "m", Trash: "new"}}
	batch := []func(*Tree) error{
		func(tree *Tree) error { return tree.BeginBatch(ctx, "b", parts) },
		func(tree *Tree) error { return tree.WriteScanMetadata(ctx, Loc{Scan: "s"}, object(`{"b":2}`)) },
		func(tree *Tree) error { return tree.WriteVisibility(ctx, Loc{Scan: "s"}, "private") },
		func(tree *Tree) error { return tree.Trash(ctx, trashed("new", TrashScan, "tl", "m", "", "")) },
		func(tree *Tree) error {
			return tree.WriteTimelapse(ctx, Timelapse{ID: "tl", Scans: []string{}, Metadata: object(`{"b":2}`)})
		},
	}
	folded := func(t *testing.T) *Tree {
		t.Helper()
		tree := newWritable(t)
		settle(t, tree)
		return tree
	}
	before := state(t, folded(t))
	on := func(tree *Tree, calls []func(*Tree) error) (bound []func() error) {
		for _, call := range calls {
			bound = append(bound, func() error { return call(tree) })
		}
		return bound
	}
	undo := func(tree *Tree) error {
		for _, part := range parts {
			if err := tree.UndoBatch(ctx, "b", part.Name()); err != nil {
				return err
			}
		}
		return nil
	}
	// What a start does to a batch that was not committed.
	undone := func(t *testing.T, tree *Tree) {
		t.Helper()
		settle(t, tree)
		if err := undo(tree); err != nil {
			t.Errorf("UndoBatch() = %v", err)
		}
		if got := state(t, tree); got != before {
			t.Errorf("after the undoing a reader finds\n%s\nbefore:\n%s", got, before)
		}
		if ids, err := tree.Batches(); err != nil || len(ids) > 0 {
			t.Errorf("Batches() = %v, %v", ids, err)
		}
	}
	t.Run("batch", func(t *testing.T) {
		t.Parallel()
		everyCut(t, func(t *testing.T, power func(*Tree), lose func(*Tree)) (int, func(int)) {
			tree := folded(t)
			power(tree)
			acknowledged := steps(on(tree, batch)...)
			lose(tree)
			return acknowledged, func(int) { undone(t, tree) }
		})
	})
	t.Run("undoing", func(t *testing.T) {
		t.Parallel()
		everyCut(t, func(t *testing.T, power func(*Tree), lose func(*Tree)) (int, func(int)) {
			tree := folded(t)
			if n := steps(on(tree, batch)...); n != len(batch) {
				t.Fatalf("only %d steps of the batch were done", n)
			}
			if state(t, tree) == before {
				t.Fatal("the batch changes nothing")
			}
			spareSyncs(tree)
			power(tree)
			acknowledged := steps(func() error { return undo(tree) })
			lose(tree)
			return acknowledged, func(int) { undone(t, tree) }
		})
	})
	t.Run("end", func(t *testing.T) {
		t.Parallel()
		everyCut(t, func(t *testing.T, power func(*Tree), lose func(*Tree)) (int, func(int)) {
			tree := folded(t)
			if n := steps(on(tree, batch)...); n != len(batch) {
				t.Fatalf("only %d steps of the batch were done", n)
			}
			after := state(t, tree)
			power(tree)
			acknowledged := steps(func() error { return tree.EndBatch("b") })
			lose(tree)
			return acknowledged, func(acknowledged int) {
				if err := tree.EndBatch("b"); err != nil {
					t.Errorf("EndBatch() again = %v", err)
				}
				if got := state(t, tree); got != after {
					t.Errorf("%s acknowledged: after the end a reader finds\n%s\nwant\n%s", fmt.Sprint(acknowledged), got, after)
				}
			}
		})
	})
}

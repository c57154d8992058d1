package scan

import (
	"context"
	"errors"
	"testing"

	"github.com/romi/plantdb-go/internal/actor"
	"github.com/romi/plantdb-go/internal/fault"
	"github.com/romi/plantdb-go/internal/fsdb"
)

// A batch that panics is refused, and the fileset takes the next as before.
func TestBatcherPanics(t *testing.T) {
	t.Parallel()
	b := batcher{flush: func(_ context.Context, _ uploadKey, batch []pending) []error {
		if batch[0].file.ID == "bad" {
			panic("a bug")
		}
		return make([]error, len(batch))
	}}
	submit := func(file string) error {
		_, err := b.submit(t.Context(), uploadKey{"s", "images"}, actor.Actor{}, fsdb.NewFile{ID: file}, charge{})
		return err
	}
	err := submit("bad")
	if p, ok := errors.AsType[*fault.PanicError](err); !ok || p.Value != "a bug" {
		t.Errorf("submit() of what panics = %v, want its panic", err)
	}
	if err := submit("good"); err != nil {
		t.Errorf("submit() after it = %v", err)
	}
}

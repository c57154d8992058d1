package main

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"
)

func TestLoadBound(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	seen := map[int]bool{}
	l := &load{clients: 4, most: 10, do: func(_ context.Context, j job) error {
		mu.Lock()
		defer mu.Unlock()
		if seen[j.number] || j.client < 0 || j.client >= 4 {
			t.Errorf("job %+v is of no client or was given out before", j)
		}
		seen[j.number] = true
		return nil
	}}
	var done int64
	for range 2 {
		got, err := l.run(t.Context(), time.Hour)
		if err != nil {
			t.Fatalf("run() = %v", err)
		}
		done += got.done
	}
	if done != 10 || len(seen) != 10 {
		t.Errorf("two runs of a load bounded to 10 did %d, %d of them different", done, len(seen))
	}
}

func TestLoadWorksAtLeastOnce(t *testing.T) {
	t.Parallel()
	l := &load{clients: 3, do: func(context.Context, job) error { return nil }}
	if got, err := l.run(t.Context(), 0); err != nil || got.done != 3 {
		t.Errorf("run(0) of 3 clients = %d done, %v, want 3", got.done, err)
	}
}

func TestLoadFails(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	l := &load{clients: 3, do: func(_ context.Context, j job) error {
		if j.number == 5 {
			return broken
		}
		return nil
	}}
	if _, err := l.run(t.Context(), time.Hour); !errors.Is(err, broken) {
		t.Errorf("run() = %v, want %v", err, broken)
	}
}

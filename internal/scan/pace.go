package scan

import (
	"context"
	"time"
)

const (
	// paceWork is how long work that nobody waits for goes on at a stretch, and
	// paceRest how many times as long it rests then, but no longer than paceMost:
	// a request that comes meanwhile has most of the machine.
	paceWork = 2 * time.Millisecond
	paceRest = 3
	paceMost = 50 * time.Millisecond
)

// pace spreads work over time. A nil one does not.
type pace struct {
	began  time.Time // of the stretch
	rested time.Duration
}

// step is called between small pieces of the work, and rests when it is time to
// or returns at once. The end of ctx ends a rest.
func (p *pace) step(ctx context.Context) {
	if p == nil {
		return
	}
	now := time.Now()
	worked := now.Sub(p.began)
	if worked < paceWork {
		return
	}
	timer := time.NewTimer(min(paceRest*worked, paceMost))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
	p.began = time.Now()
	p.rested += p.began.Sub(now)
}

// restedFor is how much of the time was no work.
func (p *pace) restedFor() time.Duration {
	if p == nil {
		return 0
	}
	return p.rested
}

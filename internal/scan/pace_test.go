package scan

import (
	"context"
	"testing"
	"time"
)

func TestPace(t *testing.T) {
	t.Parallel()
	p := &pace{began: time.Now().Add(time.Hour)}
	p.step(t.Context())
	if p.rested != 0 {
		t.Errorf("before it has worked it rested %v", p.rested)
	}
	p.began = time.Now().Add(-paceWork)
	p.step(t.Context())
	if p.restedFor() < paceRest*paceWork {
		t.Errorf("after it has worked for %v it rested %v", paceWork, p.rested)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	p.began = time.Time{} // worked for ever
	rested := p.rested
	p.step(ended)
	if p.began.IsZero() || p.rested < rested {
		t.Errorf("with an ended context it began anew at %v, rested %v", p.began, p.rested)
	}
	var none *pace
	none.step(t.Context())
	if none.restedFor() != 0 {
		t.Errorf("what has no pace rested %v", none.restedFor())
	}
}

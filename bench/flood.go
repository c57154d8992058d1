package main

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/romi/plantdb-go/tokenauth"
)

// revoked is how many ids the set holds when it is measured.
const revoked = 100_000

var nanos = unit{" ns", true}

// noQueries is a source that was read once, and says how often it was asked.
type noQueries struct{ asked int }

func (q *noQueries) Revoked(context.Context, string) ([]tokenauth.Revocation, string, error) {
	q.asked++
	return nil, "", nil
}

func (*noQueries) Listen(context.Context) (tokenauth.Feed, error) { return nil, nil }
func (*noQueries) Notify(context.Context) error                   { return nil }

// revocationCheck asks the set that every request asks, in this process: for
// what is in it, and for what is not and so needs it to be fresh.
func revocationCheck(ctx context.Context, _ *bench) ([]result, error) {
	source := &noQueries{}
	set := tokenauth.Replicated{Source: source, Fresh: time.Hour}
	if err := set.Load(ctx); err != nil {
		return nil, err
	}
	until := time.Now().Add(time.Hour)
	claims := make([]*tokenauth.Claims, 1024)
	for i := range revoked {
		id := fmt.Sprintf("01890a5d-ac96-774b-bcce-%012x", i)
		set.Revoke(tokenauth.Revocation{ID: id, Until: until})
		claims[i%len(claims)] = &tokenauth.Claims{ID: "x" + id, SessionID: id}
	}
	hit, err := lookups(ctx, &set, claims, true)
	if err != nil {
		return nil, err
	}
	for _, c := range claims {
		c.SessionID = "x" + c.SessionID
	}
	missed, err := lookups(ctx, &set, claims, false)
	if err != nil {
		return nil, err
	}
	if source.asked != 1 {
		return nil, fmt.Errorf("the checks asked the source %d times", source.asked-1)
	}
	return []result{{
		what: "revocation check that hits, 100,000 revoked", unit: nanos, ours: hit, goals: []goal{value(1000)},
	}, {
		what: "  and one of a token that is good", unit: nanos, ours: missed, goals: []goal{value(1000)},
	}}, nil
}

// lookups returns what one look takes, in nanoseconds.
func lookups(ctx context.Context, set tokenauth.Checker, claims []*tokenauth.Claims, want bool) (float64, error) {
	const checks = 2_000_000
	began := time.Now()
	for i := range checks {
		if got, _, err := set.IsRevoked(ctx, claims[i%len(claims)]); got != want || err != nil {
			return 0, errors.New("a check is wrong")
		}
	}
	return float64(time.Since(began).Nanoseconds()) / checks, nil
}

const (
	floodLogins = 200
	floodUsers  = 20
	// floodProbe is how often somebody else asks meanwhile.
	floodProbe = 5 * time.Millisecond
)

// loginFlood lets two hundred people log in at once, and looks at how others
// fare meanwhile and at what the server's memory comes to.
func loginFlood(ctx context.Context, b *bench) ([]result, error) {
	s, err := b.openSite(ctx, "flood")
	if err != nil {
		return nil, err
	}
	names, err := s.accounts(ctx, "flood", floodUsers)
	if err != nil {
		return nil, err
	}
	before, err := peakMemory(s.server.cmd.Process.Pid)
	if err != nil {
		return nil, err
	}
	waits, err := s.flood(ctx, names)
	if err != nil {
		return nil, err
	}
	after, err := peakMemory(s.server.cmd.Process.Pid)
	if err != nil {
		return nil, err
	}
	room := float64(runtime.NumCPU()*19+64) * (1 << 20) / 1e6
	return []result{{
		what: fmt.Sprintf("health while %d log in at once, p99", floodLogins), unit: millis,
		ours: waits[len(waits)*99/100].Seconds() * 1000, goals: []goal{value(50)},
	}, {
		what: "  memory of the server grows by", unit: megabytes, ours: after - before, goals: []goal{value(room)},
		limitIs: "bound: a hash a core at 19 MiB, and 64 MiB",
	}}, nil
}

// flood returns how long each probe waited, sorted. A login that is refused
// because the queue is full has its answer and is no failure.
func (s *site) flood(ctx context.Context, names []string) ([]time.Duration, error) {
	var logins sync.WaitGroup
	for i := range floodLogins {
		name := names[i%len(names)]
		logins.Go(func() { _, _ = logIn(ctx, newClient(s.admin.base), name, name) })
	}
	done := make(chan struct{})
	go func() {
		logins.Wait()
		close(done)
	}()
	return s.healthUntil(ctx, done)
}

// healthUntil asks for health again and again until done is closed, and returns
// how long each answer took, sorted.
func (s *site) healthUntil(ctx context.Context, done <-chan struct{}) ([]time.Duration, error) {
	probe := newClient(s.admin.base)
	if _, err := probe.get(ctx, api+"/health"); err != nil {
		return nil, err
	}
	var waits []time.Duration
	tick := time.NewTicker(floodProbe)
	defer tick.Stop()
	for {
		began := time.Now()
		if _, err := probe.get(ctx, api+"/health"); err != nil {
			return nil, err
		}
		waits = append(waits, time.Since(began))
		select {
		case <-done:
			slices.Sort(waits)
			return waits, nil
		case <-tick.C:
		}
	}
}

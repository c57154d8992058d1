package auth

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/romi/plantdb-go/tokenauth"
)

// modelToken is a pair that was given out, as a client remembers it.
type modelToken struct {
	pair    Pair
	used    time.Time // zero: not yet
	cleaned bool      // its row was removed
}

// revoked says whether the access token is, when its pair is traded in now.
func (t modelToken) revoked(generation int, now time.Time, c Config) bool {
	issued, ends := t.pair.AccessClaims.IssuedAt, t.pair.AccessClaims.ExpiresAt
	young := generation > 0 && now.Before(issued.Add(c.RefreshGrace))
	return !young && now.Before(ends.Add(c.Leeway))
}

// modelSession is all that the rules of refresh say of a session: a line of
// pairs, the last of which is current.
type modelSession struct {
	line     []modelToken
	ended    bool
	cleaned  bool // its row was removed, and with it all that is known of it
	absolute time.Time
}

// cleanUp removes what the clock of a server says is over, which that of
// another may not say yet.
func (m *modelSession) cleanUp(now time.Time, c Config) {
	for i := range m.line {
		if m.line[i].pair.RefreshClaims.ExpiresAt.Before(now.Add(-c.Leeway - time.Second)) {
			m.line[i].cleaned = true
			m.cleaned = m.cleaned || i == len(m.line)-1
		}
	}
}

// verdict is what a refresh with the token of that generation must answer; a
// nil error with fresh false is the current pair again.
func (m *modelSession) verdict(generation int, now time.Time, c Config) (fresh bool, err error) {
	t := m.line[generation]
	switch {
	case !now.Before(t.pair.RefreshClaims.ExpiresAt.Add(c.Leeway)):
		return false, tokenauth.ErrExpired
	case t.pair.RefreshClaims.IssuedAt.After(now.Add(c.Leeway)):
		return false, tokenauth.ErrNotYetValid
	case m.cleaned:
		return false, tokenauth.ErrRefreshUnknown
	case m.ended || !now.Before(m.absolute):
		return false, tokenauth.ErrSessionEnded
	case generation == len(m.line)-1:
		return true, nil
	case !t.cleaned && now.Before(t.used.Add(c.RefreshGrace)):
		return false, nil
	}
	m.ended = true
	return false, tokenauth.ErrRefreshReused
}

// TestRefreshStateMachine holds the service to the model: whatever clients do,
// on whatever replica and at whatever time, a session never forks, an ended one
// never comes back, and of its refresh tokens only the current one works
// outside the grace. Clocks of replicas differ, and go back; replicas restart.
func TestRefreshStateMachine(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	short := func(c *Config) {
		c.SessionTimeout, c.RefreshTimeout, c.AbsoluteTimeout = time.Minute, 5*time.Minute, 20*time.Minute
		c.MaxSessions = 0
	}
	replicas := []*Service{w.service(t, short), w.service(t, short)}
	ahead := make([]time.Duration, len(replicas))
	users := []string{"alice", "bob"}
	for _, u := range users {
		register(t, replicas[0], u)
	}
	c := replicas[0].c
	rapid.Check(t, func(r *rapid.T) {
		var sessions []*modelSession
		for i := range replicas {
			if ahead[i] != 0 {
				ahead[i], replicas[i] = 0, w.service(t, short)
			}
		}
		// one draws a replica and the time that it takes it for.
		one := func(r *rapid.T) (*Service, time.Time) {
			i := rapid.IntRange(0, len(replicas)-1).Draw(r, "replica")
			return replicas[i], w.Now().Add(ahead[i])
		}
		session := func(r *rapid.T) *modelSession {
			if len(sessions) == 0 {
				r.Skip()
			}
			return sessions[rapid.IntRange(0, len(sessions)-1).Draw(r, "session")]
		}
		r.Repeat(map[string]func(*rapid.T){
			"login": func(r *rapid.T) {
				s, now := one(r)
				_, pair, err := s.Login(t.Context(), rapid.SampledFrom(users).Draw(r, "user"), password)
				if err != nil {
					r.Fatalf("Login = %v", err)
				}
				sessions = append(sessions, &modelSession{line: []modelToken{{pair: pair}}, absolute: now.Add(c.AbsoluteTimeout)})
			},
			"refresh": func(r *rapid.T) {
				m := session(r)
				// Late generations are the interesting ones, and any may come.
				last := len(m.line) - 1
				back := rapid.OneOf(rapid.IntRange(0, min(2, last)), rapid.IntRange(0, last)).Draw(r, "back")
				s, now := one(r)
				if err := m.refresh(t, s, last-back, now); err != nil {
					r.Fatalf("session %s: %v", m.line[0].pair.AccessClaims.SessionID, err)
				}
			},
			"race": func(r *rapid.T) {
				m := session(r)
				last := len(m.line) - 1
				calls := make([]*modelCall, rapid.IntRange(2, 4).Draw(r, "at once"))
				for i := range calls {
					back := rapid.OneOf(rapid.Just(0), rapid.IntRange(0, min(2, last))).Draw(r, "back")
					s, now := one(r)
					calls[i] = &modelCall{service: s, now: now, generation: last - back}
				}
				var group sync.WaitGroup
				for _, call := range calls {
					group.Go(func() { call.got, call.err = call.service.Refresh(t.Context(), m.line[call.generation].pair.Refresh) })
				}
				group.Wait()
				after := m.inSomeOrder(calls, c)
				if after == nil {
					r.Fatalf("session %s, generation %d: no order of these calls explains their answers: %+v", m.line[0].pair.AccessClaims.SessionID, last, calls)
				}
				*m = *after
			},
			"logout": func(r *rapid.T) {
				m := session(r)
				s, _ := one(r)
				_, err := s.Logout(t.Context(), &m.line[len(m.line)-1].pair.RefreshClaims)
				if err != nil && !errors.Is(err, ErrNotLoggedIn) {
					r.Fatalf("Logout = %v", err)
				}
				m.ended = true
			},
			"time": func(r *rapid.T) {
				w.step(rapid.SampledFrom([]time.Duration{
					time.Second, 5 * time.Second, c.RefreshGrace, c.SessionTimeout, c.RefreshTimeout - time.Second, c.Leeway,
					-time.Second, -c.Leeway, -c.RefreshGrace,
				}).Draw(r, "step"))
			},
			"restart": func(r *rapid.T) {
				i := rapid.IntRange(0, len(replicas)-1).Draw(r, "replica")
				ahead[i] = time.Duration(rapid.IntRange(-3, 3).Draw(r, "ahead")) * time.Second
				replicas[i] = w.serviceAt(t, ahead[i], short)
			},
			"clean up": func(r *rapid.T) {
				s, now := one(r)
				if _, err := s.CleanUp(t.Context()); err != nil {
					r.Fatalf("CleanUp = %v", err)
				}
				for _, m := range sessions {
					m.cleanUp(now, c)
				}
			},
		})
	})
}

// modelCall is a refresh with the token of a generation, and its answer.
type modelCall struct {
	service    *Service
	now        time.Time
	generation int

	got Pair
	err error
}

// String shows the call without its tokens.
func (c *modelCall) String() string {
	return fmt.Sprintf("generation %d at %s: %d, %v", c.generation, c.now.Format(time.TimeOnly), c.got.RefreshClaims.Generation, c.err)
}

// inSomeOrder returns the session after calls that were made at once, if the
// rules give their answers when they are made one after the other in some order,
// and else nil.
func (m *modelSession) inSomeOrder(calls []*modelCall, c Config) *modelSession {
	if len(calls) == 0 {
		return m
	}
	for i, call := range calls {
		next := *m
		next.line = slices.Clone(m.line)
		if !next.explains(call, c) {
			continue
		}
		if after := next.inSomeOrder(slices.Delete(slices.Clone(calls), i, i+1), c); after != nil {
			return after
		}
	}
	return nil
}

// explains makes the call on the model, and says whether its answer is right.
func (m *modelSession) explains(call *modelCall, c Config) bool {
	current := len(m.line) - 1
	fresh, want := m.verdict(call.generation, call.now, c)
	switch {
	case want != nil || call.err != nil:
		return want != nil && errors.Is(call.err, want)
	case !fresh:
		return call.got == m.line[current].pair
	// Of those that got the same pair the one whose clock it bears made it.
	case !call.got.RefreshClaims.IssuedAt.Equal(call.now.Truncate(time.Second)):
		return false
	case call.got.RefreshClaims.Generation != current+1 || call.got.RefreshClaims.SessionID != m.line[0].pair.RefreshClaims.SessionID:
		return false
	}
	m.line[current].used = call.now
	m.line = append(m.line, modelToken{pair: call.got})
	return true
}

// refresh trades a token of the line in and compares with the model.
func (m *modelSession) refresh(t *testing.T, s *Service, generation int, now time.Time) error {
	fresh, want := m.verdict(generation, now, s.c)
	got, err := s.Refresh(t.Context(), m.line[generation].pair.Refresh)
	if !errors.Is(err, want) || (err == nil) != (want == nil) {
		return fmt.Errorf("Refresh(generation %d of %d) = %w, want %w", generation, len(m.line)-1, err, want)
	}
	if err != nil {
		return nil
	}
	current := m.line[len(m.line)-1]
	if !fresh {
		if got != current.pair {
			return fmt.Errorf("Refresh(generation %d) = %+v, want the current pair %+v", generation, got.RefreshClaims, current.pair.RefreshClaims)
		}
		return nil
	}
	if got.RefreshClaims.Generation != len(m.line) || got.RefreshClaims.SessionID != current.pair.RefreshClaims.SessionID {
		return fmt.Errorf("Refresh(generation %d) = %+v, want generation %d of the same session", generation, got.RefreshClaims, len(m.line))
	}
	// Where the old access token has not run out, it is revoked: at once, or if a
	// refresh gave it less than the grace ago, at the end of that.
	if dead, _, _ := s.revoked.IsRevoked(t.Context(), &current.pair.AccessClaims); dead != current.revoked(generation, now, s.c) {
		return fmt.Errorf("the access token of the pair before is revoked = %t, want %t", dead, !dead)
	}
	m.line[len(m.line)-1].used = now
	m.line = append(m.line, modelToken{pair: got})
	return nil
}

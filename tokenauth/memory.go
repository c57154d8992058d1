package tokenauth

import (
	"context"
	"sync"
	"time"
)

// shards keeps writers, above all Prune on a large set, from stopping readers.
const shards = 64

// Memory is a set of revoked jti and sid values, each held until no token that
// it concerns can be alive. IsRevoked costs a fraction of a microsecond,
// allocates nothing and cannot fail. The zero Memory is empty and ready; it
// must not be copied.
//
// The set is bounded by what is revoked within the life of a token, as long as
// Prune is called now and then.
type Memory struct {
	// Now is the clock of Prune; nil means time.Now. Set it before the first use.
	Now func() time.Time

	shards [shards]memoryShard
}

type memoryShard struct {
	mu  sync.RWMutex
	ids map[string]span
}

// span is when a revocation counts.
type span struct {
	from  int64 // in Unix nanoseconds; 0 is always
	until int64 // the Unix second after which it may go
}

// Revoke adds a jti or sid, to be held at least until the given time: the
// latest exp of the tokens concerned, plus the leeway of the verifier. Revoking
// what the set holds already never shortens it; an empty id is ignored. When
// Revoke returns, every later IsRevoked knows.
func (m *Memory) Revoke(id string, until time.Time) { m.add(Revocation{ID: id, Until: until}) }

// add holds a revocation, the earlier and the longer of two of one id, and says
// whether it counts earlier than the set knew.
func (m *Memory) add(r Revocation) bool {
	if r.ID == "" {
		return false // many tokens may have no session
	}
	v := span{until: r.Until.Unix()}
	if !r.From.IsZero() {
		v.from = r.From.UnixNano()
	}
	s := m.shard(r.ID)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ids == nil {
		s.ids = map[string]span{}
	}
	held, ok := s.ids[r.ID]
	if ok {
		s.ids[r.ID] = span{from: min(held.from, v.from), until: max(held.until, v.until)}
		return v.from < held.from
	}
	s.ids[r.ID] = v
	return true
}

// IsRevoked says whether the token's ID or its SessionID is in the set; the
// latter is answered by ErrSessionEnded. The error is always nil.
func (m *Memory) IsRevoked(_ context.Context, c *Claims) (bool, string, error) {
	revoked, reason := m.isRevoked(c, m.Now)
	return revoked, reason, nil
}

func (m *Memory) isRevoked(c *Claims, clock func() time.Time) (bool, string) {
	switch {
	case m.counts(c.ID, clock):
		return true, ErrRevoked.Code
	case c.SessionID != "" && m.counts(c.SessionID, clock):
		return true, ErrSessionEnded.Code
	}
	return false, ""
}

// Prune drops what has run out and returns how much that was. The set does not
// prune itself: call it about once a minute. Readers go on meanwhile.
func (m *Memory) Prune() int { return m.prune(m.Now) }

func (m *Memory) prune(clock func() time.Time) int {
	limit, dropped := timeOf(clock).Unix(), 0
	for i := range m.shards {
		dropped += m.shards[i].prune(limit)
	}
	return dropped
}

// Len returns how many ids the set holds, those included that have run out and
// not been pruned.
func (m *Memory) Len() int {
	n := 0
	for i := range m.shards {
		s := &m.shards[i]
		s.mu.RLock()
		n += len(s.ids)
		s.mu.RUnlock()
	}
	return n
}

// counts says whether the id is revoked by now.
func (m *Memory) counts(id string, clock func() time.Time) bool {
	s := m.shard(id)
	s.mu.RLock()
	held, ok := s.ids[id]
	s.mu.RUnlock()
	return ok && (held.from == 0 || held.from <= timeOf(clock).UnixNano())
}

// timeOf reads a clock; nil is that of the system.
func timeOf(clock func() time.Time) time.Time {
	if clock == nil {
		return time.Now()
	}
	return clock()
}

// shard picks by FNV-1a: ids come from the issuer, so nobody can aim at one
// shard, and unlike hash/maphash it needs no seed to be made first.
func (m *Memory) shard(id string) *memoryShard {
	h := uint32(2166136261)
	for i := range len(id) {
		h = (h ^ uint32(id[i])) * 16777619
	}
	return &m.shards[h%shards]
}

func (s *memoryShard) prune(limit int64) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := len(s.ids)
	for id, held := range s.ids {
		if held.until < limit {
			delete(s.ids, id)
		}
	}
	return before - len(s.ids)
}

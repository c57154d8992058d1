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
	ids map[string]int64 // id to the Unix second after which it may go
}

// Revoke adds a jti or sid, to be held at least until the given time: the
// latest exp of the tokens concerned, plus the leeway of the verifier. Revoking
// what the set holds already never shortens it; an empty id is ignored. When
// Revoke returns, every later IsRevoked knows.
func (m *Memory) Revoke(id string, until time.Time) { m.add(id, until) }

// add is Revoke and says whether the set lacked the id.
func (m *Memory) add(id string, until time.Time) bool {
	if id == "" {
		return false // many tokens may have no session
	}
	s := m.shard(id)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ids == nil {
		s.ids = map[string]int64{}
	}
	held, ok := s.ids[id]
	s.ids[id] = max(held, until.Unix())
	return !ok
}

// IsRevoked says whether the token's ID or its SessionID is in the set; the
// latter is answered by ErrSessionEnded. The error is always nil.
func (m *Memory) IsRevoked(_ context.Context, c *Claims) (bool, string, error) {
	switch {
	case m.has(c.ID):
		return true, ErrRevoked.Code, nil
	case c.SessionID != "" && m.has(c.SessionID):
		return true, ErrSessionEnded.Code, nil
	}
	return false, "", nil
}

// Prune drops what has run out and returns how much that was. The set does not
// prune itself: call it about once a minute. Readers go on meanwhile.
func (m *Memory) Prune() int {
	now := time.Now
	if m.Now != nil {
		now = m.Now
	}
	return m.pruneAt(now())
}

func (m *Memory) pruneAt(now time.Time) int {
	limit, dropped := now.Unix(), 0
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

func (m *Memory) has(id string) bool {
	s := m.shard(id)
	s.mu.RLock()
	defer s.mu.RUnlock()
	_, ok := s.ids[id]
	return ok
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
	for id, until := range s.ids {
		if until < limit {
			delete(s.ids, id)
		}
	}
	return before - len(s.ids)
}

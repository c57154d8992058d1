package scan

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"strings"
)

// maxCursor bounds the text of a cursor, in bytes.
const maxCursor = 1 << 10

// place is where a walk along a list stands: at the last thing that it has
// passed, by what the list is ordered by and its name.
type place struct{ key, name string }

// way is how a list was come along; see search.run. It only saves the next page
// from finding out again.
type way byte

const (
	anyWay way = iota + 1
	// byWalk: the indexes found too much, for whoever asks.
	byWalk
	// byIndex: the indexes found little.
	byIndex
)

// start is where a page begins.
type start struct {
	place
	by way
	soFar
}

// soFar is what the pages before have come to: how many they held, and how many
// there are at the least in all. Of a cursor that tells nothing it is zero.
type soFar struct{ held, least int }

// maxSum bounds what a cursor may say, for anybody can make one.
const maxSum = 1 << 40

// and is soFar after one more page, which held so many and knows of some
// further ones.
func (s soFar) and(held, further int) soFar {
	s.held += held
	s.least = max(s.least, s.held+further)
	return s
}

// counted marks, beside the way, a cursor that has a soFar.
const counted = 0x80

// queryDigest names what a list shows and in which order, so that a cursor is
// only good for the list that it was made for.
func queryDigest(list string, q Query) [8]byte {
	sum := sha256.Sum256(fmt.Appendf(nil, "%q %q %t %q %q %q %q", list, q.Filter.source, q.Filter.fuzzy, q.Where, q.Text, q.Timelapse, q.Sort))
	return [8]byte(sum[:8])
}

// cursor is the text of a start, which clients hand back unread. It holds
// nothing that who gets it may not know.
func cursor(query [8]byte, from start) string {
	raw := append([]byte{byte(from.by)}, query[:]...)
	if from.soFar != (soFar{}) {
		raw[0] |= counted
		raw = binary.AppendVarint(binary.AppendVarint(raw, int64(from.held)), int64(from.least))
	}
	raw = binary.AppendUvarint(raw, uint64(len(from.key)))
	raw = append(append(raw, from.key...), from.name...)
	return base64.RawURLEncoding.EncodeToString(raw)
}

// parseCursor is the inverse of cursor. ErrCursor for anything that was not
// made for this very query.
func parseCursor(query [8]byte, text string) (start, error) {
	if len(text) > maxCursor {
		return start{}, ErrCursor
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || strings.ContainsAny(text, "\r\n") || len(raw) < 10 || !bytes.Equal(raw[1:9], query[:]) {
		return start{}, ErrCursor
	}
	by, rest := way(raw[0]&^counted), raw[9:]
	var so soFar
	if raw[0]&counted != 0 {
		for _, sum := range []*int{&so.held, &so.least} {
			v, n := binary.Varint(rest)
			if n <= 0 || v < 0 || v > maxSum {
				return start{}, ErrCursor
			}
			*sum, rest = int(v), rest[n:]
		}
	}
	length, n := binary.Uvarint(rest)
	rest = rest[max(n, 0):]
	if by < anyWay || by > byIndex || n <= 0 || length > uint64(len(rest)) {
		return start{}, ErrCursor
	}
	from := start{place{string(rest[:length]), string(rest[length:])}, by, so}
	if !storable(from.key) || !storable(from.name) || cursor(query, from) != text {
		return start{}, ErrCursor
	}
	return from, nil
}

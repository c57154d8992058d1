package fsdb

import (
	"crypto/sha256"
	"encoding"
	"errors"
	"fmt"
	"hash"
)

// SumSoFar returns the SHA-256 of the bytes that a state of [Partial.Sync] is
// of, those of nothing if it is empty.
func SumSoFar(state []byte) ([]byte, error) {
	sum, err := digestOf(state)
	if err != nil {
		return nil, err
	}
	return sum.Sum(nil), nil
}

// digestOf returns the SHA-256 that was kept in that state; empty is that of
// nothing.
func digestOf(state []byte) (hash.Hash, error) {
	sum := sha256.New()
	if len(state) == 0 {
		return sum, nil
	}
	back, ok := sum.(encoding.BinaryUnmarshaler)
	if !ok {
		return nil, errors.New("the digest has no state")
	}
	if err := back.UnmarshalBinary(state); err != nil {
		return nil, fmt.Errorf("read the state of a digest: %w", err)
	}
	return sum, nil
}

// stateOf returns the state that digestOf takes.
func stateOf(sum hash.Hash) ([]byte, error) {
	marshaler, ok := sum.(encoding.BinaryMarshaler)
	if !ok {
		return nil, errors.New("the digest has no state")
	}
	state, err := marshaler.MarshalBinary()
	if err != nil {
		return nil, fmt.Errorf("keep the state of a digest: %w", err)
	}
	return state, nil
}

package fsdb

import (
	"crypto/sha256"
	"errors"
	"hash"
	"io"
	"sync"
)

const (
	// blockSize is what is read at once, and blocks how many of them one
	// upload may have on the way from its reader to the disk.
	blockSize = 256 << 10
	blocks    = 4
	// flushSize is how much may be written before the disk is told to begin
	// with it, so that little is left for the sync at the end.
	flushSize = 4 << 20
)

type block [blockSize]byte

var blockPool = sync.Pool{New: func() any { return new(block) }}

// receive copies r into f and returns how long it is and its digest. What is
// longer than a block is written and hashed while more of it is read.
func receive(f file, r io.Reader) (size int64, sum [sha256.Size]byte, err error) {
	s := sink{file: f, sum: sha256.New()}
	err = s.receive(r)
	s.sum.Sum(sum[:0])
	return s.size, sum, err
}

// receiveOne is receive where many are received at once: one block is all that it
// takes, and it does one thing after the other.
func receiveOne(f file, r io.Reader) (size int64, sum [sha256.Size]byte, err error) {
	s := sink{file: f, sum: sha256.New()}
	b, _ := blockPool.Get().(*block)
	defer blockPool.Put(b)
	for {
		n, read := fill(r, b)
		ended := errors.Is(read, io.EOF)
		if read != nil && !ended {
			return s.size, sum, read
		}
		hash, err := s.write(b[:n])
		if err != nil {
			return s.size, sum, err
		}
		hash()
		if ended {
			s.sum.Sum(sum[:0])
			return s.size, sum, nil
		}
	}
}

func (s *sink) receive(r io.Reader) error { return s.receiveBy(r, s.write) }

// receiveBy is receive with a write that does more than that of s.
func (s *sink) receiveBy(r io.Reader, write func(p []byte) (hash func(), err error)) error {
	b, _ := blockPool.Get().(*block)
	n, err := fill(r, b)
	if err == nil {
		return relay(r, filled{b, n}, write)
	}
	var hash func()
	if errors.Is(err, io.EOF) {
		hash, err = write(b[:n])
	}
	if err == nil {
		s.flush()
		hash()
	}
	blockPool.Put(b)
	return err
}

// fill reads until b is full; at the end of r the error is io.EOF.
func fill(r io.Reader, b *block) (n int, err error) {
	for n < len(b) && err == nil {
		var m int
		m, err = r.Read(b[n:])
		n += m
	}
	if n == len(b) && errors.Is(err, io.EOF) {
		err = nil // said again by the next call
	}
	return n, err
}

// sink writes and hashes.
type sink struct {
	file    file
	sum     hash.Hash
	size    int64
	flushed int64
}

// write writes p, and returns what hashes it.
func (s *sink) write(p []byte) (hash func(), err error) {
	n, err := s.file.Write(p)
	s.size += int64(n)
	if err != nil {
		return nil, err
	}
	if s.size-s.flushed >= flushSize {
		s.flush()
	}
	return func() { s.sum.Write(p) }, nil
}

// flush has the disk begin with what it was not told of yet.
func (s *sink) flush() {
	if s.size > s.flushed {
		beginFlush(s.file, s.flushed, s.size-s.flushed)
	}
	s.flushed = s.size
}

// filled is a block and how much of it counts.
type filled struct {
	*block
	n int
}

// written is a block and how it is hashed, nil where it could not be written.
type written struct {
	*block
	hash func()
}

// relay takes the first block, if there is one, and the rest of r. A block is
// read by the caller, then written, then hashed by what write returns, each while
// others do the same with the blocks before and after it; then it is read into
// again.
func relay(r io.Reader, first filled, write func(p []byte) (hash func(), err error)) error {
	toWrite, toHash, free := make(chan filled, blocks), make(chan written, blocks), make(chan *block, blocks)
	done := make(chan error, 1)
	go func() {
		var err error
		for b := range toWrite {
			w := written{block: b.block}
			if err == nil {
				w.hash, err = write(b.block[:b.n])
			}
			toHash <- w
		}
		close(toHash)
		done <- err
	}()
	hashed := make(chan struct{})
	go func() {
		for b := range toHash {
			if b.hash != nil {
				b.hash()
			}
			free <- b.block
		}
		close(hashed)
	}()
	made := 0
	if first.block != nil {
		toWrite <- first
		made++
	}
	var err error
	for err == nil {
		var b *block
		select {
		case b = <-free:
		default:
			if made < blocks {
				b, _ = blockPool.Get().(*block)
				made++
			} else {
				b = <-free
			}
		}
		var n int
		if n, err = fill(r, b); err == nil || errors.Is(err, io.EOF) {
			toWrite <- filled{b, n}
		} else {
			free <- b
		}
	}
	close(toWrite)
	<-hashed
	wrote := <-done
	for range made {
		blockPool.Put(<-free)
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return errors.Join(err, wrote)
}

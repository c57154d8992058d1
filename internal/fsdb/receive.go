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
	s := sink{file: f, sum: sha256.New(), flushes: true}
	err = s.receive(r)
	s.sum.Sum(sum[:0])
	return s.size, sum, err
}

// receiveOne is receive where many are received at once: one block is all that it
// takes, and it does one thing after the other.
func receiveOne(f file, r io.Reader) (size int64, sum [sha256.Size]byte, err error) {
	s := sink{file: f, sum: sha256.New(), flushes: true}
	b, _ := blockPool.Get().(*block)
	defer blockPool.Put(b)
	for {
		n, read := fill(r, b)
		ended := errors.Is(read, io.EOF)
		if read != nil && !ended {
			return s.size, sum, read
		}
		if err := s.put(b[:n]); err != nil {
			return s.size, sum, err
		}
		if ended {
			s.sum.Sum(sum[:0])
			return s.size, sum, nil
		}
	}
}

// spool is receive for what is read again at once: it is not hashed, and the
// disk need not begin with it. wrote is told how much is there.
func spool(f file, r io.Reader, wrote func(size int64)) (size int64, err error) {
	s := sink{file: f, wrote: wrote}
	err = s.receive(r)
	return s.size, err
}

func (s *sink) receive(r io.Reader) error {
	b, _ := blockPool.Get().(*block)
	n, err := fill(r, b)
	if err == nil {
		return s.pipe(r, b)
	}
	if errors.Is(err, io.EOF) {
		err = s.write(b[:n])
	}
	if err == nil {
		s.flush()
		s.hash(b[:n])
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
	sum     hash.Hash // nil for what is not hashed
	flushes bool      // the disk is told to begin, now and then
	wrote   func(size int64)
	size    int64
	flushed int64
}

func (s *sink) put(p []byte) error {
	if err := s.write(p); err != nil {
		return err
	}
	s.hash(p)
	return nil
}

func (s *sink) hash(p []byte) {
	if s.sum != nil {
		s.sum.Write(p)
	}
}

func (s *sink) write(p []byte) error {
	n, err := s.file.Write(p)
	s.size += int64(n)
	if err != nil {
		return err
	}
	if s.wrote != nil {
		s.wrote(s.size)
	}
	if s.size-s.flushed >= flushSize {
		s.flush()
	}
	return nil
}

// flush has the disk begin with what it was not told of yet.
func (s *sink) flush() {
	if s.flushes && s.size > s.flushed {
		beginFlush(s.file, s.flushed, s.size-s.flushed)
	}
	s.flushed = s.size
}

// filled is a block and how much of it counts.
type filled struct {
	*block
	n int
}

// pipe takes the full block first and the rest of r. A block is read by the
// caller, then written, then hashed, each while others do the same with the
// blocks before and after it; then it is read into again.
func (s *sink) pipe(r io.Reader, first *block) error {
	read, written, free := make(chan filled, blocks), make(chan filled, blocks), make(chan *block, blocks)
	done := make(chan error, 1)
	go func() {
		var err error
		for b := range read {
			if err == nil {
				err = s.write(b.block[:b.n])
			}
			written <- b
		}
		close(written)
		done <- err
	}()
	hashed := make(chan struct{})
	go func() {
		for b := range written {
			s.hash(b.block[:b.n]) // of what could not be written nobody asks
			free <- b.block
		}
		close(hashed)
	}()
	read <- filled{first, len(first)}
	made := 1
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
			read <- filled{b, n}
		} else {
			free <- b
		}
	}
	close(read)
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

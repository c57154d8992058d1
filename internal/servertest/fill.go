package servertest

import (
	"errors"
	"os"
	"syscall"
	"testing"
)

// Fill writes a file in dir that leaves no space and returns its path.
func Fill(t testing.TB, dir string) string {
	t.Helper()
	f, err := os.CreateTemp(dir, "filler")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }() // what counts is that the disk is full
	for block := make([]byte, 1<<20); len(block) > 0; {
		if _, err := f.Write(block); errors.Is(err, syscall.ENOSPC) {
			block = block[:len(block)/2]
		} else if err != nil {
			t.Fatal(err)
		}
	}
	return f.Name()
}

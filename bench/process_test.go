package main

import (
	"os"
	"testing"
)

func TestAnnouncement(t *testing.T) {
	t.Parallel()
	a := announcement{address: make(chan string, 1)}
	for _, part := range []string{"PlantDB dev\n  address     http://127.0.0.1:50", "01/plantdb\n", "http://127.0.0.1:1/\n"} {
		if n, err := a.Write([]byte(part)); n != len(part) || err != nil {
			t.Fatalf("Write(%q) = %d, %v", part, n, err)
		}
	}
	if got := <-a.address; got != "http://127.0.0.1:5001" {
		t.Errorf("address = %q, want that of the first line that is whole", got)
	}
}

func TestPeakMemory(t *testing.T) {
	t.Parallel()
	if got, err := peakMemory(os.Getpid()); err != nil || got < 1 || got > 10_000 {
		t.Errorf("peakMemory of this test = %.1f MB, %v", got, err)
	}
}

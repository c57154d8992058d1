package main_test

import (
	"archive/zip"
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/romi/plantdb-go/internal/pgtest"
	"github.com/romi/plantdb-go/internal/servertest"
)

// What goes on at the same time and must not get into one another's way.

// TestDownloadsOutliveTheirScan deletes and purges a scan while a file of it and the
// whole of it are on their way: both arrive whole.
func TestDownloadsOutliveTheirScan(t *testing.T) {
	t.Parallel()
	dir := servertest.Dir(t)
	s := servertest.Start(t, servertest.Options{Env: []string{"DATABASE_URL=" + pgtest.URL(t)}}, dir, "--test", "--rate-limits", "off")
	admin, _ := login(t, s, "admin", "admin")
	admin.makeScan(t, "kept", "notes")
	content := map[string]string{}
	for i := range uint64(3) {
		name := fmt.Sprintf("part%d", i)
		content[name] = pseudorandom(16<<20, i) // more than lies between the two ends of a connection
		if a := admin.upload(t, "/files/kept/images/"+name, content[name]); a.Status != http.StatusCreated {
			t.Fatalf("upload = %d %s", a.Status, a.Text)
		}
	}
	file, archive := begun(t, admin, "/files/kept/images/part1"), begun(t, admin, "/assets/archive/kept")
	a := admin.send(t, http.MethodDelete, "/scans/kept", "", nil)
	entry, _ := a.Body["trash"].(map[string]any)
	if a.Status != http.StatusOK || entry == nil {
		t.Fatalf("DELETE = %d %s", a.Status, a.Text)
	}
	if a := admin.send(t, http.MethodDelete, fmt.Sprint("/trash/", entry["id"]), "", nil); a.Status != http.StatusNoContent {
		t.Fatalf("purge = %d %s", a.Status, a.Text)
	}
	if got, err := io.ReadAll(file); string(got) != content["part1"] || err != nil {
		t.Errorf("the file that was on its way has %d bytes, %v; want all %d", len(got), err, len(content["part1"]))
	}
	packed, err := io.ReadAll(archive)
	if err != nil {
		t.Fatalf("the archive that was on its way ended after %d bytes: %v", len(packed), err)
	}
	reader, err := zip.NewReader(bytes.NewReader(packed), int64(len(packed)))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range content {
		entry, err := reader.Open("images/" + name + ".txt")
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(entry); string(got) != want || err != nil { // which compares the checksum
			t.Errorf("%s in the archive has %d bytes, %v; want all %d", name, len(got), err, len(want))
		}
	}
}

// begun is an answer of which the first byte is there, and no more taken yet.
func begun(t *testing.T, c caller, path string) io.Reader {
	t.Helper()
	body, first := c.begin(t, path), make([]byte, 1)
	if _, err := io.ReadFull(body, first); err != nil {
		t.Fatalf("GET %s: %v", path, err)
	}
	return io.MultiReader(bytes.NewReader(first), body)
}

// pseudorandom is text of n bytes that no packing makes smaller.
func pseudorandom(n int, seed uint64) string {
	chance := rand.New(rand.NewPCG(seed, seed))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(chance.Uint32())
	}
	return string(b)
}

// TestBatchesCrosswise has two servers change the same scans by batches that name
// them in different orders: each gets its turn, and the scans end as one of the
// batches left all of them.
func TestBatchesCrosswise(t *testing.T) {
	t.Parallel()
	const clients, rounds, scans = 8, 5, 6
	dir, o := servertest.Dir(t), servertest.Options{Env: []string{"DATABASE_URL=" + pgtest.URL(t)}}
	servers := make([]caller, 2)
	for i := range servers {
		// As many waits as there may be one after the other.
		s := servertest.Start(t, o, dir, "--test", "--rate-limits", "off", "--lock-timeout", "60")
		servers[i], _ = login(t, s, "admin", "admin")
	}
	for i := range scans {
		servers[0].must(t, http.StatusCreated, fmt.Sprintf("/scans/scan%d", i), object{})
	}
	var group sync.WaitGroup
	for client := range clients {
		group.Go(func() {
			for round := range rounds {
				var lines strings.Builder
				for _, i := range rand.Perm(scans) {
					fmt.Fprintf(&lines, `{"op":"metadata","scan":"scan%d","metadata":{"by":"%d of %d"}}`+"\n", i, round, client)
				}
				a := servers[client%2].send(t, http.MethodPost, "/batch", "application/x-ndjson", strings.NewReader(lines.String()))
				if a.Status != http.StatusOK {
					t.Errorf("batch %d of client %d = %d %s", round, client, a.Status, a.Text)
				}
			}
		})
	}
	group.Wait()
	last := map[string]bool{}
	for i := range scans {
		for _, c := range servers {
			last[c.get(t, fmt.Sprintf("/scans/scan%d/metadata?key=by", i)).Text] = true
		}
	}
	if len(last) != 1 {
		t.Errorf("the scans end as %d batches left them: %v", len(last), last)
	}
}

package main_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/romi/plantdb-go/internal/pgtest"
	"github.com/romi/plantdb-go/internal/servertest"
)

// TestServerPurges starts a server again once an upload stood still, and something
// lay in the trash, for as long as the settings say: their bytes are off the disk,
// and what else is there stays.
func TestServerPurges(t *testing.T) {
	t.Parallel()
	dir := servertest.Dir(t)
	o := servertest.Options{Env: []string{"DATABASE_URL=" + pgtest.URL(t)}}
	begin := func(expiry, retention string) (*servertest.Server, caller) {
		t.Helper()
		s := servertest.Start(t, o, dir, "--test", "--upload-expiry", expiry, "--trash-retention", retention)
		admin, _ := login(t, s, "admin", "admin")
		return s, admin
	}
	s, admin := begin("1", "1")
	admin.makeScan(t, "kept", "notes")
	admin.makeScan(t, "deleted", "notes")
	if a := admin.send(t, http.MethodDelete, "/scans/deleted", "", nil); a.Status != http.StatusOK {
		t.Fatalf("DELETE = %d %s", a.Status, a.Text)
	}
	upload := admin.beginPieces(t, "still", 10).Header.Get("Location")
	upload = upload[len("/api/v1"):]
	if a := admin.sendPiece(t, upload, 0, "01234"); a.Status != http.StatusNoContent {
		t.Fatalf("PATCH = %d %s", a.Status, a.Text)
	}
	held := func() (names []string) {
		for _, place := range []string{"uploads", "trash"} {
			entries, err := os.ReadDir(filepath.Join(dir, ".plantdb", place))
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range entries {
				names = append(names, place+"/"+e.Name())
			}
		}
		return names
	}
	if names := held(); len(names) != 2 {
		t.Fatalf("the tree holds %v, want an upload and an entry of the trash", names)
	}
	// The upload is the younger of the two.
	eventually(t, "the upload expires", func() string {
		a := admin.tus(t, http.MethodGet, upload, nil)
		if a.Status == http.StatusNotFound {
			return ""
		}
		return fmt.Sprint(a.Status)
	})
	s.Stop()

	s, admin = begin("1", "1")
	eventually(t, "the server purges what expired", func() string {
		names := held()
		if len(names) == 0 {
			return ""
		}
		return fmt.Sprint(names)
	})
	if a := admin.get(t, "/trash"); a.Status != http.StatusOK || len(a.Body["entries"].([]any)) != 0 {
		t.Errorf("GET /trash = %d %s, want nothing", a.Status, a.Text)
	}
	if a := admin.get(t, "/files/kept/images/notes"); a.Text != "notes" {
		t.Errorf("what was kept = %d %q", a.Status, a.Text)
	}
	s.Stop()
}

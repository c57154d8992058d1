package main_test

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"testing"

	"github.com/romi/plantdb-go/internal/pgtest"
	"github.com/romi/plantdb-go/internal/servertest"
)

// TestMoreChangesThanConnections changes who may do what with far more scans at once
// than the server has connections to its database: each is answered, for none needs a
// second one while it holds its scan.
func TestMoreChangesThanConnections(t *testing.T) {
	t.Parallel()
	dir := servertest.Dir(t)
	server := servertest.Start(t, servertest.Options{Env: []string{"DATABASE_URL=" + pgtest.URL(t), "PLANTDB_LOCK_TIMEOUT=300"}}, dir, "--test", "--rate-limits", "off")
	admin, _ := login(t, server, "admin", "admin")
	admin.must(t, http.StatusCreated, "/groups", object{"name": "lab"})
	const scans = 100
	for i := range scans {
		admin.must(t, http.StatusCreated, fmt.Sprintf("/scans/s%d", i), object{})
	}
	for _, change := range []struct{ part, body string }{
		{"sharing", `{"groups": ["lab"]}`}, {"owner", `{"owner": "admin"}`}, {"visibility", `{"visibility": "private"}`},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		var group sync.WaitGroup
		for i := range scans {
			c := &crasher{base: admin.base, token: admin.token}
			group.Go(func() {
				path := fmt.Sprintf("/scans/s%d/%s", i, change.part)
				if a := c.try(ctx, http.MethodPut, path, jsonType, []byte(change.body)); a.Status != http.StatusOK {
					t.Errorf("PUT %s, one of %d at once = %d %s", path, scans, a.Status, a.Text)
				}
			})
		}
		group.Wait()
		cancel()
	}
}

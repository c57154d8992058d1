package main_test

import (
	"fmt"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/romi/plantdb-go/internal/servertest"
)

// previewImages is how many images TestDatabaseKilledUnderPreviews uploads.
const previewImages = 8

// TestDatabaseKilledUnderPreviews kills PostgreSQL while a job that makes
// previews runs, and starts it again once the server has met its absence: every
// preview is made, by the server that lived, and no job is left behind.
func TestDatabaseKilledUnderPreviews(t *testing.T) {
	t.Parallel()
	home, dir := filepath.Join(servertest.Dir(t), "postgres"), servertest.Dir(t)
	database := startDatabase(t, home)
	s := servertest.Start(t, servertest.Options{Env: []string{"DATABASE_URL=" + database.URL()}}, dir, "--test", "--rate-limits", "off")
	admin, _ := login(t, s, "admin", "admin")
	admin.makeScan(t, "seen", "notes")
	for i := range previewImages {
		contentType, body := form(t, photo(t, i), "ext", "png")
		if a := admin.send(t, http.MethodPost, fmt.Sprintf("/files/seen/images/image%d", i), contentType, body); a.Status != http.StatusCreated {
			t.Fatalf("upload of image %d = %d %s", i, a.Status, a.Text)
		}
	}
	t.Cleanup(s.Continue)
	stopInPreviews(t, s, database.URL())
	if made := previewsIn(t, dir); made >= 2*previewImages {
		t.Fatalf("%d previews are there while one is made, want less than all", made)
	}
	for _, id := range servertest.Standing(filepath.Join(home, "data")) {
		if pid, err := strconv.Atoi(id); err == nil {
			_ = syscall.Kill(pid, syscall.SIGKILL) // it may have ended with the others
		}
	}
	if err := database.Stop(t.Context()); err != nil { // nobody starts it again
		t.Fatal(err)
	}
	s.Continue()
	soon(t, "the server meets the absence of PostgreSQL", func() string {
		if a := admin.get(t, "/health"); a.Status != http.StatusServiceUnavailable {
			return a.Text
		}
		return ""
	})
	again := startDatabase(t, home)
	soon(t, "all previews are made", func() string {
		if n := previewsIn(t, dir); n < 2*previewImages { // a small one and a large one each
			return fmt.Sprintf("%d of %d, jobs: %s", n, 2*previewImages, previewJobs(t, again.URL()))
		}
		return ""
	})
	soon(t, "all jobs are done", func() string {
		if jobs := previewJobs(t, again.URL()); strings.Trim(jobs, "completed ") != "" {
			return jobs
		}
		return ""
	})
	if a := admin.get(t, "/health"); a.Status != http.StatusOK {
		t.Errorf("health = %d %s", a.Status, a.Text)
	}
}

// stopInPreviews stops the server in the middle of a job that makes previews:
// PostgreSQL has handed it out, and knows of no end of it.
func stopInPreviews(t *testing.T, s *servertest.Server, url string) {
	t.Helper()
	running := func() bool { return strings.Contains(previewJobs(t, url), "running") }
	soon(t, "a job that makes previews runs", func() string {
		if !running() {
			return previewJobs(t, url)
		}
		s.Pause()
		if running() { // nobody can end it any more
			return ""
		}
		s.Continue()
		return "between two jobs"
	})
}

// previewJobs are the states of the jobs that make previews, in order.
func previewJobs(t *testing.T, url string) string {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		return err.Error() // it is about to come up
	}
	defer func() { _ = conn.Close(t.Context()) }() // what was asked is known
	rows, _ := conn.Query(t.Context(), `SELECT state::text FROM river.river_job WHERE kind = 'previews' ORDER BY id`)
	states, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return err.Error()
	}
	return strings.Join(states, " ")
}

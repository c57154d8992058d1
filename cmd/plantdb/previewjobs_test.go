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

// previewImages is how many images TestDatabaseKilledUnderPreviews uploads at
// the most until it meets a job in its middle.
const previewImages = 500

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
	t.Cleanup(s.Continue)
	images := stopInPreviews(t, s, admin, dir, database.URL())
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
		if n := previewsIn(t, dir); n < 2*images { // a small one and a large one each
			return fmt.Sprintf("%d of %d, jobs: %s", n, 2*images, previewJobs(t, again.URL()))
		}
		return ""
	})
	soon(t, "all jobs are done", func() string {
		if jobs := previewJobs(t, again.URL()); strings.TrimSpace(strings.ReplaceAll(jobs, "completed", "")) != "" {
			return jobs
		}
		return ""
	})
	if a := admin.get(t, "/health"); a.Status != http.StatusOK {
		t.Errorf("health = %d %s", a.Status, a.Text)
	}
}

// stopInPreviews uploads images until it has stopped the server in the middle
// of a job that makes previews: PostgreSQL has handed it out and knows of no end
// of it, and not all previews are there. It returns how many images there are.
func stopInPreviews(t *testing.T, s *servertest.Server, admin caller, dir, url string) (images int) {
	t.Helper()
	middle := func() bool {
		return strings.Contains(previewJobs(t, url), "running") && previewsIn(t, dir) < 2*images
	}
	for images < previewImages {
		contentType, body := form(t, photo(t, images), "ext", "png")
		if a := admin.send(t, http.MethodPost, fmt.Sprintf("/files/seen/images/image%d", images), contentType, body); a.Status != http.StatusCreated {
			t.Fatalf("upload of image %d = %d %s", images, a.Status, a.Text)
		}
		images++
		for previewsIn(t, dir) < 2*images {
			if !middle() {
				continue
			}
			s.Pause()
			if middle() { // nobody can end it any more
				return images
			}
			s.Continue()
		}
	}
	t.Fatalf("no job was met in its middle, of %d images", images)
	return 0
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

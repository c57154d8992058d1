package main_test

import (
	"context"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// What the clients of TestCrash do beside uploads and scans: timelapses, the
// metadata of filesets and files, tags, owners, files beside the filesets, and what
// becomes of the trash.

// crashOwner is whom scans are given to.
const crashOwner = "farmer"

// series is a timelapse of a client, from its creation to its end.
type series struct {
	name   string
	n      int    // what its metadata say
	member bool   // it has its scan
	trash  string // its entry in the trash
}

func (s *series) scan() string { return s.name + "_in" }

// value is what a reader finds of it.
func (s *series) value() string {
	if s.member {
		return fmt.Sprintf("%d [%s], whose timelapse is %s", s.n, s.scan(), s.name)
	}
	return fmt.Sprintf("%d [], whose timelapse is %s", s.n, gone)
}

// lookAtSeries finds a timelapse and its scan; both are gone, or none.
func lookAtSeries(s series) func(*testing.T, caller) string {
	return func(t *testing.T, admin caller) string {
		t.Helper()
		metadata := func(a answer) map[string]any {
			m, _ := a.Body["metadata"].(map[string]any)
			return m
		}
		about := found(admin.get(t, "/timelapses/"+s.name), func(a answer) string { return fmt.Sprint(metadata(a)["n"], " ", a.Body["scans"]) })
		in := found(admin.get(t, "/scans/"+s.scan()+"/metadata"), func(a answer) string {
			of, _ := metadata(a)["timelapse"].(map[string]any)
			return fmt.Sprint(of["id"])
		})
		if about == gone && in == gone {
			return gone
		}
		return about + ", whose timelapse is " + in
	}
}

// changeSeries goes on with the client's timelapse: it is made, changed, gets a
// scan, is deleted with it, and comes back or is purged. One of which the client
// does not know what became it leaves alone.
func (c *crasher) changeSeries(ctx context.Context) {
	s := c.series
	c.series = nil
	switch {
	case s == nil:
		s = &series{name: fmt.Sprintf("%s_series%d", c.scan, c.next)}
		c.next++
		c.mu.Lock()
		c.timelapses = append(c.timelapses, s.name)
		c.mu.Unlock()
		body := fmt.Appendf(nil, `{"id": %q, "metadata": {"n": 0}}`, s.name)
		c.toSeries(ctx, s, *s, "timelapses", http.MethodPost, "/timelapses", body)
	case s.trash != "":
		c.leaveTrash(ctx, s)
	case !s.member:
		after := *s
		after.member = true
		body := fmt.Appendf(nil, `{"metadata": {"timelapse": {"id": %q}}}`, s.name)
		c.toSeries(ctx, s, after, "scans in timelapses", http.MethodPost, "/scans/"+s.scan(), body)
	case rand.IntN(3) == 0:
		c.begin("timelapse "+s.name, gone, nil)
		a := c.send(ctx, http.MethodDelete, "/timelapses/"+s.name+"?recursive=true", "", nil)
		if a.Status == http.StatusNoContent {
			c.end("deletions of timelapses", "timelapse "+s.name, gone)
			s.trash = path.Base(a.Header.Get("Location"))
			c.series = s
		}
	default:
		after := *s
		after.n++
		method, body := http.MethodPost, `{"metadata": {"n": %d}}`
		if after.n%2 == 0 {
			method, body = http.MethodPatch, `{"n": %d}`
		}
		c.toSeries(ctx, s, after, "metadata of timelapses", method, "/timelapses/"+s.name+"/metadata", fmt.Appendf(nil, body, after.n))
	}
}

// toSeries sends what makes a timelapse what it is after.
func (c *crasher) toSeries(ctx context.Context, s *series, after series, what, method, path string, body []byte) {
	key := "timelapse " + s.name
	c.begin(key, after.value(), lookAtSeries(after))
	a := c.send(ctx, method, path, "application/json", body)
	if a.Status == http.StatusOK || a.Status == http.StatusCreated {
		c.end(what, key, after.value())
		*s = after
		c.series = s
	}
}

// leaveTrash restores the timelapse of an entry, or purges it.
func (c *crasher) leaveTrash(ctx context.Context, s *series) {
	key, entry := "timelapse "+s.name, "/trash/"+s.trash
	if rand.IntN(2) == 0 {
		c.purge(ctx, s.trash)
		return
	}
	c.begin(key, s.value(), nil)
	if a := c.send(ctx, http.MethodPost, entry+"/restore", "application/json", []byte("{}")); a.Status == http.StatusOK {
		c.end("restorations of timelapses", key, s.value())
		s.trash = ""
		c.series = s
	}
}

// purge removes an entry of the trash for good.
func (c *crasher) purge(ctx context.Context, id string) {
	path := "/trash/" + id
	c.know(path, id, func(t *testing.T, admin caller) string {
		t.Helper()
		return found(admin.get(t, path), func(a answer) string { return a.text("id") })
	})
	c.begin(path, gone, nil)
	if a := c.send(ctx, http.MethodDelete, path, "", nil); a.Status == http.StatusNoContent {
		c.end("purges", path, gone)
	}
}

// deleteScan moves a scan into the trash with its fileset, and may bring it back.
func (c *crasher) deleteScan(ctx context.Context) {
	if len(c.scans) == 0 {
		return
	}
	name := c.scans[0]
	c.scans = slices.Clone(c.scans[1:])
	key, fileset, whole := "all of "+name, "/filesets/"+name+"/notes", c.foundOf([]string{name, name})
	c.replace(key, whole, func(t *testing.T, admin caller) string {
		t.Helper()
		return lookAtMade(name)(t, admin) + " and " + lookAtFileset(fileset)(t, admin)
	}, "scan "+name, fileset)
	none := gone + " and " + gone
	c.begin(key, none, nil)
	a := c.send(ctx, http.MethodDelete, "/scans/"+name, "", nil)
	if a.Status != http.StatusOK {
		return
	}
	c.end("deletions of scans", key, none)
	entry, _ := a.Body["trash"].(map[string]any)
	id, _ := entry["id"].(string)
	if rand.IntN(3) == 0 {
		c.purge(ctx, id)
		return
	}
	c.begin(key, whole, nil)
	if a := c.send(ctx, http.MethodPost, "/trash/"+id+"/restore", "application/json", []byte("{}")); a.Status == http.StatusOK {
		c.end("restorations of scans", key, whole)
	}
}

// changeParts changes the metadata of the client's fileset, or of a file in it.
func (c *crasher) changeParts(ctx context.Context) {
	c.n++
	of := []string{"/filesets/" + c.scan + "/images", "/files/" + c.scan + "/images/notes"}[rand.IntN(2)]
	method, body := http.MethodPost, `{"metadata": {"n": %d}}`
	if rand.IntN(2) == 0 {
		method, body = http.MethodPatch, `{"n": %d}`
	}
	key, value := "metadata of "+of, fmt.Sprint(c.n)
	c.begin(key, value, lookAtNOf(of))
	if a := c.send(ctx, method, of+"/metadata", "application/json", fmt.Appendf(nil, body, c.n)); a.Status == http.StatusOK {
		c.end("metadata of filesets and files", key, value)
	}
}

// tag gives the client's scan other tags.
func (c *crasher) tag(ctx context.Context) {
	c.n++
	path, value := "/scans/"+c.scan+"/tags", fmt.Sprintf("[odd%d n%d]", c.n%2, c.n)
	c.begin(path, value, lookAtTags(path))
	if a := c.send(ctx, http.MethodPut, path, "application/json", fmt.Appendf(nil, `{"tags": ["odd%d", "n%d"]}`, c.n%2, c.n)); a.Status == http.StatusOK {
		c.end("tags", path, value)
	}
}

func lookAtTags(path string) func(*testing.T, caller) string {
	return func(t *testing.T, admin caller) string {
		t.Helper()
		if tags := lookAtAccess(path, "tags")(t, admin); tags != "[]" {
			return tags
		}
		return gone
	}
}

// giveAway gives one of the client's scans to another user, or takes it back.
func (c *crasher) giveAway(ctx context.Context) {
	path := "/scans/" + c.scan + "/owner"
	owner := []string{"admin", crashOwner}[rand.IntN(2)]
	c.begin(path, owner, nil)
	if a := c.send(ctx, http.MethodPut, path, "application/json", fmt.Appendf(nil, `{"owner": %q}`, owner)); a.Status == http.StatusOK {
		c.end("changes of owner", path, owner)
	}
}

// putBeside puts a file beside the filesets of the client's scan, in place of the
// one that was there.
func (c *crasher) putBeside(ctx context.Context) {
	c.n++
	name := fmt.Sprintf("beside%d.txt", rand.IntN(3))
	path, content := "/assets/files/"+c.scan+"/"+name, strings.Repeat(fmt.Sprintf("%s %d\n", name, c.n), 1+rand.IntN(2000))
	c.begin(path, digestOf([]byte(content)), lookAtFile(path))
	a := c.tryAt(ctx, http.MethodPost, c.base+"/files/"+c.scan, "application/octet-stream", []byte(content),
		"Content-Disposition", "attachment; filename="+name, "X-File-Path", name)
	if c.answered(ctx, http.MethodPost, path, a); a.Status == http.StatusCreated {
		c.end("files beside filesets", path, digestOf([]byte(content)))
	}
}

// endSeries deletes the timelapses that clients left, with their scans: upstream's
// programs open no tree that has one.
func (r *crashRun) endSeries() {
	r.t.Helper()
	for _, name := range r.timelapses {
		s := series{name: name}
		a := r.admin.send(r.t, http.MethodDelete, "/timelapses/"+url.PathEscape(name)+"?recursive=true", "", nil)
		if a.Status != http.StatusNoContent && a.Status != http.StatusNotFound {
			r.t.Errorf("delete timelapse %s = %d %s", name, a.Status, a.Text)
		}
		r.know("timelapse "+name, gone, lookAtSeries(s))
	}
	r.timelapses = nil
	for _, c := range r.clients {
		c.series = nil
	}
}

// forUpstream returns the tree, or where it has timelapses, which upstream's
// programs cannot open, a copy of all else of it: 0.17 follows no links.
func (r *crashRun) forUpstream() string {
	r.t.Helper()
	entries, err := os.ReadDir(r.dir)
	if err != nil {
		r.t.Fatal(err)
	}
	isSeries := func(e os.DirEntry) bool {
		_, err := os.Stat(filepath.Join(r.dir, e.Name(), "timelapse.json"))
		return err == nil
	}
	if !slices.ContainsFunc(entries, isSeries) {
		return r.dir
	}
	view := r.t.TempDir()
	if err := os.CopyFS(view, upstreamView{os.DirFS(r.dir).(fs.ReadDirFS), isSeries}); err != nil {
		r.t.Fatal(err)
	}
	return view
}

// upstreamView is a tree without what is hidden, and without what isSeries says.
type upstreamView struct {
	fs.ReadDirFS

	isSeries func(fs.DirEntry) bool
}

// ReadDir implements fs.ReadDirFS.
func (v upstreamView) ReadDir(name string) ([]fs.DirEntry, error) {
	entries, err := v.ReadDirFS.ReadDir(name)
	if name == "." {
		entries = slices.DeleteFunc(entries, func(e fs.DirEntry) bool { return v.isSeries(e) || strings.HasPrefix(e.Name(), ".") })
	}
	return entries, err
}

package fsdb_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/romi/plantdb-go/internal/fsdb"
	"github.com/romi/plantdb-go/internal/fsdb/meta"
	"github.com/romi/plantdb-go/internal/pyenv"
)

// The generations of upstream that must open what we write.
const (
	commons17 = "plantdb-commons==0.17.0"
	commons15 = "plantdb-commons==0.15.1"
	commons14 = "plantdb-commons==0.14.5"
)

// found is what testdata/tree.py tells.
type found struct {
	Scans      map[string]foundScan      `json:"scans"`
	Timelapses map[string]foundTimelapse `json:"timelapses"`
}

type foundScan struct {
	Metadata map[string]any `json:"metadata"`
	Filesets []foundFileset `json:"filesets"`
}

type foundFileset struct {
	ID       string         `json:"id"`
	Metadata map[string]any `json:"metadata"`
	Files    []foundFile    `json:"files"`
}

type foundFile struct {
	ID       string         `json:"id"`
	Name     string         `json:"name"`
	Metadata map[string]any `json:"metadata"`
	SHA256   string         `json:"sha256"`
}

type foundTimelapse struct {
	CreatedAt string         `json:"created_at"`
	Owner     *string        `json:"owner"`
	Metadata  map[string]any `json:"metadata"`
}

// runPython runs testdata/tree.py; it gets no terminal, so that upstream's
// question whether to delete what it does not know finds nobody.
func runPython(t *testing.T, python string, stdin []byte, out any, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), python, append([]string{"testdata/tree.py"}, args...)...)
	cmd.Stdin = bytes.NewReader(stdin)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("tree.py %v = %v\n%s", args, err, stderr.String())
	}
	// Upstream logs to stdout; the answer is the last line.
	said := stdout.String()
	if strings.Contains(said, "ERROR") {
		t.Errorf("tree.py %v logged an error:\n%s", args, said)
	}
	answer := []byte(said[strings.LastIndexByte(said, '\n')+1:])
	if err := json.Unmarshal(answer, out); err != nil {
		t.Fatalf("tree.py %v printed %s: %v", args, said, err)
	}
}

// values is what a JSON object says, the same for any spelling of it.
func values(t *testing.T, raw json.RawMessage) (v map[string]any) {
	t.Helper()
	if err := json.Unmarshal(raw, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

// ours is what our own reader finds, in the same form.
func ours(t *testing.T, tree *fsdb.Tree) found {
	t.Helper()
	all := found{Scans: map[string]foundScan{}, Timelapses: map[string]foundTimelapse{}}
	list, err := tree.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range list.Timelapses() {
		tl, err := tree.ReadTimelapse(t.Context(), e.Loc.Timelapse)
		if err != nil {
			t.Fatal(err)
		}
		all.Timelapses[tl.ID] = foundTimelapse{CreatedAt: tl.CreatedAt, Owner: tl.Owner, Metadata: values(t, tl.Metadata)}
	}
	for e := range list.Scans() {
		s, err := tree.ReadScan(t.Context(), e.Loc)
		if err != nil || s.Broken != "" || len(s.Warnings) > 0 {
			t.Fatalf("ReadScan(%v) = %+v, %v", e.Loc, s, err)
		}
		all.Scans[s.Scan] = ourScan(t, tree, s)
	}
	return all
}

func ourScan(t *testing.T, tree *fsdb.Tree, s *fsdb.Scan) foundScan {
	t.Helper()
	told := foundScan{Metadata: values(t, s.Metadata), Filesets: []foundFileset{}}
	for _, fs := range s.Filesets {
		set := foundFileset{ID: fs.ID, Metadata: values(t, fs.Metadata), Files: []foundFile{}}
		for _, f := range fs.Files {
			set.Files = append(set.Files, foundFile{ID: f.ID, Name: f.Name, Metadata: values(t, f.Metadata), SHA256: digest(t, tree, s.Loc, fs.ID, f.Name)})
		}
		told.Filesets = append(told.Filesets, set)
	}
	return told
}

func digest(t *testing.T, tree *fsdb.Tree, loc fsdb.Loc, fileset, name string) string {
	t.Helper()
	f, _, err := tree.OpenFile(t.Context(), loc, fileset, name)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%x", sum.Sum(nil))
}

func newTree(t *testing.T) *fsdb.Tree {
	t.Helper()
	tree, err := fsdb.Create(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tree.Close() })
	return tree
}

// fill writes a scan by every writing call there is.
func fill(t *testing.T, tree *fsdb.Tree, loc fsdb.Loc, metadata string) {
	t.Helper()
	ctx := t.Context()
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	md := json.RawMessage(metadata)
	check(tree.CreateScan(ctx, loc, md))
	check(tree.CreateFileset(ctx, loc, "images", json.RawMessage(`{"channels":["rgb"],"unité":"mm – 🌱"}`)))
	check(tree.CreateFileset(ctx, loc, "PointCloud_1_0_abc", json.RawMessage(`{}`)))
	check(add(ctx, tree, loc, "images", "00000_rgb", "jpg", `{"channel":"rgb","approximate_pose":[1.5,2e-3,-0,12345678901234567890]}`, "\xff\xd8 first"))
	check(add(ctx, tree, loc, "images", "00001_rgb", "jpg", `{"channel":"rgb","nothing":null}`, "\xff\xd8 second"))
	check(add(ctx, tree, loc, "PointCloud_1_0_abc", "PointCloud", "ply", `{}`, "ply\n\x00"))
	content, err := tree.Stage(ctx, strings.NewReader("\xff\xd8 replaced"), 100)
	check(err)
	check(tree.ReplaceFile(ctx, loc, "images", "00001_rgb", content))
	check(tree.WriteScanMetadata(ctx, loc, json.RawMessage(strings.Replace(metadata, "{", `{"later":[],`, 1))))
	check(tree.WriteFilesetMetadata(ctx, loc, "PointCloud_1_0_abc", json.RawMessage(`{"task":"PointCloud"}`)))
	check(tree.WriteFileMetadata(ctx, loc, "PointCloud_1_0_abc", "PointCloud", json.RawMessage(`{"points":3}`)))
}

func add(ctx context.Context, tree *fsdb.Tree, loc fsdb.Loc, fileset, id, ext, metadata, content string) error {
	staged, err := tree.Stage(ctx, strings.NewReader(content), 1<<20)
	if err != nil {
		return err
	}
	errs, err := tree.AddFiles(ctx, loc, fileset, []fsdb.NewFile{{ID: id, Name: id + "." + ext, Content: staged, Metadata: json.RawMessage(metadata)}})
	return errors.Join(append(errs, err)...)
}

func timelapse(t *testing.T, tree *fsdb.Tree, scans ...string) {
	t.Helper()
	owner := "ann"
	tl := fsdb.Timelapse{ID: "tl", CreatedAt: "2026-11-22T02:13:59.161324", Owner: &owner, Metadata: json.RawMessage(`{"p":"é"}`)}
	if err := tree.CreateTimelapse(t.Context(), tl); err != nil {
		t.Fatal(err)
	}
	tl.Scans = scans
	if err := tree.WriteTimelapse(t.Context(), tl); err != nil {
		t.Fatal(err)
	}
}

const metadata = `{"owner":"ann","created":"2026-11-22T02:12:03.533283","sharing":["lab"],"ScanPath":{"kwargs":{"center_x":375.0}},"note":"\u2013 \"quoted\""}`

// TestPythonOpens lets upstream's own code open what every writing call of
// this package left behind, and compares all it finds.
func TestPythonOpens(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		commons string
		// 0.17 refuses a tree with a timelapse that holds a scan, by a
		// fault of its own; those before know no timelapses and pass them over.
		filled bool
	}{{commons17, false}, {commons15, true}, {commons14, true}} {
		t.Run(tt.commons, func(t *testing.T) {
			t.Parallel()
			python := pyenv.Python(t, tt.commons)
			tree := newTree(t)
			fill(t, tree, fsdb.Loc{Scan: "plain"}, metadata)
			fill(t, tree, fsdb.Loc{Scan: "with.dots-_"}, metadata)
			if tt.filled {
				timelapse(t, tree, "member")
				fill(t, tree, fsdb.Loc{Timelapse: "tl", Scan: "member"}, `{"timelapse":{"id":"tl","index":0}}`)
			} else {
				timelapse(t, tree)
			}
			want := ours(t, tree)
			for scan := range want.Scans {
				loc := fsdb.Loc{Scan: scan}
				if scan == "member" {
					loc.Timelapse = "tl"
				}
				if err := tree.Fold(t.Context(), loc); err != nil {
					t.Fatal(err)
				}
			}
			var got found
			runPython(t, python, nil, &got, "tell", tree.Dir())
			if tt.filled {
				delete(want.Scans, "member")
				want.Timelapses = map[string]foundTimelapse{}
				if _, err := os.Stat(filepath.Join(tree.Dir(), "tl", "member", "files.json")); err != nil {
					t.Errorf("upstream hurt the timelapse: %v", err)
				}
			}
			if diff := cmp.Diff(want, got); diff != "" || len(got.Scans) != 2 {
				t.Errorf("upstream finds (-ours +upstream):\n%s", diff)
			}
		})
	}
}

// TestPythonOpensPending lets upstream open a tree whose journals hold files:
// it finds what files.json lists, and all of it once they are folded.
func TestPythonOpensPending(t *testing.T) {
	t.Parallel()
	for _, commons := range []string{commons17, commons15, commons14} {
		t.Run(commons, func(t *testing.T) {
			t.Parallel()
			python := pyenv.Python(t, commons)
			tree, loc := newTree(t), fsdb.Loc{Scan: "plain"}
			fill(t, tree, loc, metadata)
			if err := tree.Fold(t.Context(), loc); err != nil {
				t.Fatal(err)
			}
			listed := ours(t, tree)
			if err := add(t.Context(), tree, loc, "images", "pending", "jpg", `{"channel":"ir"}`, "later"); err != nil {
				t.Fatal(err)
			}
			all := ours(t, tree)
			var got found
			runPython(t, python, nil, &got, "tell", tree.Dir())
			if diff := cmp.Diff(listed, got); diff != "" || cmp.Equal(listed, all) {
				t.Errorf("with a journal upstream finds (-files.json +upstream):\n%s", diff)
			}
			if err := tree.Fold(t.Context(), loc); err != nil {
				t.Fatal(err)
			}
			got = found{}
			runPython(t, python, nil, &got, "tell", tree.Dir())
			if diff := cmp.Diff(all, got); diff != "" {
				t.Errorf("after Fold upstream finds (-ours +upstream):\n%s", diff)
			}
		})
	}
}

// TestPythonReadsWhileWeWrite lets upstream reload a tree again and again while
// files are added and metadata replaced: it must never see half of anything.
func TestPythonReadsWhileWeWrite(t *testing.T) {
	t.Parallel()
	for _, commons := range []string{commons17, commons15, commons14} {
		t.Run(commons, func(t *testing.T) {
			t.Parallel()
			python := pyenv.Python(t, commons)
			tree, loc := newTree(t), fsdb.Loc{Scan: "busy"}
			payload := func(n int) json.RawMessage {
				return fmt.Appendf(nil, `{"length":%d,"payload":"%s"}`, n, strings.Repeat("x", n))
			}
			if err := errors.Join(tree.CreateScan(t.Context(), loc, payload(0)), tree.CreateFileset(t.Context(), loc, "images", json.RawMessage(`{}`))); err != nil {
				t.Fatal(err)
			}
			stop := writeOn(t, tree, loc, payload)
			var got struct{ Seen int }
			runPython(t, python, nil, &got, "watch", tree.Dir(), "10")
			stop()
			if got.Seen == 0 {
				t.Error("upstream saw no file come")
			}
		})
	}
}

// writeOn adds files and replaces metadata until stop is called or the test
// ends.
func writeOn(t *testing.T, tree *fsdb.Tree, loc fsdb.Loc, payload func(int) json.RawMessage) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		for n := 0; ctx.Err() == nil; n++ {
			err := tree.WriteScanMetadata(context.WithoutCancel(ctx), loc, payload(n%7*5000))
			if n < 50 { // a reload takes longer the more there are
				content := strings.Repeat("bytes ", 10_000) + fmt.Sprint(n)
				err = errors.Join(err, add(context.WithoutCancel(ctx), tree, loc, "images", fmt.Sprintf("f%d", n), "txt", fmt.Sprintf(`{"n":%d}`, n), content))
			}
			if n%3 == 0 {
				err = errors.Join(err, tree.Fold(context.WithoutCancel(ctx), loc))
			}
			if err != nil {
				t.Errorf("writing while upstream reads: %v", err)
				return
			}
		}
	})
	stop = func() { cancel(); wg.Wait() }
	t.Cleanup(stop)
	return stop
}

// TestPythonForm compares our spelling of documents with json.dump's.
func TestPythonForm(t *testing.T) {
	t.Parallel()
	documents := []string{
		`{}`, `{"b":[],"a":{},"c":[[],{}],"":0}`, `{"z":{"y":1,"x":[1,{"b":2,"a":3}]},"a":[null,true,false]}`,
		`{"n":[0,-1,1.5,12345678901234567890,1e+22,1e-07]}`,
		`{"s":"\u0000\u001f\u007f\u0080 é – 🌱 \" \\ / \b\f\n\r\t","é":1,"🌱":2,"\uffff":3,"Z":4,"_":5}`,
	}
	var want [][2]string
	runPython(t, pyenv.Python(t, commons17), []byte("["+strings.Join(documents, ",")+"]"), &want, "dump")
	for i, d := range documents {
		sorted, err := meta.Sorted(json.RawMessage(d))
		if string(sorted) != want[i][0] || err != nil {
			t.Errorf("Sorted(%s) = %s, %v, want %s", d, sorted, err, want[i][0])
		}
		ordered, err := meta.Ordered(json.RawMessage(d))
		if string(ordered) != want[i][1] || err != nil {
			t.Errorf("Ordered(%s) = %s, %v, want %s", d, ordered, err, want[i][1])
		}
	}
}

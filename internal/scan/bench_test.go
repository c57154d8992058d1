package scan

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/romi/plantdb-go/internal/fsdb"
	"github.com/romi/plantdb-go/internal/pgtest"
)

// manyScans writes n scans of twelve images with upstream's metadata.
func manyScans(tb testing.TB, dir string, n int) {
	tb.Helper()
	var index strings.Builder
	index.WriteString(`{"filesets": [{"files": [`)
	for i := range 12 {
		if i > 0 {
			index.WriteString(", ")
		}
		fmt.Fprintf(&index, `{"file": "%05d_rgb.jpg", "id": "%05[1]d_rgb"}`, i)
	}
	index.WriteString(`], "id": "images"}]}`)
	for s := range n {
		scan := filepath.Join(dir, fmt.Sprintf("scan_%05d", s))
		for _, d := range []string{"images", "metadata/images"} {
			if err := os.MkdirAll(filepath.Join(scan, d), 0o755); err != nil {
				tb.Fatal(err)
			}
		}
		put := func(name, content string) {
			if err := os.WriteFile(filepath.Join(scan, name), []byte(content), 0o644); err != nil {
				tb.Fatal(err)
			}
		}
		put("files.json", index.String())
		put("metadata/metadata.json", fmt.Sprintf(`{"owner": "ann", "created": "2026-03-30T09:55:00.000000",
			"object": {"species": "Arabidopsis thaliana", "plant_id": "plant_%d", "environment": "Lyon indoor", "DAG": %d},
			"acquisition_date": "2026-03-30 10:02:13", "ScanPath": {"class_name": "Circle", "kwargs": {"center_x": 375, "center_y": 375}}}`, s, s%60))
		put("metadata/images.json", `{"channels": ["rgb"], "workspace": {"x": [340, 440], "y": [330, 410], "z": [-180, 105]}}`)
		for i := range 12 {
			put(fmt.Sprintf("metadata/images/%05d_rgb.json", i), fmt.Sprintf(`{"approximate_pose": [%d, 375, 80, 270, 0], "channel": "rgb",
				"shot_id": "%06d", "pose": [375.5, %[1]d.25, 80, 270, 0]}`, i*30, i))
			put(fmt.Sprintf("images/%05d_rgb.jpg", i), "an image")
		}
	}
}

// BenchmarkReconcile reads 5,000 scans of twelve images into an empty index,
// and compares them with it when nothing has changed: a server's first start
// and every later one.
func BenchmarkReconcile(b *testing.B) {
	const scans = 5000
	dir := b.TempDir()
	manyScans(b, dir, scans)
	b.Run("first", func(b *testing.B) {
		for range b.N {
			b.StopTimer()
			s := benchService(b, dir)
			b.StartTimer()
			if done, err := s.Reconcile(b.Context()); err != nil || done.Read != scans {
				b.Fatalf("Reconcile() = %+v, %v, want %d read", done, err, scans)
			}
		}
		reportPerScan(b, scans)
	})
	b.Run("unchanged", func(b *testing.B) {
		s := benchService(b, dir)
		if _, err := s.Reconcile(b.Context()); err != nil {
			b.Fatal(err)
		}
		b.ResetTimer()
		for range b.N {
			if done, err := s.Reconcile(b.Context()); err != nil || done.Read != 0 {
				b.Fatalf("Reconcile() = %+v, %v, want none read", done, err)
			}
		}
		b.StopTimer()
		reportPerScan(b, scans)
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		b.ReportMetric(float64(m.Sys)/(1<<20), "MiB-from-system")
	})
}

func reportPerScan(b *testing.B, scans int) {
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/float64(scans), "µs/scan")
}

func benchService(b *testing.B, dir string) *Service {
	b.Helper()
	tree, err := fsdb.Create(dir)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = tree.Close() }) // only read
	return New(pgtest.New(b), tree, groupList{}, DefaultConfig(), slog.New(slog.DiscardHandler))
}

// BenchmarkLists asks for what a viewer's first page asks for, at 1,000 scans.
func BenchmarkLists(b *testing.B) {
	dir := b.TempDir()
	manyScans(b, dir, 1000)
	s := benchService(b, dir)
	if _, err := s.Reconcile(b.Context()); err != nil {
		b.Fatal(err)
	}
	filter, err := ParseFilter(`{"object": {"plant_id": "plant_7"}}`, false)
	if err != nil {
		b.Fatal(err)
	}
	words, err := ParseFilter("arabidopsis lyon", false)
	if err != nil {
		b.Fatal(err)
	}
	ctx := as(b, rita)
	for name, ask := range map[string]func() (int, error){
		"names":    func() (int, error) { n, err := s.Names(ctx, Query{}); return len(n), err },
		"infos":    func() (int, error) { n, err := allInfos(ctx, s, Query{}); return len(n), err },
		"filtered": func() (int, error) { n, err := s.Names(ctx, Query{Filter: filter}); return len(n), err },
		"words":    func() (int, error) { n, err := s.Names(ctx, Query{Filter: words}); return len(n), err },
		"info":     func() (int, error) { raw, err := s.Info(ctx, "scan_00007"); return len(raw), err },
	} {
		b.Run(name, func(b *testing.B) {
			for range b.N {
				if n, err := ask(); err != nil || n == 0 {
					b.Fatalf("%s = %d, %v", name, n, err)
				}
			}
		})
	}
}

// BenchmarkUpload takes in files of 136 kB, the size of a scanner's image.
func BenchmarkUpload(b *testing.B) {
	image := strings.Repeat("plantdb!", 17<<10)
	for _, clients := range []int{1, 4} {
		b.Run(fmt.Sprintf("clients=%d", clients), func(b *testing.B) {
			s := benchService(b, b.TempDir())
			ctx := as(b, ann)
			if err := s.Create(ctx, "s", nil); err != nil {
				b.Fatal(err)
			}
			if err := s.CreateFileset(ctx, "s", "images", nil); err != nil {
				b.Fatal(err)
			}
			b.SetBytes(int64(len(image)))
			b.ResetTimer()
			began := time.Now()
			errs := make(chan error, clients)
			for c := range clients {
				go func() {
					for i := c; i < b.N; i += clients {
						if err := upload(ctx, s, "s", "images", fmt.Sprintf("%06d", i), "jpg", image, `{"channel": "rgb"}`); err != nil {
							errs <- err
							return
						}
					}
					errs <- nil
				}()
			}
			for range clients {
				if err := <-errs; err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N)/time.Since(began).Seconds(), "files/s")
		})
	}
}

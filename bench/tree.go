package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sync/errgroup"
)

// growTree makes a tree of many alike scans, as quickly as it can: nothing is
// synced. Their images are a few bytes, since an index does not read them.
func growTree(ctx context.Context, root string, scans, images int) error {
	if err := os.Mkdir(root, 0o711); err != nil { // PostgreSQL, another user's where we are root, has to pass
		return fmt.Errorf("make tree: %w", err)
	}
	if err := os.WriteFile(filepath.Join(root, "romidb"), nil, 0o600); err != nil {
		return fmt.Errorf("mark tree: %w", err)
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(runtime.GOMAXPROCS(0))
	for n := range scans {
		group.Go(func() error {
			if err := ctx.Err(); err != nil {
				return err
			}
			return growScan(root, n, images, 0)
		})
	}
	return group.Wait()
}

// wideNumber is the scan that growWide makes, beside those of growTree.
const (
	wideNumber   = 100_000
	wideImages   = 1000
	wideFilesets = 150
)

// growWide adds a scan whose own lists have pages.
func growWide(root string) (id string, err error) {
	return plantID(wideNumber), growScan(root, wideNumber, wideImages, wideFilesets)
}

func plantID(number int) string { return fmt.Sprintf("plant_%05d", number) }

// growScan writes a scan with images, and with further filesets that are empty.
func growScan(root string, number, images, further int) error {
	id := plantID(number)
	dir := filepath.Join(root, id)
	files := make([]object, images)
	documents := map[string]any{
		"metadata/metadata.json": plantMetadata(id, number),
		"metadata/images.json":   imagesMetadata(),
	}
	var errs []error
	for _, d := range []string{"images", "metadata/images"} {
		errs = append(errs, os.MkdirAll(filepath.Join(dir, d), 0o700))
	}
	for n := range images {
		name := fmt.Sprintf("%05d_rgb", n)
		files[n] = object{"file": name + ".jpg", "id": name}
		documents["metadata/images/"+name+".json"] = shotMetadata(n, images)
		errs = append(errs, os.WriteFile(filepath.Join(dir, "images", name+".jpg"), []byte(id+name), 0o600))
	}
	filesets := []object{{"files": files, "id": "images"}}
	for n := range further {
		name := fmt.Sprintf("set_%03d", n)
		filesets = append(filesets, object{"files": []object{}, "id": name})
		documents["metadata/"+name+".json"] = object{"channel": n % 5}
		errs = append(errs, os.Mkdir(filepath.Join(dir, name), 0o700))
	}
	documents["files.json"] = object{"filesets": filesets}
	for name, document := range documents {
		text, err := json.MarshalIndent(document, "", "    ")
		errs = append(errs, err, os.WriteFile(filepath.Join(dir, name), text, 0o600))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("make scan %s: %w", id, err)
	}
	return nil
}

// walkTree visits all files of a tree, each scan by one of some goroutines.
func walkTree(ctx context.Context, root string, visit func(path string, entry fs.DirEntry) error) error {
	scans, err := os.ReadDir(root)
	if err != nil {
		return fmt.Errorf("list tree: %w", err)
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(2 * runtime.GOMAXPROCS(0))
	for _, scan := range scans {
		if strings.HasPrefix(scan.Name(), ".") {
			continue
		}
		group.Go(func() error {
			return filepath.WalkDir(filepath.Join(root, scan.Name()), func(path string, entry fs.DirEntry, err error) error {
				if err == nil {
					err = ctx.Err()
				}
				if err != nil || entry.IsDir() {
					return err
				}
				return visit(path, entry)
			})
		})
	}
	return group.Wait()
}

// readDocuments reads each JSON file, as a first index has to.
func readDocuments(path string, _ fs.DirEntry) error {
	if filepath.Ext(path) != ".json" {
		return nil
	}
	_, err := os.ReadFile(path)
	return err
}

// lookAtFiles asks for size and time of each file, as a later index has to.
func lookAtFiles(_ string, entry fs.DirEntry) error {
	_, err := entry.Info()
	return err
}

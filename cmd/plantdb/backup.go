package main

import (
	"archive/zip"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/romi/plantdb-go/internal/actor"
	"github.com/romi/plantdb-go/internal/backup"
	"github.com/romi/plantdb-go/internal/fsdb"
	"github.com/romi/plantdb-go/internal/scan"
)

func (p *program) backupCommand() *cobra.Command {
	var verify bool
	cmd := &cobra.Command{
		Use: "backup DIR", Short: "Copy tree and database into a directory, as one pair; also beside running servers.", Args: cobra.ExactArgs(1),
		Long: "Copy the tree and its database into DIR, which is empty or not there. Each scan is held for the moment that it takes to " +
			"see that its copy is whole. Files are cloned where the file system can do that. A manifest has size and SHA-256 of everything.\n\n" +
			"DIR holds the keys that sign tokens: whoever reads it can be anybody. Without backup.json in it the backup was not finished.",
		RunE: func(cmd *cobra.Command, args []string) error {
			if verify {
				return p.verifyBackup(cmd.Context(), args[0])
			}
			return p.withStore(cmd.Context(), func(s *store) error { return p.backup(cmd.Context(), s, args[0]) })
		},
	}
	p.config.TreeFlags(cmd.Flags())
	cmd.Flags().BoolVar(&verify, "verify", false, "make none: read the one in DIR and compare it with its manifest")
	return cmd
}

// copied shows how much was copied: nobody knows how much there will be.
func (p *progress) copied(files, _ int64) { p.set(int(files), int(files)+1) }

func (p *program) backup(ctx context.Context, s *store, dir string) error {
	if err := outside(s.tree.Dir(), dir); err != nil {
		return err
	}
	bar := p.progress("copying")
	scans := p.scans(s)
	head, err := backup.Write(actor.NewContext(ctx, actor.System()), dir, backup.Source{
		Tree: scans.CopyAll, URL: s.url, Program: version, Progress: bar.copied,
	})
	bar.finish()
	if err != nil {
		return err
	}
	fmt.Fprintf(p.stdout, "backup of %s in %s: %d files, %.1f MB (%.1f s)\n", describe(s.tree.Dir()), describe(dir), head.Files,
		float64(head.Bytes)/1e6, head.Finished.Sub(head.Began).Seconds())
	fmt.Fprintln(p.stdout, "note: it holds the keys that sign tokens, and all private scans: keep it where nobody else reads")
	return nil
}

// scans is the service of a store for commands that make nothing new.
func (p *program) scans(s *store) *scan.Service {
	limits := scan.DefaultConfig()
	limits.TrashRetention = 0 // nothing is purged in passing
	return scan.New(s.pool, s.tree, noGroups{}, limits, s.log)
}

// outside refuses a target inside of the tree, which would be copied into itself.
func outside(tree, dir string) error {
	from, err := resolved(tree)
	if err != nil {
		return fmt.Errorf("find %s: %w", tree, err)
	}
	to, err := resolved(dir)
	if err != nil {
		return fmt.Errorf("find %s: %w", dir, err)
	}
	if rel, err := filepath.Rel(from, to); err == nil && rel != ".." && !strings.HasPrefix(rel, "../") {
		return fmt.Errorf("%s lies inside of the tree", describe(dir))
	}
	return nil
}

// resolved is where a path leads, all links followed; what of it is not there yet
// is taken as it is.
func resolved(name string) (string, error) {
	name, err := filepath.Abs(name)
	if err != nil {
		return "", err
	}
	rest := ""
	for {
		at, err := filepath.EvalSymlinks(name)
		if err == nil || !errors.Is(err, fs.ErrNotExist) || name == filepath.Dir(name) {
			return filepath.Join(at, rest), err
		}
		name, rest = filepath.Dir(name), filepath.Join(filepath.Base(name), rest)
	}
}

func (p *program) verifyBackup(ctx context.Context, dir string) error {
	b, err := backup.Open(dir)
	if err != nil {
		return err
	}
	defer b.Close() // Only read.
	bar := p.progress("verifying")
	err = b.Verify(ctx, bar.copied)
	bar.finish()
	if err != nil {
		return err
	}
	fmt.Fprintf(p.stdout, "the backup in %s is whole: %d files, %.1f MB, finished %s\n", describe(dir), b.Files, float64(b.Bytes)/1e6,
		b.Finished.Local().Format(time.DateTime))
	return nil
}

func (p *program) restoreCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "restore DIR", Short: "Make a tree and a database of a backup.", Args: cobra.ExactArgs(1),
		Long: "Make the tree at --db-path, which is empty or not there, and the database, which is empty too, of the backup in DIR. Every " +
			"file is compared with the manifest. At the end the index is made to say what the tree says.\n\n" +
			"What was revoked after the backup was made is valid again: end sessions, revoke API tokens or rotate the keys where that matters.",
		RunE: func(cmd *cobra.Command, args []string) error { return p.restore(cmd.Context(), args[0]) },
	}
	p.config.TreeFlags(cmd.Flags())
	return cmd
}

func (p *program) restore(ctx context.Context, dir string) error {
	began := time.Now()
	b, err := backup.Open(dir)
	if err != nil {
		return err
	}
	defer b.Close() // Only read.
	bar := p.progress("restoring")
	err = b.RestoreTree(ctx, p.config.Root, bar.copied)
	bar.finish()
	if err != nil {
		return err
	}
	err = p.withBare(ctx, func(s *store) error {
		if err := b.RestoreDatabase(ctx, s.url, s.log); err != nil {
			return err
		}
		return s.tree.EndRestore()
	})
	if err != nil {
		return fmt.Errorf("%w; %s has the tree, and is to be removed before the next attempt", err, describe(p.config.Root))
	}
	return p.withStore(ctx, func(s *store) error {
		ctx := actor.NewContext(ctx, actor.System())
		scans := p.scans(s)
		if _, err := scans.KeepTrash(ctx); err != nil {
			return err
		}
		if err := scans.TrustRestored(ctx, b.Began); err != nil {
			return err
		}
		done, err := scans.Reconcile(ctx)
		if err != nil {
			return err
		}
		fmt.Fprintf(p.stdout, "restored %s of %s: %d scans, %d of them read again, %d forgotten, %d damaged; %d files, %.1f MB (%.1f s)\n",
			describe(p.config.Root), b.Began.Local().Format(time.DateTime), done.Scans, done.Read, done.Removed, done.Broken, b.Files,
			float64(b.Bytes)/1e6, time.Since(began).Seconds())
		return nil
	})
}

func (p *program) exportCommand() *cobra.Command {
	var all bool
	var to string
	cmd := &cobra.Command{
		Use: "export SCAN... | --all", Short: "Write scans as a tree of their own, or as a ZIP archive of one.",
		Long: "Write scans, byte for byte, as a tree that PlantDB's Python programs and plantdb import open. Each is held while it is copied; " +
			"into a ZIP archive that takes as long as reading it. Accounts are not exported.",
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case all == (len(args) > 0):
				return errors.New("give the ids of scans, or --all")
			case to == "":
				return errors.New("--to must name a directory, or a file that ends in .zip")
			}
			return p.withStore(cmd.Context(), func(s *store) error { return p.export(cmd.Context(), s, args, to) })
		},
	}
	p.config.TreeFlags(cmd.Flags())
	cmd.Flags().BoolVar(&all, "all", false, "all scans and configurations")
	cmd.Flags().StringVar(&to, "to", "", "a directory that is empty or not there, or a file that ends in .zip and is not there")
	return cmd
}

func (p *program) export(ctx context.Context, s *store, names []string, to string) error {
	if err := outside(s.tree.Dir(), to); err != nil {
		return err
	}
	var files, size int64
	bar := p.progress("copying")
	record := func(f fsdb.Copied) error { //nolint:unparam // CopyScans hands on what it fails by.
		files, size = files+1, size+f.Size
		bar.copied(files, size)
		return nil
	}
	ctx = actor.NewContext(ctx, actor.System())
	write := exportDir
	if strings.HasSuffix(to, ".zip") {
		write = exportZip
	}
	err := write(to, func(target fsdb.Target) error { return p.scans(s).CopyScans(ctx, names, target, record) })
	bar.finish()
	if err != nil {
		return err
	}
	fmt.Fprintf(p.stdout, "exported into %s: %d files, %.1f MB\n", describe(to), files, float64(size)/1e6)
	return nil
}

// exportDir makes a tree of what fn copies; the marker comes last.
func exportDir(dir string, fn func(fsdb.Target) error) error {
	root, err := backup.OpenEmpty(dir, 0o755) // As every tree.
	if err != nil {
		return err
	}
	defer root.Close() // What was written was synced.
	target := fsdb.NewDirTarget(root)
	if err := fn(target); err != nil {
		return err
	}
	return target.Finish(fsdb.Marker, nil)
}

// exportZip makes an archive of what fn copies, whole or not at all.
func exportZip(name string, fn func(fsdb.Target) error) (err error) {
	if _, err := os.Lstat(name); !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s is there already", describe(name))
	}
	f, err := os.CreateTemp(filepath.Dir(name), ".plantdb-export-*")
	if err != nil {
		return fmt.Errorf("make archive: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	z := zip.NewWriter(f)
	_, err = z.Create(fsdb.Marker)
	if err == nil {
		err = fn(fsdb.NewZipTarget(z))
	}
	err = errors.Join(err, z.Close(), f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		return fmt.Errorf("write archive: %w", err)
	}
	return nil
}

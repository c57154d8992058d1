package main

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/romi/plantdb-go/internal/actor"
	"github.com/romi/plantdb-go/internal/scan"
)

// migration is what a run of migrate-metadata does and finds.
type migration struct {
	DryRun    bool            `json:"dry_run"`
	Migrated  int             `json:"migrated"`
	Unchanged int             `json:"unchanged"`
	Failed    int             `json:"failed"`
	Scans     []scan.Migrated `json:"scans"` // but for those unchanged
}

func (p *program) migrateMetadataCommand() *cobra.Command {
	var dryRun, asJSON bool
	var only string
	cmd := &cobra.Command{
		Use: "migrate-metadata", Short: "Make MIAPPE sections of the scanner's older metadata.", Args: cobra.NoArgs,
		Long: "Make the sections investigation, study and biologicalMaterial, which PlantDB has since 0.16, of the older entry " +
			"\"object\" in the metadata of each scan, also of those in timelapses, and take the copies that the scanner left in the " +
			"metadata of the images out. Sections that are there already are left alone; what only the images' metadata says is kept " +
			"there. Each file that is changed is kept beside itself with the ending .bak.\n\n" +
			"It may run beside a server, which takes the older entries for sections in searches and lists in any case. A second run changes nothing.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return p.withStore(cmd.Context(), func(s *store) error {
				m, err := p.migrateMetadata(cmd.Context(), s, only, dryRun)
				if err != nil {
					return err
				}
				return p.printMigration(m, asJSON)
			})
		},
	}
	p.config.TreeFlags(cmd.Flags())
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "say what would be changed, and write nothing into the tree")
	cmd.Flags().StringVar(&only, "scan", "", "only this scan")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func (p *program) migrateMetadata(ctx context.Context, s *store, only string, dryRun bool) (migration, error) {
	m := migration{DryRun: dryRun, Scans: []scan.Migrated{}}
	ctx = actor.NewContext(ctx, actor.System())
	scans := scan.New(s.pool, s.tree, noGroups{}, scan.DefaultConfig(), s.log)
	// The index says which scans there are.
	if _, err := scans.Reconcile(ctx); err != nil {
		return m, err
	}
	names, err := scans.AllNames(ctx)
	if err != nil {
		return m, err
	}
	if only != "" {
		if !slices.Contains(names, only) {
			return m, fmt.Errorf("there is no scan %q in %s", only, describe(s.tree.Dir()))
		}
		names = []string{only}
	}
	for _, name := range names {
		done, err := scans.MigrateMetadata(ctx, name, dryRun)
		switch {
		case ctx.Err() != nil:
			return m, ctx.Err()
		case err != nil: // one bad scan does not keep the others
			m.Failed++
			done.Scan, done.Failed = name, err.Error()
		case done.Changed():
			m.Migrated++
		default:
			m.Unchanged++
			if len(done.Kept) == 0 {
				continue
			}
		}
		m.Scans = append(m.Scans, done)
	}
	return m, nil
}

// notMigratedError ends the program with a failure that was told already.
type notMigratedError int

func (e notMigratedError) Error() string {
	return fmt.Sprintf("%d scans could not be migrated", int(e))
}

func (p *program) printMigration(m migration, asJSON bool) error {
	if asJSON {
		enc := json.NewEncoder(p.stdout)
		enc.SetIndent("", "  ")
		if err := enc.Encode(m); err != nil {
			return fmt.Errorf("print: %w", err)
		}
	} else {
		m.print(p)
	}
	if m.Failed > 0 {
		return notMigratedError(m.Failed)
	}
	return nil
}

func (m migration) print(p *program) {
	for _, s := range m.Scans {
		var did []string
		for _, part := range []struct {
			what string
			keys []string
		}{{"made", s.Sections}, {"removed", s.Removed}, {"removed from images", s.Cleaned}, {"kept in images, which the scan lacks,", s.Kept}} {
			if len(part.keys) > 0 {
				did = append(did, part.what+" "+strings.Join(part.keys, ", "))
			}
		}
		if s.Failed != "" {
			did = []string{"left as it is: " + s.Failed}
		}
		fmt.Fprintf(p.stdout, "%s: %s\n", s.Scan, strings.Join(did, "; "))
	}
	migrated, prefix := "migrated", ""
	if m.DryRun {
		migrated, prefix = "would be migrated", "dry run: "
	}
	fmt.Fprintf(p.stdout, "%s%d scans %s, %d unchanged, %d failed\n", prefix, m.Migrated, migrated, m.Unchanged, m.Failed)
}

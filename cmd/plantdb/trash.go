package main

import (
	"context"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/romi/plantdb-go/internal/actor"
	"github.com/romi/plantdb-go/internal/auth"
	"github.com/romi/plantdb-go/internal/scan"
)

func (p *program) trashCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "trash", Short: "List, restore and purge what was deleted."}
	p.config.TreeFlags(cmd.PersistentFlags())
	var as string
	restore := &cobra.Command{
		Use: "restore ID", Short: "Bring back what was deleted.", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return p.withTrash(cmd.Context(), args, func(ctx context.Context, s *scan.Service, id uuid.UUID) error {
				e, err := s.Restore(ctx, id, as)
				return p.did(err, "%s %s restored", e.Kind, pathOf(e))
			})
		},
	}
	restore.Flags().StringVar(&as, "as", "", "another id for it")
	cmd.AddCommand(restore,
		&cobra.Command{
			Use: "list", Short: "List what was deleted, the youngest first.", Args: cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error {
				return p.withTrash(cmd.Context(), nil, func(ctx context.Context, s *scan.Service, _ uuid.UUID) error { return p.listTrash(ctx, s) })
			},
		},
		&cobra.Command{
			Use: "purge ID", Short: "Remove for good what was deleted.", Args: cobra.ExactArgs(1),
			RunE: func(cmd *cobra.Command, args []string) error {
				return p.withTrash(cmd.Context(), args, func(ctx context.Context, s *scan.Service, id uuid.UUID) error {
					return p.did(s.Purge(ctx, id), "%s purged", id)
				})
			},
		},
	)
	return cmd
}

// withTrash runs fn on the scans of the tree, as the one at the machine, with
// the id that the first argument is.
func (p *program) withTrash(ctx context.Context, args []string, fn func(context.Context, *scan.Service, uuid.UUID) error) error {
	var id uuid.UUID
	if len(args) > 0 {
		var err error
		if id, err = uuid.Parse(args[0]); err != nil {
			return fmt.Errorf("%q is no id of the trash: see plantdb trash list", args[0])
		}
	}
	return p.withScans(ctx, func(ctx context.Context, s *scan.Service) error { return fn(ctx, s, id) })
}

// withScans runs fn on the scans of the tree, as the one at the machine.
func (p *program) withScans(ctx context.Context, fn func(context.Context, *scan.Service) error) error {
	return p.withStore(ctx, func(st *store) error {
		limits := scan.DefaultConfig()
		limits.TrashRetention = time.Duration(p.config.TrashRetention)
		accounts := auth.New(st.pool, nil, auth.Default(), st.log)
		return fn(actor.NewContext(ctx, actor.System()), scan.New(st.pool, st.tree, accounts, limits, st.log))
	})
}

func (p *program) listTrash(ctx context.Context, s *scan.Service) error {
	w := tabwriter.NewWriter(p.stdout, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "ID\tKIND\tWHAT\tOWNER\tDELETED\tBY\tFILES\tBYTES")
	const page = 1000
	var before *uuid.UUID
	for {
		entries, err := s.Trash(ctx, before, page)
		if err != nil {
			return err
		}
		for _, e := range entries {
			owner := "-"
			if e.Owner != nil {
				owner = *e.Owner
			}
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%d\t%d\n", e.ID, e.Kind, pathOf(e), owner,
				e.DeletedAt.Local().Format(time.DateTime), e.DeletedBy, e.Files, e.Bytes)
			before = &e.ID
		}
		if len(entries) < page {
			return w.Flush()
		}
	}
}

// pathOf names what an entry holds as it lay in the tree.
func pathOf(e scan.TrashEntry) string {
	path := e.Timelapse
	for _, part := range []string{e.Scan, e.Fileset, e.File} {
		switch {
		case part == "":
		case path == "":
			path = part
		default:
			path += "/" + part
		}
	}
	return path
}

package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/romi/plantdb-go/internal/config"
	"github.com/romi/plantdb-go/internal/scan"
)

func (p *program) quotaCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "quota", Short: "Bound what the scans of users and groups may hold."}
	p.config.TreeFlags(cmd.PersistentFlags())
	var bounds struct {
		bytes config.Bytes
		files int64
		group bool
	}
	kind := func() string {
		if bounds.group {
			return scan.GroupQuota
		}
		return scan.UserQuota
	}
	set := &cobra.Command{
		Use: "set NAME", Short: "Set the quota of a user, or of all members of a group together.", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			q := scan.Quota{Kind: kind(), Name: args[0]}
			if cmd.Flags().Changed("bytes") {
				n := int64(bounds.bytes)
				q.MaxBytes = &n
			}
			if cmd.Flags().Changed("files") {
				q.MaxFiles = &bounds.files
			}
			if q.MaxBytes == nil && q.MaxFiles == nil {
				return errors.New("give --bytes, --files or both")
			}
			return p.withScans(cmd.Context(), func(ctx context.Context, s *scan.Service) error {
				q, err := s.SetQuota(ctx, q)
				return p.did(err, "quota set: %s", q)
			})
		},
	}
	set.Flags().Var(&bounds.bytes, "bytes", "bytes that their scans may hold, such as 500GiB")
	set.Flags().Int64Var(&bounds.files, "files", 0, "files that their scans may hold")
	remove := &cobra.Command{
		Use: "remove NAME", Short: "Take a quota away.", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return p.withScans(cmd.Context(), func(ctx context.Context, s *scan.Service) error {
				return p.did(s.DeleteQuota(ctx, kind(), args[0]), "quota of %s %s removed", kind(), args[0])
			})
		},
	}
	for _, c := range []*cobra.Command{set, remove} {
		c.Flags().BoolVar(&bounds.group, "group", false, "NAME is a group")
	}
	cmd.AddCommand(set, remove,
		&cobra.Command{
			Use: "list", Short: "List all quotas.", Args: cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error { return p.withScans(cmd.Context(), p.listQuotas) },
		},
		&cobra.Command{
			Use: "usage USER", Short: "Tell what the scans of a user hold, and may hold.", Args: cobra.ExactArgs(1),
			RunE: func(cmd *cobra.Command, args []string) error {
				return p.withScans(cmd.Context(), func(ctx context.Context, s *scan.Service) error { return p.tellUsage(ctx, s, args[0]) })
			},
		},
	)
	return cmd
}

// bound is a bound of a quota in words.
func bound(most *int64) string {
	if most == nil {
		return "-"
	}
	return strconv.FormatInt(*most, 10)
}

func (p *program) listQuotas(ctx context.Context, s *scan.Service) error {
	quotas, err := s.Quotas(ctx)
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(p.stdout, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "KIND\tNAME\tBYTES\tFILES")
	for _, q := range quotas {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", q.Kind, q.Name, bound(q.MaxBytes), bound(q.MaxFiles))
	}
	return w.Flush()
}

func (p *program) tellUsage(ctx context.Context, s *scan.Service, username string) error {
	u, err := s.Usage(ctx, username)
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(p.stdout, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "WHAT\tBYTES\tOF\tFILES\tOF")
	for _, part := range []struct {
		what string
		scan.Amount
	}{{"scans", u.Held}, {"trash", u.Trash}, {"uploads", u.Reserved}} {
		fmt.Fprintf(w, "%s\t%d\t\t%d\t\n", part.what, part.Bytes, part.Files)
	}
	for _, q := range u.Quotas {
		fmt.Fprintf(w, "quota of %s %s\t%d\t%s\t%d\t%s\n", q.Kind, q.Name, q.Bytes, bound(q.MaxBytes), q.Files, bound(q.MaxFiles))
	}
	return w.Flush()
}

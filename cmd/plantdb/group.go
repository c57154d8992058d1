package main

import (
	"context"
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/romi/plantdb-go/internal/auth"
)

func (p *program) groupCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "group", Short: "Manage the groups that scans are shared with."}
	p.config.TreeFlags(cmd.PersistentFlags())
	var n auth.NewGroup
	create := &cobra.Command{
		Use: "create GROUP [USER...]", Short: "Create a group of these users.", Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return p.withAccounts(cmd.Context(), func(ctx context.Context, accounts *auth.Service) error {
				n.Name, n.Members = args[0], args[1:]
				g, err := accounts.CreateGroup(ctx, n)
				return p.did(err, "group %s created, %d members", g.Name, len(g.Members))
			})
		},
	}
	create.Flags().StringVar(&n.Description, "description", "", "what the group is for")
	create.Flags().BoolVar(&n.TakeOver, "take-over", false, "share with it what was shared with a group of that name that was deleted")
	cmd.AddCommand(create,
		&cobra.Command{
			Use: "list", Short: "List all groups and their members.", Args: cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error { return p.withAccounts(cmd.Context(), p.listGroups) },
		},
		&cobra.Command{
			Use: "delete GROUP", Short: "Delete a group; scans are shared with it no more.", Args: cobra.ExactArgs(1),
			RunE: func(cmd *cobra.Command, args []string) error {
				return p.withAccounts(cmd.Context(), func(ctx context.Context, accounts *auth.Service) error {
					return p.did(accounts.DeleteGroup(ctx, args[0]), "group %s deleted", args[0])
				})
			},
		},
		p.memberCommand("add", "Put users into a group.", "added to", (*auth.Service).AddMember),
		p.memberCommand("remove", "Take users out of a group.", "removed from", (*auth.Service).RemoveMember),
	)
	return cmd
}

// memberCommand is a command that does the same with each of some users, up to
// the first that cannot be.
func (p *program) memberCommand(name, short, done string, change func(s *auth.Service, ctx context.Context, group, user string) error) *cobra.Command {
	return &cobra.Command{
		Use: name + " GROUP USER...", Short: short, Args: cobra.MinimumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return p.withAccounts(cmd.Context(), func(ctx context.Context, accounts *auth.Service) error {
				for _, user := range args[1:] {
					if err := p.did(change(accounts, ctx, args[0], user), "user %s %s group %s", user, done, args[0]); err != nil {
						return err
					}
				}
				return nil
			})
		},
	}
}

func (p *program) listGroups(ctx context.Context, accounts *auth.Service) error {
	w := tabwriter.NewWriter(p.stdout, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "GROUP\tMEMBERS\tDESCRIPTION")
	const page = 500
	for after := ""; ; {
		groups, err := accounts.Groups(ctx, after, page)
		if err != nil {
			return err
		}
		for _, g := range groups {
			fmt.Fprintf(w, "%s\t%s\t%s\n", g.Name, strings.Join(g.Members, ","), g.Description)
			after = g.Name
		}
		if len(groups) < page {
			return w.Flush()
		}
	}
}

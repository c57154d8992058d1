package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/romi/plantdb-go/db"
	"github.com/romi/plantdb-go/internal/actor"
	"github.com/romi/plantdb-go/internal/auth"
	"github.com/romi/plantdb-go/internal/config"
	"github.com/romi/plantdb-go/internal/fsdb"
	"github.com/romi/plantdb-go/internal/scan"
)

// Where upstream keeps accounts and groups.
const (
	upstreamUsers  = "users.json"
	upstreamGroups = "groups.json"
	// maxAccounts is more than auth.ImportUpstream takes, in bytes.
	maxAccounts = 32 << 20
)

func (p *program) importCommand() *cobra.Command {
	var users, dryRun bool
	cmd := &cobra.Command{
		Use: "import DIR", Short: "Index an existing scan tree, in place, and take its accounts over.", Args: cobra.ExactArgs(1),
		Long: "Index an existing scan tree, in place: nothing in it is moved or changed, but for a hidden directory .plantdb. " +
			"A second run reads only what changed. Damaged scans are listed with their reason.\n\n" +
			"With --users the accounts and groups of users.json and groups.json come over, too: passwords go on working, but for " +
			"admin/admin and guest/guest; an account or group that exists already is left as it is.",
		RunE: func(cmd *cobra.Command, args []string) error {
			if stat, err := os.Stat(args[0]); err != nil || !stat.IsDir() {
				return fmt.Errorf("%s is no directory", args[0])
			}
			p.config.Root = args[0]
			return p.withRoot(cmd.Context(), func(s *store, root *os.Root) error {
				if err := p.importTree(cmd.Context(), s, dryRun); err != nil || !users {
					return err
				}
				return p.importAccounts(cmd.Context(), s, root, dryRun)
			})
		},
	}
	p.config.TreeFlags(cmd.Flags())
	cmd.Flags().BoolVar(&users, "users", false, "take users.json and groups.json of the tree over, too")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "say what would be imported, and import nothing")
	return cmd
}

// noGroups is for commands that create nothing.
type noGroups struct{}

// MissingGroups implements scan.Groups.
func (noGroups) MissingGroups(_ context.Context, _ db.DBTX, names []string) ([]string, error) {
	return names, nil
}

// Owner implements scan.Groups.
func (noGroups) Owner(context.Context, db.DBTX, string) (string, bool, error) { return "", false, nil }

// RecordAccess implements scan.Groups; an import changes no access.
func (noGroups) RecordAccess(context.Context, db.DBTX, string, string) error { return nil }

func (p *program) importTree(ctx context.Context, s *store, dryRun bool) error {
	if dryRun {
		return p.lookThrough(ctx, s)
	}
	limits := scan.DefaultConfig()
	scans := scan.New(s.pool, s.tree, noGroups{}, limits, s.log)
	if p.config.Previews == config.PreviewsAhead {
		scans.PreviewAhead(s.queue) // by the next server that runs
	}
	if err := scans.FoldAll(ctx, limits.LockTimeout); err != nil {
		return err
	}
	bar := p.progress("indexing")
	scans.OnProgress(bar.set)
	began := time.Now()
	done, err := scans.Reconcile(actor.NewContext(ctx, actor.System()))
	bar.finish()
	if err != nil {
		return err
	}
	fmt.Fprintf(p.stdout, "%d scans in %s: %d read, %d unchanged, %d forgotten, %d damaged (%.1f s)\n", done.Scans,
		describe(s.tree.Dir()), done.Read, done.Scans-done.Read, done.Removed, done.Broken, time.Since(began).Seconds())
	return nil
}

// lookThrough says what the tree holds.
func (p *program) lookThrough(ctx context.Context, s *store) error {
	list, err := s.tree.List(ctx)
	if err != nil {
		return err
	}
	scans, timelapses, damaged := 0, 0, 0
	count := func(e fsdb.Entry) {
		switch e = s.tree.Look(e); {
		case e.Broken != "":
			damaged++
			fmt.Fprintf(p.stdout, "damaged: %s: %s\n", e.Loc.Dir(), e.Broken)
		case e.Timelapse:
			timelapses++
		default:
			scans++
		}
	}
	for _, e := range list.Timelapses() {
		count(e)
	}
	for first, others := range list.Scans() {
		count(first)
		for _, e := range others {
			count(e)
		}
	}
	fmt.Fprintf(p.stdout, "dry run: %d scans and %d timelapses in %s, %d directories damaged\n", scans, timelapses, describe(s.tree.Dir()), damaged)
	return nil
}

func (p *program) importAccounts(ctx context.Context, s *store, root *os.Root, dryRun bool) error {
	users, err := readAccounts(root, upstreamUsers)
	if err != nil {
		return err
	}
	groups, err := readAccounts(root, upstreamGroups)
	if err != nil {
		return err
	}
	if users == nil && groups == nil {
		return fmt.Errorf("%s has neither %s nor %s", describe(s.tree.Dir()), upstreamUsers, upstreamGroups)
	}
	r, err := p.accounts(s).ImportUpstream(actor.NewContext(ctx, actor.System()), users, groups, dryRun)
	if err != nil {
		return err
	}
	for _, remark := range r.Remarks {
		fmt.Fprintf(p.stdout, "note: %s\n", remark)
	}
	prefix := ""
	if dryRun {
		prefix = "dry run: "
	}
	fmt.Fprintf(p.stdout, "%s%d users imported, %d there already; %d groups with %d members imported, %d there already; %d notes\n",
		prefix, r.UsersAdded, r.UsersKept, r.GroupsAdded, r.MembersAdded, r.GroupsKept, len(r.Remarks))
	return nil
}

// readAccounts returns nil where there is no such file.
func readAccounts(root *os.Root, name string) ([]byte, error) {
	f, err := root.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("open accounts: %w", err)
	}
	defer f.Close() // Only read.
	data, err := io.ReadAll(io.LimitReader(f, maxAccounts))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	return data, nil
}

// upstreamAccounts says whether the tree has accounts that nobody took over:
// those of the database are none, or only the guest.
func upstreamAccounts(ctx context.Context, root *os.Root, accounts *auth.Service) (bool, error) {
	if _, err := root.Stat(upstreamUsers); errors.Is(err, fs.ErrNotExist) {
		return false, nil
	} else if err != nil {
		return false, fmt.Errorf("look for accounts: %w", err)
	}
	users, err := accounts.Users(actor.NewContext(ctx, actor.System()), "", 2)
	if err != nil {
		return false, err
	}
	return len(users) == 0 || len(users) == 1 && users[0].Username == auth.GuestName, nil
}

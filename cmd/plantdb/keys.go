package main

import (
	"context"
	"fmt"
	"os"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/romi/plantdb-go/internal/auth"
)

func (p *program) keysCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "keys", Short: "List, rotate and retire the keys that tokens are signed with.",
		Long: "List, rotate and retire the keys that tokens are signed with. Running servers follow within a second or two.\n" +
			"A key that JWT_SECRET_KEY sets is rotated there: see docs/authentication.md.",
	}
	p.config.TreeFlags(cmd.PersistentFlags())
	rotate := &cobra.Command{
		Use: "rotate", Short: "Sign with a new key from now on; the old one verifies until it is retired.", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return p.withRoot(cmd.Context(), func(s *store, root *os.Root) error { return p.rotateKey(cmd.Context(), s, root) })
		},
	}
	p.config.KeyFlags(rotate.Flags())
	cmd.AddCommand(rotate,
		&cobra.Command{
			Use: "list", Short: "List the keys that are or were in use.", Args: cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error {
				return p.withStore(cmd.Context(), func(s *store) error { return p.listKeys(cmd.Context(), s) })
			},
		},
		&cobra.Command{
			Use: "retire KID", Short: "Refuse all tokens that a key signed, and remove it.", Args: cobra.ExactArgs(1),
			RunE: func(cmd *cobra.Command, args []string) error {
				return p.withRoot(cmd.Context(), func(s *store, root *os.Root) error {
					err := auth.RetireKey(cmd.Context(), s.pool, root, p.keySettings(), args[0], s.log)
					return p.did(err, "key %s retired", args[0])
				})
			},
		},
	)
	return cmd
}

// keySettings say where the signing keys come from.
func (p *program) keySettings() auth.KeySettings {
	return auth.KeySettings{
		Secret: p.config.JWTSecret, Previous: p.config.JWTPrevious, Algorithm: p.config.JWTAlgorithm,
	}
}

// openRoot opens the tree for what is kept in it beside scans.
func (s *store) openRoot() (*os.Root, error) {
	root, err := os.OpenRoot(s.tree.Dir())
	if err != nil {
		return nil, fmt.Errorf("open tree: %w", err)
	}
	return root, nil
}

// withRoot is withStore with the root of the tree.
func (p *program) withRoot(ctx context.Context, fn func(*store, *os.Root) error) error {
	return p.withStore(ctx, func(s *store) error {
		root, err := s.openRoot()
		if err != nil {
			return err
		}
		defer root.Close() // What is written by it is synced where it is written.
		return fn(s, root)
	})
}

func (p *program) rotateKey(ctx context.Context, s *store, root *os.Root) error {
	kid, err := auth.RotateKey(ctx, s.pool, root, p.keySettings(), s.log)
	return p.did(err, "key %s signs now; those before verify until they are retired: plantdb keys list", kid)
}

func (p *program) listKeys(ctx context.Context, s *store) error {
	keys, err := auth.SigningKeys(ctx, s.pool)
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(p.stdout, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "KID\tALGORITHM\tSTATUS\tSINCE\tRETIRED")
	for _, k := range keys {
		retired := ""
		if k.RetiredAt != nil {
			retired = k.RetiredAt.Local().Format(time.DateTime)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", k.ID, k.Algorithm, k.Status, k.CreatedAt.Local().Format(time.DateTime), retired)
	}
	return w.Flush()
}

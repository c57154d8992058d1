package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/romi/plantdb-go/internal/actor"
	"github.com/romi/plantdb-go/internal/auth"
)

func (p *program) userCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "user", Short: "Manage the users of the database."}
	p.config.TreeFlags(cmd.PersistentFlags())
	active, inactive := true, false
	cmd.AddCommand(p.userCreateCommand(),
		&cobra.Command{
			Use: "list", Short: "List all users.", Args: cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error { return p.withAccounts(cmd.Context(), p.listUsers) },
		},
		&cobra.Command{
			Use: "passwd NAME", Short: "Set a user's password, which is asked for, or read from standard input; ends the user's sessions.",
			Args: cobra.ExactArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
				return p.setPassword(cmd.Context(), args[0], cmd.InOrStdin())
			},
		},
		&cobra.Command{
			Use: "set-role NAME ROLE", Short: "Make a user reader, contributor or admin.", Args: cobra.ExactArgs(2),
			RunE: func(cmd *cobra.Command, args []string) error {
				return p.updateUser(cmd.Context(), args[0], auth.UserPatch{Roles: []actor.Role{actor.Role(args[1])}}, "is now "+args[1])
			},
		},
		p.userPatchCommand("activate", "Let a user log in again.", "can log in", auth.UserPatch{Active: &active}),
		p.userPatchCommand("deactivate", "End a user's sessions and API tokens for good, and let nobody log in.", "cannot log in any more", auth.UserPatch{Active: &inactive}),
		p.userPatchCommand("unlock", "Forget a user's failed logins.", "is not locked", auth.UserPatch{Unlock: true}),
		p.userResetCommand(),
		&cobra.Command{
			Use: "delete NAME", Short: "Delete a user; scans keep the name of their owner.", Args: cobra.ExactArgs(1),
			RunE: func(cmd *cobra.Command, args []string) error {
				return p.withAccounts(cmd.Context(), func(ctx context.Context, accounts *auth.Service) error {
					return p.did(accounts.DeleteUser(ctx, args[0]), "user %s deleted", args[0])
				})
			},
		},
	)
	return cmd
}

// userPatchCommand is a command that changes one thing of one user.
func (p *program) userPatchCommand(name, short, done string, patch auth.UserPatch) *cobra.Command {
	return &cobra.Command{
		Use: name + " NAME", Short: short, Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return p.updateUser(cmd.Context(), args[0], patch, done)
		},
	}
}

func (p *program) updateUser(ctx context.Context, name string, patch auth.UserPatch, done string) error {
	return p.withAccounts(ctx, func(ctx context.Context, accounts *auth.Service) error {
		u, err := accounts.UpdateUser(ctx, name, patch)
		return p.did(err, "user %s %s", u.Username, done)
	})
}

// setPassword does what a user does who got a link.
func (p *program) setPassword(ctx context.Context, name string, in io.Reader) error {
	password, err := p.askPassword(in)
	if err != nil {
		return err
	}
	return p.withAccounts(ctx, func(ctx context.Context, accounts *auth.Service) error {
		secret, _, err := accounts.ResetPassword(ctx, name)
		if err != nil {
			return err
		}
		u, err := accounts.RedeemReset(ctx, secret, password)
		return p.did(err, "password of %s set", u.Username)
	})
}

func (p *program) userResetCommand() *cobra.Command {
	return &cobra.Command{
		Use: "reset-link NAME", Short: "Print a secret with which a user can set a new password, once and within half an hour.",
		Long: "Print a secret with which a user can set a new password, once and within half an hour, by\n" +
			"POST /api/v1/auth/password-reset {\"secret\", \"new_password\"}. The old password works until then.",
		Args: cobra.ExactArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
			return p.withAccounts(cmd.Context(), func(ctx context.Context, accounts *auth.Service) error {
				secret, expires, err := accounts.ResetPassword(ctx, args[0])
				return p.did(err, "%s\ngood once, until %s", secret, expires.Local().Format(time.DateTime))
			})
		},
	}
}

// did says what was done, unless it was not.
func (p *program) did(err error, format string, args ...any) error {
	if err == nil {
		fmt.Fprintf(p.stdout, format+"\n", args...)
	}
	return err
}

func (p *program) userCreateCommand() *cobra.Command {
	n := auth.NewUser{}
	var admin bool
	var role string
	cmd := &cobra.Command{
		Use: "create NAME", Short: "Create a user; the password is asked for, or read from standard input.", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			n.Username = args[0]
			if n.Fullname == "" {
				n.Fullname = args[0]
			}
			if admin {
				role = string(actor.Admin)
			}
			n.Roles = []actor.Role{actor.Role(role)}
			var err error
			if n.Password, err = p.askPassword(cmd.InOrStdin()); err != nil {
				return err
			}
			return p.withAccounts(cmd.Context(), func(ctx context.Context, accounts *auth.Service) error {
				u, err := accounts.Register(ctx, n)
				return p.did(err, "user %s created, %s", u.Username, role)
			})
		},
	}
	cmd.Flags().StringVar(&n.Fullname, "fullname", "", "full name; the user name unless given")
	cmd.Flags().StringVar(&role, "role", string(actor.Reader), "reader, contributor or admin")
	cmd.Flags().BoolVar(&admin, "admin", false, "the same as --role admin")
	cmd.Flags().BoolVar(&n.TakeOver, "take-over", false, "give the user the scans that a deleted one of that name left")
	return cmd
}

// askPassword reads a password twice from a terminal without showing it, or a
// line from anything else.
func (p *program) askPassword(in io.Reader) (string, error) {
	f, ok := in.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) { // A descriptor fits an int.
		line, err := bufio.NewReader(io.LimitReader(in, 4096)).ReadString('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			return "", fmt.Errorf("read password: %w", err)
		}
		return strings.TrimRight(line, "\r\n"), nil
	}
	var typed [2]string
	for i, prompt := range []string{"Password: ", "Once more: "} {
		fmt.Fprint(p.stderr, prompt)
		raw, err := term.ReadPassword(int(f.Fd())) // A descriptor fits an int.
		fmt.Fprintln(p.stderr)
		if err != nil {
			return "", fmt.Errorf("read password: %w", err)
		}
		typed[i] = string(raw)
	}
	if typed[0] != typed[1] {
		return "", errors.New("the two passwords differ")
	}
	return typed[0], nil
}

// withAccounts runs fn as the server itself: who may run commands on the
// machine may do everything to its accounts.
func (p *program) withAccounts(ctx context.Context, fn func(context.Context, *auth.Service) error) error {
	return p.withStore(ctx, func(s *store) error { return fn(actor.NewContext(ctx, actor.System()), p.accounts(s)) })
}

// accounts is for commands. It signs nothing, so it needs no key.
func (p *program) accounts(s *store) *auth.Service {
	c := auth.Default()
	c.PasswordMinLength = p.config.ShortestPassword()
	return auth.New(s.pool, nil, c, s.log)
}

func (p *program) listUsers(ctx context.Context, accounts *auth.Service) error {
	w := tabwriter.NewWriter(p.stdout, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "USER\tFULL NAME\tROLES\tACTIVE\tLAST LOGIN")
	const page = 500
	for after := ""; ; {
		users, err := accounts.Users(ctx, after, page)
		if err != nil {
			return err
		}
		for _, u := range users {
			last := "never"
			if u.LastLoginAt != nil {
				last = u.LastLoginAt.Local().Format(time.DateTime)
			}
			fmt.Fprintf(w, "%s\t%s\t%v\t%t\t%s\n", u.Username, u.Fullname, u.Roles, u.Active, last)
			after = u.Username
		}
		if len(users) < page {
			return w.Flush()
		}
	}
}

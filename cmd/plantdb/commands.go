package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/romi/plantdb-go/internal/api"
	"github.com/romi/plantdb-go/internal/demo"
	"github.com/romi/plantdb-go/internal/postgres"
)

func (p *program) migrateCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "migrate", Short: "Bring the schema of the database to a version."}
	p.config.TreeFlags(cmd.PersistentFlags())
	cmd.AddCommand(
		&cobra.Command{
			Use: "up", Short: "Apply every migration that was not applied yet.", Args: cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error {
				return p.withStore(cmd.Context(), func(s *store) error { return p.printMigrations(cmd.Context(), s.url) })
			},
		},
		&cobra.Command{
			Use: "status", Short: "Say which migrations were applied, and when.", Args: cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error {
				return p.withDatabase(cmd.Context(), func(url string) error { return p.printMigrations(cmd.Context(), url) })
			},
		},
		&cobra.Command{
			Use: "down-to VERSION", Short: "Take back every migration above a version; 0 drops all tables.", Args: cobra.ExactArgs(1),
			RunE: func(cmd *cobra.Command, args []string) error {
				to, err := strconv.ParseInt(args[0], 10, 64)
				if err != nil || to < 0 {
					return fmt.Errorf("%q is no version: see plantdb migrate status", args[0])
				}
				return p.withDatabase(cmd.Context(), func(url string) error {
					if err := postgres.MigrateDownTo(cmd.Context(), url, to); err != nil {
						return err
					}
					return p.printMigrations(cmd.Context(), url)
				})
			},
		},
	)
	return cmd
}

// withStore runs fn with tree and database open and the schema up to date.
func (p *program) withStore(ctx context.Context, fn func(*store) error) error {
	log, err := p.logger()
	if err != nil {
		return err
	}
	s, err := p.openStore(ctx, log)
	if err != nil {
		return err
	}
	defer s.close()
	return fn(s)
}

// withDatabase runs fn with the URL of a database whose schema may be any.
func (p *program) withDatabase(ctx context.Context, fn func(url string) error) error {
	return p.withBare(ctx, func(s *store) error { return fn(s.url) })
}

// withBare is withStore for who looks into the database by itself.
func (p *program) withBare(ctx context.Context, fn func(*store) error) error {
	log, err := p.logger()
	if err != nil {
		return err
	}
	s, err := p.openBare(ctx, log)
	if err != nil {
		return err
	}
	defer s.close()
	return fn(s)
}

func (p *program) printMigrations(ctx context.Context, url string) error {
	list, err := postgres.MigrationStatus(ctx, url)
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(p.stdout, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "VERSION\tFILE\tAPPLIED")
	for _, m := range list {
		applied := "no"
		if !m.AppliedAt.IsZero() {
			applied = m.AppliedAt.Local().Format(time.DateTime)
		}
		fmt.Fprintf(w, "%d\t%s\t%s\n", m.Version, m.Name, applied)
	}
	have, want, err := postgres.JobsVersions(ctx, url)
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "\ttables of jobs (River)\t%d of %d\n", have, want)
	return w.Flush()
}

func (p *program) demoCommand() *cobra.Command {
	return &cobra.Command{
		Use: "demo DIR", Short: "Make a small tree of sample scans.", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			bar := p.progress("making sample scans")
			err := demo.Write(cmd.Context(), args[0], demo.Options{Progress: bar.set})
			bar.finish()
			if err == nil {
				fmt.Fprintf(p.stdout, "sample scans made in %s; serve them with: plantdb serve --db-path %s\n", args[0], args[0])
			}
			return err
		},
	}
}

func (p *program) openapiCommand() *cobra.Command {
	var dir string
	var asJSON bool
	cmd := &cobra.Command{
		Use: "openapi", Short: "Print the OpenAPI document, or write all its forms into a directory.", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			ext := ".yaml"
			if asJSON {
				ext = ".json"
			}
			for _, d := range api.Documents(api.DocumentVersion) {
				if dir == "" && d.Name == "openapi"+ext {
					_, err := p.stdout.Write(d.Content)
					return err
				}
				if dir == "" || filepath.Ext(d.Name) != ext {
					continue
				}
				if err := os.WriteFile(filepath.Join(dir, d.Name), d.Content, 0o644); err != nil { //nolint:gosec // A document to be read by all.
					return fmt.Errorf("write document: %w", err)
				}
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print or write it as JSON")
	cmd.Flags().StringVar(&dir, "write", "", "directory to write openapi.yaml, openapi-3.0.yaml, openapi-legacy.yaml and openapi-clients.yaml into, or their .json")
	return cmd
}

func (p *program) healthCommand() *cobra.Command {
	var url string
	cmd := &cobra.Command{
		Use: "health", Short: "Ask a server whether it is ready; exits 1 if not.", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return p.askReady(cmd.Context(), url) },
	}
	cmd.Flags().StringVar(&url, "url", fmt.Sprintf("http://127.0.0.1:%d", p.config.Port), "address of the server")
	return cmd
}

func (p *program) askReady(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/ready", nil)
	if err != nil {
		return fmt.Errorf("%q is no address: %w", url, err)
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return fmt.Errorf("no server answers at %s: %w", url, err)
	}
	defer answer.Body.Close() // Only read.
	body, err := io.ReadAll(io.LimitReader(answer.Body, 4<<10))
	if err != nil {
		return fmt.Errorf("read answer of %s: %w", url, err)
	}
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("the server at %s is not ready: %s: %s", url, answer.Status, body)
	}
	_, err = p.stdout.Write(body)
	return err
}

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/romi/plantdb-go/internal/actor"
	"github.com/romi/plantdb-go/internal/preview"
	"github.com/romi/plantdb-go/internal/scan"
)

// checkFlags are what a check is told.
type checkFlags struct {
	repair, digests, resume, json bool
	scans                         []string
	rate                          float64 // MB/s
}

func (p *program) checkCommand() *cobra.Command {
	var f checkFlags
	cmd := &cobra.Command{
		Use: "check", Short: "Compare the tree with itself and with its index; exits 1 if something is wrong.", Args: cobra.NoArgs,
		Long: "Compare what files.json lists with what lies on the disk, the metadata with the files, and both with the index: missing and " +
			"extra files, sizes, digests, metadata of nothing, damaged JSON, rows without files and files without rows, what interrupted " +
			"calls left, previews of nothing. It may run beside servers: what is found is looked at again while the scan is held.\n\n" +
			"--repair does what cannot lose anything: it indexes again what the index has wrong, lists extra files in files.json, moves " +
			"metadata of nothing into .plantdb/quarantine, settles the trash, and removes what is left in the staging directory and " +
			"previews of nothing. What is missing or damaged has to come from a backup.\n\n" +
			"A line begins with ! for what is wrong and with - for a note, which does not change the exit code.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if f.rate < 0 {
				return errors.New("--rate must be positive, in megabytes a second")
			}
			return p.withStore(cmd.Context(), func(s *store) error { return p.check(cmd.Context(), s, f) })
		},
	}
	p.config.TreeFlags(cmd.Flags())
	cmd.Flags().BoolVar(&f.repair, "repair", false, "mend what can be mended without losing anything, and say what was done")
	cmd.Flags().BoolVar(&f.digests, "digests", false, "read all files and compare their SHA-256; with --repair those without one get it")
	cmd.Flags().BoolVar(&f.resume, "resume", false, "go on where a check of everything was cut short")
	cmd.Flags().BoolVar(&f.json, "json", false, "print a JSON object a line, the last one with what was looked at")
	cmd.Flags().StringSliceVar(&f.scans, "scan", nil, "only these scans, not the trash and the previews")
	cmd.Flags().Float64Var(&f.rate, "rate", 0, "read at most so many MB a second for --digests; 0: as fast as the disk")
	cmd.MarkFlagsMutuallyExclusive("scan", "resume")
	return cmd
}

// foundError ends the program with code 1 after the findings were told.
type foundError int

func (e foundError) Error() string { return fmt.Sprintf("%d things are wrong", int(e)) }

func (p *program) check(ctx context.Context, s *store, f checkFlags) error {
	shelf, err := preview.OpenShelf(filepath.Join(s.tree.Dir(), ".plantdb", "cache", "previews"))
	if err != nil {
		return err
	}
	defer shelf.Close() // What it removes need not be durable.
	ctx = actor.NewContext(ctx, actor.System())
	scans := p.scans(s)
	o := scan.CheckOptions{
		Scans: f.scans, Digests: f.digests, Repair: f.repair, Record: f.repair, BytesPerSecond: int64(f.rate * 1e6),
		Previews: shelf, Report: func(found scan.Finding) error { return p.printFinding(found, f.json) },
	}
	began := time.Now()
	var seen scan.Checked
	after := ""
	if len(f.scans) > 0 {
		seen, _, err = scans.Check(ctx, o)
	} else {
		seen, after, err = scans.CheckPass(ctx, f.resume, o)
	}
	if err != nil {
		return err
	}
	if err := p.printChecked(seen, after, time.Since(began), f.json); err != nil {
		return err
	}
	if left := seen.Findings - seen.Repaired; left > 0 {
		return foundError(left)
	}
	return nil
}

func (p *program) printFinding(f scan.Finding, asJSON bool) error {
	if asJSON {
		return printJSON(p, f)
	}
	mark, what := "!", f.Path
	if f.Note {
		mark = "-"
	}
	if f.File != "" && filepath.Base(f.Path) == f.Fileset {
		what += "/" + f.File
	}
	line := fmt.Sprintf("%s %-17s %s", mark, f.Kind, what)
	if f.Detail != "" {
		line += ": " + f.Detail
	}
	if f.Repaired != "" {
		line += " (" + f.Repaired + ")"
	}
	_, err := fmt.Fprintln(p.stdout, line)
	return err
}

func printJSON(p *program, v any) error {
	enc := json.NewEncoder(p.stdout)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return fmt.Errorf("print: %w", err)
	}
	return nil
}

func (p *program) printChecked(seen scan.Checked, after string, took time.Duration, asJSON bool) error {
	if asJSON {
		return printJSON(p, struct {
			scan.Checked
			Done    bool    `json:"done"`
			After   string  `json:"resumed_after,omitempty"`
			Seconds float64 `json:"seconds"`
		}{seen, true, after, took.Seconds()})
	}
	from := ""
	if after != "" {
		from = " after " + after
	}
	read := ""
	if seen.Bytes > 0 {
		read = fmt.Sprintf(", %.1f MB read", float64(seen.Bytes)/1e6)
	}
	_, err := fmt.Fprintf(p.stdout, "%d scans%s, %d files%s: %d things wrong, %d of them mended, %d notes (%.1f s)\n",
		seen.Scans, from, seen.Files, read, seen.Findings, seen.Repaired, seen.Notes, took.Seconds())
	return err
}

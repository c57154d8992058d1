package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"

	"github.com/spf13/cobra"

	"github.com/romi/plantdb-go/internal/config"
	"github.com/romi/plantdb-go/internal/fault"
	"github.com/romi/plantdb-go/internal/observe"
)

// program is what a command has: the settings and where to write.
type program struct {
	config         config.Config
	stdout, stderr io.Writer
}

// run is the whole program: it takes what it needs, so that a test can start
// it, and returns the exit code.
func run(ctx context.Context, args []string, getenv func(string) string, stdout, stderr io.Writer) int {
	settings, err := config.FromEnv(getenv)
	if err != nil {
		fmt.Fprintln(stderr, "plantdb:", err)
		return 2
	}
	p := &program{config: settings, stdout: stdout, stderr: stderr}
	root := &cobra.Command{
		Use: "plantdb", Short: "Keeps and serves the scans of plant phenotyping robots.",
		Version: version, SilenceUsage: true, SilenceErrors: true,
	}
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	root.AddCommand(p.serveCommand(), p.migrateCommand(), p.userCommand(), p.groupCommand(), p.keysCommand(), p.importCommand(), p.migrateMetadataCommand(), p.demoCommand(),
		p.trashCommand(), p.quotaCommand(), p.checkCommand(), p.backupCommand(), p.restoreCommand(), p.exportCommand(), p.reportCommand(), p.openapiCommand(), p.healthCommand())
	if err := root.ExecuteContext(ctx); err != nil {
		text := sentence(err)
		if ctx.Err() != nil {
			text = strings.Replace(text, context.Canceled.Error(), "stopped before it was done", 1)
		}
		fmt.Fprintln(stderr, "plantdb:", text)
		return 1
	}
	return 0
}

// sentence is what a person reads of an error: its text, but without the cause
// of a named one, whose own text says what to do.
func sentence(err error) string {
	text := err.Error()
	if f, ok := errors.AsType[*fault.Error](err); ok {
		text = strings.Replace(text, f.Error(), f.Msg, 1)
	}
	return strings.Join(strings.Fields(text), " ")
}

// logger returns the logger that the settings ask for.
func (p *program) logger() (*slog.Logger, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(p.config.LogLevel)); err != nil {
		return nil, fmt.Errorf("setting PLANTDB_LOG_LEVEL must be debug, info, warn or error")
	}
	return observe.NewLogger(p.stderr, level), nil
}

// Command bench starts the built server on temporary trees and measures it
// from outside, as its clients do. Beside each figure stands what this machine
// allows: the same bytes, rows and syncs by a program that does nothing else,
// in turns with the server, so that whatever else the machine does slows both
// alike. The ratio of the two means more than either.
//
// It knows the HTTP surface, the layout of a tree and, for the limits, the
// queries of package db; nothing of how the server works inside. A figure is a
// function in the file of its noun and a line in figures.go.
//
// All it makes lies in one new directory below that for temporary files
// (TMPDIR), which is to be on the disk to be measured; the directory and every
// program that was started are gone when it ends, by itself or by Ctrl-C.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop() // os.Exit runs no defer
	os.Exit(code)
}

// run measures what args ask for and returns the exit code: 1 if a figure
// could not be measured, whether or not the others reach what they must.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	if len(args) == 2 && args[0] == bareCommand {
		return exitCode(serveBare(ctx, args[1], os.Getenv(bareDatabase), stdin, stdout), stderr)
	}
	o, err := parseOptions(args, stderr)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if err != nil {
		return 2
	}
	if o.soak > 0 {
		return exitCode(soak(ctx, o, stdout, stderr), stderr)
	}
	return exitCode(measure(ctx, o, stdout, stderr), stderr)
}

func exitCode(err error, stderr io.Writer) int {
	if err == nil {
		return 0
	}
	fmt.Fprintln(stderr, "bench:", err)
	return 1
}

// options are what a run is asked for.
type options struct {
	only    *regexp.Regexp
	turn    time.Duration // of one load; see rates
	clients int
	large   int64         // bytes of the large upload
	soak    time.Duration // how long to read and watch for leaks instead
}

func parseOptions(args []string, stderr io.Writer) (options, error) {
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(stderr)
	only := flags.String("only", "", "measure only the figures whose name matches this regular expression")
	seconds := flags.Float64("seconds", 3, "how long each figure, and each of its limits, is measured, 0.1 to 600")
	clients := flags.Int("clients", 8, "clients at once where a figure does not say otherwise, 1 to 64")
	size := flags.Int64("size", 100, "MB of the large upload, 1 to 4000")
	long := flags.Duration("soak", 0, "instead of the figures, read with 16 clients for so long and print what the server holds")
	flags.Usage = func() {
		fmt.Fprintln(stderr, "usage: bench [flags], with the figures:")
		for _, f := range figures() {
			fmt.Fprintln(stderr, " ", f.name)
		}
		flags.PrintDefaults()
	}
	if err := flags.Parse(args); err != nil {
		return options{}, err
	}
	pattern, err := regexp.Compile(*only)
	switch {
	case err != nil:
	case flags.NArg() > 0:
		err = fmt.Errorf("%q is no flag", flags.Arg(0))
	case !(*seconds >= 0.1 && *seconds <= 600) || *clients < 1 || *clients > 64 || *size < 1 || *size > 4000 || *long < 0:
		err = errors.New("a number is out of bounds, see -help")
	}
	if err != nil {
		fmt.Fprintln(stderr, "bench:", err)
		return options{}, err
	}
	turn := time.Duration(*seconds * float64(time.Second) / rounds)
	return options{only: pattern, turn: turn, clients: *clients, large: *size * 1e6, soak: *long}, nil
}

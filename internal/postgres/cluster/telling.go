package cluster

import (
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
)

// severity begins the part of a line that is for people.
var severity = regexp.MustCompile(`(?:PANIC|FATAL|ERROR|error): +`)

// telling returns the line of a program's output that says why it failed: the
// last one of a severity that ends programs, else the last at all.
func telling(output string) string {
	var last, grave string
	for line := range strings.Lines(output) {
		line = strings.TrimSpace(line)
		if line == "" {
			continue
		}
		last = line
		if at := severity.FindStringIndex(line); at != nil {
			grave = line[at[1]:]
		}
	}
	switch {
	case grave != "":
		return grave
	case last != "":
		return last
	default:
		return "it said nothing"
	}
}

// LastWords returns the telling line of the log file at path.
func LastWords(path string) string {
	text, err := tail(path, 64<<10)
	if err != nil {
		return "its log cannot be read"
	}
	return telling(text)
}

func tail(path string, limit int64) (_ string, err error) {
	f, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("open log: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return "", fmt.Errorf("look at log: %w", err)
	}
	b, err := io.ReadAll(io.NewSectionReader(f, max(0, info.Size()-limit), limit))
	return string(b), err
}

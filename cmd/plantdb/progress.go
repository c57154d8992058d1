package main

import (
	"github.com/schollz/progressbar/v3"

	"github.com/romi/plantdb-go/internal/observe"
)

// progress is a bar on a terminal and nothing elsewhere.
type progress struct {
	bar *progressbar.ProgressBar
}

func (p *program) progress(what string) *progress {
	if !observe.IsTerminal(p.stderr) {
		return &progress{}
	}
	return &progress{progressbar.NewOptions(1,
		progressbar.OptionSetWriter(p.stderr), progressbar.OptionSetDescription(what),
		progressbar.OptionShowCount(), progressbar.OptionClearOnFinish(),
	)}
}

// set says how far it is. It may be called from several goroutines.
func (p *progress) set(done, total int) {
	if p.bar == nil {
		return
	}
	p.bar.ChangeMax(total)
	_ = p.bar.Set(done) // a bar that cannot be drawn is no reason to stop
}

func (p *progress) finish() {
	if p.bar != nil {
		_ = p.bar.Finish() // see set
	}
}

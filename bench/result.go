package main

import (
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"text/tabwriter"
)

// unit is what a value counts.
type unit struct {
	name  string
	lower bool // the lower the better
}

var (
	perSecond          = unit{"/s", false}
	megabytesPerSecond = unit{" MB/s", false}
	millis             = unit{" ms", true}
	seconds            = unit{" s", true}
	megabytes          = unit{" MB", true}
)

func (u unit) format(value float64) string {
	switch {
	case value >= 100:
		return fmt.Sprintf("%.0f%s", value, u.name)
	case value >= 10:
		return fmt.Sprintf("%.1f%s", value, u.name)
	}
	return fmt.Sprintf("%.2f%s", value, u.name)
}

// result is a line of the table.
type result struct {
	what string
	unit unit
	ours float64
	// limit is what the machine allows, and limitIs what was measured for it;
	// 0 where nothing can be.
	limit   float64
	limitIs string
	goals   []goal
}

// ratio is how much of the limit's speed is ours; above 1 it is the faster.
func (r result) ratio() float64 {
	if r.unit.lower {
		return r.limit / r.ours
	}
	return r.ours / r.limit
}

// goal is what a figure must reach: a share of the limit's speed, or a value
// of the result's unit that it has to be at least, or where lower is better at
// most.
type goal struct{ share, value float64 }

// share is a goal against the limit, value one in the unit of the result.
func share(of float64) goal { return goal{share: of} }
func value(v float64) goal  { return goal{value: v} }

func (g goal) met(r result) bool {
	switch {
	case g.share > 0:
		return r.ratio() >= g.share
	case r.unit.lower:
		return r.ours <= g.value
	}
	return r.ours >= g.value
}

// beyond says whether the machine itself does not reach the value.
func (g goal) beyond(r result) bool {
	return g.value > 0 && r.limit > 0 && !g.met(result{unit: r.unit, ours: r.limit})
}

func (g goal) describe(u unit) string {
	switch {
	case g.share > 0:
		return fmt.Sprintf("ratio >= %.2g", g.share)
	case u.lower:
		return "<= " + u.format(g.value)
	}
	return ">= " + u.format(g.value)
}

// table is what a run prints.
type table struct {
	machine string
	rows    []result
}

func (t table) print(w io.Writer) error {
	tw := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(tw, "FIGURE\tOURS\tLIMIT\tRATIO\tMUST REACH\t\tTHE LIMIT IS")
	for _, r := range t.rows {
		limit, ratio := "-", "-"
		if r.limit > 0 {
			limit, ratio = r.unit.format(r.limit), fmt.Sprintf("%.2f", r.ratio())
		}
		goals, verdict := r.verdict()
		fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", r.what, r.unit.format(r.ours), limit, ratio, goals, verdict, r.limitIs)
	}
	fmt.Fprintf(tw, "\n%s\n", t.machine)
	if err := tw.Flush(); err != nil {
		return fmt.Errorf("print table: %w", err)
	}
	return nil
}

// verdict lists the goals, and says whether all are reached ("ok"), some are
// not ("short"), or only such as are beyond the machine ("not here").
func (r result) verdict() (goals, verdict string) {
	if len(r.goals) == 0 {
		return "-", ""
	}
	verdict = "ok"
	texts := make([]string, len(r.goals))
	for i, g := range r.goals {
		texts[i] = g.describe(r.unit)
		switch {
		case g.met(r):
		case g.beyond(r) && verdict != "short":
			verdict = "not here"
		default:
			verdict = "short"
		}
	}
	return strings.Join(texts, ", "), verdict
}

// describeMachine says what the figures are from, and, where the system tells,
// how busy the machine was before.
func describeMachine() string {
	text := fmt.Sprintf("%d cores, %s %s/%s", runtime.NumCPU(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
	if raw, err := os.ReadFile("/proc/loadavg"); err == nil {
		if one, _, ok := strings.Cut(string(raw), " "); ok {
			text += ", load average " + one + " at the start"
		}
	}
	return text
}

package main

import (
	"strings"
	"testing"
)

func TestVerdict(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name           string
		r              result
		goals, verdict string
	}{
		{"no goal", result{unit: perSecond, ours: 1}, "-", ""},
		{"share reached", result{unit: perSecond, ours: 80, limit: 100, goals: []goal{share(0.8)}}, "ratio >= 0.8", "ok"},
		{"share missed", result{unit: perSecond, ours: 79, limit: 100, goals: []goal{share(0.8)}}, "ratio >= 0.8", "short"},
		{"share of a time", result{unit: millis, ours: 20, limit: 10, goals: []goal{share(0.5)}}, "ratio >= 0.5", "ok"},
		{"rate reached", result{unit: perSecond, ours: 6000, goals: []goal{value(6000)}}, ">= 6000/s", "ok"},
		{"time missed", result{unit: millis, ours: 20.1, goals: []goal{value(20)}}, "<= 20.0 ms", "short"},
		{
			"beyond the machine",
			result{unit: perSecond, ours: 150, limit: 180, goals: []goal{share(0.7), value(200)}},
			"ratio >= 0.7, >= 200/s", "not here",
		},
		{
			"short in one and beyond the machine in the other",
			result{unit: perSecond, ours: 100, limit: 180, goals: []goal{share(0.7), value(200)}},
			"ratio >= 0.7, >= 200/s", "short",
		},
	} {
		if goals, verdict := tt.r.verdict(); goals != tt.goals || verdict != tt.verdict {
			t.Errorf("%s: verdict() = %q, %q, want %q, %q", tt.name, goals, verdict, tt.goals, tt.verdict)
		}
	}
}

func TestTable(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	err := table{machine: "a machine", rows: []result{
		{what: "reads", unit: perSecond, ours: 50, limit: 200, limitIs: "a bare route", goals: []goal{share(0.5)}},
		{what: "memory", unit: megabytes, ours: 7},
	}}.print(&out)
	const want = `FIGURE  OURS     LIMIT  RATIO  MUST REACH           THE LIMIT IS
reads   50.0/s   200/s  0.25   ratio >= 0.5  short  a bare route
memory  7.00 MB  -      -      -                    

a machine
`
	if err != nil || out.String() != want {
		t.Errorf("print() = %v and\n%s\nwant\n%s", err, out.String(), want)
	}
}

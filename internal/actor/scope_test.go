package actor_test

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/romi/plantdb-go/internal/actor"
)

// testdata/fnmatch.json is what fnmatch.fnmatchcase of Python 3.11 says. Its one
// oddity is left out: a ! that the removal of an empty range brings to the front
// of a set counts as a negation there.
func TestMatch(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile("testdata/fnmatch.json")
	if err != nil {
		t.Fatal(err)
	}
	var cases []struct {
		Glob, Name string
		Want       bool
	}
	if err := json.Unmarshal(raw, &cases); err != nil {
		t.Fatal(err)
	}
	for _, tt := range cases {
		if got := actor.Match(tt.Glob, tt.Name); got != tt.Want {
			t.Errorf("Match(%q, %q) = %v, want %v", tt.Glob, tt.Name, got, tt.Want)
		}
	}
}

// Many stars cost no more than their number times the name's length: going back to
// each of them, this would not end.
func TestMatchManyStars(t *testing.T) {
	t.Parallel()
	if actor.Match(strings.Repeat("*a", 2000)+"b", strings.Repeat("a", 4000)) {
		t.Error("Match(*a*a...b, aaa...) = true, want false")
	}
}

func FuzzMatch(f *testing.F) {
	for _, seed := range [][2]string{{"ds_*", "ds_1"}, {"[!a-c]?", "dx"}, {"[]", "]"}, {"\xff*", "\xff"}, {"\x97", "\xe7"}} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, glob, name string) {
		if !actor.Match("*", name) {
			t.Errorf("Match(*, %q) = false, want true", name)
		}
		if !strings.ContainsAny(glob, "*?[") && actor.Match(glob, name) != (glob == name) {
			t.Errorf("Match(%q, %q) = %v, want %v: nothing in it is special", glob, name, glob != name, glob == name)
		}
		if actor.Match(glob, name) && !actor.Match(glob+"*", name+"x") {
			t.Errorf("Match(%q, %q) = true, but not with a star and a letter more", glob, name)
		}
	})
}

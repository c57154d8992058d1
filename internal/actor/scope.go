package actor

import (
	"slices"
	"strings"
	"unicode/utf8"
)

// Grant gives permissions on every name that the glob matches.
type Grant struct {
	Glob        string
	Permissions []Permission
}

// Scope is what an API token was made for: the union of its grants. A nil
// Scope narrows nothing; an empty one allows nothing.
type Scope struct{ Grants []Grant }

// Allows says whether a grant whose glob matches the name has the permission.
func (s *Scope) Allows(name string, p Permission) bool {
	return slices.ContainsFunc(s.Grants, func(g Grant) bool {
		return slices.Contains(g.Permissions, p) && Match(g.Glob, name)
	})
}

// Match says whether name matches the glob as in Python's fnmatch.fnmatchcase:
// * any text, ? one character, [seq] one of them, [!seq] none of them; nothing
// else is special and the whole name must match. It takes time proportional
// to len(glob) * len(name) at worst.
func Match(glob, name string) bool {
	// The classical two-pointer walk: on a mismatch go back to the last *
	// and let it take one character more.
	starGlob, starName := "", ""
	haveStar := false
	for {
		if glob != "" && glob[0] == '*' {
			haveStar, starGlob, starName = true, glob[1:], name
			glob = glob[1:]
			continue
		}
		if name == "" && glob == "" {
			return true
		}
		if name != "" && glob != "" {
			_, size := utf8.DecodeRuneInString(name)
			if ok, rest := matchOne(glob, name[:size]); ok {
				glob, name = rest, name[size:]
				continue
			}
		}
		if !haveStar || starName == "" {
			return false
		}
		_, size := utf8.DecodeRuneInString(starName)
		starName = starName[size:]
		glob, name = starGlob, starName
	}
}

// matchOne matches one character with the first element of a non-empty glob
// and returns what follows that element. Bytes that are not UTF-8 are
// characters of their own.
func matchOne(glob, char string) (ok bool, rest string) {
	switch glob[0] {
	case '?':
		_, size := utf8.DecodeRuneInString(glob)
		return true, glob[size:]
	case '[':
		if set, rest, closed := cutSet(glob[1:]); closed {
			r, _ := utf8.DecodeRuneInString(char)
			return inSet(set, r), rest
		}
	}
	_, size := utf8.DecodeRuneInString(glob)
	return glob[:size] == char, glob[size:]
}

// cutSet splits "seq]rest"; a ] straight after the opening (or its !) belongs
// to the set, as in Python. Without a closing ] the [ is an ordinary character.
func cutSet(s string) (set, rest string, closed bool) {
	start := 0
	if strings.HasPrefix(s, "!") {
		start = 1
	}
	if strings.HasPrefix(s[start:], "]") {
		start++
	}
	i := strings.IndexByte(s[start:], ']')
	if i < 0 {
		return "", "", false
	}
	return s[:start+i], s[start+i+1:], true
}

func inSet(set string, r rune) bool {
	runes := []rune(set)
	want := true
	if len(runes) > 0 && runes[0] == '!' {
		want, runes = false, runes[1:]
	}
	for i := 0; i < len(runes); i++ {
		if i+2 < len(runes) && runes[i+1] == '-' {
			if runes[i] <= r && r <= runes[i+2] {
				return want
			}
			i += 2
			continue
		}
		if runes[i] == r {
			return want
		}
	}
	return !want
}

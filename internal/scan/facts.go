package scan

import (
	"encoding/json"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// maxSortKey bounds the texts that lists are ordered by, in bytes; the rest of
// a longer one does not matter to the order.
const maxSortKey = 255

// maxSearchText bounds what free text is looked for in, in bytes.
const maxSearchText = 256 << 10

// facts are what lists of scans are ordered, filtered and searched by; empty
// where the metadata does not tell.
type facts struct {
	search, created, lastModified, species, plant, environment, due string
}

// factsOf takes a scan's metadata as it is shown and its images'.
func factsOf(name string, shown, images json.RawMessage) facts {
	bio := Biology(shown, images)
	known := func(s string) string {
		if s == notAvailable {
			return ""
		}
		return sortKey(s)
	}
	return facts{
		search:  searchText(name, Sectioned(shown)),
		created: instant(textAt(shown, "created")), lastModified: instant(textAt(shown, "last_modified")),
		species: known(bio.Species), plant: known(bio.Plant), environment: known(bio.Environment),
		due: dueKey(dueOf(shown)),
	}
}

// sortKey returns s as an index can hold it.
func sortKey(s string) string { return clip(cleanText(s), maxSortKey) }

// clip cuts s to at most n bytes, between two characters.
func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

// searchText is the id, keys and values of metadata, each on a line of its
// own, in lower case and the order of the keys.
func searchText(name string, metadata json.RawMessage) string {
	var all strings.Builder
	all.WriteString(name)
	dec := json.NewDecoder(strings.NewReader(string(metadata)))
	dec.UseNumber()
	var v any
	if dec.Decode(&v) == nil {
		spell(&all, v)
	}
	return clip(cleanText(strings.ToLower(all.String())), maxSearchText)
}

// instantLayout sorts as it tells the time.
const instantLayout = "2006-01-02T15:04:05.000000"

// instant returns a time as metadata has it, local where it names no zone, in
// a form that sorts; empty for what is none.
func instant(text string) string {
	if t, err := time.Parse(time.RFC3339Nano, text); err == nil {
		return t.Local().Format(instantLayout)
	}
	for _, layout := range []string{"2006-01-02T15:04:05", "2006-01-02 15:04:05", "2006-01-02T15:04", "2006-01-02 15:04", time.DateOnly} {
		if t, err := time.Parse(layout, text); err == nil {
			return t.Format(instantLayout)
		}
	}
	return ""
}

// dueKey sorts as upstream sorts by timelapse.scheduled: by the text, then by
// the number.
func dueKey(d due) string {
	if d == (due{}) {
		return ""
	}
	bits := math.Float64bits(d.index + 0) // -0 is 0
	if bits>>63 == 1 {
		bits = ^bits
	} else {
		bits |= 1 << 63
	}
	number := strconv.FormatUint(bits, 16)
	const digits = 16
	return clip(cleanText(d.scheduled), maxSortKey-digits-1) + "\x01" + strings.Repeat("0", digits-len(number)) + number
}

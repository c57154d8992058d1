package report

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"
	"unicode/utf8"
)

// maxCell is how many characters of a text people are shown: a user agent may
// have hundreds.
const maxCell = 60

func columns(names ...string) []Column {
	list := make([]Column, len(names))
	for i, n := range names {
		list[i].Name, list[i].Detail = strings.CutSuffix(n, ":detail")
	}
	return list
}

// Text writes the table for people: aligned, times local to zone, sizes in
// units, long texts cut. User names and agents come from strangers, so what a
// terminal would not print as a character is shown as one that it does.
func (t Table) Text(w io.Writer, zone *time.Location) error {
	tw := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	line := func(cell func(i int) string) {
		var cells []string
		for i, c := range t.Columns {
			if !c.Detail {
				cells = append(cells, cell(i))
			}
		}
		// tabwriter keeps errors for Flush.
		_, _ = fmt.Fprintln(tw, strings.Join(cells, "\t"))
	}
	line(func(i int) string { return strings.ToUpper(strings.ReplaceAll(t.Columns[i].Name, "_", " ")) })
	for _, r := range t.Rows {
		line(func(i int) string { return legible(r[i], zone) })
	}
	if err := tw.Flush(); err != nil {
		return fmt.Errorf("write table: %w", err)
	}
	return nil
}

// CSV writes the table as RFC 4180 has it, with a header of column names.
// Times are RFC 3339 in UTC, sizes in bytes; what is not there is empty.
func (t Table) CSV(w io.Writer) error {
	cw := csv.NewWriter(w)
	cw.UseCRLF = true
	record := make([]string, len(t.Columns))
	for i, c := range t.Columns {
		record[i] = c.Name
	}
	_ = cw.Write(record) // its error stays for Error
	for _, r := range t.Rows {
		for i, v := range r {
			record[i] = exact(v)
		}
		_ = cw.Write(record)
	}
	cw.Flush()
	if err := cw.Error(); err != nil {
		return fmt.Errorf("write CSV: %w", err)
	}
	return nil
}

// JSON writes the table as an array of objects, one a line, whose members are
// the columns in their order. Times are RFC 3339 in UTC, sizes in bytes; what
// is not there is null.
func (t Table) JSON(w io.Writer) error {
	var out bytes.Buffer
	out.WriteByte('[')
	for i, r := range t.Rows {
		if i > 0 {
			out.WriteByte(',')
		}
		out.WriteString("\n  {")
		for j, v := range r {
			if j > 0 {
				out.WriteString(", ")
			}
			if at, ok := v.(time.Time); ok {
				v = at.UTC()
			}
			cell, err := json.Marshal(v)
			if err != nil {
				return fmt.Errorf("encode %s: %w", t.Columns[j].Name, err)
			}
			fmt.Fprintf(&out, "%q: %s", t.Columns[j].Name, cell)
		}
		out.WriteByte('}')
	}
	if len(t.Rows) > 0 {
		out.WriteByte('\n')
	}
	out.WriteString("]\n")
	if _, err := w.Write(out.Bytes()); err != nil {
		return fmt.Errorf("write JSON: %w", err)
	}
	return nil
}

func exact(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case time.Time:
		return v.UTC().Format(time.RFC3339Nano)
	case Bytes:
		return fmt.Sprint(int64(v))
	default:
		return fmt.Sprint(v)
	}
}

func legible(v any, zone *time.Location) string {
	switch v := v.(type) {
	case nil:
		return "-"
	case bool:
		if v {
			return "yes"
		}
		return "no"
	case time.Time:
		return v.In(zone).Format(time.DateTime)
	case Bytes:
		return v.String()
	default:
		return printable(fmt.Sprint(v))
	}
}

// printable cuts a text and replaces what could move a cursor, colour a
// screen, or turn the direction of what follows.
func printable(s string) string {
	if s == "" {
		return "-"
	}
	if utf8.RuneCountInString(s) > maxCell {
		s = string([]rune(s)[:maxCell-1]) + "…"
	}
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '�'
	}, s)
}

// String returns the size in the largest unit of which there is at least one.
func (b Bytes) String() string {
	const units = "KMGTPE"
	size, unit := float64(b), -1
	for size >= 1024 && unit < len(units)-1 {
		size /= 1024
		unit++
	}
	if unit < 0 {
		return fmt.Sprintf("%d B", int64(b))
	}
	return fmt.Sprintf("%.1f %ciB", size, units[unit])
}

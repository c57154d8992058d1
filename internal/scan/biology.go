package scan

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/romi/plantdb-go/internal/fsdb/meta"
)

// notAvailable is what upstream's clients show for an unknown fact.
const notAvailable = "N/A"

// Facts are what the metadata of a scan says of its plant.
type Facts struct {
	Species, Plant, Environment string
	// AcquisitionDate is "YYYY-MM-DD HH:MM:SS", or empty.
	AcquisitionDate string
}

// acquisitionDate is the recorded date as upstream takes it, a text of two
// words, and its ISO form, which upstream stumbles over. Anything else is no
// date.
func acquisitionDate(metadata json.RawMessage) string {
	raw, _ := lookup(metadata, "acquisition_date")
	date, _ := meta.Text(raw)
	if day, clock, iso := strings.Cut(date, "T"); iso && len(day) == len(time.DateOnly) {
		date = day + " " + clock
	}
	if strings.Count(date, " ") != 1 {
		return ""
	}
	return date
}

// Biology reads the facts from either generation of metadata: the MIAPPE
// sections of 0.16 first, else the scanner's older object, in the scan's
// metadata, which is already filled from that of its images (see Filled), or
// else in the latter. Nothing of it is ever written back.
func Biology(scan, images json.RawMessage) Facts {
	legacy := func(keys ...string) string {
		for _, md := range []json.RawMessage{scan, images} {
			for _, path := range [][]string{{"object"}, {"Metadata", "object"}} {
				object, _ := lookup(md, path...)
				for _, key := range keys {
					if s := textAt(object, key); s != "" {
						return s
					}
				}
			}
		}
		return notAvailable
	}
	first := func(modern string, keys ...string) string {
		if modern != "" {
			return modern
		}
		return legacy(keys...)
	}
	return Facts{
		Species:         first(textAt(scan, "biologicalMaterial", "organism", "species"), "species"),
		Plant:           first(textAt(scan, "biologicalMaterial", "biologicalMaterialId"), "plant_id", "object_id"),
		Environment:     first(textAt(scan, "study", "growthFacility", "name"), "environment", "growth_environment"),
		AcquisitionDate: acquisitionDate(scan),
	}
}

// Filled returns the scan's metadata as it is shown: object, hardware and
// acquisition_date are taken from the images fileset where the scan lacks them
// (absent, null and {} alike). Upstream overwrites them instead; what is on
// disk stays as it is.
func Filled(scan, images json.RawMessage) json.RawMessage {
	for _, key := range []string{"object", "hardware", "acquisition_date"} {
		own, _ := lookup(scan, key)
		if !lacking(own) {
			continue
		}
		if v, ok := lookup(images, key); ok && !lacking(v) {
			scan = setMember(scan, key, v)
		}
	}
	return scan
}

func lacking(raw json.RawMessage) bool {
	if raw == nil || string(raw) == "null" {
		return true
	}
	var object map[string]json.RawMessage
	return json.Unmarshal(raw, &object) == nil && len(object) == 0
}

// lookup returns the value below the keys of nested objects; null is absent.
func lookup(raw json.RawMessage, keys ...string) (json.RawMessage, bool) {
	for _, key := range keys {
		raw, _ = Member(raw, key)
	}
	if len(raw) == 0 || string(raw) == "null" {
		return nil, false
	}
	return raw, true
}

// textAt returns the text below the keys; numbers, which some tools write for
// ids, read as text too. Anything else is empty.
func textAt(raw json.RawMessage, keys ...string) string {
	v, ok := lookup(raw, keys...)
	if !ok {
		return ""
	}
	var s string
	if json.Unmarshal(v, &s) == nil {
		return s
	}
	var n json.Number
	if json.Unmarshal(v, &n) == nil {
		return n.String()
	}
	return ""
}

// anyNumber is what upstream's message calls a number.
const anyNumber = "int or float"

// miappe is the shape of the biological sections: a nested map is an object, a
// string names the Python types that upstream's check wants in its message.
var miappe = []section{
	{"investigation", []field{{"identifier", "str", nil}, {"title", "str", nil}, {"description", "str", nil}}},
	{"study", []field{
		{"identifier", "str", nil}, {"title", "str", nil}, {"startDate", "str", nil}, {"endDate", "str", nil},
		{"growthFacility", "", []field{{"name", "str", nil}, {"country", "str", nil}}},
		{"environment", "", []field{{"photoperiod", "str", nil}}},
		{"experimentalDesign", "", []field{{"type", "str", nil}}},
		{"experimentalFactors", "", []field{{"treatment", "str", nil}}},
	}},
	{"biologicalMaterial", []field{
		{"biologicalMaterialId", "str", nil},
		{"organism", "", []field{{"genus", "str", nil}, {"species", "str", nil}}},
		{"materialSource", "", []field{{"id", "str", nil}, {"name", "str", nil}}},
		{"ageDays", anyNumber, nil}, {"sample", "str", nil},
	}},
	{"observedVariable", []field{{"trait", "str", nil}, {"method", "str", nil}, {"scale", "str", nil}}},
}

type section struct {
	name   string
	fields []field
}

type field struct {
	name   string
	want   string // Python type names; "" for an object with fields
	fields []field
}

// CheckBiology checks the types of the MIAPPE sections of scan metadata
// (upstream since 0.16). Any key may be absent or null, unknown keys pass.
// ErrBiology names every fault in one text.
func CheckBiology(metadata json.RawMessage) error {
	if faults := biologyFaults(metadata); len(faults) > 0 {
		return ErrBiology.With("Invalid biological metadata: %s", strings.Join(faults, "; "))
	}
	return nil
}

func biologyFaults(metadata json.RawMessage) (faults []string) {
	for _, s := range miappe {
		faults = append(faults, checkFields(metadata, s.name, field{name: s.name, fields: s.fields})...)
	}
	return faults
}

func checkFields(parent json.RawMessage, path string, f field) (faults []string) {
	v, ok := lookup(parent, f.name)
	if !ok {
		return nil
	}
	got := pythonType(v)
	if f.want == "" {
		if got != "dict" {
			return []string{fmt.Sprintf("'%s' must be an object", path)}
		}
		for _, sub := range f.fields {
			faults = append(faults, checkFields(v, path+"."+sub.name, sub)...)
		}
		return faults
	}
	if !isA(got, f.want) {
		return []string{fmt.Sprintf("'%s' must be %s, got %s", path, f.want, got)}
	}
	return nil
}

// isA is Python's isinstance for the types in want; a bool is an int.
func isA(got, want string) bool {
	if want == anyNumber {
		return got == "int" || got == "float" || got == "bool"
	}
	return got == want
}

// pythonType names the type that Python's json module reads raw as.
func pythonType(raw json.RawMessage) string {
	switch raw[0] {
	case '{':
		return "dict"
	case '[':
		return "list"
	case '"':
		return "str"
	case 't', 'f':
		return "bool"
	}
	if strings.ContainsAny(string(raw), ".eE") {
		return "float"
	}
	return "int"
}

package scan

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/romi/plantdb-go/internal/fsdb/meta"
)

// olderKeys are the keys of the scanner's older object that stand for a fact of
// the MIAPPE sections where these lack it; see sectionsOf, which makes the
// sections. Of the genus, which is a part of a text, there is none.
var olderKeys = map[string][]string{
	"investigation.identifier":                {"dataset_id"},
	"study.identifier":                        {"experiment_id"},
	"study.growthFacility.name":               {"growth_environment", "environment"},
	"study.environment.photoperiod":           {"growth_conditions"},
	"study.experimentalFactors.treatment":     {"treatment"},
	"biologicalMaterial.biologicalMaterialId": {"plant_id", "object_id"},
	"biologicalMaterial.organism.species":     {"species"},
	"biologicalMaterial.organism.genus":       {},
	"biologicalMaterial.materialSource.name":  {"seed_stock"},
	"biologicalMaterial.sample":               {"sample"},
}

// isSection says whether a key of scan metadata is that of a section which the
// older object stands for.
func isSection(key string) bool {
	return slices.Contains([]string{"investigation", "study", "biologicalMaterial"}, key)
}

// Sectioned returns scan metadata as it is searched: what the MIAPPE sections
// lack (absent, null and "" alike) is taken from the scanner's older object, at
// the top or under Metadata, fact by fact. It is neither shown as metadata nor
// written: a client that sends back what it read must not write what nobody
// recorded.
func Sectioned(metadata json.RawMessage) json.RawMessage {
	for _, path := range [][]string{{"object"}, {"Metadata", "object"}} {
		object, ok := lookup(metadata, path...)
		if !ok || !isObject(object) {
			continue
		}
		for _, section := range sectionsOf(object) {
			own, _ := Member(metadata, section.Name)
			if whole := completed(own, section.Value); len(whole) > 0 {
				metadata = setMember(metadata, section.Name, whole)
			}
		}
	}
	return metadata
}

// completed returns a value with what it lacks of another one.
func completed(own, other json.RawMessage) json.RawMessage {
	lacks := len(own) == 0 || string(own) == "null" || string(own) == `""`
	if !isObject(other) {
		if lacks && string(other) != "null" && string(other) != `""` {
			return other
		}
		return own
	}
	if !lacks && !isObject(own) {
		return own
	}
	var members []meta.Member
	if !lacks {
		var err error
		if members, err = meta.Object(own); err != nil {
			return own
		}
	}
	more, err := meta.Object(other)
	if err != nil {
		return own
	}
	for _, m := range more {
		have := meta.Get(members, m.Name)
		if value := completed(have, m.Value); len(value) > 0 && string(value) != string(have) {
			members = meta.Set(members, m.Name, value)
		}
	}
	if lacks && len(members) == 0 {
		return own
	}
	return meta.Join(members)
}

// containingOlder returns the objects of which one is in whatever has this text
// as a fact of a section, the older object included; known is false where that
// cannot be told: the genus is a part of a text, and of a number there can be a
// text in a section.
func containingOlder(fact, text string) (all []json.RawMessage, known bool) {
	keys := olderKeys[fact]
	if len(keys) == 0 || json.Valid([]byte(text)) {
		return nil, false
	}
	for _, key := range keys {
		object := map[string]any{"object": map[string]any{key: text}}
		for _, v := range []any{object, map[string]any{"Metadata": object}} {
			raw, err := encode(v)
			if err != nil {
				return nil, false
			}
			all = append(all, raw)
		}
	}
	return all, true
}

// lookUpFact has indexes look up a text of metadata that the older object can
// stand for; it says whether path is that of one.
func (i *lookups) lookUpFact(path, texts []string) bool {
	fact := strings.Join(path, ".")
	if _, ok := olderKeys[fact]; !ok {
		return false
	}
	all := containing(path, texts)
	for _, text := range texts {
		older, known := containingOlder(fact, text)
		if !known {
			all = nil
			break
		}
		if all != nil {
			all = append(all, older...)
		}
	}
	if all != nil && i.contains == nil {
		i.contains = all
	}
	if all == nil && len(texts) == 1 { // which stands in the text of either
		i.takeWord(strings.ToLower(texts[0]))
	}
	return true
}

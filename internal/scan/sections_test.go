package scan

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/romi/plantdb-go/internal/pgtest"
)

// What the sections lack the older object has; what they have stays.
func TestSectioned(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ metadata, path, want string }{
		{`{}`, "biologicalMaterial", ""},
		{`{"object": {}}`, "biologicalMaterial.organism", ""},
		{`{"object": {"species": "A b"}}`, "biologicalMaterial.organism", `{"genus": "A", "species": "A b"}`},
		{`{"Metadata": {"object": {"species": "A b"}}}`, "biologicalMaterial.organism.species", `"A b"`},
		{`{"object": {"species": "A"}, "Metadata": {"object": {"species": "B", "sample": "leaf"}}}`, "biologicalMaterial", `{"organism": {"species": "A"}, "sample": "leaf"}`},
		{`{"object": {"species": "A"}, "biologicalMaterial": {"sample": "leaf", "organism": null}}`, "biologicalMaterial", `{"sample": "leaf", "organism": {"species": "A"}}`},
		{`{"object": {"species": "A"}, "biologicalMaterial": {"organism": {"species": "B"}}}`, "biologicalMaterial.organism.species", `"B"`},
		{`{"object": {"species": "A"}, "biologicalMaterial": {"organism": {"species": ""}}}`, "biologicalMaterial.organism.species", `"A"`},
		{`{"object": {"species": "A"}, "biologicalMaterial": "none"}`, "biologicalMaterial", `"none"`},
		{`{"object": {"DAG": 12, "plant_id": 7}}`, "biologicalMaterial", `{"biologicalMaterialId": "7", "ageDays": 12}`},
		{`{"object": "none"}`, "biologicalMaterial", ""},
	} {
		got, _ := lookup(Sectioned(json.RawMessage(tt.metadata)), strings.Split(tt.path, ".")...)
		if compactJSON(t, got) != compactJSON(t, json.RawMessage(tt.want)) {
			t.Errorf("Sectioned(%s) has %s of %s, want %s", tt.metadata, got, tt.path, tt.want)
		}
	}
	// Each key that indexes look up is one that the sections are made of.
	for fact, keys := range olderKeys {
		for _, key := range keys {
			metadata := fmt.Sprintf(`{"object": {%q: "some thing"}}`, key)
			if got, _ := lookup(Sectioned(json.RawMessage(metadata)), strings.Split(fact, ".")...); string(got) != `"some thing"` {
				t.Errorf("Sectioned(%s) has %s of %s", metadata, got, fact)
			}
		}
	}
}

func compactJSON(t *testing.T, raw json.RawMessage) string {
	t.Helper()
	if len(raw) == 0 {
		return ""
	}
	var v any
	if err := json.Unmarshal(raw, &v); err != nil {
		t.Fatalf("%s: %v", raw, err)
	}
	return string(must[json.RawMessage](t)(encode(v)))
}

// Searches for sections find the scans that have only the older object, and the
// metadata of these stay what they are.
func TestSearchOfSections(t *testing.T) {
	t.Parallel()
	const older, nested = `{"object": {"species": "Arabidopsis thaliana", "plant_id": 12, "environment": "Lyon indoor", "DAG": 40}}`,
		`{"Metadata": {"object": {"species": "Arabidopsis thaliana", "plant_id": "Col-0"}}}`
	f := fixtureOn(t, pgtest.New(t), t.TempDir(), plainScan("older", older), plainScan("nested", nested), plainScan("none", `{"object": {"species": "Tomato"}}`),
		plainScan("modern", `{"biologicalMaterial": {"biologicalMaterialId": "12", "organism": {"genus": "Arabidopsis", "species": "Arabidopsis thaliana"}}, "study": {"growthFacility": {"name": "Lyon indoor"}}, "object": {"species": "Tomato"}}`))
	f.reconcile(t)
	for _, tt := range []struct {
		filter string
		fuzzy  bool
		where  string
		text   string
		want   string
	}{
		{text: "organism arabidopsis", want: "modern nested older"},
		{text: "biologicalMaterialId col-0", want: "nested"},
		{text: "growthfacility", want: "modern older"},
		{text: "ageDays", want: "older"},
		{filter: "GrowthFacility lyon", want: "modern older"},
		{where: `text : "organism tomato"`, want: "modern none"},
		{filter: `{"biologicalMaterial": {"organism": {"species": "Arab.*"}}}`, fuzzy: true, want: "modern nested older"},
		{filter: `{"biologicalMaterial": {"organism": {"species": "Arabidopsis thaliana"}}}`, want: "modern nested older"},
		{filter: `{"biologicalMaterial": {"organism": {"genus": "Arabidopsis"}}}`, want: "modern nested older"},
		{filter: `{"biologicalMaterial": {"organism": {"species": "Tomato"}}}`, want: "none"},
		{filter: `{"biologicalMaterial": {"biologicalMaterialId": "12", "organism": {"genus": "Arabidopsis"}}, "study": {"growthFacility": {"name": "Lyon indoor"}}}`, want: "modern older"},
		{filter: `{"biologicalMaterial": {"ageDays": 40}}`, want: "older"},
		{filter: `{"biologicalMaterial": {"organism": {"species": "Arabidopsis thaliana"}}, "object": {"plant_id": 12}}`, want: "older"},
		{filter: `{"object": {"species": "Tomato"}}`, want: "modern none"},
		{where: `metadata.biologicalMaterial.organism.species ~ "^Arab"`, want: "modern nested older"},
		{where: `metadata.biologicalMaterial.organism.species = "Arabidopsis thaliana"`, want: "modern nested older"},
		{where: `metadata.biologicalMaterial.organism.species in ("Tomato", "Maize")`, want: "none"},
		{where: `metadata.biologicalMaterial.biologicalMaterialId = "12"`, want: "modern older"},
		{where: `metadata.biologicalMaterial.biologicalMaterialId in ("12", "Col-0")`, want: "modern nested older"},
		{where: `metadata.study.growthFacility.name : "lyon"`, want: "modern older"},
		{where: `metadata.biologicalMaterial.ageDays >= 30`, want: "older"},
		{where: `not exists metadata.biologicalMaterial.biologicalMaterialId`, want: "none"},
	} {
		q := Query{Filter: must[Filter](t)(ParseFilter(tt.filter, tt.fuzzy)), Where: tt.where, Text: tt.text}
		if got := must[[]string](t)(f.Names(as(t, guest), q)); strings.Join(got, " ") != tt.want {
			t.Errorf("Names(%s%s%s) = %v, want %s", tt.filter, tt.where, tt.text, got, tt.want)
		}
		q.Limit = 10
		if page := must[Page](t)(f.ScanPage(as(t, guest), q)); strings.Join(page.Names, " ") != tt.want {
			t.Errorf("ScanPage(%s%s%s) = %v, want %s", tt.filter, tt.where, tt.text, page.Names, tt.want)
		}
		q.Sort = "-id"
		if got := must[[]string](t)(f.Names(as(t, guest), q)); len(got) != len(strings.Fields(tt.want)) {
			t.Errorf("Names(%s%s%s, down) = %v, want %s", tt.filter, tt.where, tt.text, got, tt.want)
		}
	}
	for name, want := range map[string]string{"older": older, "nested": nested} {
		if got := must[json.RawMessage](t)(f.Metadata(as(t, guest), name)); compactJSON(t, got) != compactJSON(t, json.RawMessage(want)) {
			t.Errorf("Metadata(%s) = %s, want it as it is stored", name, got)
		}
	}
}

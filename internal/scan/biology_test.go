package scan

import (
	"encoding/json"
	"errors"
	"testing"
)

// The texts are upstream's own.
func TestCheckBiology(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ metadata, want string }{
		{`{}`, ""},
		{`{"study": null, "biologicalMaterial": {"organism": null, "ageDays": null, "unknown": 5}, "other": 1}`, ""},
		{`{"study": {"title": 5}, "x": 1}`, "'study.title' must be str, got int"},
		{`{"study": "x"}`, "'study' must be an object"},
		{`{"study": {"title": 5}, "observedVariable": []}`, "'study.title' must be str, got int; 'observedVariable' must be an object"},
		{
			`{"investigation": {"identifier": 1.5, "title": true, "description": []},
			  "study": {"startDate": {}, "growthFacility": {"name": 1}, "environment": 5, "experimentalFactors": {"treatment": 1e3}},
			  "biologicalMaterial": {"organism": {"species": false}, "ageDays": "40", "materialSource": {"id": -1}}}`,
			"'investigation.identifier' must be str, got float; 'investigation.title' must be str, got bool; " +
				"'investigation.description' must be str, got list; 'study.startDate' must be str, got dict; " +
				"'study.growthFacility.name' must be str, got int; 'study.environment' must be an object; " +
				"'study.experimentalFactors.treatment' must be str, got float; " +
				"'biologicalMaterial.organism.species' must be str, got bool; 'biologicalMaterial.materialSource.id' must be str, got int; " +
				"'biologicalMaterial.ageDays' must be int or float, got str",
		},
		{`{"biologicalMaterial": {"ageDays": 40}}`, ""},
		{`{"biologicalMaterial": {"ageDays": 40.5}}`, ""},
		{`{"biologicalMaterial": {"ageDays": true}}`, ""}, // a bool is an int to Python
		{`{"biologicalMaterial": {"ageDays": {}}}`, "'biologicalMaterial.ageDays' must be int or float, got dict"},
	} {
		err := CheckBiology(json.RawMessage(tt.metadata))
		if tt.want == "" && err != nil || tt.want != "" && (!errors.Is(err, ErrBiology) || err.Error() != "Invalid biological metadata: "+tt.want) {
			t.Errorf("CheckBiology(%s) = %v, want %q", tt.metadata, err, tt.want)
		}
	}
}

// Both generations of metadata, and who comes first.
func TestBiology(t *testing.T) {
	t.Parallel()
	const na = notAvailable
	for _, tt := range []struct {
		name, scan, images string
		want               Facts
	}{
		{"nothing", `{}`, `{}`, Facts{na, na, na, ""}},
		{
			"miappe", `{"biologicalMaterial": {"organism": {"species": "A"}, "biologicalMaterialId": "p1"}, "study": {"growthFacility": {"name": "L"}}}`,
			`{"object": {"species": "B"}}`, Facts{"A", "p1", "L", ""},
		},
		{"scanner", `{"object": {"species": "A", "plant_id": "p", "environment": "E"}}`, `{}`, Facts{"A", "p", "E", ""}},
		{"nested scanner", `{"Metadata": {"object": {"species": "A", "object_id": "o", "growth_environment": "G"}}}`, `{}`, Facts{"A", "o", "G", ""}},
		{"images", `{}`, `{"object": {"species": "A", "plant_id": "p"}}`, Facts{"A", "p", na, ""}},
		{"scan before images", `{"Metadata": {"object": {"species": "A"}}}`, `{"object": {"species": "B", "plant_id": "p"}}`, Facts{"A", "p", na, ""}},
		{"first key first", `{"object": {"plant_id": "p", "object_id": "o", "environment": "E", "growth_environment": "G"}}`, `{}`, Facts{na, "p", "E", ""}},
		{
			"null and empty are none", `{"biologicalMaterial": {"organism": {"species": null}, "biologicalMaterialId": ""}, "object": {"species": "", "plant_id": null}}`,
			`{"object": {"species": "A"}}`, Facts{"A", na, na, ""},
		},
		{"mixed generations", `{"biologicalMaterial": {"organism": {"species": "A"}}, "object": {"plant_id": "p"}}`, `{}`, Facts{"A", "p", na, ""}},
		{"number as id", `{"object": {"plant_id": 42}}`, `{}`, Facts{na, "42", na, ""}},
		{"other shapes", `{"biologicalMaterial": [1], "study": "x", "object": 5, "Metadata": []}`, `null`, Facts{na, na, na, ""}},
	} {
		if got := Biology(json.RawMessage(tt.scan), json.RawMessage(tt.images)); got != tt.want {
			t.Errorf("%s: Biology() = %+v, want %+v", tt.name, got, tt.want)
		}
	}
}

func TestAcquisitionDate(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		`"2023-12-15 16:37:15"`:        "2023-12-15 16:37:15",
		`"2023-12-15T16:37:15"`:        "2023-12-15 16:37:15",
		`"2023-12-15T16:37:15.123456"`: "2023-12-15 16:37:15.123456",
		`"2023-12-15"`:                 "", // the directory's time stands in
		`"Tuesday the 5th"`:            "",
		`"Tue 16:37"`:                  "Tue 16:37",
		`20231215`:                     "",
		`null`:                         "",
		`{}`:                           "",
		`""`:                           "",
	} {
		if got := acquisitionDate(json.RawMessage(`{"acquisition_date": ` + in + `}`)); got != want {
			t.Errorf("acquisitionDate(%s) = %q, want %q", in, got, want)
		}
	}
}

func TestFilled(t *testing.T) {
	t.Parallel()
	const images = `{"object":{"species":"B"},"hardware":{"h":1},"acquisition_date":"d","channels":["rgb"]}`
	for _, tt := range []struct{ scan, images, want string }{
		{`{"a":1}`, images, `{"a":1,"object":{"species":"B"},"hardware":{"h":1},"acquisition_date":"d"}`},
		{`{"object":{},"hardware":null,"acquisition_date":null}`, images, `{"object":{"species":"B"},"hardware":{"h":1},"acquisition_date":"d"}`},
		{`{"object":{"species":"A"},"hardware":{"x":1},"acquisition_date":"e"}`, images, `{"object":{"species":"A"},"hardware":{"x":1},"acquisition_date":"e"}`},
		{`{"object":{}}`, `{"object":{}}`, `{"object":{}}`}, // never an empty one for another
		{`{}`, `{}`, `{}`},
		{`{}`, ``, `{}`},
	} {
		if got := Filled(json.RawMessage(tt.scan), json.RawMessage(tt.images)); string(got) != tt.want {
			t.Errorf("Filled(%s, %s) = %s, want %s", tt.scan, tt.images, got, tt.want)
		}
	}
}

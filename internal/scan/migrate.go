package scan

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/romi/plantdb-go/internal/fsdb/meta"
)

// Migrated says what became, or with a dry run would become, of a scan's
// metadata.
type Migrated struct {
	Scan      string `json:"scan"`
	Timelapse string `json:"timelapse,omitempty"`
	// Sections are those that were made of the older object; one that was
	// there already is left alone.
	Sections []string `json:"sections,omitempty"`
	// Removed are the keys that went from the scan's metadata, Cleaned those
	// that went from its images'.
	Removed []string `json:"removed,omitempty"`
	Cleaned []string `json:"cleaned,omitempty"`
	// Kept are keys of the images' metadata that the scan itself lacks, so
	// that to remove them would lose what they say.
	Kept []string `json:"kept,omitempty"`
	// Failed says why the scan was left as it was.
	Failed string `json:"failed,omitempty"`
}

// Changed says whether there was anything to do.
func (m Migrated) Changed() bool { return len(m.Removed)+len(m.Cleaned) > 0 }

// MigrateMetadata gives a scan the MIAPPE sections that upstream has since
// 0.16 in place of the scanner's older object, and takes the copies of it out
// of its images' metadata, as upstream's fsdb_migrate_metadata and
// fsdb_clean_images_metadata do. Both files are kept beside themselves as .bak
// before they are replaced. A second call changes nothing; with dryRun the
// first does neither. Errors: those of SetMetadata.
func (s *Service) MigrateMetadata(ctx context.Context, name string, dryRun bool) (done Migrated, err error) {
	err = s.changing(ctx, []string{name, name + "/" + imagesFileset}, func(ctx context.Context, tx *writing, r row) error {
		done = Migrated{Scan: r.Name, Timelapse: r.timelapse}
		old, err := s.tree.ReadScanMetadata(ctx, r.loc())
		if err != nil {
			return err
		}
		updated, err := done.migrate(old)
		if err != nil {
			return err
		}
		images, err := s.fileset(ctx, tx, r, imagesFileset)
		if err != nil && !errors.Is(err, ErrUnknownFileset) {
			return err
		}
		var oldImages, cleaned json.RawMessage
		if err == nil {
			if oldImages, err = s.tree.ReadFilesetMetadata(ctx, r.loc(), imagesFileset); err != nil {
				return err
			}
			if cleaned, err = done.clean(oldImages, updated); err != nil {
				return err
			}
		}
		if dryRun || !done.Changed() {
			return nil
		}
		tx.did(s.tree.BeforeBackup(r.loc(), imagesFileset).PutBack)
		// The scan first: a crash between leaves what the next call mends, the
		// other order a scan that nothing tells the species of.
		if len(done.Removed) > 0 {
			if err := s.replaceScanMetadata(ctx, tx, r, old, updated); err != nil {
				return err
			}
		}
		if len(done.Cleaned) > 0 {
			if err := s.replaceImagesMetadata(ctx, tx, r, oldImages, cleaned); err != nil {
				return err
			}
			if cleaned, err = onDisk(cleaned); err != nil {
				return err
			}
			if err := s.q.SetFilesetDocument(ctx, tx, cleaned, searchable(cleaned), images.ID); err != nil {
				return fmt.Errorf("keep metadata of images of scan %q: %w", r.Name, err)
			}
		}
		_, err = s.showScan(ctx, tx, r, updated, true)
		return err
	})
	return done, err
}

func (s *Service) replaceScanMetadata(ctx context.Context, tx *writing, r row, old, updated json.RawMessage) error {
	if err := s.tree.BackupScanMetadata(ctx, r.loc()); err != nil {
		return err
	}
	if err := s.writeScanMetadata(ctx, tx, r, updated); err != nil {
		return err
	}
	return s.record(ctx, tx, Change{Kind: ScanMetadata, Scan: r.Name, Detail: keysChanged(old, updated)})
}

func (s *Service) replaceImagesMetadata(ctx context.Context, tx *writing, r row, old, updated json.RawMessage) error {
	if err := s.tree.BackupFilesetMetadata(ctx, r.loc(), imagesFileset); err != nil {
		return err
	}
	if err := s.writeFilesetMetadata(ctx, tx, r, imagesFileset, updated); err != nil {
		return err
	}
	return s.record(ctx, tx, Change{Kind: FilesetMetadata, Scan: r.Name, Fileset: imagesFileset, Detail: keysChanged(old, updated)})
}

// AllNames returns the ids of all scans in the index, those that cannot be
// used among them, for who works through all of them.
func (s *Service) AllNames(ctx context.Context) ([]string, error) {
	a, err := acting(ctx)
	if err != nil {
		return nil, err
	}
	if !may(a, opListAll, Access{}) {
		return nil, forbidden(a, opListAll)
	}
	names := []string{}
	for r, err := range s.signatures("").all(ctx) {
		if err != nil {
			return nil, err
		}
		names = append(names, r.Name)
	}
	return names, nil
}

// migrate returns scan metadata with sections in place of the older objects.
// Where there are two, the nested one speaks, as upstream has it.
func (m *Migrated) migrate(scan json.RawMessage) (json.RawMessage, error) {
	members, err := meta.Object(scan)
	if err != nil {
		return nil, badMetadata(err)
	}
	for _, nested := range []bool{true, false} {
		object, rest, ok := takeObject(members, nested)
		if !ok {
			continue
		}
		members = rest
		where := "object"
		if nested {
			where = "Metadata.object"
		}
		m.Removed = append(m.Removed, where)
		for _, section := range sectionsOf(object) {
			if meta.Get(members, section.Name) == nil { // null is there, too
				members = append(members, section)
				m.Sections = append(m.Sections, section.Name)
			}
		}
	}
	return meta.Join(members), nil
}

// takeObject takes the older object out of scan metadata; an entry Metadata
// that is left with nothing goes, too.
func takeObject(members []meta.Member, nested bool) (object json.RawMessage, rest []meta.Member, ok bool) {
	if !nested {
		object = meta.Get(members, "object")
		return object, without(members, "object"), isObject(object)
	}
	inner, err := meta.Object(meta.Get(members, "Metadata"))
	if err != nil {
		return nil, members, false
	}
	object = meta.Get(inner, "object")
	if !isObject(object) {
		return nil, members, false
	}
	if inner = without(inner, "object"); len(inner) == 0 {
		return object, without(members, "Metadata"), true
	}
	return object, meta.Set(slices.Clone(members), "Metadata", meta.Join(inner)), true
}

func without(members []meta.Member, name string) []meta.Member {
	return slices.DeleteFunc(slices.Clone(members), func(m meta.Member) bool { return m.Name == name })
}

// clean returns images' metadata without what the scan's says itself.
func (m *Migrated) clean(images, scan json.RawMessage) (json.RawMessage, error) {
	members, err := meta.Object(images)
	if err != nil {
		return nil, badMetadata(err)
	}
	_, modern := lookup(scan, "biologicalMaterial")
	has := map[string]bool{"object": modern, "hardware": hasHardware(scan)}
	drop := func(name string, says ...string) {
		for _, what := range says {
			if !has[what] {
				m.Kept = append(m.Kept, name)
				return
			}
		}
		m.Cleaned = append(m.Cleaned, name)
		members = without(members, name)
	}
	for _, key := range []string{"object", "hardware"} {
		value := meta.Get(members, key)
		switch {
		case value == nil:
		case lacking(value):
			drop(key)
		default:
			drop(key, key)
		}
	}
	inner := meta.Get(members, "Metadata")
	scanners := false
	var says []string
	for _, key := range []string{"object", "hardware"} {
		value, ok := Member(inner, key)
		scanners = scanners || ok
		if ok && !lacking(value) {
			says = append(says, key)
		}
	}
	if scanners {
		drop("Metadata", says...)
	}
	return meta.Join(members), nil
}

func hasHardware(scan json.RawMessage) bool {
	for _, path := range [][]string{{"hardware"}, {"Metadata", "hardware"}} {
		if value, ok := lookup(scan, path...); ok && !lacking(value) {
			return true
		}
	}
	return false
}

// sectionsOf makes upstream's three sections of an older object.
func sectionsOf(object json.RawMessage) []meta.Member {
	text := func(keys ...string) json.RawMessage {
		for _, key := range keys {
			if s := textAt(object, key); s != "" {
				return meta.Quote(s)
			}
		}
		return null
	}
	species := textAt(object, "species")
	genus := ""
	if words := strings.Fields(species); len(words) > 1 {
		genus = words[0]
	}
	section := func(members ...meta.Member) json.RawMessage { return meta.Join(members) }
	return []meta.Member{
		{Name: "investigation", Value: section(
			meta.Member{Name: "identifier", Value: text("dataset_id")},
			meta.Member{Name: "title", Value: null}, meta.Member{Name: "description", Value: null})},
		{Name: "study", Value: section(
			meta.Member{Name: "identifier", Value: text("experiment_id")},
			meta.Member{Name: "title", Value: null}, meta.Member{Name: "startDate", Value: null}, meta.Member{Name: "endDate", Value: null},
			meta.Member{Name: "growthFacility", Value: section(
				meta.Member{Name: "name", Value: text("growth_environment", "environment")}, meta.Member{Name: "country", Value: null})},
			meta.Member{Name: "environment", Value: section(meta.Member{Name: "photoperiod", Value: text("growth_conditions")})},
			meta.Member{Name: "experimentalDesign", Value: section(meta.Member{Name: "type", Value: null})},
			meta.Member{Name: "experimentalFactors", Value: section(meta.Member{Name: "treatment", Value: text("treatment")})})},
		{Name: "biologicalMaterial", Value: section(
			meta.Member{Name: "biologicalMaterialId", Value: text("plant_id", "object_id")},
			meta.Member{Name: "organism", Value: section(
				meta.Member{Name: "genus", Value: meta.Quote(genus)}, meta.Member{Name: "species", Value: meta.Quote(species)})},
			meta.Member{Name: "materialSource", Value: section(
				meta.Member{Name: "id", Value: null}, meta.Member{Name: "name", Value: text("seed_stock")})},
			meta.Member{Name: "ageDays", Value: ageOf(object)},
			meta.Member{Name: "sample", Value: text("sample")})},
	}
}

var null = json.RawMessage("null")

// ageOf is Python's int() of the days after germination: a number without its
// fraction, or a text of digits; else null.
func ageOf(object json.RawMessage) json.RawMessage {
	raw, ok := lookup(object, "DAG")
	if !ok {
		return null
	}
	if text, ok := meta.Text(raw); ok {
		n, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64)
		if err != nil {
			return null
		}
		return json.RawMessage(strconv.FormatInt(n, 10))
	}
	var days float64
	if json.Unmarshal(raw, &days) != nil || math.Abs(days) > 1e15 {
		return null
	}
	return json.RawMessage(strconv.FormatInt(int64(days), 10))
}

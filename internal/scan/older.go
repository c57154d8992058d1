package scan

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"

	"github.com/romi/plantdb-go/internal/fsdb/meta"
)

// explorerKeys are the names under which the plant-3d-explorer looks for
// members of an info.
var explorerKeys = []struct{ name, of string }{
	{"hasMesh", "hasTriangleMesh"}, {"hasSkeleton", "hasCurveSkeleton"}, {"hasAngleData", "hasAnglesAndInternodes"},
}

// OlderInfo returns a stored info as 0.15 and before show it: URIs are below
// the root, without prefix and without assets, and members stand under the
// plant-3d-explorer's names too.
func OlderInfo(info json.RawMessage) json.RawMessage {
	info = rooted(info)
	members, err := meta.Object(info)
	if err != nil { // what is stored is an object
		return info
	}
	return meta.Join(withExplorerKeys(members))
}

func rooted(info json.RawMessage) json.RawMessage {
	return bytes.ReplaceAll(info, storedURI, []byte(`"/`))
}

func withExplorerKeys(members []meta.Member) []meta.Member {
	for _, k := range explorerKeys {
		members = meta.Set(members, k.name, meta.Get(members, k.of))
	}
	facts := meta.Get(members, "metadata")
	if uri, ok := lookup(facts, "files", "metadata"); ok {
		files, _ := lookup(facts, "files")
		members = meta.Set(members, "metadata", setMember(facts, "files", setMember(files, "metadatas", uri)))
	}
	return members
}

// Detail returns all of a scan that 0.14's page of one scan shows: its
// OlderInfo with the skeleton and the measures themselves in data, angles in
// radians; with the workspace and camera model that earlier generations of
// the pipeline recorded elsewhere; and with poses that say isMatched. Outputs
// that cannot be read are left out. Errors: those of finding the scan.
func (s *Service) Detail(ctx context.Context, name string) (json.RawMessage, error) {
	info, err := s.Info(ctx, name)
	if err != nil {
		return nil, err
	}
	members, err := meta.Object(rooted(info))
	if err != nil {
		return nil, fmt.Errorf("read stored info of scan %q: %w", name, err)
	}
	members = withExplorerKeys(members)
	data, err := s.data(ctx, name)
	if err != nil {
		return nil, err
	}
	members = meta.Set(members, "data", data)
	metadata, err := s.Metadata(ctx, name)
	if err != nil {
		return nil, err
	}
	if lacking(meta.Get(members, "workspace")) {
		workspace, err := s.olderWorkspace(ctx, name, metadata, members)
		if err != nil {
			return nil, err
		}
		members = meta.Set(members, "workspace", workspace)
	}
	camera, err := s.olderCamera(ctx, name, metadata, meta.Get(members, "camera"))
	if err != nil {
		return nil, err
	}
	return meta.Join(meta.Set(members, "camera", camera)), nil
}

// absent says that an output is not there or not readable, which a page that
// shows all there is passes over.
func absent(err error) bool {
	return errors.Is(err, ErrNoTask) || errors.Is(err, ErrNoOutput) || errors.Is(err, ErrDamaged) || errors.Is(err, ErrUnknownFileset)
}

// data is the content of a scan's skeleton and measures.
func (s *Service) data(ctx context.Context, name string) (json.RawMessage, error) {
	var data []meta.Member
	skeleton, err := s.Skeleton(ctx, name)
	switch {
	case err == nil:
		data = append(data, meta.Member{Name: "skeleton", Value: skeleton.JSON})
	case !absent(err):
		return nil, err
	}
	angles, err := s.olderAngles(ctx, name)
	if err != nil {
		return nil, err
	}
	return meta.Join(append(data, meta.Member{Name: "angles", Value: angles})), nil
}

// olderAngles are the measures under 0.14's names.
func (s *Service) olderAngles(ctx context.Context, name string) (json.RawMessage, error) {
	sequence, err := s.Sequence(ctx, name, "")
	if absent(err) {
		sequence.JSON, err = json.RawMessage("{}"), nil
	}
	if err != nil {
		return nil, err
	}
	members, err := meta.Object(sequence.JSON)
	if err != nil {
		return nil, fmt.Errorf("read sequence of scan %q: %w", name, err)
	}
	older := map[string]string{"manual_angles": "measured_angles", "manual_internodes": "measured_internodes"}
	for i, m := range members {
		if m.Name == "angles" {
			members[i].Value = radians(m.Value)
		}
		if name, ok := older[m.Name]; ok {
			members[i].Name = name
		}
	}
	return meta.Join(members), nil
}

// radians returns angles in radians. One of them at a full turn or above says
// that they are in degrees, as it does upstream; what is no list of numbers
// stays as it is.
func radians(list json.RawMessage) json.RawMessage {
	var angles []float64
	if json.Unmarshal(list, &angles) != nil {
		return list
	}
	degrees := false
	for _, a := range angles {
		degrees = degrees || a >= 2*math.Pi
	}
	if !degrees {
		return list
	}
	for i := range angles {
		angles[i] *= math.Pi / 180
	}
	out, err := encode(angles)
	if err != nil { // finite numbers always encode
		return list
	}
	return out
}

// olderWorkspace is where the scanner, or else Colmap, recorded the workspace.
func (s *Service) olderWorkspace(ctx context.Context, name string, metadata json.RawMessage, info []meta.Member) (json.RawMessage, error) {
	if box, ok := lookup(metadata, "scanner", "workspace"); ok {
		return box, nil
	}
	colmap, ok := lookup(meta.Get(info, "tasks_fileset"), "Colmap")
	if fileset, isText := meta.Text(colmap); ok && isText {
		metadata, err := s.FilesetMetadata(ctx, name, fileset)
		if err != nil && !absent(err) {
			return nil, err
		}
		if box, ok := lookup(metadata, "bounding_box"); ok {
			return box, nil
		}
	}
	return json.RawMessage("{}"), nil
}

// olderCamera adds to camera the model that an early pipeline computed, or
// else Colmap's, and to each pose that it was matched.
func (s *Service) olderCamera(ctx context.Context, name string, metadata, camera json.RawMessage) (json.RawMessage, error) {
	model, ok := lookup(metadata, "computed", "camera_model")
	if !ok {
		cameras, err := s.document(ctx, name, "Colmap", "cameras")
		if err != nil && !absent(err) {
			return nil, err
		}
		model, ok = lookup(cameras.JSON, "1")
	}
	if ok {
		camera = setMember(camera, "model", model)
	}
	var poses []json.RawMessage
	list, ok := lookup(camera, "poses")
	if !ok || json.Unmarshal(list, &poses) != nil {
		return camera, nil
	}
	for i, p := range poses {
		poses[i] = setMember(p, "isMatched", json.RawMessage("true"))
	}
	list, err := encode(poses)
	if err != nil {
		return nil, fmt.Errorf("encode poses of scan %q: %w", name, err)
	}
	return setMember(camera, "poses", list), nil
}

package scan

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/romi/plantdb-go/internal/fsdb/meta"
)

// Tags returns the list under the key tags of a scan's metadata, and these. It
// is empty where there is none. Errors: those of Metadata, and ErrNoTagList where
// something else is there.
func (s *Service) Tags(ctx context.Context, name string) (tags []string, metadata json.RawMessage, err error) {
	metadata, err = s.Metadata(ctx, name)
	if err != nil {
		return nil, nil, err
	}
	tags, err = tagsOf(name, metadata)
	return tags, metadata, err
}

// SetTags gives a scan these tags and no others, and returns what Tags does.
// Errors: those of SetMetadata, ErrTags.
func (s *Service) SetTags(ctx context.Context, name string, tags []string, m Match) ([]string, json.RawMessage, error) {
	return s.retag(ctx, name, m, [][]string{tags}, func(json.RawMessage) ([]string, error) {
		var once []string
		for _, t := range tags {
			if !slices.Contains(once, t) {
				once = append(once, t)
			}
		}
		return once, nil
	})
}

// ChangeTags adds tags to a scan and takes others out; those that are there
// already, or not, are no error. Those that several change at once are all kept.
// Errors: as SetTags, and ErrNoTagList.
func (s *Service) ChangeTags(ctx context.Context, name string, add, remove []string, m Match) ([]string, json.RawMessage, error) {
	return s.retag(ctx, name, m, [][]string{add, remove}, func(old json.RawMessage) ([]string, error) {
		tags, err := tagsOf(name, old)
		if err != nil {
			return nil, err
		}
		return changedTags(tags, add, remove)
	})
}

// retag gives a scan the tags that change makes of its metadata; sent are the
// lists of the caller.
func (s *Service) retag(ctx context.Context, name string, m Match, sent [][]string, change func(old json.RawMessage) ([]string, error)) (tags []string, metadata json.RawMessage, err error) {
	if _, _, err := s.open(ctx, s.pool, name, opSetMetadata); err != nil {
		return nil, nil, err
	}
	for _, list := range sent {
		if err := checkTags(list); err != nil {
			return nil, nil, err
		}
	}
	metadata, err = s.changeMetadata(ctx, name, func(old json.RawMessage) (Update, error) {
		if tags, err = change(old); err != nil {
			return Update{}, err
		}
		u, err := tagsUpdate(tags)
		u.Match = m
		return u, err
	})
	return tags, metadata, err
}

// tagsOf reads the tags of metadata; ErrNoTagList where they are none.
func tagsOf(name string, metadata json.RawMessage) ([]string, error) {
	raw, ok := lookup(metadata, "tags")
	if !ok || string(raw) == "null" {
		return nil, nil
	}
	var list []*string
	if err := json.Unmarshal(raw, &list); err != nil || slices.Contains(list, nil) {
		return nil, ErrNoTagList.With("The metadata of scan %s has tags that are no list of texts.", name)
	}
	tags := make([]string, len(list))
	for i, t := range list {
		tags[i] = *t
	}
	return tags, nil
}

// changedTags adds tags and takes others out; the rest stays as it is. ErrTags
// where they become too many.
func changedTags(tags, add, remove []string) ([]string, error) {
	tags = slices.DeleteFunc(tags, func(have string) bool { return slices.Contains(remove, have) })
	for _, t := range add {
		if !slices.Contains(tags, t) {
			tags = append(tags, t)
		}
	}
	if len(tags) > maxTags && len(add) > 0 {
		return nil, ErrTags
	}
	return tags, nil
}

// tagsUpdate is the change of metadata that sets tags.
func tagsUpdate(tags []string) (Update, error) {
	list, err := encode(append([]string{}, tags...))
	if err != nil {
		return Update{}, fmt.Errorf("encode tags: %w", err)
	}
	return Update{Metadata: meta.Join([]meta.Member{{Name: "tags", Value: list}})}, nil
}

package scan

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/google/uuid"

	"github.com/romi/plantdb-go/db"
	"github.com/romi/plantdb-go/internal/actor"
	"github.com/romi/plantdb-go/internal/fsdb/meta"
	"github.com/romi/plantdb-go/internal/observe"
)

// Kind says what was done, as NOUN.VERB. Clients rely on the kinds there are
// and ignore those that they do not know.
type Kind string

// The kinds. Those without a user were found to have happened outside.
const (
	ScanCreated    Kind = "scan.created"
	ScanMetadata   Kind = "scan.metadata"
	ScanShared     Kind = "scan.shared"     // its groups
	ScanVisibility Kind = "scan.visibility" // public or private
	ScanOwner      Kind = "scan.owner"      // it changed hands
	ScanDeleted    Kind = "scan.deleted"    // into the trash, or gone from the disk
	ScanRestored   Kind = "scan.restored"   // from the trash
	ScanPurged     Kind = "scan.purged"     // from the trash, for good
	// ScanChanged says that files or metadata of a scan were changed outside;
	// the detail says which. There is no event for each file of it.
	ScanChanged Kind = "scan.changed"

	FilesetCreated  Kind = "fileset.created"
	FilesetMetadata Kind = "fileset.metadata"
	FilesetDeleted  Kind = "fileset.deleted"
	FilesetRestored Kind = "fileset.restored"
	FilesetPurged   Kind = "fileset.purged"

	FileCreated  Kind = "file.created"
	FileMetadata Kind = "file.metadata"
	FileDeleted  Kind = "file.deleted"
	FileRestored Kind = "file.restored"
	FilePurged   Kind = "file.purged"
	// FileStored says that a file was put at a path of the scan, which the
	// detail names; it belongs to no fileset.
	FileStored Kind = "file.stored"

	TimelapseCreated  Kind = "timelapse.created"
	TimelapseMetadata Kind = "timelapse.metadata"
	TimelapseDeleted  Kind = "timelapse.deleted"
	TimelapseOwner    Kind = "timelapse.owner" // who made the first scan in one that nobody owned
	TimelapseRestored Kind = "timelapse.restored"
	TimelapsePurged   Kind = "timelapse.purged"
	TimelapseChanged  Kind = "timelapse.changed" // outside
)

// Change is one thing that a write does, as history and the stream of events
// tell it. Scan is the name of the scan it was done to, with the fileset and
// file of it; Timelapse is for what was done to a timelapse itself, and is
// found by itself where the scan is in one.
type Change struct {
	Kind      Kind
	Scan      string
	Timelapse string
	Fileset   string
	File      string
	Detail    Detail
	// ScanID is for a scan that has no row any more, such as one in the trash.
	// Everything else is found by its name.
	ScanID uuid.UUID
	// Outside says that nobody of ours did it: a reconcile found it.
	Outside bool
	// by is who did it where that is not who acts in the context: files of
	// several people are written together.
	by *origin
	// added are the parts that are new, and doubted the changes that tell of
	// some of them instead (see attribute).
	added   map[filePath]bool
	doubted []Change
	// sameParts says that the rows of filesets and files need no change at all.
	sameParts bool
	// unfilled says that rows of files lack what an older program did not know.
	unfilled bool
}

// Detail is what else there is to say of a change. A new field is added here,
// and omitted where it is empty.
type Detail struct {
	Set        []string `json:"set,omitempty" doc:"Top-level metadata keys that were added or got another value, at most 64."`
	Removed    []string `json:"removed,omitempty" doc:"Top-level metadata keys that were removed, at most 64."`
	Filename   string   `json:"filename,omitempty" doc:"Name of the file in its fileset."`
	Size       *int64   `json:"size,omitempty" doc:"Bytes of the file."`
	SHA256     string   `json:"sha256,omitempty" doc:"Digest of the file's bytes, hex."`
	Owner      *string  `json:"owner,omitempty" doc:"The owner from now on."`
	Groups     []string `json:"groups,omitempty" doc:"The groups it is shared with from now on."`
	Visibility string   `json:"visibility,omitempty" doc:"From now on: public or private."`
	Files      *Count   `json:"files,omitempty" doc:"Files that were changed outside."`
	Filesets   *Count   `json:"filesets,omitempty" doc:"Filesets that were changed outside."`
	Broken     string   `json:"broken,omitempty" doc:"Why the scan cannot be used from now on."`
}

// Count counts what became of parts.
type Count struct {
	Added   int `json:"added" doc:"New ones."`
	Removed int `json:"removed" doc:"Those that are gone."`
	Changed int `json:"changed" doc:"Those with other bytes or other metadata."`
}

// removes says whether the scan cannot be asked any more who may see it.
func (c Change) removes() bool { return c.Kind == ScanDeleted }

// record writes what the transaction does into the outbox, from which history,
// the stream of events and webhooks are fed. Every write of a scan, fileset,
// file, timelapse or its metadata or access calls it, once, with all its
// changes and in the transaction of its rows: there is an event exactly if the
// change is there, and a caller has nothing to do after the commit.
//
// Who did it and in which request it takes from the context, or nobody for a
// change from Outside. Call it while the rows of what is named are there: after
// they were inserted, before they are deleted (the event keeps who could see
// the scan). A change that writes nothing records nothing.
func (s *Service) record(ctx context.Context, tx db.DBTX, changes ...Change) error {
	if len(changes) == 0 {
		return nil
	}
	by := originOf(ctx)
	var arg db.RecordEventsParams
	for _, c := range changes {
		detail, err := c.Detail.encode()
		if err != nil {
			return fmt.Errorf("encode detail of event %s: %w", c.Kind, err)
		}
		who := by
		switch {
		case c.Outside:
			who = origin{request: by.request}
		case c.by != nil:
			who = *c.by
		}
		arg.Ids = append(arg.Ids, newID())
		arg.Kinds = append(arg.Kinds, string(c.Kind))
		arg.Usernames = append(arg.Usernames, who.username)
		arg.TokenKinds = append(arg.TokenKinds, who.token)
		arg.TokenIds = append(arg.TokenIds, who.tokenID)
		arg.RequestIds = append(arg.RequestIds, who.request)
		arg.ScanIds = append(arg.ScanIds, c.ScanID)
		arg.Scans = append(arg.Scans, cleanText(c.Scan))
		arg.Timelapses = append(arg.Timelapses, cleanText(c.Timelapse))
		arg.Filesets = append(arg.Filesets, cleanText(c.Fileset))
		arg.Files = append(arg.Files, cleanText(c.File))
		arg.Removes = append(arg.Removes, c.removes())
		arg.Details = append(arg.Details, detail)
	}
	if err := s.q.RecordEvents(ctx, tx, arg); err != nil {
		return fmt.Errorf("record %d events: %w", len(changes), err)
	}
	s.feed.written()
	return nil
}

// empty says whether the detail says nothing.
func (d Detail) empty() bool {
	text, err := d.encode()
	return err == nil && text == ""
}

// encode returns the detail as JSON, the empty text for one that says nothing.
func (d Detail) encode() (string, error) {
	text, err := encode(d)
	if err != nil || string(text) == "{}" {
		return "", err
	}
	return string(text), nil
}

// origin is who does something and in which request, as an event keeps it.
type origin struct {
	username, token, request string
	tokenID                  uuid.UUID // of an API token, else zero
}

// maxRequestID bounds the request id that is kept.
const maxRequestID = 128

func originOf(ctx context.Context) origin {
	request := cleanText(observe.RequestID(ctx))
	o := origin{request: request[:min(len(request), maxRequestID)]}
	a, ok := actor.FromContext(ctx)
	if !ok {
		return o
	}
	return o.by(a)
}

// by is the same request of somebody else.
func (o origin) by(a actor.Actor) origin {
	o.username, o.token, o.tokenID = a.Username, "none", a.TokenID
	switch {
	case a.Trusted:
		o.token = "system"
	case a.Guest:
		o.token = "guest"
	case a.Scope != nil:
		o.token = "api_token"
	case a.SessionID != uuid.Nil:
		o.token = "session"
	}
	return o
}

const (
	// maxKeys and maxKeyBytes bound what an event tells of metadata keys.
	maxKeys     = 64
	maxKeyBytes = 64
)

// keysChanged says which top-level keys a change of metadata added or gave
// another value, and which it removed. The time of the change says nothing.
func keysChanged(old, updated json.RawMessage) Detail {
	before, errBefore := meta.Object(old)
	after, errAfter := meta.Object(updated)
	if errBefore != nil || errAfter != nil {
		return Detail{}
	}
	was := make(map[string]string, len(before))
	for _, m := range before {
		was[m.Name] = string(m.Value)
	}
	var d Detail
	for _, m := range after {
		if value, had := was[m.Name]; (!had || value != string(m.Value)) && m.Name != "last_modified" {
			d.Set = append(d.Set, m.Name)
		}
		delete(was, m.Name)
	}
	for name := range was {
		d.Removed = append(d.Removed, name)
	}
	slices.Sort(d.Removed)
	d.Set, d.Removed = boundKeys(d.Set), boundKeys(d.Removed)
	return d
}

func boundKeys(keys []string) []string {
	keys = keys[:min(len(keys), maxKeys)]
	for i, k := range keys {
		keys[i] = cleanText(k[:min(len(k), maxKeyBytes)])
	}
	return keys
}

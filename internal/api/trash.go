package api

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/romi/plantdb-go/internal/fsdb"
	"github.com/romi/plantdb-go/internal/scan"
)

const tagTrash = "trash"

// trashEntry is scan.TrashEntry on the wire.
type trashEntry struct {
	ID        uuid.UUID  `json:"id" format:"uuid" doc:"Id of the entry, for restoring and purging it."`
	Kind      string     `json:"kind" enum:"scan,timelapse,fileset,file" doc:"What was deleted."`
	Timelapse string     `json:"timelapse,omitempty" doc:"The timelapse that was deleted, or that the scan belongs to."`
	Scan      string     `json:"scan,omitempty" doc:"The scan, or the one that the fileset or file belongs to."`
	Fileset   string     `json:"fileset,omitempty" doc:"The fileset, or the one that the file belongs to."`
	File      string     `json:"file,omitempty" doc:"Id of the file."`
	Owner     *string    `json:"owner" doc:"Owner of the scan or timelapse; null where nobody was recorded."`
	DeletedBy string     `json:"deleted_by" doc:"Who deleted it."`
	DeletedAt time.Time  `json:"deleted_at" doc:"When it was deleted."`
	Expires   *time.Time `json:"expires_at,omitempty" doc:"When it is purged by itself; left out for never."`
	Scans     []string   `json:"scans" doc:"The scans of which it holds something."`
	Files     int64      `json:"files" doc:"How many files it holds."`
	Bytes     int64      `json:"bytes" doc:"How many bytes its files have; they count for their owners until it is purged."`
}

func trashEntryOf(e scan.TrashEntry) trashEntry {
	return trashEntry{
		e.ID, e.Kind, e.Timelapse, e.Scan, e.Fileset, e.File, e.Owner, e.DeletedBy, e.DeletedAt, e.Expires,
		append([]string{}, e.Scans...), e.Files, e.Bytes,
	}
}

// deleted says what was deleted and how it can be brought back.
type deleted struct {
	Message string     `json:"message" doc:"What was done, for people."`
	Trash   trashEntry `json:"trash" doc:"Where it is now."`
}

func deletedReply(e scan.TrashEntry, err error, format string, args ...any) (*reply[deleted], error) {
	if err != nil {
		return nil, err
	}
	return &reply[deleted]{deleted{fmt.Sprintf(format, args...), trashEntryOf(e)}}, nil
}

// trashList is a page of the trash.
type trashList struct {
	Entries []trashEntry `json:"entries" doc:"The youngest first."`
	Next    *uuid.UUID   `json:"next,omitempty" format:"uuid" doc:"Give it as before for the next page; left out after the last."`
}

// trashQuery asks for a page.
type trashQuery struct {
	Before string `query:"before" format:"uuid" doc:"Only entries that were deleted before this one; next of the page before." example:"01890a5d-ac96-774b-bcce-b302099a8057"`
	Limit  int    `query:"limit" default:"100" minimum:"1" maximum:"1000" doc:"How many entries a page has."`
}

// TrashPath names an entry of the trash. It is exported for Huma, which fills embedded structs only then.
type TrashPath struct {
	ID uuid.UUID `path:"id" format:"uuid" doc:"Id of the entry."`
}

// deleteErrors are what a deletion can fail with.
var deleteErrors = []int{http.StatusForbidden, http.StatusNotFound, http.StatusLocked, http.StatusInsufficientStorage}

// deleteFaults are those of them that deletions have for themselves.
var deleteFaults = []error{scan.ErrPrecondition, errIfMatch}

const (
	aboutDelete = "It is moved into the trash, where it counts for its owner until it is purged, and from which restore-trash-entry brings it back. " +
		"Only its owner and administrators may do it. "
	aboutRecursive = "With recursive its scans go with it, all or none, and you must be one who may delete each of them; without, it must be empty. " +
		"The header Location says where it is in the trash."
)

// deletedTimelapse is upstream's empty answer, with a hint for ours.
type deletedTimelapse struct {
	Location string `header:"Location" doc:"The entry in the trash."`
}

func (s *server) registerTrash() {
	s.registerDeletes()
	register(s, route{
		id: "list-trash", method: http.MethodGet, path: "/trash", tag: tagTrash, security: required, rate: rateList,
		summary: "List what was deleted", doc: "What you deleted and what you owned; all of it for administrators.",
	}, func(ctx context.Context, in *trashQuery) (*reply[trashList], error) {
		var before *uuid.UUID
		if in.Before != "" {
			id, err := uuid.Parse(in.Before)
			if err != nil {
				return nil, newProblem(http.StatusBadRequest, "invalid_request", "query.before: expected a UUID")
			}
			before = &id
		}
		entries, err := s.scans.Trash(ctx, before, in.Limit)
		out := trashList{Entries: make([]trashEntry, len(entries))}
		for i, e := range entries {
			out.Entries[i] = trashEntryOf(e)
		}
		if len(entries) == in.Limit {
			out.Next = &entries[len(entries)-1].ID
		}
		return replyOf(out, err)
	})
	register(s, route{
		id: "get-trash-entry", method: http.MethodGet, path: "/trash/{id}", tag: tagTrash, security: required, rate: rateRead,
		summary: "Read an entry of the trash", doc: "Of those that you deleted or owned; of all for administrators.", faults: []error{scan.ErrUnknownTrash},
	}, func(ctx context.Context, in *TrashPath) (*reply[trashEntry], error) {
		e, err := s.scans.TrashEntry(ctx, in.ID)
		return replyOf(trashEntryOf(e), err)
	})
	register(s, route{
		id: "restore-trash-entry", method: http.MethodPost, path: "/trash/{id}/restore", tag: tagTrash, security: required, needs: toDelete, rate: rateCreate,
		summary: "Restore what was deleted",
		doc: "Brings it back to where it was, metadata, owner and sharing included; 409 if its name is taken there, or if what it belonged to is gone. " +
			"Who could have deleted it may restore it.",
		errors: []int{http.StatusForbidden, http.StatusLocked, http.StatusInsufficientStorage},
		faults: []error{scan.ErrUnknownTrash, scan.ErrScanExists, scan.ErrTimelapseExists, scan.ErrFilesetExists, scan.ErrFileExists, scan.ErrTrashOrphan, scan.ErrUnknownScan, scan.ErrUnknownTimelapse, fsdb.ErrName, fsdb.ErrReserved},
	}, func(ctx context.Context, in *struct {
		TrashPath
		As string `query:"as" maxLength:"255" doc:"Another id for it; not for timelapses." example:"real_plant_2"`
	}) (*reply[deleted], error) {
		e, err := s.scans.Restore(ctx, in.ID, in.As)
		return deletedReply(e, err, "%s was restored.", described(e))
	})
	register(s, route{
		id: "purge-trash-entry", method: http.MethodDelete, path: "/trash/{id}", tag: tagTrash, security: required, needs: toDelete, rate: rateCreate,
		summary: "Purge an entry of the trash", doc: "Removes it for good, at once. Who could have deleted it may purge it.",
		status: http.StatusNoContent, errors: []int{http.StatusForbidden, http.StatusLocked}, faults: []error{scan.ErrUnknownTrash},
	}, func(ctx context.Context, in *TrashPath) (*struct{}, error) {
		return nil, s.scans.Purge(ctx, in.ID)
	})
}

// described names what an entry holds.
func described(e scan.TrashEntry) string {
	switch e.Kind {
	case "timelapse":
		return fmt.Sprintf("Timelapse '%s'", e.Timelapse)
	case "fileset":
		return fmt.Sprintf("Fileset '%s' of scan '%s'", e.Fileset, e.Scan)
	case "file":
		return fmt.Sprintf("File '%s' of fileset '%s' of scan '%s'", e.File, e.Fileset, e.Scan)
	default:
		return fmt.Sprintf("Scan '%s'", e.Scan)
	}
}

func (s *server) registerDeletes() {
	register(s, route{
		id: "delete-scan", method: http.MethodDelete, path: "/scans/{scan_id}", tag: tagScans, security: required, needs: toDelete, rate: rateCreate,
		summary: "Delete a scan", doc: aboutDelete + "At once, no list, search, preview or archive of any server shows it.", errors: deleteErrors, faults: deleteFaults,
	}, func(ctx context.Context, in *struct {
		ScanPath
		IfMatch
	}) (*reply[deleted], error) {
		e, err := s.scans.DeleteScan(ctx, in.Scan, in.match)
		return deletedReply(e, err, "%s was moved into the trash.", described(e))
	})
	register(s, route{
		id: "delete-fileset", method: http.MethodDelete, path: "/filesets/{scan_id}/{fileset_id}", tag: tagFilesets, security: required, needs: toDelete, rate: rateFileset,
		summary: "Delete a fileset", doc: aboutDelete + "Its files go with it.", errors: deleteErrors, faults: deleteFaults,
	}, func(ctx context.Context, in *struct {
		FilesetPath
		IfMatch
	}) (*reply[deleted], error) {
		e, err := s.scans.DeleteFileset(ctx, in.Scan, in.Fileset, in.match)
		return deletedReply(e, err, "%s was moved into the trash.", described(e))
	})
	register(s, route{
		id: "delete-file", method: http.MethodDelete, path: "/files/{scan_id}/{fileset_id}/{file_id}", tag: tagFiles, security: required, needs: toDelete, rate: rateFileset,
		summary: "Delete a file", doc: aboutDelete + "If-Match compares the ETag of the file's metadata.", errors: deleteErrors, faults: deleteFaults,
	}, func(ctx context.Context, in *struct {
		FilePath
		IfMatch
	}) (*reply[deleted], error) {
		e, err := s.scans.DeleteFile(ctx, in.Scan, in.Fileset, in.File, in.match)
		return deletedReply(e, err, "%s was moved into the trash.", described(e))
	})
	register(s, route{
		id: "delete-timelapse", method: http.MethodDelete, path: "/timelapses/{timelapse_id}", tag: tagTimelapses, security: required, needs: toDelete, rate: rateList,
		summary: "Delete a timelapse", doc: aboutDelete + aboutRecursive, status: http.StatusNoContent, errors: deleteErrors,
		faults: append(slices.Clone(deleteFaults), scan.ErrNotEmpty),
	}, func(ctx context.Context, in *struct {
		TimelapsePath
		IfMatch
		Recursive string `query:"recursive" doc:"Delete its scans as well." enum:"true,false,True,False,1,0,yes,no," example:"true"`
	}) (*deletedTimelapse, error) {
		e, err := s.scans.DeleteTimelapse(ctx, in.Timelapse, isTrue(in.Recursive), in.match)
		if err != nil {
			return nil, err
		}
		return &deletedTimelapse{s.config.Prefix + base + "/trash/" + e.ID.String()}, nil
	})
}

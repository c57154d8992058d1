package scan

import (
	"errors"

	"github.com/romi/plantdb-go/internal/fault"
	"github.com/romi/plantdb-go/internal/fsdb/meta"
)

// The failures that callers of the service may see, beside those of the tree
// (package fsdb). Texts are upstream's, because its clients show them.
var (
	ErrNoActor          = fault.New(fault.Unauthenticated, "token_missing", "No authenticated user!")
	ErrForbidden        = fault.New(fault.Forbidden, "forbidden", "You do not have the permission to do this.")
	ErrUnknownScan      = fault.New(fault.NotFound, "unknown_scan", "Unknown scan id!")
	ErrUnknownTimelapse = fault.New(fault.NotFound, "unknown_timelapse", "Unknown timelapse id!")
	ErrUnknownFileset   = fault.New(fault.NotFound, "unknown_fileset", "Unknown fileset id!")
	ErrUnknownFile      = fault.New(fault.NotFound, "unknown_file", "Unknown file id!")
	ErrNoAsset          = fault.New(fault.NotFound, "unknown_asset", "The requested URL was not found on the server. If you entered the URL manually please check your spelling and try again.")
	ErrScanExists       = fault.New(fault.Conflict, "scan_exists", "Scan id already exists!")
	ErrTimelapseExists  = fault.New(fault.Conflict, "timelapse_exists", "Timelapse id already exists!")
	ErrFilesetExists    = fault.New(fault.Conflict, "fileset_exists", "Fileset id already exists!")
	ErrFileExists       = fault.New(fault.Conflict, "file_exists", "File id already exists!")
	ErrBiology          = fault.New(fault.Invalid, "bad_biology", "Invalid biological metadata")
	// Wherever it may come, meta.ErrTooDeep may, too.
	ErrMetadata        = fault.New(fault.Invalid, "bad_metadata", "Metadata must be a dictionary")
	ErrSharing         = fault.New(fault.Invalid, "bad_sharing", "Sharing field must be a list of group names")
	ErrFilter          = fault.New(fault.Invalid, "bad_filter", "Invalid JSON format in filterQuery parameter.")
	ErrWhere           = fault.New(fault.Invalid, "bad_where", "Invalid where parameter.")
	ErrSort            = fault.New(fault.Invalid, "bad_sort", "Invalid sort parameter.")
	ErrCursor          = fault.New(fault.Invalid, "bad_cursor", "Invalid after parameter: it is what the Link header of a page has, for the same query.")
	ErrEventID         = fault.New(fault.Invalid, "bad_event_id", "Invalid event id: give the id of an event of the stream, 0 or now.")
	ErrEventsGone      = fault.New(fault.Gone, "events_gone", "Events after that id are not kept any more: begin anew with after=0 or now.")
	ErrTooManyStreams  = fault.New(fault.TooMany, "too_many_streams", "You follow events as often as one user may.")
	ErrStreamsFull     = fault.New(fault.Unavailable, "streams_full", "This server sends events to as many as it can.")
	ErrStopping        = fault.New(fault.Unavailable, "stopping", "This server is being stopped, try again.")
	ErrBatch           = fault.New(fault.Conflict, "batch_failed", "Nothing was done: the lines say why.")
	ErrBatchTooLarge   = fault.New(fault.TooLarge, "batch_too_large", "A batch has at most 500 lines.")
	ErrBatchLine       = fault.New(fault.Invalid, "bad_batch_line", "The line is no operation of a batch.")
	ErrTags            = fault.New(fault.Invalid, "bad_tags", "Tags are texts of 1 to 64 bytes without control characters, at most 100 a scan.")
	ErrNoTagList       = fault.New(fault.Conflict, "no_tag_list", "The metadata of the scan has tags that are no list of texts.")
	ErrNotDone         = fault.New(fault.Conflict, "not_done", "Not done, for another line failed.")
	ErrExtension       = fault.New(fault.Invalid, "bad_extension", "Invalid file extension.")
	ErrEmptyFile       = fault.New(fault.Invalid, "empty_file", "The file is empty.")
	ErrMemberElsewhere = fault.New(fault.Invalid, "timelapse_fixed", "A scan cannot be moved into a timelapse by its metadata.")
	ErrChanged         = fault.New(fault.Unavailable, "file_changed", "The file was replaced while it was read, try again.")
	ErrBusy            = fault.New(fault.Locked, "locked", "Another writer holds the scan.")
	ErrOwner           = fault.New(fault.Invalid, "unknown_owner", "The new owner must be a user.")
	ErrNotEmpty        = fault.New(fault.Conflict, "timelapse_not_empty", "The timelapse is not empty.")
	ErrUnknownTrash    = fault.New(fault.NotFound, "unknown_trash_entry", "Unknown trash entry!")
	ErrTrashOrphan     = fault.New(fault.Conflict, "trash_orphan", "What the entry belonged to is not there any more.")
)

// badMetadata says what is wrong with metadata that package meta refused:
// meta.ErrTooDeep, or else ErrMetadata.
func badMetadata(err error) error {
	if errors.Is(err, meta.ErrTooDeep) {
		return err
	}
	return ErrMetadata.Because(err)
}

func unknownScan(name string) error {
	return ErrUnknownScan.With("Unknown scan id '%s'!", printable(name))
}

func unknownTimelapse(name string) error {
	return ErrUnknownTimelapse.With("Unknown timelapse id '%s'!", printable(name))
}

func unknownFileset(scan, fileset string) error {
	return ErrUnknownFileset.With("Unknown fileset id '%s' in scan '%s'!", printable(fileset), scan)
}

func unknownFile(scan, fileset, file string) error {
	return ErrUnknownFile.With("Unknown file id '%s' in scan/fileset '%s/%s'!", printable(file), scan, fileset)
}

func scanExists(name string) error {
	return ErrScanExists.With("Scan id '%s' already exists!", name)
}

func timelapseExists(name string) error {
	return ErrTimelapseExists.With("Timelapse id '%s' already exists!", name)
}

func filesetExists(scan, fileset string) error {
	return ErrFilesetExists.With("Fileset id '%s' already exists in scan '%s'!", fileset, scan)
}

func fileExists(scan, fileset, file string) error {
	return ErrFileExists.With("File id '%s' already exists in scan/fileset '%s/%s'!", file, scan, fileset)
}

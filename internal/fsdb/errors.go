package fsdb

import (
	"errors"
	"fmt"
	"syscall"

	"github.com/romi/plantdb-go/internal/fault"
)

// The failures a caller may see. All else is a machine that fails.
var (
	ErrNotTree         = fault.New(fault.Invalid, "not_a_tree", "not a PlantDB tree")
	ErrNotFound        = fault.New(fault.NotFound, "not_found", "no such thing in the tree")
	ErrScanExists      = fault.New(fault.Conflict, "scan_exists", "a scan or timelapse of that name exists")
	ErrTimelapseExists = fault.New(fault.Conflict, "timelapse_exists", "a scan or timelapse of that name exists")
	ErrFilesetExists   = fault.New(fault.Conflict, "fileset_exists", "a fileset of that name exists in the scan")
	ErrFileExists      = fault.New(fault.Conflict, "file_exists", "a file of that name exists in the fileset")
	ErrBroken          = fault.New(fault.Unprocessable, "scan_broken", "the scan is damaged")
	ErrMembership      = fault.New(fault.Invalid, "timelapse_mismatch", "timelapse.id in the metadata is not the timelapse the scan lies in")
	ErrName            = fault.New(fault.Invalid, "name_invalid", "the name is not allowed")
	ErrReserved        = fault.New(fault.Invalid, "name_reserved", "the name is reserved")
	ErrTooLarge        = fault.New(fault.TooLarge, "too_large", "the content is too large")
	ErrNoSpace         = fault.New(fault.NoSpace, "no_space", "the disk or a quota is full and nothing was kept: try again once there is room")
	ErrReadOnly        = fault.New(fault.Unavailable, "read_only", "the tree cannot be written")
)

// wrap says what failed; a full or read-only disk becomes the fault it is, and
// a fault passes as it is.
func wrap(verb, object string, err error) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*fault.Error](err); ok {
		return err
	}
	said := fmt.Errorf("%s %q: %w", verb, object, err)
	for _, full := range []error{syscall.ENOSPC, syscall.EDQUOT} {
		if errors.Is(err, full) {
			return ErrNoSpace.Because(said)
		}
	}
	for _, denied := range []error{syscall.EROFS, syscall.EACCES, syscall.EPERM} {
		if errors.Is(err, denied) {
			return ErrReadOnly.Because(said)
		}
	}
	return said
}

// exhausted says whether err is about this process and not about the file, so
// that the file must not be called broken for it.
func exhausted(err error) bool {
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) || errors.Is(err, syscall.ENOMEM)
}

// Package fsdb is the scan tree on disk: upstream's layout of 0.14 to 0.17,
// read with all the damage that years of use leave in it, and written so that
// upstream's own Python code opens the result while we run. It knows no SQL,
// no HTTP, no users and no permissions, and takes no locks by itself: callers see
// to it that a scan or a timelapse has one writer at a time (TryLock is what
// upstream's programs understand); readers need nothing.
//
// # Layout
//
//	<root>/romidb                             marks a tree
//	<root>/<timelapse>/timelapse.json         marks a timelapse
//	<root>/[<timelapse>/]<scan>/files.json    which filesets and files there are
//	                    .../metadata/metadata.json
//	                    .../metadata/<fileset>.json
//	                    .../metadata/<fileset>/<file>.json
//	                    .../<fileset>/<file>.<ext>
//	<root>/.plantdb                           ours: staging, cache, trash
//
// files.json is the truth: what it does not list is not there, and what it
// lists counts once its bytes are. Where metadata and directories disagree
// about the timelapse of a scan, the directory wins.
//
// # Durability
//
// A write goes to a temporary file in the hidden staging directory of the same
// filesystem, is synced, renamed to its name, and the directory is synced; only
// then the call returns. So an acknowledged write survives a power cut, and a
// reader sees all of a file or none of it. What several files make up together
// becomes visible with the last rename, that of files.json or of a directory.
//
// # Links
//
// Everything goes through one os.Root, and what is inside a scan through one
// of its own: a symbolic link inside a scan is followed as long as it stays in
// that scan. A scan or timelapse that is itself a link is not followed.
//
// The package is for Linux: it reads directories by file descriptor.
package fsdb

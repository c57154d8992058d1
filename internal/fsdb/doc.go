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
//	<root>/.plantdb                           ours: staging, journals, doubts, cache, trash
//
// files.json and the scan's journal are the truth: what they do not list is not
// there, and what they list counts once its bytes are. Where metadata and directories disagree
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
// # Journals
//
// Files are added without writing files.json: what a batch adds is one line at
// the end of the scan's journal, whose sync is the moment from which the files
// cannot be lost. Every reader of this package takes files.json and the journal
// together; Fold writes files.json and removes the journal. Callers of AddFiles
// see to it that Fold follows soon, for Python programs read files.json alone.
// Whatever else writes files.json folds first.
//
//	.plantdb/journal/<first 32 hex digits of the SHA-256 of the scan's path from the root>
//
//	cccccccc {"journal":2,"timelapse":"tl","scan":"id"}
//	cccccccc [{"fileset":"images","id":"00000_rgb","file":"00000_rgb.jpg","size":136000,"sha256":"..","metadata":{..},"staged":".."},..]
//	...
//
// cccccccc is the CRC-32C of the rest of the line in hex, a newline ends it. From
// the first line on that does not check, the journal was cut short by a crash
// and nobody was told that it worked; or its sync failed, and a mark behind what
// was to be synced says so. A torn journal is folded before more is added.
//
// A line is durable before anything that it tells of has a name, so that no crash
// leaves what no line tells of, and together with the staging directory, where the
// bytes of its files are called staged until then. A file counts if its fileset is
// listed and its bytes lie there with the size that the journal says; an entry may
// come twice. Its name is made durable before anybody is told of it, for there are
// disks that lose a file between two names; its metadata file need not be before
// Fold. What has no name by then, Fold gives it, and writes the metadata anew from
// the journal. Where the bytes are nowhere, their metadata go.
//
// An entry with neither id nor file is a fileset that is being made, and counts if
// it is a directory. One with "gone":true is being taken back: Fold takes it out of
// files.json, and then removes what there is of it.
//
// # Links
//
// Everything goes through one os.Root, and what is inside a scan through one
// of its own: a symbolic link inside a scan is followed as long as it stays in
// that scan. A scan or timelapse that is itself a link is not followed.
//
// The package is for Linux: it reads directories by file descriptor.
package fsdb

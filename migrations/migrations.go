// Package migrations holds the schema of the database as goose files, in the
// order in which they are applied. A file that has been released is never
// edited: the next change is the next file, first widening what the running
// code can bear and only in a later release taking away what it no longer
// reads.
package migrations

import "embed"

// FS holds every migration.
//
//go:embed *.sql
var FS embed.FS

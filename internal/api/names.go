package api

import (
	"errors"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"

	"github.com/romi/plantdb-go/internal/fsdb"
	"github.com/romi/plantdb-go/internal/scan"
)

// pathName takes a name from a path as upstream does: spaces around it and all
// up to the last slash are dropped. What is left may be anything that a
// directory can be called: upstream's own rule is for what is not there, see
// misnamed.
func pathName(raw *string) error {
	name := strings.TrimSpace(*raw)
	name = name[strings.LastIndexByte(name, '/')+1:]
	if name == "" || len(name) > 255 || !utf8.ValidString(name) || strings.ContainsFunc(name, unicode.IsControl) {
		return invalidName(*raw)
	}
	*raw = name
	return nil
}

func invalidName(name string) error {
	return errInvalidName.With("Invalid name: '%s'. Names must be alphanumeric and can include underscores, dashes, or periods.", shortened(name, 300))
}

// plainName is upstream's rule: letters, digits, dots, underscores and dashes.
func plainName(name string) bool {
	return strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-") == ""
}

// named is an input that names things in its path.
type named interface{ names() []string }

// misnamed returns err, or in place of one that says that there is no such
// thing, or that a new one cannot be called so, upstream's answer to a name that
// breaks its rule. What is in the tree by such a name can be read and written.
func misnamed(in any, err error) error {
	n, ok := in.(named)
	if !ok {
		return err
	}
	names := n.names()
	if i := absent(err, len(names)); i >= 0 && i < len(names) && !plainName(names[i]) {
		return invalidName(names[i])
	}
	return err
}

// absent says which of so many names in a path err is about, or -1.
func absent(err error, names int) int {
	p, isProblem := errors.AsType[*Problem](err)
	switch {
	case isProblem && p.Code == errOutputOfNoScan.Code, errors.Is(err, scan.ErrUnknownScan), errors.Is(err, scan.ErrUnknownTimelapse):
		return 0
	case errors.Is(err, scan.ErrUnknownFileset):
		return 1
	case errors.Is(err, scan.ErrUnknownFile):
		return 2
	case errors.Is(err, fsdb.ErrName): // of what was to be made
		return names - 1
	}
	return -1
}

func pathNames(names ...*string) []error {
	for _, n := range names {
		if err := pathName(n); err != nil {
			return []error{err}
		}
	}
	return nil
}

// ScanPath names a scan in a path. It is exported for Huma, which fills embedded structs only then.
type ScanPath struct {
	Scan string `path:"scan_id" doc:"Scan id." example:"real_plant"`
}

// Resolve implements huma.Resolver.
func (p *ScanPath) Resolve(huma.Context) []error { return pathNames(&p.Scan) }

func (p *ScanPath) names() []string { return []string{p.Scan} }

// FilesetPath names a fileset in a path. It is exported for Huma, which fills embedded structs only then.
type FilesetPath struct {
	Scan    string `path:"scan_id" doc:"Scan id." example:"real_plant"`
	Fileset string `path:"fileset_id" doc:"Fileset id." example:"images"`
}

// Resolve implements huma.Resolver.
func (p *FilesetPath) Resolve(huma.Context) []error { return pathNames(&p.Scan, &p.Fileset) }

func (p *FilesetPath) names() []string { return []string{p.Scan, p.Fileset} }

// FilePath names a file in a path. It is exported for Huma, which fills embedded structs only then.
type FilePath struct {
	Scan    string `path:"scan_id" doc:"Scan id." example:"real_plant"`
	Fileset string `path:"fileset_id" doc:"Fileset id." example:"images"`
	File    string `path:"file_id" doc:"File id, without its extension; where no id matches, the file name." example:"00000_rgb"`
}

// Resolve implements huma.Resolver.
func (p *FilePath) Resolve(huma.Context) []error { return pathNames(&p.Scan, &p.Fileset, &p.File) }

func (p *FilePath) names() []string { return []string{p.Scan, p.Fileset, p.File} }

// TimelapsePath names a timelapse in a path. It is exported for Huma, which fills embedded structs only then.
type TimelapsePath struct {
	Timelapse string `path:"timelapse_id" doc:"Timelapse id." example:"growth_series"`
}

// Resolve implements huma.Resolver.
func (p *TimelapsePath) Resolve(huma.Context) []error { return pathNames(&p.Timelapse) }

func (p *TimelapsePath) names() []string { return []string{p.Timelapse} }

package api

import (
	"strings"

	"github.com/danielgtaylor/huma/v2"
)

// pathName applies upstream's rule for ids in paths: spaces around it and all
// up to the last slash are dropped, what is left is letters, digits, dots,
// underscores and dashes.
func pathName(raw *string) error {
	name := strings.TrimSpace(*raw)
	name = name[strings.LastIndexByte(name, '/')+1:]
	ok := name != "" && len(name) <= 255
	for _, c := range []byte(name) {
		ok = ok && (c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '.' || c == '-')
	}
	if !ok {
		shown := shortened(*raw, 300)
		return errInvalidName.With(
			"Invalid name: '%s'. Names must be alphanumeric and can include underscores, dashes, or periods.", shown)
	}
	*raw = name
	return nil
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

// FilesetPath names a fileset in a path. It is exported for Huma, which fills embedded structs only then.
type FilesetPath struct {
	Scan    string `path:"scan_id" doc:"Scan id." example:"real_plant"`
	Fileset string `path:"fileset_id" doc:"Fileset id." example:"images"`
}

// Resolve implements huma.Resolver.
func (p *FilesetPath) Resolve(huma.Context) []error { return pathNames(&p.Scan, &p.Fileset) }

// FilePath names a file in a path. It is exported for Huma, which fills embedded structs only then.
type FilePath struct {
	Scan    string `path:"scan_id" doc:"Scan id." example:"real_plant"`
	Fileset string `path:"fileset_id" doc:"Fileset id." example:"images"`
	File    string `path:"file_id" doc:"File id, without its extension; where no id matches, the file name." example:"00000_rgb"`
}

// Resolve implements huma.Resolver.
func (p *FilePath) Resolve(huma.Context) []error { return pathNames(&p.Scan, &p.Fileset, &p.File) }

// TimelapsePath names a timelapse in a path. It is exported for Huma, which fills embedded structs only then.
type TimelapsePath struct {
	Timelapse string `path:"timelapse_id" doc:"Timelapse id." example:"growth_series"`
}

// Resolve implements huma.Resolver.
func (p *TimelapsePath) Resolve(huma.Context) []error { return pathNames(&p.Timelapse) }

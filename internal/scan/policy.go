package scan

import (
	"slices"

	"github.com/romi/plantdb-go/internal/actor"
)

// Private is the visibility of a scan that only its owner, the groups it is
// shared with and administrators may see. Public ones everybody may read.
const (
	Public  = "public"
	Private = "private"
)

// Access is what policy asks of a scan.
type Access struct {
	Name       string
	Owner      *string // nil: nobody is recorded, and so nobody but an administrator owns it
	Sharing    []string
	Visibility string
}

// rule is a question to policy: CanRead, CanWrite and their like.
type rule func(actor.Actor, Access) bool

// matrix is the permission matrix: what each operation needs on the scan,
// timelapse or account that it is done to. What is not in it nobody may do.
var matrix = map[string]rule{
	opRead:   CanRead,
	opReload: CanSee,

	opCreateScan:      CanCreate,
	opCreateTimelapse: CanCreate,

	opCreateFileset:  CanWrite,
	opCreateFile:     CanWrite,
	opSetMetadata:    CanWrite,
	opAddToTimelapse: CanWrite,

	opDeleteScan:      CanDelete,
	opDeleteFileset:   CanDelete,
	opDeleteFile:      CanDelete,
	opDeleteTimelapse: CanDelete,
	opRestore:         CanDelete,
	opPurge:           CanDelete,
	opSetVisibility:   CanDelete,
	opSetSharing:      CanDelete,
	opSetOwner:        CanDelete,

	opUsage:      ownsOrAdministers,
	opListQuotas: administers,
	opSetQuota:   administers,
	opScrub:      administers,
	opRelay:      administers,

	opBatch:     trusted,
	opCheck:     trusted,
	opCopy:      trusted,
	opKeepTrash: trusted,
	opListAll:   trusted,
}

// may says whether a may do the operation to s.
func may(a actor.Actor, operation string, s Access) bool {
	allowed, ok := matrix[operation]
	return ok && allowed(a, s)
}

// roleOn is the role that a has on a scan: an administrator keeps his, the
// owner and the members of a group it is shared with contribute, everybody
// else has his own highest role. The empty role may do nothing.
func roleOn(a actor.Actor, s Access) actor.Role {
	role := a.HighestRole()
	if role == actor.Admin {
		return role
	}
	if isOwner(a, s) || a.InGroup(s.Sharing) {
		return actor.Contributor
	}
	if s.Visibility == Private {
		return ""
	}
	return role
}

func isOwner(a actor.Actor, s Access) bool {
	return s.Owner != nil && a.Username != "" && !a.Guest && *s.Owner == a.Username
}

// CanSee says whether the person behind a may know that s exists. An API token
// narrows what may be done, not what its owner may know.
func CanSee(a actor.Actor, s Access) bool { return roleOn(a, s).Allows(actor.Read) }

// CanRead says whether a may read s: everybody who may see it, within the
// scope of an API token.
func CanRead(a actor.Actor, s Access) bool { return a.MayOn(s.Name, roleOn(a, s), actor.Read) }

// CanWrite says whether a may change the filesets, files and metadata of s:
// its owner, a member of its groups, an administrator, and contributors.
func CanWrite(a actor.Actor, s Access) bool { return a.MayOn(s.Name, roleOn(a, s), actor.Write) }

// CanDelete says whether a may delete s or parts of it, give it another owner,
// share it or hide it: its owner and administrators.
func CanDelete(a actor.Actor, s Access) bool {
	if isOwner(a, s) {
		return a.Scope == nil || a.Scope.Allows(s.Name, actor.Delete)
	}
	return a.MayOn(s.Name, roleOn(a, s), actor.Delete)
}

// CanCreate says whether a may make a scan or timelapse of the name of s.
func CanCreate(a actor.Actor, s Access) bool {
	return !a.Guest && a.MayOn(s.Name, a.HighestRole(), actor.Create)
}

func administers(a actor.Actor, _ Access) bool { return a.IsAdmin() }

// ownsOrAdministers asks of an account: s.Owner is whose it is.
func ownsOrAdministers(a actor.Actor, s Access) bool {
	return !a.Guest && (isOwner(a, s) || a.IsAdmin())
}

// trusted is the server itself, and who is at its machine.
func trusted(a actor.Actor, _ Access) bool { return a.Trusted }

// ofTimelapse is the access to a timelapse: everybody may see it.
func ofTimelapse(name string, owner *string) Access {
	return Access{Name: name, Owner: owner, Visibility: Public}
}

// require returns nil if a may do the operation to s. What one may not see does not
// exist; what one may see but not do is forbidden, in upstream's words.
func require(a actor.Actor, s Access, operation string) error {
	if !CanSee(a, s) {
		return unknownScan(s.Name)
	}
	if !may(a, operation, s) {
		return forbidden(a, operation)
	}
	return nil
}

func forbidden(a actor.Actor, operation string) error {
	if a.Guest && operation != opRead {
		return ErrNoActor
	}
	if a.Scope != nil {
		return ErrForbidden.With("Token from User %s does not have required permissions to use %s", a.Username, operation)
	}
	return ErrForbidden.With("User %s does not have required permissions to use %s", a.Username, operation)
}

// sight is CanSee in the words of the queries that list what a may see: scans
// of these visibilities, of this owner, or shared with one of these groups.
type sight struct {
	visibilities []string
	username     string
	groups       []string
}

func sightOf(a actor.Actor) sight {
	s := sight{visibilities: []string{}, username: a.Username, groups: slices.Concat([]string{}, a.Groups)}
	if a.Guest {
		s.username = "" // is nobody's owner
	}
	switch role := a.HighestRole(); {
	case role == actor.Admin:
		s.visibilities = append(s.visibilities, Public, Private)
	case role.Allows(actor.Read):
		s.visibilities = append(s.visibilities, Public)
	}
	return s
}

// withinScope drops what an API token may not read.
func withinScope[T any](a actor.Actor, list []T, name func(T) string) []T {
	if a.Scope == nil {
		return list
	}
	return slices.DeleteFunc(list, func(e T) bool { return !a.Scope.Allows(name(e), actor.Read) })
}

package scan

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/romi/plantdb-go/db"
	"github.com/romi/plantdb-go/internal/actor"
	"github.com/romi/plantdb-go/internal/fsdb/meta"
)

// VersionedAccess is an Access, and the Version of the metadata that it is part of.
type VersionedAccess struct {
	Access

	Version string
}

// Access returns who owns a scan, whom it is shared with, and who sees it, for
// everybody who may read it.
func (s *Service) Access(ctx context.Context, name string) (VersionedAccess, error) {
	a, err := acting(ctx)
	if err != nil {
		return VersionedAccess{}, err
	}
	v, err := s.access(ctx, s.pool, name)
	if err == nil {
		err = require(a, v.Access, opRead)
	}
	if err != nil {
		return VersionedAccess{}, err
	}
	return v, nil
}

func (s *Service) access(ctx context.Context, tx db.DBTX, name string) (VersionedAccess, error) {
	access, metadata, err := s.shownMetadata(ctx, tx, name)
	return VersionedAccess{access, Version(metadata)}, err
}

// SetVisibility makes a scan Public or Private if its metadata is what m asks for.
// Its owner and administrators may do it. Errors: those of finding the scan,
// ErrForbidden, ErrMetadata for another visibility, ErrPrecondition, ErrBusy.
func (s *Service) SetVisibility(ctx context.Context, name, visibility string, m Match) (VersionedAccess, error) {
	if visibility != Public && visibility != Private {
		if _, _, err := s.open(ctx, s.pool, name, opSetVisibility); err != nil {
			return VersionedAccess{}, err
		}
		return VersionedAccess{}, errVisibility
	}
	return s.changeAccess(ctx, name, opSetVisibility, m, func(ctx context.Context, tx *writing, r row) (Change, error) {
		return s.setVisibility(ctx, tx, r, visibility)
	})
}

func (s *Service) setVisibility(ctx context.Context, tx *writing, r row, visibility string) (Change, error) {
	before := s.tree.BeforeScan(r.loc())
	if err := s.tree.WriteVisibility(ctx, r.loc(), visibility); err != nil {
		return Change{}, err
	}
	tx.did(before.PutBack)
	metadata, err := s.tree.ReadScanMetadata(ctx, r.loc())
	if err != nil {
		return Change{}, err
	}
	_, err = s.keepShown(ctx, tx, r, metadata)
	return Change{Kind: ScanVisibility, Detail: Detail{Visibility: visibility}}, err
}

var errVisibility = ErrMetadata.With("Visibility must be 'public' or 'private'")

// maxSharing bounds the groups that a scan is shared with.
const maxSharing = 100

// SetSharing shares a scan with these groups and no others; with none it is
// shared no more. Its owner and administrators may do it. Errors as
// SetVisibility, and ErrSharing for a group that does not exist.
func (s *Service) SetSharing(ctx context.Context, name string, groups []string, m Match) (VersionedAccess, error) {
	return s.changeAccess(ctx, name, opSetSharing, m, func(ctx context.Context, tx *writing, r row) (Change, error) {
		list, err := s.existing(ctx, tx, groups)
		if err != nil {
			return Change{}, err
		}
		return s.setSharing(ctx, tx, r, groups, list)
	})
}

// setSharing shares a scan with groups, which list names in JSON.
func (s *Service) setSharing(ctx context.Context, tx *writing, r row, groups []string, list json.RawMessage) (Change, error) {
	return Change{Kind: ScanShared, Detail: Detail{Groups: groups}}, s.setAccess(ctx, tx, r, "sharing", list)
}

// existing returns groups as a JSON list; ErrSharing if one does not exist.
func (s *Service) existing(ctx context.Context, from db.DBTX, groups []string) (json.RawMessage, error) {
	if groups == nil {
		groups = []string{}
	}
	if len(groups) > maxSharing {
		return nil, ErrSharing.With("A scan can be shared with at most %d groups", maxSharing)
	}
	missing, err := s.groups.MissingGroups(ctx, from, groups)
	if err != nil {
		return nil, err
	}
	if len(missing) > 0 {
		return nil, ErrSharing.With("One or more sharing groups do not exist")
	}
	list, err := encode(groups)
	if err != nil {
		return nil, fmt.Errorf("encode sharing: %w", err)
	}
	return list, nil
}

// SetOwner gives a scan to a user, whose quotas need room for all that it holds.
// Its owner and administrators may do it; an owner who gives away a private scan
// may not see it afterwards, and is answered all the same. Errors as
// SetVisibility, ErrOwner and ErrQuota.
func (s *Service) SetOwner(ctx context.Context, name, owner string, m Match) (VersionedAccess, error) {
	return s.changeAccess(ctx, name, opSetOwner, m, func(ctx context.Context, tx *writing, r row) (Change, error) {
		username, ok, err := s.groups.Owner(ctx, tx, owner)
		if err != nil {
			return Change{}, err
		}
		if !ok {
			return Change{}, ErrOwner
		}
		if err := s.roomForScan(ctx, tx, r, username); err != nil {
			return Change{}, err
		}
		return Change{Kind: ScanOwner, Detail: Detail{Owner: &username}}, s.setAccess(ctx, tx, r, "owner", meta.Quote(username))
	})
}

// setAccess gives a protected key of a scan's metadata another value.
func (s *Service) setAccess(ctx context.Context, tx *writing, r row, key string, value json.RawMessage) error {
	old, err := s.tree.ReadScanMetadata(ctx, r.loc())
	if err != nil {
		return err
	}
	updated, err := set(old, meta.Member{Name: key, Value: value}, meta.Member{Name: "last_modified", Value: meta.Quote(timestamp(s.now()))})
	if err != nil {
		return badMetadata(err)
	}
	if err := s.writeScanMetadata(ctx, tx, r, updated); err != nil {
		return err
	}
	_, err = s.showScan(ctx, tx, r, updated, true)
	return err
}

// changeAccess asks policy before anything waits and again under the lock, and
// tells history and the audit trail of the change. It returns what holds
// afterwards.
func (s *Service) changeAccess(ctx context.Context, name, operation string, m Match, change func(context.Context, *writing, row) (Change, error)) (after VersionedAccess, err error) {
	if _, _, err := s.open(ctx, s.pool, name, operation); err != nil {
		return after, err
	}
	err = s.locked(ctx, operation, func(ctx context.Context, tx *writing) error {
		r, a, err := s.open(ctx, tx, name, operation)
		if err != nil {
			return err
		}
		if err := s.matchScan(ctx, tx, r, m); err != nil {
			return err
		}
		c, err := change(ctx, tx, r)
		if err != nil {
			return err
		}
		if err := s.accessChanged(ctx, tx, a, r, c); err != nil {
			return err
		}
		after, err = s.access(ctx, tx, name)
		return err
	}, name)
	return after, err
}

// accessChanged tells history and the audit trail of a change of access.
func (s *Service) accessChanged(ctx context.Context, tx pgx.Tx, a actor.Actor, r row, c Change) error {
	c.Scan = r.Name
	if err := s.record(ctx, tx, c); err != nil {
		return err
	}
	return s.groups.RecordAccess(actor.NewContext(ctx, a), tx, strings.Replace(string(c.Kind), ".", "_", 1), told(r.Name, c.Detail))
}

// told says in words what the audit trail keeps of a change.
func told(scan string, d Detail) string {
	switch {
	case d.Owner != nil:
		return scan + ": owner " + *d.Owner
	case d.Visibility != "":
		return scan + ": " + d.Visibility
	default:
		return scan + ": shared with " + strings.Join(d.Groups, ", ")
	}
}

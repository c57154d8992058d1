package auth

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/romi/plantdb-go/db"
	"github.com/romi/plantdb-go/internal/actor"
	"github.com/romi/plantdb-go/internal/fault"
	"github.com/romi/plantdb-go/internal/postgres"
	"github.com/romi/plantdb-go/tokenauth"
)

// settle is how long a new key verifies before it signs. A server that has not
// looked at the keys for as long refuses every token anyhow, for it has not
// asked for revocations either; so none that answers meets a key it does not know.
const settle = tokenauth.DefaultReplicatedFresh + time.Second

// The failures of changing keys.
var (
	// ErrKeysInSettings: the servers sign with a key of JWT_SECRET_KEY.
	ErrKeysInSettings = fault.New(fault.Conflict, "keys_in_settings",
		"The signing key is set by JWT_SECRET_KEY: set a new one there, put the old one into JWT_PREVIOUS_KEYS until its tokens are gone, and restart every server")
	// ErrKeyUnknown: no key of that kid is kept in the tree.
	ErrKeyUnknown = fault.New(fault.NotFound, "key_not_found", "This tree keeps no key of that kid; a key of JWT_PREVIOUS_KEYS is retired by taking it out there")
	// ErrKeySigns: the key that signs was to be retired.
	ErrKeySigns = fault.New(fault.Conflict, "key_signs", "This key signs; rotate first")
	// ErrTooManyKeys: a rotation would leave more keys than may be.
	ErrTooManyKeys = fault.New(fault.Conflict, "too_many_keys", "The tree keeps too many keys; retire some first")
)

// SigningKey is what is known of a key; never the key itself.
type SigningKey struct {
	ID, Algorithm string
	// Status is active (signs), verifying or retired.
	Status    string
	CreatedAt time.Time
	RetiredAt *time.Time
}

// SigningKeys lists the keys that were ever in use, the first first.
func SigningKeys(ctx context.Context, tx db.DBTX) ([]SigningKey, error) {
	rows, err := db.New().ListKeys(ctx, tx)
	if err != nil {
		return nil, fmt.Errorf("list signing keys: %w", err)
	}
	keys := make([]SigningKey, 0, len(rows))
	for _, r := range rows {
		keys = append(keys, SigningKey{r.Kid, r.Algorithm, r.Status, r.CreatedAt, r.RetiredAt})
	}
	return keys, nil
}

// RotateKey has the servers of a tree sign with a new key and returns its kid;
// the old one verifies on. It takes a few seconds: first every server learns
// the new key, then it signs. Interrupted in between, it leaves a key that
// only verifies. ErrKeysInSettings if the settings have a Secret, or the
// servers were started with one; ErrTooManyKeys.
func RotateKey(ctx context.Context, pool postgres.DB, root *os.Root, k KeySettings, log *slog.Logger) (kid string, err error) {
	t := newKeyTree(&keyLoader{db: pool, q: db.New(), log: log}, root)
	if k.Secret != "" {
		return "", ErrKeysInSettings
	}
	return t.rotate(ctx, k.algorithm(), settled)
}

// RetireKey ends a key that verifies, and with it all tokens that it signed.
// Its file is gone when RetireKey returns; running servers follow within a
// second or two. ErrKeysInSettings, ErrKeyUnknown, ErrKeySigns.
func RetireKey(ctx context.Context, pool postgres.DB, root *os.Root, k KeySettings, kid string, log *slog.Logger) error {
	t := newKeyTree(&keyLoader{db: pool, q: db.New(), log: log}, root)
	if k.Secret != "" {
		return ErrKeysInSettings
	}
	return t.retire(ctx, kid)
}

// settled waits until every server that answers knows a key; false if ctx ended.
func settled(ctx context.Context) bool { return sleep(ctx, settle) }

// rotate calls settled between publishing a key and signing with it.
func (t *keyTree) rotate(ctx context.Context, algorithm string, settled func(context.Context) bool) (kid string, err error) {
	err = t.change(ctx, func(tx pgx.Tx, signing tokenauth.Key, verifying []tokenauth.Key) error {
		if len(verifying)+2 > maxTreeKeys {
			return ErrTooManyKeys
		}
		key, err := t.publish(algorithm)
		if err != nil {
			return fmt.Errorf("publish signing key: %w", err)
		}
		kid = key.ID()
		return t.recordInUse(ctx, tx, signing, append(verifying, key))
	})
	if err != nil {
		return "", err
	}
	t.log.InfoContext(ctx, "signing key published, it signs soon", slog.String("kid", kid), slog.Duration("in", settle))
	if !settled(ctx) {
		return "", ctx.Err()
	}
	err = t.change(ctx, func(tx pgx.Tx, signing tokenauth.Key, _ []tokenauth.Key) error {
		if signing.ID() != kid { // else this transaction is tried again
			if err := t.activate(kid, signing.ID()); err != nil {
				return fmt.Errorf("activate signing key: %w", err)
			}
		}
		signing, verifying, err := t.read(ctx)
		if err != nil {
			return err
		}
		if err = t.recordInUse(ctx, tx, signing, verifying); err != nil {
			return err
		}
		return recordEvent(ctx, t.q, tx, time.Now(), event{kind: eventKeyRotate, username: actor.System().Username, detail: kid})
	})
	return kid, err
}

func (t *keyTree) retire(ctx context.Context, kid string) error {
	return t.change(ctx, func(tx pgx.Tx, signing tokenauth.Key, verifying []tokenauth.Key) error {
		if signing.ID() == kid {
			return ErrKeySigns
		}
		// Only a kid that was read from a file becomes part of a path.
		if !slices.ContainsFunc(verifying, func(k tokenauth.Key) bool { return k.ID() == kid }) {
			return ErrKeyUnknown
		}
		// First the file: a server that is told to look must not find it.
		if err := t.remove(kid); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove signing key: %w", err)
		}
		if err := t.q.RetireKey(ctx, tx, kid); err != nil {
			return fmt.Errorf("record retired key: %w", err)
		}
		return recordEvent(ctx, t.q, tx, time.Now(), event{kind: eventKeyRetire, username: actor.System().Username, detail: kid})
	})
}

// change runs fn on the keys of the tree while nobody else changes them. It
// refuses where the servers do not sign with a key of the tree.
func (t *keyTree) change(ctx context.Context, fn func(tx pgx.Tx, signing tokenauth.Key, verifying []tokenauth.Key) error) error {
	return t.inLock(ctx, func(tx pgx.Tx) error {
		signing, verifying, err := t.read(ctx)
		if errors.Is(err, fs.ErrNotExist) {
			return t.noKeyYet(ctx, tx)
		}
		if err != nil {
			return err
		}
		rows, err := t.q.ListKeys(ctx, tx)
		if err != nil {
			return fmt.Errorf("list signing keys: %w", err)
		}
		kept := append([]tokenauth.Key{signing}, verifying...)
		for _, r := range rows {
			if r.Status == keyActive && !slices.ContainsFunc(kept, func(k tokenauth.Key) bool { return k.ID() == r.Kid }) {
				return ErrKeysInSettings
			}
		}
		return fn(tx, signing, verifying)
	})
}

// noKeyYet says why there is no key to change.
func (t *keyTree) noKeyYet(ctx context.Context, tx pgx.Tx) error {
	rows, err := t.q.ListKeys(ctx, tx)
	if err != nil {
		return fmt.Errorf("list signing keys: %w", err)
	}
	if slices.ContainsFunc(rows, func(r db.ListKeysRow) bool { return r.Status == keyActive }) {
		return ErrKeysInSettings
	}
	return ErrKeyUnknown.With("This tree has no key yet: the first start of the server makes it")
}

// WithRotation has the Service follow the keys of the tree: what RotateKey and
// RetireKey do, Load and Run see within a second. keys.Ring must be the ring
// that New gets.
func WithRotation(keys *Keys) Option { return func(s *Service) { s.rotation = keys } }

// follow makes the ring what the files are, if the table tells of a change.
// It is called by one goroutine at a time.
func (k *Keys) follow(ctx context.Context, tx db.DBTX) error {
	if k.tree == nil {
		return nil
	}
	state, err := k.tree.q.KeysInUse(ctx, tx)
	if err != nil {
		return fmt.Errorf("ask for signing keys: %w", err)
	}
	if state == k.seen {
		return nil
	}
	signing, verifying, err := k.tree.read(ctx)
	if err == nil {
		err = k.Ring.Replace(signing, append(verifying, k.previous...)...)
	}
	switch {
	case err != nil && k.failed == state:
		return nil // said already, and tried again with the next look
	case err != nil:
		k.failed = state
		k.tree.log.ErrorContext(ctx, "signing keys cannot be read, going on with those of before", slog.Any("err", err))
		return nil
	}
	k.seen, k.failed = state, ""
	k.tree.log.InfoContext(ctx, "signing keys read", slog.String("signing", signing.ID()), slog.Int("verifying", len(verifying)))
	return nil
}

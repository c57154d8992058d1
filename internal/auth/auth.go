// Package auth holds the rules for accounts: users and their passwords, login
// and lockout, sessions and their refresh, API tokens, groups, revocation, and
// the audit trail of all of these. It knows no HTTP: package api finds tokens,
// has them verified by package tokenauth and asks here what their bearer may
// do. It knows no scans either: what an actor may do to one is decided in
// package scan.
//
// Who acts is the actor.Actor in the context; without one nothing that needs a
// permission is done. From where they act is the Client in the context.
//
// No raw token, password or key is ever stored or logged. The tokens of a
// session are made from its row in refresh_tokens and the signing key, and can
// be made again, byte for byte, from the same two.
package auth

import (
	"context"
	"log/slog"
	"net/netip"
	"runtime"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/romi/plantdb-go/db"
	"github.com/romi/plantdb-go/internal/postgres"
	"github.com/romi/plantdb-go/tokenauth"
	"github.com/romi/plantdb-go/tokenauth/tokenpgx"
)

// Config is what can be set; Default fills it. A field that must not be zero
// and is gets its default.
type Config struct {
	// SessionTimeout is the life of an access token, RefreshTimeout that of a
	// refresh token, which each refresh slides; AbsoluteTimeout ends a session
	// whatever happens. The lives of tokens are cut to whole seconds.
	SessionTimeout, RefreshTimeout, AbsoluteTimeout time.Duration
	// RefreshGrace is how long after its use a refresh token still gets the
	// pair that is current then.
	RefreshGrace time.Duration
	// MaxSessions is how many live sessions a user may have; 0 is no cap.
	// RejectOverCap refuses the login that would be one too many; otherwise
	// the session that was not used for the longest time ends.
	MaxSessions   int
	RejectOverCap bool
	// LoginMaxAttempts failures from one network lock an account for that
	// network for LoginLockout; 0 attempts is no lockout.
	LoginMaxAttempts int
	LoginLockout     time.Duration
	// PasswordMinLength counts characters. At 1, the test mode, common
	// passwords are taken too.
	PasswordMinLength int
	// Guest lets requests without a token act as the user guest.
	Guest bool
	// APITokenMaxLife bounds the life that may be asked for.
	APITokenMaxLife time.Duration
	// Issuer and Audience stand in every token.
	Issuer, Audience string
	// Leeway is how far clocks may be apart.
	Leeway time.Duration
	// CleanupInterval is how often Run removes expired rows.
	CleanupInterval time.Duration
	// Hash is how new passwords are hashed; a password whose stored hash was
	// made otherwise is hashed anew when it is next used to log in.
	Hash HashParams
	// HashesAtOnce bounds processor and memory, HashQueue how many wait
	// beyond; who comes then gets ErrBusy.
	HashesAtOnce, HashQueue int
}

// Default returns the documented settings.
func Default() Config {
	return Config{
		SessionTimeout:    15 * time.Minute,
		RefreshTimeout:    24 * time.Hour,
		AbsoluteTimeout:   30 * 24 * time.Hour,
		RefreshGrace:      10 * time.Second,
		MaxSessions:       10,
		LoginMaxAttempts:  3,
		LoginLockout:      15 * time.Minute,
		PasswordMinLength: 8,
		Guest:             true,
		APITokenMaxLife:   366 * 24 * time.Hour,
		Issuer:            "plantdb-api",
		Audience:          "plantdb-client",
		Leeway:            2 * time.Second,
		CleanupInterval:   time.Minute,
		Hash:              HashParams{Memory: 19456, Time: 2, Threads: 1},
		HashesAtOnce:      runtime.GOMAXPROCS(0),
		HashQueue:         256,
	}
}

// filled puts the defaults in place of what cannot be zero: such tokens would
// be void as they are made, and such loops would never rest.
func (c Config) filled() Config {
	d := Default()
	for _, f := range []struct{ field, standard *time.Duration }{
		{&c.SessionTimeout, &d.SessionTimeout}, {&c.RefreshTimeout, &d.RefreshTimeout}, {&c.AbsoluteTimeout, &d.AbsoluteTimeout},
		{&c.APITokenMaxLife, &d.APITokenMaxLife}, {&c.CleanupInterval, &d.CleanupInterval},
	} {
		if *f.field <= 0 {
			*f.field = *f.standard
		}
	}
	if c.PasswordMinLength <= 0 {
		c.PasswordMinLength = d.PasswordMinLength
	}
	if c.Issuer == "" {
		c.Issuer = d.Issuer
	}
	if c.Audience == "" {
		c.Audience = d.Audience
	}
	if c.Hash == (HashParams{}) {
		c.Hash = d.Hash
	}
	return c
}

// Service does what the package is for. Its methods may be called from many
// goroutines; several Services may share a database, as replicas do.
type Service struct {
	db       postgres.DB
	q        *db.Queries
	keys     *tokenauth.Keyring
	rotation *Keys // nil where the keys never change
	c        Config
	log      *slog.Logger
	now      func() time.Time
	verifier *tokenauth.Verifier
	hasher   *hasher
	source   *tokenpgx.Source
	revoked  *tokenauth.Replicated
	actors   *actorCache
	uses     *uses
}

// Option changes what New makes.
type Option func(*Service)

// WithClock puts another clock in place of time.Now, for everything that is
// stored or put into a token.
func WithClock(now func() time.Time) Option { return func(s *Service) { s.now = now } }

// WithNotifications has Run listen for the revocations of other replicas on a
// connection of its own, made with the settings of the pool but not counted in
// it. Without this option they are found by polling only.
func WithNotifications(pool *pgxpool.Pool) Option {
	return func(s *Service) {
		s.source.Connect = postgres.Beside(pool, listenerName)
	}
}

// New returns a Service that signs with keys. Its Checker refuses everything
// until Load has read what was revoked before; Run keeps it up to date.
func New(pool postgres.DB, keys *tokenauth.Keyring, c Config, log *slog.Logger, opts ...Option) *Service {
	c = c.filled()
	s := &Service{
		db: pool, q: db.New(), keys: keys, c: c, log: log, now: time.Now,
		hasher: newHasher(c.Hash, c.HashesAtOnce, c.HashQueue),
		actors: newActorCache(actorCacheFor),
		uses:   newUses(),
	}
	s.source = &tokenpgx.Source{DB: pool, Channel: revokedChannel, Read: s.readRevoked}
	for _, o := range opts {
		o(s)
	}
	s.revoked = s.replicated()
	s.verifier = &tokenauth.Verifier{Keys: keys, Issuer: c.Issuer, Audience: c.Audience, Leeway: c.Leeway, Now: s.now}
	return s
}

// clock returns the time to store: PostgreSQL keeps microseconds, and what is
// compared with a stored time must not be finer.
func (s *Service) clock() time.Time { return s.now().UTC().Truncate(time.Microsecond) }

// Client is from where somebody acts, for lockout, the list of sessions and
// the audit trail.
type Client struct {
	Address              netip.Addr // invalid when unknown
	UserAgent, RequestID string
}

type clientKey struct{}

// WithClient returns a context that carries c.
func WithClient(ctx context.Context, c Client) context.Context {
	return context.WithValue(ctx, clientKey{}, c)
}

// clientFrom returns the Client of the context, fit to be stored.
func clientFrom(ctx context.Context) Client {
	c, _ := ctx.Value(clientKey{}).(Client)
	c.Address = c.Address.Unmap().WithZone("")
	c.UserAgent = storable(c.UserAgent, 512)
	c.RequestID = storable(c.RequestID, 128)
	return c
}

// address returns the address as the inet columns take it.
func (c Client) address() *netip.Addr {
	if !c.Address.IsValid() {
		return nil
	}
	return &c.Address
}

// network is the unit of lockout: neighbours of an attacker share its lock,
// and within a provider's usual allotment there is no second try.
func (c Client) network() netip.Prefix {
	bits := 24
	switch {
	case !c.Address.IsValid():
		return netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	case c.Address.Is6():
		bits = 56
	}
	return netip.PrefixFrom(c.Address, bits).Masked()
}

// storable makes a text of a stranger one that PostgreSQL takes and a log
// stands: valid UTF-8 without control characters, of at most limit bytes. It
// may be the name of somebody else then: what looks for a name asks plain.
func storable(s string, limit int) string {
	if len(s) > limit {
		s = s[:limit]
	}
	s = strings.ToValidUTF8(s, "")
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return -1
		}
		return r
	}, s)
}

// plain says whether a text that names something is kept as it is: valid
// UTF-8, no control characters, 1 to limit bytes.
func plain(s string, limit int) bool {
	return s != "" && len(s) <= limit && utf8.ValidString(s) && storable(s, limit) == s
}

// newID returns a UUIDv7: ordered by time, so that indexes grow at one end.
func newID() uuid.UUID { return uuid.Must(uuid.NewV7()) }

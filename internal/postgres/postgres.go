// Package postgres connects to PostgreSQL: the pool, transactions that are
// tried again, what an error of the server means, the run of the migrations,
// and a private server for those who have none. It knows no table and no
// query.
package postgres

import (
	"bytes"
	"context"
	"encoding/json"
	"net"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/romi/plantdb-go/internal/fault"
)

// What Open, Migrate and the rest answer when there is no way to the database.
var (
	// ErrURL says that the URL cannot be read.
	ErrURL = fault.New(fault.Invalid, "database_url",
		"the database URL cannot be read: it has the form postgres://user:password@host:5432/name")
	// ErrUnreachable says that no server answers, or none that is ready.
	ErrUnreachable = fault.New(fault.Unavailable, "database_unreachable", "PostgreSQL does not answer")
	// ErrRefused says that the server does not let us in.
	ErrRefused = fault.New(fault.Unavailable, "database_refused", "PostgreSQL does not let us in")
)

// DB is what a pool and a transaction both have.
type DB interface {
	Exec(context.Context, string, ...any) (pgconn.CommandTag, error)
	Query(context.Context, string, ...any) (pgx.Rows, error)
	QueryRow(context.Context, string, ...any) pgx.Row
	CopyFrom(context.Context, pgx.Identifier, []string, pgx.CopyFromSource) (int64, error)
	SendBatch(context.Context, *pgx.Batch) pgx.BatchResults
	Begin(context.Context) (pgx.Tx, error)
}

// PoolOptions says how a pool connects; zero values are good ones.
type PoolOptions struct {
	// MaxConns bounds the connections; 0 is 16.
	MaxConns int32
	// ConnectTimeout bounds one attempt to connect; 0 is 5 s.
	ConnectTimeout time.Duration
	// ApplicationName is what pg_stat_activity shows; empty is "plantdb".
	ApplicationName string
}

// Open connects to the database at url and proves it with a ping. Times that
// the pool reads are in UTC. The caller closes the pool. The error is ErrURL,
// ErrUnreachable or ErrRefused, one sentence that tells no password.
func Open(ctx context.Context, url string, o PoolOptions) (*pgxpool.Pool, error) {
	cfg, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, ErrURL // its cause may quote the password
	}
	cfg.MaxConns = o.MaxConns
	if cfg.MaxConns == 0 {
		cfg.MaxConns = 16
	}
	prepare(cfg.ConnConfig, o)
	cfg.AfterConnect = func(_ context.Context, c *pgx.Conn) error {
		c.TypeMap().RegisterType(&pgtype.Type{
			Name: "timestamptz", OID: pgtype.TimestamptzOID,
			Codec: &pgtype.TimestamptzCodec{ScanLocation: time.UTC},
		})
		c.TypeMap().RegisterType(&pgtype.Type{
			Name: "json", OID: pgtype.JSONOID,
			Codec: &pgtype.JSONCodec{Marshal: json.Marshal, Unmarshal: unmarshal},
		})
		c.TypeMap().RegisterType(&pgtype.Type{
			Name: "jsonb", OID: pgtype.JSONBOID,
			Codec: &pgtype.JSONBCodec{Marshal: json.Marshal, Unmarshal: unmarshal},
		})
		registerUUID(c.TypeMap())
		return nil
	}
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return nil, ErrURL
	}
	if err := pool.Ping(ctx); err != nil {
		pool.Close()
		return nil, explain(cfg.ConnConfig, err)
	}
	return pool, nil
}

// unmarshal takes JSON text as it is where a caller wants the text: PostgreSQL
// has checked it, and to parse it once more is half the cost of a long list.
func unmarshal(data []byte, v any) error {
	if raw, ok := v.(*json.RawMessage); ok {
		*raw = bytes.Clone(data)
		return nil
	}
	return json.Unmarshal(data, v)
}

func prepare(cfg *pgx.ConnConfig, o PoolOptions) {
	cfg.ConnectTimeout = o.ConnectTimeout
	if cfg.ConnectTimeout == 0 {
		cfg.ConnectTimeout = 5 * time.Second
	}
	if o.ApplicationName == "" {
		o.ApplicationName = "plantdb"
	}
	cfg.RuntimeParams["application_name"] = o.ApplicationName
}

// explain makes one sentence of a failed attempt to connect.
func explain(cfg *pgx.ConnConfig, err error) error {
	at := place(cfg)
	switch code := sqlState(err); {
	case code == "3D000":
		return ErrRefused.With("PostgreSQL at %s has no database %q: create it (createdb %[2]s)", at, cfg.Database).Because(err)
	case strings.HasPrefix(code, "28"):
		return ErrRefused.With("PostgreSQL at %s does not let user %q in: see to its name and password", at, cfg.User).Because(err)
	case code == "42501":
		return ErrRefused.With("PostgreSQL at %s does not allow user %q to use database %q: grant it CONNECT",
			at, cfg.User, cfg.Database).Because(err)
	case code == "53300":
		return ErrUnreachable.With("PostgreSQL at %s has no connection left: raise max_connections or end other clients", at).Because(err)
	default:
		return ErrUnreachable.With("PostgreSQL at %s does not answer: start it, or name another server (DATABASE_URL)", at).Because(err)
	}
}

func place(cfg *pgx.ConnConfig) string {
	port := strconv.Itoa(int(cfg.Port))
	if path.IsAbs(cfg.Host) {
		return path.Join(cfg.Host, ".s.PGSQL."+port)
	}
	return net.JoinHostPort(cfg.Host, port)
}

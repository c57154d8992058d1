package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// ErrLost says that a connection was good and is no more.
var ErrLost = errors.New("connection lost")

// Connect makes a connection; who called closes it.
type Connect func(context.Context) (*pgx.Conn, error)

// Beside returns what makes connections with the settings of pool that are not
// counted in it. pg_stat_activity shows them under name.
func Beside(pool *pgxpool.Pool, name string) Connect {
	return func(ctx context.Context) (*pgx.Conn, error) {
		config := pool.Config().ConnConfig
		config.RuntimeParams["application_name"] = name
		return pgx.ConnectConfig(ctx, config)
	}
}

// Listen has listen subscribe a new connection to notifications, and then calls
// ask on it: at once, after each notification, and when the time that ask
// returned last has passed without one. So what is committed at any time is
// asked for afterwards.
//
// It returns nil when ctx ends, else why it cannot go on: ErrLost if it had a
// connection. timeout bounds the making and the closing of it.
func Listen(ctx context.Context, connect Connect, timeout time.Duration, listen func(context.Context, *pgx.Conn) error,
	ask func(context.Context, *pgx.Conn) (time.Duration, error),
) error {
	conn, err := within(ctx, timeout, connect)
	if err != nil {
		return fmt.Errorf("connect to listen: %w", err)
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), timeout)
		defer cancel()
		_ = conn.Close(ctx) // nothing is left to be lost on it
	}()
	if err := listen(ctx, conn); err != nil {
		return fmt.Errorf("%w: listen: %w", ErrLost, err)
	}
	for {
		next, err := ask(ctx, conn)
		if err != nil {
			return fmt.Errorf("%w: %w", ErrLost, err)
		}
		waiting, stop := context.WithTimeout(ctx, next)
		_, err = conn.WaitForNotification(waiting)
		silent := waiting.Err() != nil
		stop()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil && !silent {
			return fmt.Errorf("%w: wait for notification: %w", ErrLost, err)
		}
	}
}

func within(ctx context.Context, timeout time.Duration, connect Connect) (*pgx.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	return connect(ctx)
}

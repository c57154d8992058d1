package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/romi/plantdb-go/internal/actor"
	"github.com/romi/plantdb-go/internal/jobs"
)

const (
	// cutTimeout is how long requests may take to end whose connections were cut.
	cutTimeout = 5 * time.Second
	// foldTimeout bounds the last fold of all.
	foldTimeout = 30 * time.Second
)

// serveUntil answers until ctx ends, then lets running requests finish.
func (s *service) serveUntil(ctx context.Context, server *http.Server, listener net.Listener, workers []jobs.Worker) error {
	group, work := errgroup.WithContext(ctx)
	group.Go(func() error {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("serve: %w", err)
		}
		return nil
	})
	group.Go(func() error {
		<-work.Done()
		s.stopServing(context.WithoutCancel(ctx), server)
		return nil
	})
	group.Go(func() error { return ended(s.auth.Run(work)) })
	group.Go(func() error { return ended(s.scans.KeepIndexed(work, func() { s.indexed.Store(true) })) })
	group.Go(func() error { return ended(s.keepTidy(work)) })
	group.Go(func() error { return s.scans.FeedEvents(work) })
	group.Go(func() error { return s.webhooks.Run(work) })
	group.Go(func() error { return ended(s.scans.KeepFolded(work)) })
	group.Go(func() error { return s.work(work, workers) })
	err := group.Wait()
	s.foldLast(ctx)
	fmt.Fprintln(s.stderr, "plantdb stopped")
	return err
}

// stopServing lets requests finish. Those that do not in time are cut off, whose
// clients may be slow or gone: nothing of them was acknowledged.
func (s *service) stopServing(ctx context.Context, server *http.Server) {
	patience, cancel := context.WithTimeout(ctx, time.Duration(s.config.StopTimeout))
	defer cancel()
	if err := server.Shutdown(patience); err == nil {
		return
	}
	s.log.WarnContext(ctx, "requests that did not finish are cut off", slog.Duration("after", time.Duration(s.config.StopTimeout)))
	if err := server.Close(); err != nil {
		s.log.WarnContext(ctx, "cut connections", slog.Any("err", err))
	}
	// They drop what they had staged.
	ended := make(chan struct{})
	go func() {
		s.requests.Lock()
		defer s.requests.Unlock()
		close(ended)
	}()
	timer := time.NewTimer(cutTimeout)
	defer timer.Stop()
	select {
	case <-ended:
	case <-timer.C:
	}
}

// counted has stopServing know what runs.
func (s *service) counted(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.requests.RLock()
		defer s.requests.RUnlock()
		next.ServeHTTP(w, r)
	})
}

// foldLast leaves a tree in which Python programs find all that was uploaded.
func (s *service) foldLast(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), foldTimeout)
	defer cancel()
	if err := s.scans.AwaitUploads(ctx); err != nil {
		s.log.WarnContext(ctx, "uploads whose clients left are not written", slog.Any("err", err))
	}
	if err := s.scans.FoldAll(ctx, time.Duration(s.config.LockTimeout)); err != nil {
		s.log.WarnContext(ctx, "files.json lags behind the uploads until the next start", slog.Any("err", err))
	}
}

// ended takes the end of the context for what it is: no error.
func ended(err error) error {
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// keepTidy sweeps up what interrupted writes left, once an hour.
func (s *service) keepTidy(ctx context.Context) error {
	ctx = actor.NewContext(ctx, actor.System())
	for {
		if n, err := s.tree.Sweep(ctx, 2*time.Hour); err != nil && ctx.Err() == nil {
			s.log.WarnContext(ctx, "sweep staging", slog.Any("err", err))
		} else if n > 0 {
			s.log.InfoContext(ctx, "swept staging", slog.Int("removed", n))
		}
		if n, err := s.scans.SweepResumables(ctx); err != nil && ctx.Err() == nil {
			s.log.WarnContext(ctx, "sweep uploads", slog.Any("err", err))
		} else if n > 0 {
			s.log.InfoContext(ctx, "ended uploads that expired", slog.Int("ended", n))
		}
		if err := s.scans.SettleBatches(ctx); err != nil && ctx.Err() == nil {
			s.log.WarnContext(ctx, "settle batches", slog.Any("err", err))
		}
		if _, err := s.tree.SweepLocks(ctx, 10*time.Minute); err != nil && ctx.Err() == nil {
			s.log.WarnContext(ctx, "sweep file locks", slog.Any("err", err))
		}
		if err := pause(ctx, time.Hour); err != nil {
			return err
		}
	}
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

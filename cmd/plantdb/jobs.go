package main

import (
	"context"

	"github.com/romi/plantdb-go/internal/config"
	"github.com/romi/plantdb-go/internal/jobs"
	"github.com/romi/plantdb-go/internal/preview"
	"github.com/romi/plantdb-go/internal/scan"
)

// shortJobs is how many jobs that somebody waits for are done at a time: they
// wait for the network or the database more than they work.
const shortJobs = 4

// webhookJobs is how many receivers are sent messages at a time: they mostly
// wait.
const webhookJobs = 8

// workers does every kind of job there is, one line each; the doc of package
// jobs says how a new one is made.
func (s *service) workers(previews *preview.Cache) []jobs.Worker {
	return []jobs.Worker{
		s.scans.TrashKeeper(),
		s.scans.Scrubber(),
		s.scans.EventKeeper(),
		s.webhooks.Deliverer(),
		s.webhooks.Keeper(),
		s.scans.Previewer(s.ahead(previews)),
	}
}

// ahead is what makes previews before anybody asks; nil for on-demand.
func (s *service) ahead(previews *preview.Cache) scan.Previews {
	if s.config.Previews != config.PreviewsAhead {
		return nil
	}
	return previews
}

// work does jobs until ctx ends. What runs long gets half of the cores, for
// nobody waits for it.
func (s *service) work(ctx context.Context, workers []jobs.Worker) error {
	return s.queue.Run(ctx, jobs.Options{Slots: map[string]int{
		jobs.Default: shortJobs, jobs.Background: max(1, s.cores/2), jobs.Webhooks: webhookJobs,
	}}, workers...)
}

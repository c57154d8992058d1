package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/romi/plantdb-go/internal/actor"
	"github.com/romi/plantdb-go/internal/api"
	"github.com/romi/plantdb-go/internal/auth"
	"github.com/romi/plantdb-go/internal/config"
	"github.com/romi/plantdb-go/internal/demo"
	"github.com/romi/plantdb-go/internal/fault"
	"github.com/romi/plantdb-go/internal/fsdb"
	"github.com/romi/plantdb-go/internal/observe"
	"github.com/romi/plantdb-go/internal/preview"
	"github.com/romi/plantdb-go/internal/scan"
	"github.com/romi/plantdb-go/internal/webhook"
	"github.com/romi/plantdb-go/tokenauth"
)

func (p *program) serveCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "serve", Short: "Serve a scan tree over HTTP.", Args: cobra.NoArgs,
		Long: "Serve a scan tree over HTTP. Every flag is also a variable of the environment, named in its help.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			err := p.serve(cmd.Context())
			if cmd.Context().Err() != nil {
				return ended(err) // to be asked to stop is how it ends
			}
			return err
		},
	}
	p.config.TreeFlags(cmd.Flags())
	p.config.ServeFlags(cmd.Flags())
	return cmd
}

// Bounds of one connection. Uploads and downloads move their own deadline on while
// bytes come and go.
const (
	headTimeout  = 10 * time.Second
	readTimeout  = 60 * time.Second
	writeTimeout = time.Hour
	idleTimeout  = 2 * time.Minute
)

// service is a server that is being set up.
type service struct {
	*program
	*store
	log       *slog.Logger
	cores     int // before the scheduler was given more
	locations []tokenauth.Location
	auth      *auth.Service
	scans     *scan.Service
	webhooks  *webhook.Service
	setup     auth.Setup
	upstream  bool // the tree has accounts that nobody took over
	// requests is read-locked by each one that runs.
	requests sync.RWMutex
	// indexed is set once the index was compared with the tree.
	indexed atomic.Bool
}

func (p *program) serve(ctx context.Context) error {
	// Hashes of passwords and previews keep every core busy for tens of
	// milliseconds at a time. They stay as many as there are cores, and
	// everybody else gets processors of the scheduler beside theirs: health
	// answers in milliseconds while two hundred people log in.
	cores := runtime.GOMAXPROCS(0)
	runtime.GOMAXPROCS(2 * cores)
	defer runtime.GOMAXPROCS(cores)
	if err := p.config.Check(); err != nil {
		return err
	}
	locations, err := tokenLocations(p.config.TokenLocations)
	if err != nil {
		return err
	}
	log, err := p.logger()
	if err != nil {
		return err
	}
	// First of all, for it fails at once where another server is.
	listener, err := p.listen(ctx)
	if err != nil {
		return err
	}
	defer listener.Close() // Serving closes it; this is for the errors before.
	if p.config.Demo {
		if err := p.fillEmptyTree(ctx); err != nil {
			return err
		}
	}
	st, err := p.openStore(ctx, log)
	if err != nil {
		return err
	}
	defer st.close()
	s := &service{program: p, store: st, log: log, locations: locations, cores: cores}
	return s.run(ctx, listener)
}

func (p *program) listen(ctx context.Context) (net.Listener, error) {
	address := net.JoinHostPort(p.config.Host, strconv.Itoa(p.config.Port))
	var lc net.ListenConfig
	listener, err := lc.Listen(ctx, "tcp", address)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("another program listens on %s: stop it, or give another port with --port or PLANTDB_PORT", address)
	case errors.Is(err, syscall.EACCES):
		return nil, fmt.Errorf("listening on %s is not permitted: give a port above 1023 with --port or PLANTDB_PORT", address)
	case err != nil:
		return nil, fmt.Errorf("cannot listen on %s: %w; see --host and --port", address, err)
	}
	return listener, nil
}

// fillEmptyTree makes the sample scans where there is nothing yet.
func (p *program) fillEmptyTree(ctx context.Context) error {
	entries, err := os.ReadDir(p.config.Root)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("look into %s: %w", p.config.Root, err)
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), ".") {
			return nil
		}
	}
	bar := p.progress("making sample scans")
	defer bar.finish()
	return demo.Write(ctx, p.config.Root, demo.Options{Progress: bar.set})
}

func (s *service) run(ctx context.Context, listener net.Listener) error {
	root, err := s.openRoot()
	if err != nil {
		return err
	}
	defer root.Close() // What is written by it is synced where it is written.
	if err := s.prepare(ctx, root); err != nil {
		return err
	}
	previews, err := preview.Open(filepath.Join(s.tree.Dir(), ".plantdb", "cache", "previews"),
		preview.Options{MaxBytes: int64(s.config.PreviewCache), Workers: s.cores, Log: s.log})
	if err != nil {
		return fmt.Errorf("open the cache of previews: %w", err)
	}
	defer previews.Close() // It is a cache.
	archives := scan.NewArchives(s.scans)
	defer archives.Close()
	server := &http.Server{
		Handler: s.counted(s.handler(previews, archives)), ReadHeaderTimeout: headTimeout, ReadTimeout: readTimeout, WriteTimeout: writeTimeout,
		IdleTimeout: idleTimeout, MaxHeaderBytes: api.MaxHead,
		ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	s.banner(listener.Addr())
	return s.serveUntil(ctx, server, listener, s.workers(previews))
}

// prepare makes everything ready that must be so before the first request. The
// root stays open while the server runs: keys are read from it.
func (s *service) prepare(ctx context.Context, root *os.Root) error {
	keys, err := auth.LoadKeys(ctx, s.pool, root, s.keySettings(), s.log)
	if err != nil {
		return err
	}
	s.auth = auth.New(s.pool, keys.Ring, s.authConfig(), s.log, auth.WithNotifications(s.pool), auth.WithRotation(keys))
	if s.upstream, err = upstreamAccounts(ctx, root, s.auth); err != nil {
		return err
	}
	password, err := s.adminPassword()
	if err != nil {
		return err
	}
	if s.setup, err = s.auth.Bootstrap(ctx, auth.FirstStart{AdminPassword: password, Test: s.config.Test}); err != nil {
		return err
	}
	// Revocations are known before the first token is looked at.
	if err := s.auth.Load(ctx); err != nil {
		return err
	}
	if s.config.LegacyWriter != "" {
		s.log.WarnContext(ctx, "everybody may write without a token by the paths of 0.14", slog.String("as", s.config.LegacyWriter))
	}
	limits := scan.DefaultConfig()
	limits.MaxFileBytes = int64(s.config.MaxUpload)
	limits.AddExtensions(s.config.FileExtensions...)
	limits.UploadExpiry = time.Duration(s.config.UploadExpiry)
	limits.Archives = fsdb.ArchiveLimits{
		Bytes: int64(s.config.ArchiveBytes), FileBytes: int64(s.config.MaxUpload), Entries: s.config.ArchiveEntries,
		Ratio: s.config.ArchiveRatio, Depth: s.config.ArchiveDepth,
	}
	limits.FileLocks = bool(s.config.FileLocks)
	limits.LockTimeout = time.Duration(s.config.LockTimeout)
	limits.TrashRetention = time.Duration(s.config.TrashRetention)
	limits.ScrubRate = int64(s.config.ScrubRate)
	limits.WatchLimit = s.config.WatchLimit
	limits.SweepInterval = time.Duration(s.config.SweepInterval)
	limits.EventRetention = time.Duration(s.config.EventRetention)
	s.scans = scan.New(s.pool, s.tree, s.auth, limits, s.log)
	s.scans.ListenOn(s.pool)
	sealer, err := webhook.OpenSealer(root)
	if err != nil {
		return err
	}
	s.webhooks = webhook.New(webhook.Parts{
		Pool: s.pool, Outbox: s.scans, Audit: s.auth, Queue: s.queue, Sealer: sealer, Log: s.log,
	}, webhook.Config{Networks: s.config.WebhookNetworks})
	if s.config.Previews == config.PreviewsAhead {
		s.scans.PreviewAhead(s.queue)
	}
	// Before anything is made whose age a jump of the clock could mistake.
	if err := s.scans.LookAtClocks(actor.NewContext(ctx, actor.System())); err != nil {
		s.log.WarnContext(ctx, "a jump of the clock cannot be noticed", slog.Any("err", err))
	}
	// What a crash left half-done is undone before anything is read.
	if err := s.scans.SettleBatches(actor.NewContext(ctx, actor.System())); err != nil {
		// Its scans take no change until it is; that keeps nobody from the others.
		s.log.ErrorContext(ctx, "a batch that was cut short cannot be undone", slog.Any("err", err))
	}
	// What a crash left is no matter of the index, but of Python programs. Those that
	// hold a scan are not waited for, which could take as many timeouts: KeepFolded does.
	if err := s.scans.FoldAll(ctx, 0); err != nil {
		s.log.WarnContext(ctx, "files.json lags behind the uploads", slog.Any("err", err))
	}
	return s.firstIndex(ctx)
}

// firstIndex reads a tree that has no index yet before anybody asks for it. A
// tree that has one is compared with it while the server answers.
func (s *service) firstIndex(ctx context.Context) error {
	n, err := s.scans.Count(ctx)
	if err != nil || n > 0 {
		return err
	}
	bar := s.progress("indexing")
	defer bar.finish()
	s.scans.OnProgress(bar.set)
	_, err = s.scans.Reconcile(ctx)
	s.scans.OnProgress(nil)
	s.indexed.Store(err == nil)
	return err
}

func (s *service) authConfig() auth.Config {
	c := auth.Default()
	c.HashesAtOnce = s.cores
	c.SessionTimeout = time.Duration(s.config.SessionTimeout)
	c.RefreshTimeout = time.Duration(s.config.RefreshTimeout)
	c.AbsoluteTimeout = time.Duration(s.config.AbsoluteTimeout)
	c.RefreshGrace = time.Duration(s.config.RefreshGrace)
	c.MaxSessions = s.config.MaxSessions
	c.RejectOverCap = s.config.SessionPolicy == "reject"
	c.Leeway = time.Duration(s.config.Leeway)
	c.LoginMaxAttempts = s.config.LoginAttempts
	c.LoginLockout = time.Duration(s.config.LoginLockout)
	c.PasswordMinLength = s.config.ShortestPassword()
	c.Guest = bool(s.config.Guest)
	c.CleanupInterval = time.Duration(s.config.CleanupInterval)
	return c
}

// adminPassword is the first administrator's, from the environment or a file.
func (s *service) adminPassword() (string, error) {
	if s.config.AdminPasswordFile == "" {
		return s.config.AdminPassword, nil
	}
	raw, err := os.ReadFile(s.config.AdminPasswordFile)
	if err != nil {
		return "", fmt.Errorf("read PLANTDB_ADMIN_PASSWORD_FILE: %w", err)
	}
	return strings.TrimRight(string(raw), "\r\n"), nil
}

func (s *service) handler(previews *preview.Cache, archives *scan.Archives) http.Handler {
	return api.New(api.Services{
		Auth: s.auth, Scans: s.scans, Webhooks: s.webhooks, Archives: archives, Previews: previews, Verifier: s.auth.Verifier(),
		Metrics: s.metrics(), Ready: s.ready, Log: s.log,
	}, api.Config{
		Prefix: s.config.Prefix, Location: s.tree.Dir(), Version: version, Rates: api.Rates(s.config.RateLimits),
		TrustedProxies: s.config.TrustedProxies, UsernameCheck: bool(s.config.UsernameCheck), TokenLocations: s.locations,
		LegacyWriter: s.config.LegacyWriter,
	})
}

// metrics are those of the process, and how the index follows the tree.
func (s *service) metrics() *observe.Metrics {
	m := observe.NewMetrics(s.pool)
	watching := func(read func(scan.Watching) float64) func() float64 {
		return func() float64 { return read(s.scans.Watching()) }
	}
	m.Gauge("plantdb_tree_watched_directories", "Directories that are watched for what other programs write.",
		watching(func(w scan.Watching) float64 { return float64(w.Directories) }))
	m.Gauge("plantdb_tree_unwatched_scans", "Scans that are not watched: the sweep finds what other programs write there.",
		watching(func(w scan.Watching) float64 { return float64(w.Unwatched) }))
	m.Counter("plantdb_tree_watch_overflows_total", "How often the system lost count of what happened in watched directories.",
		watching(func(w scan.Watching) float64 { return float64(w.Overflows) }))
	m.Counter("plantdb_tree_reads_total", "Scans read again because the watcher saw that something changed.",
		watching(func(w scan.Watching) float64 { return float64(w.Reads) }))
	m.Counter("plantdb_tree_sweeps_total", "Comparisons of the whole tree with its index.",
		watching(func(w scan.Watching) float64 { return float64(w.Sweeps) }))
	m.Gauge("plantdb_tree_last_sweep_timestamp_seconds", "When the whole tree was last compared with its index.",
		watching(func(w scan.Watching) float64 { return max(0, float64(w.Sweep.Unix())) })) // 0 before the first
	scrubbed := func(read func(scan.Scrubbed) float64) func() float64 {
		return func() float64 { return read(s.scans.Scrubbed(context.Background())) }
	}
	m.Counter("plantdb_scrub_bytes_total", "Bytes that the scrub read on this server.",
		scrubbed(func(d scan.Scrubbed) float64 { return float64(d.Bytes) }))
	m.Counter("plantdb_scrub_files_total", "Files that the scrub verified on this server.",
		scrubbed(func(d scan.Scrubbed) float64 { return float64(d.Files) }))
	m.Gauge("plantdb_scrub_faults", "What the scrub of all servers found and nobody has mended.",
		scrubbed(func(d scan.Scrubbed) float64 { return float64(d.Faults) }))
	m.Gauge("plantdb_scrub_verified_from_timestamp_seconds", "Every file that was there then was verified since; 0 before the first whole pass.",
		scrubbed(func(d scan.Scrubbed) float64 { return max(0, float64(d.VerifiedFrom.Unix())) }))
	return m
}

func tokenLocations(names []string) ([]tokenauth.Location, error) {
	known := map[string]tokenauth.Location{
		"headers": tokenauth.Header, "cookies": tokenauth.Cookie, "query": tokenauth.Query, "json": tokenauth.JSON,
	}
	var locations []tokenauth.Location
	for _, name := range names {
		l, ok := known[strings.TrimSpace(name)]
		if !ok {
			return nil, fmt.Errorf("setting TOKEN_LOCATIONS knows headers, cookies, query and json, not %q", name)
		}
		locations = append(locations, l)
	}
	return locations, nil
}

var errIndexing = fault.New(fault.Unavailable, "indexing", "The tree is being compared with its index.")

// ready says why this server should not get requests yet.
func (s *service) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	if err := s.pool.Ping(ctx); err != nil {
		return err
	}
	if !s.indexed.Load() {
		return errIndexing
	}
	return nil
}

// banner says where the server is and how to get in.
func (s *service) banner(address net.Addr) {
	base := "http://" + address.String() + s.config.Prefix
	fmt.Fprintf(s.stdout, "\nPlantDB %s\n", version)
	fmt.Fprintf(s.stdout, "  address     %s\n", base)
	fmt.Fprintf(s.stdout, "  Swagger UI  %s/docs/\n", base)
	fmt.Fprintf(s.stdout, "  tree        %s\n", describe(s.tree.Dir()))
	fmt.Fprintf(s.stdout, "  database    %s\n", s.where())
	fmt.Fprintf(s.stdout, "  log in      %s\n", s.howToLogIn())
	if s.upstream {
		fmt.Fprintf(s.stdout, "  accounts    those of users.json are not taken over yet: plantdb import %s --users\n", describe(s.tree.Dir()))
	}
	if s.config.Guest {
		fmt.Fprintln(s.stdout, "              everybody may read public scans without logging in (PLANTDB_GUEST=off ends that)")
	}
	fmt.Fprint(s.stdout, "  stop        Ctrl-C\n\n")
}

func (s *service) howToLogIn() string {
	// As it can be typed: with the tree that this server was told.
	add := fmt.Sprintf("plantdb user create NAME --admin --db-path %s", describe(s.tree.Dir()))
	switch {
	case s.config.Test:
		return "TEST MODE: anybody can log in as admin/admin and guest/guest; never use it on a network"
	case s.setup.Secret != "":
		return fmt.Sprintf("there is no administrator yet; make the first with %q,\n"+
			"              or until %s once over HTTP with this secret: %s", add, s.setup.Expires.Local().Format("15:04"), s.setup.Secret)
	default:
		return fmt.Sprintf("with the accounts of this database; %q makes another", add)
	}
}

package api

import (
	"context"
	"math"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/time/rate"
)

// Rates says how many requests a client may make.
type Rates string

// The settings of PLANTDB_RATE_LIMITS.
const (
	DefaultRates  Rates = "default"
	UpstreamRates Rates = "upstream"
	NoRates       Rates = "off"
)

// perMinute is how often one address may call an operation in a minute: by
// upstream's table, and by our own, under which a viewer that loads sixty
// images or a pipeline that reads a whole scan never meets it. 0 is no limit.
type perMinute struct{ upstream, ours int }

// The classes of operations.
var (
	rateRead     = perMinute{120, 60_000}
	rateList     = perMinute{30, 6_000}
	rateImage    = perMinute{3000, 60_000}
	rateLogin    = perMinute{20, 60}
	rateUsername = perMinute{120, 240}
	rateRegister = perMinute{5, 60}
	rateReload   = perMinute{12, 120}
	rateCreate   = perMinute{15, 6_000}
	rateFileset  = perMinute{60, 6_000}
	rateDownload = perMinute{240, 60_000}
	// rateMetadata is of writing that of a scan; rateParts and ratePart are of
	// lists and metadata that upstream does not bound.
	rateMetadata  = perMinute{120, 6_000}
	rateParts     = perMinute{0, 60_000}
	ratePart      = perMinute{0, 6_000}
	rateTimelapse = perMinute{60, 60_000}
	rateToken     = perMinute{0, 6_000}
	// rateManage is of accounts, groups and quotas, and rateUsual of all that
	// name no class, such as uploads: above what a scanner sends all night
	// through one token.
	rateManage = perMinute{6_000, 6_000}
	rateUsual  = perMinute{60_000, 60_000}
)

func (p perMinute) of(r Rates) int {
	switch r {
	case UpstreamRates:
		return p.upstream
	case NoRates:
		return 0
	default:
		return p.ours
	}
}

// rateAccount bounds the logins to one account from everywhere together. It is
// far above that of an address, so that nobody alone can keep the owner out.
var rateAccount = perMinute{200, 600}

// maxClients bounds how many addresses, or accounts, are remembered; the ones
// not seen for longest start anew.
const maxClients = 10_000

// buckets bounds how often each key may do something.
type buckets[K comparable] struct {
	perMinute int
	now       func() time.Time

	mu    sync.Mutex
	known *lru.Cache[K, *rate.Limiter]
}

func newBuckets[K comparable](perMinute int) *buckets[K] {
	known, err := lru.New[K, *rate.Limiter](maxClients)
	if err != nil { // only for a size below one
		panic(err)
	}
	return &buckets[K]{perMinute: perMinute, now: time.Now, known: known}
}

// take counts one call and says whether it is within the limit, how many are
// left and when the next is free.
func (b *buckets[K]) take(key K) (ok bool, left int, wait time.Duration) {
	b.mu.Lock()
	bucket, known := b.known.Get(key)
	if !known {
		bucket = rate.NewLimiter(rate.Limit(float64(b.perMinute)/60), b.perMinute)
		b.known.Add(key, bucket)
	}
	b.mu.Unlock()
	now := b.now()
	if bucket.AllowN(now, 1) {
		return true, int(bucket.TokensAt(now)), 0
	}
	missing := 1 - bucket.TokensAt(now)
	return false, 0, time.Duration(missing / float64(bucket.Limit()) * float64(time.Second))
}

// limiter bounds how often one address calls one operation.
type limiter struct{ *buckets[netip.Prefix] }

func newLimiter(perMinute int) limiter { return limiter{newBuckets[netip.Prefix](perMinute)} }

// take is that of buckets. Whoever has one IPv6 address has a whole /64 of them.
func (l limiter) take(address netip.Addr) (ok bool, left int, wait time.Duration) {
	bits := address.BitLen()
	if address.Is6() {
		bits = 64
	}
	client, err := address.Prefix(bits)
	if err != nil {
		client = netip.Prefix{}
	}
	return l.buckets.take(client)
}

// limit is the middleware of one operation. Its headers are those of
// draft-ietf-httpapi-ratelimit-headers-03: Reset is when all is free again, or
// where nothing is left, when the next is.
func (s *server) limit(perMinute int) func(huma.Context, func(huma.Context)) {
	l := newLimiter(perMinute)
	return func(ctx huma.Context, next func(huma.Context)) {
		ok, left, wait := l.take(addressOf(ctx.Context()))
		if !ok {
			s.answer(ctx, tooMany(perMinute, wait))
			return
		}
		ctx.SetHeader("RateLimit-Limit", strconv.Itoa(perMinute))
		ctx.SetHeader("RateLimit-Remaining", strconv.Itoa(left))
		ctx.SetHeader("RateLimit-Reset", strconv.Itoa((perMinute-left)*60/perMinute))
		next(huma.WithValue(ctx, setHeaderKey{}, ctx.SetHeader))
	}
}

// setHeaderKey is for who has to put another header in place of one of limit's.
type setHeaderKey struct{}

// tooMany refuses a call that is over the limit.
func tooMany(perMinute int, wait time.Duration) *Problem {
	seconds := strconv.Itoa(max(1, int(math.Ceil(wait.Seconds()))))
	p := faultProblem(errRateLimited)
	p.headers.Set("RateLimit-Limit", strconv.Itoa(perMinute))
	p.headers.Set("RateLimit-Remaining", "0")
	p.headers.Set("RateLimit-Reset", seconds)
	p.headers.Set("Retry-After", seconds)
	return p
}

// limitAccount counts a login to an account, whether there is one or not.
func (s *server) limitAccount(ctx context.Context, username string) error {
	if s.accounts == nil {
		return nil
	}
	// Longer names are nobody's.
	ok, _, wait := s.accounts.take(shortened(strings.ToLower(username), 64))
	if ok {
		return nil
	}
	p := tooMany(s.accounts.perMinute, wait)
	if set, ok := ctx.Value(setHeaderKey{}).(func(name, value string)); ok {
		for name := range p.headers {
			set(name, p.headers.Get(name))
		}
		p.headers = http.Header{} // Huma would add them
	}
	return p
}

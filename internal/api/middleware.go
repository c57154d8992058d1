package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/romi/plantdb-go/internal/auth"
	"github.com/romi/plantdb-go/internal/observe"
)

// trace is what the layers of one request tell each other for the log.
type trace struct {
	operation, username string
	address             netip.Addr
}

type traceKey struct{}

// note says which operation answers the request.
func note(ctx context.Context, operation string) {
	if t, ok := ctx.Value(traceKey{}).(*trace); ok {
		t.operation = operation
	}
}

// noteUser says who asks.
func noteUser(ctx context.Context, username string) {
	if t, ok := ctx.Value(traceKey{}).(*trace); ok {
		t.username = username
	}
}

// addressOf returns who asks.
func addressOf(ctx context.Context) netip.Addr {
	if t, ok := ctx.Value(traceKey{}).(*trace); ok {
		return t.address
	}
	return netip.Addr{}
}

// recorder remembers what was answered.
type recorder struct {
	http.ResponseWriter
	status int
	bytes  int64
}

func (r *recorder) WriteHeader(status int) {
	if r.status == 0 && status >= http.StatusOK {
		r.status = status
	}
	r.ResponseWriter.WriteHeader(status)
}

func (r *recorder) Write(b []byte) (int, error) {
	if r.status == 0 {
		r.status = http.StatusOK
	}
	n, err := r.ResponseWriter.Write(b)
	r.bytes += int64(n)
	return n, err
}

// ReadFrom leaves copying to the connection, which sends files without reading
// them into memory.
func (r *recorder) ReadFrom(src io.Reader) (int64, error) {
	if r.status == 0 {
		r.status = http.StatusOK
	}
	n, err := io.Copy(r.ResponseWriter, src)
	r.bytes += n
	return n, err
}

// Unwrap lets http.ResponseController reach the connection.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

// observed gives each request an id, counts it, logs it, and answers 500 where
// a handler panics. The log has the path and never the query, which may hold a
// token, nor a header.
func (s *server) observed(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		began := time.Now()
		id := observe.NewRequestID(r.Header.Get("X-Request-Id"))
		w.Header().Set("X-Request-Id", id)
		address := s.clientAddress(r)
		t := &trace{address: address}
		ctx := context.WithValue(observe.WithRequestID(r.Context(), id), traceKey{}, t)
		ctx = auth.WithClient(ctx, auth.Client{Address: address, UserAgent: shortened(r.UserAgent(), 200), RequestID: id})
		rec := &recorder{ResponseWriter: w}
		end := s.metrics.Begin()
		defer func() { // also of an answer that was cut
			end(t.operation, rec.status)
			s.logRequest(ctx, r, rec, t, address, time.Since(began))
		}()
		s.recovered(rec, r.WithContext(ctx), next)
	})
}

// maxHead bounds the request line and the headers of a request together.
const maxHead = 64 << 10

// MaxHead is what the server of the handler has to read of a head: above it
// net/http hangs up with a line of text. Between maxHead and this a client gets
// an answer that it understands.
const MaxHead = 4 * maxHead

// headed refuses a request whose head is too large.
func headed(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		size := len(r.RequestURI)
		for name, values := range r.Header {
			for _, value := range values {
				size += len(name) + len(value)
			}
		}
		if size > maxHead {
			writeProblem(w, faultProblem(errHeadTooLarge))
			return
		}
		next.ServeHTTP(w, r)
	})
}

func (s *server) recovered(w *recorder, r *http.Request, next http.Handler) {
	defer func() {
		cause := recover()
		if cause == nil {
			return
		}
		if err, ok := cause.(error); ok && errors.Is(err, http.ErrAbortHandler) {
			panic(cause) // net/http's own way to cut a connection
		}
		s.log.ErrorContext(r.Context(), "handler panicked", slog.String("request_id", observe.RequestID(r.Context())),
			slog.String("panic", fmt.Sprint(cause)), slog.String("stack", string(debug.Stack())))
		if w.status == 0 {
			writeProblem(w, newProblem(http.StatusInternalServerError, "internal", "Internal Server Error"))
		}
	}()
	next.ServeHTTP(w, r)
}

func (s *server) logRequest(ctx context.Context, r *http.Request, rec *recorder, t *trace, address netip.Addr, took time.Duration) {
	level := slog.LevelInfo
	switch {
	case t.operation == "get-ready": // asked every second, and 503 at each start
		level = slog.LevelDebug
	case rec.status >= http.StatusInternalServerError:
		level = slog.LevelError
	case t.operation == "" || t.operation == "get-health":
		level = slog.LevelDebug
	}
	s.log.LogAttrs(ctx, level, "request", slog.String("request_id", observe.RequestID(ctx)),
		slog.String("method", r.Method), slog.String("path", shortened(r.URL.Path, 300)), slog.Int("status", rec.status),
		slog.Int64("bytes", rec.bytes), slog.Duration("took", took), slog.String("user", t.username),
		slog.String("address", address.String()))
}

func shortened(s string, limit int) string {
	s = strings.ToValidUTF8(s, "?")
	if len(s) > limit {
		return strings.ToValidUTF8(s[:limit], "")
	}
	return s
}

// clientAddress is who asks: the peer, or what a trusted proxy says of it.
func (s *server) clientAddress(r *http.Request) netip.Addr {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	address := peer.Addr().Unmap()
	if !s.trusted(address) {
		return address
	}
	// The last hop that no trusted proxy added is the client; what stands
	// before it the client may have written itself.
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for _, text := range slices.Backward(hops) {
		hop, err := netip.ParseAddr(strings.TrimSpace(text))
		if err != nil {
			break
		}
		if address = hop.Unmap(); !s.trusted(address) {
			break
		}
	}
	return address
}

// viaProxy says whether the peer is a trusted proxy.
func (s *server) viaProxy(r *http.Request) bool {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	return err == nil && s.trusted(peer.Addr().Unmap())
}

func (s *server) trusted(address netip.Addr) bool {
	for _, prefix := range s.config.TrustedProxies {
		if prefix.Contains(address) {
			return true
		}
	}
	return false
}

// tusHeaders are those that clients of tus in browsers read.
const tusHeaders = "Location, Tus-Checksum-Algorithm, Tus-Extension, Tus-Max-Size, Tus-Resumable, Tus-Version, " +
	"Upload-Expires, Upload-Length, Upload-Metadata, Upload-Offset, "

// cors answers as upstream does: any origin may call, without credentials.
func cors(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		origin := r.Header.Get("Origin")
		if origin == "" {
			h.Set("Access-Control-Allow-Origin", "*")
			next.ServeHTTP(w, r)
			return
		}
		h.Set("Access-Control-Allow-Origin", origin)
		h.Add("Vary", "Origin")
		h.Set("Access-Control-Expose-Headers", tusHeaders+"Accept-Encoding, Content-Disposition, Content-Range, ETag, Link, RateLimit-Limit, RateLimit-Remaining, RateLimit-Reset, Retry-After, WWW-Authenticate, X-Request-Id, X-Total-Count, X-Total-Count-Relation")
		if r.Method == http.MethodOptions && r.Header.Get("Access-Control-Request-Method") != "" {
			h.Set("Access-Control-Allow-Methods", "DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT")
			if asked := r.Header.Get("Access-Control-Request-Headers"); asked != "" {
				h.Set("Access-Control-Allow-Headers", asked)
			}
			h.Set("Access-Control-Max-Age", "600")
		}
		next.ServeHTTP(w, r)
	})
}

// mountedKey marks, in a context, a request to below the deploy prefix.
type mountedKey struct{}

// unprefixed lets routes answer with and without the deploy prefix, which the
// Python client loses on some calls, and a proxy may take away.
func (s *server) unprefixed(next http.Handler) http.Handler {
	prefix := s.config.Prefix
	if prefix == "" {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rest, mounted := strings.CutPrefix(r.URL.Path, prefix)
		if mounted = mounted && (rest == "" || rest[0] == '/'); mounted {
			r = withPath(r, rest)
			r.URL.RawPath = strings.TrimPrefix(r.URL.RawPath, prefix)
		}
		if mounted || s.viaProxy(r) && strings.TrimRight(r.Header.Get("X-Forwarded-Prefix"), "/") == prefix {
			r = r.WithContext(context.WithValue(r.Context(), mountedKey{}, true))
		}
		next.ServeHTTP(w, r)
	})
}

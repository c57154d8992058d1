package observe_test

import (
	"bytes"
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/romi/plantdb-go/internal/observe"
)

func TestRequestID(t *testing.T) {
	t.Parallel()
	for _, sent := range []string{"req-12345678", "01a20181-6cee-745e-8c66-abfc5443cd11"} {
		if got := observe.NewRequestID(sent); got != sent {
			t.Errorf("NewRequestID(%q) = %q, want the sent one", sent, got)
		}
	}
	seen := map[string]bool{}
	for _, sent := range []string{"", "short", "has space in it", "line\nbreak-in-it", strings.Repeat("x", 65), "semi;colon-12345"} {
		got := observe.NewRequestID(sent)
		if got == sent || len(got) < 20 || seen[got] {
			t.Errorf("NewRequestID(%q) = %q, want a new one each time", sent, got)
		}
		seen[got] = true
	}
	if id := observe.RequestID(observe.WithRequestID(t.Context(), "a")); id != "a" {
		t.Errorf("RequestID = %q, want what WithRequestID put there", id)
	}
	if id := observe.RequestID(t.Context()); id != "" {
		t.Errorf("RequestID outside a request = %q, want none", id)
	}
}

func TestLoggerWritesJSONWhereNobodyLooks(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	log := observe.NewLogger(&out, slog.LevelWarn)
	log.InfoContext(t.Context(), "not said")
	log.WarnContext(t.Context(), "said")
	if got := out.String(); !strings.HasPrefix(got, "{") || strings.Contains(got, "not said") || !strings.Contains(got, `"msg":"said"`) {
		t.Errorf("the log is %q, want one line of JSON from the level on", got)
	}
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	m := observe.NewMetrics(nil)
	end := m.Begin()
	end("get-scan", 200)
	m.Begin()("", 404)
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), "GET", "/metrics", nil))
	for _, want := range []string{
		`plantdb_http_requests_total{operation="get-scan",status="200"} 1`,
		`plantdb_http_requests_total{operation="",status="404"} 1`,
		`plantdb_http_request_seconds_count{operation="get-scan"} 1`,
		`plantdb_http_requests_running 0`,
		"go_goroutines",
	} {
		if !strings.Contains(w.Body.String(), want) {
			t.Errorf("metrics have no %s", want)
		}
	}
}

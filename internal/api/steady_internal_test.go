package api

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"
)

// deadlines is a connection that notes when it was given more time, and how much it
// had sent by then.
type deadlines struct {
	httptest.ResponseRecorder
	at     []int
	latest time.Time
	back   bool // one was earlier than that before
}

func (d *deadlines) SetWriteDeadline(t time.Time) error {
	d.at = append(d.at, d.Body.Len())
	d.back = d.back || t.Before(d.latest)
	d.latest = t
	return nil
}

// A download of any length has time for each of its parts.
func TestSteadyDownloads(t *testing.T) {
	t.Parallel()
	content := make([]byte, 2*steadyPart+5)
	for i := range content {
		content[i] = byte(i / 1000)
	}
	for name, tt := range map[string]struct {
		send func(w http.ResponseWriter) (int64, error)
		want []int
	}{
		"a file": {func(w http.ResponseWriter) (int64, error) {
			return io.CopyN(w, struct{ io.Reader }{bytes.NewReader(content)}, int64(len(content)))
		}, []int{0, steadyPart, 2 * steadyPart}},
		"bytes": {func(w http.ResponseWriter) (int64, error) {
			n, err := w.Write(content[:9])
			m, also := w.Write(content[9:])
			return int64(n + m), errors.Join(err, also)
		}, []int{0, 9}},
	} {
		d := &deadlines{ResponseRecorder: *httptest.NewRecorder()}
		began := time.Now()
		n, err := tt.send(steadily(d))
		if err != nil || n != int64(len(content)) || !bytes.Equal(d.Body.Bytes(), content) {
			t.Errorf("%s: sent %d bytes, %v, want the %d", name, n, err, len(content))
		}
		if !slices.Equal(d.at, tt.want) || d.back || d.latest.Before(began.Add(steadyTimeout)) {
			t.Errorf("%s: time was given after %v bytes, want after %v", name, d.at, tt.want)
		}
	}
	d := &deadlines{ResponseRecorder: *httptest.NewRecorder()}
	short := &io.LimitedReader{R: bytes.NewReader(content[:7]), N: steadyPart + 7}
	if n, err := steadily(d).ReadFrom(short); n != 7 || err != nil {
		t.Errorf("a file that ends early = %d, %v, want the 7 bytes and no wait", n, err)
	}
}

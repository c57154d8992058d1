package main_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/romi/plantdb-go/internal/pgtest"
	"github.com/romi/plantdb-go/internal/servertest"
)

// TestStreamEndsWithTheServer follows events until Ctrl-C, which a stream does
// not hold up.
func TestStreamEndsWithTheServer(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t, servertest.Options{}, servertest.Dir(t), "--test")
	admin, _ := login(t, s, "admin", "admin")
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL+"/api/v1/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+admin.token)
	resp, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }() // only read
	admin.makeScan(t, "kept", "some notes")
	var text strings.Builder
	for buf := make([]byte, 1024); !strings.Contains(text.String(), "event: file.created"); {
		n, err := resp.Body.Read(buf)
		if text.Write(buf[:n]); err != nil {
			t.Fatalf("the stream ends after %q: %v", text.String(), err)
		}
	}
	s.Interrupt()
	rest, err := io.ReadAll(resp.Body)
	if err != nil || !strings.Contains(string(rest), `event: end`) || !strings.Contains(string(rest), `"stopping"`) {
		t.Errorf("at Ctrl-C the stream ends with %q, %v", rest, err)
	}
	if code := s.Wait(); code != 0 {
		t.Errorf("exit code with a stream = %d, want 0", code)
	}
}

// TestWebhooksSurviveKill9 kills a server in the middle of a delivery and with
// more to be delivered. The next one delivers everything, in order; what was on its
// way comes again with the same id.
func TestWebhooksSurviveKill9(t *testing.T) {
	t.Parallel()
	url, dir := pgtest.URL(t), servertest.Dir(t)
	o := servertest.Options{Env: []string{"DATABASE_URL=" + url, "WEBHOOK_NETWORKS=127.0.0.0/8"}}
	first := servertest.Start(t, o, dir, "--test")
	admin, _ := login(t, first, "admin", "admin")

	type message struct{ id, scan string }
	var mu sync.Mutex
	var got []message
	arrived, held := make(chan struct{}), make(chan struct{})
	arrive := sync.OnceFunc(func() { close(arrived) })
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		var m struct{ Data struct{ Scan string } }
		if err := json.NewDecoder(r.Body).Decode(&m); err != nil {
			t.Errorf("message: %v", err)
		}
		mu.Lock()
		got = append(got, message{r.Header.Get("Webhook-Id"), m.Data.Scan})
		mu.Unlock()
		arrive()
		<-held
	}))
	t.Cleanup(receiver.Close)
	release := sync.OnceFunc(func() { close(held) })
	t.Cleanup(release)
	admin.must(t, http.StatusCreated, "/webhooks", object{"url": receiver.URL, "kinds": []string{"scan.created"}})
	want := []string{"a", "b", "c"}
	for _, name := range want {
		admin.must(t, http.StatusCreated, "/scans/"+name, object{})
	}
	select {
	case <-arrived:
	case <-time.After(5 * time.Minute):
		t.Fatal("nothing is delivered")
	}
	first.Kill()
	release()
	servertest.Start(t, o, dir, "--test")
	scans := func() (list []string) {
		mu.Lock()
		defer mu.Unlock()
		for _, m := range got {
			list = append(list, m.scan)
		}
		return list
	}
	// The lease of the one that was killed has to run out.
	for deadline := time.Now().Add(3 * time.Minute); len(scans()) < 4; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("received %q, want a, a, b and c", scans())
		}
	}
	if list := scans(); !slices.Equal(list, []string{"a", "a", "b", "c"}) {
		t.Errorf("received %q, want a, a, b and c", list)
	}
	mu.Lock()
	defer mu.Unlock()
	if got[0].id != got[1].id || got[1].id == got[2].id {
		t.Errorf("messages are %v, want the first two to have one id", got)
	}
}

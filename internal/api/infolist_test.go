package api_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/romi/plantdb-go/internal/api"
)

// atFirstWrite does something once, before the first bytes of a body go out: at
// a client that is slow.
type atFirstWrite struct {
	http.ResponseWriter
	once *sync.Once
	do   func()
}

func (w atFirstWrite) Write(b []byte) (int, error) {
	w.once.Do(w.do)
	return w.ResponseWriter.Write(b)
}

func (w atFirstWrite) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// Of a long list of infos no more is read than is being sent, and one whose rest
// cannot be had does not look whole.
func TestInfosAreSentAsTheyAreRead(t *testing.T) {
	t.Parallel()
	for _, path := range []string{"/api/v1/scans/info", "/api/v1/scans/info?where=owner%3D%22ann%22", "/scans_info", "/scans?filterQuery=scan"} {
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			s := newAccounts(t, api.Config{})
			const scans = 1500
			exec := func(sql string) {
				if _, err := s.pool.Exec(t.Context(), sql); err != nil {
					t.Error(err)
				}
			}
			exec(fmt.Sprintf(`INSERT INTO scans (id, name, owner, document, metadata, info, changed_at, signature, visibility, search)
				SELECT gen_random_uuid(), 'scan' || i, 'ann', '{}', '{}', json_build_object('id', 'scan' || i), now(), '', 'public', 'scan' || i
				FROM generate_series(1, %d) AS i`, scans))
			read := func(atFirst string) (string, error) {
				once := new(sync.Once)
				slow := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					s.handler.ServeHTTP(atFirstWrite{w, once, func() { exec(atFirst) }}, r)
				}))
				defer slow.Close()
				r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, slow.URL+path, nil)
				if err != nil {
					t.Fatal(err)
				}
				resp, err := slow.Client().Do(r)
				if err != nil {
					return "", err
				}
				defer func() { _ = resp.Body.Close() }()
				body, err := io.ReadAll(resp.Body)
				return string(body), err
			}
			body, err := read("SELECT 1")
			if n := strings.Count(body, `"id"`); err != nil || n != scans || !strings.HasSuffix(body, "}]\n") {
				t.Errorf("%d infos, %v, want %d", n, err, scans)
			}
			body, err = read("ALTER TABLE scans RENAME TO elsewhere")
			exec("ALTER TABLE elsewhere RENAME TO scans")
			if err == nil || strings.HasSuffix(body, "]\n") {
				t.Errorf("a list whose rest cannot be had = %d bytes, %v, want an end that is none", len(body), err)
			}
			body, err = read("DELETE FROM scans")
			if n := strings.Count(body, `"id"`); err != nil || n == 0 || n > scans/10 || !strings.HasSuffix(body, "}]\n") {
				t.Errorf("%d infos of scans that went when the first was sent, %v", n, err)
			}
			if body, err = read("SELECT 1"); err != nil || body != "[]\n" {
				t.Errorf("a list of none = %q, %v", body, err)
			}
		})
	}
}

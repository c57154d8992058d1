package contract

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

const document = `{
	"openapi": "3.1.0", "info": {"title": "x", "version": "1"},
	"components": {"schemas": {"Thing": {
		"type": "object", "required": ["id"],
		"properties": {"id": {"type": "string"}, "at": {"type": "string", "format": "date-time"}, "parent": {"type": ["string", "null"]}, "free": {"type": "object"}}
	}}},
	"paths": {
		"/things/{id}": {"get": {"operationId": "get-thing", "responses": {
			"200": {"description": "x", "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Thing"}}}},
			"204": {"description": "x"},
			"404": {"description": "x", "x-codes": ["unknown_thing", "unknown_place"], "content": {"application/json": {"schema": {"type": "object"}}}},
			"409": {"description": "x", "content": {"application/json": {"schema": {"type": "object"}}}}
		}}, "post": {"operationId": "create-thing", "responses": {"201": {"description": "x"}}}},
		"/things/all": {"get": {"operationId": "list-things", "responses": {
			"200": {"description": "x", "content": {"application/json": {"schema": {"type": "array", "items": {"$ref": "#/components/schemas/Thing"}}}}}
		}}},
		"/files/{path}": {"get": {"operationId": "get-file", "responses": {
			"200": {"description": "x", "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}}
		}}}
	}
}`

func TestTransport(t *testing.T) {
	t.Parallel()
	documents, err := Load([]string{"path"}, []byte(document))
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		path, contentType, body string
		status                  int
		want                    string // part of the report; "" for none
	}{
		{"/things/a", "application/json", `{"id":"a","parent":null,"at":"2026-01-02T03:04:05Z","free":{"x":1}}`, 200, ""},
		{"/things/a", "application/json", `{"id":1}`, 200, "get-thing answers 200 with what its schema does not allow"},
		{"/things/a", "application/json", `{}`, 200, "id"},
		{"/things/a", "application/json", `{"id":"a","at":"yesterday"}`, 200, "date-time"},
		{"/things/a", "application/json", `{"id":"a","secret":1}`, 200, ".secret is not documented"},
		{"/things/a", "application/json", `{"id":`, 200, "read JSON"},
		{"/things/a", "text/html", `<html>`, 200, "text/html, which is not documented"},
		{"/things/a", "application/json", `{"id":"a"}`, 418, "418, which is not documented"},
		{"/things/a", "", "", 204, ""},
		{"/things/a", "application/json", `{"code":"unknown_place"}`, 404, ""},
		{"/things/a", "application/json", `{"code":"thing_unknown"}`, 404, `get-thing answers 404 with the code "thing_unknown", which is not documented`},
		{"/things/a", "application/json", `{"message":"no"}`, 404, `the code ""`},
		{"/things/a", "application/json", `{"code":"exists"}`, 409, `the code "exists"`},
		{"/things/all", "application/json", `[{"id":"a"},{"id":"b","x":1}]`, 200, "[1].x is not documented"},
		{"/files/a/b/c", "text/event-stream", "data: x\n\n", 200, "get-file answers 200 with text/event-stream"},
		{"/files/a/b/c", "application/octet-stream", "bytes", 200, ""},
		{"/files/a/b/c", "text/html", `<html>`, 200, "get-file answers 200 with text/html"},
		{"/elsewhere", "text/html", `<html>`, 200, ""},
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", tt.contentType)
			w.WriteHeader(tt.status)
			_, _ = io.WriteString(w, tt.body)
		}))
		var reports []string
		client := &http.Client{Transport: &Transport{Base: http.DefaultTransport, Documents: documents, Report: func(err error) { reports = append(reports, err.Error()) }, Prefix: "/below"}}
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+"/below"+tt.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		if err != nil || string(body) != tt.body || resp.Body.Close() != nil {
			t.Errorf("%s: body = %q, %v, want %q", tt.path, body, err, tt.body)
		}
		server.Close()
		said := strings.Join(reports, "\n")
		if (said == "") != (tt.want == "") || !strings.Contains(said, tt.want) {
			t.Errorf("%s %d %s: report = %q, want %q", tt.path, tt.status, tt.body, said, tt.want)
		}
	}
}

// An answer that breaks off reaches who reads it as it came, and is held against
// nothing; one that is no JSON is not waited for.
func TestTransportPassesOn(t *testing.T) {
	t.Parallel()
	documents, err := Load([]string{"path"}, []byte(document))
	if err != nil {
		t.Fatal(err)
	}
	next := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Length", "100")
		if strings.HasPrefix(r.URL.Path, "/files/") {
			w.Header().Set("Content-Type", "application/octet-stream")
			_, _ = io.WriteString(w, "ab")
			_ = http.NewResponseController(w).Flush()
			<-next
		}
		_, _ = io.WriteString(w, `{"id":`)
	}))
	defer server.Close()
	client := &http.Client{Transport: &Transport{Base: http.DefaultTransport, Documents: documents, Report: func(err error) { t.Error(err) }}}
	for path, want := range map[string]string{"/things/a": `{"id":`, "/files/a": `ab{"id":`} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(path, "/files/") {
			close(next)
		}
		body, err := io.ReadAll(resp.Body)
		if string(body) != want || !errors.Is(err, io.ErrUnexpectedEOF) || resp.Body.Close() != nil {
			t.Errorf("%s = %q, %v, want %q and an end too early", path, body, err, want)
		}
	}
}

// A path that says more and takes another method refuses it in its own name.
func TestCheckOfAnotherMethod(t *testing.T) {
	t.Parallel()
	documents, err := Load([]string{"path"}, []byte(document))
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]bool{"/things/a": false, "/things/all": true} {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, path, nil)
		if err := documents.Check(r, http.StatusMethodNotAllowed, http.Header{}, nil); (err == nil) != want {
			t.Errorf("Check of 405 to POST %s = %v, want it allowed: %v", path, err, want)
		}
	}
}

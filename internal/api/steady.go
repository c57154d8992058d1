package api

import (
	"io"
	"net/http"
	"time"
)

// A download lasts as long as it gets on: each part of it, not all of it, has a time
// to be taken in. What a file is read for before its first byte counts for nothing.
const (
	steadyPart    = 4 << 20
	steadyTimeout = 10 * time.Minute
)

// steady is a connection that lasts as long as the client takes what is sent.
type steady struct {
	http.ResponseWriter
	control *http.ResponseController
}

func steadily(w http.ResponseWriter) *steady { return &steady{w, http.NewResponseController(w)} }

// goOn gives the client the time for another part; a connection that has no
// deadlines keeps that of the server.
func (w *steady) goOn() { _ = w.control.SetWriteDeadline(time.Now().Add(steadyTimeout)) }

// Write implements http.ResponseWriter.
func (w *steady) Write(b []byte) (int, error) {
	w.goOn()
	return w.ResponseWriter.Write(b)
}

// ReadFrom leaves copying to the connection, part by part.
func (w *steady) ReadFrom(r io.Reader) (n int64, err error) {
	whole, ok := r.(*io.LimitedReader)
	if !ok { // nobody knows how many parts
		return io.Copy(struct{ io.Writer }{w}, r)
	}
	for whole.N > 0 {
		part := min(whole.N, steadyPart)
		w.goOn()
		// The connection knows a file only where it is limited once.
		sent, err := io.Copy(w.ResponseWriter, &io.LimitedReader{R: whole.R, N: part})
		n, whole.N = n+sent, whole.N-sent
		if err != nil || sent < part {
			return n, err
		}
	}
	return n, nil
}

// Unwrap lets http.ResponseController reach the connection.
func (w *steady) Unwrap() http.ResponseWriter { return w.ResponseWriter }

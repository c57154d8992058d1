package main_test

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// soon is eventually for what takes as long as a crashed PostgreSQL and a busy
// machine need.
func soon(t *testing.T, what string, f func() (complaint string)) {
	t.Helper()
	deadline := time.Now().Add(10 * patience)
	for complaint := f(); complaint != ""; complaint = f() {
		if time.Now().After(deadline) {
			t.Fatalf("%s: still %s", what, complaint)
		}
		pause(t, 10*time.Millisecond)
	}
}

// gone is what a reader finds of what is not there.
const gone = "gone"

// fact is what is known of a thing from what the clients were answered.
type fact struct {
	may   []string // what a reader may find: one, where it was acknowledged
	whole string   // what it finds of a file that is there
	look  func(t *testing.T, admin caller) string
}

// ledger is what clients did, and were told.
type ledger struct {
	mu      sync.Mutex
	facts   map[string]*fact
	done    map[string]int // by what was acknowledged
	refused map[string]int // by the code of the refusal
	begun   int
	made    []string // paths of files that were acknowledged
	wrong   []string // answers that should not be

	timelapses []string // that were begun
}

func newLedger() *ledger {
	return &ledger{facts: map[string]*fact{}, done: map[string]int{}, refused: map[string]int{}}
}

// know says that a reader finds a value.
func (l *ledger) know(key, value string, look func(*testing.T, caller) string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.facts[key] = &fact{may: []string{value}, look: look}
}

// replace is know in place of other facts, which are not looked at any more.
func (l *ledger) replace(key, value string, look func(*testing.T, caller) string, others ...string) {
	l.know(key, value, look)
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, other := range others {
		delete(l.facts, other)
	}
}

// begin says that a call begins after which a reader may find a value.
func (l *ledger) begin(key, value string, look func(*testing.T, caller) string) {
	l.allow(key, value, look)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.begun++
}

// allow says that a reader may find a value from now on, too. What is not
// known yet is gone.
func (l *ledger) allow(key, value string, look func(*testing.T, caller) string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f := l.facts[key]
	if f == nil {
		f = &fact{may: []string{gone}, look: look}
		l.facts[key] = f
	}
	if value != gone {
		f.whole = value
	}
	f.may = append(f.may, value)
}

// count notes what was acknowledged and is no value.
func (l *ledger) count(what string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.done[what]++
}

// end says that a value was acknowledged, and nothing else may be found.
func (l *ledger) end(what, key, value string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.facts[key].may = []string{value}
	l.done[what]++
}

func (l *ledger) acks() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for _, count := range l.done {
		n += count
	}
	return n
}

// compare looks at everything that was ever written.
func (l *ledger) compare(t *testing.T, when string, admin caller) {
	t.Helper()
	for _, key := range slices.Sorted(maps.Keys(l.facts)) {
		f := l.facts[key]
		got := f.look(t, admin)
		if !slices.Contains(f.may, got) {
			t.Errorf("%s: %s is %s, want %s", when, key, got, strings.Join(f.may, " or "))
		}
		f.may = []string{got} // What a crash decided stays so.
	}
}

// answered notes what an answer says beside success. A client that is not at
// fault is told to come again, and nothing else.
func (l *ledger) answered(method, path string, a answer) {
	if a.Status < http.StatusBadRequest {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	code := a.text("code")
	later := a.Status == http.StatusServiceUnavailable || a.Status == http.StatusLocked
	if !later || code == "" && method != http.MethodHead || a.Header.Get("Retry-After") == "" {
		l.wrong = append(l.wrong, fmt.Sprintf("%s %s = %d %q %s", method, path, a.Status, a.Header.Get("Retry-After"), a.Text))
	}
	l.refused[fmt.Sprintf("%d %s", a.Status, code)]++
}

// missed notes that a server that lives gave no answer.
func (l *ledger) missed(method, path string, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.wrong = append(l.wrong, fmt.Sprintf("%s %s got no answer: %v", method, path, err))
}

// complain tells of answers that should not be.
func (l *ledger) complain(t *testing.T, when string) {
	t.Helper()
	for _, text := range l.wrong {
		t.Errorf("%s: %s", when, text)
	}
	l.wrong = nil
}

func digestOf(content []byte) string {
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:])
}

// lookAtFile finds a file's digest.
func lookAtFile(path string) func(*testing.T, caller) string {
	return func(t *testing.T, admin caller) string {
		t.Helper()
		return found(admin.get(t, path), func(a answer) string { return digestOf([]byte(a.Text)) })
	}
}

// found is what an answer says of a thing.
func found(a answer, value func(answer) string) string {
	switch a.Status {
	case http.StatusOK:
		return value(a)
	case http.StatusNotFound:
		return gone
	}
	return fmt.Sprintf("%d %s", a.Status, a.Text)
}

// counted lists counts by name.
func counted(counts map[string]int) string {
	var list []string
	for _, name := range slices.Sorted(maps.Keys(counts)) {
		list = append(list, fmt.Sprintf("%d %s", counts[name], name))
	}
	return strings.Join(list, ", ")
}

// listed are the files that are there, as scan/fileset/file.
func (l *ledger) listed() []string {
	var list []string
	for key, f := range l.facts {
		path, file := strings.CutPrefix(key, "/files/")
		name, archive := strings.CutPrefix(key, "archive ")
		switch {
		case !slices.Equal(f.may, []string{f.whole}):
		case file:
			list = append(list, path)
		case archive:
			for one := range strings.SplitSeq(f.whole, ", ") {
				id, _, _ := strings.Cut(one, " ")
				list = append(list, name+"/images/"+id)
			}
		}
	}
	return list
}

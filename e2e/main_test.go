// Package e2e tries the promises of SECURITY.md on the built program, from
// outside: HTTP, the settings of the environment, signals, and SQL where the
// promise is about what is stored. Where it speaks of replicas, two servers
// share a database and a tree. It knows no package of the server but those that
// start it.
//
// When a test ends, the logs of its servers and every row of its database are
// searched for each token, password and key that the test has seen; see
// secrets_test.go.
package e2e

import (
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/romi/plantdb-go/internal/servertest"
)

func TestMain(m *testing.M) { os.Exit(servertest.Main(m)) }

const (
	// patience is how long to wait for what must come; nothing is proven by it.
	patience = 2 * time.Minute
	// glance is the pause between two looks.
	glance = 10 * time.Millisecond
)

// until looks again and again until done says so, and fails the test when
// that takes longer than patience.
func until(t *testing.T, what string, done func() bool) {
	t.Helper()
	if !within(patience, done) {
		t.Fatalf("%s: not so after %s", what, patience)
	}
}

// within says whether done came to be within the limit.
func within(limit time.Duration, done func() bool) bool {
	tick := time.NewTicker(glance)
	defer tick.Stop()
	for began := time.Now(); !done(); <-tick.C {
		if time.Since(began) > limit {
			return false
		}
	}
	return true
}

// together calls do n times at once, as nearly as can be, and returns when the
// last call has.
func together(n int, do func(i int)) {
	var ready, done sync.WaitGroup
	begin := make(chan struct{})
	ready.Add(n)
	for i := range n {
		done.Go(func() {
			ready.Done()
			<-begin
			do(i)
		})
	}
	ready.Wait()
	close(begin)
	done.Wait()
}

// distinct counts the different values.
func distinct(values []string) int {
	sorted := slices.Sorted(slices.Values(values))
	return len(slices.Compact(sorted))
}

package fault_test

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/romi/plantdb-go/internal/fault"
)

var (
	errA = fault.New(fault.Conflict, "a_exists", "A exists")
	errB = fault.New(fault.NotFound, "b_unknown", "B is unknown")
)

// Variants of a fault, however made and wrapped, are still the fault.
func TestIs(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		err    error
		target error
		want   bool
	}{
		{"itself", errA, errA, true},
		{"another", errA, errB, false},
		{"text", errA.With("A %d exists", 1), errA, true},
		{"cause", errA.Because(io.EOF), errA, true},
		{"the cause itself", errA.Because(io.EOF), io.EOF, true},
		{"all of them", errA.With("x").Because(io.EOF).After(time.Second), errA, true},
		{"two variants", errA.With("x"), errA.With("y"), true},
		{"variants of two", errA.With("x"), errB.With("x"), false},
		{"wrapped", fmt.Errorf("make a: %w", errA.With("x")), errA, true},
		{"joined", errors.Join(io.EOF, errA.Because(io.ErrClosedPipe)), errA, true},
		{"a fault as cause", errB.Because(errA), errA, true},
		{"nothing", nil, errA, false},
		{"no fault", io.EOF, errA, false},
		{"same content, other variable", fault.New(errA.Kind, errA.Code, errA.Msg), errA, false},
	} {
		if got := errors.Is(tt.err, tt.target); got != tt.want {
			t.Errorf("%s: errors.Is(%v, %v) = %v, want %v", tt.name, tt.err, tt.target, got, tt.want)
		}
	}
}

// What a variant is made of, and that the variable it comes from stays as it is.
func TestVariants(t *testing.T) {
	t.Parallel()
	v := errA.With("A %q exists", "x").Because(io.EOF).After(3 * time.Second)
	if v.Kind != errA.Kind || v.Code != errA.Code || v.Msg != `A "x" exists` || v.RetryAfter != 3*time.Second {
		t.Errorf("variant = %+v, want kind and code of %+v, its own text and wait", v, errA)
	}
	if got, want := v.Error(), `A "x" exists: EOF`; got != want {
		t.Errorf("Error() = %q, want %q", got, want)
	}
	if got, want := errA.Error(), "A exists"; got != want || errA.RetryAfter != 0 || errA.Unwrap() != nil {
		t.Errorf("the variable became %+v", errA)
	}
	f, ok := errors.AsType[*fault.Error](fmt.Errorf("make: %w", v))
	if !ok || f != v {
		t.Errorf("AsType of a wrapped variant = %v, %v, want the variant", f, ok)
	}
}

// The zero kind is the one that is answered blandly.
func TestInternalIsZero(t *testing.T) {
	t.Parallel()
	if k := new(fault.Error).Kind; k != fault.Internal {
		t.Errorf("kind of the zero Error = %v, want Internal", k)
	}
}

// What panics is an error with the line where it did; anything else is as it was.
func TestGuard(t *testing.T) {
	t.Parallel()
	for _, want := range []error{nil, io.EOF} {
		if err := fault.Guard(func() error { return want }); !errors.Is(err, want) {
			t.Errorf("Guard() = %v, want %v", err, want)
		}
	}
	var none []int
	err := fault.Guard(func() error { return fmt.Errorf("%d", none[0]) })
	p, ok := errors.AsType[*fault.PanicError](err)
	if !ok || !strings.Contains(err.Error(), "index out of range") || !strings.Contains(p.Stack, "fault_test.go:") {
		t.Errorf("Guard() of what panics = %v, want its panic and where it was", err)
	}
}

package fault

import (
	"fmt"
	"runtime/debug"
)

// PanicError is an internal error: something panicked that others go on without.
type PanicError struct {
	Value any
	Stack string
}

// Error tells the stack as well: it is for the log, and no answer shows it.
func (e *PanicError) Error() string { return fmt.Sprintf("panic: %v\n%s", e.Value, e.Stack) }

// Guard returns the error of fn, and a [PanicError] if it panics. It is for what runs
// in a goroutine of its own, where a panic would end the whole server, and for what is
// to be taken back if it does not come to its end.
func Guard(fn func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = &PanicError{p, string(debug.Stack())}
		}
	}()
	return fn()
}

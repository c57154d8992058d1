package scan

import (
	"encoding/json"
	"fmt"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Many keys must not cost their number squared. What is compared is the work of
// this thread, whatever else the machine does.
func TestUpdateApplyTime(t *testing.T) {
	t.Parallel()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	worked := func() time.Duration {
		var used syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_THREAD, &used); err != nil {
			t.Fatal(err)
		}
		return time.Duration(used.Utime.Nano() + used.Stime.Nano())
	}
	took := func(keys int) time.Duration {
		var b strings.Builder
		b.WriteString("{")
		for i := range keys {
			fmt.Fprintf(&b, `"k%d":%[1]d,`, i)
		}
		many := json.RawMessage(strings.TrimSuffix(b.String(), ",") + "}")
		began := worked()
		updated, _, err := Update{Metadata: many}.applyToScan(many, many, noon)
		if err != nil || len(updated) <= len(many) {
			t.Errorf("apply of %d keys = %d bytes, %v", keys, len(updated), err)
		}
		return worked() - began
	}
	// Squared it is a hundred times.
	few, many := took(10_000), took(100_000)
	if many > 40*few {
		t.Errorf("apply of 10,000 keys took %v, of 100,000 %v", few, many)
	}
}

package e2e_test

import (
	"errors"
	"testing"
	"time"
)

// eventually waits until ok gives nil. It fails the test when the limit has
// passed, or at once with an error marked final.
func eventually(t *testing.T, limit time.Duration, ok func() error) {
	t.Helper()
	for deadline := time.Now().Add(limit); ; time.Sleep(20 * time.Millisecond) {
		err := ok()
		var last *finalError
		switch {
		case err == nil:
			return
		case errors.As(err, &last):
			t.Fatal(err)
		case time.Now().After(deadline):
			t.Fatalf("not within %s: %v", limit, err)
		}
	}
}

// final marks an error that waiting doesn't mend.
func final(err error) error { return &finalError{err} }

type finalError struct{ err error }

func (e *finalError) Error() string { return e.err.Error() }
func (e *finalError) Unwrap() error { return e.err }

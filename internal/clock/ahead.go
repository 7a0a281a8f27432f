//go:build failpoint

// Package clock is what a region takes for the time where it dates changes and
// judges the dates of others. It is the wall clock; a binary built with the tag
// failpoint can have it wrong.
package clock

import (
	"os"
	"time"
)

// Now returns the time, wrong by DUPLEX_CLOCK_AHEAD.
func Now() time.Time { return Here(time.Now()) }

// Here returns t, wrong by DUPLEX_CLOCK_AHEAD, a duration.
func Here(t time.Time) time.Time {
	ahead, err := time.ParseDuration(os.Getenv("DUPLEX_CLOCK_AHEAD"))
	if err != nil {
		return t
	}
	return t.Add(ahead)
}

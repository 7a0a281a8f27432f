//go:build !failpoint

// Package clock is what a region takes for the time where it dates changes and
// judges the dates of others. It is the wall clock; a binary built with the tag
// failpoint can have it wrong.
package clock

import "time"

// Now returns the time.
func Now() time.Time { return time.Now() }

// Here returns what this region takes a time for that its database server gave.
func Here(t time.Time) time.Time { return t }

//go:build failpoint

// Package failpoint lets a test kill the process at a named point of its
// path. Only a binary built with the tag failpoint can; in any other, Hit is
// nothing.
package failpoint

import (
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
)

// hits counts the calls for the one name that this process may die at. It is
// package state because a failpoint is a property of the process, and only
// test binaries have it.
var hits atomic.Int64

// Hit kills the process with SIGKILL if DUPLEX_FAILPOINT is name:n and this is
// its n-th call with that name.
func Hit(name string) {
	want, count, ok := strings.Cut(os.Getenv("DUPLEX_FAILPOINT"), ":")
	if !ok || want != name {
		return
	}
	n, err := strconv.ParseInt(count, 10, 64)
	if err == nil && hits.Add(1) == n {
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {} // the signal is on its way
	}
}

//go:build !failpoint

// Package failpoint lets a test kill the process at a named point of its
// path. Only a binary built with the tag failpoint can; in any other, Hit is
// nothing.
package failpoint

// Hit does nothing in this build.
func Hit(string) {}

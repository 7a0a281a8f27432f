package apply

import (
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"

	"duplex/config"
	"duplex/converge"
	"duplex/spill"
)

// remembered is how much versions remembers.
type remembered struct {
	memory  atomic.Int64 // bytes
	spilled atomic.Int64 // versions on disk, of some rows several
	disk    atomic.Int64 // bytes
}

// closeVersions ends those of a session that has its own.
func (s *session) closeVersions() {
	if s.versions != nil && s.round == nil {
		s.versions.close()
	}
}

// spillOrTell gives versions a file, or tells that there is none.
func (v *versions) spillOrTell(log *slog.Logger) {
	if err := v.spillTo(v.limits); err != nil {
		log.Warn("what is to be known of rows that several regions write has no place but memory, and apply will wait when that is full", "error", err)
	}
}

// spillTo gives versions a file for what there is no memory for.
func (v *versions) spillTo(c config.Conflicts) error {
	file, err := spill.Open(c.SpillDir, int64(c.SpillLimit))
	if err != nil {
		return err
	}
	v.file = file
	v.index.SpillTo(file)
	return nil
}

// measure notes how much versions remembers. v.mu is locked.
func (v *versions) measure() {
	n, bytes := v.index.Spilled()
	v.remembered.memory.Store(v.index.Bytes())
	v.remembered.spilled.Store(int64(n))
	v.remembered.disk.Store(bytes)
}

// close ends a session's.
func (v *versions) close() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.remembered.memory.Store(0)
	v.remembered.spilled.Store(0)
	v.remembered.disk.Store(0)
	if v.file != nil {
		v.file.Close() // nobody needs what is in it
	}
}

// failed returns the error after which nothing is known of rows any more, if there was one.
func (v *versions) failed() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.index.Err()
}

// isFull reports whether there is hardly room for the version of another row.
func (v *versions) isFull() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.index.Err() != nil || v.file == nil {
		return v.index.Err() != nil || v.index.Bytes() > int64(v.limits.Memory)/10*9
	}
	_, bytes := v.index.Spilled()
	return bytes > int64(v.limits.SpillLimit)/10*9
}

// withRoom adds to an error for lack of memory how to give more.
func withRoom(err error) error {
	if full := new(converge.FullError); errors.As(err, &full) {
		return fmt.Errorf("%w; mend: raise conflicts.memory in the process file, and see that conflicts.spill_dir names a folder that this process may write to", err)
	}
	return err
}

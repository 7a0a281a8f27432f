// Package spill gives package converge a place on disk for what its memory has no
// room for.
package spill

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// File is a file that has no name and that nobody else can open: it is gone with the process,
// however that ends, so there is nothing to clean up, and processes can't be in each other's way.
// It is a converge.Space.
type File struct {
	f     *os.File
	dir   string
	limit int64
}

// Open makes one in a folder, of at most limit bytes.
func Open(dir string, limit int64) (*File, error) {
	f, err := os.CreateTemp(dir, "duplex-versions-*")
	if err != nil {
		return nil, fmt.Errorf("making a file in %s: %w; mend: %s", dir, cause(err), mendFor(err))
	}
	if err := os.Remove(f.Name()); err != nil {
		f.Close()
		return nil, fmt.Errorf("taking the name off a file in %s: %w; mend: %s", dir, cause(err), mendFor(err))
	}
	return &File{f, dir, limit}, nil
}

// LimitError says that the file may not grow any more.
type LimitError struct {
	Dir   string
	Limit int64
}

func (e *LimitError) Error() string {
	return fmt.Sprintf("the file in %s may have no more than %d MiB; mend: raise conflicts.spill_limit in the process file, there being room on that disk", e.Dir, e.Limit>>20)
}

// ReadAt implements converge.Space.
func (f *File) ReadAt(into []byte, at int64) (int, error) {
	n, err := f.f.ReadAt(into, at)
	return n, f.explain(err)
}

// WriteAt implements converge.Space.
func (f *File) WriteAt(data []byte, at int64) (int, error) {
	if at+int64(len(data)) > f.limit {
		return 0, &LimitError{f.dir, f.limit}
	}
	n, err := f.f.WriteAt(data, at)
	return n, f.explain(err)
}

// Truncate implements converge.Space.
func (f *File) Truncate(size int64) error { return f.explain(f.f.Truncate(size)) }

// Close gives the disk back what the file took.
func (f *File) Close() error { return f.explain(f.f.Close()) }

func (f *File) explain(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("a file in %s: %w; mend: %s", f.dir, cause(err), mendFor(err))
}

// cause leaves out the name, which the file has no more.
func cause(err error) error {
	if path := new(fs.PathError); errors.As(err, &path) {
		return path.Err
	}
	return err
}

func mendFor(err error) string {
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return "free space there, or name a folder on another disk as conflicts.spill_dir in the process file"
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS), errors.Is(err, syscall.ENOTDIR):
		return "name a folder that this process may write to as conflicts.spill_dir in the process file"
	}
	return "look after that disk, or name a folder on another one as conflicts.spill_dir in the process file"
}

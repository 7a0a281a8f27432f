package spill

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"duplex/change"
	"duplex/converge"
)

var _ converge.Space = (*File)(nil)

// Nothing of it is ever in the folder, and what is written is read.
func TestFile(t *testing.T) {
	dir := t.TempDir()
	var files []*File
	for i := range 3 {
		f, err := Open(dir, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, f)
		if _, err := f.WriteAt([]byte{byte(i), 2}, 7); err != nil {
			t.Fatal(err)
		}
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("in the folder: %v, %v", left, err)
	}
	for i, f := range files {
		got := make([]byte, 2)
		if _, err := f.ReadAt(got, 7); err != nil || got[0] != byte(i) || got[1] != 2 {
			t.Errorf("read %v, %v", got, err)
		}
		if err := f.Truncate(8); err != nil {
			t.Error(err)
		}
		if _, err := f.ReadAt(got, 7); err == nil {
			t.Error("read what was given back")
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}
}

// Every error says where, why, and what to do.
func TestErrors(t *testing.T) {
	dir := t.TempDir()
	check := func(err error, wants ...string) {
		t.Helper()
		if err == nil {
			t.Fatal("there is no error")
		}
		for _, want := range wants {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%v\nlacks %q", err, want)
			}
		}
		if strings.Contains(err.Error(), "duplex-versions") {
			t.Errorf("%v\nnames a file that isn't there", err)
		}
	}
	missing := filepath.Join(dir, "missing")
	_, err := Open(missing, 1<<20)
	check(err, missing, "no such file", "conflicts.spill_dir")
	f, err := Open(dir, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.WriteAt([]byte{1, 2}, 1<<20-1)
	if check(err, dir, "1 MiB", "conflicts.spill_limit"); !errors.As(err, new(*LimitError)) {
		t.Errorf("%v", err)
	}
	check(f.explain(&os.PathError{Op: "write", Path: "duplex-versions-1", Err: syscall.ENOSPC}), dir, "no space left", "free space")
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	_, err = f.ReadAt(make([]byte, 1), 0)
	check(err, dir, "conflicts.spill_dir")
}

// A disk that is full is told of as such. /dev/full is one that always is.
func TestFullDisk(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	f := &File{full, "/here", 1 << 20}
	defer f.Close()
	x := converge.NewIndex(64<<10, 0)
	x.SpillTo(f)
	for i := range uint64(5000) {
		if err = x.Local(converge.Key{A: i * 0x9e3779b97f4a7c15}, converge.Write{Version: change.Version{HLC: 1}}); err != nil {
			break
		}
	}
	if want := "spilling versions of rows: a file in /here: no space left on device; mend: free space there"; err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("%v\nwant %s", err, want)
	}
}

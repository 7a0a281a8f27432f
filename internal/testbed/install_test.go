package testbed

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestInstallNamesUnknownPart(t *testing.T) {
	err := Install(t.Context(), t.TempDir(), "mysql57")
	if err == nil || !strings.Contains(err.Error(), `"mysql57"`) || !strings.Contains(err.Error(), "mysql80") {
		t.Errorf("error is %v, want one that names the unknown part and the known ones", err)
	}
}

func TestMySQLOfTheEnvironment(t *testing.T) {
	fake := func(version string) string {
		path := filepath.Join(t.TempDir(), "mysqld")
		if err := os.WriteFile(path, []byte("#!/bin/sh\necho '"+path+"  Ver "+version+" for Linux on x86_64'\n"), 0o755); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for version, want := range map[string]string{
		"8.0.31": "mysqld-8.0.31", "8.4.10-0ubuntu1": "mysqld-8.4.10", "10.11.6-MariaDB": "", "5.7.44": "", "8.0.0": "",
	} {
		t.Run(version, func(t *testing.T) {
			path := fake(version)
			t.Setenv("DUPLEX_MYSQLD", path)
			got, err := locate(t.Context(), "/cache", AnyMySQL)
			if want == "" {
				if err == nil || !strings.Contains(err.Error(), "DUPLEX_MYSQLD") {
					t.Errorf("error is %v, want one that names DUPLEX_MYSQLD", err)
				}
			} else if err != nil || filepath.Base(got.dir) != want || got.system != path {
				t.Errorf("it is taken as %+v (%v), want folder %s", got, err, want)
			}
			// The same program on PATH is taken only if it suits, without complaint.
			t.Setenv("DUPLEX_MYSQLD", "")
			t.Setenv("PATH", filepath.Dir(path)+":"+os.Getenv("PATH"))
			got, err = locate(t.Context(), "/cache", AnyMySQL)
			if want == "" {
				want = string(MySQL97)
			}
			if err != nil || filepath.Base(got.dir) != want {
				t.Errorf("on PATH it is taken as %+v (%v), want folder %s", got, err, want)
			}
		})
	}
}

func TestLockExcludesAndGivesUp(t *testing.T) {
	file := filepath.Join(t.TempDir(), "part.lock")
	unlock, err := lock(t.Context(), file)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 120*time.Millisecond)
	defer cancel()
	if _, err := lock(ctx, file); err == nil {
		t.Fatal("two hold one lock")
	}
	unlock()
	unlock, err = lock(t.Context(), file)
	if err != nil {
		t.Fatal(err)
	}
	unlock()
}

func TestUntarStaysInItsFolder(t *testing.T) {
	for _, name := range []string{"../outside", "/outside", "a/../../outside"} {
		var archive bytes.Buffer
		gz := gzip.NewWriter(&archive)
		w := tar.NewWriter(gz)
		if err := w.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644, Size: 1}); err != nil {
			t.Fatal(err)
		}
		w.Write([]byte("x"))
		w.Close()
		gz.Close()
		parent := t.TempDir()
		if err := untar(&archive, filepath.Join(parent, "in")); err == nil {
			t.Errorf("an archive with %s is unpacked", name)
		}
		if _, err := os.Stat(filepath.Join(parent, "outside")); err == nil {
			t.Errorf("%s was written outside the folder", name)
		}
	}
}

func TestPortIsClaimedOnce(t *testing.T) {
	seen := map[int]bool{}
	for range 50 {
		p, err := claimPort()
		if err != nil {
			t.Fatal(err)
		}
		defer p.release()
		if seen[p.number] {
			t.Fatalf("port %d was given twice", p.number)
		}
		seen[p.number] = true
	}
}

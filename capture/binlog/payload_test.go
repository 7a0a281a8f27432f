package binlog

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"duplex/internal/testbed"
)

func onMySQL(t *testing.T, test func(*testing.T, *source)) {
	t.Parallel()
	for _, version := range []testbed.Part{testbed.MySQL80, testbed.MySQL97} {
		t.Run(string(version), func(t *testing.T) {
			t.Parallel()
			test(t, startSource(t, version))
		})
	}
}

// A compressed transaction gives what a plain one gives, XA included, and a
// corrupt one is refused before its commit is given.
func TestCompressedTransactions(t *testing.T) {
	onMySQL(t, func(t *testing.T, s *source) {
		s.all(t, "CREATE TABLE d.t (id INT PRIMARY KEY, v MEDIUMTEXT)", "CREATE TABLE d.stop (id INT PRIMARY KEY)")
		work := []string{"INSERT INTO d.t VALUES (1, REPEAT('v', 300000)), (2, 'short')", "BEGIN", "UPDATE d.t SET v = REPEAT('w', 5000) WHERE id = 2", "SAVEPOINT s",
			"DELETE FROM d.t WHERE id = 2", "ROLLBACK TO s", "DELETE FROM d.t", "COMMIT",
			"XA START 'x'", "INSERT INTO d.t VALUES (3, REPEAT('x', 3000))", "XA END 'x'", "XA PREPARE 'x'", "XA COMMIT 'x'", "DELETE FROM d.t",
			"XA START 'x'", "INSERT INTO d.t VALUES (3, REPEAT('x', 3000))", "XA END 'x'", "XA COMMIT 'x' ONE PHASE", "DELETE FROM d.t"}
		var found [2][]string
		for i, compress := range []string{"OFF", "ON"} {
			s.exec(t, "SET SESSION binlog_transaction_compression = "+compress)
			f := follow(t, s, s.executed(t))
			s.all(t, work...)
			s.exec(t, fmt.Sprintf("INSERT INTO d.stop VALUES (%d)", i))
			if err := f.read(t, 1); err != nil {
				t.Fatal(err)
			}
			for j, c := range f.commits {
				_, f.commits[j], _ = strings.Cut(c, ": ")
			}
			found[i] = f.commits[:len(f.commits)-1]
		}
		if len(found[0]) != 6 || strings.Join(found[0], "\n") != strings.Join(found[1], "\n") {
			t.Errorf("%d transactions plain, %d compressed, or they differ", len(found[0]), len(found[1]))
		}
		t.Run("corrupt", func(t *testing.T) {
			from := s.executed(t)
			s.exec(t, "INSERT INTO d.t VALUES (8, 'before')")
			s.exec(t, "INSERT INTO d.t VALUES (9, 'after')")
			// Each byte of the frame, and of the checksum after it.
			for offset, size := 0, 1; offset < size; offset++ {
				proxy := s.bed.Proxy(t, s.Addr)
				spoiled := 0
				proxy.Tamper(func(sent []byte) ([]byte, bool) {
					if frame := secondFrame(sent, &spoiled); frame != nil {
						size = len(frame)
						frame[offset] ^= 0x10
					}
					return sent, false
				})
				events, err := s.readAt(t, from, proxy.Addr())
				var refused *RefusedError
				if spoiled != 2 || !errors.As(err, &refused) || !strings.Contains(err.Error(), "corrupt") {
					t.Errorf("byte %d of %d: %d payloads, %d events, error %v", offset, size, spoiled, len(events), err)
				}
				commits := 0
				for _, e := range events {
					if e.Kind == Commit || e.Kind == DDL {
						commits++
					}
				}
				if commits != 1 {
					t.Errorf("byte %d of %d: %d transactions are committed, not the one before", offset, size, commits)
				}
			}
		})
	})
}

// secondFrame returns the second compressed transaction that comes, from its
// zstd frame to its checksum; nil if it isn't in sent.
func secondFrame(sent []byte, seen *int) []byte {
	const sizeAt, magicAt = 9, 19 // in the header; the least that comes before the frame
	for at := 0; ; at++ {
		i := bytes.Index(sent[at:], []byte{0x28, 0xb5, 0x2f, 0xfd})
		if i < 0 {
			return nil
		}
		at += i
		if *seen++; *seen != 2 {
			continue
		}
		for start := at - magicAt; start > at-64; start-- {
			if kind := sent[start+4]; kind == 40 && sent[start-1] == 0 {
				return sent[at : start+int(binary.LittleEndian.Uint16(sent[start+sizeAt:]))]
			}
		}
	}
}

// A compressed transaction is read in bounded memory, however large (promise 7).
func TestLargePayload(t *testing.T) {
	s := startSource(t, testbed.MySQL97)
	const rows, size = 256, 1 << 20
	s.all(t, "CREATE TABLE d.t (id INT PRIMARY KEY, v LONGTEXT)", "SET SESSION binlog_transaction_compression = ON")
	from := s.executed(t)
	s.exec(t, "BEGIN")
	for i := 0; i < rows; i += 32 {
		s.exec(t, fmt.Sprintf("INSERT INTO d.t WITH RECURSIVE n (i) AS (SELECT %d UNION ALL SELECT i + 1 FROM n WHERE i < %d) SELECT i, CONCAT(i, REPEAT('0123456789abcdef', %d)) FROM n", i, i+31, size/16))
	}
	s.exec(t, "COMMIT")
	f := follow(t, s, from)
	var memory runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&memory)
	before, most, read := memory.HeapAlloc, uint64(0), 0
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	err := Read(ctx, Config{Engine: "mysql", Address: s.Addr, User: "root", ServerID: 4243, Collations: s.collations(t),
		Captured: func(db, _ string) bool { return db == "d" }}, f.position, func(e *Event) error {
		switch e.Kind {
		case Rows:
			if read += len(e.Rows.Images); e.Rows.Table.Table.Name == "t" {
				runtime.GC()
				runtime.ReadMemStats(&memory)
				most = max(most, memory.HeapAlloc-min(before, memory.HeapAlloc))
			}
		case Commit:
			return errEnough
		}
		return nil
	})
	if !errors.Is(err, errEnough) || read < rows*size {
		t.Fatalf("%d bytes of rows, error %v", read, err)
	}
	t.Logf("%d MiB of rows with at most %d MiB of memory", read>>20, most>>20)
	if most > 48<<20 {
		t.Errorf("reading %d MiB held %d MiB", read>>20, most>>20)
	}
}

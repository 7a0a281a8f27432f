// Package conflicts keeps the record of conflicts, table duplex.conflicts of each
// region: of two regions' writes of one row, neither of which had seen the
// other, which stayed, which was lost, and both images. It writes the record for apply,
// reads it for people, and undoes a conflict: what was lost becomes the newest
// write of the row, everywhere.
package conflicts

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"time"

	"duplex/change"
)

// Operation is what a write did to its row.
type Operation string

// The operations. Unknown is that of an image that can't be read.
const (
	Insert  Operation = "insert"
	Update  Operation = "update"
	Delete  Operation = "delete"
	Unknown Operation = "unknown"
)

// Write is one of the two writes.
type Write struct {
	change.Version
	Seq change.Seq // of its transaction
	Op  Operation
	// Schema is the id, in the registry of the origin, of the schema of the change
	// that Row was part of, 0 if Row is nil.
	Schema int
	// Row is what the write left, as Avro: exactly what the origin has. It is nil
	// if it left none, or isn't known.
	Row []byte
	// Missing tells why Op and Row aren't known, "" if they are.
	Missing string
}

// Side tells whose write stayed, as seen by the region that recorded it.
type Side string

// The sides: the region's own application, or another region's.
const (
	Local  Side = "local"
	Remote Side = "remote"
)

// Conflict is one row of duplex.conflicts.
type Conflict struct {
	Task string
	// ID tells what was lost: it is the same whichever region records it, how often
	// it is found, and whichever of several later writes it is found to have lost to.
	ID        string
	Found     time.Time // when it was recorded
	DB, Table string
	Key       string // the key columns as a JSON object
	Rule      string // by which it was decided
	Holds     bool   // Add: the task is held up until somebody has looked
	Won       Side
	// Winner is the write that stays. It may have been overwritten since.
	Winner, Loser Write
	Undone        time.Time // when the loser was written back; zero: never
}

// ID returns the id of the conflict in which a write of a row of a table, db.table,
// was lost. key is bytes that are the same in every region for all spellings of
// the row's key.
func ID(table string, key []byte, loser change.Version) string {
	h := sha256.New()
	put := func(b []byte) {
		h.Write(binary.AppendUvarint(nil, uint64(len(b))))
		h.Write(b)
	}
	put([]byte(table))
	put(key)
	put([]byte(loser.Origin))
	put(binary.BigEndian.AppendUint64(nil, uint64(loser.HLC)))
	return hex.EncodeToString(h.Sum(nil)[:16])
}

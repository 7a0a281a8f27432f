// Package converge decides what becomes of a row that several regions write,
// so that all of them end with the same. It is pure: it reads no database and no
// topic, has no clock and no goroutine; who calls it locks the row, tells what it
// holds, and does what the answer says.
//
// The rule (last write wins): versions are totally ordered, and a region's own
// writes get greater ones than all that precedes them in its binlog. So the last
// image of a row in every region's binlog must come to be that of the greatest
// version. Decide sees to that for each change that comes in; where it was
// misled, since a row had come back to a value it had before, the Index notices
// as the tail of the region's own topics goes by (Suspects).
//
// The Index is a cache of the topics: of each row written lately it knows the
// newest version. It may forget a row when nothing that could meet that version is
// under way any more, which the Frontier tells.
package converge

import "duplex/change"

// Digest stands for a row image.
type Digest uint64

// Absent is the digest of no row.
const Absent Digest = 0

// Place tells where in the topics an image stands. Only who gave it can read it.
type Place uint64

// Pos is a place in the region's own binlog, in any unit that grows along it.
type Pos uint64

// Write is one write of one row, by whichever region.
type Write struct {
	Version change.Version
	// Seq is that of the transaction; 0 for the deletion of a row that yielded.
	Seq    change.Seq
	Digest Digest // of what it left
	Place  Place  // of what it left
	// Rank is what Rivals choose by.
	Rank int64
}

// Key stands for a row: 128 bits of hash of what its server tells it apart by.
// A must be one that nobody can foresee, or whoever chooses keys could choose
// all of them for one part of an Index.
type Key struct{ A, B uint64 }

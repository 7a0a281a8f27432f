package binlog

import (
	"duplex/change"
)

// Kind says what an Event is.
type Kind uint8

// The kinds of events. A transaction is Begin, then any number of Marker,
// Canary, Yield and Rows, then Commit. Begin and all between may be missing: then
// the transaction touched nothing that is captured. DDL stands alone, and so
// does Unread: the commit of a prepared (XA) transaction whose rows lie before
// where reading began.
const (
	Begin Kind = iota + 1
	Marker
	Canary
	Rows
	Commit
	DDL
	Unread
	Yield
)

// Op is what a row event did.
type Op byte

// The operations, by Debezium's letters.
const (
	Insert Op = 'c'
	Update Op = 'u'
	Delete Op = 'd'
	// Copied is a row that was there: no row event says so, an initial copy does.
	Copied Op = 'r'
)

// Event is one step of the binlog that matters to capture.
type Event struct {
	Kind     Kind
	ServerID uint32
	// Thread is set on Begin: the id of the session that began the transaction,
	// 0 where the binlog doesn't tell.
	Thread uint32
	// GTID and CommitMicros (Unix µs) are set on Begin and Commit.
	GTID         GTID
	CommitMicros int64
	// Mark is set on Marker and Canary, Rows on Rows, Logged on DDL and Unread.
	Mark *Mark
	Rows *RowsEvent
	// Yields are set on Yield.
	Yields []Yields
	*Logged
	// undecided is set on Commit, nil for nothing; see Position.Pass.
	undecided *undecided
}

// Logged is a statement in the binlog. Of an Unread only the statement is set.
type Logged struct {
	Schema, Statement string
	// File and Pos are where it begins in the binlog.
	File    string
	Pos     uint64
	Escapes Escapes
}

// Escapes says what a backslash means in the quoted texts of a statement.
type Escapes uint8

// A backslash escapes what follows it, unless sql_mode has
// NO_BACKSLASH_ESCAPES.
const (
	Backslash Escapes = iota
	NoBackslash
)

// Mark is what the row of duplex.progress says that an apply transaction
// writes first, or the row of duplex.canary.
type Mark struct {
	Task   string
	Origin change.Region
	Seq    change.Seq
	HLC    change.HLC
	Token  string // of the canary
}

// Yields is what a row of duplex.outbox tells: the version of the deletions in a
// table that follow, or, with a topic, of a row that isn't in the database.
type Yields struct {
	DB, Table string
	Version   change.Version
	// Topic and the rest are those of a record of the row.
	Topic                  string
	KeySchema, ValueSchema int
	Key                    []byte
}

// RowsEvent is one row event of a captured table, its images not yet decoded.
type RowsEvent struct {
	Table *TableVersion
	Op    Op
	// Images holds the row images, one after the other; of an update, before
	// and after in turn. Present and PresentAfter are the bitmaps of columns
	// that they hold.
	Images, Present, PresentAfter []byte
	// Unchecked is set where the session didn't check foreign keys: then the
	// server changed no other rows along with these.
	Unchecked bool
	File      string
	Pos       uint64
}

// Size returns the bytes that the event keeps alive.
func (e *Event) Size() int64 {
	const fixed = 240
	switch {
	case e.Rows != nil:
		return fixed + int64(len(e.Rows.Images))
	case e.Logged != nil:
		return fixed + int64(len(e.Statement))
	default:
		return fixed
	}
}

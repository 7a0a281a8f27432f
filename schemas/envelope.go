package schemas

import (
	"duplex/change"
)

// Envelope writes change envelopes of one table version: the compiled form of
// EnvelopeSchema. It holds no state: one Envelope may be used by many.
type Envelope struct {
	source []byte // version, connector, name of the source block
	db     []byte
	table  []byte
}

// NewEnvelope compiles the writer of a table's changes. Engine is "mysql" or
// "mariadb"; the version is that of this program, shown to readers.
func NewEnvelope(t *Table, region change.Region, engine, version string) *Envelope {
	e := &Envelope{
		db:    AppendString(nil, t.DB),
		table: appendOptionalString(nil, t.Name),
	}
	for _, s := range []string{version, engine, string(region)} {
		e.source = AppendString(e.source, s)
	}
	return e
}

// Source is what the source block of a change tells besides its constant
// parts. The changes of one transaction share everything but Row and Pos.
type Source struct {
	// TsMicros is the commit time in the origin, Unix microseconds.
	TsMicros int64
	ServerID uint32
	// Thread is the id of the session that wrote; 0 is told as null.
	Thread uint32
	// GTID of the transaction; empty where the server has none.
	GTID string
	// File and Pos are the place of the rows event in the binlog.
	File string
	Pos  uint64
	// Row is the number of the row within its event.
	Row   int
	Stamp change.Stamp
	// Snapshot is one of Debezium's marks, such as "incremental"; empty means
	// "false".
	Snapshot string
}

// Change is one row change to be written.
type Change struct {
	// Op is c, u, d or r.
	Op byte
	// Before and After are Avro encoded records Value; nil where absent.
	Before, After []byte
	Source        *Source
	// TxID is the id of the transaction's END record; empty: no transaction
	// block is written.
	TxID string
	// TotalOrder and CollectionOrder count the changes of the transaction, and
	// those of them in this table, from 1.
	TotalOrder, CollectionOrder int64
	// NowMicros is the time of writing, Unix microseconds.
	NowMicros int64
}

// Append appends the Avro encoding of c. It doesn't allocate but for the
// growth of dst.
func (e *Envelope) Append(dst []byte, c *Change) []byte {
	return AppendTail(e.AppendHead(dst, c), c)
}

// AppendHead appends the fields of c that its row alone tells: before, after
// and source. Rows may so be encoded before those ahead of them are counted.
func (e *Envelope) AppendHead(dst []byte, c *Change) []byte {
	dst = appendRow(dst, c.Before)
	dst = appendRow(dst, c.After)
	return e.appendSource(dst, c.Source)
}

// AppendSource appends the field that follows the images, for a change whose
// images were decoded into dst: each after the index of its union, 2, or that
// index alone, 0, where there is none.
func (e *Envelope) AppendSource(dst []byte, s *Source) []byte { return e.appendSource(dst, s) }

// AppendTail appends the other fields of c after AppendHead's.
func AppendTail(dst []byte, c *Change) []byte {
	if c.TxID == "" {
		dst = append(dst, 0)
	} else {
		dst = AppendString(append(dst, 2), c.TxID)
		dst = AppendLong(dst, c.TotalOrder)
		dst = AppendLong(dst, c.CollectionOrder)
	}
	dst = append(dst, 2, c.Op) // a string of length 1
	dst = appendOptionalLong(dst, floorDiv(c.NowMicros, 1000))
	dst = appendOptionalLong(dst, c.NowMicros)
	return appendOptionalLong(dst, c.NowMicros*1000)
}

// MaxTail is the most bytes that AppendTail appends for a transaction of that
// id: its length and six longs, two of them unions, and the op.
func MaxTail(txID string) int { return 1 + len(txID) + 3*10 + 2 + 3*(1+10) }

func appendRow(dst, row []byte) []byte {
	if row == nil {
		return append(dst, 0)
	}
	return append(append(dst, 2), row...)
}

func (e *Envelope) appendSource(dst []byte, s *Source) []byte {
	dst = append(dst, e.source...)
	dst = AppendLong(dst, floorDiv(s.TsMicros, 1000))
	snapshot := s.Snapshot
	if snapshot == "" {
		snapshot = "false"
	}
	dst = AppendString(append(dst, 0), snapshot) // its union is [string, null]
	dst = append(dst, e.db...)
	dst = append(dst, 0) // sequence
	dst = appendOptionalLong(dst, s.TsMicros)
	dst = appendOptionalLong(dst, s.TsMicros*1000)
	dst = append(dst, e.table...)
	dst = AppendLong(dst, int64(s.ServerID))
	dst = appendOptionalString(dst, s.GTID)
	dst = AppendString(dst, s.File)
	dst = AppendLong(dst, int64(s.Pos))
	dst = AppendLong(dst, int64(s.Row))
	if s.Thread == 0 {
		dst = append(dst, 0)
	} else {
		dst = appendOptionalLong(dst, int64(s.Thread))
	}
	dst = append(dst, 0) // query
	if s.Stamp.Origin == "" {
		return append(dst, 0, 0, 0)
	}
	dst = AppendString(append(dst, 2), string(s.Stamp.Origin))
	dst = appendOptionalLong(dst, int64(s.Stamp.Seq))
	return appendOptionalLong(dst, int64(s.Stamp.HLC))
}

// floorDiv divides rounding down: times before 1970 are negative.
func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}

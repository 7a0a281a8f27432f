package feed

import "time"

// Op is what happened to a row.
type Op byte

// The operations. A change of the primary key is a Delete of the old key and
// a Create of the new one. Read is a row of an initial copy.
const (
	Create Op = 'c'
	Update Op = 'u'
	Delete Op = 'd'
	Read   Op = 'r'
)

// String returns "create", "update", "delete" or "read".
func (o Op) String() string {
	switch o {
	case Create:
		return "create"
	case Update:
		return "update"
	case Delete:
		return "delete"
	case Read:
		return "read"
	}
	return "unknown"
}

// Stamp tells where a transaction came from. It is the same for all changes
// of one, in every region.
type Stamp struct {
	// Origin is the region whose application made it.
	Origin string
	// Seq numbers the transactions of the origin: 1, 2, 3, without a hole in
	// the origin's own topics. Where Duplex wrote them in another region,
	// several may have become one, with the number of the last.
	Seq int64
	// HLC is a hybrid logical clock: Unix milliseconds << 20 | counter. Of two
	// writes of one row, the one with the greater (HLC, Origin) is the newer.
	HLC int64
}

// Change is one change of one row.
type Change struct {
	Op    Op
	Table *Table
	// Key is the primary key: of a Delete the old one, else the new one.
	Key *Row
	// Before and After are the row on both sides of the change: Create and Read
	// have no Before, Delete has no After.
	Before, After *Row

	Stamp Stamp
	// CommitTime is when the transaction was committed in Table.Region.
	CommitTime time.Time
	// TransactionID is the GTID of the transaction, and Order the number of
	// the change in it, from 1, over all tables.
	TransactionID string
	Order         int64

	// Topic, Partition and Offset are where the record stands in Kafka.
	Topic     string
	Partition int32
	Offset    int64
}

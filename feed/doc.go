// Package feed reads what Duplex publishes of a region: every committed change
// of its database, from Kafka, as typed Go values.
//
// There are two ways to read. A [Reader] gives whole transactions in the order
// in which they were committed, each proven to lack nothing:
//
//	reader, err := feed.Open(ctx, feed.Config{
//		Kafka:    feed.Kafka{Brokers: []string{"127.0.0.1:9092"}},
//		Registry: feed.Registry{URL: "http://127.0.0.1:8081"},
//		Region:   "east",
//		Group:    "my-program",
//	})
//	if err != nil { ... }
//	defer reader.Close()
//	for {
//		tx, err := reader.Next(ctx)
//		if err != nil { ... }
//		for c, err := range tx.Changes(ctx) {
//			if err != nil { ... }
//			fmt.Println(tx.ID, c.Op, c.Table, c.Order)
//		}
//		if err := reader.Commit(ctx); err != nil { ... } // now and then is enough
//	}
//
// A [ChangeReader] gives single changes, in order for each key, and shares the
// work with others of its consumer group. A [Decoder] decodes records that
// another Kafka client has read.
//
// # What to rely on
//
// Only what is committed in Kafka is read, so nothing of a transaction is seen
// before all of it is there. After a restart a Reader goes on from the last
// Commit: nothing is lost, and what came after that Commit comes again. To deal
// with each transaction exactly once, store [Transaction].Offset with your
// results, in the same database transaction, and after a restart skip what is
// not greater.
//
// Where something is missing, Next fails with a [GapError]. It never guesses
// and never skips. The memory used is bounded, some 50 MB, also for a
// transaction of any size, which is read from Kafka as its Changes are asked
// for.
//
// # Origins
//
// A region's topics hold every change of its database: those of its own
// applications, and those that Duplex wrote there for other regions. A program
// that wants one database as it is reads one region and accepts all. A program
// that wants each change once reads every region, each with
// Config.Accept = Only(region).
//
// # Values
//
// A row's cells are decoded when they are asked for. NULL is nil. Otherwise the
// Go type depends on the column's kind:
//
//	kind                        MySQL type                        Go type
//	int, long, year             TINYINT to BIGINT, YEAR           int64
//	decimal                     DECIMAL, BIGINT UNSIGNED          Decimal: exact digits, as SQL writes them
//	float                       FLOAT                             float32
//	double                      DOUBLE                            float64
//	boolean                     BIT(1)                            bool
//	bits                        BIT(2) to BIT(64)                 uint64
//	string                      CHAR, VARCHAR, TEXT, INET4, INET6 string, or RawText
//	enum                        ENUM                              string, or RawText: the label
//	set                         SET                               []string, or RawText: the labels
//	json                        JSON                              json.RawMessage: the text that SELECT shows
//	uuid                        UUID of MariaDB                   string
//	point, geometry             POINT, GEOMETRY                   Geometry
//	vector                      VECTOR                            []float32
//	bytes                       BINARY, VARBINARY, BLOB           []byte
//	date                        DATE                              Date
//	timestamp, micro-timestamp  DATETIME                          DateTime: a clock on the wall, in no zone
//	zoned-timestamp             TIMESTAMP                         time.Time in UTC; the zero Time for 0000-00-00
//	micro-time                  TIME                              time.Duration
//
// RawText stands for a text that UTF-8 can't hold without loss. Dates with
// zero parts are given as they are. Every value is exact.
//
// # Tables that change
//
// Each record names the schema that it was written with. Change.Table has the
// columns of that version; a changed table gives another *Table, from the
// first row on that was written after the ALTER.
package feed

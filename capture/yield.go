package capture

import (
	"fmt"

	"duplex/capture/binlog"
	"duplex/supervise"
	"duplex/topics"

	"github.com/twmb/franz-go/pkg/kgo"
)

// yields is what the rows of duplex.outbox tell of a transaction that makes room
// for unique values. It is one of the region's own, but what it deletes has the
// version of the row that takes the value.
type yields struct {
	db, table string
	version   *kgo.RecordHeader // of the deletions in table that follow
	absent    []topics.Yielded  // rows that aren't in the database
}

// yield takes in rows of duplex.outbox. The transaction's stamp must be greater than
// the versions, or what is written here after it could lose to them.
func (s *stamping) yield(rows []binlog.Yields) error {
	txn := s.txn
	for _, y := range rows {
		switch {
		case !txn.stamped:
			s.stamper.HLC = max(s.stamper.HLC, y.Version.HLC)
			s.stampLocal()
		case txn.marked, y.Version.HLC >= txn.source.Stamp.HLC:
			return supervise.Permanent(fmt.Errorf("transaction %s writes to duplex.outbox what apply doesn't: another program wrote there; mend: take the right to write to schema duplex from other accounts, and make the tables of the regions equal", txn.gtid))
		}
		if txn.yields == nil {
			txn.yields = new(yields)
		}
		if y.Topic != "" {
			txn.yields.absent = append(txn.yields.absent, topics.Yielded{
				Topic: y.Topic, KeySchema: y.KeySchema, ValueSchema: y.ValueSchema, Key: y.Key,
				Origin: y.Version.Origin, HLC: y.Version.HLC,
			})
			continue
		}
		header := topics.VersionHeader(y.Version)
		txn.yields.db, txn.yields.table, txn.yields.version = y.DB, y.Table, &header
	}
	return nil
}

// of returns the header for rows, nil for those that yielded nothing.
func (y *yields) of(rows *binlog.RowsEvent) *kgo.RecordHeader {
	t := rows.Table.Table
	if rows.Op != binlog.Delete || t.DB != y.db || t.Name != y.table {
		return nil
	}
	return y.version
}

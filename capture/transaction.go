package capture

import (
	"time"

	"duplex/capture/binlog"
	"duplex/change"
	"duplex/schemas"
	"duplex/topics"

	"github.com/twmb/franz-go/pkg/kgo"
)

// transaction is a source transaction on its way. Stamping fills it in before
// its first rows are handed on; after that only publishing changes it.
type transaction struct {
	gtid    string
	commit  time.Time
	stamped bool
	marked  bool // its first row was the marker
	canary  string
	headers []kgo.RecordHeader
	source  schemas.Source
	// total counts the changes published so far, and tables are those that
	// they belong to.
	total  int64
	tables []*table
}

// begin starts a transaction; its stamp is given by its first row.
func begin(ev *binlog.Event) *transaction {
	t := &transaction{gtid: ev.GTID.String(), commit: time.UnixMicro(ev.CommitMicros)}
	t.source = schemas.Source{TsMicros: ev.CommitMicros, ServerID: ev.ServerID, Thread: ev.Thread, GTID: t.gtid}
	return t
}

func (t *transaction) stamp(stamp change.Stamp) {
	t.stamped = true
	t.source.Stamp = stamp
	t.headers = topics.Headers(stamp)
}

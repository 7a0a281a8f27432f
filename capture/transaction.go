package capture

import (
	"strings"

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
	stamped bool
	marked  bool // its first row was the marker
	canary  string
	headers []kgo.RecordHeader
	source  schemas.Source
	// total counts the changes published so far, and tables are those that
	// they belong to.
	total  int64
	tables []*table
	// yields is set by the rows of duplex.outbox.
	yields *yields
	// cascades is set once a change was published at which the server changed
	// other rows unlogged.
	cascades bool
	// part is set where it is no transaction of the binlog but a chunk of a copy.
	part *part

	// The usual room of headers and tables.
	threeHeaders [topics.HeaderCount]kgo.RecordHeader
	oneTable     [1]*table
}

// transactions makes transactions and their texts, many at once: where each
// has a single row, there are as many as rows.
type transactions struct {
	spare []transaction
	ids   strings.Builder
	texts []byte
}

const (
	slabTransactions = 64
	slabTexts        = 8 << 10
	maxID            = 128 // bytes; a tag has at most 32
)

// begin starts a transaction; its stamp is given by its first row.
func (m *transactions) begin(ev *binlog.Event) *transaction {
	if len(m.spare) == 0 {
		m.spare = make([]transaction, slabTransactions)
	}
	t := &m.spare[0]
	m.spare = m.spare[1:]
	t.gtid = m.id(ev.GTID)
	t.tables = t.oneTable[:0]
	t.source = schemas.Source{TsMicros: ev.CommitMicros, ServerID: ev.ServerID, Thread: ev.Thread, GTID: t.gtid}
	return t
}

// id returns the text of a GTID.
func (m *transactions) id(gtid binlog.GTID) string {
	if m.ids.Cap()-m.ids.Len() < maxID {
		m.ids = strings.Builder{} // the texts in the one before live on
		m.ids.Grow(slabTexts)
	}
	from := m.ids.Len()
	m.ids.Write(gtid.Append(make([]byte, 0, maxID)))
	return m.ids.String()[from:]
}

// stamp gives a transaction its stamp.
func (m *transactions) stamp(t *transaction, stamp change.Stamp) {
	const digits = 2 * 20
	if cap(m.texts)-len(m.texts) < len(stamp.Origin)+digits {
		m.texts = make([]byte, 0, slabTexts)
	}
	t.stamped = true
	t.source.Stamp = stamp
	t.headers, m.texts = topics.AppendHeaders(t.threeHeaders[:0], m.texts, stamp)
}

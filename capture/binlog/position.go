package binlog

import (
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/go-mysql-org/go-mysql/mysql"
	"github.com/google/uuid"
)

// Position is the set of transactions read so far, as GTIDs. It is ours, not
// go-mysql's: that one loses the tag of a tagged GTID when it reconnects, and
// counts a transaction as read when it has seen its first event.
//
// A transaction that is prepared (XA) and not decided is not part of it, since
// its rows are to be read again after a restart. MySQL's set has a hole there.
// MariaDB knows no holes, only the last transaction of each domain: its
// position says besides after which transaction a domain must be read again.
//
// Only this package looks inside; elsewhere a position is a text.
type Position struct {
	engine string
	set    mysql.GTIDSet // prepared transactions included
	undecided

	// grows is the last interval of newest's server and tag, where the next
	// transaction nearly always belongs (MySQL); nil if not known.
	grows  *mysql.Interval
	newest GTID
}

// undecided is what a position says of prepared transactions. It is never
// changed.
type undecided struct {
	prepared []GTID // MySQL
	from     []GTID // MariaDB: one of each domain that must be read again
}

// fromMark parts what is read from where to read again.
const fromMark = " from "

// ParsePosition reads the text of a position as Position.String gives it, or
// as the server prints its executed GTID set. engine is mysql or mariadb.
func ParsePosition(engine, text string) (*Position, error) {
	read, from := text, ""
	if engine == mysql.MariaDBFlavor {
		read, from, _ = strings.Cut(text, fromMark)
	}
	set, err := mysql.ParseGTIDSet(engine, read)
	if err != nil {
		return nil, fmt.Errorf("reading gtid set: %w", err)
	}
	p := &Position{engine: engine, set: set}
	if from == "" {
		return p, nil
	}
	for _, text := range strings.Split(from, ",") {
		g, err := mysql.ParseMariadbGTID(text)
		if err != nil {
			return nil, fmt.Errorf("reading gtid set: %w", err)
		}
		p.from = append(p.from, GTID{domain: g.DomainID, server: g.ServerID, number: int64(g.SequenceNumber)})
	}
	return p, nil
}

// Engine returns mysql or mariadb.
func (p *Position) Engine() string { return p.engine }

// String returns the position as text, which ParsePosition reads.
func (p *Position) String() string {
	switch {
	case len(p.prepared) > 0:
		return p.without(p.prepared).String()
	case len(p.from) > 0:
		from := make([]string, len(p.from))
		for i, g := range p.from {
			from[i] = g.String()
		}
		return p.set.String() + fromMark + strings.Join(from, ",")
	default:
		return p.set.String()
	}
}

// Pass records that the transaction that ev commits was read to its end.
func (p *Position) Pass(ev *Event) error {
	p.undecided = undecided{}
	if ev.undecided != nil {
		p.undecided = *ev.undecided
	}
	g := ev.GTID
	if p.grows != nil && g.number == p.grows.Stop && g.sid == p.newest.sid && g.tag == p.newest.tag {
		p.grows.Stop++
		return nil
	}
	switch set := p.set.(type) {
	case *mysql.MysqlGTIDSet:
		set.AddGTIDWithTag(g.sid, g.tag, g.number)
		intervals := (*set)[g.sid][g.tag]
		p.newest, p.grows = g, &intervals[len(intervals)-1]
		return nil
	case *mysql.MariadbGTIDSet:
		set.Sets[g.domain] = &mysql.MariadbGTID{DomainID: g.domain, ServerID: g.server, SequenceNumber: uint64(g.number)}
		return nil
	default:
		return fmt.Errorf("adding gtid %s: unknown kind of gtid set %T", g, p.set)
	}
}

// Covers reports whether all of another position was read.
func (p *Position) Covers(o *Position) bool { return p.set.Contain(o.set) }

func (p *Position) clone() *Position {
	return &Position{engine: p.engine, set: p.set.Clone(), undecided: p.undecided}
}

// start is what to ask the server to begin after.
func (p *Position) start() mysql.GTIDSet {
	if len(p.prepared) > 0 {
		return p.without(p.prepared)
	}
	set := p.set.Clone()
	if maria, ok := set.(*mysql.MariadbGTIDSet); ok {
		for _, g := range p.from {
			if delete(maria.Sets, g.domain); !g.IsZero() {
				maria.Sets[g.domain] = &mysql.MariadbGTID{DomainID: g.domain, ServerID: g.server, SequenceNumber: uint64(g.number)}
			}
		}
	}
	return set
}

// last returns the transaction of a domain that was read last; MariaDB only.
func (p *Position) last(domain uint32) GTID {
	if set, ok := p.set.(*mysql.MariadbGTIDSet); ok {
		if g := set.Sets[domain]; g != nil {
			return GTID{domain: domain, server: g.ServerID, number: int64(g.SequenceNumber)}
		}
	}
	return GTID{domain: domain}
}

// domains are those of which something was read; MariaDB only.
func (p *Position) domains() map[uint32]*mysql.MariadbGTID {
	if set, ok := p.set.(*mysql.MariadbGTIDSet); ok {
		return set.Sets
	}
	return nil
}

// without returns MySQL's set without some transactions.
func (p *Position) without(gtids []GTID) mysql.GTIDSet {
	set := p.set.Clone().(*mysql.MysqlGTIDSet)
	for _, g := range gtids {
		tags := (*set)[g.sid]
		var kept mysql.IntervalSlice
		for _, i := range tags[g.tag] {
			if g.number < i.Start || g.number >= i.Stop {
				kept = append(kept, i)
				continue
			}
			for _, part := range []mysql.Interval{{Start: i.Start, Stop: g.number}, {Start: g.number + 1, Stop: i.Stop}} {
				if part.Start < part.Stop {
					kept = append(kept, part)
				}
			}
		}
		switch {
		case len(kept) > 0:
			tags[g.tag] = slices.Clip(kept)
		case len(tags) > 1:
			delete(tags, g.tag)
		default:
			delete(*set, g.sid)
		}
	}
	return set
}

// GTID is the global id of one transaction.
type GTID struct {
	sid    uuid.UUID
	tag    mysql.Tag
	number int64
	// MariaDB: domain-server-number.
	domain, server uint32
}

// IsZero reports whether there is no id: GTIDs are off on the server.
func (g GTID) IsZero() bool { return g.number == 0 }

func (g GTID) isMariaDB() bool { return g.sid == uuid.Nil }

// String returns the id as the server prints it: uuid:7, uuid:tag:7, or
// MariaDB's 0-1-7.
func (g GTID) String() string {
	return string(g.Append(make([]byte, 0, 64)))
}

// Append appends what String returns.
func (g GTID) Append(b []byte) []byte {
	if g.isMariaDB() {
		return fmt.Appendf(b, "%d-%d-%d", g.domain, g.server, g.number)
	}
	from := 0 // made for every transaction: Sprintf is slow
	for i, to := range [...]int{4, 6, 8, 10, 16} {
		if i > 0 {
			b = append(b, '-')
		}
		b = hex.AppendEncode(b, g.sid[from:to])
		from = to
	}
	if tag := g.tag.String(); tag != "" {
		b = append(append(b, ':'), tag...)
	}
	return strconv.AppendInt(append(b, ':'), g.number, 10)
}

package binlog

import (
	"fmt"

	"github.com/go-mysql-org/go-mysql/mysql"
	"github.com/google/uuid"
)

// Position is the set of transactions read so far, as GTIDs. It is ours, not
// go-mysql's: that one loses the tag of a tagged GTID when it reconnects, and
// counts a transaction as read when it has seen its first event.
//
// Only this package looks inside; elsewhere a position is a text.
type Position struct {
	engine string
	set    mysql.GTIDSet
}

// ParsePosition reads the text of a position as Position.String gives it, or
// as the server prints its executed GTID set. engine is mysql or mariadb.
func ParsePosition(engine, text string) (*Position, error) {
	set, err := mysql.ParseGTIDSet(engine, text)
	if err != nil {
		return nil, fmt.Errorf("reading gtid set: %w", err)
	}
	return &Position{engine, set}, nil
}

// Engine returns mysql or mariadb.
func (p *Position) Engine() string { return p.engine }

// String returns the GTID set as text, which ParsePosition reads.
func (p *Position) String() string { return p.set.String() }

// Add records that the transaction was read to its end.
func (p *Position) Add(g GTID) error {
	switch set := p.set.(type) {
	case *mysql.MysqlGTIDSet:
		set.AddGTIDWithTag(g.sid, g.tag, g.number)
		return nil
	case *mysql.MariadbGTIDSet:
		if err := set.AddSet(&mysql.MariadbGTID{DomainID: g.domain, ServerID: g.server, SequenceNumber: uint64(g.number)}); err != nil {
			return fmt.Errorf("adding gtid %s: %w", g, err)
		}
		return nil
	default:
		return fmt.Errorf("adding gtid %s: unknown kind of gtid set %T", g, p.set)
	}
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

// String returns the id as the server prints it: uuid:7, uuid:tag:7, or
// MariaDB's 0-1-7.
func (g GTID) String() string {
	switch {
	case g.sid == uuid.Nil:
		return fmt.Sprintf("%d-%d-%d", g.domain, g.server, g.number)
	case g.tag.String() != "":
		return fmt.Sprintf("%s:%s:%d", g.sid, g.tag, g.number)
	default:
		return fmt.Sprintf("%s:%d", g.sid, g.number)
	}
}

package binlog

import (
	"bytes"
	"reflect"

	"duplex/schemas"

	"github.com/go-mysql-org/go-mysql/replication"
)

// TableVersion is one shape of one table, and how to decode its rows. The
// same shape is always the same *TableVersion while one Read runs.
type TableVersion struct {
	Table    *schemas.Table
	Decoder  *RowDecoder
	Captured bool
	control  bool // it is one of schema duplex whose rows tell something
	// err tells why rows of this version can't be decoded. It is returned
	// only when rows come: a table nobody writes stops nobody.
	err error
}

// knownVersion is a version and the number of statements read when it was made.
type knownVersion struct {
	version    *TableVersion
	statements int
}

// same reports whether rows of both are decoded alike.
func (v *TableVersion) same(other *TableVersion) bool {
	return v.err == nil && other.err == nil && reflect.DeepEqual(v.Table, other.Table)
}

func newTableVersion(cfg Config, ev *replication.TableMapEvent) *TableVersion {
	db, name := string(ev.Schema), string(ev.Table)
	own := db == controlSchema
	v := &TableVersion{control: own && name != recordTable}
	v.Captured = !own && cfg.Captured(db, name) && !isSequence(ev)
	if !v.Captured {
		return v
	}
	if v.Table, v.err = TableFromMap(ev, cfg.Collations); v.err != nil {
		return v
	}
	if cfg.Describe != nil {
		if v.err = cfg.Describe(v.Table); v.err != nil {
			return v
		}
	}
	v.Decoder, v.err = CompileRow(v.Table, ev)
	return v
}

// sequenceColumns are the columns of every SEQUENCE of MariaDB, which is a
// table of one row without a key. Its numbers belong to one region: check tells
// that it is left out.
const sequenceColumns = "next_not_cached_value,minimum_value,maximum_value,start_value,increment,cache_size,cycle_option,cycle_count"

func isSequence(ev *replication.TableMapEvent) bool {
	return len(ev.PrimaryKey) == 0 && string(bytes.Join(ev.ColumnName, []byte(","))) == sequenceColumns
}

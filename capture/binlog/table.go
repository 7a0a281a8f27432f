package binlog

import (
	"fmt"
	"strings"

	gomysql "github.com/go-mysql-org/go-mysql/mysql"
	"github.com/go-mysql-org/go-mysql/replication"

	"duplex/schemas"
)

// Collation is what a collation id of the server stands for, as
// information_schema.COLLATIONS tells it. Ids differ between MySQL and
// MariaDB and may be added by the administrator, so they are always asked of
// the server that wrote the binlog.
type Collation struct {
	Name    string
	Charset string
}

// binaryCollation is the id of collation "binary" on every server: a
// character column with it is a BINARY, VARBINARY or BLOB.
const binaryCollation = 63

// Column types that go-mysql has no name for: MariaDB's COMPRESSED columns.
const (
	typeBlobCompressed    = 140
	typeVarcharCompressed = 141
)

// UnsupportedError says that a table, or one column of it, can't be captured.
type UnsupportedError struct {
	DB, Table string
	// Column is empty where the whole table is meant.
	Column string
	// What stands in the way, and Hint how to mend it.
	What, Hint string
}

// Error names the place, the cause and the mend.
func (e *UnsupportedError) Error() string {
	place := "table " + e.DB + "." + e.Table
	if e.Column != "" {
		place += ", column " + e.Column
	}
	if e.Hint == "" {
		return place + ": " + e.What
	}
	return place + ": " + e.What + "; mend: " + e.Hint
}

// TableFromMap builds the table model from a TABLE_MAP event, which tells all
// about the table as it was when the rows after it were written.
//
// collations are those of the server that wrote the event. A table that can't
// be captured gives an *UnsupportedError.
func TableFromMap(tm *replication.TableMapEvent, collations map[uint64]Collation) (*schemas.Table, error) {
	b := &mapReader{tm: tm, collations: collations, table: &schemas.Table{DB: string(tm.Schema), Name: string(tm.Table)}}
	if err := b.checkComplete(); err != nil {
		return nil, err
	}
	if err := b.readCharsets(); err != nil {
		return nil, err
	}
	b.unsigned = tm.UnsignedMap()
	b.table.Columns = make([]schemas.Column, tm.ColumnCount)
	for i := range b.table.Columns {
		if err := b.readColumn(i); err != nil {
			return nil, err
		}
	}
	if err := b.readKey(); err != nil {
		return nil, err
	}
	return b.table, nil
}

// mapReader reads one TABLE_MAP event into table.
type mapReader struct {
	tm         *replication.TableMapEvent
	collations map[uint64]Collation
	table      *schemas.Table
	// unsigned and charset are by column: signs of the numeric ones,
	// collation ids of the character ones, ENUM and SET.
	unsigned map[int]bool
	charset  map[int]uint64
	// enums and sets count the columns read so far: their labels are listed
	// in that order.
	enums, sets int
	// geometries counts those: their types are listed in that order.
	geometries int
}

func (b *mapReader) refuse(column int, what, hint string) error {
	e := &UnsupportedError{DB: b.table.DB, Table: b.table.Name, What: what, Hint: hint}
	if column >= 0 && column < len(b.tm.ColumnName) {
		e.Column = string(b.tm.ColumnName[column])
	}
	return e
}

// checkComplete refuses an event that doesn't describe its table in full.
func (b *mapReader) checkComplete() error {
	tm, n := b.tm, int(b.tm.ColumnCount)
	if len(tm.ColumnName) != n {
		return b.refuse(-1, "the binlog doesn't tell its column names",
			"SET PERSIST binlog_row_metadata='FULL' (MariaDB: SET GLOBAL binlog_row_metadata='FULL', and the same in its option file), then start from a position after that")
	}
	if n == 0 || len(tm.ColumnType) != n || len(tm.ColumnMeta) != n || len(tm.NullBitmap) < (n+7)/8 {
		return b.refuse(-1, "its TABLE_MAP event is malformed", "")
	}
	if len(tm.PrimaryKey) == 0 {
		return b.refuse(-1, "it has no primary key", fmt.Sprintf("ALTER TABLE %s.%s ADD PRIMARY KEY (…)", b.table.DB, b.table.Name))
	}
	return nil
}

// readCharsets assigns collation ids to columns. go-mysql's own CollationMap
// isn't used: the server counts VECTOR and COMPRESSED columns among the
// character columns and go-mysql doesn't, which shifts the collation of every
// column after one.
func (b *mapReader) readCharsets() error {
	b.charset = make(map[int]uint64)
	character := func(i int) bool {
		typ := b.tm.ColumnType[i]
		return b.tm.IsCharacterColumn(i) || typ == gomysql.MYSQL_TYPE_VECTOR || isCompressed(typ)
	}
	if err := b.assignCharsets(character, b.tm.DefaultCharset, b.tm.ColumnCharset); err != nil {
		return err
	}
	return b.assignCharsets(b.tm.IsEnumOrSetColumn, b.tm.EnumSetDefaultCharset, b.tm.EnumSetColumnCharset)
}

// assignCharsets reads one of the two forms in which the server lists the
// collations of the columns of one kind: a default and the exceptions from it
// as (ordinal, id) pairs, or an id for each.
func (b *mapReader) assignCharsets(kind func(int) bool, byDefault, each []uint64) error {
	ordinal := 0
	for i := range b.tm.ColumnType {
		if !kind(i) {
			continue
		}
		switch {
		case len(byDefault) > 0:
			id := byDefault[0]
			for p := 1; p+1 < len(byDefault); p += 2 {
				if byDefault[p] == uint64(ordinal) {
					id = byDefault[p+1]
				}
			}
			b.charset[i] = id
		case ordinal < len(each):
			b.charset[i] = each[ordinal]
		default:
			return b.refuse(i, "the binlog doesn't tell its character set", "SET PERSIST binlog_row_metadata='FULL'")
		}
		ordinal++
	}
	return nil
}

// readColumn fills in column i.
func (b *mapReader) readColumn(i int) error {
	_, nullable := b.tm.Nullable(i)
	c := &b.table.Columns[i]
	c.Name, c.Nullable, c.Unsigned = string(b.tm.ColumnName[i]), nullable, b.unsigned[i]
	if v := b.tm.VisibilityBitmap; i/8 < len(v) {
		c.Invisible = v[i/8]&(0x80>>(i%8)) == 0
	}
	if err := b.readType(i, c); err != nil {
		return err
	}
	c.Native = nativeType(c, plainType(b.tm.ColumnType[i]), b.tm.ColumnMeta[i])
	if isCompressed(b.tm.ColumnType[i]) {
		c.Native += " /*M!100301 COMPRESSED*/"
	}
	return nil
}

// readType fills in the type of column i and what belongs to it.
func (b *mapReader) readType(i int, c *schemas.Column) error {
	meta := int(b.tm.ColumnMeta[i])
	switch typ := b.tm.ColumnType[i]; typ {
	case gomysql.MYSQL_TYPE_TINY:
		c.Type = schemas.TinyInt
	case gomysql.MYSQL_TYPE_SHORT:
		c.Type = schemas.SmallInt
	case gomysql.MYSQL_TYPE_INT24:
		c.Type = schemas.MediumInt
	case gomysql.MYSQL_TYPE_LONG:
		c.Type = schemas.Int
	case gomysql.MYSQL_TYPE_LONGLONG:
		c.Type = schemas.BigInt
	case gomysql.MYSQL_TYPE_NEWDECIMAL:
		c.Type, c.Precision, c.Scale = schemas.Decimal, meta>>8, meta&0xff
	case gomysql.MYSQL_TYPE_FLOAT:
		c.Type = schemas.Float
	case gomysql.MYSQL_TYPE_DOUBLE:
		c.Type = schemas.Double
	case gomysql.MYSQL_TYPE_BIT:
		c.Type, c.Length = schemas.Bit, meta>>8*8+meta&0xff
	case gomysql.MYSQL_TYPE_YEAR:
		// The server says UNSIGNED of it; no one writes it so.
		c.Type, c.Unsigned = schemas.Year, false
	case gomysql.MYSQL_TYPE_DATE:
		c.Type = schemas.Date
	case gomysql.MYSQL_TYPE_TIME, gomysql.MYSQL_TYPE_TIME2:
		c.Type, c.Scale = schemas.Time, meta
	case gomysql.MYSQL_TYPE_DATETIME, gomysql.MYSQL_TYPE_DATETIME2:
		c.Type, c.Scale = schemas.DateTime, meta
	case gomysql.MYSQL_TYPE_TIMESTAMP, gomysql.MYSQL_TYPE_TIMESTAMP2:
		c.Type, c.Scale = schemas.Timestamp, meta
	case gomysql.MYSQL_TYPE_JSON:
		c.Type = schemas.JSON
	case gomysql.MYSQL_TYPE_GEOMETRY:
		return b.readGeometry(i, c)
	case gomysql.MYSQL_TYPE_VECTOR:
		c.Type = schemas.Vector
	case typeBlobCompressed, typeVarcharCompressed, gomysql.MYSQL_TYPE_STRING, gomysql.MYSQL_TYPE_VARCHAR, gomysql.MYSQL_TYPE_VAR_STRING, gomysql.MYSQL_TYPE_BLOB:
		return b.readCharacterType(i, c)
	default:
		return b.refuse(i, fmt.Sprintf("columns of binlog type %d are not handled yet", typ), "")
	}
	return nil
}

// readGeometry tells POINT, which Debezium has another type for, from the
// other geometries.
func (b *mapReader) readGeometry(i int, c *schemas.Column) error {
	const point = 1 // as in Well-Known Binary
	if b.geometries >= len(b.tm.GeometryType) {
		return b.refuse(i, "the binlog doesn't tell its type of geometry", "SET PERSIST binlog_row_metadata='FULL'")
	}
	c.Type = schemas.Geometry
	if b.tm.GeometryType[b.geometries] == point {
		c.Type = schemas.Point
	}
	b.geometries++
	return nil
}

// readCharacterType tells CHAR from BINARY, VARCHAR from VARBINARY and TEXT
// from BLOB by the collation, and finds ENUM and SET, which the binlog
// disguises as STRING.
func (b *mapReader) readCharacterType(i int, c *schemas.Column) error {
	typ, meta := plainType(b.tm.ColumnType[i]), b.tm.ColumnMeta[i]
	if b.tm.ColumnType[i] == typeVarcharCompressed {
		meta-- // the byte that tells the method
	}
	var labels [][]byte
	switch real, length := stringType(typ, meta); {
	case real == gomysql.MYSQL_TYPE_ENUM:
		c.Type, labels = schemas.Enum, at(b.tm.EnumStrValue, b.enums)
		b.enums++
	case real == gomysql.MYSQL_TYPE_SET:
		c.Type, labels = schemas.Set, at(b.tm.SetStrValue, b.sets)
		b.sets++
	case b.charset[i] == binaryCollation:
		c.Type = binaryType(typ)
		c.Length = length
		return nil
	default:
		c.Type = textType(typ)
		c.Length = length
	}

	collation, known := b.collations[b.charset[i]]
	if !known {
		return b.refuse(i, fmt.Sprintf("the server doesn't list collation %d of it in information_schema.COLLATIONS", b.charset[i]), "")
	}
	c.Charset, c.Collation = collation.Charset, collation.Name
	if c.Type != schemas.Enum && c.Type != schemas.Set {
		return nil
	}
	if len(labels) == 0 {
		return b.refuse(i, "the binlog doesn't tell its values", "SET PERSIST binlog_row_metadata='FULL'")
	}
	for _, label := range labels {
		text, err := toUTF8(c.Charset, label)
		if err != nil {
			return b.refuse(i, fmt.Sprintf("its values, in character set %s: %v", c.Charset, err), charsetHint)
		}
		c.Values = append(c.Values, text)
	}
	return nil
}

// readKey fills in the primary key.
func (b *mapReader) readKey() error {
	for p, column := range b.tm.PrimaryKey {
		if column >= b.tm.ColumnCount {
			return b.refuse(-1, "its TABLE_MAP event is malformed: a key column that isn't there", "")
		}
		c := &b.table.Columns[column]
		if p < len(b.tm.PrimaryKeyPrefix) && b.tm.PrimaryKeyPrefix[p] != 0 {
			return b.refuse(int(column), "the primary key has only a prefix of it, so that two of its values can be one key",
				fmt.Sprintf("ALTER TABLE %s DROP PRIMARY KEY, ADD PRIMARY KEY (…) with the whole of %s", b.table, c.Name))
		}
		b.table.Key = append(b.table.Key, int(column))
	}
	return nil
}

// stringType takes the metadata of a character column apart: its real type
// and its length in bytes. In that of STRING the high byte is the real type
// with two bits of the length, inverted, in bits 4 and 5.
func stringType(typ byte, meta uint16) (real byte, length int) {
	switch {
	case typ == gomysql.MYSQL_TYPE_BLOB:
		return typ, 0
	case typ != gomysql.MYSQL_TYPE_STRING || meta < 256:
		return typ, int(meta)
	}
	high, low := byte(meta>>8), meta&0xff
	if high&0x30 != 0x30 {
		return high | 0x30, int(low) | int(high&0x30^0x30)<<4
	}
	return high, int(low)
}

func at(lists [][][]byte, i int) [][]byte {
	if i < len(lists) {
		return lists[i]
	}
	return nil
}

// binaryType is the type of a character column with the binary collation.
func binaryType(typ byte) schemas.Type {
	switch typ {
	case gomysql.MYSQL_TYPE_STRING:
		return schemas.Binary
	case gomysql.MYSQL_TYPE_BLOB:
		return schemas.Blob
	}
	return schemas.VarBinary
}

// textType is the type of a character column with any other collation.
func textType(typ byte) schemas.Type {
	switch typ {
	case gomysql.MYSQL_TYPE_STRING:
		return schemas.Char
	case gomysql.MYSQL_TYPE_BLOB:
		return schemas.Text
	}
	return schemas.VarChar
}

// nativeType writes the type as SHOW CREATE TABLE does, as far as the binlog
// tells it: ZEROFILL and the M, D of FLOAT(M,D) are lost.
func nativeType(c *schemas.Column, typ byte, meta uint16) string {
	name := c.Type.String()
	switch c.Type {
	case schemas.Decimal:
		name = fmt.Sprintf("decimal(%d,%d)", c.Precision, c.Scale)
	case schemas.Bit, schemas.Binary, schemas.VarBinary:
		name = fmt.Sprintf("%s(%d)", name, c.Length)
	case schemas.Char, schemas.VarChar:
		name = fmt.Sprintf("%s(%d)", name, c.Length/maxBytes(c.Charset))
	case schemas.Time, schemas.DateTime, schemas.Timestamp:
		if c.Scale > 0 {
			name = fmt.Sprintf("%s(%d)", name, c.Scale)
		}
	case schemas.Text, schemas.Blob:
		sizes := [...]string{1: "tiny", 2: "", 3: "medium", 4: "long"}
		if int(meta) < len(sizes) {
			name = sizes[meta] + name
		}
	case schemas.Enum, schemas.Set:
		quoted := make([]string, len(c.Values))
		for i, v := range c.Values {
			quoted[i] = "'" + strings.ReplaceAll(v, "'", "''") + "'"
		}
		name += "(" + strings.Join(quoted, ",") + ")"
	}
	if c.Unsigned {
		name += " unsigned"
	}
	return name
}

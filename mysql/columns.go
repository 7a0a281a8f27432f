package mysql

import (
	"database/sql"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"

	"duplex/schemas"
)

// columnRow is one row of information_schema.COLUMNS.
type columnRow struct {
	name, dataType, columnType, nullable string
	octets, precision, scale, fraction   sql.NullInt64
	charset, collation                   string
	extra, generation                    string
	preset                               sql.NullString // COLUMN_DEFAULT
	maria                                bool
}

// dataTypes maps DATA_TYPE; it is never written. What isn't here (later
// inventions) is schemas.Unknown, which check and compile refuse by name.
var dataTypes = map[string]schemas.Type{
	"tinyint": schemas.TinyInt, "smallint": schemas.SmallInt, "mediumint": schemas.MediumInt, "int": schemas.Int, "bigint": schemas.BigInt,
	"decimal": schemas.Decimal, "float": schemas.Float, "double": schemas.Double, "bit": schemas.Bit,
	"year": schemas.Year, "date": schemas.Date, "time": schemas.Time, "datetime": schemas.DateTime, "timestamp": schemas.Timestamp,
	"char": schemas.Char, "varchar": schemas.VarChar,
	"tinytext": schemas.Text, "text": schemas.Text, "mediumtext": schemas.Text, "longtext": schemas.Text,
	"binary": schemas.Binary, "varbinary": schemas.VarBinary,
	"tinyblob": schemas.Blob, "blob": schemas.Blob, "mediumblob": schemas.Blob, "longblob": schemas.Blob,
	"enum": schemas.Enum, "set": schemas.Set, "json": schemas.JSON, "vector": schemas.Vector,
	"geometry": schemas.Geometry, "point": schemas.Point, "linestring": schemas.Geometry, "polygon": schemas.Geometry,
	"multipoint": schemas.Geometry, "multilinestring": schemas.Geometry, "multipolygon": schemas.Geometry,
	"geomcollection": schemas.Geometry, "geometrycollection": schemas.Geometry,
	"uuid": schemas.UUID, "inet4": schemas.INET4, "inet6": schemas.INET6,
}

// column turns the row into the table model's column.
func (r *columnRow) column() (schemas.Column, error) {
	c := schemas.Column{
		Name:      r.name,
		Type:      dataTypes[strings.ToLower(r.dataType)],
		Nullable:  r.nullable == "YES",
		Charset:   r.charset,
		Collation: r.collation,
		// EXTRA also says DEFAULT_GENERATED, of a default that is an expression.
		Generated: r.generation != "",
		Default:   r.preset.Valid && !(r.maria && r.preset.String == "NULL") || strings.Contains(r.extra, "auto_increment") || strings.Contains(r.extra, "DEFAULT_GENERATED"),
		Invisible: strings.Contains(r.extra, "INVISIBLE"),
		Native:    r.columnType,
	}
	c.Literal = r.literal(c.Type)
	switch c.Type {
	case schemas.TinyInt, schemas.SmallInt, schemas.MediumInt, schemas.Int, schemas.BigInt, schemas.Float, schemas.Double:
		c.Unsigned = strings.Contains(r.columnType, " unsigned")
		if c.Type == schemas.Float && r.scale.Valid { // FLOAT(M,D)
			c.Precision, c.Scale = int(r.precision.Int64), int(r.scale.Int64)
		}
	case schemas.Decimal:
		c.Unsigned = strings.Contains(r.columnType, " unsigned")
		c.Precision, c.Scale = int(r.precision.Int64), int(r.scale.Int64)
	case schemas.Bit:
		c.Length = int(r.precision.Int64)
	case schemas.Time, schemas.DateTime, schemas.Timestamp:
		c.Scale = int(r.fraction.Int64)
	case schemas.Char, schemas.VarChar, schemas.Binary, schemas.VarBinary:
		c.Length = int(r.octets.Int64)
	case schemas.Enum, schemas.Set:
		var err error
		if c.Values, err = parseLabels(r.columnType); err != nil {
			return c, err
		}
	}
	return c, nil
}

// literal returns the default as schemas.Column.Literal has it. MySQL shows
// literals without quotes and tells expressions in EXTRA; MariaDB writes both as
// they stand in the definition.
func (r *columnRow) literal(t schemas.Type) *string {
	text := r.preset.String
	now := strings.HasPrefix(strings.ToUpper(text), "CURRENT_TIMESTAMP")
	switch {
	case !r.preset.Valid || r.generation != "":
		return nil
	case now && (t == schemas.Timestamp || t == schemas.DateTime):
		text = "CURRENT_TIMESTAMP"
	case strings.Contains(r.extra, "DEFAULT_GENERATED"):
		return nil
	case r.maria && strings.HasPrefix(text, "x'"): // since 11
		text = "0x" + strings.TrimSuffix(text[2:], "'")
	case r.maria && strings.HasPrefix(text, "'"):
		unquoted, rest, ok := quotedPrefix(text)
		if !ok || rest != "" {
			return nil
		}
		text = unquoted
		if t == schemas.Binary || t == schemas.VarBinary || t == schemas.Blob {
			text = "0x" + hex.EncodeToString([]byte(text))
		}
	case r.maria:
		if _, err := strconv.ParseFloat(text, 64); err != nil && !strings.HasPrefix(text, "b'") {
			return nil // NULL, or an expression
		}
	}
	return &text
}

// parseLabels reads the labels out of enum('a','it”s') or set(…). The server
// doubles quotes and writes backslash, NUL, newline, return and ^Z with a
// backslash.
func parseLabels(columnType string) ([]string, error) {
	open := strings.IndexByte(columnType, '(')
	if open < 0 {
		return nil, fmt.Errorf("type %q has no labels", columnType)
	}
	s := columnType[open+1:]
	var labels []string
	for {
		label, rest, ok := quotedPrefix(s)
		if !ok {
			return nil, fmt.Errorf("type %q: its labels can't be read", columnType)
		}
		labels = append(labels, label)
		switch {
		case strings.HasPrefix(rest, ","):
			s = rest[1:]
		case strings.HasPrefix(rest, ")"):
			return labels, nil
		default:
			return nil, fmt.Errorf("type %q: its labels can't be read", columnType)
		}
	}
}

// quotedPrefix reads the quoted string at the start of s.
func quotedPrefix(s string) (text, rest string, ok bool) {
	if !strings.HasPrefix(s, "'") {
		return "", "", false
	}
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch {
		case s[i] == '\\' && i+1 < len(s):
			i++
			b.WriteByte(unescape(s[i]))
		case s[i] != '\'':
			b.WriteByte(s[i])
		case i+1 < len(s) && s[i+1] == '\'':
			i++
			b.WriteByte('\'')
		default:
			return b.String(), s[i+1:], true
		}
	}
	return "", "", false
}

func unescape(c byte) byte {
	switch c {
	case '0':
		return 0
	case 'n':
		return '\n'
	case 'r':
		return '\r'
	case 'Z':
		return 0x1a
	}
	return c
}

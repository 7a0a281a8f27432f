package snapshot

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"duplex/schemas"
)

// Key is the primary key of a row: the texts of its columns, in the key's order, as SELECT
// gives them without converting character sets.
type Key [][]byte

// Range is a part of a table by primary key, in the order that the server has of it.
type Range struct {
	After Key // nil: from the first row
	UpTo  Key // this row included; nil: to the last
}

// errKeyText says that a key isn't one that the server can have given.
var errKeyText = errors.New("its text isn't one of the column's type")

func quoted(name string) string { return "`" + strings.ReplaceAll(name, "`", "``") + "`" }

// where writes the range as a condition. A comparison of rows, (a, b) > (1, 2), is written out: servers
// use the index for this form only.
func (t *Table) where(r Range) (string, error) {
	var conditions []string
	if r.After != nil {
		c, err := t.compare(r.After, ">", ">")
		if err != nil {
			return "", err
		}
		conditions = append(conditions, c)
	}
	if r.UpTo != nil {
		c, err := t.compare(r.UpTo, "<", "<=")
		if err != nil {
			return "", err
		}
		conditions = append(conditions, c)
	}
	if len(conditions) == 0 {
		return "", nil
	}
	return " WHERE " + strings.Join(conditions, " AND "), nil
}

// compare writes (a < 1 OR a = 1 AND b < 2 OR a = 1 AND b = 2 AND c <= 3), operator last being
// the one of the last column.
func (t *Table) compare(key Key, operator, last string) (string, error) {
	if len(key) != len(t.def.Key) {
		return "", fmt.Errorf("table %s: a key of %d columns, the primary key has %d", t.def, len(key), len(t.def.Key))
	}
	var cases, equal []string
	for i, text := range key {
		c := &t.def.Columns[t.def.Key[i]]
		by := operator
		if i == len(key)-1 {
			by = last
		}
		this, err := compareColumn(c, by, text)
		if err != nil {
			return "", fmt.Errorf("table %s, key column %s: %w", t.def, c.Name, err)
		}
		same, _ := compareColumn(c, "=", text) // the same text
		cases = append(cases, strings.Join(append(equal[:len(equal):len(equal)], this), " AND "))
		equal = append(equal, same)
	}
	return "(" + strings.Join(cases, " OR ") + ")", nil
}

// compareColumn compares a key column with the text of one.
func compareColumn(c *schemas.Column, operator string, text []byte) (string, error) {
	value, err := literal(c, text)
	if err != nil {
		return "", err
	}
	if c.Type != schemas.Enum || value == "0" {
		return quoted(c.Name) + operator + value, nil
	}
	// Numbers are ordered as an ENUM is, and no index is used for them; texts have another order. So
	// the labels are named.
	n, err := strconv.Atoi(value)
	if err != nil || n < 0 || n > len(c.Values) {
		return "", errKeyText
	}
	var labels []string
	for i, label := range c.Values {
		if at := i + 1; operator == ">" && at > n || strings.HasPrefix(operator, "<") && at < n || strings.HasSuffix(operator, "=") && at == n {
			labels = append(labels, fmt.Sprintf("_utf8mb4 X'%X'", label))
		}
	}
	var in []string
	if len(labels) > 0 {
		in = append(in, quoted(c.Name)+" IN ("+strings.Join(labels, ", ")+")")
	}
	if strings.HasPrefix(operator, "<") {
		in = append(in, quoted(c.Name)+"=0") // none of the labels
	}
	if len(in) == 0 {
		return "FALSE", nil
	}
	return "(" + strings.Join(in, " OR ") + ")", nil
}

// literal writes the text of a key column as SQL that compares with the column as the text's row does.
// It comes from Kafka, too, so nothing is taken on trust.
func literal(c *schemas.Column, text []byte) (string, error) {
	s := string(text)
	switch c.Type {
	case schemas.Char, schemas.VarChar, schemas.Text:
		return fmt.Sprintf("_%s X'%X'", c.Charset, text), nil
	case schemas.Binary, schemas.VarBinary, schemas.Blob:
		return fmt.Sprintf("X'%X'", text), nil
	case schemas.Bit:
		if len(text) > 8 {
			return "", errKeyText
		}
		var v uint64
		for _, b := range text {
			v = v<<8 | uint64(b)
		}
		return strconv.FormatUint(v, 10), nil
	case schemas.Date, schemas.Time, schemas.DateTime, schemas.Timestamp:
		if strings.Trim(s, "0123456789-:. ") != "" {
			return "", errKeyText
		}
		return "'" + s + "'", nil
	case schemas.UUID, schemas.INET4, schemas.INET6:
		if strings.Trim(s, "0123456789abcdefABCDEF-:.") != "" {
			return "", errKeyText
		}
		return "'" + s + "'", nil
	}
	if s == "" || strings.Trim(s, "0123456789+-.eE") != "" || strings.Contains(s, "--") {
		return "", errKeyText
	}
	return s, nil
}

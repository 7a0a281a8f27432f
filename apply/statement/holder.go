package statement

import "fmt"

// AppendSelectHolder appends a SELECT ... FOR UPDATE of the key columns of the row
// that has what the given row has in unique key i, which must be Whole. Nothing is
// appended where a part is NULL: then no row clashes.
func (b *Binder) AppendSelectHolder(dst []byte, i int, row []byte) (out []byte, null bool, err error) {
	return b.appendHolder(dst, i, row, b.texts.selectHead, " FOR UPDATE")
}

// AppendDeleteHolder appends a DELETE of that row.
func (b *Binder) AppendDeleteHolder(dst []byte, i int, row []byte) (out []byte, null bool, err error) {
	return b.appendHolder(dst, i, row, "DELETE FROM "+qualified(b.table), "")
}

func (b *Binder) appendHolder(dst []byte, i int, row []byte, head, tail string) (out []byte, null bool, err error) {
	start, at, joint := len(dst), 0, " WHERE "
	dst = append(dst, head...)
	for f := range b.row {
		c := &b.row[f]
		part := contains(b.unique[i].Fields, f)
		isNull, next, err := c.field.ReadNull(row, at)
		switch {
		case err != nil:
		case isNull && part:
			return dst[:start], true, nil
		case isNull:
		case part && c.invalid && next < len(row) && row[next] == 0: // index 0 of an ENUM, which no text equals
			dst = append(append(append(dst, joint...), c.quoted...), "=0"...)
			joint = " AND "
			next++
		case part:
			dst = append(append(append(dst, joint...), c.quoted...), '=')
			dst, next, err = c.appendLiteral(dst, row, next)
			joint = " AND "
		default:
			next, err = c.field.SkipValue(row, next)
		}
		if err != nil {
			return dst[:start], false, fmt.Errorf("reading a row of table %s: column %s: %w", b.table, c.quoted, err)
		}
		at = next
	}
	return append(dst, tail...), false, nil
}

// AppendConflictKeyFromResult appends what AppendConflictKey gives for the key of a
// row that AppendSelectHolder returned, in the text protocol.
func (b *Binder) AppendConflictKeyFromResult(dst []byte, cols [][]byte) ([]byte, error) {
	return b.appendResult(dst, cols, (*column).coarsen)
}

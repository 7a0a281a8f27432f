package feed

import (
	"fmt"

	"duplex/schemas"
)

// Table is one version of a table: its columns as they were when a row was
// written. All changes of that version share the same *Table, so a change of
// the pointer is a change of the table.
type Table struct {
	// Region is the region whose topic it is; DB and Name name the table.
	Region, DB, Name string
	// Columns are all columns in the table's order, Key those of the primary
	// key in the key's order.
	Columns, Key []Column
	// ValueSchema and KeySchema are the ids of the schemas in the registry.
	ValueSchema, KeySchema int

	envelope *schemas.EnvelopeReader
	key      *schemas.Record
}

// String returns db.table.
func (t *Table) String() string { return t.DB + "." + t.Name }

// Column is one column.
type Column struct {
	Name string
	// Kind tells the type of its values; see the table in the package's
	// documentation.
	Kind     string
	Nullable bool
	// Precision and Scale are those of kind decimal, Length the bits of bits.
	Precision, Scale, Length int
}

func columnsOf(r *schemas.Record) []Column {
	columns := make([]Column, len(r.Fields))
	for i := range r.Fields {
		f := &r.Fields[i]
		columns[i] = Column{f.Name, f.Kind.String(), f.Nullable, f.Precision, f.Scale, f.Length}
	}
	return columns
}

// Row is a row, or a key. Its cells are decoded when they are asked for. It
// isn't safe for concurrent use.
type Row struct {
	columns []Column
	record  *schemas.Record
	data    []byte
	spans   []schemas.Span // nil until the first cell is asked for
}

// Columns returns the row's columns; they must not be changed.
func (r *Row) Columns() []Column { return r.columns }

// At returns the value of a column by its place in Columns; nil is NULL.
func (r *Row) At(column int) (any, error) {
	if r.spans == nil {
		spans := make([]schemas.Span, len(r.columns))
		if err := r.record.Split(r.data, spans); err != nil {
			return nil, fmt.Errorf("reading row: %w", err)
		}
		r.spans = spans
	}
	span := r.spans[column]
	if span.Null() {
		return nil, nil
	}
	v, err := decodeValue(&r.record.Fields[column], r.data[span.Value:span.To])
	if err != nil {
		return nil, fmt.Errorf("reading column %q: %w", r.columns[column].Name, err)
	}
	return v, nil
}

// Get returns the value of a column by its name, which is compared without
// case, as MySQL does; nil is NULL.
func (r *Row) Get(column string) (any, error) {
	i := r.record.Field(column)
	if i < 0 {
		return nil, fmt.Errorf("reading column %q: the table had none of that name when the row was written", column)
	}
	return r.At(i)
}

// Map returns all columns by name.
func (r *Row) Map() (map[string]any, error) {
	m := make(map[string]any, len(r.columns))
	for i := range r.columns {
		v, err := r.At(i)
		if err != nil {
			return nil, err
		}
		m[r.columns[i].Name] = v
	}
	return m, nil
}

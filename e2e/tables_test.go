package e2e_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"time"

	"duplex/change"
)

// rowSentinel is in every row that the load writes. It must never be in a log.
const rowSentinel = "v4lue-0f-a-r0w"

// table is a table of the load. Besides the columns given here each has side,
// which region's load wrote the row, and op, the number of that change.
type table struct {
	name    string
	keys    []string // primary key
	columns []string // those that values gives
	create  string   // columns and keys, as in CREATE TABLE
	// newKey makes the key of a new row; nil where the server numbers rows.
	newKey func(w *writer) []any
	values func(w *writer) []any
	// rekey is set if a row may get another key by UPDATE.
	rekey func(w *writer, old []any) []any
	// unique names a column with values of its own, which may be swapped
	// between rows and taken over by others.
	unique string
	// parent names the table that holds the first key column's row.
	parent string
	// documents are the JSON columns.
	documents []string
	// folds is set if keys that differ in case only are the same.
	folds bool
	// pads is set if keys that differ in spaces at their end only are the same.
	pads bool
	// spelling is the form of a key that all texts share which the server takes for it.
	spelling func(string) string
	// rank is set if the task's policy for the table goes by more than versions: the greater stays of
	// two writes of which neither had seen the other.
	rank func(origin change.Region, before, after content) int64
}

// text gives the key in the form in which ledger and binlogs name it.
func (t *table) text(key []any) string {
	parts := make([]string, len(key))
	for i, k := range key {
		parts[i] = fmt.Sprint(k)
		if t.folds {
			parts[i] = strings.ToLower(parts[i])
		}
		if t.pads {
			parts[i] = strings.TrimRight(parts[i], " ")
		}
		if t.spelling != nil {
			parts[i] = t.spelling(parts[i])
		}
	}
	return strings.Join(parts, "|")
}

// loadTables are the tables that the load writes to: each kind of key, keys
// compared by bytes and by collation, a secondary unique key, a foreign key,
// all common types.
func loadTables() []*table {
	return []*table{
		{
			name: "orders", keys: []string{"id"}, columns: []string{"customer", "amount", "note"},
			create: "id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY, customer VARCHAR(100) NOT NULL, amount DECIMAL(12,2), note TEXT",
			values: func(w *writer) []any { return []any{w.text(60), w.decimal(10, 2), maybe(w, w.text(300))} },
		},
		{
			name: "stock", keys: []string{"warehouse", "sku"}, columns: []string{"quantity", "label"},
			create: "warehouse INT NOT NULL, sku VARCHAR(40) CHARACTER SET ascii NOT NULL, quantity INT NOT NULL, label VARCHAR(200), PRIMARY KEY (warehouse, sku), KEY (quantity)",
			newKey: func(w *writer) []any { return []any{w.IntN(5), w.id("sku")} },
			values: func(w *writer) []any { return []any{w.IntN(1000), w.text(80)} },
			rekey:  func(w *writer, old []any) []any { return []any{w.IntN(5), w.id("sku")} },
		},
		{
			name: "tags", keys: []string{"name"}, columns: []string{"weight", "about"},
			create: "name VARCHAR(64) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL PRIMARY KEY, weight DOUBLE, about VARCHAR(255)",
			newKey: func(w *writer) []any { return []any{caseOf(w.Rand, w.id("тег-é-🏷"))} },
			values: func(w *writer) []any { return []any{w.NormFloat64(), maybe(w, w.text(100))} },
			rekey:  func(w *writer, old []any) []any { return []any{caseOf(w.Rand, w.id("Tag"))} },
		},
		{
			name: "labels", keys: []string{"name"}, columns: []string{"about"}, folds: true,
			create: "name VARCHAR(64) NOT NULL PRIMARY KEY, about VARCHAR(255)",
			newKey: func(w *writer) []any { return []any{caseOf(w.Rand, w.id("label"))} },
			values: func(w *writer) []any { return []any{w.text(100)} },
			// The same key to the server, other bytes.
			rekey: func(w *writer, old []any) []any { return []any{caseOf(w.Rand, old[0].(string))} },
		},
		{
			name: "seats", keys: []string{"id"}, columns: []string{"holder"}, unique: "code",
			create: "id INT NOT NULL PRIMARY KEY, code VARCHAR(40) UNIQUE, holder VARCHAR(100)",
			newKey: func(w *writer) []any { return []any{w.number()} },
			values: func(w *writer) []any { return []any{w.text(40)} },
		},
		{
			name: "invoices", keys: []string{"id"}, columns: []string{"total", "at"},
			create: "id BIGINT NOT NULL PRIMARY KEY, total DECIMAL(20,4) NOT NULL, at DATETIME(6) NOT NULL",
			newKey: func(w *writer) []any { return []any{w.number()} },
			values: func(w *writer) []any { return []any{w.decimal(16, 4), w.moment(6)} },
		},
		{
			name: "invoice_lines", keys: []string{"invoice", "line"}, columns: []string{"text"}, parent: "invoices",
			create: "invoice BIGINT NOT NULL, line INT NOT NULL, text VARCHAR(200), PRIMARY KEY (invoice, line), FOREIGN KEY (invoice) REFERENCES invoices (id)",
			newKey: func(w *writer) []any { return []any{nil, w.number()} }, // the writer fills in the parent's key
			values: func(w *writer) []any { return []any{w.text(120)} },
		},
		kinds(),
	}
}

// kinds has a column of each common type.
func kinds() *table {
	return &table{
		name: "kinds", keys: []string{"id"}, documents: []string{"doc"},
		columns: []string{"tiny", "small", "medium", "ubig", "f", "d", "dec_", "bits", "day", "at", "stamp", "span", "y", "colour", "flags", "doc", "raw", "blob_", "fixed", "latin", "long_"},
		create: "id BIGINT NOT NULL PRIMARY KEY, tiny TINYINT, small SMALLINT UNSIGNED, medium MEDIUMINT, ubig BIGINT UNSIGNED, f FLOAT, d DOUBLE, dec_ DECIMAL(40,12), " +
			"bits BIT(12), day DATE, at DATETIME(6), stamp TIMESTAMP(3) NULL, span TIME(6), y YEAR, colour ENUM('red','green','blue'), flags SET('a','b','c'), " +
			"doc JSON, raw VARBINARY(64), blob_ BLOB, fixed CHAR(12), latin VARCHAR(60) CHARACTER SET latin1, long_ MEDIUMTEXT",
		newKey: func(w *writer) []any { return []any{w.number()} },
		values: func(w *writer) []any {
			return []any{
				maybe(w, w.IntN(256)-128), w.IntN(65536), w.IntN(1<<24) - 1<<23, maybe(w, w.Uint64()), float32(w.NormFloat64()), w.NormFloat64() * math.Pow(10, float64(w.IntN(200)-100)),
				w.decimal(28, 12), w.bytesOf(2, 0x0f), w.moment(0)[:10], maybe(w, w.moment(6)), w.moment(3), fmt.Sprintf("-%d:%02d:%02d.%06d", w.IntN(838), w.IntN(60), w.IntN(60), w.IntN(1e6)), 1950 + w.IntN(200),
				[]string{"red", "green", "blue"}[w.IntN(3)], []string{"", "a", "a,c", "b,c", "a,b,c"}[w.IntN(5)],
				fmt.Sprintf(`{"n": %d, "x": [%g, null, true], "s": "%s \"é🏷\""}`, w.IntN(1e9), w.NormFloat64(), rowSentinel), w.bytesOf(1+w.IntN(60), 0xff), maybe(w, w.bytesOf(w.IntN(500), 0xff)),
				"fix" + w.decimal(4, 0), "Zürich " + rowSentinel, maybe(w, w.text(2000)),
			}
		},
	}
}

// statement returns what makes the table.
func (t *table) statement() string {
	return "CREATE TABLE shop." + t.name + " (" + t.create + ", side CHAR(1) CHARACTER SET ascii NOT NULL, op BIGINT NOT NULL) CHARACTER SET utf8mb4"
}

// maybe is a column that may be NULL.
func maybe(w *writer, v any) any {
	if w.IntN(8) == 0 {
		return nil
	}
	return v
}

// caseOf writes some letters of s the other way.
func caseOf(r *rand.Rand, s string) string {
	switch r.IntN(3) {
	case 0:
		return strings.ToUpper(s)
	case 1:
		return strings.ToLower(s)
	default:
		return s
	}
}

// text is a value of at most about n bytes.
func (w *writer) text(n int) string {
	const letters = "abc xyz ÄÖ漢字🏷'\"\\\n%_;--"
	var b strings.Builder
	b.WriteString(rowSentinel)
	runes := []rune(letters)
	for limit := w.IntN(n); b.Len() < limit; {
		b.WriteRune(runes[w.IntN(len(runes))])
	}
	return b.String()
}

func (w *writer) decimal(digits, scale int) string {
	s := ""
	for range 1 + w.IntN(digits) {
		s += string(rune('0' + w.IntN(10)))
	}
	if scale > 0 {
		s += fmt.Sprintf(".%0*d", scale, w.Int64N(int64(math.Pow(10, float64(scale)))))
	}
	if w.IntN(2) == 0 && scale > 0 {
		s = "-" + s
	}
	return s
}

// moment is a time with that many digits of a second's fraction.
func (w *writer) moment(digits int) string {
	t := time.Unix(w.Int64N(2e9)+1e6, w.Int64N(1e9)).UTC()
	layout := "2006-01-02 15:04:05"
	if digits > 0 {
		layout += "." + strings.Repeat("0", digits)
	}
	return t.Format(layout)
}

// bytesOf is n bytes, of which the first has no bits but those of mask.
func (w *writer) bytesOf(n int, mask byte) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(w.Uint32())
	}
	if n > 0 {
		b[0] &= mask
	}
	return b
}

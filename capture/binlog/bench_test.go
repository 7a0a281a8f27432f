package binlog

import (
	"fmt"
	"strings"
	"testing"

	"duplex/internal/testbed"
	"duplex/schemas"
)

// ordersTable is the table that all measurements of the project are made with.
const ordersTable = `CREATE TABLE d.orders (id BIGINT UNSIGNED NOT NULL PRIMARY KEY, customer_id BIGINT NOT NULL, status VARCHAR(16) NOT NULL,
	amount DECIMAL(12,2) NOT NULL, tax DECIMAL(12,2) NOT NULL, qty INT NOT NULL, note VARCHAR(100), email VARCHAR(64) NOT NULL,
	created_at DATETIME(6) NOT NULL, updated_at TIMESTAMP(6) NOT NULL, flags TINYINT NOT NULL, score DOUBLE)`

// BenchmarkDecode decodes the same inserted rows, as a server wrote them, with
// the compiled decoder (to Avro) and with go-mysql's (to Go values, which
// would still have to be encoded).
func BenchmarkDecode(b *testing.B) {
	s := startSource(b, testbed.MySQL97)
	from := s.position(b)
	s.exec(b, ordersTable)
	const rows = 5000
	values := make([]string, rows)
	for i := range values {
		values[i] = fmt.Sprintf("(%d, %d, 'status%d', %d.%02d, -%d.5, %d, 'a note of some length, number %d', 'customer%d@example.com', '2024-03-%02d 12:34:56.%06d', '2024-05-%02d 01:02:03.%06d', %d, %d.25)",
			i, i*7%1000, i%5, i*31%100000, i%100, i%50, i%1000, i, i*7%1000, i%28+1, i, i%28+1, i*3, i%3, i)
	}
	s.exec(b, "INSERT INTO d.orders VALUES "+strings.Join(values, ","))
	events := s.headers(b, from, s.position(b))
	bytes := 0
	for _, ev := range events {
		bytes += len(ev.images)
	}
	rate := func(b *testing.B) {
		b.ReportMetric(float64(rows)*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
	}

	b.Run("duplex", func(b *testing.B) {
		table, err := TableFromMap(events[0].Table, s.collations(b))
		if err != nil {
			b.Fatal(err)
		}
		d, err := CompileRow(table, events[0].Table)
		if err != nil {
			b.Fatal(err)
		}
		dst, key, exact := make([]byte, 0, 4096), make([]Span, d.KeyLen()), new(schemas.Exact)
		b.ReportAllocs()
		b.SetBytes(int64(bytes))
		for b.Loop() {
			for _, ev := range events {
				for rest := ev.images; len(rest) > 0; {
					if _, rest, err = d.Decode(dst[:0], rest, ev.ColumnBitmap1, key, exact); err != nil {
						b.Fatal(err)
					}
				}
			}
		}
		rate(b)
	})
	b.Run("go-mysql", func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(int64(bytes))
		for b.Loop() {
			for _, ev := range events {
				again := *ev.RowsEvent
				if err := again.DecodeData(0, ev.images); err != nil {
					b.Fatal(err)
				}
			}
		}
		rate(b)
	})
}

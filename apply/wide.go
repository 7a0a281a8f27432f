package apply

import (
	"context"
	"fmt"
	"runtime/debug"

	"duplex/apply/statement"
)

// verb is how rows are written: inserts of rows that are absent, or upserts.
type verb struct {
	rows func(b *statement.Binder, dst []byte, rows [][]byte) ([]byte, error)
	wide func(b *statement.Binder, dst, row []byte) ([]byte, []statement.WideValue, error)
}

// insert and upsert are the verbs.
func insert() verb {
	return verb{(*statement.Binder).AppendInsert, (*statement.Binder).AppendWideInsert}
}
func upsert() verb {
	return verb{(*statement.Binder).AppendUpsert, (*statement.Binder).AppendWideUpsert}
}

// wideRow is from how many bytes on a row is written by a statement of its own,
// to which its large values are sent one by one.
const wideRow = 1 << 20

// freeBytes is from how many bytes on what precedes a row isn't left to the
// collector, which might come only when there is twice as much.
const freeBytes = 16 << 20

// store writes row images: those of usual size in as few statements as may be,
// each wide one by itself.
func (w *writer) store(ctx context.Context, t *boundTable, images [][]byte, how verb) error {
	usual := images[:0]
	for _, image := range images {
		if len(image) < wideRow {
			usual = append(usual, image)
			continue
		}
		if err := w.wide(ctx, t, image, how); err != nil {
			return err
		}
	}
	return w.chunks(ctx, t, usual, func(dst []byte, rows [][]byte) ([]byte, error) { return how.rows(t.binder, dst, rows) })
}

// arguments are values that go by placeholders.
func (w *writer) arguments(values []statement.WideValue) ([]any, error) {
	args := make([]any, len(values))
	for i, v := range values {
		if int64(len(v.Value)) > w.maxPacket {
			return nil, &tooWideError{v.Column, len(v.Value), w.maxPacket}
		}
		args[i] = v.Value
	}
	return args, nil
}

// wide writes one row. The driver sends each large value in packets of its own
// and has only that one in memory twice.
func (w *writer) wide(ctx context.Context, t *boundTable, image []byte, how verb) error {
	text, values, err := how.wide(t.binder, w.text[:0], image)
	if err != nil {
		return t.failure(err)
	}
	w.text = text
	args, err := w.arguments(values)
	if err != nil {
		return t.failure(err)
	}
	if len(image) >= freeBytes {
		debug.FreeOSMemory() // the driver is about to make a copy of each value
	}
	if _, err := w.conn.ExecContext(ctx, string(text), args...); err != nil {
		return t.failure(err)
	}
	return nil
}

// tooWideError says that the target takes no value of that size.
type tooWideError struct {
	column string
	size   int
	most   int64
}

// Error names the column, both sizes, and the mend.
func (e *tooWideError) Error() string {
	return fmt.Sprintf("column %s: a value has %d bytes, more than max_allowed_packet of this server, %d; mend: SET PERSIST max_allowed_packet = %d (MariaDB: SET GLOBAL, and the same in its option file), then duplex resume",
		e.column, e.size, e.most, nextPacket(int64(e.size)))
}

// nextPacket returns a max_allowed_packet that a value of that size fits in:
// the server rounds it down to whole KiB and has 1 GiB at most.
func nextPacket(size int64) int64 {
	packet := int64(16 << 20)
	for packet < size {
		packet *= 2
	}
	return min(packet, 1<<30)
}

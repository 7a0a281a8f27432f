package apply

import "sync/atomic"

// toll counts changes by what they do, and their bytes in Kafka.
type toll struct{ inserts, updates, deletes, copied, bytes int64 }

// add counts a change: op is Debezium's.
func (t *toll) add(op byte, bytes int64) {
	switch op {
	case 'c':
		t.inserts++
	case 'u':
		t.updates++
	case 'd':
		t.deletes++
	case 'r':
		t.copied++
	}
	t.bytes += bytes
}

// tolls are those of all batches.
type tolls struct{ inserts, updates, deletes, copied, bytes atomic.Int64 }

func (t *tolls) add(of toll) {
	t.inserts.Add(of.inserts)
	t.updates.Add(of.updates)
	t.deletes.Add(of.deletes)
	t.copied.Add(of.copied)
	t.bytes.Add(of.bytes)
}

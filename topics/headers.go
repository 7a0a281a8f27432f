package topics

import (
	"errors"
	"strconv"

	"duplex/change"

	"github.com/twmb/franz-go/pkg/kgo"
)

// The headers of a change. They let a reader drop what it doesn't want
// without decoding the record. Numbers are decimal text.
const (
	HeaderOrigin = "origin"
	HeaderSeq    = "seq"
	HeaderHLC    = "hlc"
	// HeaderNewKey is on the delete and its tombstone, HeaderOldKey on the insert that an update
	// of a primary key becomes: the other's key, as Kafka Connect writes a
	// record into a header.
	HeaderNewKey = "__debezium.newkey"
	HeaderOldKey = "__debezium.oldkey"
	// HeaderExact has, in binary, the values that Debezium's form can't hold; it
	// is there only where one is. See schemas.Exact.
	HeaderExact = "exact"
	// HeaderCascade is on a delete, or a change of a referenced column, at which
	// the server changed other rows by its foreign keys and logged none of them. It
	// has these keys, as JSON. The transaction's END record has it too, with
	// the value yes.
	HeaderCascade = "cascade"
	// HeaderVersion is on the deletion of a row that yielded a unique value to
	// another: the version that it has, that of the other one. See AppendVersion.
	HeaderVersion = "version"
	// HeaderYielded is on the END record of a transaction that makes room for unique
	// values: the rows, not there in this region, that are deleted all the same.
	// See Yielded.
	HeaderYielded = "yielded"
)

// HeaderCount is how many headers every change has.
const HeaderCount = 3

// Headers returns the headers of every change of one transaction. The slice
// may be shared by all its records.
func Headers(s change.Stamp) []kgo.RecordHeader {
	headers, _ := AppendHeaders(nil, nil, s)
	return headers
}

// AppendHeaders appends the headers of every change of one transaction to dst
// and their text to text, which the headers go on pointing into.
func AppendHeaders(dst []kgo.RecordHeader, text []byte, s change.Stamp) ([]kgo.RecordHeader, []byte) {
	from := len(text)
	text = append(text, s.Origin...)
	origin := len(text)
	text = strconv.AppendInt(text, int64(s.Seq), 10)
	seq := len(text)
	text = strconv.AppendInt(text, int64(s.HLC), 10)
	return append(dst,
		kgo.RecordHeader{Key: HeaderOrigin, Value: text[from:origin:origin]},
		kgo.RecordHeader{Key: HeaderSeq, Value: text[origin:seq:seq]},
		kgo.RecordHeader{Key: HeaderHLC, Value: text[seq:len(text):len(text)]},
	), text
}

// Origin reads what every reader needs of a change's headers. The error tells
// that the record isn't one of ours.
func Origin(r *kgo.Record) (origin []byte, seq change.Seq, err error) {
	origins, seqs := 0, 0
	for i := range r.Headers {
		h := &r.Headers[i]
		switch h.Key {
		case HeaderOrigin:
			origin = h.Value
			origins++
		case HeaderSeq:
			n, ok := parseDecimal(h.Value)
			if !ok {
				return nil, 0, errors.New("its header seq is not a number")
			}
			seq = change.Seq(n)
			seqs++
		}
	}
	if origins != 1 || seqs != 1 {
		return nil, 0, errors.New("it has not one header origin and one seq")
	}
	return origin, seq, nil
}

// Clock reads a change's hlc. The error tells that the record isn't one of ours.
func Clock(r *kgo.Record) (change.HLC, error) {
	n, ok := parseDecimal(header(r, HeaderHLC))
	if !ok {
		return 0, errors.New("it has no header hlc with a number")
	}
	return change.HLC(n), nil
}

// Exact returns the values that Debezium's form can't hold, nil if there are
// none, which is nearly always so.
func Exact(r *kgo.Record) []byte { return header(r, HeaderExact) }

// Cascade returns the foreign keys by which the server changed other rows along
// with the change, nil if it changed none unlogged, which is nearly always so.
func Cascade(r *kgo.Record) []byte { return header(r, HeaderCascade) }

// Moved reports whether the record is one of the two halves of an update that
// changed the primary key: the delete, for which half is HeaderNewKey, or the
// insert, for which it is HeaderOldKey.
func Moved(r *kgo.Record, half string) bool { return header(r, half) != nil }

// header returns a header's value. It is looked for from the end, where those
// are that not every change has.
func header(r *kgo.Record, key string) []byte {
	for i := len(r.Headers) - 1; i >= 0; i-- {
		if r.Headers[i].Key == key {
			return r.Headers[i].Value
		}
	}
	return nil
}

// parseDecimal reads what AppendInt wrote, without allocating.
func parseDecimal(b []byte) (int64, bool) {
	if len(b) == 0 || len(b) > 19 {
		return 0, false
	}
	var n int64
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int64(c-'0')
	}
	return n, n >= 0
}

package topics

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	"duplex/change"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Yielded is a row that yielded a unique value to another one in a region where it
// wasn't: there is no change of it there, and the other regions delete it.
type Yielded struct {
	// Topic, KeySchema and ValueSchema are those of a record of the row, Key is the
	// record's key without its header.
	Topic       string        `json:"topic"`
	KeySchema   int           `json:"key_schema"`
	ValueSchema int           `json:"value_schema"`
	Key         []byte        `json:"key"` // base64
	Origin      change.Region `json:"origin"`
	HLC         change.HLC    `json:"hlc"`
}

// Version is that of the deletion.
func (y *Yielded) Version() change.Version { return change.Version{HLC: y.HLC, Origin: y.Origin} }

// YieldedHeader returns HeaderYielded with these rows; there may be none.
func YieldedHeader(rows []Yielded) (kgo.RecordHeader, error) {
	if rows == nil {
		rows = []Yielded{}
	}
	text, err := json.Marshal(rows)
	return kgo.RecordHeader{Key: HeaderYielded, Value: text}, err
}

// YieldedRows reads HeaderYielded of an END record. is tells whether it has one.
func YieldedRows(r *kgo.Record) (rows []Yielded, is bool, err error) {
	text := header(r, HeaderYielded)
	if text == nil {
		return nil, false, nil
	}
	if err := json.Unmarshal(text, &rows); err != nil {
		return nil, true, fmt.Errorf("reading header %s: %w", HeaderYielded, err)
	}
	return rows, true, nil
}

// VersionHeader returns HeaderVersion: the HLC, in decimal, a space, and the origin.
func VersionHeader(v change.Version) kgo.RecordHeader {
	return kgo.RecordHeader{Key: HeaderVersion, Value: fmt.Appendf(nil, "%d %s", int64(v.HLC), v.Origin)}
}

// Version reads HeaderVersion. given is false where the record has none: its
// version is that of its stamp.
func Version(r *kgo.Record) (v change.Version, given bool, err error) {
	if len(r.Headers) <= HeaderCount {
		return v, false, nil
	}
	text := header(r, HeaderVersion)
	if text == nil {
		return v, false, nil
	}
	hlc, origin, _ := bytes.Cut(text, []byte(" "))
	n, ok := parseDecimal(hlc)
	if !ok || len(origin) == 0 {
		return v, true, errors.New("its header version is not a number and a region")
	}
	return change.Version{HLC: change.HLC(n), Origin: change.Region(origin)}, true, nil
}

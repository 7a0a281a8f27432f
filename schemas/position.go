package schemas

import (
	"fmt"
	"slices"
	"strings"

	"github.com/linkedin/goavro/v2"

	"duplex/change"
)

// PositionSchema is the schema of a record of topic duplex.positions.
const PositionSchema = `{"type":"record","name":"Position","namespace":"duplex","fields":[` +
	`{"name":"engine","type":"string"},{"name":"position","type":"string"},{"name":"seq","type":"long"},{"name":"hlc","type":"long"},` +
	`{"name":"seen","type":{"type":"array","items":` + seenSchema + `}},` +
	`{"name":"updated_ms","type":"long"},{"name":"version","type":"string"}` + seenByTask + `],"connect.version":1,"connect.name":"duplex.Position"}`

// Position tells how far a capture has published its region's stream.
type Position struct {
	Engine string
	// Text is the position as the engine's reader writes it; only that reader
	// may compare two of them.
	Text string
	// Seq and HLC are the last that were given, Seen what had been applied.
	Seq  change.Seq
	HLC  change.HLC
	Seen change.Seen
	// UpdatedMillis is the time of writing, Unix milliseconds.
	UpdatedMillis int64
	// Version is that of the program that wrote the record.
	Version string
}

// PositionCodec writes and reads records of schema PositionSchema.
type PositionCodec struct{ codec *goavro.Codec }

// NewPositionCodec compiles PositionSchema.
func NewPositionCodec() (*PositionCodec, error) {
	codec, err := goavro.NewCodec(PositionSchema)
	if err != nil {
		return nil, fmt.Errorf("compiling position schema: %w", err)
	}
	return &PositionCodec{codec}, nil
}

// Append appends the Avro encoding of p.
func (c *PositionCodec) Append(dst []byte, p *Position) ([]byte, error) {
	var seen, byTask []any
	for _, s := range p.Seen.Regions() {
		seen = append(seen, map[string]any{"region": string(s.Region), "seq": int64(s.Seq)})
	}
	for _, s := range p.Seen {
		byTask = append(byTask, map[string]any{"region": string(s.Region), "task": s.Task, "seq": int64(s.Seq)})
	}
	dst, err := c.codec.BinaryFromNative(dst, map[string]any{
		"engine": p.Engine, "position": p.Text, "seq": int64(p.Seq), "hlc": int64(p.HLC), "seen": seen,
		"updated_ms": p.UpdatedMillis, "version": p.Version, "seen_by_task": byTask,
	})
	if err != nil {
		return dst, fmt.Errorf("writing position: %w", err)
	}
	return dst, nil
}

// maxPositionBytes bounds a position record: GTID sets are long, but not so
// long. goavro allocates by the counts that it reads.
const maxPositionBytes = 1 << 20

// Read reads a record of that schema, which must be PositionSchema, or what that was when there was no more
// than one task.
func (c *PositionCodec) Read(schema string, data []byte) (*Position, error) {
	if sameSchema("", schema, strings.Replace(PositionSchema, seenByTask, "", 1)) == nil {
		data = append(slices.Clip(data), 0) // an empty seen_by_task
	} else if err := sameSchema("capture positions", schema, PositionSchema); err != nil {
		return nil, err
	}
	if len(data) > maxPositionBytes {
		return nil, fmt.Errorf("reading position: it has %d bytes, at most %d are read", len(data), maxPositionBytes)
	}
	native, rest, err := c.codec.NativeFromBinary(data)
	if err != nil {
		return nil, fmt.Errorf("reading position: %w", err)
	}
	if len(rest) > 0 {
		return nil, fmt.Errorf("reading position: %w", errTrailing)
	}
	m := native.(map[string]any) // the schema is a record: goavro gives nothing else
	p := &Position{
		Engine: m["engine"].(string), Text: m["position"].(string), Seq: change.Seq(m["seq"].(int64)), HLC: change.HLC(m["hlc"].(int64)),
		UpdatedMillis: m["updated_ms"].(int64), Version: m["version"].(string),
	}
	entries := m["seen_by_task"].([]any)
	if len(entries) == 0 {
		entries = m["seen"].([]any)
	}
	for _, item := range entries {
		s := item.(map[string]any)
		task, _ := s["task"].(string)
		p.Seen = p.Seen.With(change.Region(s["region"].(string)), task, change.Seq(s["seq"].(int64)))
	}
	return p, nil
}

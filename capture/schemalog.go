package capture

import (
	"context"
	"strings"
	"time"

	"duplex/capture/binlog"
	"duplex/change"
	"duplex/schemas"
	"duplex/topics"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// schemaLog makes the records of topic <region>.ddl: the statements on captured
// tables, in order with the transactions around them.
type schemaLog struct {
	topic          string
	keyID, valueID int
	writer         *schemas.SchemaChangeWriter
	captured       func(db, table string) bool
}

func newSchemaLog(ctx context.Context, admin *kadm.Client, s *session, registry *schemas.Registry) (schemaLog, error) {
	c := s.c
	cfg := c.cfg.Process
	l := schemaLog{topic: topics.DDL(cfg.Region), captured: s.captured, writer: schemas.NewSchemaChangeWriter(cfg.Region, cfg.Engine, c.cfg.Version)}
	err := topics.EnsureOrdered(ctx, admin, cfg.Kafka, l.topic)
	if err != nil {
		return l, err
	}
	if l.keyID, err = registry.Register(ctx, l.topic+"-key", schemas.SchemaChangeKeySchema(cfg.Engine)); err != nil {
		return l, err
	}
	l.valueID, err = registry.Register(ctx, l.topic+"-value", schemas.SchemaChangeSchema(cfg.Engine))
	return l, err
}

// record makes the record of a statement. Its stamp is that of the last
// transaction before it, since a statement has no number of its own.
func (l *schemaLog) record(ev *binlog.Event, d *ddlStatement, last change.Stamper) *kgo.Record {
	stamp := change.Stamp{Origin: last.Region, Seq: last.Seq, HLC: last.HLC}
	c := schemas.SchemaChange{
		Source: &schemas.Source{TsMicros: ev.CommitMicros, ServerID: ev.ServerID, GTID: ev.GTID.String(), File: ev.File, Pos: ev.Pos, Stamp: stamp},
		DB:     ev.Schema, Statement: ev.Statement, Change: d.change, Millis: time.Now().UnixMilli(),
	}
	var named []string
	for _, t := range d.tables {
		c.DB = t.db
		if t.table != "" && l.captured(t.db, t.table) {
			c.Tables = append(c.Tables, [2]string{t.db, t.table})
			named = append(named, t.table)
		}
	}
	c.Table = strings.Join(named, ",")
	return &kgo.Record{
		Topic: l.topic, Headers: topics.Headers(stamp),
		Key:   schemas.AppendString(schemas.AppendHeader(nil, l.keyID), c.DB),
		Value: l.writer.Append(schemas.AppendHeader(nil, l.valueID), &c),
	}
}

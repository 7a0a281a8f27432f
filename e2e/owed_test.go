package e2e_test

import (
	"context"
	encoding "encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"duplex/change"
	"duplex/feed"
	"duplex/topics"

	"github.com/twmb/franz-go/pkg/kgo"
)

// owed is what the rows of gifts must be: of each the newest of all that was published, by applications and by
// regions that deleted it for its unique value.
type owed struct {
	newest map[int64]change.Version
	rows   map[int64]string // "" for none
	given  map[topicPlace]bool
}

type topicPlace struct {
	topic     string
	partition int32
	offset    int64
}

// owed reads that, where all that applications wrote precedes the last fence.
func (u *gifts) owed() string {
	u.t.Helper()
	o := &owed{map[int64]change.Version{}, map[int64]string{}, map[topicPlace]bool{}}
	for _, s := range u.p.sides() {
		own := func(r *kgo.Record) error { return o.deleted(r) }
		if err := errors.Join(readRecords(u.p, s.region+".shop.gifts", own), readRecords(u.p, s.region+".transaction", o.yielded)); err != nil {
			u.t.Fatalf("reading what %s deleted: %v", s.region, err)
		}
	}
	for _, s := range u.p.sides() {
		if err := u.written(s, o); err != nil {
			u.t.Fatalf("reading what %s wrote: %v", s.region, err)
		}
	}
	var all []string
	for _, id := range slices.Sorted(maps.Keys(o.rows)) {
		if o.rows[id] != "" {
			all = append(all, o.rows[id])
		}
	}
	return strings.Join(all, " ")
}

func (o *owed) note(id int64, v change.Version, row string) {
	if o.newest[id].Compare(v) <= 0 {
		o.newest[id], o.rows[id] = v, row
	}
}

// deleted takes a deletion that has a version of its own.
func (o *owed) deleted(r *kgo.Record) error {
	v, given, err := topics.Version(r)
	if err != nil || !given {
		return err
	}
	o.given[topicPlace{r.Topic, r.Partition, r.Offset}] = true
	return o.gone(r.Key[5:], v)
}

// yielded takes those of rows that weren't in the region.
func (o *owed) yielded(r *kgo.Record) error {
	rows, _, err := topics.YieldedRows(r)
	for i := range rows {
		err = errors.Join(err, o.gone(rows[i].Key, rows[i].Version()))
	}
	return err
}

func (o *owed) gone(key []byte, v change.Version) error {
	id, n := encoding.Varint(key)
	if n != len(key) {
		return fmt.Errorf("key %x is no id", key)
	}
	o.note(id, v, "")
	return nil
}

// written reads what the applications of a region wrote.
func (u *gifts) written(s *side, o *owed) error {
	ctx, cancel := context.WithTimeout(u.t.Context(), 5*time.Minute)
	defer cancel()
	_, registry := services.get(u.t)
	reader, err := feed.Open(ctx, feed.Config{
		Kafka: feed.Kafka{Brokers: u.p.kafka.Brokers()}, Registry: feed.Registry{URL: registry.URL()},
		Region: s.region, Tables: []string{"shop.*"}, Accept: feed.Only(s.region),
	})
	if err != nil {
		return err
	}
	defer reader.Close()
	for {
		txn, err := reader.Next(ctx)
		if err != nil {
			return err
		}
		for c, err := range txn.Changes(ctx) {
			if err != nil {
				return err
			}
			key, err := contentOf(c.Key)
			if err != nil {
				return err
			}
			id, ok := key.number("id"), c.Table.Name == "gifts" && !o.given[topicPlace{c.Topic, c.Partition, c.Offset}]
			if c.Table.Name == "fence" && id > int64(10*u.fence) {
				return nil
			}
			if !ok {
				continue
			}
			row := ""
			if c.After != nil {
				image, err := contentOf(c.After)
				if err != nil {
					return err
				}
				var cells []string
				for _, cell := range image {
					cells = append(cells, cell.String)
				}
				row = strings.Join(cells, ":")
			}
			o.note(id, change.Version{HLC: change.HLC(c.Stamp.HLC), Origin: change.Region(s.region)}, row)
		}
	}
}

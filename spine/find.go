package spine

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"duplex/change"
	"duplex/config"
	"duplex/schemas"
	"duplex/topics"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	// probeBytes bounds what one look into a partition fetches, and probeRecords what
	// it is worth to look on from there.
	probeBytes   = 64 << 10
	probeRecords = 200
	// findLimit is how long looking into topics may take.
	findLimit = 10 * time.Minute
)

// Finder finds places in a region's topics by the transactions that stand there:
// offsets tell nothing that one partition has in common with another. Only the
// region's own transactions count, whose seq and HLC rise in every partition. One
// goroutine uses it.
type Finder struct {
	source change.Region
	kafka  config.Kafka
	client *kgo.Client
	admin  *kadm.Client
	spine  Partition
	ends   schemas.EndReader
}

// NewFinder makes one for a region's topics. Close closes it.
func NewFinder(kafka config.Kafka, source change.Region) (*Finder, error) {
	client, err := Connect(kafka)
	if err != nil {
		return nil, err
	}
	return &Finder{source: source, kafka: kafka, client: client, admin: kadm.NewClient(client), spine: Partition{topics.Spine(source), 0}}, nil
}

// Admin asks the Kafka that it looks into.
func (f *Finder) Admin() *kadm.Client { return f.admin }

// Close ends its connections.
func (f *Finder) Close() { f.client.Close() }

// Spine returns the partition of the END records.
func (f *Finder) Spine() Partition { return f.spine }

// Partitions returns the spine and the partitions of the topics that are wanted and
// there.
func (f *Finder) Partitions(ctx context.Context, wanted func(topic string) bool) ([]Partition, error) {
	found, err := f.admin.ListTopics(ctx)
	if err != nil {
		return nil, fmt.Errorf("listing topics: %w", Explain(err))
	}
	all := []Partition{f.spine}
	for topic, detail := range found {
		if !wanted(topic) {
			continue
		}
		for index := range detail.Partitions {
			all = append(all, Partition{topic, index})
		}
	}
	return all, nil
}

// Cut is where a partition is divided by a question that is true of all
// transactions from one on: what is before the cut is of earlier ones.
type Cut struct {
	// Start is the offset of the partition's first record, After the one after the last
	// record before the cut, At that of the first record behind it, or, if there
	// is none yet, the partition's end, which is End.
	Start, After, At, End int64
	// First is the stamp of the record at At, without Seen but on the spine. Its seq
	// is 0 if there is none yet.
	First change.Stamp
	// Commit is the commit time of the transaction at At, Unix microseconds, on the
	// spine.
	Commit int64
}

// search is a cut being looked for: it lies in [lo, hi].
type search struct {
	Cut
	lo, hi int64
}

// Cut finds where the question reached divides partitions.
func (f *Finder) Cut(ctx context.Context, partitions []Partition, reached func(*change.Stamp) bool) (map[Partition]Cut, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, findLimit, errors.New("looking for a place in the topics: Kafka doesn't give their records"))
	defer cancel()
	searches, err := f.bounds(ctx, partitions)
	if err != nil {
		return nil, err
	}
	for {
		spans := map[Partition]span{}
		for p, s := range searches {
			if s.lo < s.hi {
				spans[p] = span{s.lo + (s.hi-s.lo)/2, s.hi}
			}
		}
		if len(spans) == 0 {
			break
		}
		if err := f.halve(ctx, searches, spans, reached); err != nil {
			return nil, err
		}
	}
	cuts := map[Partition]Cut{}
	for p, s := range searches {
		s.After = s.lo
		cuts[p] = s.Cut
	}
	return cuts, nil
}

// bounds returns searches of whole partitions.
func (f *Finder) bounds(ctx context.Context, partitions []Partition) (map[Partition]*search, error) {
	wanted, names := map[Partition]bool{}, map[string]bool{}
	for _, p := range partitions {
		wanted[p], names[p.Topic] = true, true
	}
	list := slices.Collect(maps.Keys(names))
	first, err := f.admin.ListStartOffsets(ctx, list...)
	if err == nil {
		err = first.Error()
	}
	if err != nil {
		return nil, fmt.Errorf("reading where topics begin: %w", Explain(err))
	}
	last, err := f.admin.ListCommittedOffsets(ctx, list...)
	if err == nil {
		err = last.Error()
	}
	if err != nil {
		return nil, fmt.Errorf("reading where topics end: %w", Explain(err))
	}
	searches := map[Partition]*search{}
	first.Each(func(o kadm.ListedOffset) {
		p := Partition{o.Topic, o.Partition}
		if end, ok := last.Lookup(o.Topic, o.Partition); ok && wanted[p] {
			searches[p] = &search{Cut{Start: o.Offset, At: end.Offset, End: end.Offset}, o.Offset, end.Offset}
		}
	})
	return searches, nil
}

// halve looks into the middle of searches and narrows them.
func (f *Finder) halve(ctx context.Context, searches map[Partition]*search, spans map[Partition]span, reached func(*change.Stamp) bool) error {
	seen := map[Partition]int{}
	err := f.scan(ctx, spans, func(p Partition, r *kgo.Record) (enough bool, err error) {
		s := searches[p]
		stamp, commit, ok := f.stampOf(p, r)
		switch {
		case !ok:
			return seen[p] > probeRecords, nil
		case reached(&stamp):
			s.At, s.First, s.Commit = r.Offset, stamp, commit
			if s.hi = spans[p].from; seen[p] > 0 {
				s.hi = s.lo // what is between was looked at
			}
			seen[p] = -1
			return true, nil
		}
		s.lo = r.Offset + 1
		seen[p]++
		return seen[p] > probeRecords, nil
	})
	for p, at := range spans {
		switch s := searches[p]; {
		case seen[p] < 0:
		case seen[p] == 0: // none up to the end of the span
			s.hi = at.from
		case seen[p] <= probeRecords:
			s.hi = s.lo // so it is all before the end of the span
		}
	}
	return err
}

// stampOf returns whose transaction a record is of; ok is false if it isn't the
// region's own, or no change.
func (f *Finder) stampOf(p Partition, r *kgo.Record) (s change.Stamp, commit int64, ok bool) {
	if r.Attrs.IsControl() || r.Value == nil {
		return s, 0, false
	}
	if p == f.spine {
		end, ok := f.endOf(r)
		return end.Stamp, end.CommitMicros, ok
	}
	origin, seq, err := topics.Origin(r)
	if err != nil || string(origin) != string(f.source) {
		return s, 0, false
	}
	hlc, err := topics.Clock(r)
	return change.Stamp{Origin: f.source, Seq: seq, HLC: hlc}, 0, err == nil
}

// span is a part of a partition, up to to.
type span struct{ from, to int64 }

// scan reads spans, each until its end or until the function has enough.
func (f *Finder) scan(ctx context.Context, spans map[Partition]span, each func(p Partition, r *kgo.Record) (enough bool, err error)) error {
	from, open := map[string]map[int32]kgo.Offset{}, map[Partition]bool{}
	for p, s := range spans {
		if s.from >= s.to {
			continue
		}
		if from[p.Topic] == nil {
			from[p.Topic] = map[int32]kgo.Offset{}
		}
		from[p.Topic][p.Index] = kgo.NewOffset().At(s.from)
		open[p] = true
	}
	if len(open) == 0 {
		return nil
	}
	client, err := Connect(f.kafka, kgo.ConsumePartitions(from), kgo.FetchMaxPartitionBytes(probeBytes))
	if err != nil {
		return err
	}
	defer client.Close()
	for len(open) > 0 {
		fetches := client.PollFetches(ctx)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		for _, fe := range fetches.Errors() {
			// Retention may have passed the place meanwhile: another look tells.
			if err := Failure(f.source, nil, fe); err != nil {
				return fmt.Errorf("looking for a place in topic %s: %w", fe.Topic, fe.Err)
			}
		}
		var failed error
		fetches.EachRecord(func(r *kgo.Record) {
			p := Partition{r.Topic, r.Partition}
			if failed != nil || !open[p] {
				return
			}
			over := r.Offset >= spans[p].to
			if !over {
				over, failed = each(p, r)
			}
			if over || r.Offset == spans[p].to-1 {
				delete(open, p)
				client.PauseFetchPartitions(map[string][]int32{p.Topic: {p.Index}})
			}
		})
		if failed != nil {
			return failed
		}
	}
	return nil
}

// LastBefore returns the stamp of the last of the region's own transactions that has
// a record in the partition in [from, to); its seq is 0 if none has.
func (f *Finder) LastBefore(ctx context.Context, p Partition, from, to int64) (last change.Stamp, err error) {
	for step := int64(100); ; step *= 10 {
		at := max(from, to-step)
		err := f.scan(ctx, map[Partition]span{p: {at, to}}, func(p Partition, r *kgo.Record) (bool, error) {
			if s, _, ok := f.stampOf(p, r); ok {
				last = s
			}
			return false, nil
		})
		if err != nil || last.Seq > 0 || at <= from {
			return last, err
		}
	}
}

// Ends reads the END records of the region's own transactions in [from, to) of the
// spine.
func (f *Finder) Ends(ctx context.Context, from, to int64, each func(*schemas.End) (enough bool)) error {
	return f.scan(ctx, map[Partition]span{f.spine: {from, to}}, func(_ Partition, r *kgo.Record) (bool, error) {
		end, ok := f.endOf(r)
		return ok && each(&end), nil
	})
}

// endOf reads the END record of one of the region's own transactions. What can't be read
// is another program's: who reads the transactions stops there.
func (f *Finder) endOf(r *kgo.Record) (end schemas.End, ok bool) {
	if r.Attrs.IsControl() {
		return end, false
	}
	_, value, err := schemas.ReadHeader(r.Value)
	if err == nil {
		err = f.ends.Read(value, &end)
	}
	if err != nil || end.Stamp.Origin != f.source {
		return end, false
	}
	_, makesRoom, err := topics.YieldedRows(r)
	return end, err == nil && (end.Events > 0 || makesRoom || topics.IsCopy(end.ID))
}

package apply

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"duplex/config"
	"duplex/conflicts"
	"duplex/schemas"
	"duplex/spine"
	"duplex/supervise"
	"duplex/topics"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// rowImage is what a write left of a row, as the topics have it.
type rowImage struct {
	place   imagePlace
	op      conflicts.Operation
	schema  int    // of the change
	row     []byte // nil for none
	missing string // why it can't be read
	done    bool
}

// images reads single records of one region's topics, by their places.
type images struct {
	kafka     config.Kafka
	from      config.Registry
	client    *kgo.Client // nil until the first is read
	registry  *schemas.Registry
	envelopes map[int]*schemas.EnvelopeReader
}

const (
	// imageGap is from how many records on between two images they aren't read through.
	imageGap = 2000
	// imageBytes bounds the images read at once; imageFetch what Kafka gives at once.
	imageBytes = 16 << 20
	imageFetch = 1 << 20
	// imagePatience is how long a record is waited for that Kafka says it has.
	imagePatience = 20 * time.Second
)

func newImages(kafka config.Kafka, from config.Registry) *images {
	return &images{kafka: kafka, from: from, envelopes: map[int]*schemas.EnvelopeReader{}}
}

func (r *images) close() {
	if r.client != nil {
		r.client.Close()
	}
}

func (r *images) open() (err error) {
	if r.client != nil {
		return nil
	}
	if r.registry, err = schemas.NewRegistry(r.from); err != nil {
		return supervise.Permanent(err)
	}
	r.client, err = spine.Connect(r.kafka, kgo.FetchMaxBytes(4*imageFetch), kgo.FetchMaxPartitionBytes(imageFetch))
	return err
}

// read reads images. Those that the topics no longer have are done, with the
// reason; after imageBytes the rest is left undone.
func (r *images) read(ctx context.Context, all []*rowImage) error {
	if len(all) == 0 {
		return nil
	}
	if err := r.open(); err != nil {
		return err
	}
	runs, err := r.plan(ctx, all)
	if err != nil || len(runs) == 0 {
		return err
	}
	from := map[string]map[int32]kgo.Offset{}
	for at, run := range runs {
		if from[at.Topic] == nil {
			from[at.Topic] = map[int32]kgo.Offset{}
		}
		from[at.Topic][at.Index] = kgo.NewOffset().At(run[0].place.offset)
	}
	r.client.AddConsumePartitions(from)
	err = r.follow(ctx, runs)
	remove := map[string][]int32{}
	for topic, parts := range from {
		for part := range parts {
			remove[topic] = append(remove[topic], part)
		}
	}
	r.client.RemoveConsumePartitions(remove)
	return err
}

// plan sorts images by partition and offset. What is out of its partition's range
// is done.
func (r *images) plan(ctx context.Context, all []*rowImage) (map[spine.Partition][]*rowImage, error) {
	runs := map[spine.Partition][]*rowImage{}
	var names []string
	for _, im := range all {
		runs[im.place.at] = append(runs[im.place.at], im)
		if !slices.Contains(names, im.place.at.Topic) {
			names = append(names, im.place.at.Topic)
		}
	}
	admin := kadm.NewClient(r.client)
	first, err := admin.ListStartOffsets(ctx, names...)
	if err != nil {
		return nil, fmt.Errorf("reading the starts of topics: %w", spine.Explain(err))
	}
	for at, run := range runs {
		start, ok := first.Lookup(at.Topic, at.Index)
		gone := ""
		switch {
		case !ok || errors.Is(start.Err, kerr.UnknownTopicOrPartition):
			gone = fmt.Sprintf("topic %s is gone", at.Topic)
		case start.Err != nil:
			return nil, fmt.Errorf("reading the start of topic %s: %w", at.Topic, spine.Explain(start.Err))
		}
		slices.SortFunc(run, func(a, b *rowImage) int { return int(a.place.offset - b.place.offset) })
		left := run[:0]
		for _, im := range run {
			switch {
			case gone != "":
				im.lack(gone)
			case im.place.offset < start.Offset:
				im.lack(fmt.Sprintf("topic %s no longer has it: its retention has passed", at.Topic))
			default:
				left = append(left, im)
			}
		}
		if runs[at] = left; len(left) == 0 {
			delete(runs, at)
		}
	}
	return runs, nil
}

func (im *rowImage) lack(why string) { im.op, im.missing, im.done = conflicts.Unknown, why, true }

// follow reads the runs through, and jumps where the next image is far.
func (r *images) follow(ctx context.Context, runs map[spine.Partition][]*rowImage) error {
	total, moved := 0, time.Now()
	for len(runs) > 0 && total < imageBytes {
		limited, cancel := context.WithTimeout(ctx, imagePatience)
		fetches := r.client.PollFetches(limited)
		cancel()
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		for _, fe := range fetches.Errors() {
			if err := spine.Failure("", nil, fe); err != nil {
				return err
			}
		}
		jump := map[string]map[int32]kgo.EpochOffset{}
		for _, record := range fetches.Records() {
			at := spine.Partition{Topic: record.Topic, Index: record.Partition}
			n, err := r.meet(ctx, record, runs, at)
			if err != nil {
				return err
			}
			total += n
			if run := runs[at]; len(run) > 0 && run[0].place.offset > record.Offset+imageGap {
				if jump[at.Topic] == nil {
					jump[at.Topic] = map[int32]kgo.EpochOffset{}
				}
				jump[at.Topic][at.Index] = kgo.EpochOffset{Epoch: -1, Offset: run[0].place.offset}
			}
			moved = time.Now()
		}
		if len(jump) > 0 {
			r.client.SetOffsets(jump)
		}
		if time.Since(moved) > imagePatience {
			return errors.New("reading images: Kafka doesn't give the records that it has")
		}
	}
	return nil
}

// meet takes the images that a record of a partition has, or has gone past, and
// returns how many bytes they take.
func (r *images) meet(ctx context.Context, record *kgo.Record, runs map[spine.Partition][]*rowImage, at spine.Partition) (taken int, err error) {
	run := runs[at]
	for len(run) > 0 && run[0].place.offset <= record.Offset {
		im := run[0]
		if im.place.offset < record.Offset || record.Attrs.IsControl() || record.Value == nil {
			im.lack(fmt.Sprintf("topic %s no longer has it", at.Topic))
		} else if err := r.decode(ctx, record, im); err != nil {
			if !supervise.IsPermanent(err) {
				return taken, err
			}
			im.lack(err.Error())
		}
		taken += len(im.row)
		run = run[1:]
	}
	if runs[at] = run; len(run) == 0 {
		delete(runs, at)
	}
	return taken, nil
}

func (r *images) decode(ctx context.Context, record *kgo.Record, into *rowImage) error {
	id, value, err := schemas.ReadHeader(record.Value)
	if err != nil {
		return supervise.Permanent(err)
	}
	envelope := r.envelopes[id]
	if envelope == nil {
		text, err := r.registry.Schema(ctx, id)
		if err != nil {
			return err
		}
		if envelope, err = schemas.ParseEnvelope(text); err != nil {
			return supervise.Permanent(err)
		}
		r.envelopes[id] = envelope
	}
	var decoded schemas.Decoded
	if err := envelope.Decode(value, &decoded); err != nil {
		return supervise.Permanent(err)
	}
	if exact := topics.Exact(record); exact != nil {
		if err := envelope.Restore(&decoded, exact); err != nil {
			return supervise.Permanent(err)
		}
	}
	into.row, into.done = bytes.Clone(decoded.After), true
	if into.row != nil {
		into.schema = id
	}
	switch decoded.Op {
	case 'd':
		into.op = conflicts.Delete
	case 'u':
		into.op = conflicts.Update
	default:
		into.op = conflicts.Insert
	}
	return nil
}

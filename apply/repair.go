package apply

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"duplex/change"
	"duplex/config"
	"duplex/converge"
	"duplex/mysql"
	"duplex/schemas"
	"duplex/spine"
	"duplex/topics"

	"github.com/twmb/franz-go/pkg/kgo"
)

// repair puts back rows that were overwritten by an older version: a newer
// local write had been committed before, and the tail hadn't come by it yet.
type repair struct {
	s    *session
	keys []converge.Key // in the index
	rows []repairRow
	// away is a third region whose images can't be read now, "" if there is none.
	away change.Region
}

// repairRow is a row with the image that it should have.
type repairRow struct {
	key   converge.Key // in the index
	known converge.Known
	table *boundTable
	row   row
	gone  bool // the topics no longer have it
}

const (
	// repairRows is how many rows one repair puts back.
	repairRows = 500
	// tailPatience is how long the tail is waited for with rows locked.
	tailPatience = 2 * time.Second
	repairEvery  = 50 * time.Millisecond
	// maxRepairs is how often in a row a repair may be refused.
	maxRepairs = 20
	// pulsePause is how long no canary is sent after one that didn't come back.
	pulsePause = 5 * time.Second
	// idleAfter is when a row that waits for the tail is looked at though
	// nothing that was written since will come by.
	idleAfter = 200 * time.Millisecond
)

// mend repairs what is due. Nothing else is written meanwhile.
func (s *session) mend(ctx context.Context) error {
	if s.versions == nil || s.relearning() || time.Now().Before(s.pulseFrom) {
		return nil
	}
	if any, err := s.mendParts(ctx); any || err != nil {
		return s.unlessLate(err)
	}
	due, more := s.versions.suspects()
	// What wrote nothing doesn't come by: a canary does.
	idle := s.pool.count() == 0 && time.Since(s.lastWritten()) > idleAfter && (more || s.versions.behind(s.writtenUpTo()))
	if len(due) == 0 && !idle {
		return nil
	}
	if err := s.settle(ctx); err != nil {
		return err
	}
	if idle {
		if err := s.pulse(ctx); err != nil {
			return s.unlessLate(err)
		}
		due, _ = s.versions.suspects()
	}
	if len(due) == 0 {
		return nil
	}
	if err := s.putBack(ctx, due); err != nil {
		return s.unlessLate(err)
	}
	if due, more := s.versions.suspects(); len(due) == 0 && !more && s.recordedAll() {
		s.settledNow()
	}
	return nil
}

// putBack repairs some of the rows that are due, unless another stream is at it.
func (s *session) putBack(ctx context.Context, due []converge.Key) error {
	if s.round != nil {
		if !s.round.repairing.TryAcquire(1) {
			return nil
		}
		defer s.round.repairing.Release(1)
	}
	r := &repair{s: s, keys: due[:min(len(due), repairRows)]}
	err := r.run(ctx)
	if r.away != "" {
		s.pulseFrom = time.Now().Add(pulsePause)
	}
	return err
}

// unlessLate passes on an error, but not that the tail is late: then it is given
// time, or what comes in would wait for it.
func (s *session) unlessLate(err error) error {
	if !errors.Is(err, errTailLate) {
		return err
	}
	s.pulseFrom = time.Now().Add(pulsePause)
	if !s.tailLate.Swap(true) {
		s.st.cfg.Log.Warn("whether newer local writes were overwritten can't be seen yet", "error", err)
	}
	return nil
}

// pulse has the tail read all that is in the binlog now: it waits for a canary.
// All batches must be done.
func (s *session) pulse(ctx context.Context) error {
	mark, written := s.versions.mark(), s.writtenUpTo()
	token := rand.Text()
	read := s.tail.expect(token)
	defer s.tail.forget(token)
	c := &canary{target: s.target, progress: s.progress, worker: s.workers + 1, sent: map[string]bool{}}
	if err := c.write(ctx, token); err != nil {
		return err
	}
	limit := time.NewTimer(tailPatience)
	defer limit.Stop()
	select {
	case <-read:
		s.tailLate.Store(false)
		s.versions.reached(mark, written)
		return nil
	case <-limit.C:
		return errTailLate
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (r *repair) run(ctx context.Context) error {
	if err := r.fetch(ctx); err != nil {
		return err
	}
	s := r.s
	w, err := newWriter(ctx, s.target, s.progress, s.workers, s.maxPacket)
	if err != nil {
		return err
	}
	defer w.conn.Close()
	err = r.write(ctx, w)
	if err == nil {
		s.repairsFailed = 0
		if err = s.pulse(ctx); err == nil {
			s.versions.restoredAll()
		}
		return err
	}
	w.rollback(ctx)
	s.versions.restoredNone()
	if s.pool.crowded != nil && isDuplicate(err) {
		if err = r.makeRoom(ctx, err); err == nil {
			return nil // they are still suspects
		}
	}
	// A row that was absent couldn't be locked, and may be there now: then the tail
	// will tell of it.
	fault := mysql.Classify(err)
	if s.repairsFailed++; fault.Class == mysql.Retry || fault.Number != 0 && s.repairsFailed < maxRepairs {
		s.st.cfg.Log.Info("rows are to be put back again", "error", fault)
		return nil
	}
	return err
}

// write locks the rows, waits until the tail has read all that was written
// before, and writes what is still wrong.
func (r *repair) write(ctx context.Context, w *writer) error {
	s := r.s
	if err := w.begin(ctx, s.repairSeq(), r.newest()); err != nil {
		return err
	}
	if err := w.lock(ctx, r.rows); err != nil {
		return err
	}
	if err := s.pulse(ctx); err != nil {
		return err
	}
	tables := s.versions.restore(r)
	if len(tables) == 0 {
		w.rollback(ctx)
		return nil
	}
	if err := w.tables(ctx, tables); err != nil {
		return err
	}
	return w.commit(ctx)
}

// repairSeq returns the number for a repair's marker. Among several sources what stays of a row by its rank may be, later,
// a write of this source that was left out when another one was put back: after a restart the tail must not
// take that for the batch which had it. So it is none then.
func (s *session) repairSeq() change.Seq {
	if s.versions.ranked && !s.versions.alone() {
		return 0
	}
	return s.writtenUpTo()
}

// newest returns the greatest HLC of the images, for the marker.
func (r *repair) newest() (hlc change.HLC) {
	for i := range r.rows {
		hlc = max(hlc, r.rows[i].known.Version.HLC)
	}
	return hlc
}

// lock locks the rows that there are.
func (w *writer) lock(ctx context.Context, rows []repairRow) error {
	byTable := map[*boundTable][][]byte{}
	for i := range rows {
		t := rows[i].table
		byTable[t] = append(byTable[t], rows[i].row.key)
	}
	for t, keys := range byTable {
		if _, err := w.lookUpAll(ctx, t, keys); err != nil {
			return err
		}
	}
	return nil
}

// restore returns the rows that are still wrong, the tail having read all that
// was written before they were locked, and notes that they are being put back.
func (v *inbound) restore(r *repair) []*tableRows {
	v.mu.Lock()
	defer v.mu.Unlock()
	m := newMerged(0)
	v.restored, v.restorer = map[converge.Key]restored{}, v.source
	for i := range r.rows {
		row := &r.rows[i]
		k, known := v.index.Of(row.key)
		if !known || k.Place != row.known.Place || k.Version != row.known.Version {
			continue // written again since
		}
		if k.Last == k.Digest {
			continue
		}
		v.restored[row.key] = restored{k.Digest, k.Last}
		written, _ := m.merge(row.table, row.row.key, nil, row.row.after)
		written.mixed = true // what is there now isn't known
		v.repaired.Add(1)
	}
	m.sortTables()
	return m.tables
}

// restoredAll ends a repair that was committed, the tail having read it. What
// doesn't show in the binlog was right already, unless something was written over it
// since.
func (v *versions) restoredAll() {
	v.mu.Lock()
	defer v.mu.Unlock()
	for key, back := range v.restored {
		if k, known := v.index.Of(key); known && k.Digest == back.image && k.Last == back.over {
			v.index.Cleared(key)
		}
	}
	v.restored = nil
}

// restoredNone ends a repair that failed: what the tail reads of its rows is told
// like any other.
func (v *versions) restoredNone() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.restored = nil
}

// fetch reads the images of the newest versions from the topics.
func (r *repair) fetch(ctx context.Context) error {
	v := r.s.versions
	wanted := map[spine.Partition]map[int64]*repairRow{}
	v.mu.Lock()
	for _, key := range r.keys {
		if err := v.unpack(key); err != nil {
			v.mu.Unlock()
			return err
		}
		k, known := v.index.Of(key)
		at, offset, ok := v.places.of(k.Place)
		if y, is := v.yieldedRows[key]; known && is && y.version == k.Version {
			r.rows = append(r.rows, repairRow{key: key, known: k, table: y.table, row: row{key: y.key}})
			continue
		}
		if !known || !ok {
			// Of a transaction that was too large for its rows to be remembered. It is
			// what the row has, unless a local write of the same row follows.
			if known {
				v.index.Cleared(key)
			}
			continue
		}
		if wanted[at] == nil {
			wanted[at] = map[int64]*repairRow{}
		}
		wanted[at][offset] = &repairRow{key: key, known: k}
	}
	v.mu.Unlock()
	of := map[change.Region]map[spine.Partition]map[int64]*repairRow{}
	for at, offsets := range wanted {
		region, _, _, _ := topics.ParseTable(at.Topic)
		if of[region] == nil {
			of[region] = map[spine.Partition]map[int64]*repairRow{}
		}
		of[region][at] = offsets
	}
	for region, wanted := range of {
		if err := r.readFrom(ctx, region, wanted); err != nil {
			return err
		}
	}
	return nil
}

// repairPatience is how long is waited for images, where the region is needed to go on.
const repairPatience = 30 * time.Second

// readFrom reads images from a region's topics.
func (r *repair) readFrom(ctx context.Context, region change.Region, wanted map[spine.Partition]map[int64]*repairRow) error {
	s := r.s
	kafka, _ := s.st.cfg.source()
	binders := s.binders
	switch region {
	case s.st.cfg.Source:
	case s.st.cfg.Process.Region:
		kafka, binders = s.st.cfg.Process.Kafka, s.ownBinders
	default:
		return r.readThird(ctx, region, wanted)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, repairPatience, errors.New("reading images to put back: Kafka doesn't give them"))
	defer cancel()
	return r.read(ctx, kafka, wanted, binders)
}

// read reads single records.
func (r *repair) read(ctx context.Context, kafka config.Kafka, wanted map[spine.Partition]map[int64]*repairRow, binders *binders) error {
	if len(wanted) == 0 {
		return nil
	}
	client, err := spine.Connect(kafka)
	if err != nil {
		return err
	}
	defer client.Close()
	if err := r.leaveGone(ctx, client, wanted); err != nil {
		return err
	}
	from, left := map[string]map[int32]kgo.Offset{}, 0
	for at, offsets := range wanted {
		first := int64(-1)
		for offset := range offsets {
			if first < 0 || offset < first {
				first = offset
			}
		}
		if from[at.Topic] == nil {
			from[at.Topic] = map[int32]kgo.Offset{}
		}
		from[at.Topic][at.Index] = kgo.NewOffset().At(first)
		left += len(offsets)
	}
	client.AddConsumePartitions(from)
	for bytes := int64(0); left > 0 && bytes < poolBytes; { // the others remain suspects
		fetches := client.PollFetches(ctx)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		for _, fe := range fetches.Errors() {
			if err := spine.Failure(r.s.st.cfg.Source, nil, fe); err != nil {
				return err
			}
		}
		for _, record := range fetches.Records() {
			row := wanted[spine.Partition{Topic: record.Topic, Index: record.Partition}][record.Offset]
			if row == nil {
				continue
			}
			left--
			bytes += spine.Record{Record: record}.Size()
			if err := row.decode(ctx, record, binders); err != nil {
				return err
			}
			r.rows = append(r.rows, *row)
		}
	}
	return nil
}

func (row *repairRow) decode(ctx context.Context, record *kgo.Record, binders *binders) error {
	var decoded schemas.Decoded
	table, key, err := binders.decode(ctx, spine.Record{Record: record}, &decoded)
	if err != nil {
		return err
	}
	row.table, row.row.key, row.row.after = table, key, decoded.After
	return nil
}

// settleAll waits until all that was written has been read by the tail and is
// right, but no longer than ctx.
func (s *session) settleAll(ctx context.Context) error {
	if s.versions == nil {
		return nil
	}
	for {
		if err := s.pulse(ctx); err != nil {
			return fmt.Errorf("waiting for the own topics: %w", err)
		}
		if any, err := s.mendParts(ctx); err != nil {
			return err
		} else if any {
			continue
		}
		due, _ := s.versions.suspects()
		if len(due) == 0 {
			return nil
		}
		if err := s.putBack(ctx, due); err != nil {
			return err
		}
	}
}

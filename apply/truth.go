package apply

import (
	"context"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"duplex/change"
	"duplex/spine"
	"duplex/supervise"

	"github.com/twmb/franz-go/pkg/kadm"
)

// truth is what duplex.offsets holds of one task and origin: how far each
// partition is applied, with ordering key. A row moves only in the transaction
// that writes what lies between, and only from where its writer believes it
// stands (promise 3): of two that believe to have a partition, one writes.
type truth struct {
	db       *sql.DB
	progress *progress
	spine    spine.Partition
}

// standing is one row: how far a partition is applied.
type standing struct {
	// next is the offset of the first record that isn't done with.
	next int64
	// seq and hlc are those of the last change that was written: all older
	// transactions are applied. Where the partition waits at a barrier, seq is that
	// of the change that is next.
	seq change.Seq
	hlc change.HLC
	// keySchema is the registry's id of that change's key schema, 0 before any.
	keySchema int
}

// move is a step of one partition.
type move struct {
	partition spine.Partition
	from, to  standing
}

// errMoved says that another process has applied what this one was about to.
var errMoved = errors.New("another process of this task has gone on with a partition that was ours: joining the others anew")

// rows selects the rows of the task and origin that condition tells.
func (t *truth) rows(condition string) (where string, args []any) {
	return " WHERE task = ? AND origin = ?" + condition, []any{t.progress.task, string(t.progress.origin)}
}

// floor returns the last transaction of those that were applied before the task
// had ordering key; known is false if it never had.
func (t *truth) floor(ctx context.Context) (floor change.Stamp, known bool, err error) {
	floor.Origin = t.progress.origin
	where, args := t.rows(" AND topic = ?")
	err = t.db.QueryRowContext(ctx, "SELECT seq, hlc FROM duplex.offsets"+where, append(args, t.spine.Topic)...).Scan(&floor.Seq, &floor.HLC)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return floor, false, nil
	case err != nil:
		return floor, false, classify(err)
	}
	return floor, true, nil
}

// refuse fails if the task was applied with ordering key: what was applied is
// then no beginning of the source's transactions.
func (t *truth) refuse(ctx context.Context) error {
	var n int
	where, args := t.rows("")
	if err := t.db.QueryRowContext(ctx, "SELECT COUNT(*) FROM duplex.offsets"+where, args...).Scan(&n); err != nil {
		return classify(err)
	}
	if n == 0 {
		return nil
	}
	task, origin := t.progress.task, t.progress.origin
	return supervise.Permanent(fmt.Errorf("task %s was applied here with ordering key: duplex.offsets says how far, and no transaction can be named up to which all were applied; mend: set apply: {ordering: key} again; or, to go over to ordering transaction, stop writing in region %s, wait with ordering key until everything has arrived, stop every apply of the task here, run in this region's database: "+
		"UPDATE duplex.progress SET n = n + 1, seq = <the seq that duplex status shows of capture %[2]s> WHERE task = '%[1]s' AND origin = '%[2]s'; DELETE FROM duplex.offsets WHERE task = '%[1]s' AND origin = '%[2]s', and start again", task, origin))
}

// begin makes the rows of a task that goes over to ordering key: of the spine,
// with the last transaction that was applied, and of all partitions of the topics
// that were read, with where to go on. The lease must be held.
func (t *truth) begin(ctx context.Context, floor change.Stamp, at spine.Offsets, topics kadm.TopicDetails) error {
	tx, err := t.db.BeginTx(ctx, nil)
	if err != nil {
		return classify(err)
	}
	defer tx.Rollback()
	for _, topic := range topics {
		if err := t.insert(ctx, tx, topic, floor, at); err != nil {
			return err
		}
	}
	own := kadm.TopicDetail{Topic: t.spine.Topic, Partitions: kadm.PartitionDetails{t.spine.Index: {}}}
	if err := t.insert(ctx, tx, own, floor, at); err != nil {
		return err
	}
	if err := tx.Commit(); err != nil {
		return classify(err)
	}
	return nil
}

// insert makes the rows of a topic's partitions that aren't there. One for which
// at has nothing is to be applied from its beginning.
func (t *truth) insert(ctx context.Context, tx *sql.Tx, topic kadm.TopicDetail, floor change.Stamp, at spine.Offsets) error {
	for index := range topic.Partitions {
		_, err := tx.ExecContext(ctx, "INSERT IGNORE INTO duplex.offsets (task, origin, topic, part, topic_id, next_offset, seq, hlc, key_schema) VALUES (?, ?, ?, ?, ?, ?, ?, ?, 0)",
			t.progress.task, string(t.progress.origin), topic.Topic, index, idOf(topic), at[spine.Partition{Topic: topic.Topic, Index: index}], int64(floor.Seq), int64(floor.HLC))
		if err != nil {
			return classify(err)
		}
	}
	return nil
}

// idOf is the topic's id, which one of the same name made later doesn't have.
func idOf(topic kadm.TopicDetail) string { return hex.EncodeToString(topic.ID[:]) }

// claim returns how far partitions of a topic are applied. It waits for the batch
// that a former owner is writing, and makes the rows of a topic that is new.
func (t *truth) claim(ctx context.Context, topic kadm.TopicDetail, parts []int32, floor change.Stamp) (found map[int32]standing, err error) {
	tx, err := t.db.BeginTx(ctx, nil)
	if err != nil {
		return nil, classify(err)
	}
	defer tx.Rollback()
	var known int
	where, args := t.rows(" AND topic = ?")
	if err := tx.QueryRowContext(ctx, "SELECT COUNT(*) FROM duplex.offsets"+where, append(args, topic.Topic)...).Scan(&known); err != nil {
		return nil, classify(err)
	}
	switch known {
	case len(topic.Partitions):
	case 0:
		if err := t.insert(ctx, tx, topic, floor, nil); err != nil {
			return nil, err
		}
	default:
		return nil, supervise.Permanent(fmt.Errorf("topic %s has %d partitions now and had %d: keys that have moved to another partition would lose their order; mend: go over to apply: {ordering: transaction}, or stop every apply of the task, copy the table anew, run in this region's database: %s, and start again",
			topic.Topic, len(topic.Partitions), known, t.forget(topic.Topic)))
	}
	if found, err = t.lock(ctx, tx, topic, parts); err != nil {
		return nil, err
	}
	if err := tx.Commit(); err != nil {
		return nil, classify(err)
	}
	return found, nil
}

// forget is the statement after which a topic is applied from its beginning.
func (t *truth) forget(topic string) string {
	return fmt.Sprintf("DELETE FROM duplex.offsets WHERE task = '%s' AND origin = '%s' AND topic = '%s'", t.progress.task, t.progress.origin, topic)
}

// lock reads the rows of partitions and locks them.
func (t *truth) lock(ctx context.Context, tx *sql.Tx, topic kadm.TopicDetail, parts []int32) (map[int32]standing, error) {
	found := map[int32]standing{}
	where, args := t.rows(" AND topic = ? AND part IN (" + strings.TrimSuffix(strings.Repeat("?,", len(parts)), ",") + ") FOR UPDATE")
	args = append(args, topic.Topic)
	for _, p := range parts {
		args = append(args, p)
	}
	rows, err := tx.QueryContext(ctx, "SELECT part, topic_id, next_offset, seq, hlc, key_schema FROM duplex.offsets"+where, args...)
	if err != nil {
		return nil, classify(err)
	}
	defer rows.Close()
	for rows.Next() {
		var part int32
		var id string
		var s standing
		if err := rows.Scan(&part, &id, &s.next, &s.seq, &s.hlc, &s.keySchema); err != nil {
			return nil, fmt.Errorf("reading duplex.offsets: %w", err)
		}
		if id != idOf(topic) {
			return nil, supervise.Permanent(fmt.Errorf("topic %s was deleted and made anew: what was in it and not yet applied is lost; mend: stop every apply of the task, make the table equal in the regions, run in this region's database: %s, and start again", topic.Topic, t.forget(topic.Topic)))
		}
		found[part] = s
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return nil, classify(err)
	}
	for _, p := range parts {
		if _, ok := found[p]; !ok {
			return nil, supervise.Permanent(fmt.Errorf("duplex.offsets has no row of %s[%d]: somebody deleted it; mend: put it back, or stop every apply of the task, copy the table anew, run in this region's database: %s, and start again", topic.Topic, p, t.forget(topic.Topic)))
		}
	}
	return found, nil
}

// appendMoves appends the statement that moves partitions. It changes as many
// rows as there are partitions, unless another process has moved one.
func (t *truth) appendMoves(dst []byte, moves []move) []byte {
	dst = append(dst, "UPDATE duplex.offsets SET "...)
	set := func(column string, value func(standing) int64) {
		dst = append(append(dst, column...), " = CASE"...)
		for i := range moves {
			m := &moves[i]
			dst = appendPlace(append(dst, " WHEN "...), m.partition)
			dst = strconv.AppendInt(append(dst, " THEN "...), value(m.to), 10)
		}
		dst = append(dst, " END"...)
	}
	set("seq", func(s standing) int64 { return int64(s.seq) })
	dst = append(dst, ", "...)
	set("hlc", func(s standing) int64 { return int64(s.hlc) })
	dst = append(dst, ", "...)
	set("key_schema", func(s standing) int64 { return int64(s.keySchema) })
	dst = append(dst, ", "...)
	set("next_offset", func(s standing) int64 { return s.next })
	// The names have no character that needs escaping.
	dst = append(append(append(dst, " WHERE task = '"...), t.progress.task...), "' AND origin = '"...)
	dst = append(append(dst, t.progress.origin...), "' AND ("...)
	for i := range moves {
		m := &moves[i]
		if i > 0 {
			dst = append(dst, " OR "...)
		}
		dst = appendPlace(append(dst, '('), m.partition)
		dst = strconv.AppendInt(append(dst, " AND next_offset = "...), m.from.next, 10)
		dst = append(dst, ')')
	}
	return append(dst, ')')
}

func appendPlace(dst []byte, p spine.Partition) []byte {
	dst = append(append(dst, "topic = '"...), p.Topic...)
	return strconv.AppendInt(append(dst, "' AND part = "...), int64(p.Index), 10)
}

// arrive notes that all of a partition that is older than a transaction is applied.
func (t *truth) arrive(ctx context.Context, tenure *tenure, seq change.Seq) error {
	l := tenure.lane
	l.mu.Lock()
	at := tenure.standing
	l.mu.Unlock()
	if at.seq < seq {
		where, args := t.rows(" AND topic = ? AND part = ? AND next_offset = ?")
		args = append([]any{int64(seq)}, append(args, tenure.partition.Topic, tenure.partition.Index, at.next)...)
		result, err := t.db.ExecContext(ctx, "UPDATE duplex.offsets SET seq = ?"+where, args...)
		if err != nil {
			return classify(err)
		}
		if n, err := result.RowsAffected(); err != nil || n != 1 {
			return errMoved
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	tenure.standing.seq = max(at.seq, seq)
	return nil
}

// standings returns how far all partitions of a topic are applied.
func (t *truth) standings(ctx context.Context, topic string) (map[int32]standing, error) {
	where, args := t.rows(" AND topic = ?")
	rows, err := t.db.QueryContext(ctx, "SELECT part, next_offset, seq FROM duplex.offsets"+where, append(args, topic)...)
	if err != nil {
		return nil, classify(err)
	}
	defer rows.Close()
	found := map[int32]standing{}
	for rows.Next() {
		var part int32
		var s standing
		if err := rows.Scan(&part, &s.next, &s.seq); err != nil {
			return nil, fmt.Errorf("reading duplex.offsets: %w", err)
		}
		found[part] = s
	}
	if err := rows.Err(); err != nil {
		return nil, classify(err)
	}
	return found, nil
}

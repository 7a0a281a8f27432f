package apply

import (
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"duplex/change"
	"duplex/conflicts"
	"duplex/internal/failpoint"
	"duplex/mysql"
	"duplex/supervise"
	"duplex/tasks"
	"duplex/topics"
)

// recorder writes the conflicts that versions finds to duplex.conflicts, with the
// images of both writes, which it reads from the topics. What it has recorded may be
// settled; what it hasn't is found again after a restart, under the same ids.
type recorder struct {
	db     *sql.DB
	spec   *tasks.Spec
	region change.Region
	queue  *clashQueue
	own    func(topic string) bool // whether a topic is of this region
	home   *images                 // of this region's topics
	away   *images                 // of the source's
	tally  *tally
	log    *slog.Logger
	// most is how many conflicts are recorded at once: fewer while rows are wide.
	most int
}

const (
	recordAtOnce = 2000
	recordPause  = time.Second // after a failure
	// purgeEvery is how often old conflicts are looked for, purgeRows how many are deleted
	// by one statement, and purgePause how long the server then has for others.
	purgeEvery = time.Minute
	purgeRows  = 500
	purgePause = 200 * time.Millisecond
)

func (s *session) newRecorder(db *sql.DB) *recorder {
	kafka, registry := s.st.cfg.source()
	own := s.st.cfg.Process
	return &recorder{
		db: db, spec: s.st.cfg.Spec, region: own.Region, queue: s.versions.clashes.queue, tally: &s.st.tally, log: s.st.cfg.Log, most: recordAtOnce,
		own:  func(topic string) bool { r, _, _, ok := topics.ParseTable(topic); return ok && r == own.Region },
		home: newImages(own.Kafka, own.Registry), away: newImages(kafka, registry),
	}
}

// keep records what is found until ctx ends.
func (r *recorder) keep(ctx context.Context) error {
	defer r.home.close()
	defer r.away.close()
	purge := time.NewTicker(purgeEvery)
	defer purge.Stop()
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-r.queue.some:
			for found := r.queue.take(r.most); len(found) > 0; found = r.queue.take(r.most) {
				if err := r.record(ctx, found); err != nil {
					return err
				}
				if slices.ContainsFunc(found, func(c clash) bool { return c.holds() }) {
					if err := expectNoneHeld(ctx, r.db, r.spec); err != nil {
						return err
					}
				}
				r.queue.recorded(found)
			}
		case <-purge.C:
			if err := r.purge(ctx); err != nil {
				r.log.Warn("old conflicts were not deleted", "error", err)
			}
		}
	}
}

// record records conflicts, trying again what is worth it.
func (r *recorder) record(ctx context.Context, found []clash) error {
	told := time.Time{}
	for {
		left, err := r.some(ctx, found)
		if err == nil {
			if found = left; len(found) == 0 {
				return nil
			}
			continue
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if isDuplicate(err) {
			continue // a write lost to two other regions', and the other stream has recorded it meanwhile
		}
		if fault := mysql.Classify(err); fault.Number != 0 && fault.Class != mysql.Retry {
			return classify(err)
		}
		if time.Since(told) > tailLongPause {
			told = time.Now()
			r.log.Warn("conflicts can't be recorded yet", "error", err)
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(recordPause):
		}
	}
}

// some records as many as their images allow, and returns the others.
func (r *recorder) some(ctx context.Context, found []clash) (left []clash, err error) {
	fresh, err := r.fresh(ctx, found)
	if err != nil || len(fresh) == 0 {
		return nil, err
	}
	now := fresh[:min(len(fresh), r.most)]
	var home, away []*rowImage
	sides := make([][2]*rowImage, len(now)) // winner, loser
	for i, c := range now {
		_, won := c.winner()
		_, lost := c.loser()
		for j, at := range [2]imagePlace{won, lost} {
			im := &rowImage{place: at}
			sides[i][j] = im
			switch {
			case !at.known() && j == 0 && c.deleted:
				im.op, im.done = conflicts.Delete, true // of a row that wasn't here: no record tells of it
			case !at.known():
				im.lack("its transaction was too large for the places of its rows to be remembered")
			case r.own(at.at.Topic):
				home = append(home, im)
			default:
				away = append(away, im)
			}
		}
	}
	if err := r.home.read(ctx, home); err != nil {
		return nil, err
	}
	if err := r.away.read(ctx, away); err != nil {
		return nil, err
	}
	var rows []conflicts.Conflict
	bytes := int64(0)
	for i, c := range now {
		won, lost := sides[i][0], sides[i][1]
		if !won.done || !lost.done {
			left = append(left, *c)
			continue
		}
		bytes += int64(len(won.row) + len(lost.row))
		rows = append(rows, r.conflict(c, won, lost))
	}
	for _, c := range fresh[len(now):] {
		left = append(left, *c)
	}
	if bytes > imageBytes/2 || len(rows) < len(now) {
		r.most = max(1, r.most/8)
	} else {
		r.most = min(recordAtOnce, 2*r.most)
	}
	failpoint.Hit("apply.before-record")
	if err := r.add(ctx, rows); err != nil {
		return nil, err
	}
	failpoint.Hit("apply.after-record")
	return left, nil
}

// add writes the rows, in statements of moderate size.
func (r *recorder) add(ctx context.Context, rows []conflicts.Conflict) error {
	const statementBytes = 1 << 20
	for len(rows) > 0 {
		n, size := 0, 0
		for n < len(rows) && (n == 0 || size < statementBytes) {
			size += len(rows[n].Winner.Row) + len(rows[n].Loser.Row) + 1000
			n++
		}
		if err := conflicts.Add(ctx, r.db, rows[:n]); err != nil {
			return err
		}
		for i := range rows[:n] {
			r.tally.add(&rows[i])
		}
		rows = rows[n:]
	}
	return nil
}

// fresh returns those that aren't recorded yet, each once: of two of one id the
// later, since a transaction that changes a row twice is told of twice.
func (r *recorder) fresh(ctx context.Context, found []clash) ([]*clash, error) {
	var ids []string
	last := map[string]*clash{}
	for i := range found {
		id := found[i].id()
		if last[id] == nil {
			ids = append(ids, id)
		}
		last[id] = &found[i]
	}
	known, err := conflicts.Known(ctx, r.db, r.spec.Task, ids)
	if err != nil {
		return nil, err
	}
	var fresh []*clash
	for _, id := range ids {
		if !known[id] {
			fresh = append(fresh, last[id])
		}
	}
	return fresh, nil
}

func (r *recorder) conflict(c *clash, won, lost *rowImage) conflicts.Conflict {
	winner, _ := c.winner()
	loser, _ := c.loser()
	side := conflicts.Remote
	if c.localWon() && (!c.deleted || winner.Version.Origin == r.region) {
		side = conflicts.Local
	}
	return conflicts.Conflict{
		Task: r.spec.Task, ID: c.id(), DB: c.table.db, Table: c.table.table, Key: c.keyText(), Rule: conflicts.RuleOf(c.table.rule.Policy, c.table.rule.Delta), Holds: c.holds(), Won: side,
		Winner: conflicts.Write{Version: winner.Version, Seq: winner.Seq, Op: won.op, Schema: won.schema, Row: won.row, Missing: clip(won.missing)},
		Loser:  conflicts.Write{Version: loser.Version, Seq: loser.Seq, Op: lost.op, Schema: lost.schema, Row: lost.row, Missing: clip(lost.missing)},
	}
}

// holds reports whether the stream stops at it.
func (c *clash) holds() bool { return c.table.rule.Policy == tasks.PolicyStop }

// keyText is the row's key for people, as a JSON object.
func (c *clash) keyText() string {
	text, err := c.table.binder.AppendKeyJSON(nil, c.key)
	if err != nil {
		return "{}" // the server itself wrote it: no text is better than no record
	}
	return string(text)
}

// clip cuts a text to what its column holds.
func clip(text string) string {
	const most = 1000
	if runes := []rune(text); len(runes) > most {
		return string(runes[:most])
	}
	return text
}

// purge deletes conflicts that are older than the task wants them kept.
func (r *recorder) purge(ctx context.Context) error {
	keep := r.spec.Conflicts.Retention
	for keep > 0 {
		n, err := conflicts.Purge(ctx, r.db, r.spec.Task, keep, purgeRows)
		if err != nil || n < purgeRows {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(purgePause):
		}
	}
	return nil
}

// recordAll waits until all that was found is recorded.
func (s *session) recordAll(ctx context.Context) error {
	if s.versions == nil {
		return nil
	}
	epoch := s.versions.clashes.queue.mark()
	for !s.versions.clashes.queue.passed(epoch) {
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for conflicts to be recorded: %w", context.Cause(ctx))
		case <-time.After(10 * time.Millisecond):
		}
	}
	return nil
}

// recordedAll reports whether all that was found is recorded.
func (s *session) recordedAll() bool {
	queue := s.versions.clashes.queue
	return queue.passed(queue.mark())
}

// expectNoneHeld refuses to go on while a conflict of policy stop waits for somebody to look at it.
func expectNoneHeld(ctx context.Context, db *sql.DB, spec *tasks.Spec) error {
	if !spec.Stops() {
		return nil
	}
	held, err := conflicts.FirstHeld(ctx, db, spec.Task)
	if err != nil || held == nil {
		return err
	}
	others := ""
	if held.Others > 0 {
		others = fmt.Sprintf(", and %d more", held.Others)
	}
	return supervise.Permanent(fmt.Errorf("table %s.%s: two regions wrote a row without having seen each other's write (conflict %s%s), and its policy is stop; "+
		"mend: look at it with duplex conflicts show -c <process file> %[3]s; then have the write stay that won, with duplex conflicts accept -c <process file of each region> %[3]s, "+
		"or the other one, with duplex conflicts undo in its place; and duplex resume in each region", held.DB, held.Table, held.ID, others))
}

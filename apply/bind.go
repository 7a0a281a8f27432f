package apply

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"hash/maphash"
	"strings"
	"sync"

	"duplex/apply/statement"
	"duplex/converge"
	"duplex/mysql"
	"duplex/schemas"
	"duplex/spine"
	"duplex/supervise"
	"duplex/tasks"
	"duplex/topics"

	"github.com/cespare/xxhash/v2"
)

// boundTable is one version of a source table, bound to the target's.
type boundTable struct {
	name     string // db.table
	db       string
	table    string
	envelope *schemas.EnvelopeReader
	key      *schemas.Record
	binder   *statement.Binder
	seed     uint64 // of the table's hashes: the same for all its versions
	secret   maphash.Seed
	// looseUnique is set if a unique key has a part that the binder doesn't
	// see: a prefix, an expression, a column that the source lacks.
	looseUnique bool
	// tracked is set if versions can tell its rows apart.
	tracked bool
	// rule tells which of two regions' writes of one of its rows stays.
	rule tasks.Rule
	// ranking is set if that isn't told by versions alone.
	ranking *ranking
	// parts are what its rows are made of, nil if each is of one piece.
	parts *parts
	// keyID and valueID are the registry's ids of the schemas, topic that of the records.
	keyID, valueID int
	topic          string
	// watched is the table of the target.
	watched *watched
	// unordered tells why the table can't be applied with ordering key.
	unordered error
}

// binders binds table versions when their first record comes. It lives as
// long as a session, which begins anew when watch finds a table altered in the
// target.
type binders struct {
	mu    sync.Mutex // of bound
	db    *sql.DB
	watch *watch
	// untracked is told of a topic whose rows versions can't tell apart.
	untracked func(topic string, why error)
	registry  *schemas.Registry // of the source region
	dialect   statement.Dialect
	bound     map[bindKey]*boundTable
	recent    *boundTable // one of them: mostly the next record's as well
	// secret makes the ids of rows: those that are made with the same one are comparable.
	secret maphash.Seed
	// weigher is set where conflicts are looked for.
	weigher *weigher
	// wanted tells whether a table is in the task. kin are by table and header.
	wanted func(db, table string) bool
	rule   func(db, table string) tasks.Rule
	kin    map[string]*kin
	// unique tells of topics whether their tables have a unique key besides the primary key.
	unique map[string]bool
}

// id stands for a row, where tracked for it alone; text is what AppendConflictKey
// gives for its key.
func (t *boundTable) id(text []byte) converge.Key {
	return converge.Key{A: maphash.Bytes(t.secret, text) ^ t.seed, B: xxhash.Sum64(text) ^ t.seed}
}

// errVagueKey says why rows of a table can't be told apart.
var errVagueKey = errors.New("the server doesn't tell which texts the collation of its primary key takes for the same: of two regions' writes of one of its rows it isn't decided which stays; mend: write each row in one region, or give the key another collation")

type bindKey struct {
	topic         string
	keyID, valueD int
}

func dialectOf(s *mysql.Server) statement.Dialect {
	return statement.DialectOf(string(s.Flavor), s.Version.Major, s.Version.Minor, s.Version.Patch)
}

// of returns the bound table of a record, and the record's key and value
// without their headers.
func (b *binders) of(ctx context.Context, r spine.Record) (t *boundTable, key, value []byte, err error) {
	keyID, key, err := schemas.ReadHeader(r.Key)
	if err != nil {
		return nil, nil, nil, spine.Unreadable(r.Record, fmt.Errorf("reading its key: %w", err))
	}
	valueID, value, err := schemas.ReadHeader(r.Value)
	if err != nil {
		return nil, nil, nil, spine.Unreadable(r.Record, fmt.Errorf("reading its value: %w", err))
	}
	name := bindKey{r.Topic, keyID, valueID}
	b.mu.Lock()
	defer b.mu.Unlock()
	if t := b.recent; t != nil && t.keyID == keyID && t.valueID == valueID && t.topic == r.Topic {
		return t, key, value, nil
	}
	if t, ok := b.bound[name]; ok {
		b.recent = t
		return t, key, value, nil
	}
	envelope, keyRecord, err := b.schemas(ctx, name)
	if supervise.IsPermanent(err) {
		err = spine.Unreadable(r.Record, err)
	}
	if err == nil {
		t, err = b.bind(ctx, name, envelope, keyRecord)
	}
	if err != nil {
		return nil, nil, nil, err
	}
	b.bound[name], b.recent = t, t
	return t, key, value, nil
}

func (b *binders) bind(ctx context.Context, name bindKey, envelope *schemas.EnvelopeReader, key *schemas.Record) (*boundTable, error) {
	_, db, table, ok := topics.ParseTable(name.topic)
	if !ok {
		return nil, supervise.Permanent(fmt.Errorf("topic %s is not a table's", name.topic))
	}
	full := db + "." + table
	t := &boundTable{name: full, db: db, table: table, envelope: envelope, key: key, seed: xxhash.Sum64String(full), secret: b.secret, keyID: name.keyID, valueID: name.valueD, topic: name.topic}
	target, watched, err := b.target(ctx, db, table)
	if err != nil {
		return nil, t.failure(err)
	}
	t.watched = watched
	if t.binder, err = statement.Compile(envelope.Value, key, target, b.dialect); err != nil {
		return nil, t.failure(supervise.Permanent(err))
	}
	t.rule = b.rule(db, table)
	if b.weigher != nil && t.rule.Policy != tasks.NoPolicy {
		if err := t.binder.Weigh(b.weigher.of); errors.Is(err, statement.ErrWeightless) {
			b.untracked(name.topic, errVagueKey)
		} else if err != nil {
			return nil, t.failure(err)
		}
	}
	t.tracked = t.binder.Identity() && t.rule.Policy != tasks.NoPolicy
	if t.parts, err = newParts(t); err != nil {
		return nil, err
	}
	if t.parts != nil {
		if err := b.refuseCascades(ctx, t); err != nil {
			return nil, err
		}
	}
	if why := statement.KeyOrder(target); len(why) > 0 {
		t.unordered = why[0]
	}
	for i, unique := range t.binder.Unique() {
		index := target.Unique[i]
		t.looseUnique = t.looseUnique || index.Partial || len(unique.Fields) < len(index.Columns)
	}
	if t.ranking, err = t.rankingOf(); err != nil {
		return nil, t.failure(err)
	}
	return t, nil
}

func (b *binders) schemas(ctx context.Context, name bindKey) (*schemas.EnvelopeReader, *schemas.Record, error) {
	text, err := b.registry.Schema(ctx, name.valueD)
	if err != nil {
		return nil, nil, err
	}
	envelope, err := schemas.ParseEnvelope(text)
	if err != nil {
		return nil, nil, supervise.Permanent(fmt.Errorf("schema %d of topic %s: %w", name.valueD, name.topic, err))
	}
	text, err = b.registry.Schema(ctx, name.keyID)
	if err != nil {
		return nil, nil, err
	}
	key, err := schemas.ParseKey(text)
	if err != nil {
		return nil, nil, supervise.Permanent(fmt.Errorf("schema %d of topic %s: %w", name.keyID, name.topic, err))
	}
	return envelope, key, nil
}

// target returns the target's table of that name, which is watched from now on.
func (b *binders) target(ctx context.Context, db, table string) (*schemas.Table, *watched, error) {
	watched, err := b.watch.add(ctx, mysql.TableName{DB: db, Table: table})
	if err != nil {
		return nil, nil, err
	}
	found, err := mysql.LoadTable(ctx, b.db, db, table)
	if err != nil {
		return nil, nil, classify(err)
	}
	if found == nil {
		return nil, nil, supervise.Permanent(fmt.Errorf("table %s.%s is not in the target; mend: create it as SHOW CREATE TABLE %s in the source region shows, or GRANT SELECT, INSERT, UPDATE, DELETE on it if it is there, then duplex resume",
			db, table, strings.Join([]string{mysql.QuoteIdent(db), mysql.QuoteIdent(table)}, ".")))
	}
	return found, watched, nil
}

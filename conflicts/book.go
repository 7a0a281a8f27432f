package conflicts

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"

	"duplex/apply/statement"
	"duplex/change"
	"duplex/config"
	"duplex/mysql"
	"duplex/schemas"
)

// Book is the record of one region, opened for people.
type Book struct {
	Region     change.Region
	process    *config.Process
	db         *sql.DB
	registries map[change.Region]*schemas.Registry
}

// Open opens the record of the region of a process file.
func Open(process *config.Process) (*Book, error) {
	db, err := mysql.Open(process.MySQL, mysql.Reading)
	if err != nil {
		return nil, err
	}
	return &Book{process.Region, process, db, map[change.Region]*schemas.Registry{}}, nil
}

// Close ends its connections.
func (b *Book) Close() error { return b.db.Close() }

// List returns conflicts without their images, the newest first.
func (b *Book) List(ctx context.Context, f Filter) ([]Conflict, error) { return List(ctx, b.db, f) }

// errNone says that no conflict has such an id.
type errNone struct {
	region change.Region
	id     string
}

func (e *errNone) Error() string {
	return fmt.Sprintf("region %s has no conflict whose id begins with %s; mend: duplex conflicts list shows their ids; those older than conflicts.retention are deleted", e.region, e.id)
}

// IsNone reports whether an error of Find or Undo says that there is no such conflict.
func IsNone(err error) bool {
	var none *errNone
	return errors.As(err, &none)
}

// Find returns the only conflict whose id begins so.
func (b *Book) Find(ctx context.Context, task, id string) (*Conflict, error) {
	return b.only(ctx, b.db, task, id, "")
}

func (b *Book) only(ctx context.Context, q querier, task, id, tail string) (*Conflict, error) {
	if strings.Trim(id, "0123456789abcdef") != "" || len(id) < 4 {
		return nil, fmt.Errorf("%q is not a conflict's id; mend: give 4 or more of the digits that duplex conflicts list shows", id)
	}
	found, err := find(ctx, q, task, id, tail)
	switch {
	case err != nil:
		return nil, err
	case len(found) == 0:
		return nil, &errNone{b.Region, id}
	case len(found) > 1 && found[0].ID == found[1].ID:
		return nil, fmt.Errorf("tasks %s and %s both have conflict %s; mend: name the task with --task", found[0].Task, found[1].Task, id)
	case len(found) > 1:
		return nil, fmt.Errorf("more than one conflict has an id that begins with %s; mend: give more of it", id)
	}
	return &found[0], nil
}

// registry returns the registry that a region's schemas are in.
func (b *Book) registry(region change.Region) (*schemas.Registry, error) {
	if r := b.registries[region]; r != nil {
		return r, nil
	}
	cfg := b.process.Registry
	if peer, ok := b.process.Peers[region]; ok {
		cfg = peer.Registry
	}
	if cfg.IsEmbedded() {
		cfg.URL = "http://" + cfg.Embedded.Listen // of the running process
	}
	r, err := schemas.NewRegistry(cfg)
	if err == nil {
		b.registries[region] = r
	}
	return r, err
}

// bound is how the row of a write is bound to the region's table.
type bound struct {
	binder *statement.Binder
	value  *schemas.Record
	key    *schemas.Record
}

// bind binds the row of a write to the region's table as it stands.
func (b *Book) bind(ctx context.Context, c *Conflict, w *Write) (*bound, error) {
	registry, err := b.registry(w.Origin)
	if err != nil {
		return nil, err
	}
	text, err := registry.Schema(ctx, w.Schema)
	if err != nil {
		return nil, err
	}
	envelope, err := schemas.ParseEnvelope(text)
	if err != nil {
		return nil, fmt.Errorf("schema %d: %w", w.Schema, err)
	}
	table, err := mysql.LoadTable(ctx, b.db, c.DB, c.Table)
	if err != nil {
		return nil, err
	}
	if table == nil {
		return nil, fmt.Errorf("table %s.%s is not in region %s, or its account has no privilege on it", c.DB, c.Table, b.Region)
	}
	server, err := mysql.Inspect(ctx, b.db)
	if err != nil {
		return nil, err
	}
	key := &schemas.Record{}
	for _, at := range table.Key {
		f := envelope.Value.Field(table.Columns[at].Name)
		if f < 0 {
			return nil, fmt.Errorf("table %s has column %s in its primary key, which the row of %s lacks", table, mysql.QuoteIdent(table.Columns[at].Name), w.Origin)
		}
		field := envelope.Value.Fields[f]
		field.Nullable = false
		key.Fields = append(key.Fields, field)
	}
	binder, err := statement.Compile(envelope.Value, key, table, statement.DialectOf(string(server.Flavor), server.Version.Major, server.Version.Minor, server.Version.Patch))
	if err != nil {
		return nil, err
	}
	return &bound{binder, envelope.Value, key}, nil
}

package preflight

import (
	"context"
	"database/sql"
	"fmt"

	"duplex/change"
	"duplex/config"
	"duplex/mysql"
	"duplex/schemas"
	"duplex/tasks"
)

// side is one region as it was found.
type side struct {
	process *config.Process
	db      *sql.DB
	server  *mysql.Server
	grants  *grants
	tables  []*schemas.Table // those of the task; none without a task
	definitions
}

func (s *side) region() change.Region { return s.process.Region }

func (s *side) where() string { return s.process.MySQL.Address }

func (s *side) whereTable(t *schemas.Table) string {
	return fmt.Sprintf("%s, table %s", s.where(), quoteTable(t.DB, t.Name))
}

// account is the account that duplex has there, quoted.
func (s *side) account() string { return mysql.QuoteAccount(s.server.Account) }

func (s *side) table(db, name string) *schemas.Table {
	for _, t := range s.tables {
		if t.DB == db && t.Name == name {
			return t
		}
	}
	return nil
}

// sees reports whether the account may know if the table exists.
func (s *side) sees(db, name string) bool { return s.grants.allow("SELECT", db, name) }

func quoteTable(db, table string) string { return mysql.QuoteIdent(db) + "." + mysql.QuoteIdent(table) }

// openSide reads all that the checks of one region look at.
func openSide(ctx context.Context, p *config.Process, spec *tasks.Spec) (*side, error) {
	db, err := mysql.Open(p.MySQL, mysql.Reading)
	if err != nil {
		return nil, err
	}
	s := &side{process: p, db: db}
	if err := s.read(ctx, spec); err != nil {
		db.Close() // the reading has failed already
		return nil, err
	}
	return s, nil
}

func (s *side) read(ctx context.Context, spec *tasks.Spec) (err error) {
	if s.server, err = mysql.Inspect(ctx, s.db); err != nil {
		return err
	}
	if s.grants, err = readGrants(ctx, s.db, s.server); err != nil || spec == nil {
		return err
	}
	if s.tables, err = mysql.LoadTables(ctx, s.db, spec.Tables.Match); err != nil {
		return err
	}
	s.definitions, err = readDefinitions(ctx, s.db, spec.Tables.Match)
	return err
}

package binlog

import (
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"

	"duplex/change"

	"github.com/go-mysql-org/go-mysql/replication"
)

func TestVerbOf(t *testing.T) {
	for text, want := range map[string]string{
		"BEGIN":                      "BEGIN",
		"  commit ":                  "COMMIT",
		"update`t`set a=1":           "UPDATE",
		"/* a */ /* b */UPDATE t":    "UPDATE",
		"-- a\n# b\nUPDATE t":        "UPDATE",
		"--\tUPDATE a":               "",
		"/*!50000 UPDATE t */":       "UPDATE",
		"/*M!100100 UPDATE t */":     "UPDATE",
		"/*!*/UPDATE t":              "UPDATE",
		"(SELECT f())":               "SELECT",
		"/* never ends":              "",
		"":                           "",
		"--":                         "",
		"WITH a AS (SELECT 1) UPDAT": "WITH",
		"SET PASSWORD = 'x'":         "SET",
		"SET STATEMENT max_statement_time=5 FOR UPDATE t SET a=1":                  "UPDATE",
		"SET STATEMENT sql_mode='FOR, ''FOR' , x=\"FOR\\\"\" FOR /* x */ DELETE t": "DELETE",
		"SET STATEMENT a=1 FOR SET STATEMENT b=2 FOR INSERT INTO t VALUES (1)":     "INSERT",
		"SET STATEMENT a=1":             "SET",
		"SET STATEMENT a='FOR UPDATE t": "SET",
		"CREATE TABLE t AS SELECT 1":    "CREATE",
		"SAVEPOINT `UPDATE`":            "SAVEPOINT",
	} {
		if got := verbOf(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

func FuzzVerbOf(f *testing.F) {
	for _, s := range []string{"SET STATEMENT a='", "/*", "--", "/*!9", "*/", "SET STATEMENT FOR", "`"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if got := verbOf(text); got != strings.ToUpper(got) {
			t.Errorf("%q: %q", text, got)
		}
		comment := strings.ReplaceAll(text, "/", "")
		if strings.HasPrefix(comment, "!") || strings.HasPrefix(comment, "M!") {
			return // an executable one
		}
		if got := verbOf("/*" + comment + "*/ UPDATE t"); got != "UPDATE" {
			t.Errorf("%q in a comment hides the verb: %q", text, got)
		}
	})
}

// The brackets of a transaction, and what a server logs between them.
func TestQueryClasses(t *testing.T) {
	captured := func(h *handler) { h.txn.captured = true }
	open := func(h *handler) { h.txn.open = true }
	nothing := func(*handler) {}
	for _, tt := range []struct {
		before    func(*handler)
		statement string
		want      []Kind
		refused   bool
	}{
		{nothing, "BEGIN", nil, false},
		{open, "COMMIT", []Kind{Commit}, false},
		{open, "ROLLBACK", []Kind{Commit}, false},
		{captured, "ROLLBACK", nil, true},
		{captured, "ROLLBACK /* it */", nil, true},
		{open, "SAVEPOINT `a`", nil, false},
		{open, "ROLLBACK TO `a`", nil, false},
		{open, "rollback work to savepoint a", nil, false},
		{captured, "ROLLBACK TO `a`", nil, true},
		{captured, "RELEASE SAVEPOINT a", nil, false},
		{open, "XA START X'01',X'',1", nil, false},
		{open, "XA END X'01',X'',1", nil, false},
		{nothing, "XA COMMIT X'01',X'',1", []Kind{Unread, Commit}, false},
		{nothing, "XA ROLLBACK X'01',X'',1", []Kind{Commit}, false},
		{open, "INSERT INTO t VALUES (1)", nil, true},
		{open, "# a\n-- b\n/* c */ insert into t values (1)", nil, true},
		{open, "/*!50000 DELETE FROM t */", nil, true},
		{open, "WITH a AS (SELECT 1) UPDATE t, a SET b = 1", nil, true},
		{open, "SELECT `d`.`f`()", nil, true},
		{open, "SET STATEMENT max_statement_time=1 FOR REPLACE t VALUES (1)", nil, true},
		{nothing, "TRUNCATE t", []Kind{DDL, Commit}, false},
		{nothing, "CREATE USER a", []Kind{DDL, Commit}, false},
		{open, "CREATE TABLE t (a INT)", []Kind{DDL}, false},
	} {
		var got []Kind
		h := newHandler(Config{}, func(e *Event) error { got = append(got, e.Kind); return nil })
		h.txn.gtid = GTID{number: 5, server: 1}
		tt.before(h)
		err := h.query(&replication.QueryEvent{Schema: []byte("shop"), Query: []byte(tt.statement)})
		var refused *RefusedError
		if errors.As(err, &refused) != tt.refused || err != nil && !tt.refused || !slices.Equal(got, tt.want) {
			t.Errorf("%s: events %v, error %v; want %v, refused %t", tt.statement, got, err, tt.want, tt.refused)
		}
		if err != nil && (!strings.Contains(err.Error(), "mend:") || !strings.Contains(err.Error(), h.txn.gtid.String())) {
			t.Errorf("%s: the error lacks its transaction or its mend: %v", tt.statement, err)
		}
	}
}

// Only the first row event of a transaction is the marker; a row that lacks an
// origin is refused, and other tables of schema duplex mean nothing.
func TestControlRows(t *testing.T) {
	event := func(table string, rows ...[]any) *replication.RowsEvent {
		return &replication.RowsEvent{Rows: rows, Table: &replication.TableMapEvent{Schema: []byte("duplex"), Table: []byte(table),
			ColumnName: [][]byte{[]byte("task"), []byte("origin"), []byte("seq"), []byte("hlc"), []byte("token")}}}
	}
	row := func(seq int64) []any { return []any{"t", "west", seq, int64(9), "secret"} }
	want := Mark{Task: "t", Origin: "west", Seq: 2, HLC: 9, Token: "secret"}
	for _, tt := range []struct {
		name  string
		first bool
		event *replication.RowsEvent
		kind  Kind
	}{
		{"an update of the marker", true, event("progress", row(1), row(2)), Marker},
		{"a row of progress further on", false, event("progress", row(1), row(2)), 0},
		{"a canary, wherever it stands", false, event("canary", row(2)), Canary},
		{"another table", true, event("conflicts", row(2)), 0},
		{"no rows", true, event("progress"), 0},
	} {
		var got []*Event
		h := newHandler(Config{}, func(e *Event) error { got = append(got, e); return nil })
		h.txn.anyRows = !tt.first
		if err := h.control(replication.UPDATE_ROWS_EVENTv2, tt.event); err != nil {
			t.Errorf("%s: %v", tt.name, err)
		}
		switch {
		case tt.kind == 0 && len(got) == 0:
		case len(got) != 2 || got[0].Kind != Begin || got[1].Kind != tt.kind || *got[1].Mark != want:
			t.Errorf("%s: events %v", tt.name, got)
		}
	}
	h := newHandler(Config{}, func(*Event) error { return nil })
	var refused *RefusedError
	if err := h.control(replication.UPDATE_ROWS_EVENTv2, event("progress", []any{"t", nil, int64(1), int64(1), ""})); !errors.As(err, &refused) {
		t.Errorf("a marker without an origin: %v", err)
	}
}

// What is put into duplex.outbox is told, what is taken out of it again isn't.
func TestOutboxRows(t *testing.T) {
	event := func(row ...any) *replication.RowsEvent {
		table := &replication.TableMapEvent{Schema: []byte("duplex"), Table: []byte("outbox")}
		for _, name := range []string{"id", "origin", "hlc", "db", "tbl", "topic", "key_schema", "value_schema", "row_key"} {
			table.ColumnName = append(table.ColumnName, []byte(name))
		}
		return &replication.RowsEvent{Rows: [][]any{row}, Table: table}
	}
	row := event(int64(1), "east", int64(9), "shop", "t", "west.shop.t", int32(3), int32(4), []byte{1, 2})
	want := Yields{DB: "shop", Table: "t", Version: change.Version{HLC: 9, Origin: "east"}, Topic: "west.shop.t", KeySchema: 3, ValueSchema: 4, Key: []byte{1, 2}}
	var got []*Event
	h := newHandler(Config{}, func(e *Event) error { got = append(got, e); return nil })
	for _, typ := range []replication.EventType{replication.WRITE_ROWS_EVENTv2, replication.DELETE_ROWS_EVENTv2} {
		if err := h.control(typ, row); err != nil {
			t.Fatal(err)
		}
	}
	if len(got) != 2 || got[1].Kind != Yield || len(got[1].Yields) != 1 || !reflect.DeepEqual(got[1].Yields[0], want) {
		t.Errorf("events %+v", got)
	}
	var refused *RefusedError
	if err := h.control(replication.WRITE_ROWS_EVENTv2, event(int64(1), "", int64(9), "shop", "t", "", int32(0), int32(0), []byte{})); !errors.As(err, &refused) {
		t.Errorf("a row without an origin: %v", err)
	}
}

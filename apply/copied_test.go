package apply

import (
	"errors"
	"strings"
	"testing"

	"duplex/change"
	"duplex/config"
	"duplex/internal/testbed"
	"duplex/mysql"
	"duplex/schemas"
	"duplex/tasks"
)

// TestCopiedRows: rows of an initial copy are written, kept back or refused where a row is there already, by
// keys as the server compares them, with and without a secondary unique key.
func TestCopiedRows(t *testing.T) {
	server := testbed.New(t).MySQL(t, testbed.MySQL80)
	db, err := mysql.Open(config.MySQL{Address: server.Addr, User: "root", TLS: config.TLS{Mode: config.TLSOff}}, mysql.Applying)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	exec := func(statements ...string) {
		t.Helper()
		for _, statement := range statements {
			if _, err := db.ExecContext(t.Context(), statement); err != nil {
				t.Fatalf("%s: %v", statement, err)
			}
		}
	}
	exec("CREATE DATABASE shop")
	const id = "id VARCHAR(9) CHARACTER SET latin1 COLLATE latin1_swedish_ci PRIMARY KEY"
	for name, ddl := range map[string]string{"plain": "(" + id + ", n INT)", "uniq": "(" + id + ", n INT UNIQUE)"} {
		exec("CREATE TABLE shop." + name + " " + ddl)
		table, err := mysql.LoadTable(t.Context(), db, "shop", name)
		if err != nil {
			t.Fatal(err)
		}
		bound := boundTo(t, table)
		copied := func(rule existing, rows ...string) error {
			t.Helper()
			w, err := newWriter(t.Context(), db, &progress{task: "t", origin: "east"}, 0, 1<<20)
			if err != nil {
				t.Fatal(err)
			}
			defer w.conn.Close()
			batch := newBatch(0)
			for _, text := range rows {
				key := schemas.AppendString(nil, text[:1])
				after := append(append([]byte{}, key...), 2, (text[1]-'0')*2)
				if err := batch.addCopied(bound, key, after, made{existing: rule}); err != nil {
					t.Fatal(err)
				}
			}
			return w.tables(t.Context(), batch.tables)
		}
		holds := func(want string) {
			t.Helper()
			var got string
			if err := db.QueryRowContext(t.Context(), "SELECT GROUP_CONCAT(id, n ORDER BY id) FROM shop."+name).Scan(&got); err != nil {
				t.Fatal(err)
			}
			if got != want {
				t.Errorf("%s holds %q, not %q", name, got, want)
			}
		}
		exec("INSERT INTO shop." + name + " VALUES ('A', 1), ('b', 2), ('c', 3)")
		for _, step := range []struct {
			rule existing
			rows []string
			want string
		}{
			{keepExisting, []string{"d6"}, "A1,b2,c3,d6"},
			{keepExisting, []string{"a4", "b5", "d6"}, "A1,b2,c3,d6"},
			{stopAtExisting, []string{"A1", "b2", "e7"}, "A1,b2,c3,d6,e7"},
			{overwrite, []string{"b8", "e7", "f9"}, "A1,b8,c3,d6,e7,f9"},
		} {
			if err := copied(step.rule, step.rows...); err != nil {
				t.Fatalf("%s, %v: %v", name, step, err)
			}
			holds(step.want)
		}
		exists := new(existsError)
		err = copied(stopAtExisting, "A1", "c4", "g0")
		if !errors.As(err, &exists) {
			t.Fatalf("a row with other content: %v", err)
		}
		text := batchError(&batch{seq: 7, commits: []int64{1}}, err).Error()
		for _, part := range []string{"table shop." + name, "existing: keep"} {
			if !strings.Contains(text, part) {
				t.Errorf("%q doesn't tell %q", text, part)
			}
		}
	}
}

// TestCopiedLoses: in a batch a copied row yields to any write of its row, whichever comes first.
func TestCopiedLoses(t *testing.T) {
	bound := boundTo(t, &schemas.Table{DB: "d", Name: "t", Key: []int{0}, Columns: []schemas.Column{{Name: "id", Type: schemas.Int}, {Name: "n", Type: schemas.Int}}})
	key, row := []byte{2}, func(n byte) []byte { return []byte{2, 2 * n} }
	for name, fill := range map[string]func(*batch) error{
		"after": func(b *batch) error {
			return errors.Join(b.addCopied(bound, key, row(1), made{existing: overwrite}), b.add(bound, key, row(1), row(2), made{hlc: 5}))
		},
		"before": func(b *batch) error {
			return errors.Join(b.add(bound, key, row(1), row(2), made{hlc: 5}), b.addCopied(bound, key, row(1), made{existing: overwrite}))
		},
	} {
		b := newBatch(0)
		if err := fill(b); err != nil {
			t.Fatal(err)
		}
		if rows := b.tables[0].rows; len(rows) != 1 || rows[0].after[1] != 4 || rows[0].made.existing != notCopied {
			t.Errorf("a write %s it: %+v", name, rows)
		}
	}
}

// TestCopiedHasNoVersion: a copied row loses to a local write that is known, however new the copy's transaction
// is; and one that was written over a local write that the tail reads only then is to be put back.
func TestCopiedHasNoVersion(t *testing.T) {
	copied := func(k *known, seq change.Seq) (lost bool) {
		t.Helper()
		s := &session{st: &Stream{cfg: Config{Process: &config.Process{Region: "east"}, Spec: &tasks.Spec{}}}}
		b := newBatch(0)
		b.seq = seq
		k.must(b.addCopied(k.table, k.key, image(k.key, "", 0), s.copied(made{hlc: 100, origin: k.source, seq: seq})))
		k.must(k.sift(b.tables))
		k.must(k.wrote(b))
		return b.tables[0].rows[0].lost
	}
	k := newKnown(t)
	k.localWrite(1, 5, 1)
	if !copied(k, 1) {
		t.Error("a copied row goes over a local write")
	}
	if held := len(k.clashes.held) + len(k.clashes.found); held != 0 {
		t.Error("that is a conflict")
	}
	k = newKnown(t)
	if copied(k, 1) {
		t.Error("a copied row loses to nothing")
	}
	k.localWrite(1, 5, 1)
	k.comeBy(1)
	if topic, offset := k.newest(); k.due() != 1 || topic != "east.shop.a" || offset != 1 {
		t.Errorf("%d rows are to be put back, with the image at %s:%d", k.due(), topic, offset)
	}
}

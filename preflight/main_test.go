package preflight_test

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"duplex/change"
	"duplex/config"
	"duplex/internal/testbed"
	"duplex/mysql"
	"duplex/preflight"
	"duplex/tasks"
)

var bed *testbed.Bed

func TestMain(m *testing.M) { os.Exit(testbed.Main(m, &bed)) }

// world is two regions whose check is good, but for what a test breaks.
type world struct {
	t       testing.TB
	servers [2]*testbed.MySQL
	procs   []*config.Process
	spec    *tasks.Spec
}

const east, west = 0, 1

// newWorld starts two servers with equal tables and an account that has been
// given exactly what the check asked for.
func newWorld(t *testing.T, versions ...testbed.Part) *world {
	t.Helper()
	w := newWorldWith(t, versions)
	if w.expect(); t.Failed() {
		t.FailNow()
	}
	return w
}

// newWorldWith gives the server of west more flags.
func newWorldWith(t testing.TB, versions []testbed.Part, flags ...string) *world {
	t.Helper()
	w := &world{t: t}
	all := [2][]string{{"--max-allowed-packet=64M"}, append([]string{"--max-allowed-packet=64M"}, flags...)}
	for i, region := range []change.Region{"east", "west"} {
		w.servers[i] = bed.MySQL(t, versions[i], testbed.Durable(), testbed.MySQLFlags(all[i]...))
		engine := config.EngineMySQL
		if w.servers[i].IsMariaDB() {
			engine = config.EngineMariaDB
		}
		w.procs = append(w.procs, &config.Process{Region: region, Engine: engine,
			MySQL:    config.MySQL{Address: w.servers[i].Addr, User: "duplex", Password: "secret", TLS: config.TLS{Mode: config.TLSOff}, ServerID: uint32(900_000_000 + i)},
			Kafka:    config.Kafka{Brokers: []string{config.EmbeddedName}, ReplicationFactor: 1},
			Registry: config.Registry{URL: config.EmbeddedName}})
		w.exec(i, "CREATE USER duplex@'%' IDENTIFIED BY 'secret'", "CREATE DATABASE shop_eu CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci", "CREATE DATABASE crm",
			orders,
			"CREATE TABLE crm.customer (id INT PRIMARY KEY, note TEXT) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci", "CREATE TABLE crm.other (id INT)")
	}
	w.useTask(`tables: {include: ["shop_eu.*", "crm.customer"]}`)
	w.grant()
	for i := range w.servers {
		if err := mysql.EnsureSchema(t.Context(), w.open(i)); err != nil {
			t.Fatal(err)
		}
		w.exec(i, "REVOKE CREATE ON duplex.* FROM duplex@'%'")
	}
	return w
}

// grant runs every GRANT that the check prints.
func (w *world) grant() {
	w.t.Helper()
	for _, f := range w.check() {
		if f.Code == "privileges" {
			w.fix(f)
		}
	}
}

func (w *world) useTask(lines string) {
	w.t.Helper()
	spec, err := tasks.Parse("shop.yaml", []byte("task: shop\nregions: [east, west]\n"+lines+"\n"))
	if err != nil {
		w.t.Fatal(err)
	}
	w.spec = spec
}

func (w *world) open(i int) *sql.DB {
	w.t.Helper()
	db, err := mysql.Open(w.procs[i].MySQL, mysql.Reading)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { db.Close() })
	return db
}

func (w *world) exec(i int, statements ...string) {
	w.t.Helper()
	for _, statement := range statements {
		if _, err := w.servers[i].DB().ExecContext(w.t.Context(), statement); err != nil {
			w.t.Fatalf("%s: %s: %v", w.servers[i].Name(), statement, err)
		}
	}
}

// check returns what isn't good, but for Kafka and registry being embedded.
func (w *world) check() []preflight.Finding {
	w.t.Helper()
	r, err := preflight.Check(w.t.Context(), w.procs, w.spec)
	if err != nil {
		w.t.Fatal(err)
	}
	return slices.DeleteFunc(r.Findings, func(f preflight.Finding) bool {
		return f.Severity == preflight.OK || f.Code == "embedded-kafka" || f.Code == "embedded-registry"
	})
}

// expect checks and wants exactly the findings "region code severity".
func (w *world) expect(want ...string) []preflight.Finding {
	w.t.Helper()
	found := w.check()
	var got []string
	for _, f := range found {
		got = append(got, strings.TrimSpace(fmt.Sprintf("%s %s %s", f.Region, f.Code, f.Severity)))
		if f.What == "" || f.Why == "" || f.Fix == "" {
			w.t.Errorf("incomplete: %+v", f)
		}
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		w.t.Errorf("found %v, want %v\n%+v", got, want, found)
	}
	return found
}

// fix runs the SQL of a finding as an administrator of its region.
func (w *world) fix(f preflight.Finding) {
	w.t.Helper()
	i := slices.IndexFunc(w.procs, func(p *config.Process) bool { return p.Region == f.Region })
	ran := 0
	for _, statement := range statements(f.Fix) {
		w.exec(i, statement)
		ran++
	}
	if ran == 0 {
		w.t.Fatalf("there is nothing to run in %+v", f)
	}
}

// mends checks that the findings are wanted and that their fixes are all that
// it takes.
func (w *world) mends(want ...string) {
	w.t.Helper()
	for _, f := range w.expect(want...) {
		w.fix(f)
	}
	if w.expect(); w.t.Failed() {
		w.t.FailNow()
	}
}

// statements splits a fix, leaving remarks out.
func statements(fix string) []string {
	var lines []string
	for line := range strings.Lines(fix) {
		if !strings.HasPrefix(line, "-- ") {
			lines = append(lines, line)
		}
	}
	var found []string
	for _, s := range strings.Split(strings.Join(lines, ""), ";\n") {
		if strings.TrimSpace(s) != "" {
			found = append(found, s)
		}
	}
	return found
}

// pairs are the servers that the checks are tried on.
var pairs = map[string][]testbed.Part{
	"9.7":          {testbed.MySQL97, testbed.MySQL97},
	"8.0":          {testbed.MySQL80, testbed.MySQL80},
	"MariaDB 11.8": {testbed.MariaDB118, testbed.MariaDB118},
}

// shared are the worlds of pairs that tests use one after the other.
var shared = make(map[string]*world)

// onEveryPair runs the test on each pair, good and with the first tables only.
func onEveryPair(t *testing.T, test func(*testing.T, *world)) {
	for name, versions := range pairs {
		t.Run(name, func(t *testing.T) {
			w := shared[name]
			if w == nil {
				w = newWorldWith(lasting{t}, versions)
				shared[name] = w
			}
			w.as(t, func(w *world) {
				w.reset()
				w.grant()
				if w.expect(); t.Failed() {
					t.FailNow()
				}
				test(t, w)
			})
		})
	}
}

// lasting is a test whose servers outlive it, until the bed is closed.
type lasting struct{ *testing.T }

func (lasting) Cleanup(func())           {}
func (lasting) Context() context.Context { return context.Background() }

// reset drops what a case made and makes the good tables anew.
func (w *world) reset() {
	w.t.Helper()
	for i := range w.servers {
		w.exec(i, "SET GLOBAL auto_increment_increment=1", "SET GLOBAL auto_increment_offset=1", "DROP DATABASE shop_eu",
			"CREATE DATABASE shop_eu CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci", orders)
	}
}

const orders = "CREATE TABLE shop_eu.orders (id INT PRIMARY KEY, name VARCHAR(20), price DECIMAL(9,2) NOT NULL, UNIQUE KEY by_name (name))"

// as runs f on the world for test t.
func (w *world) as(t testing.TB, f func(*world)) {
	inner := *w
	inner.t = t
	f(&inner)
}

// step runs one case of many on the same world.
func (w *world) step(name string, test func(*world)) {
	w.t.(*testing.T).Run(name, func(t *testing.T) { w.as(t, test) })
}

func (w *world) isMariaDB() bool { return w.servers[west].IsMariaDB() }

package preflight_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"duplex/config"
	"duplex/internal/testbed"
	"duplex/preflight"
)

// The clock that connections see is set by init_connect, which spares
// administrators.
func TestClocks(t *testing.T) {
	onEveryPair(t, func(t *testing.T, w *world) {
		defer w.exec(west, "SET GLOBAL init_connect=''")
		for _, c := range []struct {
			ahead int
			want  []string
		}{{0, nil}, {5, []string{"west clock warn"}}, {30, []string{"west clock refuse"}}, {-30, []string{"east clock refuse"}}} {
			w.step(fmt.Sprint(c.ahead), func(w *world) {
				w.exec(west, fmt.Sprintf("SET GLOBAL init_connect='SET timestamp=UNIX_TIMESTAMP(SYSDATE(6))+%d'", c.ahead))
				w.expect(c.want...)
			})
		}
	})
}

func TestSameServer(t *testing.T) {
	onEveryPair(t, func(t *testing.T, w *world) {
		alias := *w.procs[east]
		alias.Region = "west"
		procs := []*config.Process{w.procs[east], &alias}
		w.procs = procs
		w.expect("west same-server refuse")
		if !w.isMariaDB() { // over another address server_uuid tells
			alias.MySQL.Address = strings.Replace(alias.MySQL.Address, "127.0.0.1", "localhost", 1)
			w.expect("west same-server refuse")
		}
	})
}

func TestUnreachableAndWrongEngine(t *testing.T) {
	onEveryPair(t, func(t *testing.T, w *world) {
		eastern, changed := w.procs[east], *w.procs[west]
		w.procs = []*config.Process{eastern, &changed}
		changed.MySQL.Password = "canary-secret"
		found := w.expect("west connection refuse")
		if text := found[0].What + found[0].Fix; !strings.Contains(text, "CREATE USER 'duplex'@") || strings.Contains(text, "canary-secret") {
			t.Errorf("%+v", found)
		}
		// That nothing was seen doesn't mean that the tables aren't there.
		w.procs = []*config.Process{&changed}
		w.expect("east task warn", "west connection refuse")
		w.procs = []*config.Process{eastern, &changed}
		changed.MySQL.Password = "secret"
		changed.Engine = map[string]string{config.EngineMySQL: config.EngineMariaDB, config.EngineMariaDB: config.EngineMySQL}[changed.Engine]
		w.expect("west server refuse")
	})
}

func TestTaskFile(t *testing.T) {
	w := newWorld(t, testbed.MySQL97, testbed.MySQL97)
	good := w.procs
	w.step("one process file", func(w *world) {
		w.procs = good[:1]
		w.expect("west task warn")
	})
	w.step("region not in the task", func(w *world) {
		north := *good[1]
		north.Region = "north"
		w.procs = []*config.Process{good[0], &north}
		w.expect("north task refuse", "west task warn")
	})
	w.step("not built yet", func(w *world) {
		w.useTask("tables: {include: [\"shop_eu.*\"]}\nddl: replicate")
		w.expect("task refuse")
	})
	w.step("no task file", func(w *world) {
		w.spec = nil
		w.expect("task warn")
	})
	w.step("no process file", func(w *world) {
		if _, err := preflight.Check(w.t.Context(), nil, w.spec); err == nil {
			w.t.Error("no error")
		}
	})
	w.step("given up", func(w *world) {
		ctx, cancel := context.WithCancel(w.t.Context())
		cancel()
		if _, err := preflight.Check(ctx, good, w.spec); !errors.Is(err, context.Canceled) {
			w.t.Errorf("got %v", err)
		}
	})
}

func TestReportForms(t *testing.T) {
	r := preflight.Report{Findings: []preflight.Finding{
		{Region: "east", Code: "server", Severity: preflight.OK, What: "mysql"},
		{Region: "west", Code: "log-bin", Severity: preflight.Refuse, What: "off", Where: "db:3306", Why: "needed", Fix: "SET a;\nSET b;\n"},
	}}
	var text bytes.Buffer
	if err := r.WriteText(&text); err != nil {
		t.Fatal(err)
	}
	want := "refuse  west  log-bin\n  what:  off\n  where: db:3306\n  why:   needed\n  fix:   SET a;\n         SET b;\n\nok      east  server: mysql\n1 refused, 0 warnings, 1 good\n"
	if text.String() != want || !r.Refused() {
		t.Errorf("got %s", text.String())
	}
	data, err := json.Marshal(r)
	if err != nil || string(data) != `{"findings":[{"region":"east","code":"server","severity":"ok","what":"mysql"},`+
		`{"region":"west","code":"log-bin","severity":"refuse","what":"off","where":"db:3306","why":"needed","fix":"SET a;\nSET b;\n"}]}` {
		t.Errorf("got %s, %v", data, err)
	}
}

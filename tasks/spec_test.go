package tasks

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"duplex/change"
	"duplex/config"
)

const fromDesign = `
task: shop
regions: [east, west]
tables: {include: ["shop.*", "crm.customer"], exclude: ["shop.tmp_*"]}
initial_copy: {from: east, existing: keep, threads: 8, batch_rows: 1000}    # from: none | a region; existing: keep | overwrite | stop
apply: {ordering: transaction, threads: 8, batch_rows: 1000, batch_wait: 500ms}
conflicts: {policy: last-write-wins, tables: {"shop.stock": {policy: last-write-wins, delta: [quantity]}}}
ddl: stop                                                                   # stop | replicate | ignore
`

func TestDesignExample(t *testing.T) {
	s, err := Parse("shop.yaml", []byte(fromDesign))
	if err != nil {
		t.Fatal(err)
	}
	if s.Task != "shop" || s.InitialCopy.From != "east" || s.Apply.BatchBytes != 8*config.MiB || s.Conflicts.Tables["shop.stock"].Delta[0] != "quantity" {
		t.Errorf("read as %+v", s)
	}
	if !s.Tables.Match("shop", "orders") || s.Tables.Match("shop", "tmp_1") || !s.Tables.Match("crm", "customer") || s.Tables.Match("crm", "customers") {
		t.Error("the tables don't match as the patterns say")
	}
	if refused := s.Unsupported(); len(refused) != 1 {
		t.Errorf("refused: %v", refused)
	}
}

func TestMinimal(t *testing.T) {
	s, err := Parse("t.yaml", []byte("task: t\nregions: [a, b]\ntables: {include: ['d.*']}\n"))
	if err != nil {
		t.Fatal(err)
	}
	want := Apply{OrderingTransaction, 8, 2000, 8 * config.MiB, 500 * time.Millisecond}
	if s.Apply != want || s.InitialCopy.From != NoCopy || s.DDL != DDLStop || s.Conflicts.Policy != LastWriteWins {
		t.Errorf("read as %+v", s)
	}
	if refused := s.Unsupported(); refused != nil {
		t.Errorf("the defaults are refused: %v", refused)
	}
}

func TestRefusals(t *testing.T) {
	tests := []struct{ name, line, setting, says string }{
		{"task", "task: Shop 1", "task", "small letters"},
		{"one region", "regions: [east]", "regions", "two regions"},
		{"twice", "regions: [east, west, east]", "regions[2]", "named twice"},
		{"region", "regions: [east, West]", "regions[1]", "small letters"},
		{"none", "regions: [east, none]", "regions[1]", "none"},
		{"no table", "tables: {exclude: ['a.b']}", "tables.include", "no table"},
		{"pattern", "tables: {include: [shop]}", "tables.include[0]", "0 dots"},
		{"dots", "tables: {include: [a.b.c]}", "tables.include[0]", "2 dots"},
		{"empty part", "tables: {include: ['a.b', '.b']}", "tables.include[1]", "empty name"},
		{"backslash", `tables: {include: ['a.b\']}`, "tables.include[0]", "backslash"},
		{"exclude", "tables: {include: ['a.b'], exclude: [b]}", "tables.exclude[0]", "0 dots"},
		{"system", "tables: {include: ['mysql.user']}", "tables.include[0]", "belongs to the server"},
		{"system, other case", "tables: {include: ['Information_Schema.*']}", "tables.include[0]", "belongs to the server"},
		{"own schema", "tables: {include: ['duplex.*']}", "tables.include[0]", "duplex"},
		{"copy from", "initial_copy: {from: north}", "initial_copy.from", "east"},
		{"copy both of three", "regions: [east, west, north]\ninitial_copy: {from: both}", "initial_copy.from", "more than two"},
		{"copy both over each other", "initial_copy: {from: both, existing: overwrite}", "initial_copy.existing", "each overwrite"},
		{"region both", "regions: [east, both]", "regions[1]", "both can't be"},
		{"existing", "initial_copy: {existing: kep}", "initial_copy.existing", "did you mean keep?"},
		{"copy threads", "initial_copy: {threads: 65}", "initial_copy.threads", "1 to 64"},
		{"ordering", "apply: {ordering: table}", "apply.ordering", "known here are key, transaction"},
		{"threads", "apply: {threads: 0}", "apply.threads", "1 to 64"},
		{"rows", "apply: {batch_rows: 100001}", "apply.batch_rows", "1 to 100000"},
		{"bytes", "apply: {batch_bytes: 1KiB}", "apply.batch_bytes", "64KiB to 1GiB"},
		{"bytes form", "apply: {batch_bytes: 8MB}", "apply.batch_bytes", "8MiB"},
		{"wait", "apply: {batch_wait: 2m}", "apply.batch_wait", "0s to 1m0s"},
		{"wait form", "apply: {batch_wait: 500}", "apply.batch_wait", "500ms"},
		{"policy", "conflicts: {policy: last-writer-wins}", "conflicts.policy", "did you mean last-write-wins?"},
		{"table rule", "conflicts: {tables: {'shop.*': {delta: [n]}}}", `conflicts.tables."shop.*"`, "one table"},
		{"table policy", "conflicts: {tables: {'shop.a': {policy: x}}}", `conflicts.tables."shop.a".policy`, "known here"},
		{"no column", "conflicts: {policy: newest-column}", "conflicts.column", "column: updated_at"},
		{"priority", "conflicts: {policy: region-priority, priority: [east]}", "conflicts.priority", "name all of"},
		{"priority, strange region", "conflicts: {policy: region-priority, priority: [east, north]}", "conflicts.priority", "name all of"},
		{"idle priority", "conflicts: {tables: {'shop.a': {priority: [west, east]}}}", `conflicts.tables."shop.a".priority`, "no effect with policy last-write-wins"},
		{"idle column", "conflicts: {tables: {'shop.a': {policy: stop, column: at}}}", `conflicts.tables."shop.a".column`, "no effect with policy stop"},
		{"delta of a policy", "conflicts: {tables: {'shop.a': {policy: stop, delta: [n]}}}", `conflicts.tables."shop.a".delta`, "can't be kept with policy stop"},
		{"retention", "conflicts: {retention: 1s}", "conflicts.retention", "1m0s to"},
		{"ddl", "ddl: replicat", "ddl", "did you mean replicate?"},
		{"typo", "aply: {threads: 8}", "aply", "did you mean apply?"},
		{"typo inside", "apply: {bacth_rows: 8}", "apply.bacth_rows", "did you mean batch_rows?"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			file := ""
			key, _, _ := strings.Cut(test.line, ":")
			for _, line := range []string{"task: shop", "regions: [east, west]", "tables: {include: ['shop.*']}"} {
				if !strings.HasPrefix(line, key+":") {
					file += line + "\n"
				}
			}
			_, err := Parse("shop.yaml", []byte(file+test.line+"\n"))
			if err == nil {
				t.Fatal("accepted")
			}
			if text := err.Error(); !strings.Contains(text, test.setting+": ") || !strings.Contains(text, test.says) || !strings.HasPrefix(text, "shop.yaml:") {
				t.Errorf("want file, setting %q and %q in:\n%s", test.setting, test.says, text)
			}
		})
	}
}

func TestUnsupported(t *testing.T) {
	const base = "task: t\ntables: {include: ['d.*']}\n"
	for line, setting := range map[string]string{
		"initial_copy: {from: a}\napply: {ordering: key}":                       "initial_copy.from",
		"initial_copy: {from: a}\nconflicts: {policy: none}":                    "initial_copy.from",
		"initial_copy: {from: a}\nconflicts: {tables: {'d.t': {policy: none}}}": "initial_copy.from",
		"initial_copy: {from: a}\nconflicts: {policy: merge-columns}":           "initial_copy.from",
		"initial_copy: {from: a}\nconflicts: {tables: {d.t: {delta: [n]}}}":     "initial_copy.from",
		"conflicts: {policy: merge-columns}\nregions: [a, b, c]":                "conflicts.policy",
		"conflicts: {tables: {d.t: {delta: [n]}}}\nregions: [a, b, c]":          `conflicts.tables."d.t".delta`,
		"conflicts: {tables: {d.t: {delta: [n]}}}\napply: {ordering: key}":      `conflicts.tables."d.t".delta`,
		"ddl: replicate": "ddl",
		"ddl: ignore":    "ddl",
		"apply: {ordering: key}\nconflicts: {tables: {'d.t': {policy: stop}}}": `conflicts.tables."d.t".policy`,
		"apply: {ordering: key}\nconflicts: {policy: region-priority}":         "conflicts.policy",
	} {
		if !strings.Contains(line, "regions:") {
			line += "\nregions: [a, b]"
		}
		s, err := Parse("t.yaml", []byte(base+line+"\n"))
		if err != nil {
			t.Errorf("%s: %v", line, err)
			continue
		}
		refused := s.Unsupported()
		if len(refused) != 1 || !strings.Contains(refused[0].Error(), setting+": ") || !strings.Contains(refused[0].Error(), "not built yet") {
			t.Errorf("%s: refused %v", line, refused)
		}
	}
}

func TestEncodeRoundTrip(t *testing.T) {
	name := rapid.StringMatching(`[a-zA-Z0-9_ #:'"{}é-]{1,8}`)
	rapid.Check(t, func(t *rapid.T) {
		s := defaults()
		s.Task, s.Regions = "t", []change.Region{"east", "west"}
		s.Apply.BatchWait = time.Duration(rapid.Int64Range(0, int64(time.Minute)).Draw(t, "wait"))
		s.Apply.BatchBytes = config.Size(rapid.Int64Range(int64(64*config.KiB), int64(config.GiB)).Draw(t, "bytes"))
		s.Tables = Tables{Include: []string{name.Draw(t, "db") + "." + name.Draw(t, "table")}, Exclude: []string{}}
		s.Conflicts.Tables = map[string]Rule{name.Draw(t, "db") + "." + name.Draw(t, "table"): {Delta: []string{name.Draw(t, "column")}}}
		if err := s.validate(); err != nil {
			t.Skip("a system schema came up")
		}
		data, err := s.Encode()
		if err != nil {
			t.Fatal(err)
		}
		back, err := Parse("t", data)
		if err != nil {
			t.Fatalf("%v\n%s", err, data)
		}
		if !reflect.DeepEqual(*back, s) {
			t.Fatalf("wrote %+v\nread  %+v\nas\n%s", s, *back, data)
		}
	})
}

func FuzzParse(f *testing.F) {
	f.Add(fromDesign)
	f.Add("task: t\nregions: [a, b]\ntables: {include: ['d.*']}\n")
	f.Fuzz(func(t *testing.T, file string) {
		s, err := Parse("fuzz.yaml", []byte(file))
		if (s == nil) == (err == nil) {
			t.Fatalf("spec %v with error %v", s, err)
		}
	})
}

func TestRuleOfTable(t *testing.T) {
	s, err := Parse("t.yaml", []byte("task: t\nregions: [a, b]\ntables: {include: ['d.*']}\nconflicts: {column: at, tables: {'d.x': {policy: newest-column}, 'd.y': {policy: region-priority, priority: [b, a]}, 'd.w': {policy: none}, 'd\\.e.z': {policy: stop}}}\n"))
	if err != nil {
		t.Fatal(err)
	}
	ab, ba := []change.Region{"a", "b"}, []change.Region{"b", "a"}
	for name, want := range map[[2]string]Rule{
		{"d", "other"}: {Policy: LastWriteWins, Priority: ab, Column: "at"},
		{"d", "x"}:     {Policy: NewestColumn, Priority: ab, Column: "at"},
		{"d", "y"}:     {Policy: RegionPriority, Priority: ba, Column: "at"},
		{"d", "w"}:     {Policy: NoPolicy, Priority: ab, Column: "at"},
		{"d.e", "z"}:   {Policy: PolicyStop, Priority: ab, Column: "at"},
		{"d", "X"}:     {Policy: LastWriteWins, Priority: ab, Column: "at"},
	} {
		if got := s.Rule(name[0], name[1]); !reflect.DeepEqual(got, want) {
			t.Errorf("rule of %v: %+v, want %+v", name, got, want)
		}
	}
	if !s.Resolves() {
		t.Error("no table seems to have a policy")
	}
	s.Conflicts = Conflicts{Policy: NoPolicy, Tables: map[string]Rule{"d.w": {Policy: NoPolicy}}}
	if s.Resolves() {
		t.Error("a table seems to have a policy")
	}
}

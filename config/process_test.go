package config

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

const minimal = `
region: east
mysql:    {address: "db.example:3306", user: duplex, password: pw}
kafka:    {brokers: ["k1.example:9092", "k2.example:9092"]}
registry: {url: "https://registry.example"}
`

func TestDefaults(t *testing.T) {
	p, err := Parse("conf/east.yaml", []byte(minimal))
	if err != nil {
		t.Fatal(err)
	}
	if p.Engine != EngineMySQL || p.Listen != "127.0.0.1:8301" || p.MySQL.TLS.Mode != TLSVerifyFull {
		t.Errorf("engine %q, listen %q, mysql tls %q", p.Engine, p.Listen, p.MySQL.TLS.Mode)
	}
	k := p.Kafka
	if k.ReplicationFactor != 3 || k.Partitions != 4 || k.Retention != 168*time.Hour || k.TLS.Mode != TLSOff || k.IsEmbedded() {
		t.Errorf("kafka %+v", k)
	}
	if c := p.Conflicts; c != (Conflicts{192 * MiB, os.TempDir(), 16 * GiB}) {
		t.Errorf("conflicts %+v", c)
	}
	west, err := Parse("west.yaml", []byte(strings.Replace(minimal, "east", "west", 1)))
	if err != nil {
		t.Fatal(err)
	}
	if p.MySQL.ServerID < 1<<24 || west.MySQL.ServerID < 1<<24 || p.MySQL.ServerID == west.MySQL.ServerID {
		t.Errorf("server ids %d and %d", p.MySQL.ServerID, west.MySQL.ServerID)
	}
}

func TestDesignExample(t *testing.T) {
	t.Setenv("EAST_PASSWORD", "it's: #1 ${env:HOME}")
	p, err := Parse("east.yaml", []byte(`
region: east                     # engine: mysql by default
mysql:    {address: "127.0.0.1:33061", user: duplex, password: "${env:EAST_PASSWORD}", tls: verify-full}
kafka:    {brokers: ["127.0.0.1:9092"], replication_factor: 3}
registry: {url: "http://127.0.0.1:8081"}
peers:    {west: {kafka: {brokers: ["10.0.2.5:9092"]}, registry: {url: "http://10.0.2.5:8081"}}}
listen:   127.0.0.1:8301
`))
	if err != nil {
		t.Fatal(err)
	}
	if got := p.MySQL.Password.Reveal(); got != "it's: #1 ${env:HOME}" {
		t.Errorf("password %q: a secret must go in as it is, references in it too", got)
	}
	if west := p.Peers["west"].Kafka; west.Brokers[0] != "10.0.2.5:9092" || west.TLS.Mode != TLSOff || west.Partitions != 4 {
		t.Errorf("peer's kafka %+v", west)
	}
}

func TestEmbedded(t *testing.T) {
	p, err := Parse("conf/east.yaml", []byte(`
region: east
mysql:    {address: "127.0.0.1:3306", user: duplex, password: pw, tls: "off"}
kafka:    {brokers: [embedded], embedded: {listen: "127.0.0.1:9192"}}
registry: {url: embedded}
`))
	if err != nil {
		t.Fatal(err)
	}
	want := Embedded{Dir: "conf/duplex-data/east/kafka", Listen: "127.0.0.1:9192"}
	if p.Kafka.Embedded != want || p.Kafka.ReplicationFactor != 1 || !p.Kafka.IsEmbedded() {
		t.Errorf("kafka %+v", p.Kafka)
	}
	want = Embedded{Dir: "conf/duplex-data/east/registry", Listen: DefaultEmbeddedRegistry}
	if p.Registry.Embedded != want || !p.Registry.IsEmbedded() {
		t.Errorf("registry %+v", p.Registry)
	}
}

// TestRefusals changes one line of a good file at a time.
func TestRefusals(t *testing.T) {
	mysql, kafka, registry := `{address: "a:1", user: u, password: p}`, `{brokers: ["b:1"]}`, `{url: "http://r"}`
	file := func(region, mysql, kafka, registry, more string) string {
		return "region: " + region + "\nmysql: " + mysql + "\nkafka: " + kafka + "\nregistry: " + registry + "\n" + more
	}
	tests := []struct{ name, file, setting, says string }{
		{"region", file("East", mysql, kafka, registry, ""), "region", "small letters"},
		{"region missing", strings.Replace(file("x", mysql, kafka, registry, ""), "region: x\n", "", 1), "region", "small letters"},
		{"engine", file("e", mysql, kafka, registry, "engine: mariabd"), "engine", "did you mean mariadb?"},
		{"listen", file("e", mysql, kafka, registry, `listen: "8301"`), "listen", "host:port"},
		{"port", file("e", `{address: "a:70000", user: u}`, kafka, registry, ""), "mysql.address", "host:port"},
		{"user", file("e", `{address: "a:1"}`, kafka, registry, ""), "mysql.user", "missing"},
		{"tls", file("e", `{address: "a:1", user: u, tls: on}`, kafka, registry, ""), "mysql.tls", "off"},
		{"ca without tls", file("e", `{address: "a:1", user: u, tls: "off", ca: x}`, kafka, registry, ""), "mysql.tls", "no effect"},
		{"cert without key", file("e", `{address: "a:1", user: u, cert: x}`, kafka, registry, ""), "mysql.cert", "both"},
		{"server id", file("e", `{address: "a:1", user: u, server_id: 0}`, kafka, registry, ""), "mysql.server_id", "1 to 4294967295"},
		{"server id negative", file("e", `{address: "a:1", user: u, server_id: -1}`, kafka, registry, ""), "mysql.server_id", "whole number"},
		{"brokers", file("e", mysql, `{brokers: []}`, registry, ""), "kafka.brokers", "embedded"},
		{"broker", file("e", mysql, `{brokers: ["b"]}`, registry, ""), "kafka.brokers[0]", "host:port"},
		{"embedded beside", file("e", mysql, `{brokers: ["b:1", embedded]}`, registry, ""), "kafka.brokers[1]", "alone"},
		{"zero written", file("e", mysql, `{brokers: ["b:1"], partitions: 0}`, registry, ""), "kafka.partitions", "1 to 1024"},
		{"replicas", file("e", mysql, `{brokers: ["b:1"], replication_factor: 99}`, registry, ""), "kafka.replication_factor", "1 to 15"},
		{"embedded replicas", file("e", mysql, `{brokers: [embedded], replication_factor: 3}`, registry, ""), "kafka.replication_factor", "give 1"},
		{"embedded open", file("e", mysql, `{brokers: [embedded], embedded: {listen: "0.0.0.0:9092"}}`, registry, ""), "kafka.embedded.listen", "127.0.0.1"},
		{"embedded unused", file("e", mysql, `{brokers: ["b:1"], embedded: {dir: d}}`, registry, ""), "kafka.embedded", "no effect"},
		{"retention", file("e", mysql, `{brokers: ["b:1"], retention: 5}`, registry, ""), "kafka.retention", "168h"},
		{"retention short", file("e", mysql, `{brokers: ["b:1"], retention: 5s}`, registry, ""), "kafka.retention", "1m0s"},
		{"sasl", file("e", mysql, `{brokers: ["b:1"], sasl: {mechanism: SCRAM-SHA-265, user: u, password: p}}`, registry, ""), "kafka.sasl.mechanism", "did you mean SCRAM-SHA-256?"},
		{"sasl user", file("e", mysql, `{brokers: ["b:1"], sasl: {mechanism: PLAIN, password: p}}`, registry, ""), "kafka.sasl.user", "missing"},
		{"url", file("e", mysql, kafka, `{url: "registry:8081"}`, ""), "registry.url", "http://"},
		{"url with user", file("e", mysql, kafka, `{url: "http://u:hunter2@r"}`, ""), "registry.url", "beside"},
		{"url ca", file("e", mysql, kafka, `{url: "http://r", ca: f}`, ""), "registry.url", "https"},
		{"own peer", file("e", mysql, kafka, registry, `peers: {e: {kafka: {brokers: ["b:1"]}, registry: {url: "http://r"}}}`), "peers.e", "itself"},
		{"embedded peer", file("e", mysql, kafka, registry, `peers: {w: {kafka: {brokers: [embedded]}, registry: {url: "http://r"}}}`), "peers.w", "can't be embedded"},
		{"peer zero", file("e", mysql, kafka, registry, `peers: {w: {kafka: {brokers: ["b:1"], partitions: 0}, registry: {url: "http://r"}}}`), "peers.w.kafka.partitions", "1 to 1024"},
		{"versions", file("e", mysql, kafka, registry, "conflicts: {memory: 1KiB}"), "conflicts.memory", "1MiB to 1024GiB"},
		{"versions on disk", file("e", mysql, kafka, registry, "conflicts: {spill_limit: 0}"), "conflicts.spill_limit", "1MiB to 65536GiB"},
		{"versions nowhere", file("e", mysql, kafka, registry, "conflicts: {spill_dir: ''}"), "conflicts.spill_dir", "leave the line out"},
		{"unknown", file("e", mysql, `{brokers: ["b:1"], replicaton_factor: 3}`, registry, ""), "kafka.replicaton_factor", "did you mean replication_factor?"},
		{"unknown far", file("e", mysql, kafka, registry, "colour: red"), "colour", "known here are canary, conflicts, engine, heartbeat, kafka, listen"},
		{"repeated", file("e", mysql, kafka, registry, "region: e"), "", "already defined"},
		{"null", file("e", mysql, kafka, registry, "listen:"), "listen", "no value"},
		{"number as text", file("e", `{address: "a:1", user: u, password: 0123}`, kafka, registry, ""), "mysql.password", "quotes"},
		{"list", file("e", mysql, `{brokers: "b:1"}`, registry, ""), "kafka.brokers", "list"},
		{"group", file("e", "none", kafka, registry, ""), "mysql", "group"},
		{"alias", file("e", mysql, "&k "+kafka, registry, "peers: {w: {kafka: *k}}"), "kafka", "anchors"},
		{"second document", file("e", mysql, kafka, registry, "---\nregion: w"), "", "second document"},
		{"environment", file("e", `{address: "a:1", user: u, password: "${env:NOT_SET_HERE}"}`, kafka, registry, ""), "mysql.password", "NOT_SET_HERE is not set"},
		{"reference", file("e", `{address: "a:1", user: u, password: "${vault:x}"}`, kafka, registry, ""), "mysql.password", "${env:NAME}"},
		{"open reference", file("e", `{address: "a:1", user: u, password: "${env:X"}`, kafka, registry, ""), "mysql.password", "${env:NAME}"},
		{"empty", "# nothing\n", "", "no setting"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := Parse("east.yaml", []byte(test.file))
			if err == nil {
				t.Fatalf("accepted:\n%s", test.file)
			}
			text := err.Error()
			if !strings.Contains(text, "east.yaml") || !strings.Contains(text, test.setting) || !strings.Contains(text, test.says) {
				t.Errorf("want file, setting %q and %q in:\n%s", test.setting, test.says, text)
			}
			if strings.Contains(text, "hunter2") {
				t.Errorf("shows the password:\n%s", text)
			}
			if lines := strings.Count(text, ": "+test.setting+": "); test.setting != "" && lines != 1 {
				t.Errorf("setting %q is named %d times in:\n%s", test.setting, lines, text)
			}
		})
	}
}

func TestAllProblemsAtOnce(t *testing.T) {
	_, err := Parse("east.yaml", []byte("region: E\nmysql: {address: x}\nkafka: {brokers: [b], partitions: 0}\nregistry: {url: x}\n"))
	for _, setting := range []string{"region", "mysql.address", "mysql.user", "kafka.brokers[0]", "kafka.partitions", "registry.url"} {
		if err == nil || !strings.Contains(err.Error(), "east.yaml: "+setting+": ") {
			t.Errorf("%s is not named in: %v", setting, err)
		}
	}
	if invalid := (*Invalid)(nil); !errors.As(err, &invalid) {
		t.Error("no *Invalid in the error")
	}
}

func TestCaretAndBlankedSecrets(t *testing.T) {
	_, err := Parse("east.yaml", []byte("region: east\nmysql: {pasword: hunter2, user: u, \"password\": 'hunter2, x', adress: \"a:1\"}\n"))
	if err == nil {
		t.Fatal("accepted")
	}
	text := err.Error()
	if strings.Contains(text, "hunter2") {
		t.Errorf("shows the password:\n%s", text)
	}
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		if !strings.Contains(line, "mysql.adress") {
			continue
		}
		source, caret := lines[i+1], strings.Index(lines[i+2], "^")
		if !strings.HasPrefix(source[caret:], "adress:") {
			t.Errorf("the caret doesn't stand under the key:\n%s", text)
		}
		if !strings.HasPrefix(line, "east.yaml:2:") {
			t.Errorf("wrong place: %s", line)
		}
		return
	}
	t.Errorf("mysql.adress is not named:\n%s", text)
}

func TestBlankSecrets(t *testing.T) {
	for line, want := range map[string]string{
		`password: hunter2, x # y`:                `password: ***`,
		`mysql: {password: hunter2, user: u}`:     `mysql: {password: ***, user: u}`,
		`mysql: {"passwrod": "a\"b, c", user: u}`: `mysql: {"passwrod": ***, user: u}`,
		`{password: 'it''s', token: abc}`:         `{password: ***, token: ***}`,
		`{password: "cut`:                         `{password: ***`,
		`{password: "${env:X}", user: u}`:         `{password: "${env:X}", user: u}`,
		`address: "a:1"`:                          `address: "a:1"`,
		`password:`:                               `password:`,
	} {
		if got := blankSecrets(line); got != want {
			t.Errorf("%s is shown as %s, want %s", line, got, want)
		}
	}
	for _, file := range []string{"mysql:\n  password: |\n    hunter2\n    ${env:NOT_SET_HERE}\n", "mysql:\n  password: \"hunter2\n    ${env:NOT_SET_HERE}\"\n"} {
		if _, err := Parse("f", []byte(file)); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("secret of several lines: %v", err)
		}
	}
}

func TestSecretFile(t *testing.T) {
	folder := t.TempDir()
	write := func(name, content string, mode os.FileMode) string {
		path := filepath.Join(folder, name)
		if err := os.WriteFile(path, []byte(content), mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	file := func(secret string) string {
		return write("east.yaml", strings.Replace(minimal, "password: pw", `password: "${file:`+secret+`}"`, 1), 0o644)
	}
	write("good", "s3cret\n", 0o600)
	write("open", "s3cret\n", 0o644)

	p, err := Load(file("good"))
	if err != nil {
		t.Fatal(err)
	}
	if got := p.MySQL.Password.Reveal(); got != "s3cret" {
		t.Errorf("secret %q", got)
	}
	if _, err := Load(file("open")); err == nil || !strings.Contains(err.Error(), "chmod 600") || strings.Contains(err.Error(), "s3cret") {
		t.Errorf("world-readable: %v", err)
	}
	if _, err := Load(file("absent")); err == nil || !strings.Contains(err.Error(), "doesn't exist") || !strings.Contains(err.Error(), "mysql.password") {
		t.Errorf("absent: %v", err)
	}
}

func TestPlainDollar(t *testing.T) {
	p, err := Parse("east.yaml", []byte(strings.Replace(minimal, "password: pw", `password: "a$${b}$c"`, 1)))
	if err != nil {
		t.Fatal(err)
	}
	if got := p.MySQL.Password.Reveal(); got != "a${b}$c" {
		t.Errorf("password %q", got)
	}
}

// TestEverySettingHasAPath guards the promise that the checks know each type
// that a setting has: the default case of checkKind panics.
func TestEverySettingHasAPath(t *testing.T) {
	var walk func(reflect.Type)
	walk = func(typ reflect.Type) {
		for name, field := range fieldsOf(typ) {
			if name == "" {
				t.Errorf("%s has a field without a yaml name", typ)
			}
			for field.Kind() == reflect.Map || field.Kind() == reflect.Slice {
				field = field.Elem()
			}
			if field.Kind() == reflect.Struct {
				walk(field)
			}
		}
	}
	walk(reflect.TypeFor[Process]())
}

func TestEditDistance(t *testing.T) {
	for _, test := range []struct {
		a, b string
		want int
	}{{"region", "region", 0}, {"regoin", "region", 1}, {"region", "regions", 1}, {"", "tls", 3}, {"kafka", "mysql", 5}, {"ü", "u", 1}} {
		if got := editDistance(test.a, test.b); got != test.want {
			t.Errorf("from %q to %q: %d, want %d", test.a, test.b, got, test.want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(minimal)
	f.Add("a: &x [1]\nb: *x\n")
	f.Add("mysql: {password: 'x")
	f.Add("? [a]\n: b\n---\n")
	f.Fuzz(func(t *testing.T, file string) {
		p, err := Parse("fuzz.yaml", []byte(file))
		if (p == nil) == (err == nil) {
			t.Errorf("process %v with error %v", p, err)
		}
	})
}

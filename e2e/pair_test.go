package e2e_test

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"duplex/internal/testbed"
)

// side is one region: its server and the settings of its process files.
type side struct {
	region string
	mysql  *testbed.MySQL
	number int // 1 or 2: its AUTO_INCREMENT offset
	// The flow mappings of a process file. A test may replace them before it
	// makes processes.
	mysqlText, kafkaText, registryText, peersText, conflictsText string
	// canaries has apply write canaries as it does by default: then nothing ever comes to rest.
	canaries bool
}

// pair is two regions, or three, the task between them, and their processes.
type pair struct {
	t          *testing.T
	dir        string
	east, west *side
	north      *side  // a third region, nil in a pair
	task       string // path of the task file
	taskName   string
	kafka      *testbed.Kafka
}

// pairs counts those made: a region whose server was emptied must not meet the
// topics of its former life, as with -count=2.
var pairs atomic.Int64

// engines are the servers of a pair.
type engines struct {
	name       string
	east, west testbed.Part
}

var mysqlPair = engines{"mysql", testbed.MySQL80, testbed.MySQL97}

// everyPair are the pairs of servers that the promises are proven on.
func everyPair() []engines {
	return []engines{mysqlPair, {"mariadb", testbed.MariaDB1011, testbed.MariaDB118}, {"both", testbed.MySQL80, testbed.MariaDB118}}
}

// scaled is scaled, with a third of it for pairs with MariaDB unless the run is
// long: what they add is the server, not the length.
func (e engines) scaled(normal, long int) int {
	if e != mysqlPair {
		normal = max(1, normal/3)
	}
	return scaled(normal, long)
}

// onEveryPair runs the test on each pair of servers, side by side.
func onEveryPair(t *testing.T, test func(*testing.T, engines)) { on(t, everyPair(), test) }

// onEveryPairIfLong runs the test on MySQL, and on the other pairs only if the
// run is long: what it is about is not the server. Such tests run side by side.
func onEveryPairIfLong(t *testing.T, test func(*testing.T, engines)) {
	t.Parallel()
	pairs := everyPair()
	if !soak() {
		pairs = pairs[:1]
	}
	on(t, pairs, test)
}

func on(t *testing.T, pairs []engines, test func(*testing.T, engines)) {
	for _, e := range pairs {
		t.Run(e.name, func(t *testing.T) {
			t.Parallel()
			test(t, e)
		})
	}
}

// mixed reports whether one of the servers is a MySQL and the other a MariaDB.
func (p *pair) mixed() bool { return p.east.mysql.IsMariaDB() != p.west.mysql.IsMariaDB() }

// newPair makes two regions on empty servers, MySQL 8.0 and 9.7; see newPairOf.
func newPair(t *testing.T, name string, kafka *testbed.Kafka) *pair {
	t.Helper()
	return newPairOf(t, mysqlPair, name, kafka)
}

// newPairOf makes two regions on empty servers that use the given Kafka (nil:
// the shared one) and the shared registry. The ids of regions and task have the
// name in them and are used only once.
func newPairOf(t *testing.T, e engines, name string, kafka *testbed.Kafka) *pair {
	t.Helper()
	shared, registry := services.get(t)
	if kafka == nil {
		kafka = shared
	}
	name = fmt.Sprintf("%s%d", name, pairs.Add(1))
	p := &pair{t: t, dir: t.TempDir(), taskName: name, kafka: kafka}
	p.east = newSide(t, "e-"+name, 1, bed.SharedMySQL(t, e.east, e.name+"-east"))
	p.west = newSide(t, "w-"+name, 2, bed.SharedMySQL(t, e.west, e.name+"-west"))
	replicas := min(3, len(kafka.Brokers()))
	for _, s := range p.sides() {
		s.kafkaText = fmt.Sprintf("{brokers: ['%s'], replication_factor: %d, partitions: 2}", strings.Join(kafka.Brokers(), "', '"), replicas)
		s.registryText = fmt.Sprintf("{url: '%s'}", registry.URL())
	}
	p.writeTask("tables: {include: ['shop.*']}")
	return p
}

// newSide prepares a server: Duplex's account with the least it needs, and
// numbers of its own for AUTO_INCREMENT.
func newSide(t *testing.T, region string, number int, m *testbed.MySQL) *side {
	t.Helper()
	mustExec(t, m.DB(),
		fmt.Sprintf("SET GLOBAL auto_increment_increment = 2, auto_increment_offset = %d", number),
		"CREATE DATABASE shop",
		fmt.Sprintf("CREATE USER duplex@'%%' IDENTIFIED BY '%s'", password),
		"GRANT REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO duplex@'%'",
		"GRANT SELECT, INSERT, UPDATE, DELETE ON shop.* TO duplex@'%'",
		"GRANT CREATE, SELECT, INSERT, UPDATE, DELETE ON duplex.* TO duplex@'%'",
	)
	return &side{region: region, mysql: m, number: number,
		mysqlText: fmt.Sprintf("{address: '%s', user: duplex, password: '${env:%s}', tls: off}", m.Addr, secretEnv)}
}

func (p *pair) sides() []*side {
	if p.north == nil {
		return []*side{p.east, p.west}
	}
	return []*side{p.east, p.west, p.north}
}

// newTrio makes three regions.
func newTrio(t *testing.T, e engines, name string) *pair {
	t.Helper()
	p := newPairOf(t, e, name, nil)
	p.north = newSide(t, "n-"+p.taskName, 3, bed.SharedMySQL(t, testbed.MySQL97, e.name+"-north"))
	p.north.kafkaText, p.north.registryText = p.east.kafkaText, p.east.registryText
	p.writeTask("tables: {include: ['shop.*']}")
	return p
}

// other returns the region that s is paired with.
func (p *pair) other(s *side) *side {
	if s == p.east {
		return p.west
	}
	return p.east
}

// writeTask writes the task file: its name, its regions, and the lines given.
func (p *pair) writeTask(lines ...string) {
	p.t.Helper()
	p.task = filepath.Join(p.dir, "task.yaml")
	var regions []string
	for _, s := range p.sides() {
		regions = append(regions, s.region)
	}
	head := []string{"task: " + p.taskName, fmt.Sprintf("regions: [%s]", strings.Join(regions, ", "))}
	writeLines(p.t, p.task, append(head, lines...))
}

// processFile writes a process file of a region, with an address of its own to
// listen at, and returns its path and that address.
func (p *pair) processFile(s *side, name string) (path, listen string) {
	p.t.Helper()
	listen = bed.Address(p.t)
	lines := []string{"region: " + s.region, "mysql: " + s.mysqlText, "kafka: " + s.kafkaText, "registry: " + s.registryText, "listen: " + listen}
	if s.mysql.IsMariaDB() {
		lines = append(lines, "engine: mariadb")
	}
	if !s.canaries {
		lines = append(lines, "canary: 0s")
	}
	if s.peersText != "" {
		lines = append(lines, "peers: "+s.peersText)
	}
	if s.conflictsText != "" {
		lines = append(lines, "conflicts: "+s.conflictsText)
	}
	path = filepath.Join(p.dir, name+".yaml")
	writeLines(p.t, path, lines)
	return path, listen
}

// process makes a process for a region: run, capture or apply. Start starts it.
func (p *pair) process(s *side, command string) *Process {
	p.t.Helper()
	return p.named(s, command, s.region+"-"+command)
}

// named is process with a name of the test's choice, for a second of a kind.
func (p *pair) named(s *side, command, name string) *Process {
	p.t.Helper()
	path, listen := p.processFile(s, name)
	return newProcess(p.t, name, listen, command, "-c", path, "--task", p.task)
}

// start makes and starts a process for each region with each of the commands,
// and waits until all stream.
func (p *pair) start(commands ...string) []*Process {
	p.t.Helper()
	var all []*Process
	for _, command := range commands {
		for _, s := range p.sides() {
			all = append(all, p.process(s, command))
		}
	}
	for _, process := range all {
		process.Start()
	}
	for _, process := range all {
		process.WaitStreaming()
	}
	return all
}

// stop ends processes in order, all at once, and demands exit code 0.
func stop(processes []*Process) {
	for _, p := range processes {
		p.Signal(15)
	}
	for _, p := range processes {
		if state := p.Wait(exitLimit); state.ExitCode() != 0 {
			p.t.Errorf("%s was asked to end and gave: %s", p.Name, state)
		}
	}
}

func writeLines(t *testing.T, path string, lines []string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
}

func mustExec(t *testing.T, db *sql.DB, statements ...string) {
	t.Helper()
	for _, s := range statements {
		if _, err := db.ExecContext(context.Background(), s); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
}

package e2e_test

import (
	"fmt"
	"strings"
	"testing"

	"duplex/internal/testbed"
)

// TestBadInputIsRefused: what can be known before the services run ends the
// program with exit code 1 and one message: what, where, why and how to mend
// it, no secret in it (promises 6 and 10).
func TestBadInputIsRefused(t *testing.T) { onEveryPair(t, testBadInputIsRefused) }

func testBadInputIsRefused(t *testing.T, e engines) {
	for _, tt := range refusals(e) {
		if !tt.server && e != mysqlPair && !soak() {
			continue
		}
		t.Run(tt.name, func(t *testing.T) {
			p := newPairOf(t, e, "bad", nil)
			mustExec(t, p.east.mysql.DB(), "CREATE TABLE shop.t (id INT PRIMARY KEY)")
			tt.spoil(p)
			path, _ := p.processFile(p.east, "bad")
			text, exit := runProgram(t, "run", "-c", path, "--task", p.task)
			t.Logf("%s", text)
			checkMessage(t, text, exit, tt.want...)
			if strings.Contains(text, password) {
				t.Errorf("the message shows a password")
			}
		})
	}
}

// refusal is a reason to refuse a start.
type refusal struct {
	name   string
	server bool // it depends on the server
	spoil  func(p *pair)
	want   []string // of the message, besides the region's or file's name
}

func refusals(e engines) []refusal {
	set, binlogOff := "SET PERSIST", []string{"--skip-log-bin", "--gtid-mode=OFF", "--enforce-gtid-consistency=OFF"}
	if e.east == testbed.MariaDB1011 {
		set, binlogOff = "SET GLOBAL", []string{"--skip-log-bin"}
	}
	return []refusal{
		{"wrong password", true, func(p *pair) {
			p.east.mysqlText = fmt.Sprintf("{address: '%s', user: duplex, password: wrong-%s, tls: off}", p.east.mysql.Addr, password)
		}, []string{"Access denied", "mysql.password", "CREATE USER"}},
		{"no right to read the binlog", true, func(p *pair) {
			mustExec(p.t, p.east.mysql.DB(), "REVOKE REPLICATION SLAVE ON *.* FROM duplex@'%'")
		}, []string{"REPLICATION SLAVE", "GRANT REPLICATION SLAVE ON *.* TO"}},
		{"no right to write a table", true, func(p *pair) {
			mustExec(p.t, p.east.mysql.DB(), "REVOKE INSERT ON shop.* FROM duplex@'%'")
		}, []string{"INSERT", "GRANT", "shop"}},
		{"row images are not full", true, func(p *pair) {
			setGlobal(p, p.east, "binlog_row_image", "MINIMAL", "FULL")
		}, []string{"binlog_row_image", "MINIMAL", set + " binlog_row_image = FULL"}},
		{"row metadata are not full", true, func(p *pair) {
			setGlobal(p, p.east, "binlog_row_metadata", "MINIMAL", "FULL")
		}, []string{"binlog_row_metadata", "MINIMAL", set + " binlog_row_metadata = FULL"}},
		{"binlog off", true, func(p *pair) {
			p.east = newSide(p.t, p.east.region, 1, bed.MySQL(p.t, e.east, testbed.MySQLFlags(binlogOff...)))
			p.setServices(p.east)
			mustExec(p.t, p.east.mysql.DB(), "CREATE TABLE shop.t (id INT PRIMARY KEY)")
		}, []string{"log_bin is OFF", "put log_bin=binlog"}},
		{"table without a primary key", true, func(p *pair) {
			mustExec(p.t, p.east.mysql.DB(), "CREATE TABLE shop.keyless (a INT)")
		}, []string{"`shop`.`keyless`", "no primary key", "ADD"}},
		{"task without tables", false, func(p *pair) { p.writeTask("tables: {include: ['shop.orders_*']}") }, []string{"shop.orders_*", "no table"}},
		{"task of other regions", false, func(p *pair) {
			writeLines(p.t, p.task, []string{"task: other", "regions: [north, south]", "tables: {include: ['shop.*']}"})
		}, []string{"regions", "north", "task.yaml", "mend:"}},
		{"unknown setting in the task file", false, func(p *pair) { p.writeTask("tables: {include: ['shop.*']}", "aply: {threads: 4}") }, []string{"task.yaml:4", "aply", "apply"}},
		{"unknown setting in the process file", false, func(p *pair) {
			p.east.kafkaText = strings.Replace(p.east.kafkaText, "{brokers", "{borkers", 1)
		}, []string{"bad.yaml:3", "borkers", "brokers"}},
		{"a value out of its range", false, func(p *pair) { p.writeTask("tables: {include: ['shop.*']}", "apply: {threads: 0}") }, []string{"task.yaml", "threads", "0"}},
		{"a secret that is not there", false, func(p *pair) {
			p.east.mysqlText = strings.Replace(p.east.mysqlText, secretEnv, "NO_SUCH_VARIABLE", 1)
		}, []string{"bad.yaml:2", "NO_SUCH_VARIABLE"}},
		{"a file that is not there", false, func(p *pair) { p.task += ".gone" }, []string{"task.yaml.gone", "no such file"}},
		{"more replicas than brokers", false, func(p *pair) {
			p.east.kafkaText = strings.Replace(p.east.kafkaText, "replication_factor: 1", "replication_factor: 3", 1)
		}, []string{"replication_factor", "brokers"}},
	}
}

// TestCheckComparesBothSides: what only a look at both regions shows.
func TestCheckComparesBothSides(t *testing.T) { onEveryPair(t, testCheckComparesBothSides) }

func testCheckComparesBothSides(t *testing.T, e engines) {
	for _, tt := range []struct {
		name  string
		spoil func(p *pair)
		want  []string
	}{
		{"table missing on one side", func(p *pair) {
			mustExec(p.t, p.east.mysql.DB(), "CREATE TABLE shop.t (id INT PRIMARY KEY)", "CREATE TABLE shop.only (id INT PRIMARY KEY)")
			mustExec(p.t, p.west.mysql.DB(), "CREATE TABLE shop.t (id INT PRIMARY KEY)")
		}, []string{"`shop`.`only`", "CREATE TABLE"}},
		{"column missing on one side", func(p *pair) {
			mustExec(p.t, p.east.mysql.DB(), "CREATE TABLE shop.t (id INT PRIMARY KEY, more INT)")
			mustExec(p.t, p.west.mysql.DB(), "CREATE TABLE shop.t (id INT PRIMARY KEY)")
		}, []string{"`shop`.`t`", "more", "ALTER TABLE"}},
		{"both regions are one server", func(p *pair) {
			mustExec(p.t, p.east.mysql.DB(), "CREATE TABLE shop.t (id INT PRIMARY KEY)")
			p.west.mysqlText, p.west.mysql = p.east.mysqlText, p.east.mysql
		}, []string{"same-server", "mysql.address"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := newPairOf(t, e, "check", nil)
			tt.spoil(p)
			east, _ := p.processFile(p.east, "east")
			west, _ := p.processFile(p.west, "west")
			text, exit := runProgram(t, "check", "-c", east, "-c", west, "--task", p.task)
			t.Logf("%s", text)
			checkMessage(t, text, exit, tt.want...)
		})
	}
}

// setGlobal sets a variable of a shared server until the test ends.
func setGlobal(p *pair, s *side, name, value, usual string) {
	p.t.Helper()
	mustExec(p.t, s.mysql.DB(), fmt.Sprintf("SET GLOBAL %s = %s", name, value))
	p.t.Cleanup(func() { mustExec(p.t, s.mysql.DB(), fmt.Sprintf("SET GLOBAL %s = %s", name, usual)) })
}

// setServices gives a side that a test made by itself the pair's Kafka and
// registry.
func (p *pair) setServices(s *side) {
	s.kafkaText, s.registryText = p.west.kafkaText, p.west.registryText
}

package e2e_test

import (
	"fmt"
	"strings"
	"testing"

	"duplex/internal/testbed"
)

// newSecurePair makes two regions whose servers take nothing but TLS, east
// verified in full, west by its authority, and a Kafka that wants TLS and SCRAM.
func newSecurePair(t *testing.T, e engines, kafka *testbed.Kafka) *pair {
	t.Helper()
	_, registry := services.get(t)
	name := fmt.Sprintf("secure%d", pairs.Add(1))
	p := &pair{t: t, dir: t.TempDir(), taskName: name, kafka: kafka}
	p.east = newSide(t, "e-"+name, 1, bed.MySQL(t, e.east, testbed.MySQLTLS()))
	p.west = newSide(t, "w-"+name, 2, bed.MySQL(t, e.west, testbed.MySQLTLS()))
	for _, s := range p.sides() {
		mode := "verify-full"
		if s == p.west {
			mode = "verify-ca"
		}
		mustExec(t, s.mysql.DB(), "ALTER USER duplex@'%' REQUIRE SSL", "CREATE TABLE shop.t (id INT PRIMARY KEY, v VARCHAR(20))")
		s.mysqlText = secureMySQL(s, mode, s.mysql.CAFile)
		s.kafkaText = secureKafka(kafka, kafka.CAFile, testbed.KafkaPassword)
		s.registryText = fmt.Sprintf("{url: '%s'}", registry.URL())
	}
	p.writeTask("tables: {include: ['shop.*']}")
	return p
}

func secureMySQL(s *side, mode, ca string) string {
	return fmt.Sprintf("{address: '%s', user: duplex, password: '${env:%s}', tls: %s, ca: '%s'}", s.mysql.Addr, secretEnv, mode, ca)
}

func secureKafka(k *testbed.Kafka, ca, password string) string {
	return fmt.Sprintf("{brokers: ['%s'], replication_factor: 1, tls: verify-full, ca: '%s', sasl: {mechanism: SCRAM-SHA-512, user: %s, password: '%s'}}",
		strings.Join(k.Brokers(), "', '"), ca, testbed.KafkaUser, password)
}

// TestTLSAndSASL: rows go both ways over connections that are encrypted,
// verified and logged in; a wrong authority, a wrong password or no TLS give
// one clear error that shows no secret (promise 10).
func TestTLSAndSASL(t *testing.T) {
	kafka := bed.Kafka(t, testbed.KafkaSecure())
	onEveryPair(t, func(t *testing.T, e engines) { testTLSAndSASL(t, e, kafka) })
}

func testTLSAndSASL(t *testing.T, e engines, kafka *testbed.Kafka) {
	p := newSecurePair(t, e, kafka)
	east := *p.east
	for _, tt := range []struct {
		name  string
		spoil func(*side)
		want  []string
	}{
		{"no TLS to MySQL", func(s *side) { s.mysqlText = secureMySQL(s, "off", "") }, []string{"access denied", "mysql.tls"}},
		{"another authority for MySQL", func(s *side) { s.mysqlText = secureMySQL(s, "verify-full", p.west.mysql.CAFile) }, []string{"certificate", "mysql.ca"}},
		{"another authority for MySQL, verify-ca", func(s *side) { s.mysqlText = secureMySQL(s, "verify-ca", p.west.mysql.CAFile) }, []string{"certificate", "mysql.ca"}},
		{"another authority for Kafka", func(s *side) {
			s.kafkaText = secureKafka(p.kafka, p.west.mysql.CAFile, testbed.KafkaPassword)
		}, []string{"certificate", "kafka.ca"}},
		{"wrong password for Kafka", func(s *side) { s.kafkaText = secureKafka(p.kafka, p.kafka.CAFile, "wrong-secret") }, []string{"kafka.sasl"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := east
			tt.spoil(&s)
			path, _ := p.processFile(&s, "spoilt")
			text, exit := runProgram(t, "run", "-c", path, "--task", p.task)
			t.Logf("%s", text)
			checkMessage(t, text, exit, tt.want...)
			for _, secret := range []string{testbed.KafkaPassword, "wrong-secret"} {
				if strings.Contains(text, secret) {
					t.Errorf("the message shows a password: %s", text)
				}
			}
		})
	}
	processes := p.start("run")
	for _, s := range p.sides() {
		mustExec(t, s.mysql.DB(), fmt.Sprintf("INSERT INTO shop.t VALUES (%d, 'x')", s.number))
	}
	for _, s := range p.sides() {
		eventually(t, stallLimit, func() error { return hasRows(s, "shop.t", 2) })
	}
	stop(processes)
}

// checkMessage demands exit code 1 and an error that holds all that is wanted.
func checkMessage(t *testing.T, text string, exit int, want ...string) {
	t.Helper()
	if exit != 1 {
		t.Errorf("exit code %d, want 1", exit)
	}
	for _, w := range want {
		if !strings.Contains(strings.ToLower(text), strings.ToLower(w)) {
			t.Errorf("the message lacks %q:\n%s", w, text)
		}
	}
}

package testbed

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sr"
)

// Reset makes the server as good as new within a fraction of a second: it ends all other sessions, rolls back prepared
// XA transactions, drops all schemas and accounts that users made, and starts an empty binlog. Global variables and data
// in the system schemas stay as they are: a test that changes those needs a server of its own.
func (m *MySQL) Reset() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	conn, err := m.db.Conn(ctx)
	if err != nil {
		return fmt.Errorf("resetting %s: %w", m.Name(), err)
	}
	defer conn.Close()
	r := &reset{ctx: ctx, conn: conn, maria: m.maria}
	r.each("SET SESSION foreign_key_checks=0, lock_wait_timeout=20, time_zone='+00:00'", nil)
	r.endSessions()
	r.rollBackXA()
	r.each(`SELECT CONCAT('DROP DATABASE ', '`+"`"+`', REPLACE(schema_name, '`+"`', '``'), '`'"+`) FROM information_schema.schemata
		WHERE schema_name NOT IN ('mysql', 'sys', 'information_schema', 'performance_schema')`, r.exec)
	r.each(`SELECT CONCAT('DROP USER ', QUOTE(user), '@', QUOTE(host)) FROM mysql.user
		WHERE user NOT IN ('root', '', 'mysql', 'mysql.sys', 'mysql.session', 'mysql.infoschema', 'mariadb.sys', 'PUBLIC')
		AND (user <> 'root' OR host = '%')`, r.exec)
	r.emptyBinlog()
	if r.err != nil {
		return fmt.Errorf("resetting %s: %w", m.Name(), r.err)
	}
	return nil
}

func (m *MySQL) revive() error {
	if !m.proc.running() {
		return m.Start()
	}
	return m.Thaw()
}

// reset runs statements on one connection until the first error.
type reset struct {
	ctx   context.Context
	conn  *sql.Conn
	maria bool
	err   error
}

func (r *reset) exec(statement string) {
	if r.err != nil {
		return
	}
	if _, err := r.conn.ExecContext(r.ctx, statement); err != nil {
		r.err = fmt.Errorf("running %s: %w", statement, err)
	}
}

// each calls do with the first column of each row of a query; with nil it only runs the statement.
func (r *reset) each(query string, do func(string)) {
	if do == nil {
		r.exec(query)
		return
	}
	if r.err != nil {
		return
	}
	rows, err := r.conn.QueryContext(r.ctx, query)
	if err != nil {
		r.err = fmt.Errorf("running %s: %w", query, err)
		return
	}
	defer rows.Close()
	var found []string
	for rows.Next() {
		var value string
		if r.err = rows.Scan(&value); r.err != nil {
			return
		}
		found = append(found, value)
	}
	if r.err = rows.Err(); r.err != nil {
		return
	}
	rows.Close()
	for _, value := range found {
		do(value)
	}
}

// endSessions kills all other sessions, replication clients too: they hold locks and read the binlog that is to go.
func (r *reset) endSessions() {
	others := `SELECT CAST(id AS CHAR) FROM information_schema.processlist WHERE id <> CONNECTION_ID() AND user NOT IN ('system user', 'event_scheduler')`
	for {
		left := 0
		r.each(others, func(id string) {
			left++
			if _, err := r.conn.ExecContext(r.ctx, "KILL "+id); err != nil && !strings.Contains(err.Error(), "Unknown thread") {
				r.err = fmt.Errorf("ending session %s: %w", id, err)
			}
		})
		if left == 0 || r.err != nil {
			return
		}
		select {
		case <-time.After(5 * time.Millisecond):
		case <-r.ctx.Done():
			r.err = fmt.Errorf("ending %d other sessions: %w", left, r.ctx.Err())
		}
	}
}

// rollBackXA ends prepared XA transactions, whose locks outlive their sessions.
func (r *reset) rollBackXA() {
	if r.err != nil {
		return
	}
	rows, err := r.conn.QueryContext(r.ctx, "XA RECOVER")
	if err != nil {
		r.err = fmt.Errorf("listing prepared XA transactions: %w", err)
		return
	}
	defer rows.Close()
	var prepared []string
	for rows.Next() {
		var format, global, branch int
		var data []byte
		if r.err = rows.Scan(&format, &global, &branch, &data); r.err != nil {
			return
		}
		prepared = append(prepared, fmt.Sprintf("XA ROLLBACK x'%x', x'%x', %d", data[:global], data[global:global+branch], format))
	}
	if r.err = rows.Err(); r.err != nil {
		return
	}
	rows.Close()
	for _, statement := range prepared {
		r.exec(statement)
	}
}

// emptyBinlog forgets binlog and GTIDs. MySQL 8.2 renamed the statement, 8.4 dropped the old name.
func (r *reset) emptyBinlog() {
	if r.err != nil {
		return
	}
	if r.maria {
		r.exec("RESET MASTER")
		r.exec("SET GLOBAL gtid_slave_pos=''")
		return
	}
	if _, err := r.conn.ExecContext(r.ctx, "RESET BINARY LOGS AND GTIDS"); err != nil {
		r.exec("RESET MASTER")
	}
}

// Reset deletes all topics but Kafka's own, all consumer groups, and restores all proxies. Transactional ids and client
// quotas stay.
func (k *Kafka) Reset() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	client, err := kgo.NewClient(kgo.SeedBrokers(k.internal()...))
	if err != nil {
		return fmt.Errorf("resetting %s: %w", k.Name(), err)
	}
	defer client.Close()
	if err := k.empty(ctx, kadm.NewClient(client)); err != nil {
		return fmt.Errorf("resetting %s: %w", k.Name(), err)
	}
	for _, n := range k.nodes {
		if n.proxy == nil {
			continue
		}
		if err := n.proxy.Restore(); err != nil {
			return fmt.Errorf("resetting %s: %w", k.Name(), err)
		}
	}
	return nil
}

func (k *Kafka) empty(ctx context.Context, admin *kadm.Client) error {
	groups, err := admin.ListGroups(ctx)
	if err != nil {
		return fmt.Errorf("listing groups: %w", err)
	}
	for _, group := range groups.Groups() {
		// Its members may still be leaving: a test's clients close after its servers are given back.
		for {
			_, err := admin.DeleteGroup(ctx, group)
			if err == nil || errors.Is(err, kerr.GroupIDNotFound) {
				break
			}
			if !errors.Is(err, kerr.NonEmptyGroup) || ctx.Err() != nil {
				return fmt.Errorf("deleting group %s: %w", group, err)
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
	topics, err := admin.ListTopics(ctx) // Kafka's own are left out
	if err != nil {
		return fmt.Errorf("listing topics: %w", err)
	}
	deleted, err := admin.DeleteTopics(ctx, topics.Names()...)
	if err == nil {
		err = deleted.Error()
	}
	if err != nil {
		return fmt.Errorf("deleting topics: %w", err)
	}
	return nil
}

func (k *Kafka) revive() error {
	for i, n := range k.nodes {
		if !n.proc.running() {
			if err := k.Start(i); err != nil {
				return err
			}
		} else if err := k.Thaw(i); err != nil {
			return err
		}
	}
	return nil
}

// Reset deletes all subjects for good and sets the global compatibility back to NONE.
func (r *Registry) Reset() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := r.empty(ctx); err != nil {
		return fmt.Errorf("resetting %s: %w", r.Name(), err)
	}
	return nil
}

func (r *Registry) empty(ctx context.Context) error {
	client, err := sr.NewClient(sr.URLs(r.URL()))
	if err != nil {
		return err
	}
	for _, set := range client.SetCompatibility(ctx, sr.SetCompatibility{Level: sr.CompatNone}) {
		if set.Err != nil {
			return fmt.Errorf("setting compatibility: %w", set.Err)
		}
	}
	subjects, err := client.Subjects(ctx)
	if err != nil {
		return fmt.Errorf("listing subjects: %w", err)
	}
	for _, subject := range subjects {
		if _, err := client.DeleteSubject(ctx, subject, sr.SoftDelete); err != nil {
			return fmt.Errorf("deleting subject %s: %w", subject, err)
		}
	}
	return nil
}

func (r *Registry) revive() error {
	if !r.proc.running() {
		return r.Start()
	}
	return r.Thaw()
}

package e2e_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	"golang.org/x/sync/errgroup"
)

const (
	bankClients  = 4
	bankAccounts = 40
	bankBalance  = 1000
)

// TestReadersSeeStatesOfTheSource: money moves between two tables at full
// speed. Whoever reads the target meanwhile, in a snapshot, sees a state that
// the source had had: no money on its way, no transaction in part, none before
// its predecessor (promise 5).
func TestReadersSeeStatesOfTheSource(t *testing.T) { onEveryPair(t, testReadersSeeStates) }

func testReadersSeeStates(t *testing.T, e engines) {
	transfers := e.scaled(4000, 10_000)
	p := newPairOf(t, e, "bank", nil)
	for _, s := range p.sides() {
		mustExec(t, s.mysql.DB(),
			"CREATE TABLE shop.cash (id INT PRIMARY KEY, balance BIGINT NOT NULL)",
			"CREATE TABLE shop.deposits (id INT PRIMARY KEY, balance BIGINT NOT NULL)",
			// How often each client has paid in and out, counted in two tables by
			// the same transactions.
			"CREATE TABLE shop.counted (client INT PRIMARY KEY, n BIGINT NOT NULL)",
			"CREATE TABLE shop.recounted (client INT PRIMARY KEY, n BIGINT NOT NULL)",
			// Numbers that give all transactions that take one an order.
			"CREATE TABLE shop.last (one INT PRIMARY KEY, n BIGINT NOT NULL)",
			"CREATE TABLE shop.numbers (n BIGINT PRIMARY KEY, client INT NOT NULL)")
	}
	processes := p.start("run")
	source := p.east.mysql.DB()
	opening := []string{"BEGIN", "INSERT INTO shop.last VALUES (1, 0)"}
	for i := range bankAccounts {
		opening = append(opening, fmt.Sprintf("INSERT INTO shop.cash VALUES (%d, %d)", i, bankBalance), fmt.Sprintf("INSERT INTO shop.deposits VALUES (%d, %[2]d)", i, bankBalance))
	}
	for i := range bankClients {
		opening = append(opening, fmt.Sprintf("INSERT INTO shop.counted VALUES (%d, 0)", i), fmt.Sprintf("INSERT INTO shop.recounted VALUES (%d, 0)", i))
	}
	inOne(t, source, append(opening, "COMMIT")...)
	eventually(t, stallLimit, func() error { return hasRows(p.west, "shop.last", 1) })

	ctx, stopLooking := context.WithCancel(t.Context())
	began := time.Now()
	group, writing := errgroup.WithContext(t.Context())
	for i := range bankClients {
		group.Go(func() error { return transferMoney(writing, source, i, transfers/bankClients) })
	}
	var looks int
	looking := make(chan error, 1)
	go func() { var err error; looks, err = watchBank(ctx, p.west.mysql.DB()); looking <- err }()
	if err := group.Wait(); err != nil {
		t.Error(err)
	}
	wrote := time.Since(began)
	eventually(t, stallLimit, func() error {
		var n int64
		if err := p.west.mysql.DB().QueryRow("SELECT SUM(n) FROM shop.counted").Scan(&n); err != nil {
			return final(err)
		}
		if want := int64(transfers / bankClients * bankClients); n != want {
			return fmt.Errorf("%d of %d transfers have arrived", n, want)
		}
		return nil
	})
	stopLooking()
	if err := <-looking; err != nil {
		t.Error(err)
	}
	if looks < 20 {
		t.Errorf("only %d looks", looks)
	}
	t.Logf("%d transfers written in %s, there %s later, %d looks", transfers, wrote.Round(time.Millisecond), (time.Since(began) - wrote).Round(time.Millisecond), looks)
	stop(processes)
}

// inOne executes the statements on one connection.
func inOne(t *testing.T, db *sql.DB, statements ...string) {
	t.Helper()
	conn, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for _, statement := range statements {
		execOn(t, conn, statement)
	}
}

// transferMoney makes one client's transfers, each in a transaction.
func transferMoney(ctx context.Context, db *sql.DB, client, transfers int) error {
	conn, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	random := rand.New(rand.NewPCG(5, uint64(client)))
	for done := 0; done < transfers; {
		err := transferOnce(ctx, conn, random, client)
		var fault *mysql.MySQLError
		switch {
		case err == nil:
			done++
		case errors.As(err, &fault) && slices.Contains([]uint16{1020, 1205, 1213}, fault.Number):
			if _, err := conn.ExecContext(ctx, "ROLLBACK"); err != nil {
				return err
			}
		default:
			return err
		}
	}
	return nil
}

func transferOnce(ctx context.Context, conn *sql.Conn, random *rand.Rand, client int) error {
	amount := 1 + random.IntN(50)
	statements := []string{"BEGIN",
		fmt.Sprintf("UPDATE shop.cash SET balance = balance - %d WHERE id = %d", amount, random.IntN(bankAccounts)),
		fmt.Sprintf("UPDATE shop.counted SET n = n + 1 WHERE client = %d", client),
		fmt.Sprintf("UPDATE shop.deposits SET balance = balance + %d WHERE id = %d", amount, random.IntN(bankAccounts)),
		fmt.Sprintf("UPDATE shop.recounted SET n = n + 1 WHERE client = %d", client),
	}
	if random.IntN(4) == 0 {
		statements = append(statements, "UPDATE shop.last SET n = n + 1 WHERE one = 1",
			fmt.Sprintf("INSERT INTO shop.numbers SELECT n, %d FROM shop.last", client))
	}
	for _, statement := range append(statements, "COMMIT") {
		if _, err := conn.ExecContext(ctx, statement); err != nil {
			return fmt.Errorf("%s: %w", statement, err)
		}
	}
	return nil
}

// watchBank looks at the bank until ctx ends, and returns how often it did and
// what was wrong.
func watchBank(ctx context.Context, db *sql.DB) (looks int, err error) {
	conn, err := db.Conn(context.WithoutCancel(ctx))
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	var before bankState
	for ctx.Err() == nil {
		now, err := lookAtBank(conn)
		if err == nil {
			err = now.check(before)
		}
		if err != nil {
			return looks, err
		}
		before = now
		looks++
	}
	return looks, nil
}

// bankState is what a snapshot shows.
type bankState struct {
	money, counted, recounted, unequal, last, numbers, highest int64
}

func lookAtBank(conn *sql.Conn) (s bankState, err error) {
	ctx := context.Background()
	for _, statement := range []string{"SET TRANSACTION ISOLATION LEVEL REPEATABLE READ", "START TRANSACTION WITH CONSISTENT SNAPSHOT"} {
		if _, err := conn.ExecContext(ctx, statement); err != nil {
			return s, err
		}
	}
	// One table after the other, as readers do.
	for _, part := range []struct {
		query string
		into  []any
	}{
		{"SELECT n FROM shop.last", []any{&s.last}},
		{"SELECT SUM(n) FROM shop.counted", []any{&s.counted}},
		{"SELECT SUM(balance) FROM shop.cash", []any{&s.money}},
		{"SELECT SUM(balance) + ? FROM shop.deposits", []any{&s.money}},
		{"SELECT COUNT(*) FROM shop.counted JOIN shop.recounted USING (client) WHERE counted.n <> recounted.n", []any{&s.unequal}},
		{"SELECT SUM(n) FROM shop.recounted", []any{&s.recounted}},
		{"SELECT COUNT(*), IFNULL(MAX(n), 0) FROM shop.numbers", []any{&s.numbers, &s.highest}},
	} {
		var args []any
		if part.into[0] == any(&s.money) && s.money != 0 {
			args = append(args, s.money)
		}
		if err := conn.QueryRowContext(ctx, part.query, args...).Scan(part.into...); err != nil {
			return s, fmt.Errorf("%s: %w", part.query, err)
		}
	}
	_, err = conn.ExecContext(ctx, "COMMIT")
	return s, err
}

// check says what is wrong with a state that was seen after another.
func (s bankState) check(before bankState) error {
	switch {
	case s.money != 2*bankAccounts*bankBalance:
		return fmt.Errorf("the bank has %d, not %d", s.money, 2*bankAccounts*bankBalance)
	case s.counted != s.recounted || s.unequal != 0:
		return fmt.Errorf("a transaction was seen in part: counted %d and %d times, %d clients differ", s.counted, s.recounted, s.unequal)
	case s.last != s.numbers || s.last != s.highest:
		return fmt.Errorf("a transaction was seen before its predecessor: the last number is %d, there are %d up to %d", s.last, s.numbers, s.highest)
	case s.counted < before.counted || s.last < before.last:
		return fmt.Errorf("time went back: %+v after %+v", s, before)
	}
	return nil
}

package demo

import (
	"context"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"duplex/change"
	"duplex/mysql"

	"golang.org/x/sync/errgroup"
)

// application is a shop's program in one region. It knows nothing of Duplex
// but the one rule that every pair of writable databases has: keys must not
// collide. So auto_increment_increment is 2 and the regions begin at 1 and 2,
// and each changes its own customers, orders and stock. The prices are of
// both: each changes any of them at any time, so that they conflict.
type application struct {
	home   change.Region
	db     *sql.DB
	offset int // of auto_increment: 1 or 2

	rows         atomic.Int64 // changed in transactions that are committed
	transactions atomic.Int64
	emails       atomic.Int64
}

const (
	clients = 4
	// think is how long a client waits between transactions, on average: the
	// demo is meant to show the delay of a busy system, not of a drowning one.
	think = 8 * time.Millisecond
	skus  = 40
	// prices are few, so that both regions often change one of them at once.
	prices = 20
)

func newApplication(home change.Region, db *sql.DB, index int) *application {
	return &application{home: home, db: db, offset: index + 1}
}

// run stocks the warehouse and lets the clients write until ctx ends. What a
// client has begun it finishes, so that rows is exact.
func (a *application) run(ctx context.Context) error {
	work := context.WithoutCancel(ctx)
	if err := a.session(work, a.stockUp); err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	for i := range clients {
		group.Go(func() error {
			return a.session(work, func(work context.Context, conn *sql.Conn) error {
				c := &client{app: a, conn: conn, random: rand.New(rand.NewPCG(uint64(a.offset), uint64(i)))}
				return c.shop(ctx, work)
			})
		})
	}
	return group.Wait()
}

// session calls do with a connection that makes this region's keys.
func (a *application) session(ctx context.Context, do func(context.Context, *sql.Conn) error) error {
	conn, err := a.db.Conn(ctx)
	if err != nil {
		return fmt.Errorf("connecting the application of %s: %w", a.home, err)
	}
	defer conn.Close()
	_, err = conn.ExecContext(ctx, fmt.Sprintf("SET SESSION auto_increment_increment = 2, auto_increment_offset = %d", a.offset))
	if err == nil {
		err = do(ctx, conn)
	}
	if err != nil {
		return fmt.Errorf("writing as the application of %s: %w", a.home, err)
	}
	return nil
}

func (a *application) stockUp(ctx context.Context, conn *sql.Conn) error {
	return a.transaction(ctx, conn, func(t *tx) {
		values := make([]string, skus)
		for i := range values {
			values[i] = fmt.Sprintf("('%s', 'SKU%03d', 100000)", a.home, i)
		}
		t.exec("INSERT INTO shop.stock (warehouse, sku, quantity) VALUES " + strings.Join(values, ", "))
		if a.offset == 1 { // one of them begins
			t.exec("INSERT INTO shop.prices VALUES (1, 1, 'nobody')" + pricesFrom(2))
		}
	})
}

// pricesFrom continues the values of an INSERT.
func pricesFrom(first int) string {
	var b strings.Builder
	for sku := first; sku <= prices; sku++ {
		fmt.Fprintf(&b, ", (%d, 1, 'nobody')", sku)
	}
	return b.String()
}

// transaction commits what do does, or tries again if the server chose it as
// the victim of a deadlock, and counts the rows that it changed.
func (a *application) transaction(ctx context.Context, conn *sql.Conn, do func(*tx)) error {
	for {
		t := &tx{ctx: ctx, conn: conn}
		t.exec("BEGIN")
		do(t)
		if t.err == nil {
			n := t.rows
			t.exec("COMMIT")
			if t.err == nil {
				a.rows.Add(n)
				a.transactions.Add(1)
				return nil
			}
		}
		if mysql.Classify(t.err).Class != mysql.Retry {
			return t.err
		}
		if _, err := conn.ExecContext(ctx, "ROLLBACK"); err != nil {
			return err
		}
	}
}

// tx runs statements until the first error.
type tx struct {
	ctx  context.Context
	conn *sql.Conn
	rows int64 // changed so far
	err  error
}

// exec runs a statement and returns the first auto-increment value it made.
func (t *tx) exec(statement string, args ...any) (first int64) {
	if t.err != nil {
		return 0
	}
	result, err := t.conn.ExecContext(t.ctx, statement, args...)
	if err != nil {
		t.err = err
		return 0
	}
	n, _ := result.RowsAffected() // MySQL always says
	first, _ = result.LastInsertId()
	t.rows += n
	return first
}

// client is one user of the application. It changes what it made itself.
type client struct {
	app       *application
	conn      *sql.Conn
	random    *rand.Rand
	customers []int64
	orders    []int64
}

// shop does one thing after the other until ctx ends.
func (c *client) shop(ctx, work context.Context) error {
	for ctx.Err() == nil {
		if err := c.choose()(work); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
		case <-time.After(think/2 + time.Duration(c.random.Int64N(int64(think)))):
		}
	}
	return nil
}

func (c *client) choose() func(context.Context) error {
	switch dice := c.random.IntN(100); {
	case len(c.customers) == 0 || dice < 10:
		return c.signUp
	case len(c.orders) < 5 || dice < 45:
		return c.order
	case dice < 55:
		return c.pay
	case dice < 80:
		return c.process
	case dice < 85:
		return c.reprice
	default:
		return c.cancel
	}
}

// signUp inserts a few customers by one statement.
func (c *client) signUp(ctx context.Context) error {
	n := 1 + c.random.IntN(3)
	var args []any
	for range n {
		id := c.app.emails.Add(1)
		args = append(args, string(c.app.home), fmt.Sprintf("customer%d@%s.example", id, c.app.home), names[c.random.IntN(len(names))],
			fmt.Sprintf(`{"points": %d, "tags": ["%s", null]}`, c.random.IntN(1000), c.app.home))
	}
	var first int64
	err := c.app.transaction(ctx, c.conn, func(t *tx) {
		first = t.exec("INSERT INTO shop.customers (home, email, name, profile, since) VALUES "+
			strings.TrimSuffix(strings.Repeat("(?, ?, ?, ?, NOW(6)), ", n), ", "), args...)
	})
	for i := range n {
		c.customers = append(c.customers, first+2*int64(i)) // one statement's values follow each other
	}
	return err
}

var names = []string{"Ada", "Grace Hopper", "陈省身", "Łukasz", "María José", "山田太郎", "Zoë 🦊", "O'Neill"}

// order inserts an order with its items and takes them from the stock.
func (c *client) order(ctx context.Context) error {
	customer := c.customers[c.random.IntN(len(c.customers))]
	picked := c.random.Perm(skus)[:2+c.random.IntN(4)]
	slices.Sort(picked) // all clients lock the stock in one order
	var id int64
	err := c.app.transaction(ctx, c.conn, func(t *tx) {
		id = t.exec("INSERT INTO shop.orders (home, customer_id, total, note) VALUES (?, ?, ?, ?)",
			string(c.app.home), customer, fmt.Sprintf("%d.%02d", c.random.IntN(1000), c.random.IntN(100)), notes[c.random.IntN(len(notes))])
		for line, sku := range picked {
			t.exec("INSERT INTO shop.order_items VALUES (?, ?, ?, ?, ?, ?)",
				id, line, fmt.Sprintf("SKU%03d", sku), 1+c.random.IntN(9), fmt.Sprintf("%d.99", c.random.IntN(200)), c.random.Float64()*10)
		}
		for _, sku := range picked {
			t.exec("UPDATE shop.stock SET quantity = quantity - 1, sold = sold + 1 WHERE warehouse = ? AND sku = ?", string(c.app.home), fmt.Sprintf("SKU%03d", sku))
		}
	})
	if err == nil {
		c.orders = append(c.orders, id)
	}
	return err
}

var notes = []any{nil, "", "leave at the door", "礼物，请包装 🎁", "a 'quoted' note\nof two lines"}

// pay changes two tables in one transaction.
func (c *client) pay(ctx context.Context) error {
	order, customer := c.orders[c.random.IntN(len(c.orders))], c.customers[c.random.IntN(len(c.customers))]
	return c.app.transaction(ctx, c.conn, func(t *tx) {
		t.exec("UPDATE shop.orders SET status = 'paid', total = total + 0.01 WHERE id = ?", order)
		t.exec("UPDATE shop.customers SET balance = balance + 1.2345, profile = JSON_SET(profile, '$.points', ?) WHERE id = ?", c.random.IntN(1000), customer)
	})
}

// process moves an order on and changes all its items by one statement.
func (c *client) process(ctx context.Context) error {
	order := c.orders[c.random.IntN(len(c.orders))]
	return c.app.transaction(ctx, c.conn, func(t *tx) {
		t.exec("UPDATE shop.orders SET status = ? WHERE id = ?", []string{"packed", "sent"}[c.random.IntN(2)], order)
		t.exec("UPDATE shop.order_items SET quantity = quantity + 1, weight = weight * 1.1 WHERE order_id = ?", order)
	})
}

// reprice changes a price, which the other region may be changing too.
func (c *client) reprice(ctx context.Context) error {
	return c.app.transaction(ctx, c.conn, func(t *tx) {
		t.exec("UPDATE shop.prices SET price = ?, changed_by = ? WHERE sku = ?", fmt.Sprintf("%d.%02d", 1+c.random.IntN(1000), c.random.IntN(100)), string(c.app.home), 1+c.random.IntN(prices))
	})
}

// cancel deletes an order with its items.
func (c *client) cancel(ctx context.Context) error {
	i := c.random.IntN(len(c.orders))
	order := c.orders[i]
	err := c.app.transaction(ctx, c.conn, func(t *tx) {
		t.exec("DELETE FROM shop.order_items WHERE order_id = ?", order)
		t.exec("DELETE FROM shop.orders WHERE id = ?", order)
	})
	c.orders = slices.Delete(c.orders, i, i+1)
	return err
}

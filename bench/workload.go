package main

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
)

// workload is what the transactions of a backlog do.
type workload struct {
	name         string
	transactions int
	statements   func(*client) (all []string, changes int)
}

// workloads are measured one after the other. Updates are of rows chosen at
// random in the whole table, by one statement, which spares MySQL's replica an
// event for each row; inserts are single-row statements, as clients write them.
func workloads() []workload {
	return []workload{
		{"txn1", 80_000, func(c *client) ([]string, int) { return c.updates(1) }},
		{"txn10", 30_000, func(c *client) ([]string, int) { return c.updates(10) }},
		{"txn100", 4_000, func(c *client) ([]string, int) { return c.updates(100) }},
		{"txn1000", 400, func(c *client) ([]string, int) { return c.updates(1000) }},
		{"inserts", 4_000, func(c *client) ([]string, int) { return c.inserts(100) }},
		{"oltp", 40_000, (*client).oltp},
		{"hot", 24_000, (*client).hot},
	}
}

// workloadOf returns the workload of a name.
func workloadOf(name string) *workload {
	all := workloads()
	i := slices.IndexFunc(all, func(w workload) bool { return w.name == name })
	return &all[i]
}

// clients is how many clients write a backlog. Each has rows of its own, those
// whose id leaves its number when divided by clients, so that none waits for
// another.
const clients = 8

// client makes the statements of one client.
type client struct {
	number int64
	random *rand.Rand
	next   int64 // id of its next new row
}

// newClient makes the client of a number. New rows come after row last.
func newClient(number int64, w *workload, last int64) *client {
	return &client{number: number, next: (last/clients+1)*clients + number, random: rand.New(rand.NewPCG(uint64(len(w.name)+w.transactions), uint64(number)))}
}

// row returns a row of the client that was there before the backlog.
func (c *client) row() int64 { return c.number + clients*c.random.Int64N(existing/clients) }

func (c *client) updates(n int) ([]string, int) {
	ids, chosen := make([]string, 0, n), map[int64]bool{}
	for len(ids) < n {
		if id := c.row(); !chosen[id] {
			chosen[id] = true
			ids = append(ids, strconv.FormatInt(id, 10))
		}
	}
	return []string{"UPDATE bench.sbtest1 SET k = k + 1, c = " + randomText + " WHERE id IN (" + strings.Join(ids, ",") + ")"}, n
}

func (c *client) inserts(n int) (all []string, changes int) {
	for range n {
		all = append(all, c.insert(c.next))
		c.next += clients
	}
	return all, n
}

func (c *client) insert(id int64) string {
	return "INSERT INTO bench.sbtest1 VALUES " + c.values(id)
}

func (c *client) values(id int64) string {
	return fmt.Sprintf("(%d, %d, '%s', '%s')", id, c.random.IntN(1_000_000), c.digits(119), c.digits(59))
}

// oltp is sysbench's oltp_write_only: an update of an indexed column, one of
// another column, and a row deleted and written anew.
func (c *client) oltp() ([]string, int) {
	moved := c.row()
	return []string{
		fmt.Sprintf("UPDATE bench.sbtest1 SET k = k + 1 WHERE id = %d", c.row()),
		fmt.Sprintf("UPDATE bench.sbtest1 SET c = '%s' WHERE id = %d", c.digits(119), c.row()),
		fmt.Sprintf("DELETE FROM bench.sbtest1 WHERE id = %d", moved),
		c.insert(moved),
	}, 4
}

// hot updates a row chosen at random and then the one row that every
// transaction updates, as a branch's balance is.
func (c *client) hot() ([]string, int) {
	own, _ := c.updates(1)
	return append(own, "UPDATE bench.sbtest1 SET k = k + 1 WHERE id = 0"), 2
}

// randomText is other text for every row, made by the server.
const randomText = "LEFT(CONCAT(RAND(), RAND(), RAND(), RAND(), RAND(), RAND(), RAND()), 119)"

func (c *client) digits(n int) string {
	text := make([]byte, n)
	for i := range text {
		text[i] = byte('0' + c.random.IntN(10))
	}
	return string(text)
}

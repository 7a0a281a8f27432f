// Command totals keeps, for each table of a region, the number of its rows and
// the sum of a column, and prints every transaction as it comes. It shows how
// package feed is used so that each transaction counts exactly once, whatever
// is killed when.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/big"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"duplex/feed"
)

func main() {
	var cfg feed.Config
	var brokers, tables, column, file string
	flag.StringVar(&brokers, "brokers", "127.0.0.1:9092", "Kafka, as `host:port,...`")
	flag.StringVar(&cfg.Registry.URL, "registry", "http://127.0.0.1:8081", "`URL` of the schema registry")
	flag.StringVar(&cfg.Region, "region", "east", "`id` of the region to read")
	flag.StringVar(&cfg.Group, "group", "totals", "consumer `group` that keeps the position")
	flag.StringVar(&tables, "tables", "*.*", "tables to read, as `db.table,...` with * and ?")
	flag.StringVar(&column, "sum", "", "also add up this `column` where a table has it")
	flag.StringVar(&file, "state", "totals.json", "`file` that keeps the totals")
	flag.Parse()
	cfg.Kafka.Brokers, cfg.Tables = strings.Split(brokers, ","), strings.Split(tables, ",")

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, cfg, column, file); err != nil && !errors.Is(err, context.Canceled) {
		fmt.Fprintln(os.Stderr, "totals:", err)
		os.Exit(1)
	}
}

// run reads until ctx ends. The totals and the place in the stream up to which
// they count are saved together, so they can't disagree; the group's position
// is committed after that, and never ahead of it.
func run(ctx context.Context, cfg feed.Config, column, file string) error {
	totals, err := load(file)
	if err != nil {
		return err
	}
	reader, err := feed.Open(ctx, cfg)
	if err != nil {
		return err
	}
	defer reader.Close()
	for unsaved := 0; ; {
		tx, err := nextSoon(ctx, reader)
		if err != nil {
			return err
		}
		if tx != nil && tx.Offset > totals.Offset { // else it was counted before a restart
			if err := totals.add(ctx, tx, column); err != nil {
				return err
			}
			unsaved++
		}
		if unsaved > 0 && (tx == nil || unsaved >= 1000) { // nothing more is ready, or enough is
			if err := totals.save(file); err != nil {
				return err
			}
			if err := reader.Commit(ctx); err != nil {
				return err
			}
			unsaved = 0
		}
	}
}

// nextSoon returns the next transaction, nil if none is ready.
func nextSoon(ctx context.Context, reader *feed.Reader) (*feed.Transaction, error) {
	soon, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
	defer cancel()
	tx, err := reader.Next(soon)
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		return nil, nil
	}
	return tx, err
}

// add counts a transaction and prints it.
func (t *totals) add(ctx context.Context, tx *feed.Transaction, column string) error {
	fmt.Printf("%s  transaction %d of %s, %d changes\n", tx.CommitTime.Format(time.RFC3339Nano), tx.Stamp.Seq, tx.Stamp.Origin, tx.Len)
	for c, err := range tx.Changes(ctx) {
		if err != nil {
			return err
		}
		total := t.table(c.Table.String())
		total.Changes++
		for _, side := range []struct {
			row  *feed.Row
			sign int64
		}{{c.Before, -1}, {c.After, +1}} {
			if side.row == nil {
				continue
			}
			total.Rows += side.sign
			if err := total.addCell(side.row, column, side.sign); err != nil {
				return fmt.Errorf("%s: %w", c.Table, err)
			}
		}
		fmt.Printf("    %s %s: %d rows now, sum %s\n", c.Op, c.Table, total.Rows, total.sum.FloatString(2))
	}
	t.Offset = tx.Offset
	return nil
}

// addCell adds the value of a column, if the row has it and it is a number.
func (t *total) addCell(row *feed.Row, column string, sign int64) error {
	for i, c := range row.Columns() {
		if !strings.EqualFold(c.Name, column) {
			continue
		}
		value, err := row.At(i)
		if err != nil {
			return err
		}
		var n *big.Rat
		switch v := value.(type) {
		case feed.Decimal:
			n = v.Rat()
		case int64:
			n = new(big.Rat).SetInt64(v)
		default: // NULL, or no number
			continue
		}
		t.sum.Add(&t.sum, n.Mul(n, new(big.Rat).SetInt64(sign)))
	}
	return nil
}

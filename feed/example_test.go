package feed_test

import (
	"context"
	"fmt"
	"log"

	"duplex/feed"

	"github.com/twmb/franz-go/pkg/kgo"
)

// A program that follows a region: it prints each transaction with its
// changes, and goes on after a restart where it last committed.
func ExampleOpen() {
	kafka, registry := publishOrders("north")
	ctx := context.Background()
	reader, err := feed.Open(ctx, feed.Config{
		Kafka:    kafka,
		Registry: registry,
		Region:   "north",
		Tables:   []string{"shop.*"},
		Group:    "order-printer",
	})
	if err != nil {
		log.Fatal(err)
	}
	defer reader.Close()
	for range 2 { // or for ever
		tx, err := reader.Next(ctx)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("transaction %d of %s: %d changes\n", tx.Stamp.Seq, tx.Stamp.Origin, tx.Len)
		for c, err := range tx.Changes(ctx) {
			if err != nil {
				log.Fatal(err)
			}
			id, err := c.Key.Get("id")
			if err != nil {
				log.Fatal(err)
			}
			fmt.Printf("  %s %s %v\n", c.Op, c.Table, id)
		}
		if err := reader.Commit(ctx); err != nil {
			log.Fatal(err)
		}
	}
	// Output:
	// transaction 1 of north: 2 changes
	//   create shop.customer 7
	//   create shop.orders 1
	// transaction 2 of north: 1 changes
	//   delete shop.orders 1
}

// A program that wants single changes, those of the region's own applications
// alone, each once over all regions.
func ExampleOpenChanges() {
	kafka, registry := publishOrders("south")
	ctx := context.Background()
	reader, err := feed.OpenChanges(ctx, feed.Config{
		Kafka: kafka, Registry: registry, Region: "south", Group: "customer-index",
		Tables: []string{"shop.customer"},
		Accept: feed.Only("south"),
	})
	if err != nil {
		log.Fatal(err)
	}
	defer reader.Close()
	c, err := reader.Next(ctx)
	if err != nil {
		log.Fatal(err)
	}
	row, err := c.After.Map()
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(c.Op, c.Table, row["id"], row["name"])
	if err := reader.Commit(ctx); err != nil {
		log.Fatal(err)
	}
	// Output: create shop.customer 7 Ada
}

// publishOrders publishes two transactions, as the capture of a region does.
func publishOrders(id string) (feed.Kafka, feed.Registry) {
	ctx := context.Background()
	r, err := makeRegion(ctx, id)
	if err != nil {
		log.Fatal(err)
	}
	defer r.client.Close()
	customers, err := r.makeTable(ctx, 1, plainTable("shop", "customer"))
	if err != nil {
		log.Fatal(err)
	}
	orders, err := r.makeTable(ctx, 1, plainTable("shop", "orders"))
	if err != nil {
		log.Fatal(err)
	}
	ada, seven := plainRow(7, "Ada")
	order, one := plainRow(1, "book")
	r.local(write{table: customers, op: 'c', after: ada, key: seven}, write{table: orders, op: 'c', after: order, key: one})
	r.local(write{table: orders, op: 'd', before: order, key: one})
	if err := r.commit(ctx, kgo.TryCommit); err != nil {
		log.Fatal(err)
	}
	return r.config().Kafka, r.config().Registry
}

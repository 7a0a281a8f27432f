// Command testbed installs the real servers that Duplex is tested with, and runs a set of them to try things by hand.
//
//	testbed install [mysql mysql97 mysql80 mariadb1011 mariadb118 kafka registry connect compiler all]
//	testbed up
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/sync/errgroup"

	"duplex/internal/testbed"
)

const usage = `usage: testbed install [PART...]   install servers into the cache folder (default: all)
       testbed up                  run two MySQL, Kafka and the schema registry until Ctrl-C
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if len(os.Args) < 2 {
		fmt.Fprint(os.Stderr, usage)
		os.Exit(2)
	}
	var err error
	switch verb, args := os.Args[1], os.Args[2:]; {
	case verb == "install":
		err = install(ctx, args)
	case verb == "up" && len(args) == 0:
		err = up(ctx)
	default:
		fmt.Fprintf(os.Stderr, "testbed: unexpected %q\n%sparts: %v\n", os.Args[1:], usage, testbed.AllParts())
		os.Exit(2)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "testbed: %v\n", err)
		os.Exit(1)
	}
}

func install(ctx context.Context, names []string) error {
	if len(names) == 0 {
		names = []string{"all"}
	}
	var parts []testbed.Part
	for _, name := range names {
		if name == "all" {
			parts = append(parts, testbed.AllParts()...)
		} else {
			parts = append(parts, testbed.Part(name))
		}
	}
	return testbed.Install(ctx, "", parts...)
}

// up runs a set of servers until ctx ends.
func up(ctx context.Context) (err error) {
	bed, err := testbed.Open("")
	if err != nil {
		return err
	}
	defer func() {
		if closed := bed.Close(); err == nil {
			err = closed
		}
	}()
	if err := testbed.Install(ctx, "", testbed.AnyMySQL, testbed.KafkaJars, testbed.RegistryApp); err != nil {
		return err
	}
	var east, west *testbed.MySQL
	var kafka *testbed.Kafka
	var registry *testbed.Registry
	group, starting := errgroup.WithContext(ctx)
	group.Go(func() (err error) {
		east, err = bed.StartMySQL(starting, testbed.AnyMySQL, testbed.Durable())
		return err
	})
	group.Go(func() (err error) {
		west, err = bed.StartMySQL(starting, testbed.AnyMySQL, testbed.Durable())
		return err
	})
	group.Go(func() (err error) { kafka, err = bed.StartKafka(starting); return err })
	group.Go(func() (err error) { registry, err = bed.StartRegistry(starting); return err })
	if err := group.Wait(); err != nil {
		return err
	}
	for i, my := range []*testbed.MySQL{east, west} {
		host, port := my.HostPort()
		fmt.Printf("MySQL %s   mysql --host=%s --port=%s --user=root   (no password)\n", []string{"east", "west"}[i], host, port)
	}
	fmt.Printf("Kafka        %s\nRegistry     %s\nCtrl-C ends them; their data goes too.\n", kafka.Brokers()[0], registry.URL())
	<-ctx.Done()
	return nil
}

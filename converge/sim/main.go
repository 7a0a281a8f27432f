// Command sim runs package converge, the code and not a model of it,
// through random histories of two to four regions: transactions of several rows, batches,
// delays, partitions that run ahead of each other, clocks that differ and jump,
// crashes, replays, repairs and forgetting. At rest all regions must hold the same: of each row the
// image of the write that must have won, of all that any application made; and no write may have a smaller
// version than what it is based on.
//
// Usage: SIM_SECONDS=60 go run ./converge/sim
//
// It uses all cores and ends with one line, sim: <n> histories, <n> diverged,
// after the seed of each that did; Ctrl-C ends it earlier. SIM_SEED=n shows history n alone. It exits 1 if
// one diverged.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

func main() {
	debug.SetGCPercent(1000) // the heap is tiny
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	os.Exit(execute(ctx, os.Getenv, os.Stdout, os.Stderr))
}

func execute(ctx context.Context, getenv func(string) string, out, errs io.Writer) int {
	if text := getenv("SIM_SEED"); text != "" {
		seed, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			fmt.Fprintf(errs, "SIM_SEED: %v\n", err)
			return 2
		}
		return show(seed, none, out)
	}
	seconds := 60
	if text := getenv("SIM_SECONDS"); text != "" {
		var err error
		if seconds, err = strconv.Atoi(text); err != nil || seconds < 1 {
			fmt.Fprintf(errs, "SIM_SECONDS: %q is not a number of seconds\n", text)
			return 2
		}
	}
	ctx, cancel := context.WithTimeout(ctx, time.Duration(seconds)*time.Second)
	defer cancel()
	total := campaign(ctx, none, func(seed uint64, fault string) { fmt.Fprintf(out, "SIM_SEED=%d: %s\n", seed, fault) })
	fmt.Fprintf(errs, "%+v\n", total.stats)
	fmt.Fprintf(out, "sim: %d histories, %d diverged\n", total.histories, total.diverged)
	if total.diverged > 0 {
		return 1
	}
	return 0
}

// totals are those of many histories.
type totals struct {
	stats
	histories, diverged int
}

// maxShown bounds the failures that are told of one by one.
const maxShown = 20

// campaign runs histories on all cores until ctx ends, from seed 0 on.
func campaign(ctx context.Context, broken rule, failed func(seed uint64, fault string)) (sum totals) {
	var next atomic.Uint64
	var mu sync.Mutex
	var workers sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			var mine totals
			for ctx.Err() == nil {
				seed := next.Add(1) - 1
				w := history(seed, broken, nil)
				mine.add(w)
				if w.fault == "" {
					continue
				}
				mine.diverged++
				mu.Lock()
				if sum.diverged++; sum.diverged <= maxShown {
					failed(seed, w.fault)
				}
				mu.Unlock()
			}
			mu.Lock()
			defer mu.Unlock()
			sum.merge(mine)
		})
	}
	workers.Wait()
	return sum
}

// history runs the one of that seed.
func history(seed uint64, broken rule, trace func(string, ...any)) *world {
	pick := random(seed)
	w := newWorld(draw(pick, broken), pick)
	w.trace = trace
	w.run(nil)
	return w
}

// show tells one history step by step.
func show(seed uint64, broken rule, out io.Writer) int {
	w := history(seed, broken, func(format string, args ...any) { fmt.Fprintf(out, format+"\n", args...) })
	fmt.Fprintf(out, "%+v\n", w.setting)
	if w.fault != "" {
		fmt.Fprintf(out, "SIM_SEED=%d: %s\nsim: 1 histories, 1 diverged\n", seed, w.fault)
		return 1
	}
	fmt.Fprintln(out, "sim: 1 histories, 0 diverged")
	return 0
}

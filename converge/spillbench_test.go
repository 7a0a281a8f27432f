package converge

import (
	"fmt"
	"math/bits"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"duplex/change"
	"duplex/spill"
)

// BenchmarkSpilled tells what rows cost an index that has no memory for most of them: to
// note, to look up when they are there and when not, to look up and note again, and to forget; in
// memory of the process, and on disk. The file is in the system's temporary directory.
func BenchmarkSpilled(b *testing.B) {
	for _, n := range []int{1_000_000, 50_000_000} {
		b.Run(fmt.Sprintf("rows=%d", n), func(b *testing.B) {
			for b.Loop() {
				benchmarkSpilled(b, n, 192<<20*int64(n)/50_000_000)
			}
		})
	}
}

func benchmarkSpilled(b *testing.B, n int, limit int64) {
	file, err := spill.Open(b.TempDir(), 16<<30)
	if err != nil {
		b.Fatal(err)
	}
	defer file.Close()
	x := NewIndex(limit, 0)
	x.SpillTo(file)
	slowest := time.Duration(0)
	each := func(what string, n int, f func(i int)) {
		began, last := time.Now(), time.Now()
		slowest = 0
		for i := range n {
			f(i)
			if i%16 == 0 { // the clock costs as much as a look-up
				now := time.Now()
				slowest, last = max(slowest, now.Sub(last)), now
			}
		}
		b.ReportMetric(float64(time.Since(began).Nanoseconds())/float64(n), "ns/"+what)
		b.Logf("%s: %v for %d rows, the slowest 16 %v; %d MiB resident", what, time.Since(began).Round(time.Millisecond), n, slowest.Round(time.Microsecond), resident())
	}
	key := func(i int) Key {
		high, low := bits.Mul64(uint64(i)*0x9e3779b97f4a7c15, 0xbf58476d1ce4e5b9)
		return Key{high ^ low, low}
	}
	spread := func(i int) int { return int(uint64(i) * 7_368_787 % uint64(n)) }
	write := func(i int) Write {
		return Write{Version: change.Version{HLC: change.HLC(i + 1), Origin: "east"}, Seq: change.Seq(i), Digest: Digest(i)}
	}
	each("note", n, func(i int) {
		if err := x.Local(key(i), write(i)); err != nil {
			b.Fatal(err)
		}
	})
	rows, disk := x.Spilled()
	b.Logf("%d rows on disk, %d bytes, %d in memory; of %d bytes of memory %d for what is on disk, %.1f bits of filter a row", rows, disk, x.Len(), x.Bytes(), x.disk.memory, float64(filters(x))*8/float64(rows))
	b.ReportMetric(float64(disk)/float64(rows), "B/spilled")
	b.ReportMetric(float64(resident()), "MiB-resident")
	if x.Bytes() > limit {
		b.Errorf("%d bytes, the limit is %d", x.Bytes(), limit)
	}
	each("look", n/10, func(i int) {
		if k, known := x.Of(key(spread(i))); !known || k.Seq != change.Seq(spread(i)) {
			b.Fatalf("row %d: %+v, %t, %v", spread(i), k, known, x.Err())
		}
	})
	each("miss", n/10, func(i int) {
		if k, known := x.Of(key(n + i)); known {
			b.Fatalf("row %d: %+v", n+i, k)
		}
	})
	each("again", n/10, func(i int) {
		if err := x.Wrote(key(spread(i)), write(n+i), Pos(i)); err != nil {
			b.Fatal(err)
		}
	})
	sweeps := 0
	began := time.Now()
	slowest = 0
	for stable := n / 10; stable <= 2*n; stable += n / 10 {
		for range 2 {
			for done := false; !done; sweeps++ {
				step := time.Now()
				done = x.Sweep(change.HLC(stable), Pos(n))
				slowest = max(slowest, time.Since(step))
			}
		}
	}
	b.Logf("forgotten in %v, %d sweeps, the slowest %v", time.Since(began).Round(time.Millisecond), sweeps, slowest.Round(time.Microsecond))
	b.ReportMetric(float64(time.Since(began).Nanoseconds())/float64(n), "ns/forgotten")
	if rows, disk := x.Spilled(); rows > 0 || disk > 0 || x.Len() > 0 || x.Err() != nil {
		b.Errorf("%d rows are left on disk, %d in memory, %v", rows, x.Len(), x.Err())
	}
}

func filters(x *Index) (n int64) {
	for _, runs := range x.disk.parts {
		for _, r := range runs {
			n += r.filter.bytes()
		}
	}
	return n
}

// resident returns the memory of the process, in MiB.
func resident() int {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	_, text2, _ := strings.Cut(string(text), "VmRSS:")
	kib, _ := strconv.Atoi(strings.Fields(text2)[0])
	return kib >> 10
}

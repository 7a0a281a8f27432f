package snapshot

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// A simulated server: transactions are written to its binlog in order and become visible
// later; a stream passes them later still, or before they are visible.
type world struct {
	r         *rand.Rand
	binlog    []write
	visible   int // so many transactions
	passed    int
	windows   *Windows
	reads     []*read
	downward  map[string]int // what a reader of the stream has, by key: -1 for a delete
	published int
}

// write is a transaction of one row: its value, -1 for a delete.
type write struct {
	key   string
	value int
}

// read is a chunk being read.
type read struct {
	window *Window
	seen   int // passed when the window was opened
	rows   map[string]int
	high   int
}

// marks are what a wrong implementation does differently.
type marks struct {
	blind  bool // the SELECT doesn't wait until all that was passed is visible
	early  bool // the chunk is put before the stream has passed the second mark
	keeper bool // nothing is left out
}

const simulatedKeys = 6

func (w *world) state(n int) map[string]int {
	rows := map[string]int{}
	for k := range simulatedKeys {
		rows[fmt.Sprint(k)] = 0 // there before
	}
	for _, t := range w.binlog[:n] {
		if t.value < 0 {
			delete(rows, t.key)
		} else {
			rows[t.key] = t.value
		}
	}
	return rows
}

func (w *world) step(m marks) {
	switch w.r.IntN(7) {
	case 0, 1:
		value := len(w.binlog) + 1
		if w.r.IntN(4) == 0 {
			value = -1
		}
		w.binlog = append(w.binlog, write{fmt.Sprint(w.r.IntN(simulatedKeys)), value})
	case 2:
		w.visible = min(w.visible+1, len(w.binlog))
	case 3:
		if w.passed == len(w.binlog) {
			break
		}
		t := w.binlog[w.passed]
		w.passed++
		w.windows.Changed("t", []byte(t.key))
		w.downward[t.key] = t.value
	case 4:
		if len(w.reads) < 3 {
			w.reads = append(w.reads, &read{window: w.windows.Open("t"), seen: w.passed})
		}
	case 5: // a SELECT
		for _, r := range w.reads {
			if r.rows == nil && (m.blind || w.visible >= r.seen) {
				r.rows, r.high = w.state(w.visible), w.visible
				break
			}
		}
	default: // the oldest is put in its place
		if len(w.reads) == 0 || w.reads[0].rows == nil || !m.early && w.passed < w.reads[0].high {
			break
		}
		w.put(w.reads[0], m)
		w.reads = w.reads[1:]
	}
}

// put publishes a chunk. A reader takes copied rows like any others.
func (w *world) put(r *read, m marks) {
	defer w.windows.Close(r.window)
	if r.window.Spoilt() {
		return
	}
	for key, value := range r.rows {
		if m.keeper || !r.window.Changed([]byte(key)) {
			w.downward[key] = value
		}
	}
	w.published++
}

// wrong reports whether what the stream came to differs from what the server has at that place, after
// a chunk was published.
func (w *world) wrong() string {
	have := w.state(w.passed)
	for k := range simulatedKeys {
		key := fmt.Sprint(k)
		value, there := have[key]
		if !there {
			value = -1
		}
		if down, told := w.downward[key]; told && down != value {
			return fmt.Sprintf("row %s is %d in the stream and %d in the table", key, down, value)
		}
	}
	return ""
}

func simulate(seed uint64, m marks) (wrong string, published int) {
	w := &world{r: rand.New(rand.NewPCG(seed, 1)), windows: NewWindows(), downward: map[string]int{}}
	if seed%5 == 0 {
		w.windows.limit = 5 * keyOverhead
	}
	for range 60 {
		w.step(m)
		if wrong = w.wrong(); wrong != "" {
			return wrong, w.published
		}
	}
	for k := range simulatedKeys {
		if _, told := w.downward[fmt.Sprint(k)]; !told && w.published > 0 {
			return fmt.Sprintf("row %d was in no chunk", k), w.published
		}
	}
	return "", w.published
}

// TestWindows runs random histories: after each step, what the stream tells of a row is what the table
// has at that place.
func TestWindows(t *testing.T) {
	published := 0
	for seed := range uint64(10_000) {
		wrong, n := simulate(seed, marks{})
		if published += n; wrong != "" {
			t.Fatalf("seed %d: %s", seed, wrong)
		}
	}
	t.Logf("%d chunks were published", published)
}

// TestEachMarkIsNeeded breaks one rule after another: histories must then end wrong.
func TestEachMarkIsNeeded(t *testing.T) {
	for name, m := range map[string]marks{"first mark": {blind: true}, "second mark": {early: true}, "changed rows": {keeper: true}} {
		wrong := 0
		for seed := range uint64(5_000) {
			if text, _ := simulate(seed, m); text != "" {
				wrong++
			}
		}
		if wrong == 0 {
			t.Errorf("without the %s no history ends wrong", name)
		}
		t.Logf("without the %s %d of 5,000 histories end wrong", name, wrong)
	}
}

// TestWindowsForget: what no open window needs takes no room.
func TestWindowsForget(t *testing.T) {
	w := NewWindows()
	first := w.Open("t")
	for i := range 1000 {
		w.Changed("t", []byte(fmt.Sprint(i)))
	}
	second := w.Open("t")
	w.Changed("t", []byte("7"))
	w.Changed("other", []byte("7"))
	if !first.Changed([]byte("999")) || second.Changed([]byte("999")) || !second.Changed([]byte("7")) {
		t.Error("a window takes a change for one of another")
	}
	w.Close(first)
	if n := len(w.tables["t"].last); n != 1 || w.bytes != 1+keyOverhead {
		t.Errorf("%d keys of %d bytes are kept for a window in which one changed", n, w.bytes)
	}
	w.Close(second)
	if w.bytes != 0 || w.Watches("t") {
		t.Errorf("%d bytes are kept for no window", w.bytes)
	}
}

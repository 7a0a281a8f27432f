package apply

import (
	"testing"
	"time"
)

func TestWays(t *testing.T) {
	var w ways
	at := func(millis int64) int64 { return 1_700_000_000_000_000 + millis*1000 }
	w.observe(time.UnixMicro(at(100)), way{committed: at(0), published: at(5), taken: at(25)})
	w.observe(time.UnixMicro(at(100)), way{committed: at(0)}) // ordering key
	want := Parts{Part{5, 5, 5}, Part{20, 20, 20}, Part{75, 75, 75}}
	if got := w.show(); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestDelay(t *testing.T) {
	var d delay
	now := time.UnixMicro(1_700_000_000_000_000)
	if _, _, any := d.show(now); any {
		t.Error("there is a delay before there was a canary")
	}
	d.observe(now, []int64{now.Add(-time.Hour).UnixMicro(), now.Add(-time.Second).UnixMicro()})
	if took, ago, any := d.show(now.Add(time.Minute)); took != time.Second || ago != time.Minute+time.Second || !any {
		t.Errorf("the last canary took %v and is %v ago", took, ago)
	}
	d.observe(now, []int64{now.Add(time.Second).UnixMicro()}) // the source's clock is ahead
	if took, _, _ := d.show(now); took != 0 {
		t.Errorf("it took %v", took)
	}
}

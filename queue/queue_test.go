package queue

import (
	"context"
	"errors"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestOrderAndBound(t *testing.T) {
	const n, size, limit = 10_000, 100, 1000
	q := New[int](limit)
	failed := make(chan error, 1)
	go func() {
		for i := range n {
			if err := q.Put(context.Background(), i, size); err != nil {
				failed <- err
			}
		}
		failed <- nil
	}()
	next, spare := 0, []int(nil)
	for next < n {
		<-q.Filled()
		if b := q.Bytes(); b > limit {
			t.Fatalf("queue holds %d bytes, its limit is %d", b, limit)
		}
		items := q.Take(spare)
		if len(items) > limit/size {
			t.Fatalf("took %d items of %d bytes from a queue of %d", len(items), size, limit)
		}
		for _, item := range items {
			if item != next {
				t.Fatalf("got %d, want %d", item, next)
			}
			next++
		}
		spare = items
	}
	if err := <-failed; err != nil {
		t.Fatal(err)
	}
}

func TestItemLargerThanTheQueuePasses(t *testing.T) {
	q := New[string](10)
	if err := q.Put(context.Background(), "large", 1000); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	stopped := errors.New("stopped")
	done := make(chan error, 1)
	go func() { done <- q.Put(ctx, "next", 1) }()
	cancel(stopped)
	if err := <-done; !errors.Is(err, stopped) {
		t.Fatalf("Put into a full queue ended with %v", err)
	}
	if got := q.Take(nil); len(got) != 1 || got[0] != "large" {
		t.Fatalf("took %v", got)
	}
}

package supervise

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

func TestPermanent(t *testing.T) {
	cause := errors.New("no such table")
	if Permanent(nil) != nil || IsPermanent(nil) || IsPermanent(cause) {
		t.Error("what nobody marked is permanent")
	}
	wrapped := fmt.Errorf("starting: %w", Permanent(cause))
	if !IsPermanent(wrapped) || !errors.Is(wrapped, cause) || wrapped.Error() != "starting: no such table" {
		t.Errorf("the mark, the cause or the text is lost: %v", wrapped)
	}
	if Permanent(wrapped) != wrapped {
		t.Error("marked twice")
	}
}

// What is transient is tried again until it goes through; each failure is
// shown, and counted until a session streams.
func TestRunTriesAgain(t *testing.T) {
	defer goleak.VerifyNone(t)
	s := New(quiet())
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	calls := 0
	var seen []Status
	err := s.Run(ctx, func(context.Context) error {
		seen = append(seen, s.Status())
		calls++
		switch calls {
		case 1, 2:
			return fmt.Errorf("kafka is away, try %d", calls)
		case 3:
			s.Enter(Streaming, nil)
			return errors.New("lost")
		default:
			cancel()
			return ctx.Err()
		}
	})
	if err != nil || calls != 4 {
		t.Fatalf("Run gave %v after %d sessions", err, calls)
	}
	var got []string
	for _, st := range seen {
		got = append(got, fmt.Sprint(st.State, " ", st.Tries, " ", st.Error))
	}
	want := []string{"starting 0 ", "retrying 1 kafka is away, try 1", "retrying 2 kafka is away, try 2", "retrying 1 lost"}
	if !slices.Equal(got, want) {
		t.Errorf("states %q, want %q", got, want)
	}
}

// What is permanent stops at once, and stays to be seen.
func TestRunStops(t *testing.T) {
	s := New(quiet())
	cause := errors.New("a gap")
	calls := 0
	err := s.Run(t.Context(), func(context.Context) error {
		calls++
		s.Enter(Streaming, nil)
		return fmt.Errorf("reading: %w", Permanent(cause))
	})
	if !errors.Is(err, cause) || calls != 1 {
		t.Errorf("Run gave %v after %d sessions", err, calls)
	}
	if st := s.Status(); st.State != Stopped || st.Error != "reading: a gap" {
		t.Errorf("the state is %s, %q", st.State, st.Error)
	}
}

// A session that ends without an error hasn't done its work: it is run again.
func TestRunWithoutAReason(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	calls := 0
	s := New(quiet())
	if err := s.Run(ctx, func(context.Context) error {
		if calls++; calls == 2 {
			if s.Status().Error == "" {
				t.Error("nothing tells why it was tried again")
			}
			cancel()
		}
		return nil
	}); err != nil || calls != 2 {
		t.Errorf("Run gave %v after %d sessions", err, calls)
	}
}

// The end of the process ends the wait between two sessions.
func TestRunEndsWhileWaiting(t *testing.T) {
	defer goleak.VerifyNone(t)
	ctx, cancel := context.WithCancel(t.Context())
	s := New(quiet())
	done := make(chan error, 1)
	failed := make(chan struct{}, 100)
	go func() {
		done <- s.Run(ctx, func(context.Context) error { failed <- struct{}{}; return errors.New("away") })
	}()
	for range 3 {
		<-failed
	}
	cancel()
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(5 * time.Second):
		t.Fatal("Run went on")
	}
	if len(failed) > 0 {
		t.Error("another session was begun after the end")
	}
}

// What fails because the process ends is no failure.
func TestRunEndsWithinASession(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	s := New(quiet())
	err := s.Run(ctx, func(context.Context) error {
		cancel()
		return Permanent(errors.New("cut off"))
	})
	if st := s.Status(); err != nil || st.State == Stopped || st.Error != "" {
		t.Errorf("Run gave %v, the state is %+v", err, st)
	}
}

// Since tells when the state was entered, not when it was last confirmed.
func TestSince(t *testing.T) {
	s := New(quiet())
	s.Enter(Streaming, nil)
	since := s.Status().Since
	s.Enter(Streaming, nil)
	if !s.Status().Since.Equal(since) {
		t.Error("since moved within a state")
	}
	s.Enter(Checking, errors.New("standing by"))
	if st := s.Status(); st.State != Checking || st.Error != "standing by" || st.Since.Before(since) {
		t.Errorf("%+v", st)
	}
}

// What has stopped goes on when it is resumed, and only then; what hasn't can't be.
func TestResume(t *testing.T) {
	defer goleak.VerifyNone(t)
	ctx, cancel := context.WithCancel(t.Context())
	s := New(quiet())
	if s.Resume() {
		t.Error("one that hasn't stopped was resumed")
	}
	done, began := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		s.Keep(ctx, func(ctx context.Context) error {
			began <- struct{}{}
			return Permanent(errors.New("a gap"))
		})
	}()
	for range 3 {
		<-began
		for s.Status().State != Stopped {
			time.Sleep(time.Millisecond)
		}
		select {
		case <-began:
			t.Fatal("it went on by itself")
		default:
		}
		if !s.Resume() || s.Resume() {
			t.Error("one that has stopped is resumed once")
		}
	}
	<-began
	cancel()
	<-done
}

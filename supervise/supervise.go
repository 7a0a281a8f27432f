// Package supervise keeps a service's sessions running: what is transient is
// tried again with back-off and shown as retrying, what is permanent stops the
// service and stays visible with its cause. Nothing is ever skipped to go on.
package supervise

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"
)

// State is where a service is in its life.
type State string

// The states of a service.
const (
	Starting  State = "starting"
	Checking  State = "checking"
	Streaming State = "streaming"
	Retrying  State = "retrying"
	Stopped   State = "stopped"
)

// Permanent marks err as one that trying again can't mend.
func Permanent(err error) error {
	if err == nil || IsPermanent(err) {
		return err
	}
	return &permanent{err}
}

// IsPermanent reports whether err was marked by Permanent, or says so itself by
// a method of that name.
func IsPermanent(err error) bool {
	var p interface{ Permanent() bool }
	return errors.As(err, &p) && p.Permanent()
}

type permanent struct{ err error }

func (p *permanent) Error() string { return p.err.Error() }
func (p *permanent) Unwrap() error { return p.err }

// Permanent makes it one of the errors that IsPermanent finds.
func (p *permanent) Permanent() bool { return true }

// The back-off between sessions: it doubles from first to last, with jitter,
// and starts anew after a session that had been streaming for a while.
const (
	firstDelay = 100 * time.Millisecond
	lastDelay  = 10 * time.Second
	aWhile     = 5 * time.Second
)

// Service is one thing that should be running. Its methods may be called from
// any goroutine.
type Service struct {
	log *slog.Logger

	resumed chan struct{} // receives when an operator wants a stopped service to go on

	mu    sync.Mutex
	state State
	since time.Time
	cause error
	tries int
}

// New makes a service in state starting.
func New(log *slog.Logger) *Service {
	return &Service{log: log, resumed: make(chan struct{}, 1), state: Starting, since: time.Now()}
}

// Status is what a service says of itself.
type Status struct {
	State State     `json:"state"`
	Since time.Time `json:"since"`
	// Error is the reason of retrying or stopped, with its mend.
	Error string `json:"error,omitempty"`
	// Tries counts the failed sessions since the last one that streamed.
	Tries int `json:"tries,omitempty"`
}

// Status returns the present state and its reason.
func (s *Service) Status() Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := Status{State: s.state, Since: s.since, Tries: s.tries}
	if s.cause != nil {
		st.Error = s.cause.Error()
	}
	return st
}

// Enter moves to a state that a session reaches by itself: Checking, with the
// reason why it waits, or Streaming.
func (s *Service) Enter(state State, reason error) {
	s.mu.Lock()
	changed := s.state != state
	s.set(state, reason)
	if state == Streaming {
		s.tries = 0
	}
	s.mu.Unlock()
	switch {
	case changed && reason != nil:
		s.log.Info("state changed", "state", state, "reason", reason)
	case changed:
		s.log.Info("state changed", "state", state)
	}
}

func (s *Service) set(state State, cause error) {
	if s.state != state {
		s.since = time.Now()
	}
	s.state, s.cause = state, cause
}

// Run runs session again and again until ctx ends, which gives nil, or the
// session fails for good, which gives that error. After the latter the state
// stays Stopped.
func (s *Service) Run(ctx context.Context, session func(context.Context) error) error {
	delay := firstDelay
	for {
		err := session(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err == nil:
			err = errors.New("the session ended without a reason")
		case IsPermanent(err):
			s.fail(Stopped, err)
			s.log.Error("stopped", "error", err)
			return err
		}
		if s.fail(Retrying, err) {
			delay = firstDelay
		}
		s.log.Warn("retrying", "error", err, "after", delay)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(delay/2 + rand.N(delay/2)):
		}
		delay = min(2*delay, lastDelay)
	}
}

// Keep is Run, again each time that Resume asks for it, until ctx ends.
func (s *Service) Keep(ctx context.Context, session func(context.Context) error) {
	for s.Run(ctx, session) != nil {
		select {
		case <-ctx.Done():
			return
		case <-s.resumed:
		}
	}
}

// Resume has a service that is stopped go on, and reports whether it was.
func (s *Service) Resume() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state != Stopped {
		return false
	}
	s.set(Starting, nil)
	s.tries = 0
	s.resumed <- struct{}{} // has room: nobody else may before it has stopped again
	s.log.Info("resumed")
	return true
}

// fail records the end of a session and reports whether it had been streaming
// for a while.
func (s *Service) fail(state State, err error) (streamed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	streamed = s.state == Streaming && time.Since(s.since) >= aWhile
	s.tries++
	s.set(state, err)
	return streamed
}

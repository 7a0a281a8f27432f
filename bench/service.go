package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"duplex/region"
	"duplex/supervise"
)

// patience is how long one backlog may take.
const patience = 10 * time.Minute

// service is a running duplex process.
type service struct {
	site   *site
	listen string // address of its pages
	cmd    *exec.Cmd
	log    string
	done   chan struct{} // closed when it has ended
	err    error         // how, once done is closed
}

// launch starts duplex <command> for a site. It must be ended by stop.
func (r *rig) launch(s *site, command string) (*service, error) {
	p := &service{site: s, done: make(chan struct{}), log: filepath.Join(r.dir, s.name+"-"+command+".log")}
	var err error
	if p.listen, err = freeAddress(); err != nil {
		return nil, err
	}
	config, err := r.writeConfig(s, command, p.listen)
	if err != nil {
		return nil, err
	}
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("starting duplex %s: %w", command, err)
	}
	defer log.Close()
	p.cmd = exec.Command(r.program, command, "-c", config, "--task", r.taskFile)
	p.cmd.Stdout, p.cmd.Stderr = log, log
	// A terminal's Ctrl-C is for the benchmark, which then ends its processes.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting duplex %s: %w", command, err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

// ready waits until all services of the process stream. Those of a region wait
// for what the other region's publish.
func (p *service) ready(ctx context.Context) error { return p.await(ctx, time.Minute, streaming) }

// stop ends the process in order.
func (p *service) stop() error {
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may have ended
	select {
	case <-p.done:
	case <-time.After(30 * time.Second):
		_ = p.cmd.Process.Kill()
		<-p.done
	}
	if p.err != nil {
		return fmt.Errorf("running duplex in %s: %w; the end of its log:\n%s", p.site.name, p.err, p.logTail())
	}
	return nil
}

func (p *service) logTail() []byte {
	text, _ := os.ReadFile(p.log)
	return text[max(0, len(text)-4000):]
}

// freeze holds the process still until it is thawed.
func (p *service) freeze() error { return p.cmd.Process.Signal(syscall.SIGSTOP) }
func (p *service) thaw() error   { return p.cmd.Process.Signal(syscall.SIGCONT) }

// status asks the process how it is.
func (p *service) status(ctx context.Context) (s region.Status, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.listen+"/status", nil)
	if err != nil {
		return s, err
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return s, fmt.Errorf("asking %s for its status: %w", p.site.name, err)
	}
	defer answer.Body.Close()
	if err := json.NewDecoder(answer.Body).Decode(&s); err != nil {
		return s, fmt.Errorf("reading the status of %s: %w", p.site.name, err)
	}
	return s, nil
}

// await polls the status until ok gives nil. It fails at once if the process
// ends or a service stops for good.
func (p *service) await(ctx context.Context, limit time.Duration, ok func(*region.Status) error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("waiting for %s: not done after %s", p.site.name, limit))
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	var last error
	for {
		s, err := p.status(ctx)
		if err == nil {
			if err := stopped(&s); err != nil {
				return err
			}
			err = ok(&s)
		}
		if err == nil {
			return nil
		}
		if ctx.Err() == nil {
			last = err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %w; the end of its log:\n%s", context.Cause(ctx), last, p.logTail())
		case <-p.done:
			return fmt.Errorf("duplex in %s ended", p.site.name)
		case <-tick.C:
		}
	}
}

// once runs a duplex process for as long as do takes.
func (r *rig) once(ctx context.Context, s *site, command string, do func(*service) error) error {
	p, err := r.launch(s, command)
	if err != nil {
		return err
	}
	if err = p.ready(ctx); err == nil {
		err = do(p)
	}
	return errors.Join(err, p.stop())
}

// work waits until the process has done so many rows in all and returns what
// it did from now on.
func (p *service) work(ctx context.Context, rows int64, done func(*region.Status) int64) (pace, error) {
	s, err := p.status(ctx)
	if err != nil {
		return pace{}, err
	}
	began, before := time.Now(), done(&s)
	if before >= rows {
		return pace{}, fmt.Errorf("measuring %s: all %d rows were done before the measurement began", p.site.name, rows)
	}
	err = p.await(ctx, patience, func(s *region.Status) error {
		if n := done(s); n < rows {
			return fmt.Errorf("%d of %d rows are done", n, rows)
		}
		return nil
	})
	return pace{rows - before, time.Since(began)}, err
}

func capturedRows(s *region.Status) int64 { return s.Capture.Rows }
func appliedRows(s *region.Status) int64  { return s.Apply[0].Rows }

// services lists the services of a process by name.
func services(s *region.Status) map[string]supervise.Status {
	all := map[string]supervise.Status{}
	if s.Capture != nil {
		all["capture"] = s.Capture.Status
	}
	for i := range s.Apply {
		all["apply"] = s.Apply[i].Status
	}
	return all
}

func streaming(s *region.Status) error {
	for name, service := range services(s) {
		if service.State != supervise.Streaming {
			return fmt.Errorf("%s is %s: %s", name, service.State, service.Error)
		}
	}
	return nil
}

func stopped(s *region.Status) error {
	for name, service := range services(s) {
		if service.State == supervise.Stopped {
			return fmt.Errorf("%s in %s has stopped: %s", name, s.Region, service.Error)
		}
	}
	return nil
}

// freeAddress returns an address that nobody listens on.
func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("finding a free port: %w", err)
	}
	return l.Addr().String(), l.Close()
}

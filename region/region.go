// Package region runs the services of one region in one process: the capture
// of its database, and for each task a stream from every other region.
package region

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"

	"duplex/apply"
	"duplex/capture"
	"duplex/change"
	"duplex/config"
	"duplex/console"
	"duplex/control"
	"duplex/embedded"
	"duplex/supervise"
	"duplex/tasks"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Services says which services of the region run in this process.
type Services uint8

// The services; a process runs one or both.
const (
	Capture Services = 1 << iota
	Apply
)

// Config says what to run.
type Config struct {
	Process *config.Process
	// Tasks is nil where Kafka tells what runs.
	Tasks     []*tasks.Spec
	Services  Services
	AcceptDDL []string
	Version   string
	Log       *slog.Logger
	// Check checks a task in the region before its streams start; nil: nothing is checked. It is for tasks that Kafka tells of.
	Check func(context.Context, *config.Process, *tasks.Spec) error
	// Banner is called once with what a user must be told, if anything.
	Banner func(string)
}

// Region is one region's services.
type Region struct {
	cfg      Config
	kafka    *embedded.Kafka
	schemas  *embedded.Registry
	capture  *capture.Capture
	follower *follower // nil where task files say what runs

	mu      sync.Mutex
	streams []*apply.Stream
	console *console.Server
}

// Start opens what the process itself serves, the embedded Kafka and registry
// if the process file asks for them and the console, and makes the services.
// Run runs them; Close must be called after it.
func Start(ctx context.Context, cfg Config) (*Region, error) {
	process := *cfg.Process // the embedded services put their addresses in
	cfg.Process = &process
	r := &Region{cfg: cfg}
	if err := r.start(ctx); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}

func (r *Region) start(ctx context.Context) error {
	if err := r.startEmbedded(ctx); err != nil {
		return err
	}
	if r.cfg.Services&Capture != 0 {
		r.capture = capture.New(capture.Config{
			Process: r.cfg.Process, Tables: r.fixed(), AcceptDDL: r.cfg.AcceptDDL, Version: r.cfg.Version, Log: r.cfg.Log,
		})
	}
	if r.cfg.Tasks == nil {
		r.follower = newFollower(r)
	}
	if r.cfg.Services&Apply != 0 {
		for _, spec := range r.cfg.Tasks {
			r.streams = append(r.streams, apply.NewStreams(apply.Config{Process: r.cfg.Process, Spec: spec, Log: r.cfg.Log})...)
		}
	}
	metrics := prometheus.NewRegistry()
	metrics.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), r)
	var err error
	r.console, err = console.Start(r.cfg.Process.Listen, console.Pages{
		Status: func() any { return r.Status() }, Ready: r.Ready, Resume: r.Resume,
		Metrics: promhttp.HandlerFor(metrics, promhttp.HandlerOpts{}),
	})
	return err
}

// startEmbedded starts the Kafka and the registry of a trial.
func (r *Region) startEmbedded(ctx context.Context) error {
	p := r.cfg.Process
	if p.Kafka.IsEmbedded() {
		kafka, err := embedded.StartKafka(ctx, embedded.Options{
			Dir: p.Kafka.Embedded.Dir, Listen: p.Kafka.Embedded.Listen, Retention: p.Kafka.Retention, Log: r.cfg.Log,
		})
		if err != nil {
			return err
		}
		r.kafka = kafka
		p.Kafka.Brokers = []string{kafka.Addr()}
		r.cfg.Banner(embedded.Banner)
	}
	if p.Registry.IsEmbedded() {
		registry, err := embedded.StartRegistry(ctx, embedded.Options{Dir: p.Registry.Embedded.Dir, Listen: p.Registry.Embedded.Listen, Log: r.cfg.Log})
		if err != nil {
			return err
		}
		r.schemas = registry
		p.Registry.URL = registry.URL()
	}
	return nil
}

// fixed is what is captured where task files say what runs.
func (r *Region) fixed() *capture.Selection {
	if r.cfg.Tasks == nil {
		return nil
	}
	s := &capture.Selection{Copies: r.copies(), Fixed: true}
	for _, spec := range r.cfg.Tasks {
		s.Runs = append(s.Runs, capture.Run{Name: spec.Task, Tables: spec.Tables})
	}
	return s
}

// copies are the initial copies that begin in the region.
func (r *Region) copies() (all []capture.Copy) {
	for _, s := range r.cfg.Tasks {
		if c := &s.InitialCopy; c.Begins(r.cfg.Process.Region) {
			all = append(all, capture.Copy{Task: s.Task, Match: s.Tables.Match, Threads: c.Threads, Rows: c.BatchRows, PerSecond: c.RowsPerSecond})
		}
	}
	return all
}

// present are the streams that there are now.
func (r *Region) present() []*apply.Stream {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.streams
}

func (r *Region) setStreams(streams []*apply.Stream) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.streams = streams
}

// Process returns the process file's settings, with the addresses of the
// embedded services put in.
func (r *Region) Process() *config.Process { return r.cfg.Process }

// Run runs the services until ctx ends, which drains them and gives nil. A
// service that stops is shown by the status until Resume; the others go on.
func (r *Region) Run(ctx context.Context) error {
	r.cfg.Log.Info("running", "region", r.cfg.Process.Region, "status", "http://"+r.console.Addr()+"/status")
	var services sync.WaitGroup
	if r.capture != nil {
		services.Go(func() { r.capture.Run(ctx) })
	}
	if r.follower != nil {
		services.Go(func() { r.follower.run(ctx) })
	} else {
		for _, stream := range r.streams {
			services.Go(func() { stream.Run(ctx) })
		}
	}
	if r.cfg.Services&Apply != 0 {
		services.Go(func() { apply.NewBeat(r.cfg.Process, r.cfg.Log).Run(ctx) })
	}
	served := make(chan error, 1)
	go func() { served <- r.console.Serve() }()
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	services.Wait()
	err := r.console.Close()
	return errors.Join(err, <-served)
}

// Resume has the services of a task that are stopped go on, or, without a task,
// all that are, and returns their names. pass are records, topic:partition:offset,
// that another program wrote and that the streams are to pass over, skip transactions,
// source:first-last/number, that they are to leave out.
func (r *Region) Resume(task string, pass, skip []string) (resumed []string, err error) {
	var places []apply.Place
	for _, text := range pass {
		p, err := apply.ParsePlace(text)
		if err != nil {
			return nil, err
		}
		places = append(places, p)
	}
	var skips []apply.Skip
	for _, text := range skip {
		k, err := apply.ParseSkip(text)
		if err != nil {
			return nil, err
		}
		if task == "" {
			return nil, fmt.Errorf("transactions %s are to be left out, and no task is named; mend: name it by --task", text)
		}
		skips = append(skips, k)
	}
	if task != "" && !slices.ContainsFunc(r.present(), func(s *apply.Stream) bool { return isOf(s, task) }) {
		return nil, fmt.Errorf("no task of this process is named %s; mend: duplex status shows their names", task)
	}
	if task == "" && r.capture != nil && r.capture.Resume() {
		resumed = append(resumed, fmt.Sprintf("capture %s", r.cfg.Process.Region))
	}
	for _, stream := range r.present() {
		s := stream.Status()
		if (task == "" || isOf(stream, task)) && stream.Resume(places, skips) {
			resumed = append(resumed, fmt.Sprintf("apply %s %s→%s", s.Task, s.Source, s.Target))
		}
	}
	return resumed, nil
}

// isOf reports whether a stream is of a task, whichever of its lives.
func isOf(s *apply.Stream, task string) bool {
	name := s.Status().Task
	return name == task || strings.HasPrefix(name, task+"~")
}

// Close ends what Start opened.
func (r *Region) Close() error {
	var errs []error
	if r.schemas != nil {
		errs = append(errs, r.schemas.Close())
	}
	if r.kafka != nil {
		errs = append(errs, r.kafka.Close())
	}
	return errors.Join(errs...)
}

// Status is what /status shows.
type Status struct {
	Region  change.Region   `json:"region"`
	Version string          `json:"version"`
	Capture *capture.Status `json:"capture,omitempty"`
	Apply   []apply.Status  `json:"apply,omitempty"`
	// Tasks is how tasks on Kafka are, in all regions, as their services reported.
	Tasks []control.Shown `json:"tasks,omitempty"`
}

// Status returns the status of all services.
func (r *Region) Status() Status {
	s := Status{Region: r.cfg.Process.Region, Version: r.cfg.Version}
	if r.capture != nil {
		c := r.capture.Status()
		s.Capture = &c
	}
	for _, stream := range r.present() {
		s.Apply = append(s.Apply, stream.Status())
	}
	if r.follower != nil {
		s.Tasks = r.follower.shownTasks()
	}
	return s
}

// Ready returns nil if every service streams.
func (r *Region) Ready() error {
	s := r.Status()
	var errs []error
	if c := s.Capture; c != nil && c.State != supervise.Streaming {
		errs = append(errs, fmt.Errorf("capture of %s is %s: %s", c.Region, c.State, c.Error))
	}
	for i := range s.Apply {
		if a := &s.Apply[i]; a.State != supervise.Streaming {
			errs = append(errs, fmt.Errorf("apply of task %s from %s to %s is %s: %s", a.Task, a.Source, a.Target, a.State, a.Error))
		}
	}
	for i := range s.Tasks {
		t := &s.Tasks[i]
		for _, in := range t.In {
			if in.Region == s.Region && t.Wanted == tasks.Running && in.State != control.Streaming && in.State != control.Copying {
				errs = append(errs, fmt.Errorf("task %s is %s: %s", t.Task, in.State, in.Reason))
			}
		}
	}
	return errors.Join(errs...)
}

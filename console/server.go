// Package console serves what a process says of itself over HTTP: health,
// readiness, metrics for Prometheus, and status as JSON; and takes the one command
// that there is, resume. None of it holds a secret or a value of a row.
package console

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"
)

// Pages are what the server shows.
type Pages struct {
	// Status is written as JSON at /status.
	Status func() any
	// Ready returns nil, or the reason why the process isn't ready, at /readyz.
	Ready func() error
	// Metrics serves /metrics.
	Metrics http.Handler
	// Resume has the stopped services of a task, or all if it is empty, go on past
	// the records given, leaving out the transactions given, and returns their names.
	// It is asked by POST /resume.
	Resume func(task string, pass, skip []string) (resumed []string, err error)
}

// Resume is what is sent to /resume.
type Resume struct {
	Task string   `json:"task,omitempty"`
	Pass []string `json:"pass,omitempty"`
	Skip []string `json:"skip,omitempty"`
}

// Server is a running console.
type Server struct {
	http     *http.Server
	listener net.Listener
}

// Start begins to serve at the address. The error names it.
func Start(listen string, pages Pages) (*Server, error) {
	listener, err := net.Listen("tcp", listen)
	if err != nil {
		return nil, fmt.Errorf("serving status at %s: %w; mend: set listen to a free address", listen, err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if err := pages.Ready(); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ready")
	})
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		encoder := json.NewEncoder(w)
		encoder.SetIndent("", "  ")
		_ = encoder.Encode(pages.Status()) // the reader has gone away
	})
	mux.HandleFunc("POST /resume", func(w http.ResponseWriter, req *http.Request) {
		resumed, code, err := resume(pages, w, req)
		if err != nil {
			http.Error(w, err.Error(), code)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(resumed) // the reader has gone away
	})
	mux.Handle("GET /metrics", pages.Metrics)
	s := &Server{
		listener: listener,
		http: &http.Server{
			Handler: mux, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second,
			WriteTimeout: 30 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10,
		},
	}
	return s, nil
}

// resume answers POST /resume. A page of another site can't ask for it from within
// a browser: that may send no JSON without asking first.
func resume(pages Pages, w http.ResponseWriter, req *http.Request) (resumed []string, code int, err error) {
	if kind := req.Header.Get("Content-Type"); kind != "application/json" {
		return nil, http.StatusUnsupportedMediaType, fmt.Errorf("the Content-Type is %q and must be application/json", kind)
	}
	var asked Resume
	decoder := json.NewDecoder(http.MaxBytesReader(w, req.Body, 1<<20))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&asked); err != nil {
		return nil, http.StatusBadRequest, fmt.Errorf("reading what to resume: %w", err)
	}
	if resumed, err = pages.Resume(asked.Task, asked.Pass, asked.Skip); err != nil {
		return nil, http.StatusBadRequest, err
	}
	return resumed, http.StatusOK, nil
}

// Addr returns the address that the server listens on.
func (s *Server) Addr() string { return s.listener.Addr().String() }

// Serve answers until Close.
func (s *Server) Serve() error {
	if err := s.http.Serve(s.listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serving status: %w", err)
	}
	return nil
}

// Close lets running answers end and stops the server.
func (s *Server) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	return s.http.Shutdown(ctx)
}

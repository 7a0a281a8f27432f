package embedded

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/sr/srfake"
)

// Registry is a running Confluent-compatible schema registry.
//
// It keeps a journal of all requests that changed it, and does them again at
// start. A request is in the journal, on disk, before its answer goes out and
// before anybody can read what it did: an id that anyone has seen stays.
type Registry struct {
	listener net.Listener
	server   *http.Server
	served   chan struct{}
	lock     *dirLock
	log      *slog.Logger

	// mu lets one request change the registry at a time, so that the journal
	// has them in their true order, and none be read meanwhile.
	mu      sync.RWMutex
	fake    http.Handler
	journal *os.File
	size    int64 // of the journal, up to its last whole entry
	// known holds the registrations since the last other change: doing one of
	// them again changes nothing.
	known map[string]bool
	// failed is set once a change couldn't be kept: what is in memory then
	// isn't what a restart would bring back, so nothing is answered any more.
	failed bool
}

// entry is one line of the journal.
type entry struct {
	Method string          `json:"method"`
	URI    string          `json:"uri"`
	Body   json.RawMessage `json:"body,omitempty"`
	Status int             `json:"status"`
	Answer json.RawMessage `json:"answer,omitempty"`
}

func (e entry) key() string { return e.Method + " " + e.URI + "\n" + string(e.Body) }

// StartRegistry starts a registry with what its directory holds. The context
// bounds the start only; Close ends the registry.
func StartRegistry(ctx context.Context, opts Options) (*Registry, error) {
	lock, err := lockDir(opts.Dir)
	if err != nil {
		return nil, err
	}
	r := &Registry{lock: lock, log: opts.logger(), served: make(chan struct{}), known: map[string]bool{}, fake: srfake.NewRegistry().Handler()}
	if err := r.start(ctx, opts); err != nil {
		if r.journal != nil {
			err = errors.Join(err, r.journal.Close())
		}
		return nil, errors.Join(fmt.Errorf("starting embedded registry: %w", err), lock.unlock())
	}
	return r, nil
}

func (r *Registry) start(ctx context.Context, opts Options) error {
	if err := r.replay(filepath.Join(opts.Dir, "journal.jsonl")); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	listener, err := listenLoopback(opts.Listen)
	if err != nil {
		return err
	}
	r.listener = listener
	r.server = &http.Server{Handler: r, ReadHeaderTimeout: 10 * time.Second}
	go func() {
		defer close(r.served)
		if err := r.server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			r.log.Error("embedded registry stopped serving", "error", err)
		}
	}()
	return nil
}

// URL returns the address for clients.
func (r *Registry) URL() string { return "http://" + r.listener.Addr().String() }

// Close ends the registry.
func (r *Registry) Close() error {
	err := r.server.Close()
	<-r.served
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := errors.Join(err, r.journal.Close(), r.lock.unlock()); err != nil {
		return fmt.Errorf("closing embedded registry: %w", err)
	}
	return nil
}

// ServeHTTP answers a request of a client.
func (r *Registry) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	if !changes(req) {
		r.mu.RLock()
		defer r.mu.RUnlock()
		if r.failed {
			refuse(w)
			return
		}
		r.fake.ServeHTTP(w, req)
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, req.Body, 16<<20))
	if err != nil {
		http.Error(w, "reading request: "+err.Error(), http.StatusBadRequest)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.failed {
		refuse(w)
		return
	}
	answer := r.do(req.Method, req.URL.RequestURI(), body)
	e := entry{Method: req.Method, URI: req.URL.RequestURI(), Body: compact(body), Status: answer.Code, Answer: compact(answer.Body.Bytes())}
	if answer.Code < 300 && !r.known[e.key()] {
		if err := r.write(e); err != nil {
			r.log.Error("embedded registry can't keep a change and answers nothing more until it is restarted", "error", err)
			r.failed = true
			refuse(w)
			return
		}
	}
	for name, values := range answer.Header() {
		w.Header()[name] = values
	}
	w.WriteHeader(answer.Code)
	if _, err := w.Write(answer.Body.Bytes()); err != nil {
		r.log.Debug("embedded registry's client went away", "error", err)
	}
}

func refuse(w http.ResponseWriter) {
	http.Error(w, `{"error_code":50001,"message":"the embedded registry couldn't write its journal: make room on its disk and restart it"}`, http.StatusInternalServerError)
}

// changes reports whether a request may change the registry. To ask whether a
// schema is registered, or would be compatible, is a POST too.
func changes(req *http.Request) bool {
	switch req.Method {
	case http.MethodPut, http.MethodDelete:
		return true
	case http.MethodPost:
		return strings.HasSuffix(req.URL.Path, "/versions") && !strings.Contains(req.URL.Path, "/compatibility/")
	default:
		return false
	}
}

func (r *Registry) do(method, uri string, body []byte) *httptest.ResponseRecorder {
	req := httptest.NewRequest(method, uri, bytes.NewReader(body))
	req.Header.Set("Content-Type", "application/vnd.schemaregistry.v1+json")
	answer := httptest.NewRecorder()
	r.fake.ServeHTTP(answer, req)
	return answer
}

// write puts an entry on disk. What is left of one that couldn't be written
// whole is cut off, lest the next one follow it on the same line.
func (r *Registry) write(e entry) error {
	line, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("encoding journal entry: %w", err)
	}
	line = append(line, '\n')
	_, err = r.journal.Write(line)
	if err == nil {
		err = r.journal.Sync()
	}
	if err != nil {
		return errors.Join(fmt.Errorf("writing journal: %w", err), r.journal.Truncate(r.size))
	}
	r.size += int64(len(line))
	r.remember(e)
	return nil
}

func (r *Registry) remember(e entry) {
	if e.Method != http.MethodPost {
		clear(r.known)
	}
	r.known[e.key()] = true
}

// replay does all requests of the journal again. An answer that differs from
// the one given then would mean that ids differ too: that is an error.
func (r *Registry) replay(path string) error {
	journal, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("opening journal: %w", err)
	}
	r.journal = journal
	data, err := io.ReadAll(journal)
	if err != nil {
		return fmt.Errorf("reading journal: %w", err)
	}
	whole := data[:bytes.LastIndexByte(data, '\n')+1]
	// A last line without an end was never answered, so nobody knows of it.
	if err := journal.Truncate(int64(len(whole))); err != nil {
		return fmt.Errorf("cutting unfinished journal entry: %w", err)
	}
	r.size = int64(len(whole))
	number := 0
	for line := range bytes.Lines(whole) {
		number++
		var e entry
		if err := json.Unmarshal(line, &e); err != nil {
			return fmt.Errorf("reading journal %s, line %d: %w: restore the file from a backup, or remove it with all topics", path, number, err)
		}
		answer := r.do(e.Method, e.URI, e.Body)
		if answer.Code != e.Status || !bytes.Equal(compact(answer.Body.Bytes()), e.Answer) {
			return fmt.Errorf("replaying journal %s, line %d: the answer is not the one given when it was written: use the version of duplex that wrote it", path, number)
		}
		r.remember(e)
	}
	return nil
}

// compact brings JSON into the form that encoding leaves it in.
func compact(data []byte) json.RawMessage {
	var b bytes.Buffer
	if len(data) == 0 || json.Compact(&b, data) != nil {
		return nil
	}
	return b.Bytes()
}

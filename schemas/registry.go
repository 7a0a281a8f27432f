package schemas

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/sr"

	"duplex/config"
)

// How a registry is called.
const (
	registryTimeout  = 10 * time.Second
	registryAttempts = 5 // in under 2 s; longer outages are the caller's to show and retry
	firstPause       = 100 * time.Millisecond
	longestPause     = time.Second
	// maxCached bounds the schemas kept; beyond it all are forgotten.
	maxCached = 4096
)

// Registry is a client of a Confluent-compatible schema registry. It keeps
// what it has registered and looked up: an id means one schema for ever.
type Registry struct {
	client *sr.Client
	url    string

	mu         sync.Mutex
	registered map[[2]string]int // subject and schema → id
	schemas    map[int]string
	// pinned holds the hash of every schema ever seen under an id. It outlives
	// the cache: an id that comes to mean another schema would let rows be
	// read as what they are not.
	pinned map[int][sha256.Size]byte
}

// NewRegistry returns a client of the registry that cfg names. It doesn't
// connect yet.
func NewRegistry(cfg config.Registry) (*Registry, error) {
	if cfg.IsEmbedded() {
		return nil, errors.New("opening registry: url is still \"embedded\": start the embedded registry and use its address")
	}
	tlsConfig, err := cfg.TLSConfig()
	if err != nil {
		return nil, err
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = tlsConfig
	opts := []sr.ClientOpt{
		sr.URLs(cfg.URL),
		sr.UserAgent("duplex"),
		sr.HTTPClient(&http.Client{Timeout: registryTimeout, Transport: limited{transport}}),
	}
	if cfg.User != "" {
		opts = append(opts, sr.BasicAuth(cfg.User, cfg.Password.Reveal()))
	}
	client, err := sr.NewClient(opts...)
	if err != nil {
		return nil, fmt.Errorf("opening registry: %w", err)
	}
	return &Registry{client: client, url: cfg.URL,
		registered: make(map[[2]string]int), schemas: make(map[int]string), pinned: make(map[int][sha256.Size]byte)}, nil
}

// Register registers a schema under a subject, `<topic>-key` or
// `<topic>-value`, and returns its id. A schema that is there already keeps
// its id. Whether a changed schema is compatible is the registry's to decide.
func (r *Registry) Register(ctx context.Context, subject, schema string) (int, error) {
	name := [2]string{subject, schema}
	r.mu.Lock()
	id, ok := r.registered[name]
	r.mu.Unlock()
	if ok {
		return id, nil
	}
	err := r.retry(ctx, func() (err error) {
		id, err = r.client.RegisterSchema(ctx, subject, sr.Schema{Schema: schema}, -1, -1)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("registering the schema of subject %s in registry %s: %w", subject, r.url, r.explain(err, subject))
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.registered) >= maxCached {
		clear(r.registered)
	}
	r.registered[name] = id
	return id, nil
}

// Schema returns the schema that is registered under an id.
func (r *Registry) Schema(ctx context.Context, id int) (string, error) {
	r.mu.Lock()
	text, ok := r.schemas[id]
	r.mu.Unlock()
	if ok {
		return text, nil
	}
	var found sr.Schema
	err := r.retry(ctx, func() (err error) {
		found, err = r.client.SchemaByID(ctx, id)
		return err
	})
	if err != nil {
		return "", fmt.Errorf("looking up schema %d in registry %s: %w", id, r.url, r.explain(err, ""))
	}
	if found.Type != sr.TypeAvro || len(found.References) > 0 {
		return "", fmt.Errorf("looking up schema %d in registry %s: it is of type %s with %d references: "+
			"only Avro without references is read; another program wrote to this topic", id, r.url, found.Type, len(found.References))
	}
	return found.Schema, r.keep(id, found.Schema)
}

// keep puts a schema into the cache, if it is the one that the id has always
// meant.
func (r *Registry) keep(id int, text string) error {
	hash := sha256.Sum256([]byte(text))
	r.mu.Lock()
	defer r.mu.Unlock()
	if was, ok := r.pinned[id]; ok && was != hash {
		return fmt.Errorf("registry %s gives another schema for id %d than before: it was reset or replaced, and records in Kafka "+
			"would be misread: bring its old data back", r.url, id)
	}
	r.pinned[id] = hash
	if len(r.schemas) >= maxCached {
		clear(r.schemas)
	}
	r.schemas[id] = text
	return nil
}

// retry calls f until it succeeds, fails for good, has failed too often, or
// ctx is done.
func (r *Registry) retry(ctx context.Context, f func() error) error {
	pause := firstPause
	for attempt := 1; ; attempt++ {
		err := f()
		if err == nil || attempt == registryAttempts || !transient(ctx, err) {
			return err
		}
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return errors.Join(err, ctx.Err())
		case <-timer.C:
		}
		pause = min(2*pause, longestPause)
	}
}

// transient reports whether the same call may succeed later.
func transient(ctx context.Context, err error) bool {
	var response *sr.ResponseError
	var certificate *tls.CertificateVerificationError
	switch {
	case ctx.Err() != nil || errors.Is(err, errTooLong) || errors.As(err, &certificate):
		return false
	case errors.As(err, &response):
		return response.StatusCode >= 500 || response.StatusCode == http.StatusTooManyRequests || response.StatusCode == http.StatusRequestTimeout
	}
	return true // no answer at all
}

// explain adds to an error what mends it.
func (r *Registry) explain(err error, subject string) error {
	var response *sr.ResponseError
	var certificate *tls.CertificateVerificationError
	if errors.As(err, &certificate) {
		return fmt.Errorf("%w: set registry.ca to the authority that signed its certificate", err)
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, errTooLong) {
		return err
	}
	if !errors.As(err, &response) {
		return fmt.Errorf("%w: no answer after %d attempts: check registry.url and that the registry runs", err, registryAttempts)
	}
	hint := "see the registry's log"
	switch response.StatusCode {
	case http.StatusUnauthorized, http.StatusForbidden:
		hint = "set registry.user and registry.password to an account that may do this"
	case http.StatusNotFound:
		hint = "registry.url must be that of the registry that the topic's writer uses, with its path, such as /apis/ccompat/v7"
	case http.StatusConflict:
		hint = fmt.Sprintf(`the table changed in a way that the subject's compatibility mode forbids: give the new column a NULL, or allow it: `+
			`PUT %s/config/%s {"compatibility":"NONE"}`, r.url, subject)
	case http.StatusUnprocessableEntity:
		hint = "the registry takes the schema for invalid"
	}
	return fmt.Errorf("the registry answered %d: %w: %s", response.StatusCode, err, hint)
}

// errTooLong tells that an answer is longer than any schema.
var errTooLong = errors.New("the registry's answer is longer than any schema that is read")

// limited bounds the answers of a registry: it is somebody else's program, and
// the client reads them whole.
type limited struct{ next http.RoundTripper }

func (l limited) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := l.next.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	resp.Body = &limitedBody{resp.Body, 2 * maxSchemaBytes}
	return resp, nil
}

type limitedBody struct {
	io.ReadCloser
	left int
}

func (b *limitedBody) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, errTooLong
	}
	n, err := b.ReadCloser.Read(p[:min(len(p), b.left)])
	b.left -= n
	return n, err
}

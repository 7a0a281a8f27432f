package schemas

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
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
	// maxPinned bounds the ids whose schema is remembered, at 36 bytes each.
	maxPinned = 1 << 20
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
	return newRegistry(cfg, registryTimeout)
}

func newRegistry(cfg config.Registry, timeout time.Duration) (*Registry, error) {
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
		sr.HTTPClient(&http.Client{Timeout: timeout, Transport: limited{transport}}),
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
		return 0, r.failed(fmt.Sprintf("registering the schema of subject %s", subject), err, subject)
	}
	if err := r.confirm(ctx, id, schema); err != nil {
		return 0, fmt.Errorf("registering the schema of subject %s: %w", subject, err)
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
	lookup := fmt.Sprintf("looking up schema %d", id)
	switch {
	case err != nil:
		return "", r.failed(lookup, err, "")
	case found.Type != sr.TypeAvro || len(found.References) > 0:
		return "", r.refuse(lookup, fmt.Sprintf("it is of type %s with %d references, and only Avro without references is read", found.Type, len(found.References)),
			"find the program that wrote to this topic and keep it out by an ACL")
	case found.Schema == "":
		return "", r.refuse(lookup, "the answer holds no schema", "registry.url must be the address of the registry's Confluent API, with its path, such as /apis/ccompat/v7")
	}
	return found.Schema, r.keep(id, found.Schema)
}

// confirm asks what a registry has under the id that it has given. Records
// carry only the id: one that means another schema would let every reader take
// rows for what they are not.
func (r *Registry) confirm(ctx context.Context, id int, schema string) error {
	if id <= 0 || id > math.MaxInt32 {
		return r.refuse("reading its answer", fmt.Sprintf("%d is no id of a schema", id), "registry.url must be the address of the registry's Confluent API, with its path, such as /apis/ccompat/v7")
	}
	text, err := r.Schema(ctx, id)
	if err != nil {
		return err
	}
	if sameSchema("this table", text, schema) != nil {
		return r.refuse(fmt.Sprintf("looking up schema %d", id), "it isn't the one that was registered under this id a moment ago",
			"the registry, or a proxy before it, mixes up its ids: mend that first, since readers would take rows for what they are not")
	}
	return nil
}

// keep puts a schema into the cache, if it is the one that the id has always
// meant.
func (r *Registry) keep(id int, text string) error {
	hash := sha256.Sum256([]byte(text))
	r.mu.Lock()
	defer r.mu.Unlock()
	if was, ok := r.pinned[id]; ok && was != hash {
		return r.refuse(fmt.Sprintf("looking up schema %d", id), "it is another schema than before: the registry was reset or replaced, and records in Kafka would be misread",
			"bring the registry's old data back")
	}
	if len(r.pinned) >= maxPinned {
		return r.refuse(fmt.Sprintf("looking up schema %d", id), fmt.Sprintf("it is the %dth: no topic of Duplex has so many", maxPinned+1),
			"find the program that floods the topic or the registry")
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
	var certificate *tls.CertificateVerificationError
	switch status := statusOf(err); {
	case ctx.Err() != nil || errors.Is(err, errTooLong) || errors.As(err, &certificate):
		return false
	case status != 0:
		return status >= 500 || status == http.StatusTooManyRequests || status == http.StatusRequestTimeout
	}
	return true // no answer at all, or one that can't be read
}

// statusOf returns the status of a registry that refuses, else 0.
func statusOf(err error) int {
	var response *sr.ResponseError
	if errors.As(err, &response) {
		return response.StatusCode
	}
	return 0
}

// RegistryError says that a registry didn't do what it was asked for.
type RegistryError struct {
	// URL is that of the registry, Doing what was asked, Mend what mends it.
	URL, Doing, Mend string
	err              error
	cause            error // of err, if that is only its text
	final            bool
}

// Error names the registry, the cause and the mend.
func (e *RegistryError) Error() string {
	text := fmt.Sprintf("%s in registry %s: %v", e.Doing, e.URL, e.err)
	if e.Mend != "" {
		text += "; mend: " + e.Mend
	}
	return text
}

func (e *RegistryError) Unwrap() error { return e.cause }

// Permanent reports whether asking again can't help.
func (e *RegistryError) Permanent() bool { return e.final }

// refuse says that an answer of the registry can't be used.
func (r *Registry) refuse(doing, reason, mend string) error {
	return &RegistryError{URL: r.url, Doing: doing, Mend: mend, err: errors.New(reason), final: true}
}

// failed says why a call failed and what mends it.
func (r *Registry) failed(doing string, err error, subject string) error {
	e := &RegistryError{URL: r.url, Doing: doing, err: err, cause: err}
	var certificate *tls.CertificateVerificationError
	var garbage *json.SyntaxError
	var wrong *json.UnmarshalTypeError
	status := statusOf(err)
	if status != 0 {
		e.err = fmt.Errorf("the registry answered %d: %.500s", status, err.Error()) // the answer may be long
		e.final = !transient(context.Background(), err)
	}
	switch {
	case errors.As(err, &certificate):
		e.final, e.Mend = true, "set registry.ca to the authority that signed its certificate"
	case errors.Is(err, errTooLong), errors.As(err, &garbage), errors.As(err, &wrong), errors.Is(err, io.ErrUnexpectedEOF):
		e.final, e.Mend = true, "see what answers at registry.url: it must be a registry's Confluent API"
	case errors.Is(err, context.Canceled):
	case status == 0:
		e.err = fmt.Errorf("no answer after %d attempts: %w", registryAttempts, err)
		e.Mend = "check registry.url and that the registry runs"
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
		e.Mend = "set registry.user and registry.password to an account that may do this"
	case status == http.StatusNotFound:
		e.Mend = "registry.url must be that of the registry that the topic's writer uses, with its path, such as /apis/ccompat/v7; if its data was lost, bring it back"
	case status == http.StatusConflict:
		e.Mend = fmt.Sprintf(`the table changed in a way that the subject's compatibility mode forbids: give the new column a default or NULL, or allow it, then restart: `+
			`curl -X PUT -H 'Content-Type: application/json' -d '{"compatibility":"NONE"}' %s/config/%s`, r.url, subject)
	case status == http.StatusUnprocessableEntity:
		e.Mend = "the registry takes the schema for invalid: see its log"
	default:
		e.Mend = "see the registry's log"
	}
	return e
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

package schemas

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/sr/srfake"

	"duplex/config"
)

func openRegistry(t *testing.T, cfg config.Registry) *Registry {
	t.Helper()
	r, err := NewRegistry(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestRegistry(t *testing.T) {
	fake := srfake.New()
	defer fake.Close()
	schema, err := EnvelopeSchema(fuzzTable(), "east", "mysql")
	if err != nil {
		t.Fatal(err)
	}
	writer, reader := openRegistry(t, config.Registry{URL: fake.URL()}), openRegistry(t, config.Registry{URL: fake.URL()})
	id, err := writer.Register(t.Context(), "east.d.t-value", schema)
	if err != nil {
		t.Fatal(err)
	}
	text, err := reader.Schema(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ParseEnvelope(text); err != nil {
		t.Error(err)
	}
	again, err := writer.Register(t.Context(), "east.d.t-value", schema)
	if err != nil || again != id {
		t.Errorf("registered again as %d, %v, want %d", again, err, id)
	}
	// Both calls are answered from memory now.
	fake.Close()
	if _, err := writer.Register(t.Context(), "east.d.t-value", schema); err != nil {
		t.Error(err)
	}
	if _, err := reader.Schema(t.Context(), id); err != nil {
		t.Error(err)
	}
}

func TestRegistryAuthenticates(t *testing.T) {
	fake := srfake.New(srfake.WithAuth("Basic ZHVwbGV4OnMzY3JldA=="))
	defer fake.Close()
	good := openRegistry(t, config.Registry{URL: fake.URL(), User: "duplex", Password: "s3cret"})
	if _, err := good.Register(t.Context(), "s", `"int"`); err != nil {
		t.Error(err)
	}
	bad := openRegistry(t, config.Registry{URL: fake.URL(), User: "duplex", Password: "hunter2"})
	_, err := bad.Register(t.Context(), "s", `"int"`)
	if err == nil || !strings.Contains(err.Error(), "registry.password") || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("got %v", err)
	}
}

// scripted is a registry that gives the answers it is told, the last again
// and again.
func scripted(t *testing.T, answers ...func(http.ResponseWriter)) (*Registry, *atomic.Int32) {
	t.Helper()
	calls := new(atomic.Int32)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		n := int(calls.Add(1))
		answers[min(n, len(answers))-1](w)
	}))
	t.Cleanup(server.Close)
	return openRegistry(t, config.Registry{URL: server.URL}), calls
}

func answer(status int, body string) func(http.ResponseWriter) {
	return func(w http.ResponseWriter) {
		w.WriteHeader(status)
		fmt.Fprint(w, body)
	}
}

func TestRegistryRetriesWhatMayPass(t *testing.T) {
	r, calls := scripted(t, answer(503, "starting"), answer(429, "slow down"), answer(200, `{"schema":"\"int\""}`))
	text, err := r.Schema(t.Context(), 1)
	if err != nil || text != `"int"` || calls.Load() != 3 {
		t.Errorf("got %q, %v after %d calls", text, err, calls.Load())
	}
}

func TestRegistryGivesUpAtOnce(t *testing.T) {
	for _, tt := range []struct {
		status int
		body   string
		want   string
	}{
		{409, `{"error_code":409,"message":"incompatible"}`, `PUT `},
		{401, `{"error_code":40101,"message":"who?"}`, "registry.user"},
		{404, `{"error_code":40403,"message":"Schema not found"}`, "registry.url"},
		{422, `{"error_code":42201,"message":"Invalid schema"}`, "invalid"},
	} {
		r, calls := scripted(t, answer(tt.status, tt.body))
		_, err := r.Register(t.Context(), "east.d.t-value", `"int"`)
		if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), "east.d.t-value") || calls.Load() != 1 {
			t.Errorf("status %d: %d calls, %v", tt.status, calls.Load(), err)
		}
	}
}

func TestRegistryObeysContext(t *testing.T) {
	r, _ := scripted(t, answer(503, "down"))
	ctx, cancel := context.WithTimeout(t.Context(), 150*time.Millisecond)
	defer cancel()
	start := time.Now()
	_, err := r.Schema(ctx, 1)
	if !errors.Is(err, context.DeadlineExceeded) || time.Since(start) > 3*time.Second {
		t.Errorf("got %v after %s", err, time.Since(start))
	}
}

func TestRegistryRefusesOddAnswers(t *testing.T) {
	huge := func(w http.ResponseWriter) {
		for range 2*maxSchemaBytes/1024 + 1024 {
			if _, err := w.Write(make([]byte, 1024)); err != nil {
				return
			}
		}
	}
	r, calls := scripted(t, huge)
	if _, err := r.Schema(t.Context(), 1); !errors.Is(err, errTooLong) || calls.Load() != 1 {
		t.Errorf("huge answer: %v after %d calls", err, calls.Load())
	}
	r, _ = scripted(t, answer(200, `{"schema":"message A {}","schemaType":"PROTOBUF"}`))
	if _, err := r.Schema(t.Context(), 1); err == nil || !strings.Contains(err.Error(), "only Avro") {
		t.Errorf("protobuf: %v", err)
	}
	if _, err := NewRegistry(config.Registry{URL: config.EmbeddedName}); err == nil {
		t.Error("url embedded is taken for an address")
	}
}

// An id means one schema for ever, even when the cache has been emptied.
func TestRegistryPinsIDs(t *testing.T) {
	r, _ := scripted(t, answer(200, `{"schema":"\"int\""}`), answer(200, `{"schema":"\"int\""}`), answer(200, `{"schema":"\"long\""}`))
	for i, want := range []string{"", "", "another schema than before"} {
		_, err := r.Schema(t.Context(), 1)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("lookup %d: %v", i, err)
		}
		clear(r.schemas)
	}
}

package testbed_test

import (
	"context"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/sr"

	"duplex/internal/testbed"
)

func TestRegistryKeepsSchemas(t *testing.T) {
	began := time.Now()
	r := bed.Registry(t)
	rss, err := testbed.PeakRSS(r.PID())
	check(t, err)
	t.Logf("registry started in %v, peak %d MB", time.Since(began).Round(time.Millisecond), rss>>20)
	client, err := sr.NewClient(sr.URLs(r.URL()))
	check(t, err)
	schema := sr.Schema{Schema: `{"type":"record","name":"r","fields":[{"name":"id","type":"long"}]}`}
	registered, err := client.CreateSchema(t.Context(), "orders-value", schema)
	check(t, err)
	got, err := client.SchemaByID(t.Context(), registered.ID)
	check(t, err)
	if got.Schema != schema.Schema {
		t.Errorf("schema %d is %s, want %s", registered.ID, got.Schema, schema.Schema)
	}
	check(t, r.Freeze())
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := client.Subjects(ctx); err == nil {
		t.Error("a frozen registry answers")
	}
	check(t, r.Thaw())
	check(t, r.Kill())
	check(t, r.Start())
	subjects, err := client.Subjects(t.Context())
	check(t, err)
	if len(subjects) != 0 {
		t.Errorf("after kill and start it has subjects %q, want none: it keeps them in memory", subjects)
	}
}

package compat_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/twmb/avro"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// record is a record as a reader sees it that knows Avro and the registry.
type record struct {
	at         string
	key, value *datum // a tombstone's value is nil
	headers    []kgo.RecordHeader
}

// datum is an Avro value with the schema that it was written with.
type datum struct {
	schema any // as JSON
	avro   *avro.Schema
	bytes  []byte // Avro
	value  any
}

// reader reads topics whole. Its Avro library, twmb/avro, shares no code with
// goavro or with ours.
type reader struct {
	t       *testing.T
	client  *kgo.Client
	schemas map[uint32]*parsed
}

type parsed struct {
	tree  any
	whole *avro.Schema
	// plain is without logical types: decimals stay bytes.
	plain *avro.Schema
}

func newReader(t *testing.T) *reader {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(services.kafka.Brokers()...), kgo.MetadataMinAge(100*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return &reader{t: t, client: client, schemas: map[uint32]*parsed{}}
}

// topics lists the topics of a prefix.
func (r *reader) topics(prefix string) []string {
	r.t.Helper()
	all, err := kadm.NewClient(r.client).ListTopics(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	var found []string
	for _, name := range all.Names() {
		if strings.HasPrefix(name, prefix+".") || name == prefix {
			found = append(found, name)
		}
	}
	return found
}

// read reads the one partition of a topic, up to its present end; nothing if
// there is no such topic yet.
func (r *reader) read(topic string) []record {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), patience)
	defer cancel()
	ends, err := kadm.NewClient(r.client).ListEndOffsets(ctx, topic)
	end, ok := ends.Lookup(topic, 0)
	if err != nil || !ok || end.Err != nil || end.Offset == 0 {
		return nil
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(services.kafka.Brokers()...), kgo.MetadataMinAge(100*time.Millisecond), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords(),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {0: kgo.NewOffset().At(0)}}))
	if err != nil {
		r.t.Fatal(err)
	}
	defer client.Close()
	var all []record
	for next := int64(0); next < end.Offset; {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			r.t.Fatalf("reading topic %s: %v", topic, err)
		}
		for k := range fetches.RecordsAll() {
			next = k.Offset + 1
			if k.Attrs.IsControl() {
				continue
			}
			one := record{at: fmt.Sprintf("%s@%d", k.Topic, k.Offset), headers: k.Headers}
			one.key, err = r.decode(k.Key)
			if err == nil {
				one.value, err = r.decode(k.Value)
			}
			if err != nil {
				r.t.Fatalf("%s: %v", one.at, err)
			}
			all = append(all, one)
		}
	}
	return all
}

// decode reads Confluent's wire format.
func (r *reader) decode(data []byte) (*datum, error) {
	if data == nil {
		return nil, nil
	}
	if len(data) < 5 || data[0] != 0 {
		return nil, fmt.Errorf("%d bytes that aren't Confluent's wire format", len(data))
	}
	id := binary.BigEndian.Uint32(data[1:])
	s, ok := r.schemas[id]
	if !ok {
		var err error
		if s, err = fetchSchema(r.t.Context(), id); err != nil {
			return nil, fmt.Errorf("schema %d: %w", id, err)
		}
		r.schemas[id] = s
	}
	d := &datum{schema: s.tree, avro: s.whole, bytes: data[5:]}
	var whole any // decoded for its errors' sake
	if err := errors.Join(decodeAll(s.whole, data[5:], &whole), decodeAll(s.plain, data[5:], &d.value)); err != nil {
		return nil, fmt.Errorf("schema %d: %w", id, err)
	}
	return d, nil
}

func decodeAll(schema *avro.Schema, data []byte, into *any) error {
	rest, err := schema.Decode(data, into)
	if err == nil && len(rest) > 0 {
		err = fmt.Errorf("%d bytes are left over", len(rest))
	}
	return err
}

func fetchSchema(ctx context.Context, id uint32) (*parsed, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("%s/schemas/ids/%d", services.registry.URL(), id), nil)
	if err != nil {
		return nil, err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		return nil, err
	}
	var found struct{ Schema string }
	if err := json.Unmarshal(text, &found); err != nil || res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s", res.Status, text)
	}
	s := &parsed{}
	decoder := json.NewDecoder(strings.NewReader(found.Schema))
	decoder.UseNumber()
	if err := decoder.Decode(&s.tree); err != nil {
		return nil, err
	}
	var plain bytes.Buffer
	err = json.NewEncoder(&plain).Encode(without(s.tree, "logicalType"))
	var errWhole, errPlain error
	s.whole, errWhole = avro.Parse(found.Schema)
	s.plain, errPlain = avro.Parse(plain.String())
	return s, errors.Join(err, errWhole, errPlain)
}

// without copies a schema without a property.
func without(node any, property string) any {
	switch n := node.(type) {
	case map[string]any:
		out := map[string]any{}
		for k, v := range n {
			if k != property {
				out[k] = without(v, property)
			}
		}
		return out
	case []any:
		out := make([]any, len(n))
		for i, v := range n {
			out[i] = without(v, property)
		}
		return out
	}
	return node
}

package schemas

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/linkedin/goavro/v2"
)

// Proof holds the records of one table against goavro, the codec of record:
// what the compiled encoders wrote must be what goavro reads by the registered
// schema, and writes again byte for byte.
type Proof struct {
	key, value *goavro.Codec
	keyRow     *Record
	row        *EnvelopeReader
}

// NewProof compiles the schemas of a table's key and value.
func NewProof(keySchema, valueSchema string) (*Proof, error) {
	p := &Proof{}
	var err error
	if p.keyRow, err = ParseKey(keySchema); err != nil {
		return nil, err
	}
	if p.row, err = ParseEnvelope(valueSchema); err != nil {
		return nil, err
	}
	for _, part := range []struct {
		schema string
		codec  **goavro.Codec
	}{{keySchema, &p.key}, {valueSchema, &p.value}} {
		bare, err := Bare(part.schema)
		if err != nil {
			return nil, err
		}
		if *part.codec, err = goavro.NewCodec(bare); err != nil {
			return nil, fmt.Errorf("compiling the schema for the proof: %w", err)
		}
	}
	return p, nil
}

// Check checks one record, key and value with their registry headers. The error
// tells no value.
func (p *Proof) Check(key, value []byte) error {
	if err := check(p.key, key); err != nil {
		return fmt.Errorf("its key %w", err)
	}
	if err := check(p.value, value); err != nil {
		return fmt.Errorf("its value %w", err)
	}
	return nil
}

func check(codec *goavro.Codec, framed []byte) error {
	_, body, err := ReadHeader(framed)
	if err != nil {
		return fmt.Errorf("has no header: %w", err)
	}
	_, err = same(codec, body)
	return err
}

// same proves that goavro reads all of an Avro value and writes the same bytes,
// and returns what it has read.
func same(codec *goavro.Codec, body []byte) (native any, err error) {
	native, rest, err := codec.NativeFromBinary(body)
	if err != nil {
		return nil, fmt.Errorf("can't be read by its schema, at %d bytes before its end", len(rest))
	}
	if len(rest) > 0 {
		return nil, fmt.Errorf("has %d bytes more than its schema reads", len(rest))
	}
	again, err := codec.BinaryFromNative(nil, native)
	if err != nil || !bytes.Equal(again, body) {
		return nil, errors.New("isn't what goavro writes by the same schema")
	}
	return native, nil
}

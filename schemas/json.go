package schemas

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Limits of a schema that comes out of a registry: whoever may write to the
// registry must not be able to exhaust a reader.
const (
	maxSchemaBytes = 4 << 20
	maxSchemaDepth = 24
)

// node is one JSON value of a schema. encoding/json's own mapping to structs
// isn't used, since it matches names without case and lets the last of two
// equal names win: two readers could then see two schemas in one text.
type node struct {
	object map[string]*node // of an object
	array  []*node          // of an array, never nil there
	scalar any              // string, json.Number, bool or nil
}

func parseJSON(text string) (*node, error) {
	if len(text) > maxSchemaBytes {
		return nil, fmt.Errorf("schema has %d bytes: at most %d are read", len(text), maxSchemaBytes)
	}
	dec := json.NewDecoder(strings.NewReader(text))
	dec.UseNumber()
	root, err := parseNode(dec, 0)
	if err != nil {
		return nil, fmt.Errorf("parsing schema: %w", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("parsing schema: text follows after its end")
	}
	return root, nil
}

func parseNode(dec *json.Decoder, depth int) (*node, error) {
	if depth > maxSchemaDepth {
		return nil, fmt.Errorf("nested deeper than %d levels", maxSchemaDepth)
	}
	tok, err := dec.Token()
	if err != nil {
		return nil, err
	}
	switch tok {
	case json.Delim('['):
		return parseArray(dec, depth)
	case json.Delim('{'):
		return parseObject(dec, depth)
	}
	return &node{scalar: tok}, nil
}

func parseArray(dec *json.Decoder, depth int) (*node, error) {
	n := &node{array: []*node{}}
	for dec.More() {
		item, err := parseNode(dec, depth+1)
		if err != nil {
			return nil, err
		}
		n.array = append(n.array, item)
	}
	_, err := dec.Token()
	return n, err
}

func parseObject(dec *json.Decoder, depth int) (*node, error) {
	n := &node{object: map[string]*node{}}
	for dec.More() {
		tok, err := dec.Token()
		if err != nil {
			return nil, err
		}
		name, _ := tok.(string)
		if n.object[name] != nil {
			return nil, fmt.Errorf("property %q occurs twice in one object", name)
		}
		if n.object[name], err = parseNode(dec, depth+1); err != nil {
			return nil, err
		}
	}
	_, err := dec.Token()
	return n, err
}

// text returns the string property of that name, "" if it is absent or isn't a
// string.
func (n *node) text(name string) string {
	if p := n.object[name]; p != nil {
		s, _ := p.scalar.(string)
		return s
	}
	return ""
}

// appendBare appends the type n without anything that doesn't change its
// binary form: logical types, defaults, connect attributes.
func (n *node) appendBare(b []byte) []byte {
	switch {
	case n.array != nil:
		b = append(b, '[')
		for i, item := range n.array {
			if i > 0 {
				b = append(b, ',')
			}
			b = item.appendBare(b)
		}
		return append(b, ']')
	case n.object == nil:
		s, _ := n.scalar.(string)
		return appendJSON(b, s)
	}
	b = append(b, '{')
	for _, name := range []string{"type", "name", "namespace", "items", "fields"} {
		p := n.object[name]
		if p == nil {
			continue
		}
		if len(b) > 0 && b[len(b)-1] != '{' {
			b = append(b, ',')
		}
		b = append(appendJSON(b, name), ':')
		b = p.appendBare(b)
	}
	return append(b, '}')
}

// Bare returns a schema without attributes that don't change the binary form
// of its values. goavro must be given this form: its logical types and
// defaults have defects.
func Bare(schema string) (string, error) {
	root, err := parseJSON(schema)
	if err != nil {
		return "", err
	}
	return string(root.appendBare(nil)), nil
}

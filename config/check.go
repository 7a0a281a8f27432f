package config

import (
	"encoding"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"
)

// check compares the document with the type that it shall be decoded into, and
// notes every key that isn't known and every value of the wrong kind.
func (d *document) check(into any) { d.checkValue(d.body, reflect.TypeOf(into).Elem(), "") }

func (d *document) checkValue(node ast.Node, t reflect.Type, path string) {
	d.set[path] = true
	switch node.(type) {
	case *ast.AnchorNode, *ast.AliasNode, *ast.TagNode:
		d.report(node, path, "anchors (&), aliases (*) and tags (!) are not taken here", "write the value out, in quotes if it is meant as text")
		return
	case *ast.NullNode:
		d.report(node, path, "there is no value", "give one, or leave the line out for the default")
		return
	}
	switch {
	case reflect.PointerTo(t).Implements(reflect.TypeFor[encoding.TextUnmarshaler]()):
		d.checkText(node, t, path)
	case t == reflect.TypeFor[time.Duration]():
		s, ok := textOf(node)
		if _, err := time.ParseDuration(s); !ok || err != nil {
			d.report(node, path, "this is not a length of time", "write a number with its unit, such as 500ms, 30s or 168h")
		}
	default:
		d.checkKind(node, t, path)
	}
}

func (d *document) checkKind(node ast.Node, t reflect.Type, path string) {
	switch t.Kind() {
	case reflect.Struct:
		if mapping, ok := node.(ast.MapNode); ok {
			d.checkStruct(mapping, t, path)
			return
		}
		d.report(node, path, "this must be a group of settings", "write name: value below it, or {name: value}")
	case reflect.Map:
		if mapping, ok := node.(ast.MapNode); ok {
			d.checkMap(mapping, t, path)
			return
		}
		d.report(node, path, "this must be a group of names", "write name: value below it, or {name: value}")
	case reflect.Slice:
		list, ok := node.(*ast.SequenceNode)
		if !ok {
			d.report(node, path, "this must be a list", "put it into brackets: [a, b]")
			return
		}
		for i, v := range list.Values {
			d.checkValue(v, t.Elem(), fmt.Sprintf("%s[%d]", path, i))
		}
	case reflect.String:
		if _, ok := textOf(node); !ok {
			d.report(node, path, "this must be text", "put it into quotes, or YAML reads it as something else")
		}
	case reflect.Int, reflect.Int32, reflect.Int64, reflect.Uint32, reflect.Uint64:
		if !wholeNumber(node, t) {
			d.report(node, path, "this must be a whole number", "write it in digits, without quotes or unit")
		}
	case reflect.Bool:
		if _, ok := node.(*ast.BoolNode); !ok {
			d.report(node, path, "this must be true or false", "write one of them, without quotes")
		}
	default:
		panic(fmt.Sprintf("config: no check for settings of type %s", t))
	}
}

func (d *document) checkStruct(mapping ast.MapNode, t reflect.Type, path string) {
	known := fieldsOf(t)
	for it := mapping.MapRange(); it.Next(); {
		name, ok := d.keyOf(it, path)
		if !ok {
			continue
		}
		if field, ok := known[name]; ok {
			d.checkValue(it.Value(), field, join(path, name))
			continue
		}
		names := make([]string, 0, len(known))
		for n := range known {
			names = append(names, n)
		}
		d.report(it.Key(), join(path, name), "there is no such setting", suggestion(name, names))
	}
}

func (d *document) checkMap(mapping ast.MapNode, t reflect.Type, path string) {
	for it := mapping.MapRange(); it.Next(); {
		if name, ok := d.keyOf(it, path); ok {
			d.checkValue(it.Value(), t.Elem(), join(path, name))
		}
	}
}

func (d *document) keyOf(it *ast.MapNodeIter, path string) (string, bool) {
	if key, ok := it.Key().(ast.Node).(*ast.StringNode); ok {
		return key.Value, true
	}
	d.report(it.Key(), path, "a name in this group is not plain text", "put it into quotes")
	return "", false
}

func (d *document) checkText(node ast.Node, t reflect.Type, path string) {
	s, ok := textOf(node)
	if n, isNumber := node.(*ast.IntegerNode); isNumber {
		s, ok = n.GetToken().Value, true
	}
	if !ok {
		d.report(node, path, "this must be a single value", "")
		return
	}
	if err := reflect.New(t).Interface().(encoding.TextUnmarshaler).UnmarshalText([]byte(s)); err != nil {
		d.report(node, path, err.Error(), "")
	}
}

func textOf(node ast.Node) (string, bool) {
	switch n := node.(type) {
	case *ast.StringNode:
		return n.Value, true
	case *ast.LiteralNode:
		return n.Value.Value, true
	default:
		return "", false
	}
}

func wholeNumber(node ast.Node, t reflect.Type) bool {
	n, ok := node.(*ast.IntegerNode)
	if !ok {
		return false
	}
	zero := reflect.Zero(t)
	switch v := n.Value.(type) {
	case int64:
		return zero.CanInt() && !zero.OverflowInt(v) || zero.CanUint() && v >= 0 && !zero.OverflowUint(uint64(v))
	case uint64:
		return zero.CanInt() && v <= 1<<63-1 && !zero.OverflowInt(int64(v)) || zero.CanUint() && !zero.OverflowUint(v)
	default:
		return false
	}
}

// fieldsOf returns the settings of a struct by their YAML names.
func fieldsOf(t reflect.Type) map[string]reflect.Type {
	fields := map[string]reflect.Type{}
	for i := range t.NumField() {
		f := t.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		switch {
		case !f.IsExported() || name == "-":
		case options == "inline":
			for n, inner := range fieldsOf(f.Type) {
				fields[n] = inner
			}
		default:
			fields[name] = f.Type
		}
	}
	return fields
}

// suggestion names the known setting that is nearest to what was written, and
// all of them if none is near.
func suggestion(written string, known []string) string {
	slices.Sort(known)
	nearest := slices.MinFunc(known, func(a, b string) int { return editDistance(written, a) - editDistance(written, b) })
	if editDistance(written, nearest) <= max(2, len(nearest)/3) {
		return fmt.Sprintf("did you mean %s?", nearest)
	}
	return "known here are " + strings.Join(known, ", ")
}

// editDistance counts the characters to insert, delete, replace or swap with
// their neighbour to get from a to b.
func editDistance(a, b string) int {
	x, y := []rune(a), []rune(b)
	rows := make([][]int, len(x)+1)
	for i := range rows {
		rows[i] = make([]int, len(y)+1)
		rows[i][0] = i
	}
	for j := range y {
		rows[0][j+1] = j + 1
	}
	for i := range x {
		for j := range y {
			replace := rows[i][j]
			if x[i] != y[j] {
				replace++
			}
			best := min(replace, rows[i][j+1]+1, rows[i+1][j]+1)
			if i > 0 && j > 0 && x[i] == y[j-1] && x[i-1] == y[j] {
				best = min(best, rows[i-1][j-1]+1)
			}
			rows[i+1][j+1] = best
		}
	}
	return rows[len(x)][len(y)]
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

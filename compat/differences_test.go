package compat_test

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"sort"
	"strings"
)

// difference is a place where ours may differ from Debezium's, and why. Places
// are written as paths; a * stands for one part of a path.
type difference struct{ path, reason string }

// differences compares two values as JSON has them, and returns a line for each
// place where they differ, but for those of the list.
type comparison struct {
	names prefixes
	may   []difference
	used  map[string]bool
	found []string
	nulls int // places where theirs shows a default for NULL
}

func (c *comparison) add(path string, ours, theirs any) {
	for _, d := range c.may {
		if matches(d.path, path) {
			c.used[d.path] = true
			return
		}
	}
	c.found = append(c.found, fmt.Sprintf("%s: ours %s, theirs %s", path, show(ours), show(theirs)))
}

// matches compares a path with a pattern, part by part.
func matches(pattern, path string) bool {
	want, got := strings.Split(pattern, "/"), strings.Split(path, "/")
	if len(want) != len(got) {
		return false
	}
	for i := range want {
		if want[i] != "*" && want[i] != got[i] {
			return false
		}
	}
	return true
}

func show(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		text = fmt.Append(nil, v)
	}
	return abridged(string(text))
}

// absent is what one side lacks.
type absent struct{}

func (absent) MarshalJSON() ([]byte, error) { return []byte(`"(absent)"`), nil }

// compare walks both values at once.
func (c *comparison) compare(path string, ours, theirs any) {
	switch o := ours.(type) {
	case map[string]any:
		t, ok := theirs.(map[string]any)
		if !ok {
			c.add(path, ours, theirs)
			return
		}
		t = c.renamedKeys(t)
		for _, k := range keys(o, t) {
			c.compare(path+"/"+k, member(o, k), member(t, k))
		}
		return
	case []any:
		t, ok := theirs.([]any)
		if !ok {
			c.add(path, ours, theirs)
			return
		}
		c.compareLists(path, o, t)
		return
	case string:
		if t, ok := theirs.(string); ok && c.renamed(t) == o {
			return
		}
	case json.Number:
		if t, ok := theirs.(json.Number); ok {
			a, errA := o.Float64()
			b, errB := t.Float64()
			if o == t || errA == nil && errB == nil && a == b && strings.ContainsAny(string(o+t), ".eE") {
				return
			}
		}
	}
	if !reflect.DeepEqual(ours, theirs) {
		c.add(path, ours, theirs)
	}
}

func (c *comparison) renamedKeys(m map[string]any) map[string]any {
	out := make(map[string]any, len(m))
	for k, v := range m {
		out[c.renamed(k)] = v
	}
	return out
}

// compareLists compares the fields of a record by name, and their order; other
// lists item by item.
func (c *comparison) compareLists(path string, ours, theirs []any) {
	o, oNames := byName(ours)
	t, tNames := byName(theirs)
	for i, n := range tNames {
		tNames[i] = c.renamed(n)
	}
	t = c.renamedKeys(t)
	if oNames == nil || tNames == nil {
		for i := range max(len(ours), len(theirs)) {
			c.compare(fmt.Sprintf("%s/%d", path, i), item(ours, i), item(theirs, i))
		}
		return
	}
	for _, k := range keys(o, t) {
		c.compare(path+"/"+k, member(o, k), member(t, k))
	}
	common := func(names []string, of map[string]any) []string {
		return slices.DeleteFunc(slices.Clone(names), func(n string) bool { _, ok := of[n]; return !ok })
	}
	if a, b := common(oNames, t), common(tNames, o); !slices.Equal(a, b) {
		c.add(path+"/(order)", a, b)
	}
}

// byName returns named things by their names; nil if one has none.
func byName(list []any) (map[string]any, []string) {
	all := map[string]any{}
	var names []string
	for _, l := range list {
		m, _ := l.(map[string]any)
		name, ok := m["name"].(string)
		if !ok {
			return nil, nil
		}
		all[name] = m
		names = append(names, name)
	}
	return all, names
}

func item(list []any, i int) any {
	if i < len(list) {
		return list[i]
	}
	return absent{}
}

func member(m map[string]any, k string) any {
	if v, ok := m[k]; ok {
		return v
	}
	return absent{}
}

func keys(a, b map[string]any) []string {
	var all []string
	for _, m := range []map[string]any{a, b} {
		for k := range m {
			if !slices.Contains(all, k) {
				all = append(all, k)
			}
		}
	}
	sort.Strings(all)
	return all
}

// renamed gives a name of theirs the prefix of ours. Debezium's avro_unicode
// escapes the underscore of legal names too, which we leave as it is.
func (c *comparison) renamed(s string) string {
	s = strings.ReplaceAll(s, "_u005f", "_")
	if s == c.names.theirs {
		return c.names.ours
	}
	if rest, ok := strings.CutPrefix(s, c.names.theirs+"."); ok {
		return c.names.ours + "." + rest
	}
	return s
}

package tasks

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestMatch(t *testing.T) {
	tests := []struct {
		pattern, db, table string
		want               bool
	}{
		{"shop.*", "shop", "orders", true},
		{"shop.*", "shop2", "orders", false},
		{"shop.*", "shop", "a.b", true},
		{"shop?.t", "shop1", "t", true},
		{"shop?.t", "shop", "t", false},
		{"shop?.t", "shopé", "t", true},
		{"*.*", "any", "thing", true},
		{"*.*", "mysql", "user", false},
		{"*.*", "MYSQL", "user", false},
		{"*.*", "duplex", "progress", false},
		{`shop\.eu.t`, "shop.eu", "t", true},
		{`shop\.eu.t`, "shop", "eu.t", false},
		{`shop.a\*`, "shop", "a*", true},
		{`shop.a\*`, "shop", "ab", false},
		{`shop.a\\b`, "shop", `a\b`, true},
		{"shop.[ab]", "shop", "a", false},
		{"shop.[ab]", "shop", "[ab]", true},
		{"shop.Orders", "shop", "orders", false},
		{"shop.*_*_x", "shop", "a_b_c_x", true},
		{"shop.*_*_x", "shop", "a_x", false},
	}
	for _, test := range tests {
		tables, err := NewTables([]string{test.pattern}, nil)
		if err != nil {
			t.Errorf("%s: %v", test.pattern, err)
			continue
		}
		if got := tables.Match(test.db, test.table); got != test.want {
			t.Errorf("%s matches %s and %s: %v", test.pattern, test.db, test.table, got)
		}
	}
	if (Tables{Include: []string{"a.b"}}).Match("a", "b") {
		t.Error("patterns that were never compiled match")
	}
}

// TestGlobLikeRegexp compares with an independent matcher.
func TestGlobLikeRegexp(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		source := rapid.StringMatching(`[ab*?]{1,10}`).Draw(t, "pattern")
		name := rapid.StringMatching(`[ab]{0,12}`).Draw(t, "name")
		p, err := parsePattern("x." + source)
		if err != nil {
			t.Fatal(err)
		}
		same := regexp.MustCompile("^" + strings.NewReplacer("*", ".*", "?", ".").Replace(source) + "$")
		if got, want := p.table.match(name), same.MatchString(name); got != want {
			t.Fatalf("%s with %s: %v, a regexp says %v", source, name, got, want)
		}
	})
}

func TestGlobTakesNoExponentialTime(t *testing.T) {
	p, err := parsePattern("d." + strings.Repeat("a*", 30) + "b")
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	if p.table.match(strings.Repeat("a", 64)) {
		t.Error("matches")
	}
	if took := time.Since(began); took > time.Second {
		t.Errorf("took %v", took)
	}
}

func TestMatchIn(t *testing.T) {
	tables, err := NewTables([]string{"shop.*", "crm.customer", "tmp_?.*", "dup*.*"}, []string{"tmp_1.*", "tmp_2.x*"})
	if err != nil {
		t.Fatal(err)
	}
	for db, want := range map[string]bool{"shop": true, "crm": true, "other": false, "duplex": false, "duplicates": true, "tmp_1": false, "tmp_2": true} {
		if got := tables.MatchIn(db); got != want {
			t.Errorf("database %s may hold a covered table: %t, want %t", db, got, want)
		}
	}
}

package e2e_test

import (
	"database/sql"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// compareStrings compares the columns of strings of table shop.types as the
// servers themselves see them: by HEX(), and those with a collation by
// WEIGHT_STRING(), which is what keys and comparisons are made of. Both by
// digest, since some values have tens of kilobytes.
func compareStrings(t *testing.T, p *pair) {
	t.Helper()
	weighed := commonCollations(t, p)
	var columns, names []string
	rows := query(t, p.east, "SELECT column_name, collation_name, data_type FROM information_schema.columns WHERE table_schema = 'shop' AND table_name = 'types' "+
		"AND (collation_name IS NOT NULL OR data_type IN ('binary', 'varbinary', 'longblob')) ORDER BY ordinal_position")
	for _, column := range rows {
		name := fmt.Sprintf("%s (%s %s)", column[0].String, column[2].String, column[1].String)
		columns, names = append(columns, "SHA2(HEX("+column[0].String+"), 256)"), append(names, "the bytes of "+name)
		if ofLabels := column[2].String == "enum" || column[2].String == "set"; weighed[column[1].String] && !(ofLabels && p.mixed()) {
			columns, names = append(columns, "SHA2(WEIGHT_STRING("+column[0].String+"), 256)"), append(names, "the weights of "+name)
		}
	}
	read := "SELECT id, CAST(day AS CHAR), " + strings.Join(columns, ", ") + " FROM shop.types ORDER BY day, id"
	east, west := query(t, p.east, read), query(t, p.west, read)
	if len(east) != len(west) {
		t.Fatalf("%d rows in east, %d in west", len(east), len(west))
	}
	different, told := 0, map[string]bool{}
	for i := range east {
		for c := range east[i] {
			if east[i][c] != west[i][c] {
				if different++; !told[names[c-2]] {
					told[names[c-2]] = true
					t.Errorf("of row %s/%s, %s differ", east[i][0].String, east[i][1].String, names[c-2])
				}
			}
		}
	}
	t.Logf("%d columns of strings, %d of them by weight too, in %d rows: %d differ", len(rows), len(columns)-len(rows), len(east), different)
}

// commonCollations are those that the columns have on both servers. Within one
// product these are all, and across MySQL and MariaDB too, where the table names
// none that only one of them knows. Of the same name they weigh alike, but for ENUM
// and SET: MySQL weighs their number, MariaDB the label.
func commonCollations(t *testing.T, p *pair) map[string]bool {
	t.Helper()
	common := map[string]bool{}
	list := func(s *side) (names []string) {
		for _, row := range query(t, s, "SELECT DISTINCT collation_name FROM information_schema.columns WHERE table_schema = 'shop' AND table_name = 'types' AND collation_name IS NOT NULL") {
			names = append(names, row[0].String)
		}
		return names
	}
	west := list(p.west)
	for _, name := range list(p.east) {
		common[name] = slices.Contains(west, name)
		if !common[name] {
			t.Logf("columns of collation %s are compared by HEX() alone", name)
		}
	}
	return common
}

func query(t *testing.T, s *side, text string) (all [][]sql.NullString) {
	t.Helper()
	rows, err := s.mysql.DB().QueryContext(t.Context(), text)
	if err != nil {
		t.Fatalf("%.300s: %v", text, err)
	}
	defer rows.Close()
	names, err := rows.Columns()
	if err != nil {
		t.Fatal(err)
	}
	for rows.Next() {
		row, into := make([]sql.NullString, len(names)), make([]any, len(names))
		for i := range row {
			into[i] = &row[i]
		}
		if err := rows.Scan(into...); err != nil {
			t.Fatal(err)
		}
		all = append(all, row)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return all
}

package mysql

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
)

// TableName is a table's database and name.
type TableName struct{ DB, Table string }

// Digests returns for each of the tables that the server shows a number that another
// definition of its columns or unique keys doesn't have. It is made by the server,
// in one query for all, and much cheaper than LoadTables.
func Digests(ctx context.Context, db *sql.DB, tables []TableName) (map[TableName]uint64, error) {
	found := make(map[TableName]uint64, len(tables))
	if len(tables) == 0 {
		return found, nil
	}
	wanted := make(map[TableName]bool, len(tables))
	dbs, names := map[string]bool{}, map[string]bool{}
	for _, t := range tables {
		wanted[t], dbs[t.DB], names[t.Table] = true, true, true
	}
	in := " AND TABLE_SCHEMA IN (" + quoteAll(dbs) + ") AND TABLE_NAME IN (" + quoteAll(names) + ")"
	rows, err := db.QueryContext(ctx, "SELECT TABLE_SCHEMA, TABLE_NAME, "+
		digestOf("'c'", "ORDINAL_POSITION", "COLUMN_NAME", "COLUMN_TYPE", "IS_NULLABLE", "COALESCE(COLLATION_NAME, '')", "EXTRA", "COALESCE(GENERATION_EXPRESSION, '')", "COLUMN_DEFAULT IS NULL")+
		" FROM information_schema.COLUMNS WHERE 1 = 1"+in+" GROUP BY TABLE_SCHEMA, TABLE_NAME UNION ALL SELECT TABLE_SCHEMA, TABLE_NAME, "+
		digestOf("'k'", "INDEX_NAME", "SEQ_IN_INDEX", "COALESCE(COLUMN_NAME, '')", "COALESCE(SUB_PART, 0)")+
		" FROM information_schema.STATISTICS WHERE NON_UNIQUE = 0"+in+" GROUP BY TABLE_SCHEMA, TABLE_NAME")
	if err != nil {
		return nil, fmt.Errorf("reading digests of tables: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var t TableName
		var part uint64
		if err := rows.Scan(&t.DB, &t.Table, &part); err != nil {
			return nil, fmt.Errorf("reading digests of tables: %w", err)
		}
		if wanted[t] {
			found[t] ^= part
		}
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("reading digests of tables: %w", err)
	}
	return found, nil
}

// digestOf is the expression of 60 bits for all rows of a group. MySQL 9.6 and later have
// no MD5 and no SHA1 without a component.
func digestOf(columns ...string) string {
	return `BIT_XOR(CAST(CONV(LEFT(SHA2(CONCAT_WS('\n', ` + strings.Join(columns, ", ") + `), 256), 15), 16, 10) AS UNSIGNED))`
}

// quoteAll returns names as SQL strings. They are of tables that exist, or in topics' names;
// none can end its quotes.
func quoteAll(names map[string]bool) string {
	var quoted []string
	for name := range names {
		quoted = append(quoted, "'"+strings.ReplaceAll(strings.ReplaceAll(name, `\`, `\\`), "'", "''")+"'")
	}
	return strings.Join(quoted, ", ")
}

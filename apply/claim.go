package apply

import (
	"context"
	"database/sql"
	"fmt"

	"duplex/change"
	"duplex/converge"
)

// claim is a row that is to be written, with its unique values.
type claim struct {
	table *boundTable
	id    converge.Key
	key   []byte
	after []byte
	write converge.Write // what it is
	saw   change.Seen    // the regions' last transactions that had been applied where it was made
	lost  bool           // a newer version is known
	there bool           // the row is there now, with whatever image
	// contested is set if another claim wants one of its values, too.
	contested bool
	holders   []holder
}

// holder is a row that has the unique value which a claim wants.
type holder struct {
	unique int // of the table's unique keys
	id     converge.Key
}

// claimsOf returns the rows of a batch.
func claimsOf(lists ...[]*tableRows) (claims []claim) {
	for _, tables := range lists {
		for _, t := range tables {
			for i := range t.rows {
				if r := &t.rows[i]; !r.void {
					claims = append(claims, claim{table: t.table, id: r.id, key: r.key, after: r.after, write: converge.Write{Version: r.made.version(), Seq: r.made.seq, Place: r.made.place}, saw: r.made.saw})
				}
			}
		}
	}
	return claims
}

// value returns what a claim wants of a unique key, "" for nothing.
func (c *claim) value(unique int) (string, error) {
	if c.after == nil || !c.table.binder.Unique()[unique].Whole {
		return "", nil
	}
	value, null, err := c.table.binder.AppendUniqueText(fmt.Appendf(nil, "%s %d ", c.table.name, unique), unique, c.after)
	if null || err != nil {
		return "", err
	}
	return string(value), nil
}

// lock finds and locks the rows that hold what the claims want, and the claims' own.
func (r *room) lock(ctx context.Context) error {
	for i := range r.claims {
		c := &r.claims[i]
		if c.lost || c.after == nil {
			continue
		}
		if err := r.holders(ctx, c); err != nil {
			return c.table.failure(err)
		}
	}
	for i := range r.claims {
		c := &r.claims[i]
		if len(c.holders) == 0 && !c.contested {
			continue
		}
		present, err := r.w.lookUpAll(ctx, c.table, [][]byte{c.key})
		if err != nil {
			return c.table.failure(err)
		}
		c.there = len(present) > 0
	}
	return nil
}

// contest finds the claims of which two want the same value: not those of a batch,
// but a repair may put back images of both regions.
func (r *room) contest() error {
	first := map[string]*claim{}
	for i := range r.claims {
		c := &r.claims[i]
		for u := range c.table.binder.Unique() {
			value, err := c.value(u)
			if err != nil {
				return c.table.failure(err)
			}
			if value == "" || c.lost {
				continue
			}
			if other := first[value]; other != nil {
				c.contested, other.contested = true, true
			}
			first[value] = c
		}
	}
	return nil
}

// holders finds who has the unique values of a claim.
func (r *room) holders(ctx context.Context, c *claim) error {
	for i, unique := range c.table.binder.Unique() {
		if !unique.Whole {
			continue // it can't be looked up
		}
		text, null, err := c.table.binder.AppendSelectHolder(r.w.text[:0], i, c.after)
		if r.w.text = text; err != nil {
			return err
		}
		if null {
			continue
		}
		rows, err := r.w.conn.QueryContext(ctx, string(text))
		if err != nil {
			return err
		}
		ids, err := r.ids(c.table, rows)
		if err != nil {
			return err
		}
		for _, id := range ids {
			if other, is := r.byID[id]; is && !r.claims[other].lost {
				continue // it is written, too, or is this one
			}
			if !c.table.tracked || !c.table.binder.Shown() {
				return errVain
			}
			c.holders = append(c.holders, holder{i, id})
		}
	}
	return nil
}

// ids reads the keys of rows.
func (r *room) ids(t *boundTable, rows *sql.Rows) (ids []converge.Key, err error) {
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		return nil, err
	}
	raw, into := make([][]byte, len(columns)), make([]any, len(columns))
	for i := range raw {
		into[i] = (*sql.RawBytes)(&raw[i])
	}
	for rows.Next() {
		if err := rows.Scan(into...); err != nil {
			return nil, err
		}
		text, err := t.binder.AppendConflictKeyFromResult(nil, raw)
		if err != nil {
			return nil, err
		}
		ids = append(ids, t.id(text))
	}
	return ids, rows.Err()
}

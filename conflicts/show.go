package conflicts

import (
	"context"
	"strings"

	"duplex/apply/statement"
)

// Column is one column of both images. A nil text is NULL, and that of a column
// of a row that isn't there.
type Column struct {
	Name          string
	Winner, Loser *string
	Differs       bool
}

// Columns returns the columns of both images, those of the winner first.
func (b *Book) Columns(ctx context.Context, c *Conflict) ([]Column, error) {
	winner, err := b.shown(ctx, c, &c.Winner)
	if err != nil {
		return nil, err
	}
	loser, err := b.shown(ctx, c, &c.Loser)
	if err != nil {
		return nil, err
	}
	var all []Column
	at := map[string]int{}
	for i, side := range [2][]statement.Shown{winner, loser} {
		for j := range side {
			name := strings.ToLower(side[j].Column)
			if _, ok := at[name]; !ok {
				at[name] = len(all)
				all = append(all, Column{Name: side[j].Column})
			}
			text := &side[j].Text
			if side[j].Null {
				text = nil
			}
			if i == 0 {
				all[at[name]].Winner = text
			} else {
				all[at[name]].Loser = text
			}
		}
	}
	for i := range all {
		w, l := all[i].Winner, all[i].Loser
		all[i].Differs = (w == nil) != (l == nil) || w != nil && *w != *l
	}
	return all, nil
}

func (b *Book) shown(ctx context.Context, c *Conflict, w *Write) ([]statement.Shown, error) {
	if w.Row == nil {
		return nil, nil
	}
	table, err := b.bind(ctx, c, w)
	if err != nil {
		return nil, err
	}
	return table.binder.Show(w.Row)
}

package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"duplex/change"
	"duplex/config"
	"duplex/conflicts"
)

type conflictsCommand struct {
	List conflictsListCommand `cmd:"" help:"List conflicts, the newest first."`
	Show conflictsShowCommand `cmd:"" help:"Show both images of a conflict, column by column."`
	Undo conflictsUndoCommand `cmd:"" help:"Write back what was lost: it becomes the newest write of the row, in every region."`

	Accept conflictsAcceptCommand `cmd:"" help:"Let a task go on that a conflict of policy stop holds up: the write that won stays."`
}

// books are the records of the regions of process files.
type books []*conflicts.Book

func openBooks(files []string) (all books, err error) {
	for _, file := range files {
		p, err := config.Load(file)
		if err != nil {
			return nil, errors.Join(err, all.close())
		}
		b, err := conflicts.Open(p)
		if err != nil {
			return nil, errors.Join(err, all.close())
		}
		all = append(all, b)
	}
	return all, nil
}

func (all books) close() error {
	var errs []error
	for _, b := range all {
		errs = append(errs, b.Close())
	}
	return errors.Join(errs...)
}

// find returns the first region's record that has the conflict.
func (all books) find(ctx context.Context, task, id string) (*conflicts.Book, *conflicts.Conflict, error) {
	var none error
	for _, b := range all {
		c, err := b.Find(ctx, task, id)
		if !conflicts.IsNone(err) {
			return b, c, err
		}
		none = err
	}
	return nil, nil, none
}

type conflictsListCommand struct {
	Config []string      `short:"c" required:"" placeholder:"FILE" help:"Process file; once for each region."`
	Task   string        `placeholder:"NAME" help:"Only those of this task."`
	Table  string        `placeholder:"DB.TABLE" help:"Only those of this table."`
	Since  time.Duration `placeholder:"1h" help:"Only those found no longer ago."`
	Limit  int           `default:"100" help:"At most so many of each region."`
}

// listed is a conflict in the list.
type listed struct {
	Recorded change.Region `json:"recorded_in"`
	ID       string        `json:"id"`
	Task     string        `json:"task"`
	Found    time.Time     `json:"found"`
	Table    string        `json:"table"`
	Key      string        `json:"key"`
	Rule     string        `json:"rule"`
	Winner   listedWrite   `json:"winner"`
	Loser    listedWrite   `json:"loser"`
	Undone   *time.Time    `json:"undone,omitempty"`
}

type listedWrite struct {
	Region    change.Region       `json:"region"`
	Seq       change.Seq          `json:"seq"`
	HLC       change.HLC          `json:"hlc"`
	Time      time.Time           `json:"time"`
	Operation conflicts.Operation `json:"operation"`
	Missing   string              `json:"image_missing,omitempty"`
}

func listedOf(region change.Region, c *conflicts.Conflict) listed {
	write := func(w *conflicts.Write) listedWrite {
		return listedWrite{w.Origin, w.Seq, w.HLC, w.HLC.Time(), w.Op, w.Missing}
	}
	l := listed{Recorded: region, ID: c.ID, Task: c.Task, Found: c.Found, Table: c.DB + "." + c.Table, Key: c.Key, Rule: c.Rule, Winner: write(&c.Winner), Loser: write(&c.Loser)}
	if !c.Undone.IsZero() {
		l.Undone = &c.Undone
	}
	return l
}

// Run lists the conflicts that the regions have recorded.
func (c *conflictsListCommand) Run(env *environment) error {
	filter := conflicts.Filter{Task: c.Task, Since: c.Since, Limit: c.Limit}
	if c.Table != "" {
		var ok bool
		if filter.DB, filter.Table, ok = strings.Cut(c.Table, "."); !ok || filter.DB == "" || filter.Table == "" {
			return fmt.Errorf("--table: %q is no table; mend: give db.table", c.Table)
		}
	}
	if c.Limit < 1 {
		return fmt.Errorf("--limit is %d; mend: give 1 or more", c.Limit)
	}
	all, err := openBooks(c.Config)
	if err != nil {
		return err
	}
	defer all.close()
	rows := []listed{}
	for _, b := range all {
		found, err := b.List(env.ctx, filter)
		if err != nil {
			return fmt.Errorf("region %s: %w", b.Region, err)
		}
		for i := range found {
			rows = append(rows, listedOf(b.Region, &found[i]))
		}
	}
	slices.SortStableFunc(rows, func(a, b listed) int { return cmp.Or(b.Found.Compare(a.Found), cmp.Compare(a.ID, b.ID)) })
	if env.json {
		return writeJSON(env, rows)
	}
	w := tabwriter.NewWriter(env.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "ID\tRECORDED\tIN\tTABLE\tKEY\tWINNER\tLOSER\tUNDONE")
	for _, r := range rows {
		undone := ""
		if r.Undone != nil {
			undone = r.Undone.Format(time.RFC3339)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s of %s\t%s of %s\t%s\n", r.ID, r.Found.Format(time.RFC3339), r.Recorded, r.Table, r.Key,
			r.Winner.Operation, r.Winner.Region, r.Loser.Operation, r.Loser.Region, undone)
	}
	return w.Flush()
}

func writeJSON(env *environment, v any) error {
	encoder := json.NewEncoder(env.stdout)
	encoder.SetIndent("", "  ")
	return encoder.Encode(v)
}

type conflictsShowCommand struct {
	Config []string `short:"c" required:"" placeholder:"FILE" help:"Process file; once for each region."`
	Task   string   `placeholder:"NAME" help:"The conflict's task, where two tasks have one of the same id."`
	ID     string   `arg:"" help:"The conflict's id, or its first digits."`
}

// shownColumn is a column of both images.
type shownColumn struct {
	Column  string  `json:"column"`
	Winner  *string `json:"winner"`
	Loser   *string `json:"loser"`
	Differs bool    `json:"differs"`
}

// Run shows both images of a conflict.
func (c *conflictsShowCommand) Run(env *environment) error {
	all, err := openBooks(c.Config)
	if err != nil {
		return err
	}
	defer all.close()
	b, found, err := all.find(env.ctx, c.Task, c.ID)
	if err != nil {
		return err
	}
	columns, err := b.Columns(env.ctx, found)
	if err != nil {
		return fmt.Errorf("conflict %s of table %s.%s, key %s: its images can't be shown: %w", found.ID, found.DB, found.Table, found.Key, err)
	}
	if env.json {
		shown := []shownColumn{}
		for _, col := range columns {
			shown = append(shown, shownColumn{col.Name, col.Winner, col.Loser, col.Differs})
		}
		return writeJSON(env, struct {
			listed
			Columns []shownColumn `json:"columns"`
		}{listedOf(b.Region, found), shown})
	}
	return showText(env, b.Region, found, columns)
}

func showText(env *environment, region change.Region, c *conflicts.Conflict, columns []conflicts.Column) error {
	fmt.Fprintf(env.stdout, "conflict %s of table %s.%s, row %s\ntask %s, recorded in %s at %s; rule %s\n", c.ID, c.DB, c.Table, c.Key, c.Task, region, c.Found.Format(time.RFC3339), c.Rule)
	for _, side := range []struct {
		name string
		w    *conflicts.Write
	}{{"winner", &c.Winner}, {"loser", &c.Loser}} {
		fmt.Fprintf(env.stdout, "%s: %s in %s, transaction %d, %s", side.name, side.w.Op, side.w.Origin, side.w.Seq, side.w.HLC)
		if side.w.Missing != "" {
			fmt.Fprintf(env.stdout, "; its image isn't known: %s", side.w.Missing)
		}
		fmt.Fprintln(env.stdout)
	}
	if !c.Undone.IsZero() {
		fmt.Fprintf(env.stdout, "undone at %s\n", c.Undone.Format(time.RFC3339))
	}
	text := func(v *string, w *conflicts.Write) string {
		switch {
		case w.Row == nil:
			return "-"
		case v == nil:
			return "NULL"
		}
		return *v
	}
	w := tabwriter.NewWriter(env.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "\nCOLUMN\tWINNER\tLOSER\t")
	for _, col := range columns {
		mark := ""
		if col.Differs {
			mark = "differs"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", col.Name, text(col.Winner, &c.Winner), text(col.Loser, &c.Loser), mark)
	}
	return w.Flush()
}

type conflictsUndoCommand struct {
	Config []string `short:"c" required:"" placeholder:"FILE" help:"Process file; once for each region. It is undone in the first that has it."`
	Task   string   `placeholder:"NAME" help:"The conflict's task, where two tasks have one of the same id."`
	Force  bool     `help:"Write back what was lost though the row was changed since."`
	ID     string   `arg:"" help:"The conflict's id, or its first digits."`
}

// Run undoes a conflict in one region, from where it goes to the others, and marks it in
// all regions that were given.
func (c *conflictsUndoCommand) Run(env *environment) error {
	all, err := openBooks(c.Config)
	if err != nil {
		return err
	}
	defer all.close()
	b, found, err := all.find(env.ctx, c.Task, c.ID)
	if err != nil {
		return err
	}
	guard := conflicts.Unchanged
	if c.Force {
		guard = conflicts.Forced
	}
	if found, err = b.Undo(env.ctx, found.Task, found.ID, guard); err != nil {
		return err
	}
	for _, other := range all {
		if other != b {
			err = errors.Join(err, other.Mark(env.ctx, found))
		}
	}
	if err != nil {
		return fmt.Errorf("conflict %s is undone in region %s, but: %w", found.ID, b.Region, err)
	}
	if env.json {
		return writeJSON(env, listedOf(b.Region, found))
	}
	did := "written back"
	if found.Loser.Row == nil {
		did = "deleted"
	}
	_, err = fmt.Fprintf(env.stdout, "undone: row %s of %s.%s was %s in %s, as %s had it; it goes to the other regions as the newest write\n", found.Key, found.DB, found.Table, did, b.Region, found.Loser.Origin)
	return err
}

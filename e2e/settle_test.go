package e2e_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"duplex/change"
	"duplex/feed"
	"duplex/supervise"
	"duplex/topics"
)

// verdict is what all regions must hold, by what their topics tell.
type verdict struct {
	rows registers
	// copied are the rows of initial copies, by table and key, of a row of both regions that of the first.
	copied map[string]content
	// ends are the transactions of each region's own applications, by GTID, and
	// order their GTIDs as the topics have them.
	ends  map[*side]map[string]change.Stamp
	order map[*side][]string
}

// readVerdict reads all that the regions' applications wrote, up to the fence
// of that number, which must have arrived.
func readVerdict(p *pair, tables []*table, fence int64) *verdict {
	p.t.Helper()
	v := &verdict{registers{}, map[string]content{}, map[*side]map[string]change.Stamp{}, map[*side][]string{}}
	for _, s := range p.sides() {
		if err := errors.Join(v.readEnds(p, s), v.readRows(p, s, tables, fence)); err != nil {
			p.t.Fatalf("reading what %s wrote: %v", s.region, err)
		}
	}
	return v
}

// readEnds reads the stamps of a region's own transactions.
func (v *verdict) readEnds(p *pair, s *side) error {
	h := &history{}
	err := readRecords(p, s.region+".transaction", h.add)
	v.ends[s] = map[string]change.Stamp{}
	for i := range h.ends {
		if stamp := h.ends[i].Stamp; stamp.Origin == change.Region(s.region) {
			v.ends[s][h.ends[i].ID] = stamp
		}
	}
	return err
}

// readRows reads a region's own writes of rows.
func (v *verdict) readRows(p *pair, s *side, tables []*table, fence int64) error {
	ctx, cancel := context.WithTimeout(p.t.Context(), 5*time.Minute)
	defer cancel()
	_, registry := services.get(p.t)
	reader, err := feed.Open(ctx, feed.Config{
		Kafka: feed.Kafka{Brokers: p.kafka.Brokers()}, Registry: feed.Registry{URL: registry.URL()},
		Region: s.region, Tables: []string{"shop.*"}, Accept: feed.Only(s.region),
	})
	if err != nil {
		return err
	}
	defer reader.Close()
	byName := map[string]*table{}
	for _, t := range tables {
		byName[t.name] = t
	}
	for {
		txn, err := reader.Next(ctx)
		if err != nil {
			return err
		}
		if !topics.IsCopy(txn.ID) {
			v.order[s] = append(v.order[s], txn.ID)
		}
		for c, err := range txn.Changes(ctx) {
			if err != nil {
				return err
			}
			if t := byName[c.Table.Name]; t != nil {
				if err := v.add(t, c, v.ends[s]); err != nil {
					return err
				}
				continue
			}
			if op, err := c.After.Get("op"); err != nil || op.(int64) >= fence { // table fence
				return err
			}
		}
	}
}

func (v *verdict) add(t *table, c *feed.Change, stamps map[string]change.Stamp) error {
	stamp, ok := stamps[c.TransactionID]
	if !ok || int64(stamp.Seq) != c.Stamp.Seq || int64(stamp.HLC) != c.Stamp.HLC {
		return fmt.Errorf("transaction %s: its change has the stamp %+v, its END record %+v", c.TransactionID, c.Stamp, stamp)
	}
	row, err := contentOf(c.Key)
	if err != nil {
		return err
	}
	image, err := contentOf(c.After)
	if err != nil {
		return err
	}
	if c.Op == feed.Read {
		if name := t.name + "|" + t.text(row.key(t)); v.copied[name] == nil {
			v.copied[name] = image // sides are read in order
		}
		return nil
	}
	w := &write{stamp, c.TransactionID, c.Order, image, 0}
	if t.rank != nil {
		before, err := contentOf(c.Before)
		if err != nil {
			return err
		}
		w.rank = t.rank(stamp.Origin, before, image)
	}
	return v.rows.add(t.name+"|"+t.text(row.key(t)), w)
}

// key returns the values of the table's key columns.
func (c content) key(t *table) []any {
	key := make([]any, len(t.keys))
	for i, k := range t.keys {
		key[i] = c.column(k)
	}
	return key
}

// contentOf is a row of a topic as the server shows it.
func contentOf(row *feed.Row) (content, error) {
	if row == nil {
		return nil, nil
	}
	c := make(content, len(row.Columns()))
	for i, column := range row.Columns() {
		v, err := row.At(i)
		if err != nil {
			return nil, err
		}
		c[i] = cell{column.Name, sql.NullString{String: shown(v), Valid: v != nil}}
	}
	return c, nil
}

// shown writes a value as the server does.
func shown(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case []byte:
		return string(v)
	case []string:
		return strings.Join(v, ",")
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	default:
		return fmt.Sprint(v)
	}
}

// difference is a row that isn't what it must be.
type difference struct {
	table *table
	key   string
	have  []content // in each region
	want  content
	by    *write // the newest; nil: none
}

func (d *difference) String() string {
	by := "nobody's"
	if d.by != nil {
		by = fmt.Sprintf("%s's transaction %d, %s (%s)", d.by.stamp.Origin, d.by.stamp.Seq, d.by.stamp.HLC, d.by.txn)
	}
	brief := func(c content) string {
		if c == nil {
			return "absent"
		}
		var parts []string
		for _, cell := range c[:min(len(c), 5)] {
			parts = append(parts, cell.column+"="+cell.String)
		}
		return strings.Join(parts, " ")
	}
	var have []string
	for _, c := range d.have {
		have = append(have, brief(c))
	}
	return fmt.Sprintf("%s[%s] in each region: %s; the newest write, %s: %s", d.table.name, d.key, strings.Join(have, " | "), by, brief(d.want))
}

// differences compares all regions with what they must hold.
func (v *verdict) differences(p *pair, tables []*table) (all []difference) {
	p.t.Helper()
	for _, t := range tables {
		var held []map[string]content
		for _, s := range p.sides() {
			held = append(held, contents(p.t, s.mysql.DB(), t))
		}
		of := func(key string) (have []content) {
			for _, rows := range held {
				have = append(have, rows[key])
			}
			return have
		}
		for name, r := range v.rows {
			key, ok := strings.CutPrefix(name, t.name+"|")
			if !ok {
				continue
			}
			have := of(key)
			by := r.stands()
			if slices.ContainsFunc(have, func(c content) bool { return by.image.compare(c) != "" }) {
				all = append(all, difference{t, key, have, by.image, by})
			}
			for _, rows := range held {
				delete(rows, key)
			}
		}
		for _, rows := range held {
			for key := range rows {
				have, want := of(key), v.copied[t.name+"|"+key]
				if want == nil || slices.ContainsFunc(have, func(c content) bool { return want.compare(c) != "" }) {
					all = append(all, difference{t, key, have, want, nil})
				}
			}
		}
	}
	slices.SortFunc(all, func(a, b difference) int { return strings.Compare(a.table.name+"|"+a.key, b.table.name+"|"+b.key) })
	return all
}

// checkPublished proves that a verdict tells of each transaction that the
// region's applications made, once, in the order of the binlog.
func (v *verdict) checkPublished(p *pair, s *side) {
	p.t.Helper()
	var local []string
	marked := map[string]bool{}
	readBinlog(p.t, s.mysql, func(txn *logged) {
		switch shop := slices.ContainsFunc(txn.rows, func(r loggedRow) bool { return r.schema == "shop" }); {
		case txn.marked():
			marked[txn.gtid] = true
		case shop:
			local = append(local, txn.gtid)
		}
	})
	told := slices.DeleteFunc(slices.Clone(v.order[s]), func(id string) bool { return marked[id] }) // repairs of its own writes
	if slices.Equal(local, told) {
		return
	}
	at := 0
	for at < min(len(local), len(told)) && local[at] == told[at] {
		at++
	}
	p.t.Errorf("the binlog of %s has %d transactions, its topics %d; those after the first %d are %v there and %v here",
		s.region, len(local), len(told), at, local[at:min(len(local), at+3)], told[at:min(len(told), at+3)])
}

// tell shows what became of rows that are wrong, as both binlogs have it.
func (v *verdict) tell(p *pair, wrong []difference) {
	p.t.Helper()
	rows := map[string]*table{}
	for _, d := range wrong[:min(len(wrong), 2)] {
		rows[d.table.name+"|"+d.key] = d.table
	}
	for _, s := range p.sides() {
		steps := map[string][]string{}
		readBinlog(p.t, s.mysql, func(txn *logged) {
			for i := range txn.rows {
				row := &txn.rows[i]
				for name, t := range rows {
					was, is := imageText(t, row.before, name), imageText(t, row.after, name)
					if row.schema != "shop" || row.table != t.name || was+is == "" {
						continue
					}
					who := "local"
					if txn.marked() {
						mark := txn.rows[0].after
						who = fmt.Sprintf("applied for %v, up to seq %v, %s", textOf(mark["origin"]), mark["seq"], change.HLC(numberOf(mark["hlc"])))
					}
					if stamp, ok := v.ends[s][txn.gtid]; ok {
						who += fmt.Sprintf(", published as seq %d, %s, seen %v", stamp.Seq, stamp.HLC, stamp.Seen)
					}
					steps[name] = append(steps[name], fmt.Sprintf("%s (%s): %s → %s", txn.gtid, who, was, is))
				}
			}
		})
		for name, all := range steps {
			p.t.Logf("%s, the last of %d steps of %s:\n%s", s.region, len(all), name, strings.Join(all[max(0, len(all)-15):], "\n"))
		}
	}
}

// imageText is a row's image if it is of that row, "" if not.
func imageText(t *table, image map[string]any, name string) string {
	if image == nil || t.name+"|"+keyOf(t, image) != name {
		return ""
	}
	var parts []string
	for _, c := range append([]string{"side", "op", "v"}, t.keys...) {
		if value, ok := image[c]; ok {
			parts = append(parts, fmt.Sprintf("%s=%q", c, textOf(value)))
		}
	}
	return strings.Join(parts, " ")
}

// expectNoStop fails the test if a process has ended by itself, or a stream of
// it has stopped for good.
func expectNoStop(processes []*Process) error {
	for _, process := range processes {
		if !process.Running() {
			return final(fmt.Errorf("%s has ended by itself", process.Name))
		}
		status, err := process.Status()
		if err != nil {
			continue // it starts
		}
		for _, a := range status.Apply {
			if a.State == supervise.Stopped {
				return final(fmt.Errorf("%s has stopped: %s", process.Name, a.Error))
			}
		}
	}
	return nil
}

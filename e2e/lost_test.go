package e2e_test

import (
	"encoding/json"
	"fmt"
	"sort"
	"strings"
	"testing"

	"duplex/change"
)

// lost are the writes that a history of a row must have lost, with the writes that
// beat them: of each region the last write before it had seen any of the other's
// last such, and neither of the two had seen the other. The earlier ones may have met
// nobody: what came along with a later write of the same region was never seen alone.
func (r *register) lost(since map[change.Region]change.Seq) map[change.Version]change.Version {
	lost := map[change.Version]change.Version{}
	for origin, made := range r.stamps {
		for other, theirs := range r.stamps {
			if other <= origin {
				continue
			}
			for _, a := range made {
				b, ok := lastUnaware(theirs, origin, a.Seq)
				if !ok || a.Seq <= since[origin] || b.Seq <= since[other] || !change.Concurrent(a, b) {
					continue
				}
				if back, _ := lastUnaware(made, other, b.Seq); back.Seq != a.Seq {
					continue
				}
				winner, loser := a.Version(), b.Version()
				if r.last[loser].beats(r.last[winner]) {
					winner, loser = loser, winner
				}
				lost[loser] = winner
			}
		}
	}
	return lost
}

// lastUnaware returns the last of a region's writes that had not seen transaction seq
// of another one.
func lastUnaware(made []change.Stamp, other change.Region, seq change.Seq) (s change.Stamp, ok bool) {
	n := sort.Search(len(made), func(i int) bool { return made[i].Seen.Of(other) >= seq })
	if n == 0 {
		return s, false
	}
	return made[n-1], true
}

// between reports whether a third region made a newer write of the row than the loser: the
// loser and the winner may have met nowhere then, as each region knows of a row only the
// newest write.
func (r *register) between(loser, winner change.Version) bool {
	for origin, made := range r.stamps {
		if origin == loser.Origin || origin == winner.Origin {
			continue
		}
		for _, s := range made {
			if s.Version().Compare(loser) > 0 {
				return true
			}
		}
	}
	return false
}

// recordedLoss is a row of duplex.conflicts.
type recordedLoss struct {
	winner, loser     change.Version
	winnerOp, loserOp string
}

// readRecord reads what a region has recorded, by row.
func readRecord(p *pair, s *side, tables []*table) map[string][]recordedLoss {
	p.t.Helper()
	found := map[string][]recordedLoss{}
	for _, row := range query(p.t, s, "SELECT tbl, row_key, winner_origin, winner_hlc, winner_op, winner_image IS NULL, loser_origin, loser_hlc, loser_op, loser_image IS NULL, CONCAT(winner_missing, loser_missing) FROM duplex.conflicts") {
		var key map[string]any
		decoder := json.NewDecoder(strings.NewReader(row[1].String))
		decoder.UseNumber()
		if err := decoder.Decode(&key); err != nil {
			p.t.Fatalf("key %s: %v", row[1].String, err)
		}
		for _, t := range tables {
			if t.name != row[0].String {
				continue
			}
			parts := make([]any, len(t.keys))
			for i, k := range t.keys {
				parts[i] = fmt.Sprint(key[k])
			}
			name := t.name + "|" + t.text(parts)
			version := func(origin, hlc string) change.Version {
				return change.Version{HLC: change.HLC(number(p.t, hlc)), Origin: change.Region(origin)}
			}
			found[name] = append(found[name], recordedLoss{version(row[2].String, row[3].String), version(row[6].String, row[7].String), row[4].String, row[8].String})
			for _, op := range []struct{ op, none string }{{row[4].String, row[5].String}, {row[8].String, row[9].String}} {
				if (op.op == "delete" || op.op == "unknown") != (op.none == "1") {
					p.t.Errorf("%s of %s: a record says %s and its image is there: %t (%s)", name, s.region, op.op, op.none != "1", row[10].String)
				}
			}
		}
	}
	return found
}

func number(t *testing.T, text string) (n int64) {
	t.Helper()
	if _, err := fmt.Sscan(text, &n); err != nil {
		t.Fatal(err)
	}
	return n
}

// checkRecorded compares the record with all writes of all rows: what is recorded is
// true, and each write that was lost is recorded.
func (v *verdict) checkRecorded(c *clash, concurrent int) {
	c.t.Helper()
	p := c.rivals.p
	all := map[string]map[change.Version]bool{} // losers, in either region
	records, images := 0, 0
	for _, s := range p.sides() {
		for name, losses := range readRecord(p, s, c.rivals.tables) {
			if all[name] == nil {
				all[name] = map[change.Version]bool{}
			}
			once := map[change.Version]bool{}
			for _, l := range losses {
				records++
				if once[l.loser] {
					c.t.Errorf("%s of %s: the loss of %v is recorded twice", name, s.region, l.loser)
				}
				once[l.loser], all[name][l.loser] = true, true
				if wrong := v.rows[name].wrongRecord(l); wrong != "" {
					c.t.Errorf("%s of %s: %v is said to have lost to %v: %s", name, s.region, l.loser, l.winner, wrong)
				}
				if l.winnerOp != "unknown" && l.loserOp != "unknown" {
					images++
				}
			}
		}
	}
	lost, missing, between := 0, 0, 0
	for name, r := range v.rows {
		for loser, winner := range r.lost(c.since) {
			lost++
			switch {
			case all[name][loser]:
			case r.between(loser, winner):
				between++
			default:
				missing++
				c.t.Logf("%s: %v lost to %v, which no region has recorded", name, loser, winner)
			}
		}
	}
	c.t.Logf("%d conflicts recorded, %d of them with both images; of %d writes that were lost %d are in no region's record, and %d more over which a third region wrote", records, images, lost, missing, between)
	if missing > 0 {
		c.t.Errorf("%d of %d losses are not recorded", missing, lost)
	}
	if concurrent > 0 && images == 0 && !c.large {
		c.t.Error("no conflict is recorded with both images")
	}
}

// wrongRecord tells what is wrong with a record of the row.
func (r *register) wrongRecord(l recordedLoss) string {
	if r == nil {
		return "nobody wrote that row"
	}
	winner, loser := r.last[l.winner], r.last[l.loser]
	switch {
	case winner == nil || loser == nil:
		return "there is no such write"
	case !winner.beats(loser):
		return "the winner is older, or of less rank"
	case !change.Concurrent(winner.stamp, loser.stamp):
		return fmt.Sprintf("one had seen the other: %+v, %+v", winner.stamp, loser.stamp)
	case l.winnerOp != "unknown" && (winner.image == nil) != (l.winnerOp == "delete"):
		return fmt.Sprintf("the winner's operation is recorded as %s, and it left %v", l.winnerOp, winner.image)
	case l.loserOp != "unknown" && (loser.image == nil) != (l.loserOp == "delete"):
		return fmt.Sprintf("the loser's operation is recorded as %s, and it left %v", l.loserOp, loser.image)
	}
	return ""
}

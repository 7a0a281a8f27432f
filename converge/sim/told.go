package main

import (
	"duplex/change"
	"duplex/converge"
)

// The region's index, of the one kind or the other.

func (r *region) decide(it *item) (converge.Verdict, converge.Write) {
	current := r.rows[it.key].image.digest()
	if r.ranked != nil {
		return r.ranked.Decide(indexed(it.key), it.change, it.write, current, it.tailed)
	}
	return r.index.Decide(indexed(it.key), it.change, current, it.tailed), converge.Write{}
}

func (r *region) local(key uint8, c converge.Claim) error {
	if r.ranked != nil {
		return r.ranked.Local(indexed(key), c)
	}
	return r.index.Local(indexed(key), c.Write)
}

func (r *region) wrote(key uint8, c converge.Claim, at converge.Pos) error {
	if r.ranked != nil {
		return r.ranked.Wrote(indexed(key), c, at)
	}
	return r.index.Wrote(indexed(key), c.Write, at)
}

func (r *region) marked(key uint8, c converge.Claim, at converge.Pos) error {
	if r.ranked != nil {
		return r.ranked.Wrote(indexed(key), c, at)
	}
	return r.index.Marked(indexed(key), c.Write, at)
}

func (r *region) forgotten() change.HLC {
	if r.ranked != nil {
		return r.ranked.Forgotten()
	}
	return r.index.Forgotten()
}

func (r *region) audit(key uint8) (converge.Write, bool) {
	current := r.rows[key].image.digest()
	if r.ranked != nil {
		return r.ranked.Audit(indexed(key), current)
	}
	return r.index.Audit(indexed(key), current)
}

package main

import (
	"slices"

	"duplex/converge"
)

// settle finds out which rows hold unique values that the job's rows take, and
// who yields. It returns false if another job has such a row. The job waits if the
// tail hasn't read what precedes the locks.
func (w *world) settle(r *region, j *job, source int) bool {
	clash := false
	for i := range j.n {
		it := &j.items[i]
		it.yields = false
		if !it.puts() {
			continue
		}
		for k := range uint8(w.keys) {
			if k == it.key || w.uniqueOf(r.rows[k].image) != w.uniqueOf(it.after) || w.uniqueOf(it.after) == 0 {
				continue
			}
			clash = true
			if j.item(k) != nil {
				continue
			}
			if r.rows[k].latched != 0 {
				return false
			}
			j.items[j.n] = item{key: k, holder: true}
			w.hold(r, &j.items[j.n], source)
			j.n++
		}
	}
	for i, it := range j.items[:j.n] {
		for _, other := range j.items[:i] {
			clash = clash || it.puts() && other.puts() && w.uniqueOf(it.after) > 0 && w.uniqueOf(it.after) == w.uniqueOf(other.after)
		}
	}
	if !clash {
		return true
	}
	for _, it := range j.items[:j.n] {
		if !it.tailed {
			j.stage = waiting
			return true
		}
	}
	w.yield(r, j)
	return true
}

// puts tells whether the job means to write the row's image.
func (it *item) puts() bool {
	return !it.holder && (it.verdict == converge.Put || it.verdict == converge.Heal)
}

func (j *job) item(key uint8) *item {
	for i := range j.n {
		if j.items[i].key == key {
			return &j.items[i]
		}
	}
	return nil
}

// yield settles the rows of a job, oldest first.
func (w *world) yield(r *region, j *job) {
	var order []*item
	var rows [maxKeys]image // as they will be
	for k := range rows {
		rows[k] = r.rows[k].image
	}
	for i := range j.n {
		if it := &j.items[i]; it.puts() || it.verdict == converge.Mark && !it.holder {
			order = append(order, it)
			rows[it.key] = 0
		}
	}
	slices.SortFunc(order, func(a, b *item) int { return a.write.Version.Compare(b.write.Version) })
	for _, it := range order {
		var holders []converge.Key
		var held []uint8
		for k := range uint8(w.keys) {
			if k != it.key && w.uniqueOf(it.after) > 0 && w.uniqueOf(rows[k]) == w.uniqueOf(it.after) {
				holders, held = append(holders, indexed(k)), append(held, k)
			}
		}
		if newest, yields := r.index.Settle(it.write.Version, holders); yields {
			w.yielded++
			it.yields, it.image, it.after = true, it.after, 0
			it.write = converge.Write{Version: newest}
			continue
		}
		for _, k := range held {
			w.yielded++
			other := j.item(k)
			other.yields, other.image, other.after = true, rows[k], 0
			other.write = converge.Write{Version: it.write.Version}
			rows[k] = 0
		}
		rows[it.key] = it.after
	}
}

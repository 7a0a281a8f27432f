package main

import "fmt"

// action is something that may happen next.
type action struct {
	do     func(w *world, r *region, arg int)
	region uint8
	arg    int8
}

// maxSteps ends a history that doesn't come to rest.
const maxSteps = 5000

// run makes one history, to its end or until something is wrong, and checks it.
// before is called ahead of each step, and ends the history by returning false.
func (w *world) run(before func(*world) bool) {
	var must, may []action
	for w.steps = 0; w.fault == ""; w.steps++ {
		if before != nil && !before(w) {
			return
		}
		if w.steps == maxSteps {
			w.fail("it doesn't come to rest")
			return
		}
		must, may = w.possible(must[:0], may[:0])
		if len(must) == 0 {
			w.check()
			return
		}
		list := must
		if len(may) > 0 && w.pick.intn(4) == 0 {
			list = may
		}
		a := list[w.pick.intn(len(list))]
		r := &w.regions[a.region]
		a.do(w, r, int(a.arg))
		w.spill(r)
	}
}

// possible appends what can happen: what must, sooner or later, and what may.
func (w *world) possible(must, may []action) ([]action, []action) {
	for i := range w.regions {
		r := &w.regions[i]
		if w.written < w.writes && (!w.slow || w.pick.intn(20) == 0) {
			must = append(must, action{(*world).local, r.id, 0})
		}
		if r.published < len(r.binlog) {
			must = append(must, action{(*world).publish, r.id, 0})
		}
		for p := range w.parts {
			if r.tail[p] < r.published && !(w.first && r.unnoted(&r.binlog[r.tail[p]])) {
				must = append(must, action{(*world).tailed, r.id, int8(p)})
			}
		}
		if w.first {
			must = w.ofFirst(must, r)
		}
		for s := range w.regions {
			if s != i && !w.first {
				must = w.ofJob(must, r, &r.streams[s].job, (*world).begin, s, r.streams[s].next < w.regions[s].published)
			}
		}
		if w.broken != noAudit && !w.first {
			must = w.ofJob(must, r, &r.repair, (*world).inspect, int(r.id), r.repair.stage == idle && len(r.index.Suspects(w.pos(r))) > 0)
		}
		if w.crashed < w.crashes && w.written > w.calm && w.pick.intn(4) == 0 {
			may = append(may, action{(*world).crash, r.id, 0})
		}
		if w.evict && r.knows() > 0 && w.read(r) >= r.reborn {
			may = append(may, action{(*world).sweep, r.id, 0})
		}
	}
	if len(must) == 0 && w.written < w.writes {
		must = append(must, action{(*world).local, uint8(w.pick.intn(len(w.regions))), 0})
	}
	return must, may
}

// ofJob appends the next step of a job.
func (w *world) ofJob(must []action, r *region, j *job, begin func(*world, *region, int), source int, more bool) []action {
	var do func(*world, *region, int)
	switch {
	case j.stage == idle && more:
		do = begin
	case j.stage == waiting && w.read(r) >= j.waitFor:
		do = (*world).resume
	case j.stage == decided:
		do = (*world).commit
	case j.stage == committed:
		do = (*world).note
	default:
		return must
	}
	return append(must, action{do, r.id, int8(source)})
}

// jobOf returns the job for a source; a region's own is its repair.
func (r *region) jobOf(source int) *job {
	if source == int(r.id) {
		return &r.repair
	}
	return &r.streams[source].job
}

// check finds out whether the regions, at rest, hold what they must.
func (w *world) check() {
	for k := range uint8(w.keys) {
		want, version := w.newest(k)
		for i := range w.regions {
			r := &w.regions[i]
			switch got := r.rows[k].image; {
			case got != w.regions[0].rows[k].image:
				w.fail(fmt.Sprintf("diverged: key %d is %d in %s and %d in %s", k, w.regions[0].rows[k].image, w.regions[0].name, got, r.name))
			case got != want:
				w.fail(fmt.Sprintf("key %d is %d everywhere, and the greatest version, %v, wrote %d", k, got, version, want))
			}
		}
	}
	if w.first && w.unique > 0 {
		w.fail(w.unearned())
	}
}

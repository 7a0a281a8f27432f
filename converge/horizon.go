package converge

import "duplex/change"

// Horizon tells from where the writes of rows must be known again after a restart, where
// policies go by ranks (Rivals): what is forgotten of a row may have stayed over a newer write that
// hadn't seen it. So a restart forgets less than the index had: only what all has seen that is newer than what
// the index had forgotten. Of the rows that have nothing newer, it needn't look at any.
type Horizon struct {
	// Least is what the index had forgotten at the beginning, or was noted to have last.
	Least change.HLC
	steps []horizonStep
}

// horizonStep says that all that is newer has seen what was forgotten then.
type horizonStep struct{ forgotten, newest change.HLC }

const maxHorizon = 1024

// Note notes what an index has Forgotten, and the newest that had been read then.
func (h *Horizon) Note(forgotten, newest change.HLC) {
	if forgotten <= h.Least {
		return
	}
	h.Least = forgotten
	n := len(h.steps)
	if n == maxHorizon {
		for i := range n / 2 {
			h.steps[i] = h.steps[2*i+1]
		}
		h.steps = h.steps[:n/2]
	}
	h.steps = append(h.steps, horizonStep{forgotten, newest})
}

// Before returns what a restart may forget, where an index has forgotten so much; ok is false if that
// isn't known.
func (h *Horizon) Before(forgotten change.HLC) (least change.HLC, ok bool) {
	n := 0
	for n < len(h.steps) && h.steps[n].newest <= forgotten {
		n++
	}
	if n == 0 {
		return 0, false
	}
	h.steps = h.steps[n-1:]
	return h.steps[0].forgotten, true
}

package main

import (
	"context"
	"fmt"
	"slices"
)

// chooseApply returns the measurements of apply of the given names: all of them
// if there is none.
func chooseApply(names []string) ([]measurement, error) {
	race := nativeRace{prefix: "apply.", durability: strict}
	if len(names) > 0 && names[0] == "relaxed" {
		race = nativeRace{prefix: "apply.relaxed.", durability: relaxed}
		names = names[1:]
	}
	known := 0
	for _, w := range workloads() {
		if len(names) == 0 || slices.Contains(names, w.name) {
			race.workloads = append(race.workloads, w)
			known++
		}
	}
	var chosen []measurement
	if len(race.workloads) > 0 {
		chosen = append(chosen, measurement{"apply", func(ctx context.Context, r *rig, to report) error {
			race.rig, race.to = r, to
			return race.run(ctx)
		}})
	}
	if len(names) > 0 && known < len(names) {
		return nil, fmt.Errorf("some of %q are not parts of apply", names)
	}
	return chosen, nil
}

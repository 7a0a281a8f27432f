package main

import (
	"fmt"
	"strings"
)

func (t *txn) text() string {
	var b strings.Builder
	for i, c := range t.rows[:t.n] {
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "key %d: %d→%d", c.key, c.before, c.after)
	}
	return b.String()
}

func (it item) String() string {
	return fmt.Sprintf("key %d: %d→%d %v %v", it.key, it.change.Before, it.after, it.change.Version.HLC, it.verdict)
}

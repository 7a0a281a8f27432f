// Package preflight checks everything that a task needs before it may start:
// both servers' settings and privileges, the tables of both sides and how they
// differ, Kafka and the registry.
//
// What is found is told in a form that can be acted on: what is wrong, where,
// why it matters, and the statement or setting that mends it, ready to be
// pasted. Nothing is changed by checking.
package preflight

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"duplex/change"
)

// Severity tells what a finding means for the start of a task.
type Severity string

// The severities.
const (
	Refuse Severity = "refuse" // the task must not start: a promise couldn't be kept
	Warn   Severity = "warn"   // it may start, and somebody should know
	OK     Severity = "ok"     // checked, and good
)

// Finding is one thing that was checked.
type Finding struct {
	// Region is where the fix belongs; empty for what concerns the task file.
	Region   change.Region `json:"region,omitempty"`
	Code     string        `json:"code"` // stable, such as binlog-row-image
	Severity Severity      `json:"severity"`
	What     string        `json:"what"`
	Where    string        `json:"where,omitempty"`
	Why      string        `json:"why,omitempty"`
	// Fix is SQL to be run at Where by an administrator, each statement ended
	// by ";" and a line end, remarks as comments; or, where no statement mends
	// it, a comment alone.
	Fix string `json:"fix,omitempty"`
}

// Report is the outcome of a check.
type Report struct {
	Findings []Finding `json:"findings"`
}

// Refused reports whether any finding forbids the start.
func (r *Report) Refused() bool {
	return slices.ContainsFunc(r.Findings, func(f Finding) bool { return f.Severity == Refuse })
}

// add takes in what a group of checks found, or good if they found nothing.
func (r *Report) add(good Finding, found []Finding) {
	if len(found) == 0 {
		good.Severity = OK
		found = []Finding{good}
	}
	r.Findings = append(r.Findings, found...)
}

// WriteText writes the report for a person: a block for each finding, those
// that refuse first, a line for each that is good, and a summary.
func (r *Report) WriteText(w io.Writer) error {
	var b strings.Builder
	count := make(map[Severity]int)
	for _, severity := range []Severity{Refuse, Warn, OK} {
		for _, f := range r.Findings {
			if f.Severity == severity {
				count[severity]++
				f.writeText(&b)
			}
		}
	}
	fmt.Fprintf(&b, "%d refused, %d warnings, %d good\n", count[Refuse], count[Warn], count[OK])
	_, err := io.WriteString(w, b.String())
	return err
}

func (f Finding) writeText(b *strings.Builder) {
	region := string(f.Region)
	if region == "" {
		region = "-"
	}
	if f.Severity == OK {
		fmt.Fprintf(b, "%-6s  %s  %s: %s\n", f.Severity, region, f.Code, f.What)
		return
	}
	fmt.Fprintf(b, "%-6s  %s  %s\n", f.Severity, region, f.Code)
	for _, line := range []struct{ label, text string }{{"what", f.What}, {"where", f.Where}, {"why", f.Why}, {"fix", f.Fix}} {
		if line.text == "" {
			continue
		}
		fmt.Fprintf(b, "  %-6s %s\n", line.label+":", strings.ReplaceAll(strings.TrimRight(line.text, "\n"), "\n", "\n         "))
	}
	b.WriteByte('\n')
}

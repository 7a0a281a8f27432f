package tasks

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"duplex/change"
	"duplex/config"
)

// Rule tells which of two concurrent writes of a row of one table stays.
type Rule struct {
	Policy string `yaml:"policy,omitempty"`
	// Priority names the task's regions for RegionPriority: of two writes that of the region
	// named first stays.
	Priority []change.Region `yaml:"priority,omitempty"`
	// Column is that of NewestColumn: the write with the greater value stays.
	Column string `yaml:"column,omitempty"`
	// Delta names counters: of both sides' changes the sum is kept.
	Delta []string `yaml:"delta,omitempty"`
}

// The conflict policies.
const (
	LastWriteWins  = "last-write-wins"
	RegionPriority = "region-priority"
	NewestColumn   = "newest-column"
	MergeColumns   = "merge-columns"
	// PolicyStop is LastWriteWins after which the stream stops until somebody has looked.
	PolicyStop = "stop"
	// NoPolicy: conflicts aren't looked for, and what comes last stays. It is for
	// tables of which each row is written in one region only.
	NoPolicy = "none"
)

// Rule returns the conflict rule of a table, with all that it leaves to the task's.
func (s *Spec) Rule(db, table string) Rule {
	all := s.Conflicts
	rule := Rule{Policy: all.Policy, Priority: all.Priority, Column: all.Column}
	for name, own := range all.Tables {
		if p, err := parsePattern(name); err == nil && p.match(db, table) {
			rule = own.or(rule)
		}
	}
	if len(rule.Priority) == 0 {
		rule.Priority = s.Regions
	}
	return rule
}

// or fills in what the rule leaves open.
func (r Rule) or(other Rule) Rule {
	if r.Policy == "" {
		r.Policy = other.Policy
	}
	if len(r.Priority) == 0 {
		r.Priority = other.Priority
	}
	if r.Column == "" {
		r.Column = other.Column
	}
	return r
}

// rules returns all rules of the specification, by the setting that each comes from.
func (s *Spec) rules() map[string]Rule {
	all := s.Conflicts
	rules := map[string]Rule{"conflicts": {Policy: all.Policy, Priority: all.Priority, Column: all.Column}}
	for name, rule := range all.Tables {
		rules[fmt.Sprintf("conflicts.tables.%q", name)] = rule
	}
	return rules
}

// Resolves reports whether conflicts are looked for in any table.
func (s *Spec) Resolves() bool {
	return s.Conflicts.Policy != NoPolicy ||
		slices.ContainsFunc(slices.Collect(maps.Values(s.Conflicts.Tables)), func(r Rule) bool { return r.Policy != "" && r.Policy != NoPolicy })
}

// Stops reports whether conflicts of any table stop a stream.
func (s *Spec) Stops() bool {
	return s.Conflicts.Policy == PolicyStop ||
		slices.ContainsFunc(slices.Collect(maps.Values(s.Conflicts.Tables)), func(r Rule) bool { return r.Policy == PolicyStop })
}

func (s *Spec) validateRules() error {
	var problems []error
	refuse := func(setting, reason, mend string) {
		problems = append(problems, &config.Invalid{Setting: setting, Reason: reason, Mend: mend})
	}
	for name := range s.Conflicts.Tables {
		if p, err := parsePattern(name); err != nil || !p.literal() {
			refuse(fmt.Sprintf("conflicts.tables.%q", name), "this doesn't name one table", `write "db.table" without * and ?`)
		}
	}
	for setting, rule := range s.rules() {
		problems = append(problems, s.validatePriority(setting, rule.Priority))
		if rule.Policy != "" || setting == "conflicts" {
			problems = append(problems, checkPolicy(setting+".policy", rule.Policy))
		}
		whole := rule.or(Rule{Policy: s.Conflicts.Policy, Column: s.Conflicts.Column})
		if whole.Policy == NewestColumn && whole.Column == "" {
			refuse(setting+".column", "policy newest-column goes by a column, and none is named", "name it, such as column: updated_at")
		}
		if len(rule.Delta) > 0 && whole.Policy != LastWriteWins && whole.Policy != MergeColumns {
			refuse(setting+".delta", fmt.Sprintf("counters can't be kept with policy %s", whole.Policy), "use policy last-write-wins or merge-columns for the table's other columns")
		}
		if setting == "conflicts" {
			continue
		}
		if len(rule.Priority) > 0 && whole.Policy != RegionPriority {
			refuse(setting+".priority", fmt.Sprintf("it has no effect with policy %s", whole.Policy), "leave it out, or set policy: region-priority")
		}
		if rule.Column != "" && whole.Policy != NewestColumn {
			refuse(setting+".column", fmt.Sprintf("it has no effect with policy %s", whole.Policy), "leave it out, or set policy: newest-column")
		}
	}
	return errors.Join(problems...)
}

func (s *Spec) validatePriority(setting string, priority []change.Region) error {
	if len(priority) == 0 {
		return nil
	}
	if !slices.Equal(slices.Sorted(slices.Values(priority)), slices.Sorted(slices.Values(s.Regions))) {
		return &config.Invalid{Setting: setting + ".priority", Reason: fmt.Sprintf("%v are not the task's regions, each once", priority), Mend: fmt.Sprintf("name all of %v, that of which the writes stay first", s.Regions)}
	}
	return nil
}

func checkPolicy(setting, policy string) error {
	return config.CheckChoice(setting, policy, LastWriteWins, RegionPriority, NewestColumn, MergeColumns, PolicyStop, NoPolicy)
}

// unsupportedRules lists what the rules ask for and this version can't do yet.
func (s *Spec) unsupportedRules() (refusals []error) {
	for setting, rule := range s.rules() {
		refuse := func(name, reason, mend string) {
			refusals = append(refusals, &config.Invalid{Setting: setting + name, Reason: reason, Mend: mend})
		}
		switch policy := rule.Policy; {
		case policy == "" || policy == LastWriteWins || policy == NoPolicy:
		case s.Apply.Ordering == OrderingKey:
			refuse(".policy", fmt.Sprintf("%s is not built yet with ordering: key, with which conflicts aren't looked for", policy), "set apply: {ordering: transaction}")
		case len(s.Regions) > 2 && policy == MergeColumns:
			refuse(".policy", fmt.Sprintf("%s is not built yet among more than two regions", policy), "set policy: last-write-wins")
		}
		switch leave := "leave delta out: of two writes of such a column the newer then stays"; {
		case len(rule.Delta) == 0:
		case s.Apply.Ordering == OrderingKey:
			refuse(".delta", "delta is not built yet with ordering: key, with which conflicts aren't looked for", "set apply: {ordering: transaction}")
		case len(s.Regions) > 2:
			refuse(".delta", "delta is not built yet among more than two regions", leave)
		}
	}
	return refusals
}

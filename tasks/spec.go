// Package tasks describes a task: which tables of which regions are kept equal
// and by what rules. The same specification serves all its regions and both
// directions, so it holds nothing that is local or secret.
package tasks

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"time"

	"github.com/goccy/go-yaml"

	"duplex/change"
	"duplex/config"
)

// Spec is the task file.
type Spec struct {
	Task        string          `yaml:"task"`
	Regions     []change.Region `yaml:"regions"`
	Tables      Tables          `yaml:"tables"`
	InitialCopy InitialCopy     `yaml:"initial_copy"`
	Apply       Apply           `yaml:"apply"`
	Conflicts   Conflicts       `yaml:"conflicts"`
	// DDL is what happens to schema changes: DDLStop, DDLReplicate or DDLIgnore.
	DDL string `yaml:"ddl"`
}

// InitialCopy tells where the rows that are there before the task starts come
// from.
type InitialCopy struct {
	From      change.Region `yaml:"from"`     // NoCopy, BothCopy or one of the task's regions
	Existing  string        `yaml:"existing"` // rows already there: ExistingKeep, ExistingOverwrite or ExistingStop
	Threads   int           `yaml:"threads"`
	BatchRows int           `yaml:"batch_rows"`
	// RowsPerSecond bounds how fast rows are read, 0: not at all.
	RowsPerSecond int `yaml:"rows_per_second"`
}

// NoCopy is InitialCopy.From where the tables are equal to begin with, BothCopy where each of two regions
// gets the rows that only the other has.
const (
	NoCopy   change.Region = "none"
	BothCopy change.Region = "both"
)

// Begins reports whether rows are copied from the region.
func (c *InitialCopy) Begins(r change.Region) bool { return c.From == r || c.From == BothCopy }

// Existing tells what becomes of a copied row that the region has already. Of rows that both regions
// begin with, those of the region named first stay, or they would change places.
func (s *Spec) Existing(target change.Region) string {
	switch c := &s.InitialCopy; {
	case c.From != BothCopy || c.Existing == ExistingStop:
		return c.Existing
	case target == s.Regions[0]:
		return ExistingKeep
	}
	return ExistingOverwrite
}

// What the initial copy does with a row that the target has already.
const (
	ExistingKeep      = "keep"
	ExistingOverwrite = "overwrite"
	ExistingStop      = "stop"
)

// Apply tells how changes are written.
type Apply struct {
	Ordering   string        `yaml:"ordering"`    // OrderingTransaction or OrderingKey
	Threads    int           `yaml:"threads"`     // connections that write at once
	BatchRows  int           `yaml:"batch_rows"`  // a batch is closed at this many rows,
	BatchBytes config.Size   `yaml:"batch_bytes"` // or this many bytes,
	BatchWait  time.Duration `yaml:"batch_wait"`  // or this long after its first row
}

// The orderings.
const (
	OrderingTransaction = "transaction" // transactions arrive whole and in commit order
	OrderingKey         = "key"         // changes of one key arrive in order
)

// Conflicts tells which of two concurrent writes of one row stays: the rule of all tables
// that have none of their own, and what is the same for all.
type Conflicts struct {
	// Policy, Priority and Column are as in Rule.
	Policy   string          `yaml:"policy"`
	Priority []change.Region `yaml:"priority,omitempty"`
	Column   string          `yaml:"column,omitempty"`
	// MaxClockSkew is how far ahead of a region's clock another one's may be.
	// What is dated further ahead waits.
	MaxClockSkew time.Duration `yaml:"max_clock_skew"`
	// Retention is how long a conflict stays in duplex.conflicts, 0: for ever.
	Retention time.Duration `yaml:"retention"`
	// Tables holds rules for single tables, by db.table; a dot or backslash in
	// a name is written with a backslash before it, as in a pattern. What one leaves out is
	// as for all.
	Tables map[string]Rule `yaml:"tables"`
}

// What happens to schema changes.
const (
	DDLStop      = "stop"
	DDLReplicate = "replicate"
	DDLIgnore    = "ignore"
)

func defaults() Spec {
	return Spec{
		InitialCopy: InitialCopy{From: NoCopy, Existing: ExistingKeep, Threads: 8, BatchRows: 1000},
		Apply:       Apply{Ordering: OrderingTransaction, Threads: 8, BatchRows: 2000, BatchBytes: 8 * config.MiB, BatchWait: 500 * time.Millisecond},
		Conflicts:   Conflicts{Policy: LastWriteWins, MaxClockSkew: 10 * time.Second, Retention: 168 * time.Hour},
		DDL:         DDLStop,
	}
}

// Load reads the task file at path. The error tells all that is wrong at once;
// each part of it is a *config.Invalid.
func Load(path string) (*Spec, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading task file: %w", err)
	}
	return Parse(path, data)
}

// Parse reads a task file's content; errors show the name as that of the file.
func Parse(name string, data []byte) (*Spec, error) {
	s := defaults()
	if err := config.Decode(name, data, &s); err != nil {
		return nil, err
	}
	if err := s.validate(); err != nil {
		return nil, config.InFile(name, err)
	}
	return &s, nil
}

// Encode gives the specification with all defaults written out, in the form
// that Parse reads.
func (s *Spec) Encode() ([]byte, error) {
	data, err := yaml.Marshal(s)
	if err != nil {
		return nil, fmt.Errorf("encoding task %s: %w", s.Task, err)
	}
	return data, nil
}

var taskForm = regexp.MustCompile(`^[a-z][a-z0-9_-]{0,63}$`)

func (s *Spec) validate() error {
	problems := []error{
		s.validateRegions(),
		s.Tables.compile(),
		s.validateCopy(),
		s.Apply.validate(),
		s.Conflicts.validate(),
		s.validateRules(),
		config.CheckChoice("ddl", s.DDL, DDLStop, DDLReplicate, DDLIgnore),
	}
	if !taskForm.MatchString(s.Task) {
		problems = append(problems, &config.Invalid{Setting: "task", Reason: fmt.Sprintf("%q is not a task's name", s.Task),
			Mend: "use 1 to 64 small letters, digits, - and _, a letter first, such as task: shop"})
	}
	return errors.Join(problems...)
}

func (s *Spec) validateRegions() error {
	var problems []error
	for i, r := range s.Regions {
		setting := fmt.Sprintf("regions[%d]", i)
		switch {
		case r == NoCopy || r == BothCopy:
			problems = append(problems, &config.Invalid{Setting: setting, Reason: fmt.Sprintf("%s can't be a region's id, as initial_copy.from gives it another meaning", r), Mend: "name the region otherwise"})
		case slices.Index(s.Regions, r) < i:
			problems = append(problems, &config.Invalid{Setting: setting, Reason: fmt.Sprintf("%s is named twice", r), Mend: "name each region once"})
		default:
			problems = append(problems, config.CheckRegion(setting, r))
		}
	}
	if len(s.Regions) < 2 {
		problems = append(problems, &config.Invalid{Setting: "regions", Reason: fmt.Sprintf("a task needs two regions or more, and here are %d", len(s.Regions)),
			Mend: "name the regions of the process files, such as regions: [east, west]"})
	}
	return errors.Join(problems...)
}

func (s *Spec) validateCopy() error {
	c := s.InitialCopy
	problems := []error{
		config.CheckChoice("initial_copy.existing", c.Existing, ExistingKeep, ExistingOverwrite, ExistingStop),
		config.CheckRange("initial_copy.threads", c.Threads, 1, 64),
		config.CheckRange("initial_copy.batch_rows", c.BatchRows, 1, 100_000),
		config.CheckRange("initial_copy.rows_per_second", c.RowsPerSecond, 0, 100_000_000),
	}
	switch {
	case c.From == BothCopy && len(s.Regions) > 2:
		problems = append(problems, &config.Invalid{Setting: "initial_copy.from", Reason: "a task of more than two regions can't be copied from both",
			Mend: fmt.Sprintf("give one of %v, or none", s.Regions)})
	case c.From == BothCopy && c.Existing == ExistingOverwrite:
		problems = append(problems, &config.Invalid{Setting: "initial_copy.existing", Reason: "with from: both the rows of two regions can't each overwrite the other's",
			Mend: "leave it out: of a row that both have, that of the region named first in regions stays"})
	case c.From != NoCopy && c.From != BothCopy && !slices.Contains(s.Regions, c.From):
		problems = append(problems, &config.Invalid{Setting: "initial_copy.from", Reason: fmt.Sprintf("%q is no region of this task", c.From),
			Mend: fmt.Sprintf("give one of %v, both, or none", s.Regions)})
	}
	return errors.Join(problems...)
}

func (a Apply) validate() error {
	return errors.Join(
		config.CheckChoice("apply.ordering", a.Ordering, OrderingTransaction, OrderingKey),
		config.CheckRange("apply.threads", a.Threads, 1, 64),
		config.CheckRange("apply.batch_rows", a.BatchRows, 1, 100_000),
		config.CheckRange("apply.batch_bytes", a.BatchBytes, 64*config.KiB, config.GiB),
		config.CheckRange("apply.batch_wait", a.BatchWait, 0, time.Minute),
	)
}

func (c Conflicts) validate() error {
	problems := []error{config.CheckRange("conflicts.max_clock_skew", c.MaxClockSkew, 100*time.Millisecond, 10*365*24*time.Hour)}
	if c.Retention != 0 {
		problems = append(problems, config.CheckRange("conflicts.retention", c.Retention, time.Minute, 10*365*24*time.Hour))
	}
	return errors.Join(problems...)
}

// Unsupported lists what the specification asks for and this version can't do
// yet. A task with any of it must not start.
func (s *Spec) Unsupported() []error {
	var refusals []error
	refuse := func(setting string, value any, mend string) {
		refusals = append(refusals, &config.Invalid{Setting: setting, Reason: fmt.Sprintf("%v is not built yet", value), Mend: mend})
	}
	// A copied row must lose to a local write that the source hadn't seen, and who doesn't look for conflicts
	// knows of none.
	unaware := s.Apply.Ordering == OrderingKey
	for _, rule := range s.rules() {
		unaware = unaware || rule.Policy == NoPolicy
	}
	if s.InitialCopy.From != NoCopy && unaware {
		refuse("initial_copy.from", "the initial copy where conflicts aren't looked for",
			"set apply: {ordering: transaction} and leave conflict policy none out; or set initial_copy: {from: none} and start from equal tables")
	}
	// An update of single columns makes no row, so one of a row that isn't copied yet would be lost.
	parted := false
	for _, rule := range s.rules() {
		parted = parted || rule.Policy == MergeColumns || len(rule.Delta) > 0
	}
	if s.InitialCopy.From != NoCopy && parted {
		refuse("initial_copy.from", "the initial copy of tables with policy merge-columns or delta",
			"let a task with last-write-wins copy them first; or set initial_copy: {from: none} and start from equal tables")
	}
	refusals = append(refusals, s.unsupportedRules()...)
	if s.DDL != DDLStop {
		refuse("ddl", s.DDL, "set ddl: stop and make schema changes in each region by hand while the task is stopped")
	}
	return refusals
}

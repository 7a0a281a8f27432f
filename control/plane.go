package control

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"duplex/change"
	"duplex/config"
	"duplex/tasks"
)

// Plane is the control plane of several regions, which may have a Kafka each. Of those of a task the one of the region whose id
// comes first decides what a change makes of it; the others get a copy. So two operators can't
// make different things of one revision, and what was done by half is done by repeating it.
type Plane struct{ sites []*site }

// site is one Kafka.
type site struct {
	regions []change.Region // whose it is, as far as the process files tell
	store   *Store
	away    error // why it can't be reached
}

func (s *site) name() string {
	var names []string
	for _, r := range s.regions {
		names = append(names, string(r))
	}
	return "the Kafka of " + strings.Join(names, ", ")
}

// Reach connects to all Kafkas that the process files name. It fails if it can reach none.
func Reach(ctx context.Context, procs []*config.Process) (*Plane, error) {
	p := &Plane{}
	kafkas := map[string]*site{}
	add := func(region change.Region, cfg config.Kafka) {
		if cfg.IsEmbedded() {
			cfg.Brokers = []string{cfg.Embedded.Listen}
		}
		brokers := slices.Sorted(slices.Values(cfg.Brokers))
		at := kafkas[strings.Join(brokers, ",")]
		if at == nil {
			at = &site{}
			kafkas[strings.Join(brokers, ",")] = at
			p.sites = append(p.sites, at)
			at.store, at.away = Open(ctx, cfg)
		}
		if !slices.Contains(at.regions, region) {
			at.regions = append(at.regions, region)
		}
	}
	for _, proc := range procs {
		add(proc.Region, proc.Kafka)
	}
	for _, proc := range procs {
		for region, peer := range proc.Peers {
			if !slices.ContainsFunc(procs, func(o *config.Process) bool { return o.Region == region }) {
				add(region, peer.Kafka)
			}
		}
	}
	if !slices.ContainsFunc(p.sites, func(s *site) bool { return s.away == nil }) {
		return nil, fmt.Errorf("%s can't be reached: %w", p.sites[0].name(), p.sites[0].away)
	}
	return p, nil
}

// Close ends its connections.
func (p *Plane) Close() {
	for _, s := range p.sites {
		if s.store != nil {
			s.store.Close()
		}
	}
}

// of returns the Kafkas of a task's regions, that of the region whose id comes first at the head.
func (p *Plane) of(regions []change.Region) (sites []*site) {
	for _, r := range slices.Sorted(slices.Values(regions)) {
		at := p.sites[0] // a region that no process file tells of shares it
		if i := slices.IndexFunc(p.sites, func(s *site) bool { return slices.Contains(s.regions, r) }); i >= 0 {
			at = p.sites[i]
		}
		if !slices.Contains(sites, at) {
			sites = append(sites, at)
		}
	}
	return sites
}

// View is what all of them have.
type View struct {
	Board
	// Behind tells, by task, which Kafka hasn't the newest revision, and Away which can't be read.
	Behind map[string][]string
	Away   []error
}

// Read reads all of them.
func (p *Plane) Read(ctx context.Context) (*View, error) {
	v := &View{Board: *newBoard(), Behind: map[string][]string{}}
	boards := map[*site]*Board{}
	for _, s := range p.sites {
		if s.away != nil {
			v.Away = append(v.Away, fmt.Errorf("%s can't be reached: %w", s.name(), s.away))
			continue
		}
		b, err := s.store.Read(ctx)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", s.name(), err)
		}
		boards[s] = b
		for name, r := range b.Tasks {
			if old := v.Tasks[name]; old == nil || old.Revision < r.Revision {
				v.Tasks[name] = r
			}
		}
		for key, r := range b.Reports {
			if old, ok := v.Reports[key]; !ok || old.AtMillis < r.AtMillis {
				v.Reports[key] = r
			}
		}
	}
	for name, r := range v.Tasks {
		for _, s := range p.of(r.Spec.Regions) {
			switch b := boards[s]; {
			case b == nil:
			case b.Tasks[name] == nil:
				v.Behind[name] = append(v.Behind[name], s.name()+" has nothing of it")
			case b.Tasks[name].Revision < r.Revision:
				v.Behind[name] = append(v.Behind[name], fmt.Sprintf("%s has revision %d", s.name(), b.Tasks[name].Revision))
			}
		}
	}
	return v, nil
}

// Change makes of a task what next makes of it, in all its regions. next is given what the deciding Kafka has, the others' reports
// and tasks besides; it is asked again if others come before.
func (p *Plane) Change(ctx context.Context, regions []change.Region, v *View, next func(*Board) (*tasks.Record, error)) (*tasks.Record, error) {
	sites := p.of(regions)
	for _, s := range sites[:1] {
		if s.away != nil {
			return nil, fmt.Errorf("%s, which decides on the task, can't be reached: %w", s.name(), s.away)
		}
	}
	var made *tasks.Record
	err := sites[0].store.Change(ctx, func(b *Board) (_ *tasks.Record, err error) {
		for name, r := range v.Tasks {
			if b.Tasks[name] == nil {
				b.Tasks[name] = r
			}
		}
		for key, r := range v.Reports {
			if old, ok := b.Reports[key]; !ok || old.AtMillis < r.AtMillis {
				b.Reports[key] = r
			}
		}
		made, err = next(b)
		return made, err
	})
	if err != nil {
		return nil, err
	}
	for _, s := range sites[1:] {
		err := s.away
		if err == nil {
			err = s.store.Change(ctx, func(*Board) (*tasks.Record, error) { return made, nil })
		}
		if err != nil {
			return made, &HalfError{made, s.name(), err}
		}
	}
	return made, nil
}

// HalfError says that a change has reached the Kafka that decides, and not all others.
type HalfError struct {
	Record *tasks.Record
	Site   string
	Cause  error
}

func (e *HalfError) Error() string {
	return fmt.Sprintf("task %s is %s (revision %d), but %s doesn't have that yet: %v; mend: repeat the command when it can be reached", e.Record.Task, e.Record.Wanted, e.Record.Revision, e.Site, e.Cause)
}

func (e *HalfError) Unwrap() error { return e.Cause }

// errNone says that there is no such task.
var errNone = errors.New("there is no such task")

// Find returns a task that is there, be it deleted.
func (b *Board) Find(name string) (*tasks.Record, error) {
	if r := b.Tasks[name]; r != nil {
		return r, nil
	}
	return nil, fmt.Errorf("task %s: %w; mend: duplex task list shows their names, duplex task create makes one", name, errNone)
}

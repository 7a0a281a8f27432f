package control

import (
	"context"
	"fmt"
	"slices"

	"duplex/change"
	"duplex/topics"

	"github.com/twmb/franz-go/pkg/kadm"
)

// Published returns the topics of the regions' tables, of those that match, which hold records.
func (p *Plane) Published(ctx context.Context, regions []change.Region, match func(db, table string) bool) (names []string, err error) {
	for _, s := range p.of(regions) {
		if s.away != nil {
			return nil, fmt.Errorf("%s can't be reached: %w", s.name(), s.away)
		}
		found, err := published(ctx, s.store.admin, regions, match)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", s.name(), err)
		}
		names = append(names, found...)
	}
	slices.Sort(names)
	return names, nil
}

func published(ctx context.Context, admin *kadm.Client, regions []change.Region, match func(db, table string) bool) (names []string, err error) {
	all, err := admin.ListTopics(ctx)
	if err != nil {
		return nil, fmt.Errorf("listing topics: %w", err)
	}
	for name := range all {
		if region, db, table, ok := topics.ParseTable(name); ok && slices.Contains(regions, region) && match(db, table) {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return nil, nil
	}
	starts, err := admin.ListStartOffsets(ctx, names...)
	if err == nil {
		err = starts.Error()
	}
	if err != nil {
		return nil, fmt.Errorf("reading where topics begin: %w", err)
	}
	ends, err := admin.ListEndOffsets(ctx, names...)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		return nil, fmt.Errorf("reading where topics end: %w", err)
	}
	return slices.DeleteFunc(names, func(name string) bool {
		empty := true
		starts.Each(func(o kadm.ListedOffset) {
			if end, ok := ends.Lookup(o.Topic, o.Partition); ok && o.Topic == name && end.Offset > o.Offset {
				empty = false
			}
		})
		return empty
	}), nil
}

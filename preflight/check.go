package preflight

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"duplex/change"
	"duplex/config"
	"duplex/mysql"
	"duplex/schemas"
	"duplex/tasks"
	"duplex/topics"
)

// Check checks the regions of the process files for the task. With one process
// file it can't compare the regions, without a task (nil) it can't look at
// tables; the report says so. The error is for a check that couldn't be
// finished, as when a connection broke in its middle.
func Check(ctx context.Context, procs []*config.Process, spec *tasks.Spec) (*Report, error) {
	if len(procs) == 0 {
		return nil, errors.New("checking: no process file was given: duplex check -c east.yaml -c west.yaml --task shop.yaml")
	}
	r := &Report{}
	checkTask(r, procs, spec)
	var sides []*side
	defer func() {
		for _, s := range sides {
			s.db.Close() // nothing was written
		}
	}()
	for _, p := range procs {
		s, err := openSide(ctx, p, spec)
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if err != nil {
			r.add(Finding{}, []Finding{unreachable(p, err)})
			continue
		}
		sides = append(sides, s)
	}
	for _, s := range sides {
		if err := checkSide(ctx, r, s, spec, sides); err != nil {
			return nil, fmt.Errorf("checking region %s: %w", s.region(), err)
		}
	}
	if spec != nil && len(sides) == len(procs) { // a region that wasn't seen may have the tables
		r.Findings = append(r.Findings, checkPatterns(spec, sides)...)
	}
	for i, a := range sides {
		for _, b := range sides[i+1:] {
			checkPair(ctx, r, a, b, spec)
		}
	}
	for _, p := range procs {
		checkTopics(ctx, r, p, sides)
	}
	return r, ctx.Err()
}

func unreachable(p *config.Process, err error) Finding {
	f := Finding{Region: p.Region, Code: "connection", Severity: Refuse, Where: p.MySQL.Address, What: err.Error(), Why: "nothing of this region could be checked",
		Fix: "-- correct the mysql section of the process file\n"}
	var connect *mysql.ConnectError
	if errors.As(err, &connect) {
		f.What = fmt.Sprintf("connecting as %q: %v", connect.User, connect.Err)
		if connect.Hint != "" {
			f.Fix = "-- " + connect.Hint + "\n"
		}
	}
	return f
}

// checkTask looks at what can be told from the files alone.
func checkTask(r *Report, procs []*config.Process, spec *tasks.Spec) {
	if spec == nil {
		r.Findings = append(r.Findings, Finding{Code: "task", Severity: Warn, What: "no task file was given: tables weren't checked",
			Why: "most faults lie in differences between tables", Fix: "-- add --task <file>\n"})
		return
	}
	var found []Finding
	for _, err := range spec.Unsupported() {
		f := Finding{Code: "task", Severity: Refuse, Where: "task " + spec.Task, What: err.Error(), Why: "this version can't do it yet", Fix: "-- take it out of the task file\n"}
		var invalid *config.Invalid
		if errors.As(err, &invalid) {
			f.What, f.Fix = invalid.Setting+": "+invalid.Reason, "-- "+invalid.Mend+"\n"
		}
		found = append(found, f)
	}
	var given []change.Region
	for _, p := range procs {
		if !slices.Contains(spec.Regions, p.Region) {
			found = append(found, Finding{Region: p.Region, Code: "task", Severity: Refuse, Where: "task " + spec.Task,
				What: fmt.Sprintf("region %s isn't one of the task's (%s)", p.Region, join(spec.Regions)), Why: "the task would never run there",
				Fix: "-- correct regions in the task file or region in the process file\n"})
		}
		if slices.Contains(given, p.Region) {
			found = append(found, Finding{Region: p.Region, Code: "task", Severity: Refuse, What: fmt.Sprintf("two process files are of region %s", p.Region),
				Why: "each region has one", Fix: "-- correct region in one of them\n"})
		}
		given = append(given, p.Region)
	}
	for _, region := range spec.Regions {
		if !slices.Contains(given, region) {
			found = append(found, Finding{Region: region, Code: "task", Severity: Warn, Where: "task " + spec.Task,
				What: fmt.Sprintf("no process file of region %s was given: it wasn't checked, nor compared with the others", region),
				Why:  "most faults lie in differences between regions", Fix: "-- add -c <its process file>\n"})
		}
	}
	r.add(Finding{Code: "task", What: fmt.Sprintf("task %s, regions %s", spec.Task, join(spec.Regions))}, found)
}

func join(regions []change.Region) string {
	var names []string
	for _, region := range regions {
		names = append(names, string(region))
	}
	return strings.Join(names, ", ")
}

func checkSide(ctx context.Context, r *Report, s *side, spec *tasks.Spec, sides []*side) error {
	good := func(code, what string) Finding {
		return Finding{Region: s.region(), Code: code, Where: s.where(), What: what}
	}
	r.add(good("server", fmt.Sprintf("%s %s at %s, as %s", s.server.Flavor, s.server.VersionText, s.where(), s.account())), checkVersion(s))
	r.add(good("settings", "binlog and server settings are as they must be"), append(checkServerID(s), checkSettings(s)...))
	privileges, err := checkPrivileges(ctx, s, spec, sides)
	if err != nil {
		return err
	}
	r.add(good("privileges", "the account has what duplex needs"), append(privileges, checkExcess(s)...))
	if spec != nil {
		r.add(good("tables", fmt.Sprintf("%d tables, each fit to take part", len(s.tables))), slices.Concat(checkTables(s), checkKeyOrder(s, spec), checkVagueKeys(s, spec), checkRules(s, spec)))
		r.Findings = append(r.Findings, triggerSight(s)...)
	}
	return nil
}

// checkVersion refuses servers whose binlog lacks what capture reads.
func checkVersion(s *side) []Finding {
	var found []Finding
	add := func(what, why, fix string) {
		found = append(found, Finding{Region: s.region(), Code: "server", Severity: Refuse, Where: s.where(), What: what, Why: why, Fix: fix})
	}
	v := s.server.Version
	if s.server.Flavor == mysql.MariaDB && !v.AtLeast(10, 11, 0) || s.server.Flavor == mysql.MySQL && !v.AtLeast(8, 0, 1) {
		add(fmt.Sprintf("the server is %s %s; MySQL 8.0.1 or MariaDB 10.11 and later are supported", s.server.Flavor, v),
			"the binlog of older ones has neither column names nor commit times", "-- upgrade the server\n")
	}
	if engine := string(s.server.Flavor); s.process.Engine != engine {
		add(fmt.Sprintf("the process file says engine: %s and the server is %s", s.process.Engine, s.server.VersionText),
			"the two speak different dialects of binlog and GTID", fmt.Sprintf("-- set engine: %s in the process file\n", engine))
	}
	return found
}

func checkPair(ctx context.Context, r *Report, a, b *side, spec *tasks.Spec) {
	if same := sameServer(a, b); same != nil {
		r.Findings = append(r.Findings, same...)
		return // any comparison would be with itself
	}
	between := fmt.Sprintf("%s and %s", a.region(), b.region())
	r.add(Finding{Code: "pair", What: between + " are two servers that go together"}, comparePair(a, b, spec))
	if spec != nil {
		r.add(Finding{Code: "equal-tables", What: fmt.Sprintf("the tables of %s are defined alike", between)}, compareTables(ctx, a, b))
	}
}

// checkTopics checks the Kafka and the registry that the region publishes to,
// and those of its peers that it reads.
func checkTopics(ctx context.Context, r *Report, p *config.Process, sides []*side) {
	own := &kafkaCheck{region: p.Region, cfg: p.Kafka}
	for _, s := range sides {
		if s.process == p {
			own.largest = largestChange(s)
		}
	}
	one := func(k *kafkaCheck, registry config.Registry, of string) {
		found, brokers := k.run(ctx)
		r.add(Finding{Region: k.region, Code: "kafka", What: fmt.Sprintf("%sKafka of %d brokers at %s", of, brokers, strings.Join(k.cfg.Brokers, ", "))}, found)
		r.add(Finding{Region: k.region, Code: "registry", What: of + "schema registry at " + registry.URL}, checkRegistry(ctx, k.region, registry))
	}
	one(own, p.Registry, "")
	for _, region := range slices.Sorted(maps.Keys(p.Peers)) {
		peer := p.Peers[region]
		one(&kafkaCheck{region: p.Region, cfg: peer.Kafka}, peer.Registry, fmt.Sprintf("%s's ", region))
	}
}

// largestChange is the size of an update of the largest row that the region's
// tables may hold, or 0 where every column has a limit far below a request's.
func largestChange(s *side) int64 {
	for _, t := range s.tables {
		for _, c := range t.Columns {
			if c.Type == schemas.JSON || strings.HasPrefix(c.Native, "longtext") || strings.HasPrefix(c.Native, "longblob") {
				const around = 1 << 20 // what a request has besides the row's two images
				return min(2*s.server.MaxAllowedPacket+around, topics.MaxRequest)
			}
		}
	}
	return 0
}

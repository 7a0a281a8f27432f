package capture

import (
	"context"
	"fmt"

	"duplex/capture/binlog"
	"duplex/change"
	"duplex/mysql"
	"duplex/supervise"
	"duplex/topics"
)

// restore sets where to read on and what the stamps follow: as saved, or, for
// a region captured for the first time, which begins, the server's present position.
func (s *publishing) restore(ctx context.Context, server *mysql.Server) (begins bool, err error) {
	cfg := s.c.cfg.Process
	s.numbers = change.Stamper{Region: cfg.Region}
	saved, err := s.positions.load(ctx, cfg.Kafka, cfg.Region)
	if err != nil {
		return false, err
	}
	if saved == nil {
		s.position, err = binlog.ParsePosition(cfg.Engine, server.GTIDExecuted)
		if err != nil {
			return false, supervise.Permanent(err)
		}
		if s.numbers, err = continueNumbers(ctx, cfg.Kafka, cfg.Region); err != nil {
			return false, err
		}
		s.c.cfg.Log.Info("no position saved: capture begins at the server's present one", "position", s.position.String(), "last_seq", s.numbers.Seq)
		// Saved at once: what commits from now on is never missed, whenever
		// the first session ends.
		return true, s.commit(ctx)
	}
	if saved.Engine != cfg.Engine {
		return false, supervise.Permanent(fmt.Errorf("the saved position of region %s is of engine %s, the process file says %s; mend: correct the process file, or use a new region id", cfg.Region, saved.Engine, cfg.Engine))
	}
	s.position, err = binlog.ParsePosition(saved.Engine, saved.Text)
	if err != nil {
		return false, supervise.Permanent(err)
	}
	if err := s.checkNotRewound(ctx, saved.Text, server); err != nil {
		return false, err
	}
	s.numbers.Seq, s.numbers.HLC, s.numbers.Seen = saved.Seq, saved.HLC, saved.Seen
	return false, nil
}

// checkNotRewound refuses a server that lacks transactions published before:
// it was restored from an older backup, or its binlogs were reset.
func (s *publishing) checkNotRewound(ctx context.Context, saved string, server *mysql.Server) error {
	if server.Flavor != mysql.MySQL {
		return nil
	}
	db, err := mysql.Open(s.c.cfg.Process.MySQL, mysql.Reading)
	if err != nil {
		return supervise.Permanent(err)
	}
	defer db.Close()
	var missing string
	err = db.QueryRowContext(ctx, "SELECT GTID_SUBTRACT(?, @@GLOBAL.gtid_executed)", saved).Scan(&missing)
	if err != nil {
		return classify(err)
	}
	if missing == "" {
		return nil
	}
	return supervise.Permanent(fmt.Errorf("the server lacks transactions that were published before: %s; it was restored from an older backup, reset, or is another server; mend: copy the tables from a region that has them, then delete the region's record of topic %s and restart", missing, topics.Positions))
}

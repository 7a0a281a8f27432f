package apply

import (
	"context"
	"database/sql"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"time"

	"duplex/config"
	"duplex/mysql"
)

// beatMark begins the tokens of canaries that measure the delay.
const beatMark = "beat "

// Beat writes a canary into the region's own database now and then. The other regions' streams from here
// see it when all that was committed before it is visible there: the true delay, also while
// no application writes.
type Beat struct {
	cfg *config.Process
	log *slog.Logger
}

// NewBeat makes one; Run runs it.
func NewBeat(p *config.Process, log *slog.Logger) *Beat {
	return &Beat{cfg: p, log: log.With("service", "canary", "region", p.Region)}
}

const beatPatience = 5 * time.Second

// Run writes until ctx ends. What fails is tried again at the next beat: the delay that the other regions
// see grows meanwhile.
func (b *Beat) Run(ctx context.Context) {
	if b.cfg.Canary <= 0 {
		return
	}
	db, err := mysql.Open(b.cfg.MySQL, mysql.Applying)
	if err != nil {
		b.log.Warn("no canaries are written", "error", err)
		return
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	tick := time.NewTicker(b.cfg.Canary)
	defer tick.Stop()
	failing := false
	for {
		err := b.write(ctx, db)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil && !failing:
			b.log.Warn("canaries can't be written: the delay isn't measured", "error", mysql.Classify(err))
		case err == nil && failing:
			b.log.Info("canaries are written again")
		}
		failing = err != nil
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (b *Beat) write(ctx context.Context, db *sql.DB) error {
	ctx, cancel := context.WithTimeout(ctx, beatPatience)
	defer cancel()
	// Without a marker capture takes it for a transaction of the region itself, and gives it no number.
	_, err := db.ExecContext(ctx, "INSERT INTO duplex.canary (task, origin, token) VALUES ('', ?, ?) ON DUPLICATE KEY UPDATE token = VALUES(token)",
		string(b.cfg.Region), beatMark+strconv.FormatInt(time.Now().UnixMicro(), 10))
	return err
}

// isBeat reports whether a canary measures the delay.
func isBeat(token string) bool { return strings.HasPrefix(token, beatMark) }

// delay is that of the last canary.
type delay struct {
	mu        sync.Mutex
	took      time.Duration
	committed time.Time
}

// observe notes canaries that had committed at those times, Unix µs, all before which is visible at now.
func (d *delay) observe(now time.Time, commits []int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, commit := range commits {
		d.committed = time.UnixMicro(commit)
		d.took = max(0, now.Sub(d.committed))
	}
}

// show returns how long the last one took and how long ago it was committed, false if
// there was none.
func (d *delay) show(now time.Time) (took, ago time.Duration, any bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.took, now.Sub(d.committed), !d.committed.IsZero()
}

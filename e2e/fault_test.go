package e2e_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"syscall"
	"time"

	"duplex/internal/testbed"
)

// applier is the apply of one side, and what may go wrong with it.
type applier struct {
	p       *pair
	side    *side
	process *Process
	proxy   *testbed.Proxy // between it and its server
	unlost  func() int     // COMMITs whose answers are still to be lost
	faults  map[string]int
}

// newApplier makes the apply of a side, behind a proxy.
func newApplier(p *pair, s *side) *applier {
	p.t.Helper()
	a := &applier{p: p, side: s, proxy: bed.Proxy(p.t, s.mysql.Addr), unlost: func() int { return 0 }, faults: map[string]int{}}
	behind := *s
	behind.mysqlText = strings.Replace(s.mysqlText, s.mysql.Addr, a.proxy.Addr(), 1)
	a.process = p.process(&behind, "apply")
	return a
}

// trouble does n things to the apply while it works on what others write to
// the shapes, with pauses.
func (a *applier) trouble(r *rand.Rand, n int, shapes []*shape) {
	var foreign sync.WaitGroup
	defer foreign.Wait()
	for range n {
		time.Sleep(time.Duration(r.IntN(120)) * time.Millisecond)
		switch r.IntN(8) {
		case 0:
			a.faults["killed"]++
			a.process.Kill()
			a.process.Start()
		case 1, 2:
			a.faults["connections killed"] += a.killConnections(r)
		case 3, 4:
			a.loseCommits(1 + r.IntN(2))
		default:
			a.faults["rows locked"]++
			lock := newLocker(r, shapes)
			foreign.Go(func() { lock.hold(a.side) })
		}
	}
}

// loseCommits lets the answers of the next COMMITs get lost.
func (a *applier) loseCommits(n int) {
	a.faults["answers lost"] += n - a.unlost() // those not lost yet are forgotten
	a.unlost = a.proxy.LoseAnswers("COMMIT", n)
}

// killConnections kills some of the apply's connections.
func (a *applier) killConnections(r *rand.Rand) (killed int) {
	rows, err := a.side.mysql.DB().Query("SELECT id FROM information_schema.processlist WHERE user = 'duplex' AND command NOT LIKE 'Binlog%'")
	if err != nil {
		a.p.t.Error(err)
		return 0
	}
	defer rows.Close()
	var ids []int64
	for rows.Next() {
		var id int64
		if err := rows.Scan(&id); err != nil {
			a.p.t.Error(err)
			return 0
		}
		ids = append(ids, id)
	}
	for _, id := range ids {
		if r.IntN(3) == 0 {
			if _, err := a.side.mysql.DB().Exec(fmt.Sprintf("KILL CONNECTION %d", id)); err == nil { // else it is gone already
				killed++
			}
		}
	}
	return killed
}

// locker is somebody else's transaction that locks rows of two tables, one
// after the other: apply has to wait for it, or it for apply, or both.
type locker struct {
	statements []string
	between    time.Duration
	after      time.Duration
}

func newLocker(r *rand.Rand, shapes []*shape) *locker {
	l := &locker{between: time.Duration(r.IntN(80)) * time.Millisecond, after: time.Duration(r.IntN(200)) * time.Millisecond}
	if r.IntN(6) == 0 {
		l.after += 1200 * time.Millisecond // longer than apply waits for a lock
	}
	for range 2 {
		s := shapes[r.IntN(len(shapes))]
		l.statements = append(l.statements, fmt.Sprintf("SELECT op FROM %s ORDER BY %s %s LIMIT %d FOR UPDATE", s.name,
			strings.Join(s.key, ", "), []string{"ASC", "DESC"}[r.IntN(2)], 1+r.IntN(10)))
	}
	return l
}

// hold locks the rows. An error of the server, a deadlock mostly, ends it early.
func (l *locker) hold(s *side) {
	ctx := context.Background()
	tx, err := s.mysql.DB().BeginTx(ctx, nil)
	if err != nil {
		return
	}
	defer tx.Rollback()
	for _, statement := range l.statements {
		if _, err := tx.ExecContext(ctx, statement); err != nil {
			return
		}
		time.Sleep(l.between)
	}
	time.Sleep(l.after)
}

// freeze stops the apply where it is, so that what is written meanwhile comes
// in large batches; thaw lets it go on.
func (a *applier) freeze() {
	a.faults["frozen"]++
	a.process.Signal(syscall.SIGSTOP)
}

func (a *applier) thaw() { a.process.Signal(syscall.SIGCONT) }

package embedded

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// The broker ends a transaction by writing a marker into one partition after
// the other, then an entry about the producer. It has no log of the decision,
// so a crash leaves it with
//
//   - transactions that were open. It hides their records when it starts again,
//     but writes no marker: the producer's next commit would then bring them to
//     light after one more crash. And a producer that outlived the crash and
//     asks to commit is told that it has.
//   - transactions of which some partitions have the marker and others don't.
//     It hides the records of those that don't: half a transaction stays.
//
// recoverLogs therefore writes, before the broker starts, what it would have
// written: the missing markers, a commit if any partition has one and an abort
// otherwise, and the entry about the producer. Every transaction of a producer
// has an epoch of its own (see refuseOldTransactions), by which it is told from
// the ones before it. Doing this again, after a crash in its midst, decides the
// same.

// recovery is what the logs of all partitions tell together.
type recovery struct {
	logs map[string]*partitionLog
	// open holds for each partition the producers with a transaction that has
	// no marker there, and its epoch.
	open map[string]map[int64]int16
	// last holds how each producer's last transaction ended.
	last map[int64]ending
}

// ending is the end of a producer's transaction.
type ending struct {
	epoch  int16
	commit bool
}

// recoverLogs settles what a crash left open in the data directory, and returns
// in how many partitions there was something to settle.
func recoverLogs(dir string) (int, error) {
	producers, err := readProducers(filepath.Join(dir, "pids.log"))
	if err != nil {
		return 0, fmt.Errorf("reading producers: %w", err)
	}
	if _, err := readFrames(filepath.Join(dir, "groups.log")); err != nil {
		return 0, fmt.Errorf("reading groups: %w", err)
	}
	r, err := readPartitions(filepath.Join(dir, "partitions"))
	if err != nil {
		return 0, fmt.Errorf("reading partitions: %w", err)
	}
	settled := 0
	for folder, open := range r.open {
		for id, epoch := range open {
			if err := r.logs[folder].endTransaction(id, epoch, r.endOf(id, epoch)); err != nil {
				return settled, fmt.Errorf("settling a transaction in %s: %w", folder, err)
			}
		}
		if len(open) > 0 {
			settled++
		}
	}
	for id, end := range r.last {
		if err := producers.finish(id, end.epoch, end.commit); err != nil {
			return settled, err
		}
	}
	return settled, nil
}

// endOf decides how an open transaction ends.
func (r *recovery) endOf(producerID int64, epoch int16) (commit bool) {
	last, ok := r.last[producerID]
	if !ok || epoch > last.epoch {
		r.last[producerID] = ending{epoch: epoch}
		return false
	}
	return last.epoch == epoch && last.commit
}

func readPartitions(dir string) (*recovery, error) {
	r := &recovery{logs: map[string]*partitionLog{}, open: map[string]map[int64]int16{}, last: map[int64]ending{}}
	folders, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return r, nil
	}
	if err != nil {
		return nil, err
	}
	for _, f := range folders {
		if !f.IsDir() {
			continue
		}
		folder := filepath.Join(dir, f.Name())
		open := map[int64]int16{}
		log, err := readPartition(folder, func(h batchHeader) {
			switch {
			case h.isControl():
				delete(open, h.producerID)
				if last, ok := r.last[h.producerID]; !ok || h.producerEpoch > last.epoch {
					r.last[h.producerID] = ending{h.producerEpoch, h.commit}
				}
			case h.isTransactional():
				open[h.producerID] = h.producerEpoch
			}
		})
		if err != nil {
			return nil, err
		}
		if log != nil {
			r.logs[folder], r.open[folder] = log, open
		}
	}
	return r, nil
}

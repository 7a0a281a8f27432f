package embedded

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// The broker keeps a partition in files named after the first offset in them:
// N.dat holds record batches as they go over the wire, N.idx 15 bytes about
// each batch. Both are only appended to.
const (
	batchHeaderSize = 61
	indexEntrySize  = 15
	indexVersion    = 1

	attrTransactional = 0x10
	attrControl       = 0x20
)

// batchHeader is the fixed part of a record batch.
type batchHeader struct {
	firstOffset   int64
	size          int64 // of the whole batch in bytes
	leaderEpoch   int32
	attributes    int16
	lastDelta     int32
	maxTimestamp  int64
	producerID    int64
	producerEpoch int16
	commit        bool // of a control batch: it ends a transaction by a commit
}

func (h batchHeader) isControl() bool       { return h.attributes&attrControl != 0 }
func (h batchHeader) isTransactional() bool { return h.attributes&attrTransactional != 0 }

// partitionLog is the end of a partition on disk.
type partitionLog struct {
	segment     string // the last N.dat
	size        int64  // of it, up to its last whole batch
	batches     int    // in it
	next        int64  // offset of the next record
	leaderEpoch int32
	// newest is the newest timestamp, which each index entry repeats.
	newest int64
}

// readPartition calls visit for each batch of the partition in a folder, in
// order, and returns where the log ends. A batch whose writing a crash cut off
// was never acknowledged: it is cut away here.
func readPartition(folder string, visit func(batchHeader)) (*partitionLog, error) {
	segments, err := segmentsOf(folder)
	if err != nil || len(segments) == 0 {
		return nil, err
	}
	var log partitionLog
	for i, segment := range segments {
		log.segment, log.size, log.batches = segment, 0, 0
		limit := int64(-1)
		if i == len(segments)-1 {
			// The index entry is written after its batch. The broker takes a
			// batch without one for a committed one.
			if limit, err = indexedBatches(segment); err != nil {
				return nil, err
			}
		}
		if err := log.readSegment(limit, visit); err != nil {
			return nil, fmt.Errorf("reading %s: %w", segment, err)
		}
	}
	if log.batches == 0 {
		return nil, nil // nothing was acknowledged in the last file
	}
	return &log, log.cut()
}

func segmentsOf(folder string) ([]string, error) {
	entries, err := os.ReadDir(folder)
	if err != nil {
		return nil, err
	}
	bases := map[string]int64{}
	var segments []string
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), ".dat")
		if base, err := strconv.ParseInt(name, 10, 64); ok && err == nil {
			path := filepath.Join(folder, e.Name())
			bases[path] = base
			segments = append(segments, path)
		}
	}
	slices.SortFunc(segments, func(a, b string) int { return int(min(max(bases[a]-bases[b], -1), 1)) })
	return segments, nil
}

func indexPath(segment string) string { return strings.TrimSuffix(segment, ".dat") + ".idx" }

func indexedBatches(segment string) (int64, error) {
	info, err := os.Stat(indexPath(segment))
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	return info.Size() / indexEntrySize, nil
}

// readSegment visits the whole batches of the current segment, at most limit
// of them unless that is negative.
func (l *partitionLog) readSegment(limit int64, visit func(batchHeader)) error {
	f, err := os.Open(l.segment)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	r := bufio.NewReaderSize(f, 64<<10)
	for limit < 0 || int64(l.batches) < limit {
		h, err := readBatch(r, info.Size()-l.size)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		l.size += h.size
		l.batches++
		l.next = h.firstOffset + int64(h.lastDelta) + 1
		l.leaderEpoch = h.leaderEpoch
		l.newest = max(l.newest, h.maxTimestamp)
		visit(h)
	}
	return nil
}

// readBatch reads one batch, of which only the header and a control record are
// looked at. It returns io.EOF if no whole one is left.
func readBatch(r *bufio.Reader, left int64) (batchHeader, error) {
	if left < batchHeaderSize {
		return batchHeader{}, io.EOF
	}
	raw, err := r.Peek(batchHeaderSize)
	if err != nil {
		return batchHeader{}, err
	}
	be := binary.BigEndian
	h := batchHeader{
		firstOffset:   int64(be.Uint64(raw)),
		size:          12 + int64(int32(be.Uint32(raw[8:]))),
		leaderEpoch:   int32(be.Uint32(raw[12:])),
		attributes:    int16(be.Uint16(raw[21:])),
		lastDelta:     int32(be.Uint32(raw[23:])),
		maxTimestamp:  int64(be.Uint64(raw[35:])),
		producerID:    int64(be.Uint64(raw[43:])),
		producerEpoch: int16(be.Uint16(raw[51:])),
	}
	switch {
	case h.size < batchHeaderSize:
		return batchHeader{}, fmt.Errorf("batch at offset %d claims to be %d bytes long: the file is damaged; restore the directory from a backup or start with an empty one", h.firstOffset, h.size)
	case h.size > left:
		return batchHeader{}, io.EOF
	case h.isControl():
		if h.commit, err = readsCommit(r, int(h.size)); err != nil {
			return batchHeader{}, err
		}
	}
	_, err = r.Discard(int(h.size))
	return h, err
}

func readsCommit(r *bufio.Reader, size int) (bool, error) {
	raw, err := r.Peek(size)
	if err != nil {
		return false, err
	}
	var rec kmsg.Record
	var key kmsg.ControlRecordKey
	if err := rec.ReadFrom(raw[batchHeaderSize:]); err != nil {
		return false, fmt.Errorf("decoding control record: %w", err)
	}
	if err := key.ReadFrom(rec.Key); err != nil {
		return false, fmt.Errorf("decoding control record: %w", err)
	}
	return key.Type == kmsg.ControlRecordKeyTypeCommit, nil
}

// cut removes what follows the last whole batch from both files.
func (l *partitionLog) cut() error {
	if err := os.Truncate(l.segment, l.size); err != nil {
		return err
	}
	return os.Truncate(indexPath(l.segment), int64(l.batches)*indexEntrySize)
}

// endTransaction appends the record that commits or aborts a transaction.
func (l *partitionLog) endTransaction(producerID int64, epoch int16, commit bool) error {
	batch := transactionEnd(producerID, epoch, commit, l.next, l.leaderEpoch)
	l.newest = max(l.newest, time.Now().UnixMilli())
	if err := appendTo(l.segment, batch); err != nil {
		return err
	}
	if err := appendTo(indexPath(l.segment), indexEntry(l.leaderEpoch, l.newest)); err != nil {
		return err
	}
	l.next++
	l.size += int64(len(batch))
	l.batches++
	return nil
}

func transactionEnd(producerID int64, epoch int16, commit bool, offset int64, leaderEpoch int32) []byte {
	key := kmsg.ControlRecordKey{Type: kmsg.ControlRecordKeyTypeAbort}
	if commit {
		key.Type = kmsg.ControlRecordKeyTypeCommit
	}
	rec := kmsg.Record{Key: key.AppendTo(nil), Value: (&kmsg.EndTxnMarker{}).AppendTo(nil)}
	rec.Length = int32(len(rec.AppendTo(nil)) - 1) // its own length takes one byte
	now := time.Now().UnixMilli()
	b := kmsg.RecordBatch{
		FirstOffset:          offset,
		PartitionLeaderEpoch: leaderEpoch,
		Magic:                2,
		Attributes:           attrControl | attrTransactional,
		FirstTimestamp:       now,
		MaxTimestamp:         now,
		ProducerID:           producerID,
		ProducerEpoch:        epoch,
		FirstSequence:        -1,
		NumRecords:           1,
		Records:              rec.AppendTo(nil),
	}
	raw := b.AppendTo(nil)
	binary.BigEndian.PutUint32(raw[8:], uint32(len(raw)-12))
	binary.BigEndian.PutUint32(raw[17:], crc32.Checksum(raw[21:], crc32.MakeTable(crc32.Castagnoli)))
	return raw
}

// indexEntry tells of a batch that is part of no open transaction.
func indexEntry(leaderEpoch int32, newest int64) []byte {
	e := make([]byte, indexEntrySize)
	e[0] = indexVersion
	binary.LittleEndian.PutUint32(e[2:], uint32(leaderEpoch))
	binary.LittleEndian.PutUint64(e[6:], uint64(newest))
	e[1] = byte(crc32.Checksum(e[2:], crc32.MakeTable(crc32.Castagnoli)))
	return e
}

func appendTo(path string, data []byte) error {
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Close())
}
